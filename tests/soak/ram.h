/* SPDX-License-Identifier: MIT */
/*
 * A guest's memory, cut into regions at random places: two spans of guest-physical addresses, one
 * for rings and one for buffers, each of several regions that touch in the guest and lie apart in
 * the host, with an inaccessible page on either side of each. So requests and rings straddle
 * regions, and an access outside of the map ends the run.
 *
 * Whoever makes it gives the map's reference back with ram_drop, and frees the bytes with
 * ram_destroy when ram_is_released says that no device (or worker that a device has left behind)
 * has a reference any more.
 */
#ifndef TESTS_SOAK_RAM_H
#define TESTS_SOAK_RAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <vblk/memory.h>

#include "rng.h"

#define RAM_RING_SIZE	  0x10000u /* room for one */
#define RAM_RINGS_MAX	  4u
#define RAM_RINGS_SIZE	  (RAM_RINGS_MAX * RAM_RING_SIZE)
#define RAM_REGIONS_MAX	  10u
#define RAM_SPAN_CUTS_MAX 4u

struct ram_region {
	uint64_t address;
	uint64_t length;
	uint8_t *host;
	void *map;
	size_t map_size;
};

struct ram {
	struct vblk_memory *memory; /* a reference of our own, until ram_drop */
	atomic_bool released;
	uint64_t rings;	  /* address of RAM_RINGS_SIZE bytes */
	uint64_t buffers; /* address of as many bytes as were asked for */
	uint64_t size;	  /* of all regions */
	struct ram_region region[RAM_REGIONS_MAX];
	size_t count;
};

/* Never fails: without memory the run does. */
struct ram *ram_create(struct rng *rng, uint64_t buffers_size);
void ram_drop(struct ram *ram);
bool ram_is_released(const struct ram *ram);
void ram_destroy(struct ram *ram);

/* Bytes at guest-physical addresses; a range may straddle regions. */
void ram_write(struct ram *ram, uint64_t address, const void *bytes, size_t length);
void ram_read(const struct ram *ram, uint64_t address, void *bytes, size_t length);
void ram_set(struct ram *ram, uint64_t address, uint8_t value, size_t length);

/* Aligned little-endian values that the device reads or writes at the same time. */
uint16_t ram_load16(const struct ram *ram, uint64_t address);	     /* acquire */
void ram_store16(struct ram *ram, uint64_t address, uint16_t value); /* release */
uint32_t ram_load32(const struct ram *ram, uint64_t address);	     /* relaxed */

/* All of it, as one row of `size` bytes. */
void ram_copy_all(const struct ram *ram, uint8_t *bytes);
bool ram_equals(const struct ram *ram, const uint8_t *bytes);

#endif
