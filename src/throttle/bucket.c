/* SPDX-License-Identifier: MIT */
/*
 * The token bucket.
 *
 * Tokens flow into a bucket at a steady rate until it is full. A request takes as many tokens as
 * it costs; if there are not enough it takes none and has to come back later. Over a long time
 * requests therefore pass at the rate, and after a quiet time a burst of up to the capacity
 * passes at once.
 *
 * Level. The contents are counted in billionths of a token, of which `rate` flow in per
 * nanosecond, so the level is always exact: `available` is the level in whole tokens, rounded
 * down, and `fraction` is what the rounding left over. The fraction stays for the next refill. To
 * throw it away would cost up to a token each time somebody looks: at 20000 tokens a second and a
 * look every 70 us, which finds 1.4 tokens, more than a quarter of the rate. Only a bucket that
 * has become full loses something, namely what did not fit.
 *
 * Debt. A request that costs more than the bucket can ever hold would wait for ever. It is let
 * through as soon as the level is not negative, and takes the level below zero by all that was
 * missing. Until the flow has paid this debt nothing else passes, so large requests hold to the
 * same rate as small ones; they pay after instead of before. A request of exactly the capacity is
 * not of this kind: it waits for a full bucket.
 *
 * Monotone. For each cost there is one level, the threshold, from which on a request passes: the
 * cost itself, or 0 if it is above the capacity. Left alone, the level never falls: what flows in
 * is never negative and a full bucket stays full. So once a request may pass it may pass at every
 * later time, until tokens are taken. Nor does it matter how often anybody looks: the level after
 * two steps, min(min(l + a, c) + b, c), is the level after one, min(l + a + b, c). Hence the wait
 * can be computed: it is the time in which the flow covers the distance from the level to the
 * threshold, rounded up to a nanosecond. It cannot fail to arrive, because no threshold lies
 * above the capacity.
 *
 * Range. A rate and an elapsed time of 64 bits give a product of 128, and the sum with a fraction
 * still fits, so nothing wraps at any rate, capacity or age; results saturate.
 */
#include "throttle/bucket.h"

#include "base/checked.h"
#include "base/clock.h"

__extension__ typedef __int128 wide;
__extension__ typedef unsigned __int128 uwide;

/* Parts of a token that the level counts. With the clock in ns the inflow is `rate` per tick. */
#define UNITS_PER_TOKEN VBLK_NSEC_PER_SEC

static int64_t most_tokens(const struct vblk_bucket *bucket)
{
	return (int64_t)vblk_min_u64(bucket->capacity, INT64_MAX);
}

/* The number of available tokens from which on n are granted; n is at most INT64_MAX. */
static int64_t threshold(const struct vblk_bucket *bucket, uint64_t n)
{
	return n > bucket->capacity ? 0 : (int64_t)n;
}

void vblk_bucket_init(struct vblk_bucket *bucket, uint64_t capacity, uint64_t rate, uint64_t now_ns)
{
	*bucket = (struct vblk_bucket){
		.capacity = capacity,
		.rate = rate,
		.unlimited = capacity == 0 || rate == 0,
		.last_refill_ns = now_ns,
	};
	bucket->available = most_tokens(bucket);
}

void vblk_bucket_refill(struct vblk_bucket *bucket, uint64_t now_ns)
{
	uwide units;
	wide tokens;

	if (bucket->unlimited || now_ns <= bucket->last_refill_ns)
		return;

	units = (uwide)bucket->rate * (now_ns - bucket->last_refill_ns) + bucket->fraction;
	tokens = (wide)bucket->available + (wide)(units / UNITS_PER_TOKEN);
	bucket->last_refill_ns = now_ns;
	if (tokens >= most_tokens(bucket)) {
		bucket->available = most_tokens(bucket);
		bucket->fraction = 0;
	} else {
		bucket->available = (int64_t)tokens;
		bucket->fraction = (uint32_t)(units % UNITS_PER_TOKEN);
	}
}

void vblk_bucket_change(struct vblk_bucket *bucket, uint64_t capacity, uint64_t rate,
			uint64_t now_ns)
{
	struct vblk_bucket before;

	if (now_ns < bucket->last_refill_ns)
		now_ns = bucket->last_refill_ns;
	vblk_bucket_refill(bucket, now_ns);
	before = *bucket;
	vblk_bucket_init(bucket, capacity, rate, now_ns);
	if (before.unlimited || bucket->unlimited || before.available >= bucket->available)
		return;
	bucket->available = before.available;
	bucket->fraction = before.fraction;
}

bool vblk_bucket_can_consume(struct vblk_bucket *bucket, uint64_t n, uint64_t now_ns)
{
	if (bucket->unlimited || n == 0)
		return true;
	if (n > INT64_MAX)
		return false;
	vblk_bucket_refill(bucket, now_ns);
	return bucket->available >= threshold(bucket, n);
}

bool vblk_bucket_consume(struct vblk_bucket *bucket, uint64_t n, uint64_t now_ns)
{
	if (!vblk_bucket_can_consume(bucket, n, now_ns))
		return false;
	/* Cannot wrap: whoever is granted something found a level that was not negative. */
	if (!bucket->unlimited && n > 0)
		bucket->available -= (int64_t)n;
	return true;
}

uint64_t vblk_bucket_wait_ns(struct vblk_bucket *bucket, uint64_t n, uint64_t now_ns)
{
	uwide missing, wait;
	wide tokens;

	if (vblk_bucket_can_consume(bucket, n, now_ns))
		return 0;
	if (n > INT64_MAX)
		return UINT64_MAX;

	tokens = (wide)threshold(bucket, n) - bucket->available;
	missing = (uwide)tokens * UNITS_PER_TOKEN - bucket->fraction;
	wait = (missing + bucket->rate - 1) / bucket->rate;
	/* A clock that has stepped back must catch up before anything flows. */
	if (now_ns < bucket->last_refill_ns)
		wait += bucket->last_refill_ns - now_ns;
	return wait < UINT64_MAX ? (uint64_t)wait : UINT64_MAX;
}
