/* SPDX-License-Identifier: MIT */
/*
 * Token bucket, case by case. Names beginning with c and a number are cases of the test catalogue,
 * those with t and a number are rules.
 *
 * The catalogue's two cases in which a test forces the wait (7 and 8) exist because its bucket
 * reads a clock of its own. Here the time is an argument, so their place is taken by cases that
 * bring any wait about by level and time.
 */
#include "throttle/bucket.h"

#include "base/checked.h"
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define MSEC VBLK_NSEC_PER_MSEC
#define SEC  VBLK_NSEC_PER_SEC

/* A moment that is not 0, as no clock's is. */
#define T0 (7 * SEC + 123)

static struct vblk_bucket full_bucket(uint64_t capacity, uint64_t rate)
{
	struct vblk_bucket bucket;

	vblk_bucket_init(&bucket, capacity, rate, T0);
	return bucket;
}

static struct vblk_bucket empty_bucket(uint64_t capacity, uint64_t rate)
{
	struct vblk_bucket bucket = full_bucket(capacity, rate);

	bucket.available = 0;
	return bucket;
}

/*
 * Rules: T-1 T-9.
 * ---- catalogue 16.9 ----
 */
static void c01_token_bucket_unlimited_always_grants(void **state)
{
	struct vblk_bucket b = full_bucket(0, 0);

	(void)state;
	for (int i = 0; i < 1000000; i++)
		assert_true(vblk_bucket_consume(&b, 1, T0));
}

static void c02_token_bucket_consumes_capacity(void **state)
{
	struct vblk_bucket b = full_bucket(100, 1);

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_true(vblk_bucket_consume(&b, 1, T0));
	assert_false(vblk_bucket_consume(&b, 1, T0));
}

static void c03_token_bucket_refills_over_time(void **state)
{
	struct vblk_bucket b = full_bucket(100, 10);

	(void)state;
	assert_true(vblk_bucket_consume(&b, 100, T0));
	assert_false(vblk_bucket_consume(&b, 1, T0));
	assert_true(vblk_bucket_consume(&b, 1, T0 + 200 * MSEC));
}

static void c04_throttle_zero_rate_becomes_unlimited(void **state)
{
	struct vblk_bucket no_capacity = full_bucket(0, 100);
	struct vblk_bucket no_rate = full_bucket(100, 0);

	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_true(vblk_bucket_consume(&no_capacity, 1000, T0));
		assert_true(vblk_bucket_consume(&no_rate, 1000, T0));
	}
}

/* Rules: T-4 T-9 */
static void c05_token_bucket_refill_uses_elapsed_wall_time(void **state)
{
	struct vblk_bucket b = empty_bucket(10, 10);

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_true(vblk_bucket_consume(&b, 1, T0 + 1100 * MSEC));
	assert_false(vblk_bucket_consume(&b, 1, T0 + 1100 * MSEC));
}

/* Rules: T-5 */
static void c06_token_bucket_consume_zero_is_free(void **state)
{
	struct vblk_bucket b = full_bucket(10, 1);

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_true(vblk_bucket_consume(&b, 0, T0));
	assert_int_equal(b.available, 10);
}

static void c07_wait_follows_the_deficit_and_nothing_else(void **state)
{
	struct vblk_bucket b = empty_bucket(1000000, SEC);

	(void)state;
	assert_int_equal(vblk_bucket_wait_ns(&b, 123456, T0), 123456);
	assert_int_equal(vblk_bucket_wait_ns(&b, 123456, T0 + 123455), 1);
	assert_int_equal(vblk_bucket_wait_ns(&b, 123456, T0 + 123456), 0);
}

static void c08_wait_of_unlimited_is_zero_whatever_the_fields(void **state)
{
	struct vblk_bucket b = full_bucket(0, 7);

	(void)state;
	b.available = INT64_MIN;
	assert_int_equal(vblk_bucket_wait_ns(&b, 7, T0), 0);
	assert_true(vblk_bucket_can_consume(&b, 7, T0));
}

/* Rules: T-8 */
static void c09_nanos_until_n_tokens_saturates_at_u64_max(void **state)
{
	struct vblk_bucket b = empty_bucket(100, 1);

	(void)state;
	b.available = INT64_MIN + 1;
	assert_true(vblk_bucket_wait_ns(&b, 1, T0) == UINT64_MAX);
	b.available = INT64_MIN;
	assert_true(vblk_bucket_wait_ns(&b, INT64_MAX, T0) == UINT64_MAX);
	/* Wide enough for the product, too: 2^64-1 tokens at 10^9 a second. */
	b = empty_bucket(UINT64_MAX, SEC);
	b.available = INT64_MIN;
	assert_true(vblk_bucket_wait_ns(&b, INT64_MAX - 1, T0) == UINT64_MAX - 1);
}

/* Rules: T-8 */
static void c10_nanos_until_n_tokens_ceil_div_exact(void **state)
{
	struct vblk_bucket b = empty_bucket(10, 10);

	(void)state;
	assert_int_equal(vblk_bucket_wait_ns(&b, 5, T0), 500 * MSEC);
	b = empty_bucket(10, 3);
	assert_int_equal(vblk_bucket_wait_ns(&b, 1, T0), 333333334);
}

static void c11_nanos_until_n_tokens_unlimited_returns_zero(void **state)
{
	struct vblk_bucket b = full_bucket(0, 0);

	(void)state;
	assert_int_equal(vblk_bucket_wait_ns(&b, UINT64_MAX, T0), 0);
}

static void c12_nanos_until_n_tokens_post_refill_returns_zero(void **state)
{
	struct vblk_bucket b = empty_bucket(10, 10);

	(void)state;
	assert_int_equal(vblk_bucket_wait_ns(&b, 5, T0 + 2 * SEC), 0);
}

/* Rules: T-1 T-5 */
static void c13_token_bucket_oversized_grants_and_drives_negative(void **state)
{
	struct vblk_bucket b = full_bucket(100, 100);

	(void)state;
	assert_true(vblk_bucket_consume(&b, 150, T0));
	assert_int_equal(b.available, -50);
	assert_int_equal(vblk_bucket_wait_ns(&b, 101, T0), 500 * MSEC);
	assert_false(vblk_bucket_can_consume(&b, 1, T0));
}

static void c14_token_bucket_oversized_back_to_back_second_stalls(void **state)
{
	struct vblk_bucket b = full_bucket(100, 100);

	(void)state;
	assert_true(vblk_bucket_consume(&b, 150, T0));
	assert_false(vblk_bucket_consume(&b, 150, T0));
	assert_int_equal(b.available, -50);
}

static void c15_nanos_until_oversized_follower_waits_for_zero(void **state)
{
	struct vblk_bucket b = full_bucket(100, 100);

	(void)state;
	assert_true(vblk_bucket_consume(&b, 150, T0));
	assert_int_equal(vblk_bucket_wait_ns(&b, 200, T0), 500 * MSEC);
	assert_true(vblk_bucket_consume(&b, 200, T0 + 500 * MSEC));
	assert_int_equal(b.available, -200);
}

static void c16_nanos_until_normal_follower_after_debt(void **state)
{
	struct vblk_bucket b = full_bucket(100, 100);

	(void)state;
	assert_true(vblk_bucket_consume(&b, 150, T0));
	assert_int_equal(vblk_bucket_wait_ns(&b, 10, T0), 600 * MSEC);
}

/* Rules: T-5 */
static void c17_token_bucket_consume_rejects_n_above_i64_max(void **state)
{
	static const uint64_t sizes[] = { (uint64_t)INT64_MAX + 1, UINT64_MAX };
	struct vblk_bucket b = full_bucket(100, 100);

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(sizes); i++) {
		assert_false(vblk_bucket_consume(&b, sizes[i], T0));
		assert_false(vblk_bucket_can_consume(&b, sizes[i], T0));
		assert_true(vblk_bucket_wait_ns(&b, sizes[i], T0) == UINT64_MAX);
		assert_int_equal(b.available, 100);
	}
	assert_true(vblk_bucket_consume(&b, INT64_MAX, T0));
	assert_true(b.available == 100 - INT64_MAX);
}

static void c18_token_bucket_zero_consume_succeeds_in_debt(void **state)
{
	struct vblk_bucket b = full_bucket(100, 100);

	(void)state;
	assert_true(vblk_bucket_consume(&b, 150, T0));
	assert_true(vblk_bucket_consume(&b, 0, T0));
	assert_true(vblk_bucket_can_consume(&b, 0, T0));
	assert_int_equal(vblk_bucket_wait_ns(&b, 0, T0), 0);
	assert_int_equal(b.available, -50);
}

static void c19_token_bucket_debt_clears_with_refill(void **state)
{
	struct vblk_bucket b = full_bucket(100, 100);

	(void)state;
	assert_true(vblk_bucket_consume(&b, 150, T0));
	assert_true(vblk_bucket_consume(&b, 50, T0 + SEC));
	assert_int_equal(vblk_bucket_wait_ns(&b, 1, T0 + SEC), 10 * MSEC);
}

static void c20_token_bucket_unlimited_grants_oversized(void **state)
{
	struct vblk_bucket b = full_bucket(0, 0);

	(void)state;
	assert_true(vblk_bucket_consume(&b, UINT64_MAX, T0));
	/* It keeps no books: an endless sum would leave its range. */
	for (int i = 0; i < 3; i++)
		assert_true(vblk_bucket_consume(&b, INT64_MAX, T0));
	assert_int_equal(b.available, 0);
}

/* Rules: T-6 */
static void c21_token_bucket_consume_at_capacity_takes_normal_branch(void **state)
{
	struct vblk_bucket b = full_bucket(100, 100);

	(void)state;
	assert_true(vblk_bucket_consume(&b, 100, T0));
	assert_int_equal(vblk_bucket_wait_ns(&b, 1, T0), 10 * MSEC);
	assert_false(vblk_bucket_consume(&b, 100, T0));
	assert_int_equal(vblk_bucket_wait_ns(&b, 1, T0), 10 * MSEC);
}

/*
 * Rules: T-2.
 * ---- rules of section 8 that the catalogue leaves out ----
 */
static void t2_bucket_starts_full_and_capacity_is_clamped(void **state)
{
	struct vblk_bucket b = full_bucket(UINT64_MAX, 1);

	(void)state;
	assert_true(b.available == INT64_MAX);
	vblk_bucket_refill(&b, T0 + 100 * SEC);
	assert_true(b.available == INT64_MAX);
	assert_true(vblk_bucket_consume(&b, INT64_MAX, T0 + 100 * SEC));
	assert_int_equal(b.available, 0);
}

static void t4_time_that_steps_back_counts_as_no_time(void **state)
{
	struct vblk_bucket b = empty_bucket(10, 10);

	(void)state;
	vblk_bucket_refill(&b, T0 - SEC);
	assert_int_equal(b.available, 0);
	assert_int_equal(b.last_refill_ns, T0);
	vblk_bucket_refill(&b, T0);
	assert_int_equal(b.available, 0);
	/* One token takes 100 ms, and nothing flows before the clock has caught up. */
	assert_int_equal(vblk_bucket_wait_ns(&b, 1, T0 - SEC), SEC + 100 * MSEC);
	assert_false(vblk_bucket_can_consume(&b, 1, T0 + 100 * MSEC - 1));
	assert_true(vblk_bucket_can_consume(&b, 1, T0 + 100 * MSEC));
}

static void t4_fractions_of_a_token_accumulate(void **state)
{
	struct vblk_bucket b = empty_bucket(10, 3);

	(void)state;
	for (uint64_t ms = 1; ms <= 333; ms++)
		assert_false(vblk_bucket_can_consume(&b, 1, T0 + ms * MSEC));
	assert_true(vblk_bucket_can_consume(&b, 1, T0 + 334 * MSEC));
}

/* Where D-CLOCK departs from T-4: what a refill finds beyond whole tokens is kept. */
static void d_clock_remainder_of_a_refill_is_kept(void **state)
{
	struct vblk_bucket b = empty_bucket(100, 10);

	(void)state;
	vblk_bucket_refill(&b, T0 + 190 * MSEC);
	assert_int_equal(b.available, 1);
	assert_int_equal(vblk_bucket_wait_ns(&b, 2, T0 + 190 * MSEC), 10 * MSEC);
	vblk_bucket_refill(&b, T0 + 200 * MSEC);
	assert_int_equal(b.available, 2);
}

static void full_bucket_keeps_no_remainder(void **state)
{
	struct vblk_bucket b = empty_bucket(10, 10);

	(void)state;
	vblk_bucket_refill(&b, T0 + 1090 * MSEC);
	assert_int_equal(b.available, 10);
	assert_int_equal(b.last_refill_ns, T0 + 1090 * MSEC);
	assert_true(vblk_bucket_consume(&b, 10, T0 + 1090 * MSEC));
	assert_int_equal(vblk_bucket_wait_ns(&b, 1, T0 + 1090 * MSEC), 100 * MSEC);
}

static void t4_refill_saturates_at_extremes(void **state)
{
	struct vblk_bucket b;

	(void)state;
	vblk_bucket_init(&b, UINT64_MAX, UINT64_MAX, 0);
	b.available = INT64_MIN;
	b.fraction = 999999999;
	vblk_bucket_refill(&b, UINT64_MAX);
	assert_true(b.available == INT64_MAX);

	/* From the deepest debt in one refill, which is more tokens than an int64_t can say. */
	vblk_bucket_init(&b, INT64_MAX, SEC, 0);
	b.available = INT64_MIN;
	vblk_bucket_refill(&b, UINT64_MAX - 10);
	assert_true(b.available == INT64_MAX - 10);
}

/* Rules: T-6 */
static void t6_boundary_between_normal_and_oversized_is_strict(void **state)
{
	struct vblk_bucket b = empty_bucket(100, 100);

	(void)state;
	assert_false(vblk_bucket_can_consume(&b, 100, T0));
	assert_int_equal(vblk_bucket_wait_ns(&b, 100, T0), SEC);
	assert_true(vblk_bucket_can_consume(&b, 101, T0));
	b.available = -1;
	assert_false(vblk_bucket_can_consume(&b, 101, T0));
	assert_int_equal(vblk_bucket_wait_ns(&b, 101, T0), 10 * MSEC);
}

/* Rules: T-7 */
static void t7_can_consume_takes_nothing(void **state)
{
	struct vblk_bucket b = full_bucket(3, 1);

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_true(vblk_bucket_can_consume(&b, 3, T0));
	assert_int_equal(b.available, 3);
}

/* Rules: T-20 */
static void t20_example_values(void **state)
{
	static const struct {
		uint64_t capacity, rate;
		int64_t available;
		uint64_t n, wait;
	} table[] = {
		{ 100, 100, -50, 101, 500 * MSEC }, { 100, 100, -50, 200, 500 * MSEC },
		{ 100, 100, -50, 10, 600 * MSEC },  { 100, 100, -50, 0, 0 },
		{ 10, 10, 0, 5, 500 * MSEC },	    { 1, 1, 0, 1, SEC },
		{ 512, 512, 0, 512, SEC },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct vblk_bucket b = full_bucket(table[i].capacity, table[i].rate);

		b.available = table[i].available;
		assert_int_equal(vblk_bucket_wait_ns(&b, table[i].n, T0), table[i].wait);
		assert_int_equal(vblk_bucket_can_consume(&b, table[i].n, T0), table[i].wait == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(c01_token_bucket_unlimited_always_grants),
		cmocka_unit_test(c02_token_bucket_consumes_capacity),
		cmocka_unit_test(c03_token_bucket_refills_over_time),
		cmocka_unit_test(c04_throttle_zero_rate_becomes_unlimited),
		cmocka_unit_test(c05_token_bucket_refill_uses_elapsed_wall_time),
		cmocka_unit_test(c06_token_bucket_consume_zero_is_free),
		cmocka_unit_test(c07_wait_follows_the_deficit_and_nothing_else),
		cmocka_unit_test(c08_wait_of_unlimited_is_zero_whatever_the_fields),
		cmocka_unit_test(c09_nanos_until_n_tokens_saturates_at_u64_max),
		cmocka_unit_test(c10_nanos_until_n_tokens_ceil_div_exact),
		cmocka_unit_test(c11_nanos_until_n_tokens_unlimited_returns_zero),
		cmocka_unit_test(c12_nanos_until_n_tokens_post_refill_returns_zero),
		cmocka_unit_test(c13_token_bucket_oversized_grants_and_drives_negative),
		cmocka_unit_test(c14_token_bucket_oversized_back_to_back_second_stalls),
		cmocka_unit_test(c15_nanos_until_oversized_follower_waits_for_zero),
		cmocka_unit_test(c16_nanos_until_normal_follower_after_debt),
		cmocka_unit_test(c17_token_bucket_consume_rejects_n_above_i64_max),
		cmocka_unit_test(c18_token_bucket_zero_consume_succeeds_in_debt),
		cmocka_unit_test(c19_token_bucket_debt_clears_with_refill),
		cmocka_unit_test(c20_token_bucket_unlimited_grants_oversized),
		cmocka_unit_test(c21_token_bucket_consume_at_capacity_takes_normal_branch),
		cmocka_unit_test(t2_bucket_starts_full_and_capacity_is_clamped),
		cmocka_unit_test(t4_time_that_steps_back_counts_as_no_time),
		cmocka_unit_test(t4_fractions_of_a_token_accumulate),
		cmocka_unit_test(d_clock_remainder_of_a_refill_is_kept),
		cmocka_unit_test(full_bucket_keeps_no_remainder),
		cmocka_unit_test(t4_refill_saturates_at_extremes),
		cmocka_unit_test(t6_boundary_between_normal_and_oversized_is_strict),
		cmocka_unit_test(t7_can_consume_takes_nothing),
		cmocka_unit_test(t20_example_values),
	};

	return cmocka_run_group_tests_name("bucket", tests, NULL, NULL);
}
