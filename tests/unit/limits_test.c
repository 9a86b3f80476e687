/* SPDX-License-Identifier: MIT */
/* Limits that change while the device runs, with the time in the test's hands. */
#include "mock_guest.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "throttle/throttle.h"

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static void set_limits(struct guest *g, struct vblk_throttle limits)
{
	assert_int_equal(guest_set_throttle(g, &limits), 0);
}

static void offer_reads(struct guest *g, unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++)
		guest_request_at(g, i, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(g);
}

static void assert_in_order(struct guest *g, uint16_t count)
{
	assert_int_equal(guest_used_idx(g), count);
	for (uint16_t i = 0; i < count; i++)
		assert_int_equal(guest_used_elem(g, i).id, 3 * i);
}

/* Rules: T-2 T-11 */
static void test_new_limit_starts_full(void **state)
{
	struct guest g;

	(void)state;
	guest_create_filled(&g, &inline_options, 4096, 0xab);
	guest_start(&g);
	offer_reads(&g, 0, 5);
	set_limits(&g, (struct vblk_throttle){ .iops = 3 });
	offer_reads(&g, 5, 5);
	assert_in_order(&g, 8);
	guest_destroy(&g);
}

/* Rules: T-11 T-12 D-HOLE-3 */
static void test_raised_limit_serves_what_waits_at_once(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.throttle = (struct vblk_throttle){ .bps = 1, .bps_burst = 512 };
	guest_create_filled(&g, &options, 4096, 0xab);
	guest_start(&g);
	offer_reads(&g, 0, 4);
	assert_in_order(&g, 1);
	assert_int_equal(guest_metrics(&g).throttled_now, 1);
	/* A faster rate does not pay by itself: the bucket is as empty as it was. */
	set_limits(&g, (struct vblk_throttle){ .bps = 1024 });
	assert_in_order(&g, 1);
	g.now_ns += VBLK_NSEC_PER_SEC;
	guest_run(&g);
	assert_in_order(&g, 3);
	set_limits(&g, (struct vblk_throttle){ 0 });
	assert_in_order(&g, 4);
	assert_int_equal(guest_metrics(&g).throttled_now, 0);
	guest_destroy(&g);
}

/* Rules: R-4 T-18 */
static void test_changed_limit_survives_a_reset(void **state)
{
	struct guest g;

	(void)state;
	guest_create_filled(&g, &inline_options, 4096, 0xab);
	set_limits(&g, (struct vblk_throttle){ .iops = 2 });
	for (int round = 0; round < 2; round++) {
		guest_start(&g);
		offer_reads(&g, 0, 3);
		assert_in_order(&g, 2);
		guest_reset(&g);
	}
	guest_destroy(&g);
}

/* Rules: T-4 D-CLOCK */
static void test_change_keeps_level_and_debt(void **state)
{
	static const struct {
		uint64_t capacity, rate; /* before */
		uint64_t taken;		 /* from the full bucket */
		uint64_t elapsed_ns;	 /* until the change */
		uint64_t new_capacity, new_rate;
		int64_t available; /* after */
	} rows[] = {
		{ 100, 10, 60, 0, 100, 20, 40 },		 /* the rate alone */
		{ 100, 10, 60, VBLK_NSEC_PER_SEC, 100, 20, 50 }, /* paid at the old rate */
		{ 100, 10, 60, 0, 30, 10, 30 },			 /* what no longer fits goes */
		{ 100, 10, 60, 0, 1000, 10, 40 },		 /* room is not filled */
		{ 100, 10, 250, 0, 500, 10, -150 },		 /* debt stays */
		{ 100, 10, 250, 10 * VBLK_NSEC_PER_SEC, 500, 1, -50 } /* and is paid */,
		{ 0, 0, 7, 0, 50, 5, 50 }, /* a new limit */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vblk_bucket bucket;

		vblk_bucket_init(&bucket, rows[i].capacity, rows[i].rate, 1000);
		assert_true(vblk_bucket_consume(&bucket, rows[i].taken, 1000));
		vblk_bucket_change(&bucket, rows[i].new_capacity, rows[i].new_rate,
				   1000 + rows[i].elapsed_ns);
		assert_int_equal(bucket.available, rows[i].available);
		assert_false(bucket.unlimited);
	}
}

/* Rules: D-CLOCK */
static void test_change_keeps_the_fraction(void **state)
{
	struct vblk_bucket bucket;

	(void)state;
	vblk_bucket_init(&bucket, 1, 1, 0);
	assert_true(vblk_bucket_consume(&bucket, 1, 0));
	vblk_bucket_change(&bucket, 1, 1, VBLK_NSEC_PER_SEC / 2);
	assert_int_equal(vblk_bucket_wait_ns(&bucket, 1, VBLK_NSEC_PER_SEC / 2),
			 VBLK_NSEC_PER_SEC / 2);
}

/* Rules: T-2 */
static void test_limit_taken_away_and_put_back_starts_full(void **state)
{
	struct vblk_bucket bucket;

	(void)state;
	vblk_bucket_init(&bucket, 10, 10, 0);
	assert_true(vblk_bucket_consume(&bucket, 10, 0));
	vblk_bucket_change(&bucket, 0, 0, 0);
	assert_true(vblk_bucket_consume(&bucket, 1000, 0));
	vblk_bucket_change(&bucket, 10, 10, 0);
	assert_true(vblk_bucket_consume(&bucket, 10, 0));
	assert_false(vblk_bucket_consume(&bucket, 1, 0));
}

/* Or the time that it has stepped back would be paid for twice. Rules: T-4 */
static void test_a_change_when_the_clock_has_stepped_back(void **state)
{
	struct vblk_bucket bucket;

	(void)state;
	vblk_bucket_init(&bucket, 10, 10, 9 * VBLK_NSEC_PER_SEC);
	assert_true(vblk_bucket_consume(&bucket, 10, 10 * VBLK_NSEC_PER_SEC));
	vblk_bucket_change(&bucket, 20, 20, 9 * VBLK_NSEC_PER_SEC);
	assert_false(vblk_bucket_can_consume(&bucket, 1, 10 * VBLK_NSEC_PER_SEC));
	assert_true(vblk_bucket_can_consume(&bucket, 1,
					    10 * VBLK_NSEC_PER_SEC + VBLK_NSEC_PER_SEC / 20));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_limit_starts_full),
		cmocka_unit_test(test_raised_limit_serves_what_waits_at_once),
		cmocka_unit_test(test_changed_limit_survives_a_reset),
		cmocka_unit_test(test_change_keeps_level_and_debt),
		cmocka_unit_test(test_change_keeps_the_fraction),
		cmocka_unit_test(test_limit_taken_away_and_put_back_starts_full),
		cmocka_unit_test(test_a_change_when_the_clock_has_stepped_back),
	};

	return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
