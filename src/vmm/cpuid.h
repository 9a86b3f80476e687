/* SPDX-License-Identifier: MIT */
/*
 * What the CPUID instruction tells the guest: what the host's KVM supports, with the identity of
 * each vCPU put in and, on hosts that need it, features taken out. Pure; any thread.
 */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include <linux/kvm.h>
#include <vblk/types.h>

struct vmm_cpuid_shape {
	unsigned int cpu;  /* which one, from 0; its APIC id too */
	unsigned int cpus; /* how many: cores of one package, one thread each */
	bool tsc_deadline; /* the timer is there, see struct vmm_kvm */
	bool kvm_pvm;	   /* see vmm/quirks.h */
};

/* Changes entries from KVM_GET_SUPPORTED_CPUID in place. */
void vmm_cpuid_adapt(struct kvm_cpuid_entry2 *entries, size_t count,
		     const struct vmm_cpuid_shape *shape);

#endif
