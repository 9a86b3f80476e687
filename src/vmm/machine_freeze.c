/* SPDX-License-Identifier: MIT */
/* The coordinator's hands: vCPUs at the gate, devices by their pause. */
#include "vmm/machine.h"

#include "base/eventfd.h"
#include <errno.h>
#include <poll.h>
#include <vblk/device.h>

/* So long can a timeout of poll be without overflow; the coordinator asks again. */
#define WAIT_MAX_NS (60 * VBLK_NSEC_PER_SEC)

static struct vblk_device *device_of(const struct vmm *vmm, unsigned int party)
{
	return vmm->bus.devices[party - vmm->vcpu_count];
}

static bool is_vcpu(const struct vmm *vmm, unsigned int party)
{
	return party < vmm->vcpu_count;
}

static void clear(void *context)
{
	struct vmm *vmm = context;

	vmm_gate_clear(&vmm->gate);
}

static bool ask(void *context, unsigned int party)
{
	struct vmm *vmm = context;

	if (!is_vcpu(vmm, party))
		return vblk_device_pause(device_of(vmm, party));
	vmm_gate_close(&vmm->gate);
	if (vmm->vcpus[party].started)
		vmm_vcpu_kick(&vmm->vcpus[party]);
	return true;
}

static bool is_parked(void *context, unsigned int party)
{
	struct vmm *vmm = context;

	if (!is_vcpu(vmm, party))
		return vblk_device_is_paused(device_of(vmm, party));
	/* A vCPU without a thread rests for good. */
	return !vmm->vcpus[party].started ||
	       atomic_load_explicit(&vmm->vcpus[party].parked, memory_order_acquire);
}

static void release(void *context, unsigned int party)
{
	struct vmm *vmm = context;

	if (is_vcpu(vmm, party))
		vmm_gate_open(&vmm->gate);
	else if (!vmm->bus.held[party - vmm->vcpu_count])
		vblk_device_resume(device_of(vmm, party));
}

static int wait_for_acks(void *context, uint64_t timeout_ns, uint64_t *count)
{
	const uint64_t ns = timeout_ns < WAIT_MAX_NS ? timeout_ns : WAIT_MAX_NS;
	const struct timespec timeout = {
		.tv_sec = (time_t)(ns / VBLK_NSEC_PER_SEC),
		.tv_nsec = (long)(ns % VBLK_NSEC_PER_SEC),
	};
	struct vmm *vmm = context;
	struct pollfd fds[] = {
		{ .fd = vmm->gate.parked_fd, .events = POLLIN },
		{ .fd = vmm->over ? -1 : vmm->stop.fd, .events = POLLIN },
		{ .fd = vmm->call_off_fd, .events = POLLIN },
	};

	if (ppoll(fds, 3, &timeout, NULL) < 0)
		return 0; /* EINTR: nobody has come */
	*count = vblk_eventfd_clear(vmm->gate.parked_fd);
	return fds[1].revents || fds[2].revents ? -ECANCELED : 0;
}

static const struct vmm_freeze_ops ops = {
	.clear = clear,
	.ask = ask,
	.is_parked = is_parked,
	.release = release,
	.wait = wait_for_acks,
};

int vmm_freeze_connect(struct vmm *vmm, struct vmm_error *error)
{
	vmm->freeze = (struct vmm_freeze){
		.ops = &ops,
		.context = vmm,
		.vcpus = vmm->vcpu_count,
		.devices = vmm->bus.device_count,
	};
	for (unsigned int i = 0; i < vmm->bus.device_count; i++) {
		int ret = vblk_device_set_parked_fd(vmm->bus.devices[i], vmm->gate.parked_fd);

		if (ret)
			return vmm_error_host(error, ret, "cannot watch disk %u", i);
	}
	return 0;
}

int vmm_freeze(struct vmm *vmm, struct vmm_freeze_report *report, struct vmm_error *error)
{
	int ret = 0;

	if (!vmm->frozen)
		ret = vmm_freeze_all(&vmm->freeze, &vmm->frozen_report, error);
	if (ret)
		return ret;
	vmm->frozen = true;
	*report = vmm->frozen_report;
	return 0;
}

void vmm_thaw(struct vmm *vmm)
{
	if (!vmm->frozen)
		return;
	vmm->frozen = false;
	vmm_thaw_all(&vmm->freeze);
}

void vmm_end(struct vmm *vmm)
{
	vmm_stop_request(&vmm->stop, VMM_END_ASKED);
}

bool vmm_is_frozen(const struct vmm *vmm)
{
	return vmm->frozen;
}

void vmm_pause_disk(struct vmm *vmm, unsigned int disk)
{
	vmm_bus_hold(&vmm->bus, disk);
}

void vmm_resume_disk(struct vmm *vmm, unsigned int disk)
{
	vmm_bus_let_go(&vmm->bus, disk);
	if (!vmm->frozen)
		vblk_device_resume(vmm->bus.devices[disk]);
}

bool vmm_disk_is_held(const struct vmm *vmm, unsigned int disk)
{
	return vmm->bus.held[disk];
}
