/* SPDX-License-Identifier: MIT */
/*
 * Numbers that look random and follow from their seed alone (the generator splitmix64). Any
 * thread, as long as a stream has one user.
 */
#ifndef GUEST_RANDOM_H
#define GUEST_RANDOM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A stream for each (seed, number): streams with neighbouring numbers share nothing. */
struct random {
	uint64_t state;
};

static inline uint64_t random_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static inline struct random random_stream(uint64_t seed, uint64_t number)
{
	return (struct random){ .state = random_mix(random_mix(seed) + number) };
}

static inline uint64_t random_next(struct random *random)
{
	random->state += UINT64_C(0x9e3779b97f4a7c15);
	return random_mix(random->state);
}

/* A number below `limit`, which is not 0. */
static inline uint64_t random_below(struct random *random, uint64_t limit)
{
	return random_next(random) % limit;
}

static inline void random_fill(struct random *random, void *data, size_t length)
{
	unsigned char *at = data;

	while (length > 0) {
		uint64_t value = random_next(random);
		size_t part = length < sizeof(value) ? length : sizeof(value);

		memcpy(at, &value, part);
		at += part;
		length -= part;
	}
}

#endif
