/* SPDX-License-Identifier: MIT */
/* The table of guest memory. It is short and seldom touched: it is searched from front to back. */
#include "vhost/regions.h"

#include <errno.h>
#include <string.h>
#include <vblk/memory.h>

#include "base/checked.h"

void vblk_vhost_regions_clear(struct vblk_vhost_regions *regions)
{
	regions->count = 0;
	regions->total = 0;
}

static bool is_aligned(uint64_t value)
{
	return value % VBLK_MEMORY_ALIGN == 0;
}

/* Whether the last byte of a region has an address. */
static bool has_end(uint64_t start, uint64_t size)
{
	uint64_t last;

	return vblk_add_u64(start, size - 1, &last);
}

/* Of ranges that have an end. A range that ends at 2^64 has no sum: lengths are compared. */
static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b ? b - a < a_size : a - b < b_size;
}

static const char *check_region(const struct vblk_vhost_region *region)
{
	uint64_t end;

	if (region->size == 0)
		return "the region is empty";
	if (!is_aligned(region->guest) || !is_aligned(region->size))
		return "the region's guest address or size is not a multiple of 16";
	if (!is_aligned(region->user) || !is_aligned(region->offset))
		return "the region's user address or offset is not a multiple of 16";
	if (!has_end(region->guest, region->size))
		return "the region passes the end of the guest's addresses";
	if (!has_end(region->user, region->size))
		return "the region passes the end of the front end's addresses";
	if (!vblk_add_u64(region->offset, region->size, &end) || end > INT64_MAX)
		return "the region's end in its file is above 2^63";
	return NULL;
}

static const char *check_neighbours(const struct vblk_vhost_regions *regions,
				    const struct vblk_vhost_region *region)
{
	for (uint32_t i = 0; i < regions->count; i++) {
		const struct vblk_vhost_region *other = &regions->region[i];

		if (overlap(region->guest, region->size, other->guest, other->size))
			return "the region overlaps another in the guest's addresses";
		if (overlap(region->user, region->size, other->user, other->size))
			return "the region overlaps another in the front end's addresses";
	}
	return NULL;
}

int vblk_vhost_regions_add(struct vblk_vhost_regions *regions,
			   const struct vblk_vhost_region *region, const char **reason)
{
	*reason = check_region(region);
	if (*reason)
		return -EINVAL;
	*reason = check_neighbours(regions, region);
	if (*reason)
		return -EEXIST;
	if (regions->count == VBLK_VHOST_SLOTS_MAX) {
		*reason = "all 509 slots for regions are taken";
		return -ENOSPC;
	}
	if (region->size > VBLK_VHOST_MEMORY_MAX - regions->total) {
		*reason = "all regions together have more than 2^52 bytes";
		return -ENOSPC;
	}
	regions->region[regions->count++] = *region;
	regions->total += region->size;
	return 0;
}

int vblk_vhost_regions_remove(struct vblk_vhost_regions *regions,
			      const struct vblk_vhost_region *region, uint32_t *slot,
			      const char **reason)
{
	for (uint32_t i = 0; i < regions->count; i++) {
		struct vblk_vhost_region *at = &regions->region[i];

		if (at->guest != region->guest || at->user != region->user ||
		    at->size != region->size)
			continue;
		regions->count--;
		regions->total -= at->size;
		memmove(at, at + 1, (regions->count - i) * sizeof(*at));
		*slot = i;
		*reason = NULL;
		return 0;
	}
	*reason = "there is no region with this guest address, user address and size";
	return -ENOENT;
}

int vblk_vhost_regions_set(struct vblk_vhost_regions *regions,
			   const struct vblk_vhost_memory *memory, const char **reason)
{
	struct vblk_vhost_region saved[VBLK_VHOST_TABLE_MAX];
	uint32_t count = regions->count;
	uint64_t total = regions->total;
	int ret = 0;

	/* Only as many slots as the message has regions are overwritten. */
	memcpy(saved, regions->region, sizeof(saved));
	vblk_vhost_regions_clear(regions);
	*reason = NULL;
	for (uint32_t i = 0; i < memory->count && ret == 0; i++)
		ret = vblk_vhost_regions_add(regions, &memory->region[i], reason);
	if (ret < 0) {
		memcpy(regions->region, saved, sizeof(saved));
		regions->count = count;
		regions->total = total;
	}
	return ret;
}

static const struct vblk_vhost_region *find_user(const struct vblk_vhost_regions *regions,
						 uint64_t user)
{
	for (uint32_t i = 0; i < regions->count; i++) {
		const struct vblk_vhost_region *region = &regions->region[i];

		if (user >= region->user && user - region->user < region->size)
			return region;
	}
	return NULL;
}

int vblk_vhost_regions_translate(const struct vblk_vhost_regions *regions, uint64_t user,
				 uint64_t length, uint64_t *guest)
{
	const struct vblk_vhost_region *region = find_user(regions, user);
	uint64_t start, room;

	if (length == 0 || !region || !has_end(user, length))
		return -EFAULT;
	start = region->guest + (user - region->user);
	room = region->size - (user - region->user);
	/*
	 * Regions are disjoint, so the one that has the byte behind another begins with it. Each
	 * turn takes all of one: there is an end.
	 */
	while (room < length) {
		region = find_user(regions, user + room);
		if (!region || region->guest != start + room)
			return -EFAULT;
		room += region->size;
	}
	/* A region may end at 2^64, and its neighbour in numbers then begins at 0. */
	if (!has_end(start, length))
		return -EFAULT;
	*guest = start;
	return 0;
}

int vblk_vhost_region_mapping(const struct vblk_vhost_region *region, uint64_t page,
			      struct vblk_vhost_mapping *mapping)
{
	uint64_t skip, end;

	if (page == 0 || (page & (page - 1)) != 0)
		return -EINVAL;
	skip = region->offset & (page - 1);
	if (!vblk_add_u64(region->offset + region->size, page - 1, &end))
		return -ERANGE;
	end &= ~(page - 1);
	if (end > INT64_MAX)
		return -ERANGE;
	*mapping = (struct vblk_vhost_mapping){
		.offset = region->offset - skip,
		.length = end - (region->offset - skip),
		.skip = skip,
	};
	return 0;
}

bool vblk_vhost_region_is_in_file(const struct vblk_vhost_region *region, uint64_t size)
{
	return region->offset <= size && region->size <= size - region->offset;
}
