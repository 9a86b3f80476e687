/* SPDX-License-Identifier: MIT */
#include "ram.h"

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fail.h"

#define PAGE 4096u

static void on_release(void *context)
{
	struct ram *ram = context;

	atomic_store_explicit(&ram->released, true, memory_order_release);
}

static void map_region(struct ram *ram, uint64_t address, uint64_t length)
{
	struct ram_region *region = &ram->region[ram->count++];
	size_t body = (size_t)((length + PAGE - 1) / PAGE * PAGE);
	uint8_t *map = mmap(NULL, body + 2 * PAGE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED || mprotect(map + PAGE, body, PROT_READ | PROT_WRITE) < 0)
		soak_fail("no memory for a guest");
	region->address = address;
	region->length = length;
	/* The end touches the page behind it, where overruns are likeliest. */
	region->host = map + PAGE + body - length;
	region->map = map;
	region->map_size = body + 2 * PAGE;
	ram->size += length;
	if (vblk_memory_add_region(ram->memory, address, length, region->host) != 0)
		soak_fail("a region of guest memory was refused");
}

/* Cuts a span into regions of random length; a cut may be in the middle of a buffer. */
static void map_span(struct ram *ram, struct rng *rng, uint64_t address, uint64_t length)
{
	unsigned cuts = rng_below(rng, RAM_SPAN_CUTS_MAX + 1);

	for (; cuts > 0 && length > (uint64_t)2 * VBLK_MEMORY_ALIGN; cuts--) {
		uint32_t units = (uint32_t)(length / VBLK_MEMORY_ALIGN) / cuts;
		uint64_t part = (uint64_t)VBLK_MEMORY_ALIGN * rng_between(rng, 1, units - 1);

		map_region(ram, address, part);
		address += part;
		length -= part;
	}
	map_region(ram, address, length);
}

struct ram *ram_create(struct rng *rng, uint64_t buffers_size)
{
	/* At 0, low, across the 32-bit border, and beyond it. */
	static const uint64_t bases[] = { 0, 0x100000, 0xffff8000, 0x4000000000 };
	struct ram *ram = calloc(1, sizeof(*ram));

	if (!ram || vblk_memory_create(on_release, ram, &ram->memory) != 0)
		soak_fail("no memory for a guest");
	atomic_init(&ram->released, false);
	ram->rings = bases[rng_below(rng, sizeof(bases) / sizeof(bases[0]))];
	ram->buffers = ram->rings + RAM_RINGS_SIZE + (uint64_t)PAGE * rng_between(rng, 0, 64);
	map_span(ram, rng, ram->buffers, buffers_size);
	map_span(ram, rng, ram->rings, RAM_RINGS_SIZE);
	return ram;
}

void ram_drop(struct ram *ram)
{
	vblk_memory_unref(ram->memory);
	ram->memory = NULL;
}

bool ram_is_released(const struct ram *ram)
{
	return atomic_load_explicit(&ram->released, memory_order_acquire);
}

void ram_destroy(struct ram *ram)
{
	for (size_t i = 0; i < ram->count; i++)
		munmap(ram->region[i].map, ram->region[i].map_size);
	free(ram);
}

/* Where an address is, and how many of `wanted` bytes follow in the same region. */
static uint8_t *at(const struct ram *ram, uint64_t address, size_t wanted, size_t *length)
{
	for (size_t i = 0; i < ram->count; i++) {
		const struct ram_region *region = &ram->region[i];
		uint64_t offset = address - region->address;

		if (address < region->address || offset >= region->length)
			continue;
		*length = region->length - offset < wanted ? (size_t)(region->length - offset)
							   : wanted;
		return region->host + offset;
	}
	soak_fail("the driver uses address %#" PRIx64 ", which is not in its memory", address);
}

void ram_write(struct ram *ram, uint64_t address, const void *bytes, size_t length)
{
	const uint8_t *from = bytes;
	size_t part;

	for (; length > 0; address += part, from += part, length -= part) {
		uint8_t *host = at(ram, address, length, &part);

		memcpy(host, from, part);
	}
}

void ram_read(const struct ram *ram, uint64_t address, void *bytes, size_t length)
{
	uint8_t *to = bytes;
	size_t part;

	for (; length > 0; address += part, to += part, length -= part) {
		const uint8_t *host = at(ram, address, length, &part);

		memcpy(to, host, part);
	}
}

void ram_set(struct ram *ram, uint64_t address, uint8_t value, size_t length)
{
	size_t part;

	for (; length > 0; address += part, length -= part) {
		uint8_t *host = at(ram, address, length, &part);

		memset(host, value, part);
	}
}

/* Aligned values lie in one region: regions begin and end at multiples of 16. */
static void *aligned(const struct ram *ram, uint64_t address, size_t size)
{
	size_t part;
	void *host = at(ram, address, size, &part);

	if (part != size || address % size != 0)
		soak_fail("the driver uses address %#" PRIx64 " for %zu bytes", address, size);
	return host;
}

uint16_t ram_load16(const struct ram *ram, uint64_t address)
{
	const uint16_t *host = aligned(ram, address, sizeof(*host));

	return le16toh(__atomic_load_n(host, __ATOMIC_ACQUIRE));
}

void ram_store16(struct ram *ram, uint64_t address, uint16_t value)
{
	uint16_t *host = aligned(ram, address, sizeof(*host));

	__atomic_store_n(host, htole16(value), __ATOMIC_RELEASE);
}

uint32_t ram_load32(const struct ram *ram, uint64_t address)
{
	const uint32_t *host = aligned(ram, address, sizeof(*host));

	return le32toh(__atomic_load_n(host, __ATOMIC_RELAXED));
}

void ram_copy_all(const struct ram *ram, uint8_t *bytes)
{
	for (size_t i = 0; i < ram->count; i++) {
		memcpy(bytes, ram->region[i].host, ram->region[i].length);
		bytes += ram->region[i].length;
	}
}

bool ram_equals(const struct ram *ram, const uint8_t *bytes)
{
	for (size_t i = 0; i < ram->count; i++) {
		if (memcmp(bytes, ram->region[i].host, ram->region[i].length) != 0)
			return false;
		bytes += ram->region[i].length;
	}
	return true;
}
