/* SPDX-License-Identifier: MIT */
/* The insides of a machine, shared by those who build it (vmm/machine.c) and run it (vmm/run.c). */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include "vmm/ram.h"
#include "vmm/vcpu.h"

struct vmm {
	struct vmm_kvm kvm;
	struct vmm_ram ram;
	struct vblk_memory *memory; /* keeps ram */
	struct vmm_stop stop;
	struct vmm_console console;
	struct vmm_bus bus;
	unsigned int vcpu_count;
	struct vmm_vcpu vcpus[VMM_MAX_CPUS];
};

#endif
