/* SPDX-License-Identifier: MIT */
/*
 * The buckets of log-linear histograms: each power of two is divided into 2^bits equal parts, so
 * that the last value of a bucket is at most 1/2^bits above any other that is in it, over the
 * whole range and in a fixed number of buckets. Values below 2^(bits + 1) have one of their own.
 *
 * Buckets 0 to 2^bits - 1 are the values themselves. Then come 2^bits buckets per power of two:
 * the position of the highest bit says which group, the bits below it which bucket of the group.
 *
 * Pure arithmetic: what is counted, and how, is up to who has the array.
 */
#ifndef VBLK_BASE_BUCKETS_H
#define VBLK_BASE_BUCKETS_H

#include <stddef.h>
#include <stdint.h>

/* How many buckets hold all values below 2^top; `top` is at most 64 and above `bits`. */
#define VBLK_BUCKETS(bits, top) (((top) - (bits) + 1u) << (bits))

static inline unsigned vblk_bucket_of(uint64_t value, unsigned bits)
{
	unsigned shift;

	if (value < (1ull << bits))
		return (unsigned)value;
	shift = 63u - (unsigned)__builtin_clzll(value) - bits;
	return (shift << bits) + (unsigned)(value >> shift);
}

/* The highest value that falls into a bucket. */
static inline uint64_t vblk_bucket_last(unsigned bucket, unsigned bits)
{
	const unsigned per_group = 1u << bits;
	unsigned shift;

	if (bucket < per_group)
		return bucket;
	shift = (bucket >> bits) - 1;
	return ((uint64_t)(per_group + bucket % per_group) << shift) + ((1ull << shift) - 1);
}

/*
 * The first bucket up to whose end at least `share` of all values are, 0.5 for the median.
 * `buckets` if there are no values, or a share above 1 is asked for.
 */
unsigned vblk_buckets_quantile(const uint64_t *count, unsigned buckets, double share);

#endif
