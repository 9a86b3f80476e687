/* SPDX-License-Identifier: MIT */
/*
 * Properties of the token bucket, over random buckets from a fixed seed: the wait it names is
 * exact, it agrees with a slow model, and it never loses what has flowed in. Then the rate it
 * gives.
 */
#include "throttle/bucket.h"

#include "base/checked.h"
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEC VBLK_NSEC_PER_SEC

/* A moment that is not 0, as no clock's is. */
#define T0 (7 * SEC + 123)

__extension__ typedef __int128 wide;
__extension__ typedef unsigned __int128 uwide;

static uint64_t next_random(uint64_t *seed)
{
	uint64_t x = *seed;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*seed = x;
	return x * 0x9e3779b97f4a7c15;
}

/* As likely of 3 bits as of 60: the extremes of both ends come up often. At least 1. */
static uint64_t random_magnitude(uint64_t *seed, unsigned int max_bits)
{
	unsigned int bits = 1 + (unsigned int)(next_random(seed) >> 32) % max_bits;
	uint64_t value = next_random(seed) >> (64 - bits);

	switch (next_random(seed) >> 61) {
	case 0: /* a power of two */
		return 1ull << (bits - 1);
	case 1: /* one less than a power of two */
		return UINT64_MAX >> (64 - bits);
	default:
		return value > 0 ? value : 1;
	}
}

static struct vblk_bucket random_bucket(uint64_t *seed, uint64_t now)
{
	static const uint64_t rates[] = { 1, 3, 100, 999999999, SEC, SEC + 1, 3 * SEC, UINT64_MAX };
	uint64_t pick = next_random(seed) >> 60;
	uint64_t rate = pick < VBLK_ARRAY_SIZE(rates) ? rates[pick] : random_magnitude(seed, 64);
	uint64_t capacity = next_random(seed) >> 62 ? random_magnitude(seed, 64) : 1;
	struct vblk_bucket b;

	vblk_bucket_init(&b, capacity, rate, now);
	if (next_random(seed) >> 63)
		b.available -=
			(int64_t)vblk_min_u64(random_magnitude(seed, 63), (uint64_t)b.available);
	else
		b.available = -(int64_t)random_magnitude(seed, 63);
	if (b.available < (int64_t)vblk_min_u64(capacity, INT64_MAX) && next_random(seed) >> 63)
		b.fraction = (uint32_t)(next_random(seed) % SEC);
	return b;
}

static void wait_is_exact_to_the_nanosecond(void **state)
{
	uint64_t seed = 0x5eed0001, exact = 0, granted = 0;

	(void)state;
	for (int i = 0; i < 300000; i++) {
		uint64_t start = random_magnitude(&seed, 62);
		struct vblk_bucket b = random_bucket(&seed, start), at, before;
		uint64_t now = start + random_magnitude(&seed, 40) - (1ull << (i % 30));
		uint64_t n = next_random(&seed) >> 63 ? random_magnitude(&seed, 63) : b.capacity;
		uint64_t wait;

		at = before = b;
		wait = vblk_bucket_wait_ns(&b, n, now);
		if (wait == 0) {
			assert_true(vblk_bucket_can_consume(&at, n, now));
			granted++;
		} else if (wait < UINT64_MAX - now) {
			assert_false(vblk_bucket_can_consume(&before, n, now + wait - 1));
			assert_true(vblk_bucket_can_consume(&at, n, now + wait));
			/* Looking on the way changes nothing. */
			assert_false(vblk_bucket_can_consume(&b, n, now + wait / 3));
			assert_int_equal(vblk_bucket_wait_ns(&b, n, now + wait / 2),
					 wait - wait / 2);
			assert_true(vblk_bucket_can_consume(&b, n, now + wait));
			exact++;
		}
	}
	assert_true(exact > 50000);
	assert_true(granted > 20000);
}

/*
 * The slow model: the level is one rational number, in billionths of a token, and the wait is
 * found by trying.
 */
struct model {
	wide level, most;
	uint64_t capacity, rate, last;
};

static wide model_level(const struct model *model, uint64_t now)
{
	uwide inflow = now > model->last ? (uwide)model->rate * (now - model->last) : 0;

	if (inflow >= (uwide)(model->most - model->level))
		return model->most;
	return model->level + (wide)inflow;
}

static bool model_grants(const struct model *model, uint64_t n, uint64_t now)
{
	wide level = model_level(model, now);

	if (n == 0)
		return true;
	return n > model->capacity ? level >= 0 : level >= (wide)n * (wide)SEC;
}

static bool model_consume(struct model *model, uint64_t n, uint64_t now)
{
	if (!model_grants(model, n, now))
		return false;
	model->level = model_level(model, now) - (wide)n * (wide)SEC;
	if (now > model->last)
		model->last = now;
	return true;
}

static uint64_t model_wait(const struct model *model, uint64_t n, uint64_t now)
{
	uint64_t low = 0, high = UINT64_MAX - now;

	if (!model_grants(model, n, now + high))
		return UINT64_MAX;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (model_grants(model, n, now + middle))
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static void compare_run(uint64_t *seed)
{
	uint64_t capacity = random_magnitude(seed, 45), rate = random_magnitude(seed, 45);
	uint64_t now = random_magnitude(seed, 50);
	struct model model = { .level = (wide)capacity * (wide)SEC,
			       .most = (wide)capacity * (wide)SEC,
			       .capacity = capacity,
			       .rate = rate,
			       .last = now };
	struct vblk_bucket b;

	vblk_bucket_init(&b, capacity, rate, now);
	for (uint64_t i = 0; i < 100; i++) {
		uint64_t n = next_random(seed) % 4 == 0 ? capacity + i % 3 - 1
							: random_magnitude(seed, 45);
		uint64_t wait = vblk_bucket_wait_ns(&b, n, now);

		assert_true(wait == model_wait(&model, n, now) ||
			    (wait > UINT64_MAX - now && model_wait(&model, n, now) == UINT64_MAX));
		if (next_random(seed) >> 62 == 0 && wait < 1ull << 50)
			now += wait;
		assert_int_equal(vblk_bucket_can_consume(&b, n, now), model_grants(&model, n, now));
		assert_int_equal(vblk_bucket_consume(&b, n, now), model_consume(&model, n, now));
		now += random_magnitude(seed, 36) - 1;
	}
}

static void bucket_agrees_with_a_rational_model(void **state)
{
	uint64_t seed = 0x5eed0002;

	(void)state;
	for (int run = 0; run < 3000; run++)
		compare_run(&seed);
}

static void level_never_falls_by_itself(void **state)
{
	uint64_t seed = 0x5eed0003;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		uint64_t now = random_magnitude(&seed, 60);
		struct vblk_bucket b = random_bucket(&seed, now);

		for (int step = 0; step < 20; step++) {
			struct vblk_bucket before = b;

			now += random_magnitude(&seed, 40) - 1;
			vblk_bucket_refill(&b, now);
			assert_true(
				b.available > before.available ||
				(b.available == before.available && b.fraction >= before.fraction));
			assert_true(b.available <= (int64_t)vblk_min_u64(b.capacity, INT64_MAX));
			assert_true(b.fraction < SEC);
		}
	}
}

static struct vblk_bucket empty_bucket(uint64_t capacity, uint64_t rate)
{
	struct vblk_bucket bucket;

	vblk_bucket_init(&bucket, capacity, rate, T0);
	bucket.available = 0;
	return bucket;
}

/* D-CLOCK. Requests that are small against 10 s of the rate, simply counted over 10 s. */
static void d_clock_total_over_ten_seconds(void **state)
{
	static const struct {
		uint64_t capacity, rate, n;
	} table[] = {
		{ 100, 100, 1 },
		{ 1000, 1000, 1 },
		{ 20000, 20000, 1 },
		{ 1, 20000, 1 }, /* a bucket of one token, full at each wake-up */
		{ 1000000, 1000000, 4096 },
		{ 4096, 1000000, 65536 }, /* larger than the bucket: always in debt */
		{ 65536, 100000000, 65536 },
		{ 4096, 100000000, 1048576 },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct vblk_bucket b = empty_bucket(table[i].capacity, table[i].rate);
		uint64_t expected = 10 * table[i].rate, total = 0;

		for (uint64_t now = T0; now < T0 + 10 * SEC;) {
			uint64_t wait = vblk_bucket_wait_ns(&b, table[i].n, now);

			now += wait;
			if (wait > 0)
				continue;
			assert_true(vblk_bucket_consume(&b, table[i].n, now));
			total += table[i].n;
		}
		assert_in_range(total, expected - expected / 100, expected + expected / 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wait_is_exact_to_the_nanosecond),
		cmocka_unit_test(bucket_agrees_with_a_rational_model),
		cmocka_unit_test(level_never_falls_by_itself),
		cmocka_unit_test(d_clock_total_over_ten_seconds),
	};

	return cmocka_run_group_tests_name("bucket properties", tests, NULL, NULL);
}
