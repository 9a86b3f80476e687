/* SPDX-License-Identifier: MIT */
/* The values that come from its buckets are rounded; the rest is kept beside them. */
#include "driver/histogram.h"

#include "base/checked.h"

void vblk_histogram_add(struct vblk_histogram *histogram, uint64_t value)
{
	if (histogram->count == 0 || value < histogram->lowest)
		histogram->lowest = value;
	if (value > histogram->highest)
		histogram->highest = value;
	histogram->count++;
	histogram->sum += (double)value;
	histogram->bucket[vblk_bucket_of(value, VBLK_HISTOGRAM_BITS)]++;
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
	const unsigned bucket =
		vblk_buckets_quantile(histogram->bucket, VBLK_HISTOGRAM_BUCKETS, share);

	if (bucket == VBLK_HISTOGRAM_BUCKETS)
		return histogram->highest;
	return vblk_min_u64(vblk_bucket_last(bucket, VBLK_HISTOGRAM_BITS), histogram->highest);
}

double vblk_histogram_mean(const struct vblk_histogram *histogram)
{
	return histogram->count ? histogram->sum / (double)histogram->count : 0.0;
}
