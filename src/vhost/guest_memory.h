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
 * What is watched for that is limited for the process, so mappings are made on an account, which is
 * that of a disk: its front ends, whoever they are and whatever workers of theirs were left behind,
 * take nothing from those of other disks.
 *
 * Belongs to one thread; the maps that it gives out to any.
 */
#ifndef VBLK_VHOST_GUEST_MEMORY_H
#define VBLK_VHOST_GUEST_MEMORY_H

#include "memory/memory.h"
#include "vhost/codec.h"
#include "vhost/regions.h"

/*
 * The mappings of an account: the regions of a table that is as long as it may be, those of the one
 * that takes its place, a log and a record with theirs, and what workers that were given up keep.
 */
#define VBLK_VHOST_MAPPINGS_MAX 640u

struct vblk_vhost_mapping_ref;
struct vblk_vhost_account;

struct vblk_vhost_guest_memory {
	struct vblk_vhost_regions regions;
	struct vblk_vhost_mapping_ref *mapping[VBLK_VHOST_SLOTS_MAX]; /* by slot */
	struct vblk_memory *map;				      /* NULL: no region */
	struct vblk_vhost_account *account;			      /* borrowed */
};

/*
 * An account for files of front ends, with no mapping yet. `event_fd`, which is borrowed, is
 * written when a file of it turns out to be too short, unless the mapping was dropped before.
 * Returns 0 or -ENOMEM. The mappings keep the account for as long as they need it.
 */
VBLK_MUST_USE int vblk_vhost_account_create(int event_fd, struct vblk_vhost_account **account);
void vblk_vhost_account_unref(struct vblk_vhost_account *account);

/* Nothing mapped. What will be is on the account. */
void vblk_vhost_guest_memory_init(struct vblk_vhost_guest_memory *memory,
				  struct vblk_vhost_account *account);
void vblk_vhost_guest_memory_clear(struct vblk_vhost_guest_memory *memory);

/*
 * These three change the table and make a new map. Descriptors are borrowed. Each returns 0, or a
 * negative errno with *reason and everything as it was:
 *   -EINVAL, -EEXIST, -ENOSPC, -ENOENT as in regions.h; -EINVAL too for a descriptor that is no
 *   regular file, or a file that is shorter than its region; -ENOSPC too if the account has no
 *   room, or the process; -ENOMEM; what mmap said.
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

/* The same of a map that is or was given out, by whoever holds it. Any thread. */
bool vblk_vhost_map_has_failed(const struct vblk_memory *map);

/*
 * Maps `length` bytes (at least 1) at `offset` of a file that came over the socket, readable and
 * writable and watched like guest memory: for the dirty log and the inflight record. The file must
 * be that long. The descriptor is borrowed. Returns 0, or a negative errno with *reason.
 */
VBLK_MUST_USE int vblk_vhost_mapping_create(int fd, uint64_t offset, uint64_t length,
					    struct vblk_vhost_account *account,
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
