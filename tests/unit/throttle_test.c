/* SPDX-License-Identifier: MIT */
/*
 * The limits of a disk: buckets from a configuration, the gate, the rate that a driver gets, and
 * the check of a configuration. Names beginning with c and a number are cases of the test
 * catalogue, those with t and a number are rules.
 */
#include "throttle/throttle.h"

#include "base/checked.h"
#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MSEC VBLK_NSEC_PER_MSEC
#define SEC  VBLK_NSEC_PER_SEC

/* A moment that is not 0, as no clock's is. */
#define T0 (7 * SEC + 123)

/* Rules: T-3 */
static void c22_buckets_from_throttle_default_burst_equals_rate(void **state)
{
	const struct vblk_throttle config = { .iops = 1000, .bps = 50000 };
	struct vblk_throttle_state throttle;

	(void)state;
	vblk_throttle_init(&throttle, &config, T0);
	assert_int_equal(throttle.ops.capacity, 1000);
	assert_int_equal(throttle.ops.rate, 1000);
	assert_int_equal(throttle.ops.available, 1000);
	assert_int_equal(throttle.bytes.capacity, 50000);
	assert_int_equal(throttle.bytes.rate, 50000);
	assert_int_equal(throttle.bytes.available, 50000);
	assert_false(vblk_throttle_is_unlimited(&throttle));
}

static void c23_buckets_from_throttle_burst_capacity_overrides_rate(void **state)
{
	const struct vblk_throttle config = {
		.iops = 1000, .iops_burst = 5000, .bps = 50000, .bps_burst = 250000
	};
	struct vblk_throttle_state throttle;

	(void)state;
	vblk_throttle_init(&throttle, &config, T0);
	assert_int_equal(throttle.ops.capacity, 5000);
	assert_int_equal(throttle.ops.rate, 1000);
	assert_int_equal(throttle.ops.available, 5000);
	assert_int_equal(throttle.bytes.capacity, 250000);
	assert_int_equal(throttle.bytes.rate, 50000);
	assert_int_equal(throttle.bytes.available, 250000);
}

/* Rules: T-3 */
static void c24_buckets_from_throttle_burst_without_rate_is_unlimited(void **state)
{
	const struct vblk_throttle config = { .iops_burst = 5000, .bps_burst = 250000 };
	struct vblk_throttle_state throttle;
	uint64_t wait = 77;

	(void)state;
	vblk_throttle_init(&throttle, &config, T0);
	assert_true(throttle.ops.unlimited);
	assert_true(throttle.bytes.unlimited);
	assert_true(vblk_throttle_is_unlimited(&throttle));
	for (int i = 0; i < 10000; i++)
		assert_true(vblk_throttle_take(&throttle, 1 << 20, T0, &wait));
	assert_int_equal(wait, 77);
}

static void c25_buckets_from_throttle_per_dimension_independence(void **state)
{
	const struct vblk_throttle ops_only = { .iops = 2 };
	const struct vblk_throttle bytes_only = { .bps = 1000 };
	struct vblk_throttle_state throttle;
	uint64_t wait;

	(void)state;
	vblk_throttle_init(&throttle, &ops_only, T0);
	assert_true(throttle.bytes.unlimited);
	assert_false(vblk_throttle_is_unlimited(&throttle));
	assert_true(vblk_throttle_take(&throttle, 1ull << 40, T0, &wait));
	assert_true(vblk_throttle_take(&throttle, 1ull << 40, T0, &wait));
	assert_false(vblk_throttle_take(&throttle, 0, T0, &wait));

	vblk_throttle_init(&throttle, &bytes_only, T0);
	assert_true(throttle.ops.unlimited);
	assert_false(vblk_throttle_is_unlimited(&throttle));
	for (int i = 0; i < 1000; i++)
		assert_true(vblk_throttle_take(&throttle, 1, T0, &wait));
	assert_false(vblk_throttle_take(&throttle, 1, T0, &wait));
}

/*
 * Rules: T-10.
 * ---- the gate ----
 */
static void t10_gate_takes_both_or_neither(void **state)
{
	const struct vblk_throttle config = { .iops = 10, .bps = 1000 };
	struct vblk_throttle_state throttle;
	uint64_t wait = 77;

	(void)state;
	vblk_throttle_init(&throttle, &config, T0);
	assert_true(vblk_throttle_take(&throttle, 400, T0, &wait));
	assert_int_equal(throttle.ops.available, 9);
	assert_int_equal(throttle.bytes.available, 600);
	assert_int_equal(wait, 77);

	assert_false(vblk_throttle_take(&throttle, 700, T0, &wait));
	assert_int_equal(throttle.ops.available, 9);
	assert_int_equal(throttle.bytes.available, 600);

	throttle.ops.available = 0;
	assert_false(vblk_throttle_take(&throttle, 100, T0, &wait));
	assert_int_equal(throttle.ops.available, 0);
	assert_int_equal(throttle.bytes.available, 600);
}

static void t10_flush_does_not_wait_for_bytes(void **state)
{
	const struct vblk_throttle config = { .iops = 10, .bps = 1000 };
	struct vblk_throttle_state throttle;
	uint64_t wait;

	(void)state;
	vblk_throttle_init(&throttle, &config, T0);
	assert_true(vblk_throttle_take(&throttle, 5000, T0, &wait));
	assert_int_equal(throttle.bytes.available, -4000);
	assert_true(vblk_throttle_take(&throttle, 0, T0, &wait));
	assert_int_equal(throttle.ops.available, 8);
	assert_int_equal(throttle.bytes.available, -4000);
}

static void t11_wait_is_the_longest_of_the_failing_buckets(void **state)
{
	static const struct {
		int64_t ops, bytes;
		uint64_t size, wait;
	} table[] = {
		{ 0, 1000, 512, 100 * MSEC },  /* only operations are missing */
		{ 5, 0, 512, 512 * MSEC },     /* only bytes */
		{ 0, 500, 512, 100 * MSEC },   /* both, operations for longer */
		{ 0, 0, 512, 512 * MSEC },     /* both, bytes for longer */
		{ 0, -100, 2000, 100 * MSEC }, /* both, equally long */
	};
	const struct vblk_throttle config = { .iops = 10, .bps = 1000 };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct vblk_throttle_state throttle;
		uint64_t wait = 0, again;

		vblk_throttle_init(&throttle, &config, T0);
		throttle.ops.available = table[i].ops;
		throttle.bytes.available = table[i].bytes;
		assert_false(vblk_throttle_take(&throttle, table[i].size, T0, &wait));
		assert_int_equal(wait, table[i].wait);
		assert_false(vblk_throttle_take(&throttle, table[i].size, T0 + wait - 1, &again));
		assert_int_equal(again, 1);
		assert_true(vblk_throttle_take(&throttle, table[i].size, T0 + wait, &again));
	}
}

static void t18_reset_fills_both_buckets(void **state)
{
	const struct vblk_throttle config = { .iops = 10, .iops_burst = 20, .bps = 1000 };
	struct vblk_throttle_state throttle;
	uint64_t wait;

	(void)state;
	vblk_throttle_init(&throttle, &config, T0);
	assert_true(vblk_throttle_take(&throttle, 5000, T0, &wait));
	assert_false(vblk_throttle_take(&throttle, 10, T0 + 1, &wait));
	vblk_throttle_refill_full(&throttle, T0 + 2);
	assert_int_equal(throttle.ops.available, 20);
	assert_int_equal(throttle.ops.rate, 10);
	assert_int_equal(throttle.ops.last_refill_ns, T0 + 2);
	assert_int_equal(throttle.bytes.available, 1000);
	assert_int_equal(throttle.bytes.rate, 1000);
	assert_false(vblk_throttle_is_unlimited(&throttle));
}

static void t18_reset_keeps_what_is_unlimited(void **state)
{
	const struct vblk_throttle config = { .iops = 10, .bps_burst = 5 };
	struct vblk_throttle_state throttle;

	(void)state;
	vblk_throttle_init(&throttle, &config, T0);
	vblk_throttle_refill_full(&throttle, T0 + 1);
	assert_false(throttle.ops.unlimited);
	assert_true(throttle.bytes.unlimited);
}

/* ---- D-CLOCK: the rate that a driver gets who always has a request waiting ---- */

struct rate_case {
	uint64_t iops, bps, burst;
	uint64_t size;	   /* bytes per request */
	uint64_t lateness; /* ns by which each wake-up is late */
	uint64_t poll;	   /* look this often (ns) and not when told; 0: when told */
};

static const struct rate_case rate_cases[] = {
	/* operations */
	{ .iops = 100, .size = 4096 },
	{ .iops = 1000, .size = 4096 },
	{ .iops = 20000, .size = 4096 },
	{ .iops = 100, .size = 4096, .lateness = 70000 },
	{ .iops = 1000, .size = 4096, .lateness = 70000 },
	{ .iops = 20000, .size = 4096, .lateness = 70000 },
	{ .iops = 20000, .size = 4096, .poll = 70000 },
	{ .iops = 19997, .size = 4096, .poll = 70001 },
	/* bytes, requests smaller than the bucket, as large, and larger */
	{ .bps = 1000000, .size = 512 },
	{ .bps = 1000000, .size = 4096 },
	{ .bps = 1000000, .size = 65536, .lateness = 70000 },
	{ .bps = 1000000, .size = 1000000 },
	{ .bps = 1000000, .size = 1500000 },
	{ .bps = 1000000, .size = 1500000, .lateness = 70000 },
	{ .bps = 1000000, .size = 2500000, .burst = 2000000 },
	{ .bps = 1000000, .size = 4096, .poll = 333 },
	{ .bps = 100000000, .size = 4096 },
	{ .bps = 100000000, .size = 4096, .lateness = 70000 },
	{ .bps = 100000000, .size = 1048576 },
	{ .bps = 100000000, .size = 100000000 },
	{ .bps = 100000000, .size = 130000000 },
	{ .bps = 100000000, .size = 130000000, .lateness = 70000 },
	/* both, where operations are scarce and where bytes are */
	{ .iops = 100, .bps = 100000000, .size = 4096 },
	{ .iops = 20000, .bps = 1000000, .size = 4096 },
};

/*
 * Serves requests for at least 10 s, from empty buckets, to the first grant after that. Between
 * the first grant and the last the rate is free of how large requests divide the 10 s.
 */
static void run_rate_case(const struct rate_case *c, uint64_t *count, uint64_t *ns)
{
	const struct vblk_throttle config = { .iops = c->iops,
					      .bps = c->bps,
					      .bps_burst = c->burst };
	struct vblk_throttle_state throttle;
	uint64_t now = T0, first = 0, grants = 0, wait;

	vblk_throttle_init(&throttle, &config, T0);
	throttle.ops.available = 0;
	throttle.bytes.available = 0;
	for (;;) {
		if (!vblk_throttle_take(&throttle, c->size, now, &wait)) {
			now += c->poll ? c->poll : wait + c->lateness;
			continue;
		}
		if (grants == 0)
			first = now;
		if (now >= first + 10 * SEC)
			break;
		grants++;
	}
	*count = grants;
	*ns = now - first;
}

/* Rules: D-CLOCK */
static void d_clock_rate_is_within_one_percent(void **state)
{
	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(rate_cases); i++) {
		const struct rate_case *c = &rate_cases[i];
		double rate, ops_share = 0, bytes_share = 0, share;
		uint64_t count, ns;

		run_rate_case(c, &count, &ns);
		rate = (double)count * (double)SEC / (double)ns;
		if (c->iops)
			ops_share = rate / (double)c->iops;
		if (c->bps)
			bytes_share = rate * (double)c->size / (double)c->bps;
		share = ops_share > bytes_share ? ops_share : bytes_share;
		if (share < 0.99 || share > 1.01)
			fail_msg("rate case %zu: %f of the rate", i, share);
	}
}

/*
 * Rules: T-19.
 * ---- configuration check ----
 */
static void validate_table(void **state)
{
	static const struct {
		struct vblk_throttle config;
		struct vblk_throttle_problem problem;
	} table[] = {
		{ { 0 }, { VBLK_THROTTLE_FINE, 0, 0, 0 } },
		{ { .iops = 5, .bps = 7 }, { VBLK_THROTTLE_FINE, 0, 0, 0 } },
		{ { .iops = 5, .iops_burst = 5, .bps = 7, .bps_burst = 7 },
		  { VBLK_THROTTLE_FINE, 0, 0, 0 } },
		{ { .iops = 5, .iops_burst = 6, .bps = 7, .bps_burst = UINT64_MAX },
		  { VBLK_THROTTLE_FINE, 0, 0, 0 } },
		{ { .iops = 5, .iops_burst = 4 },
		  { VBLK_THROTTLE_BURST_BELOW_RATE, VBLK_THROTTLE_OPS, 4, 5 } },
		{ { .bps = UINT64_MAX, .bps_burst = UINT64_MAX - 1 },
		  { VBLK_THROTTLE_BURST_BELOW_RATE, VBLK_THROTTLE_BYTES, UINT64_MAX - 1,
		    UINT64_MAX } },
		{ { .iops_burst = 9 },
		  { VBLK_THROTTLE_BURST_WITHOUT_RATE, VBLK_THROTTLE_OPS, 9, 0 } },
		{ { .iops = 3, .bps_burst = 9 },
		  { VBLK_THROTTLE_BURST_WITHOUT_RATE, VBLK_THROTTLE_BYTES, 9, 0 } },
		/* both wrong: operations first, in either order of kinds */
		{ { .iops = 5, .iops_burst = 4, .bps_burst = 9 },
		  { VBLK_THROTTLE_BURST_BELOW_RATE, VBLK_THROTTLE_OPS, 4, 5 } },
		{ { .iops_burst = 9, .bps = 5, .bps_burst = 4 },
		  { VBLK_THROTTLE_BURST_WITHOUT_RATE, VBLK_THROTTLE_OPS, 9, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const struct vblk_throttle_problem *expected = &table[i].problem;
		struct vblk_throttle_problem got;
		int err = vblk_throttle_validate(&table[i].config, &got);

		assert_int_equal(err, expected->kind == VBLK_THROTTLE_FINE ? 0 : -EINVAL);
		assert_int_equal(got.kind, expected->kind);
		if (err == 0)
			continue;
		assert_int_equal(got.dimension, expected->dimension);
		assert_true(got.burst == expected->burst);
		assert_true(got.rate == expected->rate);
	}
}

static void problem_texts(void **state)
{
	static const struct {
		struct vblk_throttle_problem problem;
		const char *text;
	} table[] = {
		{ { VBLK_THROTTLE_FINE, VBLK_THROTTLE_OPS, 0, 0 }, "" },
		{ { VBLK_THROTTLE_BURST_BELOW_RATE, VBLK_THROTTLE_OPS, 50, 100 },
		  "iops-burst=50 is below iops=100: give at least the rate, "
		  "or iops-burst=0 to clear the burst" },
		{ { VBLK_THROTTLE_BURST_BELOW_RATE, VBLK_THROTTLE_BYTES, UINT64_MAX - 1,
		    UINT64_MAX },
		  "bps-burst=18446744073709551614 is below bps=18446744073709551615: "
		  "give at least the rate, or bps-burst=0 to clear the burst" },
		{ { VBLK_THROTTLE_BURST_WITHOUT_RATE, VBLK_THROTTLE_OPS, 50, 0 },
		  "iops-burst=50 without a rate: set iops too, or iops-burst=0 to clear the burst" },
		{ { VBLK_THROTTLE_BURST_WITHOUT_RATE, VBLK_THROTTLE_BYTES, 50, 0 },
		  "bps-burst=50 without a rate: set bps too, or bps-burst=0 to clear the burst" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		char text[256];

		memset(text, 'x', sizeof(text));
		vblk_throttle_problem_text(&table[i].problem, text, sizeof(text));
		assert_string_equal(text, table[i].text);
	}
}

static void problem_text_is_cut_to_its_buffer(void **state)
{
	const struct vblk_throttle_problem problem = { VBLK_THROTTLE_BURST_WITHOUT_RATE,
						       VBLK_THROTTLE_OPS, 50, 0 };
	char text[12];

	(void)state;
	memset(text, 'x', sizeof(text));
	vblk_throttle_problem_text(&problem, text, 11);
	assert_string_equal(text, "iops-burst");
	assert_int_equal(text[11], 'x');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(c22_buckets_from_throttle_default_burst_equals_rate),
		cmocka_unit_test(c23_buckets_from_throttle_burst_capacity_overrides_rate),
		cmocka_unit_test(c24_buckets_from_throttle_burst_without_rate_is_unlimited),
		cmocka_unit_test(c25_buckets_from_throttle_per_dimension_independence),
		cmocka_unit_test(t10_gate_takes_both_or_neither),
		cmocka_unit_test(t10_flush_does_not_wait_for_bytes),
		cmocka_unit_test(t11_wait_is_the_longest_of_the_failing_buckets),
		cmocka_unit_test(t18_reset_fills_both_buckets),
		cmocka_unit_test(t18_reset_keeps_what_is_unlimited),
		cmocka_unit_test(d_clock_rate_is_within_one_percent),
		cmocka_unit_test(validate_table),
		cmocka_unit_test(problem_texts),
		cmocka_unit_test(problem_text_is_cut_to_its_buffer),
	};

	return cmocka_run_group_tests_name("throttle", tests, NULL, NULL);
}
