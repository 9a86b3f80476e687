/* SPDX-License-Identifier: MIT */
/*
 * The insides of a machine, shared by those who build it (vmm/machine.c), run it (vmm/run.c) and
 * freeze it (vmm/machine_freeze.c).
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include "vmm/freeze.h"
#include "vmm/ram.h"
#include "vmm/vcpu.h"

struct vmm {
	struct vmm_kvm kvm;
	struct vmm_ram ram;
	struct vblk_memory *memory; /* keeps ram */
	struct vmm_stop stop;
	struct vmm_console console;
	struct vmm_bus bus;
	struct vmm_gate gate;
	struct vmm_freeze freeze; /* this, and the next four, belong to the thread in vmm_run() */
	bool frozen;
	struct vmm_freeze_report frozen_report;
	int call_off_fd; /* signalfd: what calls a freeze off; -1: nothing */
	bool over;	 /* vmm_run() has returned: no vCPU runs any more */
	unsigned int vcpu_count;
	struct vmm_vcpu vcpus[VMM_MAX_CPUS];
};

/* vmm/machine_freeze.c: connects the coordinator with vCPUs and devices. Once all are there. */
VBLK_MUST_USE int vmm_freeze_connect(struct vmm *vmm, struct vmm_error *error);

#endif
