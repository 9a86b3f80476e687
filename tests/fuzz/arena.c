/* SPDX-License-Identifier: MIT */
/*
 * The arena. The model's side of a region, and what it is reset to, are plain copies; comparing
 * and resetting all of it costs a microsecond or two, which is less than any bookkeeping would.
 */
#include "arena.h"

#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "memory/memory.h"

#define PAGE 4096u

/* Not at the start of a page, so that there is something to poison on both sides. */
#define INSET	    64u
#define SHRED_PITCH (2u * ARENA_SHRED_SIZE)

struct region {
	uint64_t start;
	uint64_t size;
	uint8_t *host[SIDES];
	uint8_t *initial; /* NULL: never written */
};

static struct region regions[] = {
	{ .start = ARENA_LOW, .size = ARENA_LOW_SIZE },
	{ .start = ARENA_NEXT, .size = ARENA_NEXT_SIZE },
	{ .start = ARENA_FOUR_G, .size = ARENA_FOUR_G_SIZE },
	{ .start = ARENA_TOP, .size = ARENA_TOP_SIZE },
	{ .start = ARENA_BIG, .size = ARENA_BIG_SIZE },
};
static size_t region_count;

/* The shreds: far apart on the device's side, in one piece on the model's. */
static struct {
	uint8_t *host[SIDES];
	uint8_t *initial;
} shreds;

static struct vblk_memory *memory;

static struct {
	bool armed[SIDES];
	uint64_t address;
	uint8_t bits;
} trap;

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "arena: %s\n", what);
	exit(1);
}

static uint8_t *map_pages(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	require(at != MAP_FAILED, "no memory");
	return at;
}

/* `size` bytes at INSET from a page's start, poisoned around, between inaccessible pages. */
static uint8_t *map_guarded(size_t size)
{
	size_t inner = (INSET + size + PAGE - 1) / PAGE * PAGE;
	uint8_t *at = map_pages(PAGE + inner + PAGE);

	require(mprotect(at, PAGE, PROT_NONE) == 0 &&
			mprotect(at + PAGE + inner, PAGE, PROT_NONE) == 0,
		"no guard pages");
	at += PAGE;
	__asan_poison_memory_region(at, INSET);
	__asan_poison_memory_region(at + INSET + size, inner - INSET - size);
	return at + INSET;
}

/* What memory holds before anybody writes: zeros where rings usually are, else a pattern. */
static void fill_initial(uint8_t *bytes, uint64_t start, size_t size)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = start == ARENA_LOW ? 0
					      : (uint8_t)(0x80 | ((start >> 12) + i * 5 + i / 256));
}

static void make_region(struct region *region)
{
	region->host[REAL] = map_guarded(region->size);
	region->host[MODEL] = region->host[REAL];
	if (region->start != ARENA_BIG) {
		region->host[MODEL] = map_pages(region->size);
		region->initial = map_pages(region->size);
		fill_initial(region->initial, region->start, region->size);
	}
	require(vblk_memory_add_region(memory, region->start, region->size, region->host[REAL]) ==
			0,
		"a region cannot be added");
}

static void make_shreds(void)
{
	shreds.host[REAL] = map_guarded((size_t)SHRED_PITCH * ARENA_SHRED_COUNT);
	shreds.host[MODEL] = map_pages(ARENA_SHREDS_SIZE);
	shreds.initial = map_pages(ARENA_SHREDS_SIZE);
	fill_initial(shreds.initial, ARENA_SHREDS, ARENA_SHREDS_SIZE);
	for (unsigned i = 0; i < ARENA_SHRED_COUNT; i++) {
		uint8_t *host = shreds.host[REAL] + (size_t)i * SHRED_PITCH;

		__asan_poison_memory_region(host + ARENA_SHRED_SIZE,
					    SHRED_PITCH - ARENA_SHRED_SIZE);
		require(vblk_memory_add_region(memory,
					       ARENA_SHREDS + (uint64_t)i * ARENA_SHRED_SIZE,
					       ARENA_SHRED_SIZE, host) == 0,
			"a shred cannot be added");
	}
}

void arena_init(bool with_big)
{
	require(vblk_memory_create(NULL, NULL, &memory) == 0, "no map");
	region_count = sizeof(regions) / sizeof(regions[0]) - (with_big ? 0 : 1);
	for (size_t i = 0; i < region_count; i++)
		make_region(&regions[i]);
	make_shreds();
	vblk_memory_seal(memory);
	arena_reset();
}

struct vblk_memory *arena_memory(void)
{
	return memory;
}

void arena_reset(void)
{
	for (size_t i = 0; i < region_count; i++) {
		struct region *region = &regions[i];

		for (int side = 0; region->initial && side < SIDES; side++)
			memcpy(region->host[side], region->initial, region->size);
	}
	memcpy(shreds.host[MODEL], shreds.initial, ARENA_SHREDS_SIZE);
	for (unsigned i = 0; i < ARENA_SHRED_COUNT; i++)
		memcpy(shreds.host[REAL] + (size_t)i * SHRED_PITCH,
		       shreds.initial + (size_t)i * ARENA_SHRED_SIZE, ARENA_SHRED_SIZE);
	memset(&trap, 0, sizeof(trap));
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint8_t *arena_at(enum side side, uint64_t address, uint64_t length, uint64_t *run)
{
	uint64_t offset;

	for (size_t i = 0; i < region_count; i++) {
		/* Wraps to something large below the region's start. */
		offset = address - regions[i].start;
		if (offset < regions[i].size) {
			*run = least(length, regions[i].size - offset);
			return regions[i].host[side] + offset;
		}
	}
	offset = address - ARENA_SHREDS;
	if (offset >= ARENA_SHREDS_SIZE)
		return NULL;
	*run = least(length, ARENA_SHRED_SIZE - offset % ARENA_SHRED_SIZE);
	if (side == MODEL)
		return shreds.host[MODEL] + offset;
	return shreds.host[REAL] + offset / ARENA_SHRED_SIZE * SHRED_PITCH +
	       offset % ARENA_SHRED_SIZE;
}

bool arena_is_mapped(uint64_t address, uint64_t length)
{
	uint64_t run;

	if (length > 0 && length - 1 > UINT64_MAX - address)
		return false;
	for (; length > 0; address += run, length -= run) {
		if (!arena_at(MODEL, address, length, &run))
			return false;
	}
	return true;
}

bool arena_holds(const void *host, size_t length)
{
	uintptr_t at = (uintptr_t)host;
	uintptr_t offset;

	for (size_t i = 0; i < region_count; i++) {
		offset = at - (uintptr_t)regions[i].host[REAL];
		if (offset < regions[i].size)
			return length <= regions[i].size - offset;
	}
	offset = at - (uintptr_t)shreds.host[REAL];
	return offset < (uintptr_t)SHRED_PITCH * ARENA_SHRED_COUNT &&
	       offset % SHRED_PITCH < ARENA_SHRED_SIZE &&
	       length <= ARENA_SHRED_SIZE - offset % SHRED_PITCH;
}

static bool is_constant(uint64_t address)
{
	return address - ARENA_BIG < ARENA_BIG_SIZE;
}

void arena_put(uint64_t address, const void *bytes, size_t length)
{
	const uint8_t *from = bytes;
	uint64_t run;

	for (; length > 0; address += run, from += run, length -= run) {
		run = 1;
		if (is_constant(address))
			continue;
		for (int side = 0; side < SIDES; side++) {
			uint8_t *at = arena_at((enum side)side, address, length, &run);

			if (at)
				memcpy(at, from, run);
		}
	}
}

void arena_put16(uint64_t address, uint16_t value)
{
	const uint8_t bytes[] = { (uint8_t)value, (uint8_t)(value >> 8) };

	arena_put(address, bytes, sizeof(bytes));
}

void arena_put32(uint64_t address, uint32_t value)
{
	arena_put16(address, (uint16_t)value);
	arena_put16(address + 2, (uint16_t)(value >> 16));
}

void arena_put64(uint64_t address, uint64_t value)
{
	arena_put32(address, (uint32_t)value);
	arena_put32(address + 4, (uint32_t)(value >> 32));
}

void arena_flip(enum side side, uint64_t address, uint8_t bits)
{
	uint64_t run;
	uint8_t *at = arena_at(side, address, 1, &run);

	if (at && !is_constant(address))
		*at ^= bits;
}

bool arena_get(enum side side, uint64_t address, void *to, uint64_t length)
{
	uint8_t *out = to;
	uint64_t run;

	if (length > 0 && length - 1 > UINT64_MAX - address)
		return false;
	for (; length > 0; address += run, out += run, length -= run) {
		const uint8_t *at = arena_at(side, address, length, &run);

		if (!at)
			return false;
		memcpy(out, at, run);
	}
	return true;
}

void arena_set_trap(uint64_t address, uint8_t bits)
{
	trap.address = address;
	trap.bits = bits;
	trap.armed[REAL] = true;
	trap.armed[MODEL] = true;
}

void arena_fetched(enum side side, uint64_t address, uint64_t length)
{
	if (!trap.armed[side] || trap.address - address >= length)
		return;
	trap.armed[side] = false;
	arena_flip(side, trap.address, trap.bits);
}

/*
 * The linker puts these two around the device's reads of descriptors and headers.
 * NOLINTBEGIN(cert-dcl51-cpp): the names are the linker's.
 */
void vblk_memory_fetched(uint64_t address, uint64_t length)
{
	arena_fetched(REAL, address, length);
}

int __real_vblk_memory_copy_in(struct vblk_memory_view *view, void *to, uint64_t address,
			       uint64_t length);
int __wrap_vblk_memory_copy_in(struct vblk_memory_view *view, void *to, uint64_t address,
			       uint64_t length);

int __wrap_vblk_memory_copy_in(struct vblk_memory_view *view, void *to, uint64_t address,
			       uint64_t length)
{
	int ret = __real_vblk_memory_copy_in(view, to, address, length);

	if (ret == 0)
		arena_fetched(REAL, address, length);
	return ret;
}
/* NOLINTEND(cert-dcl51-cpp) */

/* Sizes are multiples of 16 bytes, and so are the places. */
static void expect_bytes(uint64_t address, const uint8_t *real, const uint8_t *model, size_t size)
{
	const uint64_t *one = (const void *)real, *other = (const void *)model;
	uint64_t differs = 0;

	/* Without an early end the compiler makes vectors of it. */
	for (size_t i = 0; i < size / sizeof(*one); i++)
		differs |= one[i] ^ other[i];
	for (size_t i = 0; differs && i < size; i++)
		FUZZ_CHECK(real[i] == model[i],
			   "guest memory at 0x%llx holds 0x%02x, should be 0x%02x",
			   (unsigned long long)address + i, real[i], model[i]);
}

void arena_expect_same(void)
{
	for (size_t i = 0; i < region_count; i++) {
		if (regions[i].initial)
			expect_bytes(regions[i].start, regions[i].host[REAL],
				     regions[i].host[MODEL], regions[i].size);
	}
	for (unsigned i = 0; i < ARENA_SHRED_COUNT; i++) {
		size_t offset = (size_t)i * ARENA_SHRED_SIZE;

		expect_bytes(ARENA_SHREDS + offset, shreds.host[REAL] + (size_t)i * SHRED_PITCH,
			     shreds.host[MODEL] + offset, ARENA_SHRED_SIZE);
	}
}
