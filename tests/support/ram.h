/* SPDX-License-Identifier: MIT */
/*
 * Guest memory alone, for tests of the parts below the device: a sealed map of regions, a view of
 * it, and ways to put bytes into it and look at them that do not go through the code under test.
 * Values are written byte by byte, lowest first, whatever the host's byte order is.
 *
 * Regions lie behind the guests' back in different places of the host, each with an inaccessible
 * page right behind its last byte (ram_create), or all over one block (ram_create_scattered).
 * Everything here fails the test if it cannot do its work; memory that is not mapped is such a
 * case.
 */
#ifndef TESTS_SUPPORT_RAM_H
#define TESTS_SUPPORT_RAM_H

#include "queue/queue.h"

struct ram_region {
	uint64_t address;
	uint64_t length;
};

struct ram_part {
	uint64_t address;
	uint64_t length;
	uint8_t *host;
	void *map; /* NULL: part of another's map */
	size_t map_size;
};

struct ram {
	struct vblk_memory *memory;
	struct vblk_memory_view view;
	struct ram_part *part;
	size_t count;
};

/* Regions as a list: ram_create(&ram, { 0, 0x10000 }, { 0x20000, 0x1000 }); */
#define ram_create(ram, ...)                                                    \
	ram_create_regions((ram), (const struct ram_region[]){ __VA_ARGS__ },   \
			   sizeof((const struct ram_region[]){ __VA_ARGS__ }) / \
				   sizeof(struct ram_region))

void ram_create_regions(struct ram *ram, const struct ram_region *regions, size_t count);

/*
 * `count` regions of `piece` bytes, touching in the guest from `address` on. No two neighbours in
 * the guest are neighbours in the host.
 */
void ram_create_scattered(struct ram *ram, uint64_t address, uint64_t piece, size_t count);

void ram_destroy(struct ram *ram);

/* The host address of a guest-physical one. */
uint8_t *ram_at(const struct ram *ram, uint64_t address);

void ram_put(const struct ram *ram, uint64_t address, const void *bytes, size_t length);
void ram_get(const struct ram *ram, uint64_t address, void *bytes, size_t length);
void ram_put16(const struct ram *ram, uint64_t address, uint16_t value);
void ram_put32(const struct ram *ram, uint64_t address, uint32_t value);
void ram_put64(const struct ram *ram, uint64_t address, uint64_t value);
void ram_fill(const struct ram *ram, uint64_t address, uint8_t value, size_t length);
bool ram_is_filled(const struct ram *ram, uint64_t address, uint8_t value, size_t length);

/* Expects these bytes: ram_expect(&ram, 0x1002, 0x01, 0x00); */
#define ram_expect(ram, address, ...)                                     \
	ram_expect_at((ram), (address), (const uint8_t[]){ __VA_ARGS__ }, \
		      sizeof((const uint8_t[]){ __VA_ARGS__ }), __FILE__, __LINE__)

void ram_expect_at(const struct ram *ram, uint64_t address, const uint8_t *want, size_t length,
		   const char *file, int line);

/* Writes descriptor `index` of the table at `table`. */
void ram_put_desc(const struct ram *ram, uint64_t table, uint32_t index, struct vblk_desc desc);

#endif
