/* SPDX-License-Identifier: MIT */
#include "ram.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#define PAGE 4096u

/* Readable and writable pages for `length` bytes between two that are not accessible. */
static uint8_t *map_guarded(struct ram_part *part, uint64_t length)
{
	size_t body = (size_t)((length + PAGE - 1) / PAGE * PAGE);

	part->map_size = body + 2 * PAGE;
	part->map = mmap(NULL, part->map_size, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(part->map != MAP_FAILED);
	assert_int_equal(mprotect((uint8_t *)part->map + PAGE, body, PROT_READ | PROT_WRITE), 0);
	/* The end touches the page behind it, where overruns are likeliest. */
	return (uint8_t *)part->map + PAGE + body - length;
}

static void begin(struct ram *ram, size_t count)
{
	*ram = (struct ram){ .count = count };
	ram->part = calloc(count, sizeof(*ram->part));
	assert_non_null(ram->part);
	assert_int_equal(vblk_memory_create(NULL, NULL, &ram->memory), 0);
}

static void finish(struct ram *ram)
{
	for (size_t i = 0; i < ram->count; i++) {
		const struct ram_part *part = &ram->part[i];

		assert_int_equal(vblk_memory_add_region(ram->memory, part->address, part->length,
							part->host),
				 0);
	}
	vblk_memory_seal(ram->memory);
	vblk_memory_view_init(&ram->view, ram->memory);
}

void ram_create_regions(struct ram *ram, const struct ram_region *regions, size_t count)
{
	begin(ram, count);
	for (size_t i = 0; i < count; i++) {
		ram->part[i].address = regions[i].address;
		ram->part[i].length = regions[i].length;
		ram->part[i].host = map_guarded(&ram->part[i], regions[i].length);
	}
	finish(ram);
}

void ram_create_scattered(struct ram *ram, uint64_t address, uint64_t piece, size_t count)
{
	uint8_t *host;

	begin(ram, count);
	host = map_guarded(&ram->part[0], piece * count);
	for (size_t i = 0; i < count; i++) {
		/* The even ones from the end down, the odd ones from the start up. */
		size_t place = i % 2 == 0 ? count - 1 - i / 2 : i / 2;

		ram->part[i].address = address + i * piece;
		ram->part[i].length = piece;
		ram->part[i].host = host + place * piece;
	}
	finish(ram);
}

void ram_destroy(struct ram *ram)
{
	vblk_memory_unref(ram->memory);
	for (size_t i = 0; i < ram->count; i++) {
		if (ram->part[i].map)
			munmap(ram->part[i].map, ram->part[i].map_size);
	}
	free(ram->part);
}

uint8_t *ram_at(const struct ram *ram, uint64_t address)
{
	for (size_t i = 0; i < ram->count; i++) {
		const struct ram_part *part = &ram->part[i];

		if (address >= part->address && address - part->address < part->length)
			return part->host + (address - part->address);
	}
	fail_msg("guest address %#" PRIx64 " is not mapped", address);
	return NULL;
}

void ram_put(const struct ram *ram, uint64_t address, const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		*ram_at(ram, address + i) = ((const uint8_t *)bytes)[i];
}

void ram_get(const struct ram *ram, uint64_t address, void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		((uint8_t *)bytes)[i] = *ram_at(ram, address + i);
}

static void put_value(const struct ram *ram, uint64_t address, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		*ram_at(ram, address + i) = (uint8_t)(value >> 8 * i);
}

void ram_put16(const struct ram *ram, uint64_t address, uint16_t value)
{
	put_value(ram, address, value, 2);
}

void ram_put32(const struct ram *ram, uint64_t address, uint32_t value)
{
	put_value(ram, address, value, 4);
}

void ram_put64(const struct ram *ram, uint64_t address, uint64_t value)
{
	put_value(ram, address, value, 8);
}

void ram_fill(const struct ram *ram, uint64_t address, uint8_t value, size_t length)
{
	for (size_t i = 0; i < length; i++)
		*ram_at(ram, address + i) = value;
}

bool ram_is_filled(const struct ram *ram, uint64_t address, uint8_t value, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (*ram_at(ram, address + i) != value)
			return false;
	}
	return true;
}

void ram_expect_at(const struct ram *ram, uint64_t address, const uint8_t *want, size_t length,
		   const char *file, int line)
{
	for (size_t i = 0; i < length; i++) {
		uint8_t got = *ram_at(ram, address + i);

		if (got == want[i])
			continue;
		print_error("byte at %#" PRIx64 " is %#04x, expected %#04x\n", address + i, got,
			    want[i]);
		_fail(file, line);
	}
}

void ram_put_desc(const struct ram *ram, uint64_t table, uint32_t index, struct vblk_desc desc)
{
	uint64_t at = table + 16 * (uint64_t)index;

	ram_put64(ram, at, desc.addr);
	ram_put32(ram, at + 8, desc.len);
	ram_put16(ram, at + 12, desc.flags);
	ram_put16(ram, at + 14, desc.next);
}
