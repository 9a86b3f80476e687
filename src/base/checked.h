/* SPDX-License-Identifier: MIT */
/* Arithmetic that says when it does not fit. Each returns true if the result is exact. */
#ifndef VBLK_BASE_CHECKED_H
#define VBLK_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

#define VBLK_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline bool vblk_add_u64(uint64_t a, uint64_t b, uint64_t *sum)
{
	return !__builtin_add_overflow(a, b, sum);
}

static inline bool vblk_mul_u64(uint64_t a, uint64_t b, uint64_t *product)
{
	return !__builtin_mul_overflow(a, b, product);
}

static inline uint64_t vblk_min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

#endif
