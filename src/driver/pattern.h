/* SPDX-License-Identifier: MIT */
/*
 * Blocks that say themselves whether they are right: where they belong, which write they are of,
 * noise, and a CRC-32C over all that. The same block is never the same twice. Pure; any thread.
 */
#ifndef DRIVER_PATTERN_H
#define DRIVER_PATTERN_H

#include <vblk/types.h>

/* Fills `length` bytes, at least 512 and a multiple of 8, for a block at `offset` on the disk. */
void vblk_pattern_fill(void *block, size_t length, uint64_t offset, uint64_t generation);

/* NULL if this block is what vblk_pattern_fill made of the same numbers, or what is wrong. */
const char *vblk_pattern_check(const void *block, size_t length, uint64_t offset,
			       uint64_t generation);

/* CRC-32C (Castagnoli) of `length` bytes. */
uint32_t vblk_crc32c(const void *bytes, size_t length);

#endif
