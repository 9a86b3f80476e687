/* SPDX-License-Identifier: MIT */
/*
 * Running a vCPU: enter the guest, do what it could not do alone, enter again.
 *
 * Leaving in time: `immediate_exit` in the shared structure makes the next KVM_RUN return at once,
 * and a signal makes the present one return. Who kicks sets the first, then sends the second, so
 * a kick between two runs is not lost. The flag is cleared by the vCPU before it looks at the
 * reasons for a kick.
 *
 * A vCPU parks only after a KVM_RUN that returned for a kick. What the last exit asked for is then
 * finished, up to the registers that a port was read into: so says api.rst, and it is why a closed
 * gate is answered by one more KVM_RUN, which returns at once.
 */
#include "vmm/vcpu.h"

#include "vmm/cpu_state.h"
#include "vmm/cpuid.h"
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CPUID_ENTRIES 256u
#define RFLAGS_IF     0x200u
#define JOIN_STEP_NS  10000000L

static int set_cpuid(const struct vmm_vcpu *vcpu, const struct vmm_kvm *kvm,
		     const struct vmm_vcpu_options *options, struct vmm_error *error)
{
	const struct vmm_cpuid_shape shape = {
		.cpu = options->id,
		.cpus = options->cpus,
		.tsc_deadline = kvm->tsc_deadline,
		.kvm_pvm = options->kvm_pvm,
	};
	struct kvm_cpuid2 *cpuid;
	int ret = 0;

	cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return vmm_error_host(error, -ENOMEM, "cannot prepare CPUID");
	cpuid->nent = CPUID_ENTRIES;
	if (ioctl(kvm->system, KVM_GET_SUPPORTED_CPUID, cpuid) < 0) {
		ret = vmm_error_host(error, -errno, "cannot ask KVM for its CPUID");
	} else {
		vmm_cpuid_adapt(cpuid->entries, cpuid->nent, &shape);
		if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
			ret = vmm_error_host(error, -errno, "cannot set the CPUID of a vCPU");
	}
	free(cpuid);
	return ret;
}

int vmm_vcpu_create(struct vmm_vcpu *vcpu, const struct vmm_kvm *kvm,
		    const struct vmm_vcpu_options *options, struct vmm_bus *bus,
		    struct vmm_gate *gate, struct vmm_stop *stop, struct vmm_error *error)
{
	int ret;

	vcpu->id = options->id;
	vcpu->run = MAP_FAILED;
	vcpu->run_size = kvm->run_size;
	vcpu->bus = bus;
	vcpu->gate = gate;
	vcpu->stop = stop;
	vcpu->started = false;
	atomic_init(&vcpu->probe, VMM_PROBE_IDLE);
	atomic_init(&vcpu->parked, false);

	vcpu->fd = ioctl(kvm->machine, KVM_CREATE_VCPU, (unsigned long)options->id);
	if (vcpu->fd < 0)
		return vmm_error_host(error, -errno, "cannot create vCPU %u", options->id);
	vcpu->run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		return vmm_error_host(error, -errno, "cannot map vCPU %u", options->id);

	ret = set_cpuid(vcpu, kvm, options, error);
	if (!ret)
		ret = vmm_cpu_state_common(vcpu->fd, error);
	if (!ret && options->id == 0)
		ret = vmm_cpu_state_enter(vcpu->fd, options->entry, error);
	return ret;
}

void vmm_vcpu_destroy(struct vmm_vcpu *vcpu)
{
	if (vcpu->run != MAP_FAILED)
		munmap(vcpu->run, vcpu->run_size);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
}

static void serve_port(struct vmm_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)vcpu->run + run->io.data_offset;

	if (run->io.direction == KVM_EXIT_IO_OUT)
		vmm_bus_port_write(vcpu->bus, run->io.port, data, run->io.size, run->io.count);
	else
		vmm_bus_port_read(vcpu->bus, run->io.port, data, run->io.size, run->io.count);
}

static void serve_memory(struct vmm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (run->mmio.is_write)
		vmm_bus_memory_write(vcpu->bus, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		vmm_bus_memory_read(vcpu->bus, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

/* `code` 0: the guest's fault, there is no errno to it. */
__attribute__((format(printf, 3, 4))) static void fail(struct vmm_vcpu *vcpu, int code,
						       const char *format, ...)
{
	struct vmm_error error;
	char text[160];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (code) {
		vmm_error_host(&error, code, "vCPU %u: %s", vcpu->id, text);
	} else {
		error.bad_input = false;
		snprintf(error.text, sizeof(error.text), "vCPU %u: %s", vcpu->id, text);
	}
	/* Once the machine has ended, what a vCPU runs into is of no interest. */
	if (vmm_stop_fail(vcpu->stop, &error))
		vmm_vcpu_dump(vcpu, vcpu->diagnostics);
}

static const char *internal_error_name(uint32_t suberror)
{
	switch (suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		return "an instruction that KVM cannot emulate";
	case KVM_INTERNAL_ERROR_SIMUL_EX:
		return "several exceptions at once";
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		return "an exit during the delivery of an event";
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
		return "an unexpected exit from the guest";
	default:
		return "of an unknown kind";
	}
}

static void serve_system_event(struct vmm_vcpu *vcpu)
{
	uint32_t type = vcpu->run->system_event.type;

	if (type == KVM_SYSTEM_EVENT_SHUTDOWN || type == KVM_SYSTEM_EVENT_RESET)
		vmm_stop_request(vcpu->stop, VMM_END_REBOOT);
	else
		fail(vcpu, 0, "the guest reports a crash (system event %u)", type);
}

static void serve_exit(struct vmm_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		serve_port(vcpu);
		break;
	case KVM_EXIT_MMIO:
		serve_memory(vcpu);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_HLT:
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		serve_system_event(vcpu);
		break;
	case KVM_EXIT_SHUTDOWN:
		fail(vcpu, 0, "triple fault");
		break;
	case KVM_EXIT_FAIL_ENTRY:
		fail(vcpu, 0, "the processor refuses to enter the guest, reason 0x%llx",
		     (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		fail(vcpu, 0, "KVM internal error %u: %s", run->internal.suberror,
		     internal_error_name(run->internal.suberror));
		break;
	default:
		fail(vcpu, 0, "KVM left the guest for a reason that is not known here: %u",
		     run->exit_reason);
		break;
	}
}

/* Whether this vCPU sleeps so deeply that no interrupt of a device can wake it. */
static bool is_dead(const struct vmm_vcpu *vcpu)
{
	struct kvm_mp_state state;
	struct kvm_regs regs;

	if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &state) < 0)
		return false;
	if (state.mp_state != KVM_MP_STATE_HALTED)
		return state.mp_state != KVM_MP_STATE_RUNNABLE;
	return ioctl(vcpu->fd, KVM_GET_REGS, &regs) == 0 && !(regs.rflags & RFLAGS_IF);
}

static void exit_immediately(struct vmm_vcpu *vcpu, uint8_t value)
{
	__atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

static void answer_kick(struct vmm_vcpu *vcpu)
{
	exit_immediately(vcpu, 0);
	if (atomic_load(&vcpu->probe) == VMM_PROBE_ASKED)
		atomic_store(&vcpu->probe, is_dead(vcpu) ? VMM_PROBE_DEAD : VMM_PROBE_ALIVE);
	vmm_gate_pass(vcpu->gate, &vcpu->parked);
}

static void *run_vcpu(void *context)
{
	struct vmm_vcpu *vcpu = context;
	char name[16];
	sigset_t kick;

	snprintf(name, sizeof(name), "vcpu%u", vcpu->id);
	pthread_setname_np(pthread_self(), name);
	sigemptyset(&kick);
	sigaddset(&kick, VMM_KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);

	while (vmm_stop_reason(vcpu->stop) == VMM_END_NONE) {
		vmm_console_go_on(vcpu->bus->console);
		if (vmm_gate_is_closed(vcpu->gate))
			exit_immediately(vcpu, 1);
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0)
			serve_exit(vcpu);
		else if (errno == EINTR || errno == EAGAIN)
			answer_kick(vcpu);
		else
			fail(vcpu, -errno, "cannot run the guest");
	}
	return NULL;
}

int vmm_vcpu_start(struct vmm_vcpu *vcpu, FILE *diagnostics)
{
	int ret;

	vcpu->diagnostics = diagnostics;
	ret = pthread_create(&vcpu->thread, NULL, run_vcpu, vcpu);
	vcpu->started = ret == 0;
	return -ret;
}

void vmm_vcpu_kick(struct vmm_vcpu *vcpu)
{
	exit_immediately(vcpu, 1);
	pthread_kill(vcpu->thread, VMM_KICK_SIGNAL);
}

void vmm_vcpu_join(struct vmm_vcpu *vcpu)
{
	struct timespec until;

	if (!vcpu->started)
		return;
	/* One kick is enough for KVM_RUN, but it can come just before a write that blocks. */
	do {
		vmm_vcpu_kick(vcpu);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += JOIN_STEP_NS;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_nsec -= 1000000000L;
			until.tv_sec++;
		}
	} while (pthread_clockjoin_np(vcpu->thread, NULL, CLOCK_MONOTONIC, &until) == ETIMEDOUT);
	vcpu->started = false;
}
