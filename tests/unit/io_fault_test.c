/* SPDX-License-Identifier: MIT */
/*
 * Requests on a disk that interrupts, falls short, fails and lies. Names begin with the rule of
 * the contract (section 7), the case of its catalogue or the decision.
 */
#include "io_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "base/checked.h"

#define IN    VIRTIO_BLK_T_IN
#define OUT   VIRTIO_BLK_T_OUT
#define FLUSH VIRTIO_BLK_T_FLUSH
#define OK    VIRTIO_BLK_S_OK
#define IOERR VIRTIO_BLK_S_IOERR

#define SECTOR	  VBLK_SECTOR_SIZE
#define DISK_SIZE (32 * SECTOR)
#define DATA	  0x5000u
#define SENTINEL  0xee

#define SCATTERED 0x100000u
#define PIECES	  640u /* of 16 bytes: three windows */

typedef struct vblk_faulty_rule rule_t;

static int setup(void **state)
{
	struct io_rig *rig = calloc(1, sizeof(*rig));

	ram_create(&rig->ram, { 0, 0x10000 });
	io_rig_create(rig, DISK_SIZE, 0xab);
	*state = rig;
	return 0;
}

static int setup_scattered(void **state)
{
	struct io_rig *rig = calloc(1, sizeof(*rig));

	ram_create_scattered(&rig->ram, SCATTERED, 16, PIECES);
	io_rig_create(rig, DISK_SIZE, 0xab);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	io_rig_destroy(*state);
	free(*state);
	return 0;
}

/* The types that reach the disk, and by which operation. */
static const struct {
	uint32_t type;
	uint32_t length;
	enum vblk_faulty_op op;
	uint32_t used_len;
	const char *message;
} kinds[] = {
	{ IN, 4 * SECTOR, VBLK_FAULTY_PREADV, 4 * SECTOR + 1, "read failed" },
	{ OUT, 4 * SECTOR, VBLK_FAULTY_PWRITEV, 1, "write failed" },
	{ FLUSH, 0, VBLK_FAULTY_SYNC, 1, "flush failed" },
};

/* A request of kinds[kind] over two segments, from sector 1 on. */
static void request(struct io_rig *rig, size_t kind)
{
	ram_fill(&rig->ram, DATA - SECTOR, SENTINEL, 6 * SECTOR);
	io_rig_request(rig, kinds[kind].type, 1);
	if (kinds[kind].length == 0)
		return;
	io_rig_segment(rig, DATA, SECTOR + 100);
	io_rig_segment(rig, DATA + SECTOR + 100, kinds[kind].length - SECTOR - 100);
}

static void expect_success(struct io_rig *rig, size_t kind)
{
	uint32_t length = kinds[kind].length;

	request(rig, kind);
	io_rig_expect(rig, OK, kinds[kind].used_len);
	if (kinds[kind].type == IN) {
		assert_true(ram_is_filled(&rig->ram, DATA, 0xab, length));
		io_rig_counters(rig, .reads_completed = 1, .bytes_read = length);
	} else if (kinds[kind].type == OUT) {
		assert_true(disk_is_filled(rig->plain, SECTOR, SENTINEL, length));
		io_rig_counters(rig, .writes_completed = 1, .bytes_written = length);
	} else {
		io_rig_counters(rig, .flushes_completed = 1);
	}
}

static void expect_failure(struct io_rig *rig, size_t kind)
{
	request(rig, kind);
	io_rig_expect(rig, IOERR, 1);
	io_rig_counters(rig, .io_errors = 1);
}

static void test_16_15_exactly_16_interrupts_are_survived(void **state)
{
	struct io_rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(kinds); i++) {
		for (uint64_t count = 1; count <= 16; count++) {
			const rule_t rule = { .op = kinds[i].op,
					      .action = VBLK_FAULTY_ERROR,
					      .value = EINTR,
					      .count = count };

			io_rig_faults(rig, &rule, 1);
			expect_success(rig, i);
			assert_int_equal(rig->tape.calls, count + 1);
		}
	}
}

static void test_16_15_17_interrupts_are_an_error(void **state)
{
	struct io_rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(kinds); i++) {
		for (uint64_t count = 0; count <= 17; count += 17) {
			const rule_t rule = { .op = kinds[i].op,
					      .action = VBLK_FAULTY_ERROR,
					      .value = EINTR,
					      .count = count };

			io_rig_faults(rig, &rule, 1);
			expect_failure(rig, i);
			assert_int_equal(rig->tape.calls, 17);
			assert_string_equal(rig->message, kinds[i].message);
		}
	}
}

/* Progress between them does not make interrupts undone. */
static void test_16_15_interrupts_add_up_over_parts(void **state)
{
	struct io_rig *rig = *state;

	for (size_t i = 0; i < 2; i++) {
		/* Calls 1, 3, 5 and so on are interrupted, the others move 64 bytes each. */
		rule_t rules[] = {
			{ .op = kinds[i].op,
			  .action = VBLK_FAULTY_ERROR,
			  .value = EINTR,
			  .every = 2,
			  .count = 16 },
			{ .op = kinds[i].op, .action = VBLK_FAULTY_SHORT, .value = 64 },
		};

		io_rig_faults(rig, rules, 2);
		expect_success(rig, i);
		assert_int_equal(rig->tape.calls, 16 + 4 * SECTOR / 64);
		rules[0].count = 17;
		io_rig_faults(rig, rules, 2);
		expect_failure(rig, i);
		assert_int_equal(rig->tape.calls, 33);
	}
}

/* The next request has its 16 again. */
static void test_H_interrupts_are_counted_per_request(void **state)
{
	struct io_rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(kinds); i++) {
		const rule_t rules[] = {
			{ .op = kinds[i].op,
			  .action = VBLK_FAULTY_ERROR,
			  .value = EINTR,
			  .count = 16 },
			{ .op = kinds[i].op,
			  .action = VBLK_FAULTY_ERROR,
			  .value = EINTR,
			  .first = 18,
			  .count = 16 },
		};

		io_rig_faults(rig, rules, 2);
		for (int k = 0; k < 2; k++) {
			request(rig, i);
			io_rig_expect(rig, OK, kinds[i].used_len);
		}
		assert_int_equal(rig->tape.calls, 34);
	}
}

static void test_H_other_errors_are_not_retried(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EAGAIN, ENOMEM, EROFS, 4095 };
	struct io_rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(kinds) * VBLK_ARRAY_SIZE(errors); i++) {
		size_t kind = i / VBLK_ARRAY_SIZE(errors);
		const rule_t rule = { .op = kinds[kind].op,
				      .action = VBLK_FAULTY_ERROR,
				      .value = (uint64_t)errors[i % VBLK_ARRAY_SIZE(errors)],
				      .count = 1 };

		io_rig_faults(rig, &rule, 1);
		expect_failure(rig, kind);
		assert_int_equal(rig->tape.calls, 1);
		assert_string_equal(rig->message, kinds[kind].message);
	}
}

/* Case 16.3.3 and D-SHORT: one byte at a time, up to all but one. Each call is where it should be.
 */
static void test_D_SHORT_short_results_are_continued(void **state)
{
	static const uint64_t steps[] = { 1, 3, 100, SECTOR, 612, 613, 2047 };
	struct io_rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(steps) * 2; i++) {
		uint64_t step = steps[i / 2];
		const rule_t rule = { .op = kinds[i % 2].op,
				      .action = VBLK_FAULTY_SHORT,
				      .value = step };

		io_rig_faults(rig, &rule, 1);
		disk_fill(rig->plain, 0, 0xab, DISK_SIZE);
		expect_success(rig, i % 2);
		assert_int_equal(rig->tape.calls, (4 * SECTOR + step - 1) / step);
		for (unsigned k = 0; k < rig->tape.calls && k < TAPE_CALLS_MAX; k++) {
			assert_int_equal(rig->tape.call[k].offset, SECTOR + k * step);
			assert_int_equal(rig->tape.call[k].bytes, 4 * SECTOR - k * step);
		}
		assert_true(ram_is_filled(&rig->ram, DATA - SECTOR, SENTINEL, SECTOR));
		assert_true(ram_is_filled(&rig->ram, DATA + 4 * SECTOR, SENTINEL, SECTOR));
		assert_true(disk_is_filled(rig->plain, 5 * SECTOR, 0xab, SECTOR));
	}
}

/* The file ends after any number of bytes: what is behind reads as zeros and is not counted. */
static void test_D_SHORT_0_is_end_of_file(void **state)
{
	struct io_rig *rig = *state;

	for (uint64_t present = 0; present < 4 * SECTOR; present += present < 700 ? 1 : 97) {
		const rule_t rules[] = {
			{ .op = VBLK_FAULTY_PREADV,
			  .action = VBLK_FAULTY_SHORT,
			  .value = present,
			  .count = 1 },
			{ .op = VBLK_FAULTY_PREADV, .action = VBLK_FAULTY_ZERO },
		};

		io_rig_faults(rig, rules, 2);
		request(rig, 0);
		io_rig_expect(rig, OK, 4 * SECTOR + 1);
		assert_true(ram_is_filled(&rig->ram, DATA, 0xab, present));
		assert_true(ram_is_filled(&rig->ram, DATA + present, 0, 4 * SECTOR - present));
		assert_true(ram_is_filled(&rig->ram, DATA + 4 * SECTOR, SENTINEL, SECTOR));
		assert_int_equal(rig->tape.calls, present ? 2 : 1);
		io_rig_counters(rig, .reads_completed = 1, .bytes_read = present);
	}
}

static void test_D_SHORT_error_after_partial_data(void **state)
{
	struct io_rig *rig = *state;

	for (size_t i = 0; i < 2; i++) {
		const rule_t rules[] = {
			{ .op = kinds[i].op,
			  .action = VBLK_FAULTY_SHORT,
			  .value = 700,
			  .count = 1 },
			{ .op = kinds[i].op, .action = VBLK_FAULTY_ERROR, .value = EIO },
		};

		io_rig_faults(rig, rules, 2);
		expect_failure(rig, i);
		assert_int_equal(rig->tape.calls, 2);
	}
}

static void test_16_3_4_write_without_progress(void **state)
{
	const rule_t rule = FAULT(PWRITEV, ZERO);
	struct io_rig *rig = *state;

	io_rig_faults(rig, &rule, 1);
	expect_failure(rig, 1);
	assert_int_equal(rig->tape.calls, 1);
	assert_string_equal(rig->message, "write made no progress");
}

/* The disk has changed, the counters have not. */
static void test_16_15_partial_write_then_nothing(void **state)
{
	const rule_t rules[] = {
		FAULT(PWRITEV, SHORT, .value = 700, .count = 1),
		FAULT(PWRITEV, ZERO),
	};
	struct io_rig *rig = *state;

	io_rig_faults(rig, rules, 2);
	expect_failure(rig, 1);
	assert_int_equal(rig->tape.calls, 2);
	assert_true(disk_is_filled(rig->plain, SECTOR, SENTINEL, 700));
	assert_true(disk_is_filled(rig->plain, SECTOR + 700, 0xab, 4 * SECTOR - 700));
}

static void test_D_SHORT_more_than_asked_is_an_error(void **state)
{
	static const uint64_t excess[] = { 1, 512, INT32_MAX };
	struct io_rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(kinds) * VBLK_ARRAY_SIZE(excess); i++) {
		size_t kind = i / VBLK_ARRAY_SIZE(excess);
		const rule_t rule = { .op = kinds[kind].op,
				      .action = VBLK_FAULTY_EXCESS,
				      .value = excess[i % VBLK_ARRAY_SIZE(excess)] };

		io_rig_faults(rig, &rule, 1);
		expect_failure(rig, kind);
		assert_int_equal(rig->tape.calls, 1);
	}
}

/* What counts is what was asked of this call, not of the whole request. */
static void test_D_SHORT_more_than_the_rest_is_an_error(void **state)
{
	struct io_rig *rig = *state;

	for (size_t i = 0; i < 2; i++) {
		const rule_t rules[] = {
			{ .op = kinds[i].op,
			  .action = VBLK_FAULTY_SHORT,
			  .value = 700,
			  .count = 1 },
			{ .op = kinds[i].op, .action = VBLK_FAULTY_EXCESS, .value = 1 },
		};

		io_rig_faults(rig, rules, 2);
		expect_failure(rig, i);
		assert_int_equal(rig->tape.calls, 2);
	}
}

static ssize_t lie(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	(void)iov;
	(void)count;
	(void)offset;
	return *(ssize_t *)context;
}

/* Negative, but no errno: the lower half of some is 0, or a length that would do. */
static void test_H_negative_results_are_errors_whatever_they_are(void **state)
{
	static const ssize_t lies[] = {
		-1, -4096, INT32_MIN, -(1LL << 32), -(1LL << 32) - 1, -(1LL << 32) + 512, INT64_MIN
	};
	static const struct vblk_backing_ops ops = { .preadv = lie, .pwritev = lie };
	const struct vblk_backing_info info = { .size_bytes = DISK_SIZE };
	struct io_rig *rig = *state;
	struct vblk_backing *honest = rig->disk.backing;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(lies) * 2; i++) {
		struct vblk_answer answer;
		struct vblk_backing *liar;
		ssize_t value = lies[i / 2];

		io_rig_faults(rig, NULL, 0);
		assert_int_equal(vblk_backing_create(&ops, &value, &info, &liar), 0);
		request(rig, i % 2);
		rig->disk.backing = liar;
		answer = io_rig_run(rig);
		rig->disk.backing = honest;
		vblk_backing_unref(liar);
		assert_int_equal(answer.status, IOERR);
		io_rig_counters(rig, .io_errors = 1);
	}
}

/* 10240 bytes in 640 vectors: windows of 4096, 4096 and 2048 bytes. */
static void scattered_request(struct io_rig *rig, size_t kind)
{
	ram_fill(&rig->ram, SCATTERED, SENTINEL, (size_t)16 * PIECES);
	io_rig_request(rig, kinds[kind].type, 0);
	io_rig_segment(rig, SCATTERED, 16 * PIECES);
}

static void test_D_FRAGMENT_faults_in_the_second_window(void **state)
{
	static const struct {
		enum vblk_faulty_action action;
		uint64_t value;
		uint8_t read; /* how it ends */
		uint8_t write;
		unsigned calls; /* how many of those a success takes */
	} cases[] = {
		{ VBLK_FAULTY_SHORT, 1, OK, OK, 4 },
		{ VBLK_FAULTY_SHORT, 1000, OK, OK, 4 },
		{ VBLK_FAULTY_SHORT, 4095, OK, OK, 4 },
		{ VBLK_FAULTY_ERROR, EINTR, OK, OK, 4 },
		{ VBLK_FAULTY_ERROR, EIO, IOERR, IOERR, 0 },
		{ VBLK_FAULTY_EXCESS, 1, IOERR, IOERR, 0 },
		{ VBLK_FAULTY_ZERO, 0, OK, IOERR, 2 },
	};
	struct io_rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases) * 2; i++) {
		bool read = i % 2 == 0;
		uint8_t want = read ? cases[i / 2].read : cases[i / 2].write;
		bool cut = cases[i / 2].action == VBLK_FAULTY_ZERO;
		const rule_t rule = { .op = kinds[i % 2].op,
				      .action = cases[i / 2].action,
				      .value = cases[i / 2].value,
				      .first = 2,
				      .count = 1 };
		uint64_t moved = cut ? 4096 : 10240;

		disk_fill(rig->plain, 0, 0xab, DISK_SIZE);
		io_rig_faults(rig, &rule, 1);
		scattered_request(rig, i % 2);
		io_rig_expect(rig, want, read && want == OK ? 10241 : 1);
		assert_int_equal(rig->tape.calls, want == OK ? cases[i / 2].calls : 2);
		assert_int_equal(rig->tape.call[1].offset, 4096);
		if (want != OK) {
			io_rig_counters(rig, .io_errors = 1);
		} else if (read) {
			assert_true(ram_is_filled(&rig->ram, SCATTERED, 0xab, moved));
			assert_true(ram_is_filled(&rig->ram, SCATTERED + moved, 0, 10240 - moved));
			io_rig_counters(rig, .reads_completed = 1, .bytes_read = moved);
		} else {
			assert_true(disk_is_filled(rig->plain, 0, SENTINEL, 10240));
			assert_true(disk_is_filled(rig->plain, 10240, 0xab, 1024));
			io_rig_counters(rig, .writes_completed = 1, .bytes_written = 10240);
		}
	}
}

static void test_D_FRAGMENT_one_byte_at_a_time(void **state)
{
	struct io_rig *rig = *state;

	for (size_t i = 0; i < 2; i++) {
		const rule_t rule = { .op = kinds[i].op, .action = VBLK_FAULTY_SHORT, .value = 1 };

		io_rig_faults(rig, &rule, 1);
		scattered_request(rig, i);
		io_rig_expect(rig, OK, i == 0 ? 10241 : 1);
		assert_int_equal(rig->tape.calls, 10240);
		assert_int_equal(rig->tape.count_max, 256);
		if (i == 0)
			assert_true(ram_is_filled(&rig->ram, SCATTERED, 0xab, 10240));
		else
			assert_true(disk_is_filled(rig->plain, 0, SENTINEL, 10240));
	}
}

static void test_D_STABLE_failed_sync_is_ioerr(void **state)
{
	const rule_t rule = FAULT(SYNC, ERROR, .value = EIO);
	struct io_rig *rig = *state;

	rig->io.stable_writes = true;
	io_rig_faults(rig, &rule, 1);
	expect_failure(rig, 1);
	assert_int_equal(rig->tape.calls, 2);
	assert_string_equal(rig->message, "write could not be made stable");
}

static void test_D_STABLE_failed_write_is_not_synced(void **state)
{
	static const rule_t rules[][2] = {
		{ FAULT(PWRITEV, ERROR, .value = EIO) },
		{ FAULT(PWRITEV, ZERO) },
		{ FAULT(PWRITEV, EXCESS, .value = 1) },
	};
	struct io_rig *rig = *state;

	rig->io.stable_writes = true;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(rules); i++) {
		io_rig_faults(rig, rules[i], 1);
		expect_failure(rig, 1);
		assert_int_equal(rig->tape.calls, 1);
	}
}

static void test_D_STABLE_interrupted_sync(void **state)
{
	struct io_rig *rig = *state;

	rig->io.stable_writes = true;
	for (uint64_t count = 1; count <= 17; count++) {
		const rule_t rule = FAULT(SYNC, ERROR, .value = EINTR, .count = count);

		io_rig_faults(rig, &rule, 1);
		if (count <= 16)
			expect_success(rig, 1);
		else
			expect_failure(rig, 1);
		assert_int_equal(rig->tape.calls, 1 + (count <= 16 ? count + 1 : 17));
	}
}

/* 16 per request, as the interface says, not per operation. */
static void test_D_STABLE_interrupts_of_write_and_sync_add_up(void **state)
{
	rule_t rules[] = {
		FAULT(PWRITEV, ERROR, .value = EINTR, .count = 10),
		FAULT(SYNC, ERROR, .value = EINTR, .count = 6),
	};
	struct io_rig *rig = *state;

	rig->io.stable_writes = true;
	io_rig_faults(rig, rules, 2);
	expect_success(rig, 1);
	rules[1].count = 7;
	io_rig_faults(rig, rules, 2);
	expect_failure(rig, 1);
}

#define TEST(fn)	   cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define TEST_SCATTERED(fn) cmocka_unit_test_setup_teardown(fn, setup_scattered, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_16_15_exactly_16_interrupts_are_survived),
		TEST(test_16_15_17_interrupts_are_an_error),
		TEST(test_16_15_interrupts_add_up_over_parts),
		TEST(test_H_interrupts_are_counted_per_request),
		TEST(test_H_other_errors_are_not_retried),
		TEST(test_D_SHORT_short_results_are_continued),
		TEST(test_D_SHORT_0_is_end_of_file),
		TEST(test_D_SHORT_error_after_partial_data),
		TEST(test_16_3_4_write_without_progress),
		TEST(test_16_15_partial_write_then_nothing),
		TEST(test_D_SHORT_more_than_asked_is_an_error),
		TEST(test_D_SHORT_more_than_the_rest_is_an_error),
		TEST(test_H_negative_results_are_errors_whatever_they_are),
		TEST_SCATTERED(test_D_FRAGMENT_faults_in_the_second_window),
		TEST_SCATTERED(test_D_FRAGMENT_one_byte_at_a_time),
		TEST(test_D_STABLE_failed_sync_is_ioerr),
		TEST(test_D_STABLE_failed_write_is_not_synced),
		TEST(test_D_STABLE_interrupted_sync),
		TEST(test_D_STABLE_interrupts_of_write_and_sync_add_up),
	};

	return cmocka_run_group_tests_name("io_fault", tests, NULL, NULL);
}
