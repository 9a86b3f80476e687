/* SPDX-License-Identifier: MIT */
/*
 * Buckets 0 to 63 are the values themselves. Then 64 buckets per power of two: the position of the
 * highest bit says which group, the six bits below it which bucket of the group.
 */
#include "driver/histogram.h"

#define PER_GROUP (1u << VBLK_HISTOGRAM_BITS)

static unsigned bucket_of(uint64_t value)
{
	unsigned shift;

	if (value < PER_GROUP)
		return (unsigned)value;
	shift = 63u - (unsigned)__builtin_clzll(value) - VBLK_HISTOGRAM_BITS;
	return (shift << VBLK_HISTOGRAM_BITS) + (unsigned)(value >> shift);
}

static uint64_t last_of(unsigned bucket)
{
	unsigned shift;

	if (bucket < PER_GROUP)
		return bucket;
	shift = (bucket >> VBLK_HISTOGRAM_BITS) - 1;
	return ((uint64_t)(PER_GROUP + bucket % PER_GROUP) << shift) + ((1ull << shift) - 1);
}

void vblk_histogram_add(struct vblk_histogram *histogram, uint64_t value)
{
	if (histogram->count == 0 || value < histogram->lowest)
		histogram->lowest = value;
	if (value > histogram->highest)
		histogram->highest = value;
	histogram->count++;
	histogram->sum += (double)value;
	histogram->bucket[bucket_of(value)]++;
}

void vblk_histogram_merge(struct vblk_histogram *histogram, const struct vblk_histogram *other)
{
	if (other->count == 0)
		return;
	if (histogram->count == 0 || other->lowest < histogram->lowest)
		histogram->lowest = other->lowest;
	if (other->highest > histogram->highest)
		histogram->highest = other->highest;
	histogram->count += other->count;
	histogram->sum += other->sum;
	for (unsigned i = 0; i < VBLK_HISTOGRAM_BUCKETS; i++)
		histogram->bucket[i] += other->bucket[i];
}

uint64_t vblk_histogram_quantile(const struct vblk_histogram *histogram, double share)
{
	const double wanted = share * (double)histogram->count;
	uint64_t passed = 0;

	for (unsigned i = 0; i < VBLK_HISTOGRAM_BUCKETS; i++) {
		passed += histogram->bucket[i];
		if (passed > 0 && (double)passed >= wanted) {
			uint64_t last = last_of(i);

			return last < histogram->highest ? last : histogram->highest;
		}
	}
	return histogram->highest;
}

double vblk_histogram_mean(const struct vblk_histogram *histogram)
{
	return histogram->count ? histogram->sum / (double)histogram->count : 0.0;
}
