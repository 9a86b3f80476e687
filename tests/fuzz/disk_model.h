/* SPDX-License-Identifier: MIT */
/*
 * The disk of the device fuzzer, twice.
 *
 * The device's is a memory backing behind a fault injector behind an observer. The observer keeps
 * count of the calls, checks that their vectors lie in guest memory, and lets things happen in
 * the middle of a request: a hook changes guest memory just before the bytes move.
 *
 * The model's says what each call returns and moves the model's bytes. Both sides note what they
 * were asked for; disk_expect_same compares notes and bytes.
 */
#ifndef TESTS_FUZZ_DISK_MODEL_H
#define TESTS_FUZZ_DISK_MODEL_H

#include "arena.h"
#include "backing/faulty.h"

#define DISK_SIZE_MAX 8192u
#define DISK_RULES    4u
#define DISK_HOOKS    3u

/* Before I/O calls `first`, `first` + 1, ... (counted from 1), `times` of them. */
struct disk_hook {
	uint32_t first;
	uint32_t times;
	uint64_t address; /* the byte that changes ... */
	uint8_t bits;	  /* ... by exclusive or */
	uint8_t add;	  /* then this is added to the u16 at ... */
	uint64_t counter; /* ... here */
};

/*
 * Makes a disk of `size` bytes, one that cannot discard or zero if it is `plain`. It says that it
 * grows, to any size but those of DISK_CANNOT_GROW, and stays as it is: the device has to live with
 * that. The caller owns the reference; there may be several.
 */
struct vblk_backing *disk_create(size_t size, bool plain);

/* Sizes to which growing fails with -ENOSPC. */
#define DISK_CANNOT_GROW(bytes) ((bytes) >> 30 == 1)

/* Which disk the model means from here on. Its bytes are as at the start, without rules, hooks. */
void disk_use(struct vblk_backing *backing, size_t size);

/* From here on calls of many requests are made in any order, for all disks. */
void disk_interleave(void);

/* Gives the rules back. */
void disk_done(void);

/* Both sides' clocks, for delays. */
extern uint64_t disk_now[SIDES];

/* Adds a rule to both sides; ignored when there are DISK_RULES. Calls are counted from 1 again. */
void disk_add_rule(const struct vblk_faulty_rule *rule);
void disk_clear_rules(void);

/* Whether there have been rules since disk_use. */
bool disk_may_fail(void);
void disk_add_hook(const struct disk_hook *hook);

/*
 * The model's call: what it returns, and in *moved how many bytes move first, at most `want`.
 */
int64_t disk_model_call(enum vblk_faulty_op op, uint64_t offset, uint64_t want, uint64_t *moved);

/* The same for a DISCARD or WRITE_ZEROES of the backing, whose bytes move by themselves. */
int64_t disk_model_range(enum vblk_faulty_op op, uint64_t offset, uint64_t bytes, bool unmap);

/* The model's backing is asked to grow. */
int disk_model_grow(uint64_t bytes);

/* The model's bytes from `offset` on. */
uint8_t *disk_model_at(uint64_t offset);

/* Calls so far on a side. */
unsigned disk_calls(enum side side);

/* The same calls were made; with `bytes`, the same is on the disks. */
void disk_expect_same(bool bytes);

#endif
