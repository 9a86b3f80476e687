/* SPDX-License-Identifier: MIT */
/*
 * A log-linear histogram of 64-bit values (base/buckets.h) with 64 buckets per power of two: what
 * is read from it is at most 1/64 too high. Values below 128, the lowest, the highest and the mean
 * are exact.
 *
 * Not locked. Start with zeros.
 */
#ifndef DRIVER_HISTOGRAM_H
#define DRIVER_HISTOGRAM_H

#include <vblk/types.h>

#include "base/buckets.h"

#define VBLK_HISTOGRAM_BITS    6u
#define VBLK_HISTOGRAM_BUCKETS VBLK_BUCKETS(VBLK_HISTOGRAM_BITS, 64u)

struct vblk_histogram {
	uint64_t count;
	uint64_t lowest; /* of at least one value */
	uint64_t highest;
	double sum;
	uint64_t bucket[VBLK_HISTOGRAM_BUCKETS];
};

void vblk_histogram_add(struct vblk_histogram *histogram, uint64_t value);

/* Adds all values of `other`. */
void vblk_histogram_merge(struct vblk_histogram *histogram, const struct vblk_histogram *other);

/*
 * The lowest value that at least `share` of all values do not exceed, 0.5 for the median; rounded
 * up to the end of its bucket, but never above the highest. 0 if there are none.
 */
uint64_t vblk_histogram_quantile(const struct vblk_histogram *histogram, double share);

/* 0 if there are none. */
double vblk_histogram_mean(const struct vblk_histogram *histogram);

#endif
