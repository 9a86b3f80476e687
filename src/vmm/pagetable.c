/* SPDX-License-Identifier: MIT */
/*
 * The walk (Intel SDM volume 3, 4.5): each table has 512 entries of 8 bytes; one of the lowest
 * level maps 4 KiB, each level above it 512 times as much, either by a table or, with the bit PS,
 * at once. It goes by an explicit stack, one place per level.
 *
 * A kernel can have more mappings than a core file has room for: modules, stacks, and above all the
 * shadow of a sanitizer, in which one page stands for most of the address space. So the tables are
 * walked several times, for what is missed most first: the last 2 GiB, where Linux has its text and
 * data on every processor, whatever is randomized; then large pages, of which its map of all memory
 * is made; then the rest. Each walk leaves room for those behind it.
 */
#include "vmm/pagetable.h"

#include "base/checked.h"
#include "base/le.h"
#include "vmm/layout.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEVELS_MIN   4u
#define LEVELS_MAX   5u
#define ENTRIES	     512u
#define PRESENT	     (UINT64_C(1) << 0)
#define PAGE_SIZE_PS (UINT64_C(1) << 7)
#define ADDRESS	     UINT64_C(0x000ffffffffff000)
#define UPPER_HALF   (ENTRIES / 2)
#define LIST_START   64u
#define TABLES_SPARE 4096u
#define WALKS_MAX    8u	  /* of those that go as far as they may */
#define TABLES_ASK   256u /* between questions whether to go on: some 100 us */
#define IMAGE_START  (UINT64_C(0) - (UINT64_C(2) << 30)) /* of the kernel and its modules */

/* What one of the walks looks for. */
struct part {
	uint64_t start; /* linear addresses */
	uint64_t last;
	unsigned int min_level; /* 2: large pages only */
	unsigned int max_level;
	size_t slots; /* so many mappings there may be behind it */
};

static const struct part parts[] = {
	{ IMAGE_START, UINT64_MAX, 1, LEVELS_MAX, VMM_MAPPINGS_MAX / 2 },
	{ 0, IMAGE_START - 1, 2, LEVELS_MAX, VMM_MAPPINGS_MAX - VMM_MAPPINGS_MAX / 4 },
	{ 0, IMAGE_START - 1, 1, 1, VMM_MAPPINGS_MAX },
};

struct walk {
	const struct vmm_ram *ram;
	const struct part *part;
	struct vmm_mappings *out;
	size_t room;
	uint64_t tables_left;
	struct vmm_walk_limits *limits;
};

static uint64_t bytes_of_entry(unsigned int level)
{
	return VMM_PAGE_SIZE << (9 * (level - 1));
}

/* The upper half is where the highest bit is set, and all bits above it with it. */
static uint64_t canonical(uint64_t linear, unsigned int levels)
{
	unsigned int bits = 12 + 9 * levels;

	return linear >> (bits - 1) & 1 ? linear | ~((UINT64_C(1) << bits) - 1) : linear;
}

static int grow(struct walk *walk)
{
	size_t room = walk->room ? walk->room * 2 : LIST_START;
	struct vmm_mapping *list = realloc(walk->out->list, room * sizeof(*list));

	if (!list)
		return -ENOMEM;
	walk->out->list = list;
	walk->room = room;
	return 0;
}

static bool continues(const struct vmm_mapping *first, const struct vmm_mapping *second)
{
	return first->linear + first->bytes == second->linear &&
	       first->physical + first->bytes == second->physical;
}

/* Joins what continues the last mapping. */
static int add(struct walk *walk, uint64_t linear, uint64_t physical, uint64_t bytes)
{
	const struct vmm_mapping mapping = { linear, physical, bytes };
	struct vmm_mappings *out = walk->out;
	struct vmm_mapping *last = out->count ? &out->list[out->count - 1] : NULL;

	if (last && continues(last, &mapping)) {
		last->bytes += bytes;
	} else if (out->count >= walk->part->slots) {
		out->cut = true;
		return 0;
	} else {
		if ((!out->list || out->count == walk->room) && grow(walk))
			return -ENOMEM;
		out->list[out->count++] = mapping;
	}
	out->bytes += bytes;
	return 0;
}

/* A large page may reach over the end of memory, and over the hole in it. */
static int add_what_is_memory(struct walk *walk, uint64_t linear, uint64_t physical, uint64_t bytes)
{
	for (unsigned int i = 0; i < VMM_RAM_REGIONS; i++) {
		const struct vmm_ram_region region = vmm_ram_region(walk->ram, i);
		uint64_t start = physical > region.address ? physical : region.address;
		uint64_t end = vblk_min_u64(physical + bytes, region.address + region.bytes);
		int ret;

		if (start >= end)
			continue;
		ret = add(walk, linear + (start - physical), start, end - start);
		if (ret)
			return ret;
	}
	return 0;
}

/* Returns 0 with `*table`, which is NULL if there is nothing to be looked at; or -ECANCELED. */
static int open_table(struct walk *walk, uint64_t physical, const uint8_t **table)
{
	struct vmm_walk_limits *limits = walk->limits;

	*table = NULL;
	if (!walk->tables_left || !limits->tables) {
		walk->out->cut = true;
		return 0;
	}
	walk->tables_left--;
	limits->tables--;
	if (limits->tables % TABLES_ASK == 0 && limits->go_on && !limits->go_on(limits->context))
		return -ECANCELED;
	*table = vmm_ram_at(walk->ram, physical, VMM_PAGE_SIZE);
	return 0;
}

/* Whether an entry has to do with the walk in hand. */
static bool is_wanted(const struct walk *walk, uint64_t linear, unsigned int level)
{
	return level >= walk->part->min_level && linear <= walk->part->last &&
	       linear + (bytes_of_entry(level) - 1) >= walk->part->start;
}

/* One place per level of the tables; level 1 is the lowest. */
struct place {
	const uint8_t *table; /* NULL: not in guest memory */
	unsigned int next;    /* the entry to be looked at */
	uint64_t linear;      /* what the first entry maps */
};

static int walk_tables(struct walk *walk, uint64_t cr3, unsigned int levels)
{
	struct place places[LEVELS_MAX + 1];
	unsigned int level = levels;
	int ret;

	places[level] = (struct place){ NULL, UPPER_HALF, 0 };
	ret = open_table(walk, cr3 & ADDRESS, &places[level].table);
	while (!ret && level <= levels) {
		struct place *place = &places[level];
		uint64_t entry, linear, bytes = bytes_of_entry(level);

		if (!place->table || place->next == ENTRIES) {
			level++;
			continue;
		}
		entry = vblk_le64_get(place->table + 8 * (size_t)place->next);
		linear = place->linear + place->next * bytes;
		place->next++;
		if (!(entry & PRESENT) || !is_wanted(walk, canonical(linear, levels), level))
			continue;
		if (level == 1 || (level <= 3 && entry & PAGE_SIZE_PS)) {
			if (level <= walk->part->max_level)
				ret = add_what_is_memory(walk, canonical(linear, levels),
							 entry & ADDRESS & ~(bytes - 1), bytes);
		} else {
			level--;
			places[level] = (struct place){ NULL, 0, linear };
			ret = open_table(walk, entry & ADDRESS, &places[level].table);
		}
	}
	return ret;
}

static int by_linear(const void *a, const void *b)
{
	const struct vmm_mapping *left = a, *right = b;

	return left->linear < right->linear ? -1 : left->linear > right->linear;
}

/* Puts what several walks have found in one order, and joins what belongs together. */
static void merge(struct vmm_mappings *mappings)
{
	struct vmm_mapping *list = mappings->list;
	size_t count = 0;

	if (!mappings->count)
		return;
	qsort(list, mappings->count, sizeof(*list), by_linear);
	for (size_t i = 1; i < mappings->count; i++) {
		if (continues(&list[count], &list[i]))
			list[count].bytes += list[i].bytes;
		else
			list[++count] = list[i];
	}
	mappings->count = count + 1;
}

/* Twice what maps all memory by the smallest pages, and some. */
static uint64_t enough_for_a_part(const struct vmm_ram *ram)
{
	const uint64_t pages = (ram->low_bytes + ram->high_bytes) / VMM_PAGE_SIZE;

	return 2 * pages / ENTRIES + TABLES_SPARE;
}

uint64_t vmm_pagetable_enough(const struct vmm_ram *ram)
{
	return WALKS_MAX * VBLK_ARRAY_SIZE(parts) * enough_for_a_part(ram);
}

int vmm_pagetable_list(const struct vmm_ram *ram, uint64_t cr3, unsigned int levels,
		       struct vmm_walk_limits *limits, struct vmm_mappings *mappings)
{
	struct walk walk = { .ram = ram, .out = mappings, .limits = limits };

	memset(mappings, 0, sizeof(*mappings));
	if (levels < LEVELS_MIN || levels > LEVELS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(parts); i++) {
		int ret;

		walk.part = &parts[i];
		walk.tables_left = enough_for_a_part(ram);
		ret = walk_tables(&walk, cr3, levels);
		if (ret) {
			vmm_mappings_free(mappings);
			return ret;
		}
	}
	merge(mappings);
	return 0;
}

void vmm_mappings_free(struct vmm_mappings *mappings)
{
	free(mappings->list);
	memset(mappings, 0, sizeof(*mappings));
}
