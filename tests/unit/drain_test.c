/* SPDX-License-Identifier: MIT */
/*
 * Whole requests, from a notification to the used ring, on the inline engine: what is read,
 * written, flushed and identified. Names begin with the case of the test catalogue or the rule.
 */
#include "disk.h"
#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DISK_SIZE 4096u /* eight sectors */
#define SECTOR	  VBLK_SECTOR_SIZE

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

/* A guest that runs, on a disk of 0xab. */
static void start(struct guest *g)
{
	guest_create(g, &inline_options, disk_create(DISK_SIZE, 0xab));
	guest_start(g);
}

static void start_read_only(struct guest *g)
{
	struct guest_options options = inline_options;

	options.device.read_only = true;
	guest_create(g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(g);
}

/* One request of the given type over a sector, and its notification. */
static void request(struct guest *g, uint32_t type, uint64_t sector, uint32_t length)
{
	guest_request(g, type, sector, length);
	guest_kick(g);
}

/* Rules: gate-12, N-3 */
static void test_16_3_1_full_read_chain(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_fill(&g, GUEST_DATA, GUEST_SENTINEL, SECTOR + 1);
	request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_true(guest_is_filled(&g, GUEST_DATA, 0xab, SECTOR));
	assert_int_equal(*guest_at(&g, GUEST_DATA + SECTOR), GUEST_SENTINEL);
	assert_int_equal(guest_used_elem(&g, 0).id, 0);
	assert_int_equal(guest_used_elem(&g, 0).len, SECTOR + 1);
	expect_counters(&g, .reads_completed = 1, .bytes_read = SECTOR);
	expect_interrupts(&g, 1, VIRTIO_MMIO_INT_VRING);
	guest_destroy(&g);
}

/* Rules: C-1, N-3 */
static void test_16_3_2_full_write_chain(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_fill(&g, GUEST_DATA, 0xcd, SECTOR);
	request(&g, VIRTIO_BLK_T_OUT, 1, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(guest_used_elem(&g, 0).len, 1);
	assert_true(disk_is_filled(g.backing, 0, 0xab, SECTOR));
	assert_true(disk_is_filled(g.backing, SECTOR, 0xcd, SECTOR));
	assert_true(disk_is_filled(g.backing, 2 * SECTOR, 0xab, SECTOR));
	expect_counters(&g, .writes_completed = 1, .bytes_written = SECTOR);
	guest_destroy(&g);
}

/* Rules: N-2 */
static void test_16_3_9_unknown_type_is_unsupp(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	request(&g, 0xbeef, 0, 0);
	expect_answer(&g, VIRTIO_BLK_S_UNSUPP, 1);
	assert_int_equal(guest_used_elem(&g, 0).len, 1);
	expect_counters(&g);
	guest_destroy(&g);
}

static void test_16_3_10_flush_chain(void **state)
{
	struct guest g;

	(void)state;
	guest_create(&g, &inline_options, disk_create_faulty(DISK_SIZE, 0xab, NULL, 0));
	guest_start(&g);
	request(&g, VIRTIO_BLK_T_FLUSH, 0, 0);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(guest_used_elem(&g, 0).len, 1);
	assert_int_equal(vblk_faulty_calls(g.backing, VBLK_FAULTY_SYNC), 1);
	expect_counters(&g, .flushes_completed = 1);
	guest_destroy(&g);
}

static void test_16_3_13_multiple_chains_drained_in_one_notify(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	for (unsigned i = 0; i < 3; i++) {
		disk_fill(g.backing, i * SECTOR, (uint8_t)(0x11 * (i + 1)), SECTOR);
		guest_request_at(&g, i, VIRTIO_BLK_T_IN, i, SECTOR);
	}
	guest_kick(&g);
	assert_int_equal(guest_used_idx(&g), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(guest_slot_status(&g, i), VIRTIO_BLK_S_OK);
		assert_int_equal(guest_used_elem(&g, (uint16_t)i).id, 3 * i);
		assert_true(
			guest_is_filled(&g, guest_slot_data(i), (uint8_t)(0x11 * (i + 1)), SECTOR));
	}
	expect_counters(&g, .reads_completed = 3, .bytes_read = 3 * SECTOR);
	expect_interrupts(&g, 1, VIRTIO_MMIO_INT_VRING);
	guest_destroy(&g);
}

static void test_16_3_25_write_to_read_only_disk_is_ioerr(void **state)
{
	struct guest g;

	(void)state;
	start_read_only(&g);
	request(&g, VIRTIO_BLK_T_OUT, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_IOERR, 1);
	assert_true(disk_is_filled(g.backing, 0, 0xab, SECTOR));
	expect_counters(&g, .io_errors = 1);
	guest_destroy(&g);
}

static void test_V5_read_from_read_only_disk(void **state)
{
	struct guest g;

	(void)state;
	start_read_only(&g);
	request(&g, VIRTIO_BLK_T_IN, 7, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_counters(&g, .reads_completed = 1, .bytes_read = SECTOR);
	guest_destroy(&g);
}

static void test_16_3_26_used_idx_advances_across_notifies(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	for (uint16_t i = 1; i <= 5; i++) {
		request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
		expect_answer(&g, VIRTIO_BLK_S_OK, i);
		expect_interrupts(&g, 1, VIRTIO_MMIO_INT_VRING);
	}
	expect_counters(&g, .reads_completed = 5, .bytes_read = 5 * SECTOR);
	guest_destroy(&g);
}

/* A ring of four is gone round often enough for both indices to pass 2^16. */
static void test_Q7_Q12_indices_wrap(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.queue_size = 4;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	for (uint32_t i = 1; i <= 65540; i++) {
		guest_offer(&g, 5); /* beyond the table: dropped, at no cost */
		guest_request(&g, VIRTIO_BLK_T_GET_ID, 0, 20);
		guest_kick(&g);
		assert_int_equal(guest_used_idx(&g), (uint16_t)i);
	}
	assert_int_equal(guest_used_elem(&g, 3).len, 21);
	guest_destroy(&g);
}

/* 128 segments, each in a page of its own and out of order. */
static void test_16_3_27_read_over_128_segments(void **state)
{
	struct guest_desc desc[130];
	struct guest g;

	(void)state;
	guest_create(&g, &inline_options, disk_create((uint64_t)128 * SECTOR, 0));
	guest_start(&g);
	guest_put_header(&g, GUEST_HEADER, VIRTIO_BLK_T_IN, 0);
	desc[0] = (struct guest_desc){ GUEST_HEADER, 16, 0 };
	for (unsigned i = 0; i < 128; i++) {
		disk_fill(g.backing, (uint64_t)i * SECTOR, (uint8_t)i, SECTOR);
		desc[1 + i] = (struct guest_desc){ 0x10000 + (127 - i) * 0x1000, SECTOR,
						   VRING_DESC_F_WRITE };
	}
	desc[129] = (struct guest_desc){ GUEST_STATUS, 1, VRING_DESC_F_WRITE };
	guest_offer(&g, guest_chain(&g, desc, 130));
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(guest_used_elem(&g, 0).len, 128 * SECTOR + 1);
	for (unsigned i = 0; i < 128; i++)
		assert_true(guest_is_filled(&g, desc[1 + i].addr, (uint8_t)i, SECTOR));
	expect_counters(&g, .reads_completed = 1, .bytes_read = 128 * SECTOR);
	guest_destroy(&g);
}

/* Rules: N-2 */
static void test_16_4_5_full_get_id_chain(void **state)
{
	static const char serial[20] = "ktstr-virtio-blk";
	struct guest g;

	(void)state;
	start(&g);
	guest_fill(&g, GUEST_DATA, GUEST_SENTINEL, 32);
	request(&g, VIRTIO_BLK_T_GET_ID, 0, 20);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_memory_equal(guest_at(&g, GUEST_DATA), serial, 20);
	assert_int_equal(*guest_at(&g, GUEST_DATA + 20), GUEST_SENTINEL);
	assert_int_equal(guest_used_elem(&g, 0).len, 21);
	expect_counters(&g);
	guest_destroy(&g);
}

static void test_16_4_6_get_id_succeeds_on_read_only_disk(void **state)
{
	struct guest g;

	(void)state;
	start_read_only(&g);
	request(&g, VIRTIO_BLK_T_GET_ID, 0, 20);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_memory_equal(guest_at(&g, GUEST_DATA), "ktstr-virtio-blk", 17);
	expect_counters(&g);
	guest_destroy(&g);
}

static void test_H_ID_longer_buffer_gets_20_bytes(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_fill(&g, GUEST_DATA, GUEST_SENTINEL, 100);
	request(&g, VIRTIO_BLK_T_GET_ID, 0, 100);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_true(guest_is_filled(&g, GUEST_DATA + 16, 0, 4));
	assert_true(guest_is_filled(&g, GUEST_DATA + 20, GUEST_SENTINEL, 80));
	assert_int_equal(guest_used_elem(&g, 0).len, 21);
	guest_destroy(&g);
}

static void test_D_NAMES_serial_of_the_options(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.serial = "exactly-twenty-bytes";
	guest_create(&g, &options, disk_create(DISK_SIZE, 0));
	guest_start(&g);
	request(&g, VIRTIO_BLK_T_GET_ID, 0, 20);
	assert_memory_equal(guest_at(&g, GUEST_DATA), "exactly-twenty-bytes", 20);
	guest_destroy(&g);
}

/* Rules: D-1 */
static void test_16_3_17_D1_queue_that_is_not_ready_is_not_drained(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	guest_create(&g, &inline_options, disk_create(DISK_SIZE, 0xab));
	guest_negotiate(&g);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x1000);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_USED_LOW, 0x2000);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_READY, 1);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_READY, 0);
	guest_set_status(&g, 0xf);
	request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	expect_answer(&g, GUEST_SENTINEL, 0);
	assert_int_equal(guest_used_flags(&g), 0);
	expect_counters(&g);
	expect_interrupts(&g, 0, 0);
	assert_int_equal(guest_status(&g), 0xf);
	guest_destroy(&g);
}

static void test_D_OK_FIRST_nothing_is_drained_before_driver_ok(void **state)
{
	struct guest g;

	(void)state;
	guest_create(&g, &inline_options, disk_create(DISK_SIZE, 0xab));
	guest_negotiate(&g);
	guest_set_queue(&g);
	request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	expect_answer(&g, GUEST_SENTINEL, 0);
	expect_interrupts(&g, 0, 0);
	guest_set_status(&g, 0xf);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_interrupts(&g, 1, VIRTIO_MMIO_INT_VRING);
	guest_destroy(&g);
}

static void test_D_OK_FIRST_failed_stops_nobody(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_set_status(&g, 0x8f);
	request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(guest_status(&g), 0x8f);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_16_3_1_full_read_chain),
		cmocka_unit_test(test_16_3_2_full_write_chain),
		cmocka_unit_test(test_16_3_9_unknown_type_is_unsupp),
		cmocka_unit_test(test_16_3_10_flush_chain),
		cmocka_unit_test(test_16_3_13_multiple_chains_drained_in_one_notify),
		cmocka_unit_test(test_16_3_25_write_to_read_only_disk_is_ioerr),
		cmocka_unit_test(test_V5_read_from_read_only_disk),
		cmocka_unit_test(test_16_3_26_used_idx_advances_across_notifies),
		cmocka_unit_test(test_Q7_Q12_indices_wrap),
		cmocka_unit_test(test_16_3_27_read_over_128_segments),
		cmocka_unit_test(test_16_4_5_full_get_id_chain),
		cmocka_unit_test(test_16_4_6_get_id_succeeds_on_read_only_disk),
		cmocka_unit_test(test_H_ID_longer_buffer_gets_20_bytes),
		cmocka_unit_test(test_D_NAMES_serial_of_the_options),
		cmocka_unit_test(test_16_3_17_D1_queue_that_is_not_ready_is_not_drained),
		cmocka_unit_test(test_D_OK_FIRST_nothing_is_drained_before_driver_ok),
		cmocka_unit_test(test_D_OK_FIRST_failed_stops_nobody),
	};

	return cmocka_run_group_tests_name("drain", tests, NULL, NULL);
}
