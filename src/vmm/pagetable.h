/* SPDX-License-Identifier: MIT */
/*
 * What a guest's kernel has mapped where: a walk over the page tables of an x86-64 processor in
 * long mode. Pure; nothing else writes the tables meanwhile.
 *
 * The tables are the guest's, which may have put anything into them: what points outside its memory
 * is passed over, a walk ends after as many tables as an honest guest of this size can need, and
 * all walks that share their limits after a few times as many, however many processors have tables
 * of their own. They can be called off besides.
 */
#ifndef VMM_PAGETABLE_H
#define VMM_PAGETABLE_H

#include "vmm/ram.h"

/* So many mappings are kept: an ELF file numbers its parts, and those between, by 16 bits. */
#define VMM_MAPPINGS_MAX 32000u

struct vmm_mapping {
	uint64_t linear;   /* the guest kernel's address */
	uint64_t physical; /* all of it in guest memory */
	uint64_t bytes;
};

struct vmm_mappings {
	struct vmm_mapping *list; /* owned; ascending by `linear`, neighbours joined */
	size_t count;
	uint64_t bytes; /* of all together; the same memory may be mapped twice */
	bool cut;	/* there is more, which was left out; the kernel's text comes first */
};

/* What several walks may cost together. */
struct vmm_walk_limits {
	uint64_t tables; /* so many more are looked at, of 512 entries each */
	/* Asked now and then: false ends a walk with -ECANCELED. NULL: nobody is asked. */
	bool (*go_on)(void *context);
	void *context;
};

/* Enough for all processors of an honest guest. */
uint64_t vmm_pagetable_enough(const struct vmm_ram *ram);

/*
 * Lists what the tables at `cr3` map in the upper half of the address space, as far as it is guest
 * memory, and takes from the limits what that cost. `levels` is 4, or 5 with CR4.LA57. Returns 0,
 * -EINVAL for another number of levels, -ECANCELED or -ENOMEM; free it after success.
 */
VBLK_MUST_USE int vmm_pagetable_list(const struct vmm_ram *ram, uint64_t cr3, unsigned int levels,
				     struct vmm_walk_limits *limits, struct vmm_mappings *mappings);
void vmm_mappings_free(struct vmm_mappings *mappings);

#endif
