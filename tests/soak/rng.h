/* SPDX-License-Identifier: MIT */
/*
 * Random numbers that a seed repeats. Each thread has a stream of its own, so what one thread
 * draws does not depend on how the others are scheduled.
 */
#ifndef TESTS_SOAK_RNG_H
#define TESTS_SOAK_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

/* A bijection on 64 bits that leaves no pattern of its input. */
static inline uint64_t rng_mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static inline uint64_t rng_next(struct rng *rng)
{
	rng->state += 0x9e3779b97f4a7c15u;
	return rng_mix(rng->state);
}

static inline void rng_init(struct rng *rng, uint64_t seed, uint64_t stream)
{
	rng->state = rng_mix(seed) ^ rng_mix(~stream);
}

/* From 0 to limit - 1; limit is not 0. */
static inline uint32_t rng_below(struct rng *rng, uint32_t limit)
{
	return (uint32_t)(rng_next(rng) % limit);
}

/* From low to high, both included. */
static inline uint32_t rng_between(struct rng *rng, uint32_t low, uint32_t high)
{
	return low + rng_below(rng, high - low + 1);
}

/* True once in `times`. */
static inline bool rng_chance(struct rng *rng, uint32_t times)
{
	return rng_below(rng, times) == 0;
}

#endif
