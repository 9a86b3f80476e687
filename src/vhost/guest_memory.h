/* SPDX-License-Identifier: MIT */
/*
 * Guest memory that a front end shares over its socket: files, mapped here.
 *
 * The table (regions.h) changes while rings are served, and a worker that was abandoned may still
 * use what it was started with. So each change makes a new, immutable map of guest memory
 * (vblk_memory) out of mappings that are shared between the old one and the new; a mapping goes
 * with the last map that has it.
 *
 * The files are the front end's. Of one that is cut short under us, the pages that somebody touches
 * become zeros (base/sigbus.h), and the event descriptor says so.
 *
 * Belongs to one thread; the maps that it gives out to any.
 */
#ifndef VBLK_VHOST_GUEST_MEMORY_H
#define VBLK_VHOST_GUEST_MEMORY_H

#include "memory/memory.h"
#include "vhost/codec.h"
#include "vhost/regions.h"

struct vblk_vhost_mapping_ref;

struct vblk_vhost_guest_memory {
	struct vblk_vhost_regions regions;
	struct vblk_vhost_mapping_ref *mapping[VBLK_VHOST_SLOTS_MAX]; /* by slot */
	struct vblk_memory *map;				      /* NULL: no region */
	int event_fd;						      /* borrowed */
};

/*
 * Nothing mapped. `event_fd` is written when a file of the present table turns out to be too short.
 */
void vblk_vhost_guest_memory_init(struct vblk_vhost_guest_memory *memory, int event_fd);
void vblk_vhost_guest_memory_clear(struct vblk_vhost_guest_memory *memory);

/*
 * These three change the table and make a new map. Descriptors are borrowed. Each returns 0, or a
 * negative errno with *reason and everything as it was:
 *   -EINVAL, -EEXIST, -ENOSPC, -ENOENT as in regions.h; -EINVAL too for a descriptor that is no
 *   regular file, or a file that is shorter than its region; -ENOMEM; what mmap said.
 */
VBLK_MUST_USE int vblk_vhost_guest_memory_set(struct vblk_vhost_guest_memory *memory,
					      const struct vblk_vhost_memory *table, const int *fds,
					      const char **reason);
VBLK_MUST_USE int vblk_vhost_guest_memory_add(struct vblk_vhost_guest_memory *memory,
					      const struct vblk_vhost_region *region, int fd,
					      const char **reason);
VBLK_MUST_USE int vblk_vhost_guest_memory_remove(struct vblk_vhost_guest_memory *memory,
						 const struct vblk_vhost_region *region,
						 const char **reason);

/* Whether a file of the present table was found to be cut short. */
bool vblk_vhost_guest_memory_has_failed(const struct vblk_vhost_guest_memory *memory);

/*
 * Maps `length` bytes (at least 1) at `offset` of a file that came over the socket, readable and
 * writable and watched like guest memory: for the dirty log and the inflight record. The file must
 * be that long. The descriptor is borrowed. Returns 0, or a negative errno with *reason.
 */
VBLK_MUST_USE int vblk_vhost_mapping_create(int fd, uint64_t offset, uint64_t length, int event_fd,
					    struct vblk_vhost_mapping_ref **mapping,
					    const char **reason);

/* Where the byte at `offset` is. */
void *vblk_vhost_mapping_at(const struct vblk_vhost_mapping_ref *mapping);
struct vblk_vhost_mapping_ref *vblk_vhost_mapping_ref(struct vblk_vhost_mapping_ref *mapping);
void vblk_vhost_mapping_unref(struct vblk_vhost_mapping_ref *mapping);

/* By the owner of the event descriptor: gives a reference back, and hears no more of it. */
void vblk_vhost_mapping_drop(struct vblk_vhost_mapping_ref *mapping);
bool vblk_vhost_mapping_has_failed(const struct vblk_vhost_mapping_ref *mapping);

#endif
