/* SPDX-License-Identifier: MIT */
/*
 * Guest memory for the fuzzers, twice: what the device works on, and what its model works on.
 *
 * The device's regions lie apart in the host, each between inaccessible pages; what is left of
 * their pages is poisoned for AddressSanitizer. So an access that leaves the guest's map ends the
 * run, to the byte. The map, with a hole wherever nothing is named:
 *
 *     ARENA_LOW     12 KiB at 0, followed without a gap by
 *     ARENA_NEXT    8 KiB, elsewhere in the host
 *     ARENA_SHREDS  512 bytes in 16 regions of 32 bytes that touch in the guest
 *     ARENA_FOUR_G  4 KiB around the address 2^32
 *     ARENA_BIG     4 MiB for the chain fuzzer, if it is asked for: zeros that are never written
 *     ARENA_TOP     the last 4 KiB of the address space
 *
 * A trap is a hostile guest on another processor: as soon as a side has fetched the byte at its
 * address through vblk_memory_copy_in (by which descriptors and headers are read), the byte
 * changes. Whoever reads it again sees something else. Programs are linked with
 * --wrap=vblk_memory_copy_in and by vblk_memory_fetched, and the model calls arena_fetched.
 *
 * One thread. Everything is there once per process.
 */
#ifndef TESTS_FUZZ_ARENA_H
#define TESTS_FUZZ_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vblk_memory;

#define ARENA_LOW	  0x0ull
#define ARENA_LOW_SIZE	  0x3000u
#define ARENA_NEXT	  0x3000ull
#define ARENA_NEXT_SIZE	  0x2000u
#define ARENA_SHREDS	  0x8000ull
#define ARENA_SHRED_SIZE  32u
#define ARENA_SHRED_COUNT 16u
#define ARENA_SHREDS_SIZE (ARENA_SHRED_SIZE * ARENA_SHRED_COUNT)
#define ARENA_FOUR_G	  0xfffff800ull
#define ARENA_FOUR_G_SIZE 0x1000u
#define ARENA_BIG	  0x1000000000ull
#define ARENA_BIG_SIZE	  0x400000u
#define ARENA_TOP	  0xfffffffffffff000ull
#define ARENA_TOP_SIZE	  0x1000u

/* The first address that is not mapped behind ARENA_NEXT. */
#define ARENA_HOLE 0x5000ull

enum side {
	REAL,  /* the device */
	MODEL, /* what it should do */
	SIDES,
};

/* Makes the arena; ends the process if it cannot. */
void arena_init(bool with_big);

/* The device's map; the arena keeps its own reference. */
struct vblk_memory *arena_memory(void);

/* Every byte back to where it was after arena_init, on both sides, and no trap. */
void arena_reset(void);

/*
 * Where guest-physical `address` lies on a side, and in *run how many of the `length` bytes (at
 * least 1) from there on lie behind it in one piece. NULL: not mapped.
 */
uint8_t *arena_at(enum side side, uint64_t address, uint64_t length, uint64_t *run);

/* Whether all of a range is mapped; one that passes the end of the address space is not. */
bool arena_is_mapped(uint64_t address, uint64_t length);

/* Whether a host range lies in one region of the device's memory. */
bool arena_holds(const void *host, size_t length);

/* Stores bytes on both sides, as a driver would. What is not mapped is left out. */
void arena_put(uint64_t address, const void *bytes, size_t length);
void arena_put16(uint64_t address, uint16_t value);
void arena_put32(uint64_t address, uint32_t value);
void arena_put64(uint64_t address, uint64_t value);

/* Changes one byte of one side, by exclusive or. */
void arena_flip(enum side side, uint64_t address, uint8_t bits);

/* Copies from one side; false if not all of it is mapped. */
bool arena_get(enum side side, uint64_t address, void *to, uint64_t length);

/* Arms the trap: the byte at `address` changes after its next fetch, once on each side. */
void arena_set_trap(uint64_t address, uint8_t bits);

/* By the model: it has read a structure of the protocol, all of it mapped. */
void arena_fetched(enum side side, uint64_t address, uint64_t length);

/* Both sides hold the same bytes, or that is a finding. */
void arena_expect_same(void);

#endif
