/* SPDX-License-Identifier: MIT */
/* Mapping a front end's files, and the maps of guest memory made of them. */
#include "vhost/guest_memory.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/sigbus.h"

struct vblk_vhost_account {
	atomic_uint refs; /* the owner's, and one of each mapping */
	atomic_uint mappings;
	int event_fd;
};

struct vblk_vhost_mapping_ref {
	atomic_uint refs;
	struct vblk_vhost_account *account; /* owned reference */
	void *start;
	size_t length;
	uint64_t skip;
	int watch;
};

/* What a map of guest memory keeps alive. */
struct map_owner {
	uint32_t count;
	struct vblk_vhost_mapping_ref *mapping[];
};

/* ---- accounts ---- */

int vblk_vhost_account_create(int event_fd, struct vblk_vhost_account **account)
{
	struct vblk_vhost_account *made = malloc(sizeof(*made));

	if (!made)
		return -ENOMEM;
	atomic_init(&made->refs, 1);
	atomic_init(&made->mappings, 0);
	made->event_fd = event_fd;
	*account = made;
	return 0;
}

void vblk_vhost_account_unref(struct vblk_vhost_account *account)
{
	if (account && atomic_fetch_sub_explicit(&account->refs, 1, memory_order_acq_rel) == 1)
		free(account);
}

/* Makes room for a mapping, which has a reference then. Returns 0 or -ENOSPC. */
static int charge(struct vblk_vhost_account *account)
{
	if (atomic_fetch_add(&account->mappings, 1) >= VBLK_VHOST_MAPPINGS_MAX) {
		atomic_fetch_sub(&account->mappings, 1);
		return -ENOSPC;
	}
	atomic_fetch_add_explicit(&account->refs, 1, memory_order_relaxed);
	return 0;
}

static void discharge(struct vblk_vhost_account *account)
{
	atomic_fetch_sub(&account->mappings, 1);
	vblk_vhost_account_unref(account);
}

/* ---- mappings ---- */

/* The page size of a file's memory: that of the huge pages it consists of, or the processor's. */
static int page_of(int fd, uint64_t *page)
{
	struct statfs fs;

	*page = (uint64_t)sysconf(_SC_PAGESIZE);
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type == HUGETLBFS_MAGIC && (uint64_t)fs.f_bsize > *page)
		*page = (uint64_t)fs.f_bsize;
	return 0;
}

static int check_file(int fd, const struct vblk_vhost_region *region, const char **reason)
{
	struct stat st;

	*reason = "the descriptor cannot be looked at";
	if (fstat(fd, &st) < 0)
		return -errno;
	*reason = "the descriptor is no regular file: memory has to come as one, such as a memfd";
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*reason = "the file is shorter than the memory that it is said to hold";
	return vblk_vhost_region_is_in_file(region, (uint64_t)st.st_size) ? 0 : -EINVAL;
}

/* Maps what `made` says, and watches it. */
static int map_and_watch(int fd, uint64_t offset, size_t page, struct vblk_vhost_mapping_ref *made,
			 const char **reason)
{
	*reason = "the file cannot be mapped";
	made->start = mmap(NULL, made->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			   fd, (off_t)offset);
	if (made->start == MAP_FAILED)
		return -errno;
	*reason = "all front ends together have mapped as many files as can be watched";
	made->watch = vblk_sigbus_watch(made->start, made->length, page, made->account->event_fd);
	if (made->watch < 0)
		munmap(made->start, made->length);
	return made->watch < 0 ? made->watch : 0;
}

static int map_region(int fd, const struct vblk_vhost_region *region,
		      struct vblk_vhost_account *account, struct vblk_vhost_mapping_ref **mapping,
		      const char **reason)
{
	struct vblk_vhost_mapping_ref *made;
	struct vblk_vhost_mapping where = { .length = 0 };
	uint64_t page;
	int ret;

	ret = check_file(fd, region, reason);
	if (ret < 0)
		return ret;
	*reason = "the file cannot be mapped";
	ret = page_of(fd, &page);
	if (ret == 0)
		ret = vblk_vhost_region_mapping(region, page, &where);
	if (ret < 0)
		return ret;
	*reason = "the front ends of this disk have as many files mapped as they may";
	ret = charge(account);
	if (ret < 0)
		return ret;
	*reason = "no memory for the mapping";
	ret = -ENOMEM;
	made = calloc(1, sizeof(*made));
	if (!made)
		goto give_back;
	atomic_init(&made->refs, 1);
	made->account = account;
	made->length = where.length;
	made->skip = where.skip;
	ret = map_and_watch(fd, where.offset, page, made, reason);
	if (ret < 0)
		goto give_back;
	*mapping = made;
	*reason = NULL;
	return 0;

give_back:
	free(made);
	discharge(account);
	return ret;
}

int vblk_vhost_mapping_create(int fd, uint64_t offset, uint64_t length,
			      struct vblk_vhost_account *account,
			      struct vblk_vhost_mapping_ref **mapping, const char **reason)
{
	const struct vblk_vhost_region region = { .size = length, .offset = offset };

	return map_region(fd, &region, account, mapping, reason);
}

void *vblk_vhost_mapping_at(const struct vblk_vhost_mapping_ref *mapping)
{
	return (uint8_t *)mapping->start + mapping->skip;
}

struct vblk_vhost_mapping_ref *vblk_vhost_mapping_ref(struct vblk_vhost_mapping_ref *mapping)
{
	atomic_fetch_add_explicit(&mapping->refs, 1, memory_order_relaxed);
	return mapping;
}

void vblk_vhost_mapping_unref(struct vblk_vhost_mapping_ref *mapping)
{
	if (!mapping || atomic_fetch_sub_explicit(&mapping->refs, 1, memory_order_acq_rel) != 1)
		return;
	vblk_sigbus_forget(mapping->watch);
	munmap(mapping->start, mapping->length);
	discharge(mapping->account);
	free(mapping);
}

void vblk_vhost_mapping_drop(struct vblk_vhost_mapping_ref *mapping)
{
	if (mapping)
		vblk_sigbus_mute(mapping->watch);
	vblk_vhost_mapping_unref(mapping);
}

bool vblk_vhost_mapping_has_failed(const struct vblk_vhost_mapping_ref *mapping)
{
	return vblk_sigbus_has_failed(mapping->watch);
}

/* ---- maps ---- */

static void release_map(void *context)
{
	struct map_owner *owner = context;

	for (uint32_t i = 0; i < owner->count; i++)
		vblk_vhost_mapping_unref(owner->mapping[i]);
	free(owner);
}

/* A map of all regions of a table, which is within its limits; NULL of none. */
static int make_map(const struct vblk_vhost_regions *regions,
		    struct vblk_vhost_mapping_ref *const *mappings, struct vblk_memory **map)
{
	struct map_owner *owner;
	int ret;

	*map = NULL;
	if (regions->count == 0)
		return 0;
	owner = malloc(sizeof(*owner) + regions->count * sizeof(struct vblk_vhost_mapping_ref *));
	if (!owner)
		return -ENOMEM;
	ret = vblk_memory_create(release_map, owner, map);
	if (ret < 0) {
		free(owner);
		return ret;
	}
	owner->count = 0;
	for (uint32_t i = 0; i < regions->count && ret == 0; i++) {
		const struct vblk_vhost_region *region = &regions->region[i];

		owner->mapping[owner->count++] = vblk_vhost_mapping_ref(mappings[i]);
		ret = vblk_memory_add_region(*map, region->guest, region->size,
					     vblk_vhost_mapping_at(mappings[i]));
	}
	if (ret < 0) {
		vblk_memory_unref(*map);
		*map = NULL;
		return ret;
	}
	vblk_memory_seal(*map);
	return 0;
}

bool vblk_vhost_map_has_failed(const struct vblk_memory *map)
{
	const struct map_owner *owner = vblk_memory_context(map);

	for (uint32_t i = 0; i < owner->count; i++) {
		if (vblk_vhost_mapping_has_failed(owner->mapping[i]))
			return true;
	}
	return false;
}

static void replace_map(struct vblk_vhost_guest_memory *memory, struct vblk_memory *map)
{
	vblk_memory_unref(memory->map);
	memory->map = map;
}

void vblk_vhost_guest_memory_init(struct vblk_vhost_guest_memory *memory,
				  struct vblk_vhost_account *account)
{
	memset(memory, 0, sizeof(*memory));
	memory->account = account;
}

static void drop_mappings(struct vblk_vhost_mapping_ref **mappings, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		vblk_vhost_mapping_drop(mappings[i]);
}

void vblk_vhost_guest_memory_clear(struct vblk_vhost_guest_memory *memory)
{
	replace_map(memory, NULL);
	drop_mappings(memory->mapping, memory->regions.count);
	vblk_vhost_regions_clear(&memory->regions);
}

int vblk_vhost_guest_memory_set(struct vblk_vhost_guest_memory *memory,
				const struct vblk_vhost_memory *table, const int *fds,
				const char **reason)
{
	struct vblk_vhost_mapping_ref *mapping[VBLK_VHOST_TABLE_MAX];
	struct vblk_vhost_regions *regions = malloc(sizeof(*regions));
	struct vblk_memory *map = NULL;
	uint32_t mapped = 0;
	int ret;

	*reason = "no memory for the table";
	if (!regions)
		return -ENOMEM;
	vblk_vhost_regions_clear(regions);
	ret = vblk_vhost_regions_set(regions, table, reason);
	while (ret == 0 && mapped < table->count) {
		ret = map_region(fds[mapped], &table->region[mapped], memory->account,
				 &mapping[mapped], reason);
		mapped += ret == 0;
	}
	if (ret == 0) {
		*reason = "no memory for the map";
		ret = make_map(regions, mapping, &map);
	}
	if (ret == 0) {
		*reason = NULL;
		drop_mappings(memory->mapping, memory->regions.count);
		memory->regions = *regions;
		memcpy(memory->mapping, mapping, mapped * sizeof(struct vblk_vhost_mapping_ref *));
		replace_map(memory, map);
	} else {
		drop_mappings(mapping, mapped);
	}
	free(regions);
	return ret;
}

int vblk_vhost_guest_memory_add(struct vblk_vhost_guest_memory *memory,
				const struct vblk_vhost_region *region, int fd, const char **reason)
{
	uint32_t slot = memory->regions.count;
	struct vblk_memory *map;
	int ret;

	ret = vblk_vhost_regions_add(&memory->regions, region, reason);
	if (ret < 0)
		return ret;
	ret = map_region(fd, region, memory->account, &memory->mapping[slot], reason);
	if (ret == 0) {
		*reason = "no memory for the map";
		ret = make_map(&memory->regions, memory->mapping, &map);
		if (ret < 0)
			vblk_vhost_mapping_drop(memory->mapping[slot]);
	}
	if (ret < 0) {
		memory->regions.count = slot;
		memory->regions.total -= region->size;
		return ret;
	}
	*reason = NULL;
	replace_map(memory, map);
	return 0;
}

int vblk_vhost_guest_memory_remove(struct vblk_vhost_guest_memory *memory,
				   const struct vblk_vhost_region *region, const char **reason)
{
	struct vblk_vhost_regions *before = malloc(sizeof(*before));
	struct vblk_vhost_mapping_ref *gone;
	struct vblk_memory *map;
	uint32_t slot;
	int ret;

	*reason = "no memory for the table";
	if (!before)
		return -ENOMEM;
	*before = memory->regions;
	ret = vblk_vhost_regions_remove(&memory->regions, region, &slot, reason);
	if (ret < 0)
		goto out;
	gone = memory->mapping[slot];
	memmove(&memory->mapping[slot], &memory->mapping[slot + 1],
		(memory->regions.count - slot) * sizeof(struct vblk_vhost_mapping_ref *));
	ret = make_map(&memory->regions, memory->mapping, &map);
	if (ret < 0) {
		memmove(&memory->mapping[slot + 1], &memory->mapping[slot],
			(memory->regions.count - slot) * sizeof(struct vblk_vhost_mapping_ref *));
		memory->mapping[slot] = gone;
		memory->regions = *before;
		*reason = "no memory for the map";
		goto out;
	}
	*reason = NULL;
	replace_map(memory, map);
	vblk_vhost_mapping_drop(gone);
out:
	free(before);
	return ret;
}

bool vblk_vhost_guest_memory_has_failed(const struct vblk_vhost_guest_memory *memory)
{
	return memory->map && vblk_vhost_map_has_failed(memory->map);
}
