/* SPDX-License-Identifier: MIT */
/*
 * Requests that wait for tokens: that a stall leaves nothing behind in the guest, keeps the order,
 * and is counted. The device's clock stands still unless a test moves it. Buckets are emptied by a
 * request that pays for what the test needs gone, or, where the drain is bare, looked into.
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

static void start_throttled(struct guest *g, struct vblk_throttle throttle, bool event_idx)
{
	const struct guest_options options = {
		.device = { .engine = VBLK_ENGINE_INLINE, .throttle = throttle },
		.event_idx = event_idx,
	};

	guest_create(g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(g);
}

/* Takes the one operation out of the bucket, and forgets the interrupt. */
static void spend_one_op(struct guest *g)
{
	guest_request(g, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_kick(g);
	assert_int_equal(guest_status_byte(g), VIRTIO_BLK_S_OK);
	guest_take_interrupts(g);
	guest_write32(g, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
}

/* iops=1, nothing left, one flush done. */
static void start_without_ops(struct guest *g)
{
	start_throttled(g, (struct vblk_throttle){ .iops = 1 }, false);
	spend_one_op(g);
}

/* Spends `bytes` of a bytes bucket in one read. */
static void spend_bytes(struct guest *g, uint32_t bytes)
{
	guest_request(g, VIRTIO_BLK_T_IN, 0, bytes);
	guest_kick(g);
	expect_answer(g, VIRTIO_BLK_S_OK, 1);
	guest_take_interrupts(g);
	guest_write32(g, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
}

/* Rules: gate-11, D-5 */
static void test_16_3_14_throttled_chain_leaves_nothing_behind(void **state)
{
	struct guest g;

	(void)state;
	start_without_ops(&g);
	guest_fill(&g, GUEST_DATA, GUEST_SENTINEL, SECTOR);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	expect_answer(&g, GUEST_SENTINEL, 1);
	assert_true(guest_is_filled(&g, GUEST_DATA, GUEST_SENTINEL, SECTOR));
	expect_counters(&g, .flushes_completed = 1, .throttled = 1, .throttled_now = 1);
	expect_interrupts(&g, 0, 0);
	assert_int_equal(guest_used_flags(&g), 0); /* D-5: the driver shall notify */
	guest_destroy(&g);
}

static void test_16_3_15_retry_after_refill_succeeds(void **state)
{
	struct guest g;

	(void)state;
	start_without_ops(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	expect_answer(&g, GUEST_SENTINEL, 1);
	g.now_ns += 2 * SEC;
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 2);
	expect_counters(&g, .flushes_completed = 1, .reads_completed = 1, .bytes_read = SECTOR,
			.throttled = 1);
	expect_interrupts(&g, 1, VIRTIO_MMIO_INT_VRING);
	guest_destroy(&g);
}

static void test_16_3_16_stalled_chains_keep_their_order(void **state)
{
	struct guest g;

	(void)state;
	start_throttled(&g, (struct vblk_throttle){ .iops = 1 }, false);
	guest_request_at(&g, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_request_at(&g, 1, VIRTIO_BLK_T_IN, 1, SECTOR);
	guest_kick(&g);
	assert_int_equal(guest_slot_status(&g, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(guest_slot_status(&g, 1), GUEST_SENTINEL);
	assert_int_equal(guest_used_idx(&g), 1);
	assert_int_equal(guest_used_elem(&g, 0).id, 0);
	g.now_ns += 2 * SEC;
	guest_kick(&g);
	assert_int_equal(guest_slot_status(&g, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(guest_used_idx(&g), 2);
	assert_int_equal(guest_used_elem(&g, 1).id, 3);
	expect_counters(&g, .reads_completed = 2, .bytes_read = 2 * SECTOR, .throttled = 1);
	guest_destroy(&g);
}

/* T-11: a chain that would pass does not overtake one that waits. */
static void test_T11_later_chains_wait_behind_a_stalled_one(void **state)
{
	struct guest g;

	(void)state;
	start_throttled(&g, (struct vblk_throttle){ .bps = SECTOR }, false);
	spend_bytes(&g, SECTOR);
	guest_request_at(&g, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_request_at(&g, 1, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_kick(&g);
	assert_int_equal(guest_used_idx(&g), 1);
	assert_int_equal(guest_slot_status(&g, 1), GUEST_SENTINEL);
	assert_int_equal(guest_metrics(&g).flushes_completed, 0);
	guest_destroy(&g);
}

static void test_16_3_17_validation_precedes_the_throttle(void **state)
{
	struct guest g;

	(void)state;
	start_without_ops(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR + 1);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_IOERR, 2);
	expect_counters(&g, .flushes_completed = 1, .io_errors = 1);
	guest_destroy(&g);
}

static void test_16_3_18_retry_with_event_idx_goes_through_the_gate(void **state)
{
	struct guest g;

	(void)state;
	start_throttled(&g, (struct vblk_throttle){ .iops = 1 }, true);
	guest_set_used_event(&g, 0xffff);
	guest_request(&g, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_kick(&g);
	guest_take_interrupts(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	expect_answer(&g, GUEST_SENTINEL, 1);
	assert_int_equal(guest_avail_event(&g), 1); /* next_avail has gone back */
	g.now_ns += 2 * SEC;
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 2);
	assert_int_equal(guest_avail_event(&g), 2);
	expect_interrupts(&g, 0, VIRTIO_MMIO_INT_VRING);
	guest_destroy(&g);
}

static void test_16_3_19_bytes_in_debt_stall(void **state)
{
	struct guest g;

	(void)state;
	start_throttled(&g, (struct vblk_throttle){ .bps = 512 }, false);
	spend_bytes(&g, 4096); /* 3584 in debt */
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 1024);
	guest_kick(&g);
	expect_answer(&g, GUEST_SENTINEL, 1);
	expect_counters(&g, .reads_completed = 1, .bytes_read = 4096, .throttled = 1,
			.throttled_now = 1);
	guest_destroy(&g);
}

/* T-11: the wait is the longest of those buckets that refuse. */
static void test_16_3_20_wait_is_that_of_the_slower_bucket(void **state)
{
	const struct guest_options options = {
		.device.throttle = { .iops = 10, .bps = 1024 },
	};
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0xab));
	bare.drain.config.disk->throttle->state.bytes.available = -1024;
	guest_request(&bare.guest, VIRTIO_BLK_T_IN, 0, 2048);
	assert_int_equal(bare_drain_run(&bare, VBLK_DRAIN_STALLED), SEC);
	expect_counters(&bare.guest, .throttled = 1, .throttled_now = 1);
	assert_int_equal(bare.drain.config.disk->throttle->state.ops.available, 10);
	bare.drain.config.disk->throttle->state.ops.available =
		0; /* refuses too, but for 100 ms only */
	assert_int_equal(bare_drain_run(&bare, VBLK_DRAIN_STALLED), SEC);
	bare.drain.config.disk->throttle->state.bytes.available = 1024;
	assert_int_equal(bare_drain_run(&bare, VBLK_DRAIN_STALLED), SEC / 10);
	assert_int_equal(bare.drain.config.disk->throttle->state.bytes.available, 1024);
	bare_drain_destroy(&bare);
}

static void test_16_3_21_bytes_retry_succeeds(void **state)
{
	struct guest g;

	(void)state;
	start_throttled(&g, (struct vblk_throttle){ .bps = 1024 }, false);
	spend_bytes(&g, 4096); /* 3072 in debt */
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 1024);
	guest_kick(&g);
	expect_answer(&g, GUEST_SENTINEL, 1);
	g.now_ns += 4 * SEC;
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 2);
	expect_counters(&g, .reads_completed = 2, .bytes_read = 4096 + 1024, .throttled = 1);
	guest_destroy(&g);
}

static void test_16_3_22_the_same_head_stalls_again(void **state)
{
	struct guest g;

	(void)state;
	start_without_ops(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	for (uint64_t i = 1; i <= 2; i++) {
		guest_kick(&g);
		expect_answer(&g, GUEST_SENTINEL, 1);
		expect_counters(&g, .flushes_completed = 1, .throttled = i, .throttled_now = 1);
	}
	guest_destroy(&g);
}

static void test_16_3_23_stall_in_the_middle_of_a_batch(void **state)
{
	struct guest g;

	(void)state;
	start_throttled(&g, (struct vblk_throttle){ .iops = 2 }, false);
	spend_one_op(&g);
	for (unsigned i = 0; i < 3; i++) {
		disk_fill(g.backing, (uint64_t)i * SECTOR, (uint8_t)(0x11 * (i + 1)), SECTOR);
		guest_request_at(&g, i, VIRTIO_BLK_T_IN, i, SECTOR);
	}
	guest_kick(&g);
	assert_int_equal(guest_used_idx(&g), 2);
	expect_counters(&g, .flushes_completed = 1, .reads_completed = 1, .bytes_read = SECTOR,
			.throttled = 1, .throttled_now = 1);
	expect_interrupts(&g, 1, VIRTIO_MMIO_INT_VRING);
	g.now_ns += 5 * SEC;
	guest_kick(&g);
	assert_int_equal(guest_used_idx(&g), 4);
	for (unsigned i = 0; i < 3; i++)
		assert_true(
			guest_is_filled(&g, guest_slot_data(i), (uint8_t)(0x11 * (i + 1)), SECTOR));
	expect_counters(&g, .flushes_completed = 1, .reads_completed = 3, .bytes_read = 3 * SECTOR,
			.throttled = 1);
	guest_destroy(&g);
}

static void test_16_3_24_flush_passes_an_indebted_bytes_bucket(void **state)
{
	struct guest g;

	(void)state;
	start_throttled(&g, (struct vblk_throttle){ .bps = 1 }, false);
	spend_bytes(&g, SECTOR);
	guest_request(&g, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 2);
	assert_int_equal(guest_metrics(&g).throttled, 0);
	guest_destroy(&g);
}

static void test_T10_get_id_pays_for_its_bytes(void **state)
{
	const struct guest_options options = {
		.device.throttle = { .iops = 10, .bps = 100 },
	};
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0xab));
	guest_request(&bare.guest, VIRTIO_BLK_T_GET_ID, 0, 30);
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	expect_answer(&bare.guest, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(bare.drain.config.disk->throttle->state.ops.available, 9);
	assert_int_equal(bare.drain.config.disk->throttle->state.bytes.available, 70);
	bare_drain_destroy(&bare);
}

static void test_T13_tokens_of_a_failed_request_are_not_refunded(void **state)
{
	const struct guest_options options = {
		.device.throttle = { .iops = 10, .bps = 1000 },
	};
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0xab));
	guest_request(&bare.guest, VIRTIO_BLK_T_IN, 1000, SECTOR);
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	expect_answer(&bare.guest, VIRTIO_BLK_S_IOERR, 1);
	assert_int_equal(bare.drain.config.disk->throttle->state.ops.available, 9);
	assert_int_equal(bare.drain.config.disk->throttle->state.bytes.available, 1000 - SECTOR);
	bare_drain_destroy(&bare);
}

static void test_16_4_17_event_idx_stall_leaves_the_chain_in_the_ring(void **state)
{
	const struct guest_options options = {
		.device.throttle = { .iops = 1 },
		.event_idx = true,
	};
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0xab));
	bare.drain.config.disk->throttle->state.ops.available = 0;
	guest_request(&bare.guest, VIRTIO_BLK_T_IN, 0, SECTOR);
	assert_int_equal(bare_drain_run(&bare, VBLK_DRAIN_STALLED), SEC);
	expect_answer(&bare.guest, GUEST_SENTINEL, 0);
	expect_counters(&bare.guest, .throttled = 1, .throttled_now = 1);
	expect_interrupts(&bare.guest, 0, 0);
	assert_int_equal(bare.drain.queue.next_avail, 0);
	assert_true(bare.drain.stalled);
	bare_drain_destroy(&bare);
}

static void test_16_5_27_putting_back_wraps_next_avail(void **state)
{
	const struct guest_options options = { .device.throttle = { .iops = 1 } };
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0xab));
	bare.drain.config.disk->throttle->state.ops.available = 0;
	bare.drain.queue.next_avail = 65535;
	guest_set_avail_idx(&bare.guest, 65535);
	guest_request(&bare.guest, VIRTIO_BLK_T_IN, 0, SECTOR); /* avail.idx is 0 now */
	bare_drain_run(&bare, VBLK_DRAIN_STALLED);
	assert_int_equal(bare.drain.queue.next_avail, 65535);
	bare.guest.now_ns += SEC;
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	assert_int_equal(bare.drain.queue.next_avail, 0);
	expect_answer(&bare.guest, VIRTIO_BLK_S_OK, 1);
	bare_drain_destroy(&bare);
}

/* Rules: V-8 */
static void test_16_5_31_refused_requests_do_not_touch_the_buckets(void **state)
{
	const struct guest_options options = {
		.device.throttle = { .iops = 1000, .bps = 1000000 },
	};
	struct bare_drain bare;
	uint64_t before;

	(void)state;
	bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0xab));
	before = bare.drain.config.disk->throttle->state.ops.last_refill_ns;
	bare.drain.config.disk->throttle->state.ops.available = 500;
	bare.drain.config.disk->throttle->state.bytes.available = 500;
	bare.guest.now_ns += SEC;
	guest_request(&bare.guest, VIRTIO_BLK_T_IN, 0, SECTOR + 1);
	guest_request_at(&bare.guest, 1, 0xbeef, 0, 0);
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	expect_answer(&bare.guest, VIRTIO_BLK_S_IOERR, 2);
	expect_counters(&bare.guest, .io_errors = 1);
	/* V-8: not even a refill. */
	assert_int_equal(bare.drain.config.disk->throttle->state.ops.available, 500);
	assert_int_equal(bare.drain.config.disk->throttle->state.bytes.available, 500);
	assert_int_equal(bare.drain.config.disk->throttle->state.ops.last_refill_ns, before);
	bare_drain_destroy(&bare);
}

static void test_16_7_22_bytes_alone_stall_and_pass(void **state)
{
	const struct guest_options options = {
		.device.throttle = { .iops = 16, .bps = 512 },
	};
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0xab));
	bare.drain.config.disk->throttle->state.bytes.available = 0;
	guest_request(&bare.guest, VIRTIO_BLK_T_IN, 0, SECTOR);
	assert_int_equal(bare_drain_run(&bare, VBLK_DRAIN_STALLED), SEC);
	expect_counters(&bare.guest, .throttled = 1, .throttled_now = 1);
	assert_int_equal(bare.drain.config.disk->throttle->state.ops.available, 16);
	bare.guest.now_ns += 2 * SEC;
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	expect_counters(&bare.guest, .reads_completed = 1, .bytes_read = SECTOR, .throttled = 1);
	bare_drain_destroy(&bare);
}

/* Rules: L-3 */
static void test_16_1_7_reset_refills_the_buckets(void **state)
{
	struct guest g;

	(void)state;
	start_throttled(&g, (struct vblk_throttle){ .iops = 4, .bps = 8192 }, false);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 5; i++)
			guest_request_at(&g, i, VIRTIO_BLK_T_IN, 0, 2048);
		guest_kick(&g);
		assert_int_equal(guest_used_idx(&g), 4);
		assert_int_equal(guest_metrics(&g).throttled, round + 1);
		guest_reset(&g);
		guest_start(&g);
	}
	guest_destroy(&g);
}

static void test_16_1_14_reset_refills_then_the_second_chain_stalls(void **state)
{
	struct guest g;

	(void)state;
	start_throttled(&g, (struct vblk_throttle){ .iops = 1 }, false);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	guest_reset(&g);
	guest_start(&g);
	guest_request_at(&g, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_request_at(&g, 2, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_int_equal(guest_slot_status(&g, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(guest_slot_status(&g, 2), GUEST_SENTINEL);
	expect_counters(&g, .reads_completed = 2, .bytes_read = 2 * SECTOR, .throttled = 1,
			.throttled_now = 1);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_16_3_14_throttled_chain_leaves_nothing_behind),
		cmocka_unit_test(test_16_3_15_retry_after_refill_succeeds),
		cmocka_unit_test(test_16_3_16_stalled_chains_keep_their_order),
		cmocka_unit_test(test_T11_later_chains_wait_behind_a_stalled_one),
		cmocka_unit_test(test_16_3_17_validation_precedes_the_throttle),
		cmocka_unit_test(test_16_3_18_retry_with_event_idx_goes_through_the_gate),
		cmocka_unit_test(test_16_3_19_bytes_in_debt_stall),
		cmocka_unit_test(test_16_3_20_wait_is_that_of_the_slower_bucket),
		cmocka_unit_test(test_16_3_21_bytes_retry_succeeds),
		cmocka_unit_test(test_16_3_22_the_same_head_stalls_again),
		cmocka_unit_test(test_16_3_23_stall_in_the_middle_of_a_batch),
		cmocka_unit_test(test_16_3_24_flush_passes_an_indebted_bytes_bucket),
		cmocka_unit_test(test_T10_get_id_pays_for_its_bytes),
		cmocka_unit_test(test_T13_tokens_of_a_failed_request_are_not_refunded),
		cmocka_unit_test(test_16_4_17_event_idx_stall_leaves_the_chain_in_the_ring),
		cmocka_unit_test(test_16_5_27_putting_back_wraps_next_avail),
		cmocka_unit_test(test_16_5_31_refused_requests_do_not_touch_the_buckets),
		cmocka_unit_test(test_16_7_22_bytes_alone_stall_and_pass),
		cmocka_unit_test(test_16_1_7_reset_refills_the_buckets),
		cmocka_unit_test(test_16_1_14_reset_refills_then_the_second_chain_stalls),
	};

	return cmocka_run_group_tests_name("drain_throttle", tests, NULL, NULL);
}
