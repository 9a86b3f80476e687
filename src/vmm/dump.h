/* SPDX-License-Identifier: MIT */
/*
 * What the parts of a dump share: vmm/dump.c makes the files, vmm/dump_json.c fills one of them,
 * vmm/dump_detail.c the part of it that is histograms.
 */
#ifndef VMM_DUMP_H
#define VMM_DUMP_H

#include "vmm/json.h"
#include "vmm/machine.h"
#include "vmm/pagetable.h"
#include "vmm/vmcoreinfo.h"
#include <linux/kvm.h>

/* A machine as it is dumped. */
struct vmm_picture {
	struct vmm *vmm;
	const struct vmm_dump_about *about;
	struct kvm_regs regs[VMM_MAX_CPUS];
	struct kvm_sregs sregs[VMM_MAX_CPUS];
	struct vmm_walk_limits limits;
	struct vmm_mappings mappings; /* none if no vCPU has paging in long mode */
	uint64_t page_tables;	      /* guest-physical, where they were found; 0: nowhere */
	struct vmm_vmcoreinfo info;
};

/* dump.json, whole. docs/freeze.md says what is in it. */
void vmm_dump_json(const struct vmm_picture *picture, struct vmm_json *json);

/* The histograms of a disk and its errors by reason, as members. */
void vmm_dump_detail(const struct vblk_metrics *metrics, struct vmm_json *json);

#endif
