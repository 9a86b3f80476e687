/* SPDX-License-Identifier: MIT */
/*
 * Requests whose disk misbehaves: short transfers, interrupted calls, errors, lies; and writes that
 * must be stable before they are answered.
 */
#include "disk.h"
#include "expect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DISK_SIZE 4096u /* eight sectors */
#define SECTOR	  VBLK_SECTOR_SIZE

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

/* A guest that runs, on a disk of 0xab that misbehaves. */
static void start_faulty(struct guest *g, const struct vblk_faulty_rule *rules, size_t count)
{
	guest_create(g, &inline_options, disk_create_faulty(DISK_SIZE, 0xab, rules, count));
	guest_start(g);
}

/* One request of the given type over a sector, and its notification. */
static void request(struct guest *g, uint32_t type, uint64_t sector, uint32_t length)
{
	guest_request(g, type, sector, length);
	guest_kick(g);
}

static void test_16_3_3_short_write_is_retried_to_completion(void **state)
{
	static const struct vblk_faulty_rule half[] = {
		FAULT(PWRITEV, SHORT, .value = SECTOR / 2, .count = 1),
	};
	struct guest g;

	(void)state;
	start_faulty(&g, half, 1);
	guest_fill(&g, GUEST_DATA, 0xcd, SECTOR);
	request(&g, VIRTIO_BLK_T_OUT, 1, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_true(disk_is_filled(g.backing, SECTOR, 0xcd, SECTOR));
	assert_int_equal(vblk_faulty_calls(g.backing, VBLK_FAULTY_PWRITEV), 2);
	expect_counters(&g, .writes_completed = 1, .bytes_written = SECTOR);
	guest_destroy(&g);
}

static void test_16_3_4_write_without_progress_is_ioerr(void **state)
{
	static const struct vblk_faulty_rule none[] = {
		FAULT(PWRITEV, ZERO),
	};
	struct guest g;

	(void)state;
	start_faulty(&g, none, 1);
	request(&g, VIRTIO_BLK_T_OUT, 1, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_IOERR, 1);
	assert_int_equal(guest_used_elem(&g, 0).len, 1);
	expect_counters(&g, .io_errors = 1);
	guest_destroy(&g);
}

static void test_16_3_5_interrupted_read_is_retried(void **state)
{
	static const struct vblk_faulty_rule twice[] = {
		FAULT(PREADV, ERROR, .value = EINTR, .count = 2),
	};
	struct guest g;

	(void)state;
	start_faulty(&g, twice, 1);
	request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_true(guest_is_filled(&g, GUEST_DATA, 0xab, SECTOR));
	expect_counters(&g, .reads_completed = 1, .bytes_read = SECTOR);
	guest_destroy(&g);
}

static void test_16_3_6_endless_interrupts_hit_the_cap(void **state)
{
	static const struct vblk_faulty_rule always[] = {
		FAULT(PREADV, ERROR, .value = EINTR),
	};
	struct guest g;

	(void)state;
	start_faulty(&g, always, 1);
	request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_IOERR, 1);
	assert_int_equal(vblk_faulty_calls(g.backing, VBLK_FAULTY_PREADV), 17);
	expect_counters(&g, .io_errors = 1);
	guest_destroy(&g);
}

/* The types and operations that EINTR may meet, with the request that leads there. */
static const struct {
	enum vblk_faulty_op op;
	uint32_t type;
	uint32_t length;
} interruptible[] = {
	{ VBLK_FAULTY_PREADV, VIRTIO_BLK_T_IN, SECTOR },
	{ VBLK_FAULTY_PWRITEV, VIRTIO_BLK_T_OUT, SECTOR },
	{ VBLK_FAULTY_SYNC, VIRTIO_BLK_T_FLUSH, 0 },
};

static void test_16_15_exactly_16_interrupts_are_survived_and_17_are_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		for (uint64_t count = 16; count <= 17; count++) {
			const struct vblk_faulty_rule rule = { interruptible[i].op,
							       VBLK_FAULTY_ERROR, EINTR,
							       .count = count };
			struct guest g;

			start_faulty(&g, &rule, 1);
			request(&g, interruptible[i].type, 0, interruptible[i].length);
			expect_answer(&g, count == 16 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR, 1);
			assert_int_equal(vblk_faulty_calls(g.backing, interruptible[i].op), 17);
			assert_int_equal(guest_metrics(&g).io_errors, count - 16);
			guest_destroy(&g);
		}
	}
}

/* Every second call is interrupted, every other moves 16 bytes: 32 calls move a sector. */
static void test_16_15_interrupts_of_a_write_add_up_over_its_parts(void **state)
{
	const struct vblk_faulty_rule rules[] = {
		FAULT(PWRITEV, ERROR, .value = EINTR, .first = 2, .every = 2),
		FAULT(PWRITEV, SHORT, .value = 16),
	};
	struct guest g;

	(void)state;
	start_faulty(&g, rules, 2);
	request(&g, VIRTIO_BLK_T_OUT, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_IOERR, 1);
	assert_int_equal(vblk_faulty_calls(g.backing, VBLK_FAULTY_PWRITEV), 34);
	expect_counters(&g, .io_errors = 1);
	guest_destroy(&g);
}

static void test_16_15_partial_write_then_nothing_counts_no_bytes(void **state)
{
	static const struct vblk_faulty_rule rules[] = {
		FAULT(PWRITEV, SHORT, .value = 100, .count = 1),
		FAULT(PWRITEV, ZERO),
	};
	struct guest g;

	(void)state;
	start_faulty(&g, rules, 2);
	guest_fill(&g, GUEST_DATA, 0xcd, SECTOR);
	request(&g, VIRTIO_BLK_T_OUT, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_IOERR, 1);
	assert_true(disk_is_filled(g.backing, 0, 0xcd, 100));
	assert_true(disk_is_filled(g.backing, 100, 0xab, SECTOR - 100));
	expect_counters(&g, .io_errors = 1);
	guest_destroy(&g);
}

static void test_D_SHORT_short_read_is_continued(void **state)
{
	static const struct vblk_faulty_rule pieces[] = {
		FAULT(PREADV, SHORT, .value = 200),
	};
	struct guest g;

	(void)state;
	start_faulty(&g, pieces, 1);
	request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_true(guest_is_filled(&g, GUEST_DATA, 0xab, SECTOR));
	assert_int_equal(vblk_faulty_calls(g.backing, VBLK_FAULTY_PREADV), 3);
	expect_counters(&g, .reads_completed = 1, .bytes_read = SECTOR);
	guest_destroy(&g);
}

static void test_D_SHORT_end_of_file_is_filled_with_zeros(void **state)
{
	static const struct vblk_faulty_rule rules[] = {
		FAULT(PREADV, SHORT, .value = 200, .count = 1),
		FAULT(PREADV, ZERO),
	};
	struct guest g;

	(void)state;
	start_faulty(&g, rules, 2);
	guest_fill(&g, GUEST_DATA, GUEST_SENTINEL, SECTOR);
	request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_true(guest_is_filled(&g, GUEST_DATA, 0xab, 200));
	assert_true(guest_is_filled(&g, GUEST_DATA + 200, 0, SECTOR - 200));
	assert_int_equal(guest_used_elem(&g, 0).len, SECTOR + 1);
	expect_counters(&g, .reads_completed = 1, .bytes_read = 200);
	guest_destroy(&g);
}

static void test_D_SHORT_error_after_partial_read_is_ioerr(void **state)
{
	static const struct vblk_faulty_rule rules[] = {
		FAULT(PREADV, SHORT, .value = 200, .count = 1),
		FAULT(PREADV, ERROR, .value = EIO),
	};
	struct guest g;

	(void)state;
	start_faulty(&g, rules, 2);
	request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_IOERR, 1);
	assert_int_equal(guest_used_elem(&g, 0).len, 1);
	expect_counters(&g, .io_errors = 1);
	guest_destroy(&g);
}

static void excess(size_t i)
{
	const struct vblk_faulty_rule rule = { .op = interruptible[i].op,
					       .action = VBLK_FAULTY_EXCESS,
					       .value = 1 };
	struct guest g;

	start_faulty(&g, &rule, 1);
	request(&g, interruptible[i].type, 0, interruptible[i].length);
	expect_answer(&g, VIRTIO_BLK_S_IOERR, 1);
	expect_counters(&g, .io_errors = 1);
	guest_destroy(&g);
}

static void test_D_SHORT_read_result_larger_than_asked_is_ioerr(void **state)
{
	(void)state;
	excess(0);
}

static void test_D_SHORT_write_result_larger_than_asked_is_ioerr(void **state)
{
	(void)state;
	excess(1);
}

/* A sync gives 0 or an error; what is neither says nothing about the disk. */
static void test_D_SHORT_sync_result_larger_than_asked_is_ioerr(void **state)
{
	(void)state;
	excess(2);
}

static void test_16_1_34_errors_of_the_disk_are_ioerr(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		const struct vblk_faulty_rule rule = { .op = interruptible[i].op,
						       .action = VBLK_FAULTY_ERROR,
						       .value = EIO };
		struct guest g;

		start_faulty(&g, &rule, 1);
		request(&g, interruptible[i].type, 0, interruptible[i].length);
		expect_answer(&g, VIRTIO_BLK_S_IOERR, 1);
		assert_int_equal(guest_used_elem(&g, 0).len, 1);
		assert_int_equal(vblk_faulty_calls(g.backing, interruptible[i].op), 1);
		expect_counters(&g, .io_errors = 1);
		guest_destroy(&g);
	}
}

static void test_D_STABLE_write_is_synced_before_its_answer(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.no_flush = true;
	guest_create(&g, &options, disk_create_faulty(DISK_SIZE, 0xab, NULL, 0));
	guest_start(&g);
	request(&g, VIRTIO_BLK_T_OUT, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(vblk_faulty_calls(g.backing, VBLK_FAULTY_SYNC), 1);
	expect_counters(&g, .writes_completed = 1, .bytes_written = SECTOR);
	guest_destroy(&g);
}

static void test_D_STABLE_failed_sync_is_ioerr_and_no_write(void **state)
{
	static const struct vblk_faulty_rule rule = FAULT(SYNC, ERROR, .value = EIO);
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.no_flush = true;
	guest_create(&g, &options, disk_create_faulty(DISK_SIZE, 0xab, &rule, 1));
	guest_start(&g);
	request(&g, VIRTIO_BLK_T_OUT, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_IOERR, 1);
	expect_counters(&g, .io_errors = 1);
	guest_destroy(&g);
}

static void test_D_STABLE_driver_that_flushes_is_not_synced_for(void **state)
{
	struct guest g;

	(void)state;
	start_faulty(&g, NULL, 0);
	request(&g, VIRTIO_BLK_T_OUT, 0, SECTOR);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(vblk_faulty_calls(g.backing, VBLK_FAULTY_SYNC), 0);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_16_3_3_short_write_is_retried_to_completion),
		cmocka_unit_test(test_16_3_4_write_without_progress_is_ioerr),
		cmocka_unit_test(test_16_3_5_interrupted_read_is_retried),
		cmocka_unit_test(test_16_3_6_endless_interrupts_hit_the_cap),
		cmocka_unit_test(test_16_15_exactly_16_interrupts_are_survived_and_17_are_not),
		cmocka_unit_test(test_16_15_interrupts_of_a_write_add_up_over_its_parts),
		cmocka_unit_test(test_16_15_partial_write_then_nothing_counts_no_bytes),
		cmocka_unit_test(test_D_SHORT_short_read_is_continued),
		cmocka_unit_test(test_D_SHORT_end_of_file_is_filled_with_zeros),
		cmocka_unit_test(test_D_SHORT_error_after_partial_read_is_ioerr),
		cmocka_unit_test(test_D_SHORT_read_result_larger_than_asked_is_ioerr),
		cmocka_unit_test(test_D_SHORT_write_result_larger_than_asked_is_ioerr),
		cmocka_unit_test(test_D_SHORT_sync_result_larger_than_asked_is_ioerr),
		cmocka_unit_test(test_16_1_34_errors_of_the_disk_are_ioerr),
		cmocka_unit_test(test_D_STABLE_write_is_synced_before_its_answer),
		cmocka_unit_test(test_D_STABLE_failed_sync_is_ioerr_and_no_write),
		cmocka_unit_test(test_D_STABLE_driver_that_flushes_is_not_synced_for),
	};

	return cmocka_run_group_tests_name("drain_fault", tests, NULL, NULL);
}
