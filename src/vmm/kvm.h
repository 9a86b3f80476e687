/* SPDX-License-Identifier: MIT */
/*
 * The system calls of KVM that a whole machine needs (Documentation/virt/kvm/api.rst). Those of
 * one vCPU are in vmm/vcpu.c.
 */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include "vmm/error.h"

struct vmm_kvm {
	int system; /* /dev/kvm */
	int machine;
	size_t run_size;   /* bytes of a vCPU's shared structure */
	bool tsc_deadline; /* the local APIC timer can be armed by TSC */
};

/*
 * Opens /dev/kvm, checks that it has what is needed for `cpus` vCPUs, and makes an empty machine
 * with interrupt controllers and a timer. Returns 0, or a negative errno with `error` filled in;
 * then nothing is left open.
 */
VBLK_MUST_USE int vmm_kvm_open(struct vmm_kvm *kvm, unsigned int cpus, struct vmm_error *error);

void vmm_kvm_close(struct vmm_kvm *kvm);

/* Shows `bytes` of host memory to the guest at `address`. Slots count from 0. */
VBLK_MUST_USE int vmm_kvm_add_memory(const struct vmm_kvm *kvm, uint32_t slot, uint64_t address,
				     uint64_t bytes, void *host, struct vmm_error *error);

/* A write to eventfd `fd` becomes an edge on interrupt line `line`. */
VBLK_MUST_USE int vmm_kvm_connect_interrupt(const struct vmm_kvm *kvm, int fd, uint32_t line,
					    struct vmm_error *error);

/* A 4-byte write of `value` by the guest at `address` becomes a write to eventfd `fd`. */
VBLK_MUST_USE int vmm_kvm_connect_notification(const struct vmm_kvm *kvm, int fd, uint64_t address,
					       uint32_t value, struct vmm_error *error);

/* Sets the level of an interrupt line. Any thread. Returns 0 or a negative errno. */
VBLK_MUST_USE int vmm_kvm_set_line(const struct vmm_kvm *kvm, uint32_t line, bool level);

#endif
