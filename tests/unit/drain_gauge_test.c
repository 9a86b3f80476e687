/* SPDX-License-Identifier: MIT */
/*
 * The gauge of queues that wait for tokens: 1 from the first refusal until the request that was
 * refused leaves the queue, by whichever door.
 */
#include "bare_drain.h"
#include "disk.h"
#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"

#define DISK_SIZE 8192u
#define SECTOR	  VBLK_SECTOR_SIZE
#define SEC	  VBLK_NSEC_PER_SEC

/* iops=1, and a flush has spent it. */
static void start_without_ops_on(struct guest *g, struct vblk_backing *disk)
{
	const struct guest_options options = {
		.device = { .engine = VBLK_ENGINE_INLINE, .throttle = { .iops = 1 } },
	};

	guest_create(g, &options, disk);
	guest_start(g);
	guest_request(g, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_kick(g);
	expect_answer(g, VIRTIO_BLK_S_OK, 1);
}

static void start_without_ops(struct guest *g)
{
	start_without_ops_on(g, disk_create(DISK_SIZE, 0xab));
}

static void test_16_7_17_gauge_counts_one_stall_once(void **state)
{
	const struct guest_options options = { .device.throttle = { .iops = 1 } };
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0xab));
	expect_counters(&bare.guest);
	bare.drain.config.disk->throttle->state.ops.available = 0;
	guest_request(&bare.guest, VIRTIO_BLK_T_IN, 0, SECTOR);
	for (uint64_t i = 1; i <= 2; i++) {
		assert_int_equal(bare_drain_run(&bare, VBLK_DRAIN_STALLED), SEC);
		expect_counters(&bare.guest, .throttled = i, .throttled_now = 1);
	}
	bare.guest.now_ns += 2 * SEC;
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	expect_counters(&bare.guest, .reads_completed = 1, .bytes_read = SECTOR, .throttled = 2);
	assert_false(bare.drain.stalled);
	bare_drain_destroy(&bare);
}

/* Rules: N-7, L-3 */
static void test_16_7_14_reset_clears_the_gauge(void **state)
{
	struct guest g;

	(void)state;
	start_without_ops(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_int_equal(guest_metrics(&g).throttled_now, 1);
	guest_reset(&g);
	assert_int_equal(guest_metrics(&g).throttled_now, 0);
	guest_reset(&g);
	assert_int_equal(guest_metrics(&g).throttled_now, 0);
	guest_destroy(&g);
}

static void test_D_HOLE_3_destroy_clears_the_gauge(void **state)
{
	struct vblk_metrics_snapshot snapshot;
	struct vblk_metrics *metrics;
	struct guest g;

	(void)state;
	start_without_ops(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	metrics = vblk_metrics_ref(vblk_device_metrics(g.device));
	guest_destroy(&g);
	vblk_metrics_read(metrics, &snapshot);
	assert_int_equal(snapshot.throttled_now, 0);
	assert_int_equal(snapshot.throttled, 1);
	vblk_metrics_unref(metrics);
}

/* The driver rewrites the header of the chain that waits, so that it leaves by another door. */
static void test_D_HOLE_3_stalled_chain_that_turns_bad_clears_the_gauge(void **state)
{
	static const uint32_t types[] = { 0xbeef, VIRTIO_BLK_T_FLUSH };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct guest g;

		start_without_ops(&g);
		guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
		guest_kick(&g);
		assert_int_equal(guest_metrics(&g).throttled_now, 1);
		guest_put_header(&g, GUEST_HEADER, types[i], 0);
		guest_kick(&g);
		assert_int_equal(guest_used_idx(&g), 2);
		assert_int_equal(guest_metrics(&g).throttled_now, 0);
		guest_destroy(&g);
	}
}

static void test_D_HOLE_3_stalled_chain_that_is_dropped_clears_the_gauge(void **state)
{
	struct guest g;
	uint16_t head;

	(void)state;
	start_without_ops(&g);
	head = guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	guest_put_desc(&g, (uint16_t)(head + 2), GUEST_STATUS, 1, 0, 0);
	guest_kick(&g);
	expect_answer(&g, GUEST_SENTINEL, 1);
	expect_counters(&g, .flushes_completed = 1, .throttled = 1, .io_errors = 1);
	guest_destroy(&g);
}

static void test_D_HOLE_3_poison_clears_the_gauge(void **state)
{
	struct guest g;

	(void)state;
	start_without_ops(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	guest_set_avail_idx(&g, 1000);
	guest_kick(&g);
	expect_counters(&g, .flushes_completed = 1, .throttled = 1, .invalid_avail_idx = 1);
	guest_destroy(&g);
}

/* The driver takes the chain back: nothing waits any more. */
static void test_D_HOLE_3_stalled_chain_that_is_withdrawn_clears_the_gauge(void **state)
{
	struct guest g;

	(void)state;
	start_without_ops(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_int_equal(guest_metrics(&g).throttled_now, 1);
	guest_set_avail_idx(&g, 1);
	guest_kick(&g);
	expect_answer(&g, GUEST_SENTINEL, 1);
	expect_counters(&g, .flushes_completed = 1, .throttled = 1);
	guest_destroy(&g);
}

/* T-12: before the handler runs, not after it. */
struct witness {
	struct guest *guest;
	uint64_t gauge;
};

static void look_at_the_gauge(void *context)
{
	struct witness *witness = context;

	witness->gauge = guest_metrics(witness->guest).throttled_now;
}

static void test_T12_gauge_is_clear_while_the_request_is_carried_out(void **state)
{
	struct guest g;
	struct witness witness = { .guest = &g };

	(void)state;
	start_without_ops_on(&g, disk_create_hooked(DISK_SIZE, 0, look_at_the_gauge, &witness));
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_int_equal(guest_metrics(&g).throttled_now, 1);
	witness.gauge = 77;
	g.now_ns += SEC;
	guest_kick(&g);
	assert_int_equal(witness.gauge, 0);
	guest_destroy(&g);
}

/* A second request waits right behind the first: that is a stall of its own. */
static void test_T11_gauge_is_set_again_by_the_next_stall(void **state)
{
	struct guest g;

	(void)state;
	start_without_ops(&g);
	guest_request_at(&g, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_request_at(&g, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	for (uint64_t i = 1; i <= 2; i++) {
		guest_kick(&g);
		assert_int_equal(guest_metrics(&g).throttled, i);
		assert_int_equal(guest_metrics(&g).throttled_now, 1);
		g.now_ns += SEC;
	}
	guest_kick(&g);
	assert_int_equal(guest_metrics(&g).throttled_now, 0);
	assert_int_equal(guest_used_idx(&g), 3);
	guest_destroy(&g);
}

/* What is no plain read or write leaves no trace either: the next that waits is a new one. */
static void test_T12_each_flush_waits_for_itself(void **state)
{
	const struct guest_options options = { .device.throttle = { .iops = 1, .iops_burst = 1 } };
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0xab));
	for (unsigned i = 0; i < 3; i++)
		guest_request_at(&bare.guest, i, VIRTIO_BLK_T_FLUSH, 0, 0);
	bare_drain_run(&bare, VBLK_DRAIN_STALLED);
	expect_counters(&bare.guest, .flushes_completed = 1, .throttled = 1, .throttled_now = 1);
	bare.guest.now_ns += SEC;
	bare_drain_run(&bare, VBLK_DRAIN_STALLED);
	expect_counters(&bare.guest, .flushes_completed = 2, .throttled = 2, .throttled_now = 1);
	assert_int_equal(bare.drain.stall.since_ns, bare.guest.now_ns);
	bare.guest.now_ns += SEC;
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	expect_counters(&bare.guest, .flushes_completed = 3, .throttled = 2);
	bare_drain_destroy(&bare);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_16_7_17_gauge_counts_one_stall_once),
		cmocka_unit_test(test_16_7_14_reset_clears_the_gauge),
		cmocka_unit_test(test_D_HOLE_3_destroy_clears_the_gauge),
		cmocka_unit_test(test_D_HOLE_3_stalled_chain_that_turns_bad_clears_the_gauge),
		cmocka_unit_test(test_D_HOLE_3_stalled_chain_that_is_dropped_clears_the_gauge),
		cmocka_unit_test(test_D_HOLE_3_poison_clears_the_gauge),
		cmocka_unit_test(test_D_HOLE_3_stalled_chain_that_is_withdrawn_clears_the_gauge),
		cmocka_unit_test(test_T12_gauge_is_clear_while_the_request_is_carried_out),
		cmocka_unit_test(test_T11_gauge_is_set_again_by_the_next_stall),
		cmocka_unit_test(test_T12_each_flush_waits_for_itself),
	};

	return cmocka_run_group_tests_name("drain_gauge", tests, NULL, NULL);
}
