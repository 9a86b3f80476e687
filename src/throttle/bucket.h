/* SPDX-License-Identifier: MIT */
/*
 * A token bucket.
 *
 * It never sleeps, takes no lock and has no clock: every call is handed the time, in nanoseconds
 * of one clock. It belongs to one thread at a time. A time before that of an earlier call counts
 * as that earlier time. How it works is told in bucket.c.
 *
 * A bucket takes from 0 tokens to 2^63-1 in one go; a larger number is always refused.
 */
#ifndef VBLK_THROTTLE_BUCKET_H
#define VBLK_THROTTLE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct vblk_bucket {
	uint64_t capacity;	 /* tokens it can hold; above 2^63-1 it holds 2^63-1 */
	uint64_t rate;		 /* tokens that flow in per second */
	int64_t available;	 /* whole tokens in it; below 0 it is in debt */
	uint32_t fraction;	 /* billionths of a token beside those, below 10^9 */
	bool unlimited;		 /* grants everything at once, and nothing else counts */
	uint64_t last_refill_ns; /* the moment that available and fraction speak of */
};

/* A full bucket. A capacity or rate of 0 makes one without a limit. */
void vblk_bucket_init(struct vblk_bucket *bucket, uint64_t capacity, uint64_t rate,
		      uint64_t now_ns);

/*
 * Another capacity and rate from now on. What is in the bucket, or owed, stays, as far as it fits;
 * a bucket that had no limit starts full.
 */
void vblk_bucket_change(struct vblk_bucket *bucket, uint64_t capacity, uint64_t rate,
			uint64_t now_ns);

/* Lets in what has flowed since the last call. The calls below do so by themselves. */
void vblk_bucket_refill(struct vblk_bucket *bucket, uint64_t now_ns);

/*
 * Takes n tokens and returns true, or takes none and returns false. If n is above the capacity
 * it is granted as soon as there is no debt, and leaves one. 0 tokens are always granted.
 */
bool vblk_bucket_consume(struct vblk_bucket *bucket, uint64_t n, uint64_t now_ns);

/* What vblk_bucket_consume would return. Takes nothing. */
bool vblk_bucket_can_consume(struct vblk_bucket *bucket, uint64_t n, uint64_t now_ns);

/*
 * The shortest wait, from now_ns on, after which n tokens are granted if nobody takes any in
 * between: one nanosecond less is too short. 0 if they are granted now. UINT64_MAX if that is
 * 2^64-1 ns (584 years) away or more, or never, n being above 2^63-1.
 */
uint64_t vblk_bucket_wait_ns(struct vblk_bucket *bucket, uint64_t n, uint64_t now_ns);

#endif
