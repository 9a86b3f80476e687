/* SPDX-License-Identifier: MIT */
/*
 * Guest memory: one anonymous mapping, seen by the guest in one piece below the hole and, if it
 * does not fit, a second one from 4 GiB on. It is freed by the release callback of the map that
 * devices hold references to, so a worker that is stuck in the host keeps it.
 */
#ifndef VMM_RAM_H
#define VMM_RAM_H

#include "vmm/error.h"

struct vmm_ram {
	uint8_t *host;	     /* guest-physical 0 */
	uint64_t low_bytes;  /* from guest-physical 0 */
	uint64_t high_bytes; /* from VMM_HOLE_END; at host + low_bytes */
};

/* A piece of guest-physical addresses that is memory. */
#define VMM_RAM_REGIONS 2u
struct vmm_ram_region {
	uint64_t address;
	uint64_t bytes; /* may be 0 */
	const uint8_t *host;
};

/* `index` is below VMM_RAM_REGIONS; ascending. */
struct vmm_ram_region vmm_ram_region(const struct vmm_ram *ram, unsigned int index);

/* Where the host sees `bytes` from guest-physical `address`; NULL if not all of it is memory. */
const uint8_t *vmm_ram_at(const struct vmm_ram *ram, uint64_t address, uint64_t bytes);

/*
 * Reserves `bytes` of memory, which cost nothing until they are touched, and makes the map of
 * it. `*ram` describes the memory for as long as the caller holds its reference to `*memory`.
 * Returns 0, or a negative errno with `error` filled in.
 */
VBLK_MUST_USE int vmm_ram_create(uint64_t bytes, struct vmm_ram *ram, struct vblk_memory **memory,
				 struct vmm_error *error);

#endif
