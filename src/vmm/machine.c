/* SPDX-License-Identifier: MIT */
/*
 * Building and taking down.
 *
 * The order of the end matters: vCPUs are gone before this is called, then KVM lets go of the
 * memory and of the devices' descriptors, then our reference to the memory goes. Devices follow,
 * by their owner.
 */
#include "vmm/machine.h"

#include "base/le.h"
#include "vmm/boot_params.h"
#include "vmm/cpu_state.h"
#include "vmm/layout.h"
#include "vmm/mptable.h"
#include "vmm/plan.h"
#include <errno.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <unistd.h>
#include <vblk/device.h>
#include <vblk/memory.h>

/* Everything that the guest finds in memory when it starts. */
static int fill_memory(const struct vmm *vmm, const struct vmm_plan *plan, struct vmm_error *error)
{
	const struct vmm_boot_info info = {
		.memory_bytes = plan->memory_bytes,
		.cmdline = VMM_CMDLINE,
		.initrd = plan->initrd,
		.initrd_size = plan->initrd_file.size,
	};
	uint8_t *low = vmm->ram.host;
	struct boot_params params;

	vmm_kernel_load(&plan->kernel, plan->kernel_file.data, low);
	if (plan->initrd_file.size)
		memcpy(low + plan->initrd, plan->initrd_file.data, plan->initrd_file.size);
	vmm_boot_params_build(&plan->kernel, plan->kernel_file.data, &info, &params);
	memcpy(low + VMM_ZERO_PAGE, &params, sizeof(params));
	memcpy(low + VMM_CMDLINE, plan->cmdline, strlen(plan->cmdline) + 1);

	vmm_cpu_state_tables(low);
	vblk_le16_put(low + VMM_BDA_EBDA_SEGMENT, VMM_EBDA >> 4);
	vblk_le16_put(low + VMM_BDA_LOW_KIB, VMM_EBDA >> 10);
	if (!vmm_mptable_build(low + VMM_EBDA, VMM_EBDA_SIZE, VMM_EBDA, plan->cpus))
		return vmm_error_host(error, -E2BIG, "no room for the MP table");
	return 0;
}

static int show_memory(const struct vmm *vmm, struct vmm_error *error)
{
	const struct vmm_ram *ram = &vmm->ram;
	int ret = vmm_kvm_add_memory(&vmm->kvm, 0, 0, ram->low_bytes, ram->host, error);

	if (!ret && ram->high_bytes)
		ret = vmm_kvm_add_memory(&vmm->kvm, 1, VMM_HOLE_END, ram->high_bytes,
					 ram->host + ram->low_bytes, error);
	return ret;
}

/* Gives a device the guest's memory, an interrupt line, and ears for its queues. */
static int connect_device(struct vmm *vmm, unsigned int index, struct vblk_device *device,
			  struct vmm_error *error)
{
	uint64_t notify = VMM_DISK_BASE + index * VMM_DISK_STRIDE + VIRTIO_MMIO_QUEUE_NOTIFY;
	int ret = vblk_device_set_memory(device, vmm->memory);

	if (ret)
		return vmm_error_host(error, ret, "cannot give disk %u its memory", index);
	ret = vmm_kvm_connect_interrupt(&vmm->kvm, vblk_device_irq_fd(device), vmm_disk_irq(index),
					error);
	for (uint32_t queue = 0; !ret; queue++) {
		int fd = vblk_device_kick_fd(device, queue);

		if (fd < 0)
			break;
		ret = vmm_kvm_connect_notification(&vmm->kvm, fd, notify, queue, error);
	}
	vmm->bus.devices[index] = device;
	return ret;
}

static int create_vcpus(struct vmm *vmm, const struct vmm_plan *plan, struct vmm_error *error)
{
	struct vmm_vcpu_options options = {
		.cpus = plan->cpus,
		.kvm_pvm = plan->kvm_pvm,
		.entry = plan->kernel.entry,
	};
	int ret = 0;

	for (unsigned int i = 0; !ret && i < plan->cpus; i++) {
		options.id = i;
		vmm->vcpu_count++;
		ret = vmm_vcpu_create(&vmm->vcpus[i], &vmm->kvm, &options, &vmm->bus, &vmm->gate,
				      &vmm->stop, error);
	}
	return ret;
}

static int build(struct vmm *vmm, const struct vmm_plan *plan, struct vblk_device *const *devices,
		 struct vmm_error *error)
{
	int ret = vmm_ram_create(plan->memory_bytes, &vmm->ram, &vmm->memory, error);

	if (!ret)
		ret = fill_memory(vmm, plan, error);
	if (!ret)
		ret = show_memory(vmm, error);
	for (unsigned int i = 0; !ret && i < plan->disks; i++) {
		ret = connect_device(vmm, i, devices[i], error);
		if (!ret)
			vmm->bus.device_count++;
	}
	if (!ret)
		ret = create_vcpus(vmm, plan, error);
	if (!ret)
		ret = vmm_freeze_connect(vmm, error);
	return ret;
}

int vmm_create(const struct vmm_plan *plan, struct vblk_device *const *devices, struct vmm **result,
	       struct vmm_error *error)
{
	struct vmm *vmm = calloc(1, sizeof(*vmm));
	int ret;

	if (!vmm)
		return vmm_error_host(error, -ENOMEM, "cannot create the machine");
	ret = vmm_kvm_open(&vmm->kvm, plan->cpus, error);
	if (ret)
		goto no_kvm;
	ret = vmm_stop_init(&vmm->stop, error);
	if (ret)
		goto no_stop;
	ret = vmm_gate_init(&vmm->gate, &vmm->stop, error);
	if (ret)
		goto no_gate;
	ret = vmm_console_init(&vmm->console, &vmm->kvm, &vmm->stop, &vmm->gate, STDOUT_FILENO,
			       error);
	if (ret)
		goto no_console;
	vmm_bus_init(&vmm->bus, &vmm->console, &vmm->stop);

	ret = build(vmm, plan, devices, error);
	if (ret) {
		vmm_destroy(vmm);
		return ret;
	}
	*result = vmm;
	return 0;

no_console:
	vmm_gate_destroy(&vmm->gate);
no_gate:
	vmm_stop_destroy(&vmm->stop);
no_stop:
	vmm_kvm_close(&vmm->kvm);
no_kvm:
	free(vmm);
	return ret;
}

void vmm_destroy(struct vmm *vmm)
{
	if (!vmm)
		return;
	for (unsigned int i = 0; i < vmm->vcpu_count; i++)
		vmm_vcpu_destroy(&vmm->vcpus[i]);
	vmm_kvm_close(&vmm->kvm);
	vmm_bus_destroy(&vmm->bus);
	vmm_console_destroy(&vmm->console);
	vmm_gate_destroy(&vmm->gate);
	vmm_stop_destroy(&vmm->stop);
	vblk_memory_unref(vmm->memory);
	free(vmm);
}
