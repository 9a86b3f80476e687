/* SPDX-License-Identifier: MIT */
/*
 * Guest memory: a map from guest-physical addresses to host addresses.
 *
 * A map is built by one thread, region by region, and is immutable from the moment it is handed
 * to a device (vblk_device_set_memory). After that any thread may read it without a lock.
 *
 * The library does not own the mapped bytes. They must stay mapped, readable and writable until
 * the map's release callback runs, which is when its last reference goes. A device that had to
 * abandon a stuck worker keeps its reference until that worker has gone, possibly long after
 * vblk_device_destroy: unmap in the callback, not after destroy.
 */
#ifndef VBLK_MEMORY_H
#define VBLK_MEMORY_H

#include <vblk/types.h>

VBLK_BEGIN_DECLS

/* Addresses and lengths of regions are multiples of this many bytes (pages always are). */
#define VBLK_MEMORY_ALIGN 16u

/*
 * Creates an empty map with one reference, owned by the caller.
 *
 * release: called once, from the thread that drops the last reference; may be NULL.
 * Returns 0, or -ENOMEM.
 */
VBLK_API VBLK_MUST_USE int vblk_memory_create(void (*release)(void *context), void *context,
					      struct vblk_memory **memory);

/*
 * Adds `length` bytes of guest memory at guest-physical address `address`, found at `host`.
 * Regions may be added in any order and may touch; neighbours in the guest need not be
 * neighbours in the host.
 *
 * Returns 0;
 *   -EINVAL    length is 0, host is NULL, one of the three is not a multiple of
 *              VBLK_MEMORY_ALIGN, or a range passes the end of its address space;
 *   -EEXIST    it overlaps a region that is there;
 *   -EBUSY     the map is already in use by a device;
 *   -ENOMEM.
 */
VBLK_API VBLK_MUST_USE int vblk_memory_add_region(struct vblk_memory *memory, uint64_t address,
						  uint64_t length, void *host);

/* Number of regions. */
VBLK_API size_t vblk_memory_region_count(const struct vblk_memory *memory);

/* Takes one more reference. Any thread. Returns its argument. */
VBLK_API struct vblk_memory *vblk_memory_ref(struct vblk_memory *memory);

/* Gives one reference back; the last one frees the map. NULL is ignored. Any thread. */
VBLK_API void vblk_memory_unref(struct vblk_memory *memory);

VBLK_END_DECLS

#endif
