/* SPDX-License-Identifier: MIT */
/*
 * The inline engine: that a notification is served before the call returns or remembered, how much
 * one call does at most, and what it says of when to call again.
 */
#include "disk.h"
#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/engine.h"

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE
#define SEC	  VBLK_NSEC_PER_SEC
#define MSEC	  VBLK_NSEC_PER_MSEC

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static void create(struct guest *g)
{
	guest_create(g, &inline_options, disk_create(DISK_SIZE, 0xab));
}

/* The next deadline from now, or UINT64_MAX if there is none. */
static uint64_t time_left(struct guest *g)
{
	uint64_t deadline_ns = 0;

	if (!vblk_device_next_deadline(g->device, &deadline_ns))
		return UINT64_MAX;
	assert_true(deadline_ns >= g->now_ns);
	return deadline_ns - g->now_ns;
}

#define assert_no_deadline(guest)    assert_int_equal(time_left(guest), UINT64_MAX)
#define assert_deadline(guest, left) assert_int_equal(time_left(guest), (left))

static void test_notification_is_served_before_it_returns(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(guest_metrics(&g).notifications, 1);
	assert_no_deadline(&g);
	guest_destroy(&g);
}

static void test_D_OK_FIRST_notification_is_remembered_from_any_state(void **state)
{
	static const uint32_t states[] = { 0x0, 0x1, 0x3, 0xb };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct guest g;

		create(&g);
		guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
		if (states[i] == 0)
			guest_kick(&g);
		if (states[i] >= 0x1)
			guest_set_status(&g, 0x1);
		if (states[i] == 0x1)
			guest_kick(&g);
		if (states[i] >= 0x3)
			guest_set_status(&g, 0x3);
		if (states[i] == 0x3)
			guest_kick(&g);
		if (states[i] == 0xb) {
			guest_negotiate(&g);
			guest_kick(&g);
		}
		assert_no_deadline(&g);
		guest_start(&g);
		expect_answer(&g, VIRTIO_BLK_S_OK, 1);
		guest_destroy(&g);
	}
}

static void test_D_OK_FIRST_notification_waits_for_memory_too(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.unbound = true;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	expect_answer(&g, GUEST_SENTINEL, 0);
	assert_int_equal(vblk_device_set_memory(g.device, g.memory), 0);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	guest_destroy(&g);
}

static void test_memory_alone_starts_nothing(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.unbound = true;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_int_equal(vblk_device_set_memory(g.device, g.memory), 0);
	vblk_device_run(g.device);
	expect_answer(&g, GUEST_SENTINEL, 0);
	guest_destroy(&g);
}

static void test_run_serves_as_a_notification_does(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	vblk_device_run(g.device);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_interrupts(&g, 1, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(guest_metrics(&g).notifications, 0);
	guest_destroy(&g);
}

static void test_run_is_harmless_in_any_state(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	vblk_device_run(g.device);
	guest_negotiate(&g);
	vblk_device_run(g.device);
	expect_answer(&g, GUEST_SENTINEL, 0);
	guest_reset(&g);
	vblk_device_run(g.device);
	guest_start(&g);
	vblk_device_run(g.device);
	guest_set_avail_idx(&g, 1000);
	vblk_device_run(g.device);
	vblk_device_run(g.device);
	expect_counters(&g, .invalid_avail_idx = 1);
	assert_no_deadline(&g);
	guest_reset(&g);
	vblk_device_run(g.device);
	expect_counters(&g, .invalid_avail_idx = 1);
	guest_destroy(&g);
}

/* Rules: D-ENGINE */
static void test_stalled_request_names_its_deadline(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.throttle.iops = 4;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	for (unsigned i = 0; i < 5; i++)
		guest_request_at(&g, i, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_int_equal(guest_used_idx(&g), 4);
	assert_deadline(&g, 250 * MSEC);
	g.now_ns += 100 * MSEC;
	assert_deadline(&g, 150 * MSEC);
	g.now_ns += 150 * MSEC - 1;
	vblk_device_run(g.device); /* one nanosecond too early */
	assert_int_equal(guest_used_idx(&g), 4);
	assert_deadline(&g, 1);
	g.now_ns += 1;
	vblk_device_run(g.device);
	assert_int_equal(guest_used_idx(&g), 5);
	assert_no_deadline(&g);
	expect_counters(&g, .reads_completed = 5, .bytes_read = 5 * SECTOR, .throttled = 2);
	guest_destroy(&g);
}

/* T-17: a long debt is looked at once a second. */
static void test_T17_deadline_is_at_most_a_second_away(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.throttle.bps = SECTOR;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	guest_request_at(&g, 0, VIRTIO_BLK_T_IN, 0, 3 * SECTOR); /* two sectors in debt */
	guest_request_at(&g, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	for (uint64_t stalls = 1; stalls <= 3; stalls++) {
		expect_counters(&g, .reads_completed = 1, .bytes_read = 3 * SECTOR,
				.throttled = stalls, .throttled_now = 1);
		assert_deadline(&g, SEC);
		g.now_ns += SEC;
		vblk_device_run(g.device);
	}
	assert_int_equal(guest_used_idx(&g), 2);
	assert_no_deadline(&g);
	guest_destroy(&g);
}

/* Rules: T-14 T-15 */
static void test_16_10_retry_clamp(void **state)
{
	(void)state;
	assert_int_equal(VBLK_RETRY_MAX_NS, 1000000000);
	assert_int_equal(vblk_retry_clamp(0), 1);
	assert_int_equal(vblk_retry_clamp(1), 1);
	assert_int_equal(vblk_retry_clamp(SEC / 2), SEC / 2);
	assert_int_equal(vblk_retry_clamp(SEC - 1), SEC - 1);
	assert_int_equal(vblk_retry_clamp(SEC), SEC);
	assert_int_equal(vblk_retry_clamp(SEC + 1), SEC);
	assert_int_equal(vblk_retry_clamp(UINT64_MAX), SEC);
}

static void test_reset_ends_the_wait(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.throttle.iops = 1;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	guest_request_at(&g, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_request_at(&g, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_deadline(&g, SEC);
	guest_reset(&g);
	assert_no_deadline(&g);
	guest_start(&g);
	assert_no_deadline(&g);
	guest_destroy(&g);
}

/* A driver that puts a new chain into the ring whenever it is looked at. */
static void offer_again(void *context)
{
	guest_request_at(context, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
}

static void test_D_HOLE_2_one_call_serves_as_many_as_the_queue_is_long(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.queue_size = 16;
	guest_create(&g, &options, disk_create_hooked(DISK_SIZE, 0xab, offer_again, &g));
	guest_start(&g);
	guest_request_at(&g, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	for (uint16_t i = 1; i <= 3; i++) {
		assert_int_equal(guest_used_idx(&g), 16 * i);
		expect_interrupts(&g, 1, VIRTIO_MMIO_INT_VRING);
		assert_deadline(&g, 0);
		vblk_device_run(g.device);
	}
	assert_int_equal(guest_metrics(&g).notifications, 1);
	guest_destroy(&g);
}

/* The bound itself, with nothing behind it: the next call finds that out. */
static void test_D_HOLE_2_full_queue_is_served_at_once(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.queue_size = 16;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	for (unsigned i = 0; i < 16; i++) {
		guest_put_desc(&g, (uint16_t)i, 0, 0, 0, 0);
		guest_offer(&g, (uint16_t)i); /* each a chain without status: dropped */
	}
	guest_kick(&g);
	expect_counters(&g, .io_errors = 16);
	vblk_device_run(g.device);
	assert_no_deadline(&g);
	assert_int_equal(guest_used_flags(&g), 0);
	guest_destroy(&g);
}

static void test_D_HOLE_2_left_over_is_forgotten_by_reset(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.queue_size = 16;
	guest_create(&g, &options, disk_create_hooked(DISK_SIZE, 0xab, offer_again, &g));
	guest_start(&g);
	guest_request_at(&g, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_deadline(&g, 0);
	guest_reset(&g);
	assert_no_deadline(&g);
	guest_start(&g);
	assert_no_deadline(&g);
	guest_destroy(&g);
}

/*
 * used.flags lies over avail.idx: asking the driver not to notify announces a chain, asking it to
 * notify takes it back. So the queue is found empty, and then not, for ever.
 */
static void test_D_HOLE_2_overlapping_rings_do_not_hold_us(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.queue_size = 16;
	options.avail = 0x1002;
	options.used = 0x1004;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	*guest_at(&g, 0x1006) = 16; /* the head: outside the table, and dropped */
	guest_kick(&g);
	assert_deadline(&g, 0);
	expect_counters(&g, .io_errors = 1);
	vblk_device_run(g.device);
	assert_deadline(&g, 0);
	expect_counters(&g, .io_errors = 1);
	assert_int_equal(guest_status(&g), 0xf);
	guest_destroy(&g);
}

static void test_worker_device_has_no_deadline(void **state)
{
	uint64_t deadline_ns = 77;
	struct guest g;

	(void)state;
	guest_create(&g, NULL, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	assert_false(vblk_device_next_deadline(g.device, &deadline_ns));
	vblk_device_run(g.device);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_notification_is_served_before_it_returns),
		cmocka_unit_test(test_D_OK_FIRST_notification_is_remembered_from_any_state),
		cmocka_unit_test(test_D_OK_FIRST_notification_waits_for_memory_too),
		cmocka_unit_test(test_memory_alone_starts_nothing),
		cmocka_unit_test(test_run_serves_as_a_notification_does),
		cmocka_unit_test(test_run_is_harmless_in_any_state),
		cmocka_unit_test(test_stalled_request_names_its_deadline),
		cmocka_unit_test(test_T17_deadline_is_at_most_a_second_away),
		cmocka_unit_test(test_16_10_retry_clamp),
		cmocka_unit_test(test_reset_ends_the_wait),
		cmocka_unit_test(test_D_HOLE_2_one_call_serves_as_many_as_the_queue_is_long),
		cmocka_unit_test(test_D_HOLE_2_full_queue_is_served_at_once),
		cmocka_unit_test(test_D_HOLE_2_left_over_is_forgotten_by_reset),
		cmocka_unit_test(test_D_HOLE_2_overlapping_rings_do_not_hold_us),
		cmocka_unit_test(test_worker_device_has_no_deadline),
	};

	return cmocka_run_group_tests_name("inline", tests, NULL, NULL);
}
