/* SPDX-License-Identifier: MIT */
/*
 * The front end's table of guest memory: which regions there are, and whether they can be. Data
 * alone, nothing is mapped here.
 *
 * Regions are disjoint in the guest's addresses and in the front end's own (by which rings are
 * named), so that an address means one place or none. They have slots, counted from 0 without a
 * gap; whoever maps them keeps what belongs to a region in an array of the same order. A table
 * belongs to one thread.
 *
 * Errors come with a text of static storage that says what is wrong.
 */
#ifndef VBLK_VHOST_REGIONS_H
#define VBLK_VHOST_REGIONS_H

#include "vhost/message.h"

/*
 * The most memory of all regions together: what processors can address. A table within it has sums
 * that do not overflow.
 */
#define VBLK_VHOST_MEMORY_MAX (1ull << 52)

struct vblk_vhost_regions {
	uint32_t count;
	uint64_t total; /* bytes of all regions */
	struct vblk_vhost_region region[VBLK_VHOST_SLOTS_MAX];
};

/* The table without a region. */
void vblk_vhost_regions_clear(struct vblk_vhost_regions *regions);

/*
 * Adds a region in slot regions->count. Returns 0, or with *reason and an unchanged table
 *   -EINVAL  it is empty; its guest address, size, user address or offset is not a multiple of
 *            VBLK_MEMORY_ALIGN; it passes the end of either address space, or 2^63 in its file;
 *   -EEXIST  it overlaps a region that is there, in the guest's addresses or the front end's;
 *   -ENOSPC  there are VBLK_VHOST_SLOTS_MAX regions or more than VBLK_VHOST_MEMORY_MAX bytes.
 */
VBLK_MUST_USE int vblk_vhost_regions_add(struct vblk_vhost_regions *regions,
					 const struct vblk_vhost_region *region,
					 const char **reason);

/*
 * Removes the region that has the same guest address, user address and size; the offset does not
 * count. *slot is where it was: regions behind it move down by one. Returns 0, or -ENOENT with
 * *reason.
 */
VBLK_MUST_USE int vblk_vhost_regions_remove(struct vblk_vhost_regions *regions,
					    const struct vblk_vhost_region *region, uint32_t *slot,
					    const char **reason);

/*
 * Replaces all regions by those of a message, in its order. Returns 0, or what
 * vblk_vhost_regions_add said of the first that does not fit, with the table as it was.
 */
VBLK_MUST_USE int vblk_vhost_regions_set(struct vblk_vhost_regions *regions,
					 const struct vblk_vhost_memory *memory,
					 const char **reason);

/*
 * The guest-physical address of `length` bytes (at least 1) at the front end's address `user`. They
 * may span regions that are neighbours in both address spaces. Returns 0; -EFAULT if a byte is in
 * no region, or the bytes are not contiguous in the guest.
 */
VBLK_MUST_USE int vblk_vhost_regions_translate(const struct vblk_vhost_regions *regions,
					       uint64_t user, uint64_t length, uint64_t *guest);

/* How a region is mapped: `length` bytes at `offset` of its file; it begins `skip` bytes in. */
struct vblk_vhost_mapping {
	uint64_t offset;
	uint64_t length;
	uint64_t skip;
};

/*
 * The mapping of a region of the table, in pages of its file system: `page` is a power of two, the
 * page size of the processor or of the huge pages that the file consists of. Returns 0; -EINVAL if
 * `page` is no such number; -ERANGE if the last page ends above 2^63.
 */
VBLK_MUST_USE int vblk_vhost_region_mapping(const struct vblk_vhost_region *region, uint64_t page,
					    struct vblk_vhost_mapping *mapping);

/* Whether a file of `size` bytes has all of the region. If not, touching it is a SIGBUS. */
bool vblk_vhost_region_is_in_file(const struct vblk_vhost_region *region, uint64_t size);

#endif
