/* SPDX-License-Identifier: MIT */
/* Thin wrappers around KVM's ioctls, with messages that say what to do about a failure. */
#include "vmm/kvm.h"

#include "base/checked.h"
#include "vmm/layout.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define KVM_PATH "/dev/kvm"

struct capability {
	int number;
	const char *name;
};

static const struct capability required[] = {
	{ KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
	{ KVM_CAP_PIT2, "KVM_CAP_PIT2" },
	{ KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
	{ KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD" },
	{ KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
	{ KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
	{ KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR" },
};

static int open_failed(int code, struct vmm_error *error)
{
	const char *advice;

	switch (code) {
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		advice = "load the module kvm_intel or kvm_amd, with virtualisation turned on in "
			 "the firmware (or nested, if this host is itself a guest)";
		break;
	case -EACCES:
	case -EPERM:
		advice = "run as root or as a member of the group that owns it, often 'kvm'";
		break;
	case -EBUSY:
		advice = "another hypervisor uses the processor's virtualisation: stop it";
		break;
	default:
		return vmm_error_host(error, code, "cannot open " KVM_PATH);
	}
	return vmm_error_host(error, code, "cannot open " KVM_PATH " (%s)", advice);
}

static int capability_value(const struct vmm_kvm *kvm, int number)
{
	int value = ioctl(kvm->system, KVM_CHECK_EXTENSION, number);

	return value > 0 ? value : 0;
}

static int check_host(struct vmm_kvm *kvm, unsigned int cpus, struct vmm_error *error)
{
	unsigned int most;
	int size;

	if (ioctl(kvm->system, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return vmm_error_host(error, -ENOTSUP, KVM_PATH " does not speak version %d",
				      KVM_API_VERSION);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(required); i++)
		if (!capability_value(kvm, required[i].number))
			return vmm_error_host(error, -ENOTSUP, "this host's KVM lacks %s",
					      required[i].name);

	most = (unsigned int)capability_value(kvm, KVM_CAP_MAX_VCPUS);
	if (cpus > most)
		return vmm_error_input(error, "--cpus %u: this host's KVM allows 1 to %u", cpus,
				       most);
	kvm->tsc_deadline = capability_value(kvm, KVM_CAP_TSC_DEADLINE_TIMER) > 0;

	size = ioctl(kvm->system, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return vmm_error_host(error, -ENOTSUP, "this host's KVM shares no vCPU structure");
	kvm->run_size = (size_t)size;
	return 0;
}

static int create_machine(struct vmm_kvm *kvm, struct vmm_error *error)
{
	const struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	__u64 identity_map = VMM_IDENTITY_MAP;

	do {
		kvm->machine = ioctl(kvm->system, KVM_CREATE_VM, 0);
	} while (kvm->machine < 0 && errno == EINTR);
	if (kvm->machine < 0)
		return vmm_error_host(error, -errno, "cannot create a virtual machine");
	if (ioctl(kvm->machine, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0 ||
	    ioctl(kvm->machine, KVM_SET_TSS_ADDR, (unsigned long)VMM_TSS) < 0)
		return vmm_error_host(error, -errno, "cannot place KVM's own pages");
	if (ioctl(kvm->machine, KVM_CREATE_IRQCHIP, 0) < 0)
		return vmm_error_host(error, -errno, "cannot create the interrupt controllers");
	if (ioctl(kvm->machine, KVM_CREATE_PIT2, &pit) < 0)
		return vmm_error_host(error, -errno, "cannot create the timer");
	return 0;
}

int vmm_kvm_open(struct vmm_kvm *kvm, unsigned int cpus, struct vmm_error *error)
{
	int ret;

	kvm->machine = -1;
	kvm->system = open(KVM_PATH, O_RDWR | O_CLOEXEC);
	if (kvm->system < 0)
		return open_failed(-errno, error);
	ret = check_host(kvm, cpus, error);
	if (!ret)
		ret = create_machine(kvm, error);
	if (ret)
		vmm_kvm_close(kvm);
	return ret;
}

void vmm_kvm_close(struct vmm_kvm *kvm)
{
	if (kvm->machine >= 0)
		close(kvm->machine);
	if (kvm->system >= 0)
		close(kvm->system);
	kvm->machine = -1;
	kvm->system = -1;
}

int vmm_kvm_add_memory(const struct vmm_kvm *kvm, uint32_t slot, uint64_t address, uint64_t bytes,
		       void *host, struct vmm_error *error)
{
	const struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = address,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)host,
	};

	if (ioctl(kvm->machine, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return vmm_error_host(error, -errno, "cannot give memory to the guest");
	return 0;
}

int vmm_kvm_connect_interrupt(const struct vmm_kvm *kvm, int fd, uint32_t line,
			      struct vmm_error *error)
{
	const struct kvm_irqfd irqfd = { .fd = (__u32)fd, .gsi = line };

	if (ioctl(kvm->machine, KVM_IRQFD, &irqfd) < 0)
		return vmm_error_host(error, -errno, "cannot connect interrupt line %u", line);
	return 0;
}

int vmm_kvm_connect_notification(const struct vmm_kvm *kvm, int fd, uint64_t address,
				 uint32_t value, struct vmm_error *error)
{
	const struct kvm_ioeventfd event = {
		.datamatch = value,
		.addr = address,
		.len = sizeof(uint32_t),
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	if (ioctl(kvm->machine, KVM_IOEVENTFD, &event) < 0)
		return vmm_error_host(error, -errno, "cannot connect the notification of queue %u",
				      value);
	return 0;
}

int vmm_kvm_set_line(const struct vmm_kvm *kvm, uint32_t line, bool level)
{
	const struct kvm_irq_level request = { .irq = line, .level = level };

	return ioctl(kvm->machine, KVM_IRQ_LINE, &request) < 0 ? -errno : 0;
}
