/* SPDX-License-Identifier: MIT */
/*
 * Reads, writes, flushes and the serial number on a disk that does as it is told. Names begin with
 * the rule of the contract (section 7), the case of its catalogue or the decision. Disks that do
 * otherwise: io_fault_test.c.
 */
#include "io_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "base/checked.h"

#define IN     VIRTIO_BLK_T_IN
#define OUT    VIRTIO_BLK_T_OUT
#define FLUSH  VIRTIO_BLK_T_FLUSH
#define GET_ID VIRTIO_BLK_T_GET_ID
#define OK     VIRTIO_BLK_S_OK
#define IOERR  VIRTIO_BLK_S_IOERR

#define SECTOR	  VBLK_SECTOR_SIZE
#define DISK_SIZE (8 * SECTOR)
#define DATA	  0x5000u
#define SENTINEL  0xee

#define PIECES	   700u /* of 16 bytes each, where memory is scattered */
#define SCATTERED  0x10000u
#define LARGE_DISK (32 * SECTOR)

static int setup(void **state)
{
	struct io_rig *rig = calloc(1, sizeof(*rig));

	ram_create(&rig->ram, { 0, 0x10000 });
	ram_fill(&rig->ram, 0, SENTINEL, 0x10000);
	io_rig_create(rig, DISK_SIZE, 0xab);
	*state = rig;
	return 0;
}

static int setup_scattered(void **state)
{
	struct io_rig *rig = calloc(1, sizeof(*rig));

	ram_create_scattered(&rig->ram, SCATTERED, 16, PIECES);
	ram_fill(&rig->ram, SCATTERED, SENTINEL, (size_t)16 * PIECES);
	io_rig_create(rig, LARGE_DISK, 0xab);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	io_rig_destroy(*state);
	free(*state);
	return 0;
}

/* One segment of data. */
static void request(struct io_rig *rig, uint32_t type, uint64_t sector, uint32_t length)
{
	io_rig_request(rig, type, sector);
	io_rig_segment(rig, DATA, length);
}

static void test_16_2_1_read(void **state)
{
	struct io_rig *rig = *state;

	request(rig, IN, 0, SECTOR);
	io_rig_expect(rig, OK, 513);
	assert_true(ram_is_filled(&rig->ram, DATA, 0xab, SECTOR));
	assert_true(ram_is_filled(&rig->ram, DATA + SECTOR, SENTINEL, 16));
	assert_true(ram_is_filled(&rig->ram, DATA - 16, SENTINEL, 16));
	io_rig_counters(rig, .reads_completed = 1, .bytes_read = 512);
	assert_int_equal(rig->tape.calls, 1);
}

static void test_16_2_2_write(void **state)
{
	struct io_rig *rig = *state;

	ram_fill(&rig->ram, DATA, 0xcd, SECTOR);
	request(rig, OUT, 1, SECTOR);
	io_rig_expect(rig, OK, 1);
	assert_true(disk_is_filled(rig->plain, 0, 0xab, SECTOR));
	assert_true(disk_is_filled(rig->plain, SECTOR, 0xcd, SECTOR));
	assert_true(disk_is_filled(rig->plain, 2 * SECTOR, 0xab, SECTOR));
	assert_true(ram_is_filled(&rig->ram, DATA, 0xcd, SECTOR));
	io_rig_counters(rig, .writes_completed = 1, .bytes_written = 512);
	assert_int_equal(rig->tape.calls, 1);
}

static void test_H_FLUSH_16_2_5(void **state)
{
	struct io_rig *rig = *state;

	io_rig_request(rig, FLUSH, UINT64_MAX); /* the sector means nothing */
	io_rig_expect(rig, OK, 1);
	io_rig_counters(rig, .flushes_completed = 1);
	assert_int_equal(rig->tape.calls, 1);
	assert_int_equal(rig->tape.call[0].op, TAPE_SYNC);
}

/* Cases 16.2.3, 16.2.4, 16.2.8, 16.5.12 and 16.5.14 in both directions; and the edges. */
static void test_H_RANGE_of_sectors(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t length;
		uint8_t status;
	} cases[] = {
		{ 0, DISK_SIZE, OK },
		{ 0, DISK_SIZE + SECTOR, IOERR },
		{ 7, SECTOR, OK }, /* ends where the disk ends */
		{ 7, 2 * SECTOR, IOERR },
		{ 8, SECTOR, IOERR },
		{ 9, SECTOR, IOERR },
		{ 1ull << 32, SECTOR, IOERR },
		{ 1ull << 55, SECTOR, IOERR },	     /* times 512 is 2^64 */
		{ (1ull << 55) - 1, SECTOR, IOERR }, /* the end would be 2^64 */
		{ (1ull << 55) - 2, SECTOR, IOERR },
		{ 1ull << 23, SECTOR, IOERR }, /* times 512 is 2^32 */
		{ UINT64_MAX, SECTOR, IOERR },
		{ UINT64_MAX / SECTOR + 2, SECTOR, IOERR },
	};

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases) * 2; i++) {
		struct io_rig *rig = *state;
		bool ok = cases[i / 2].status == OK;
		uint32_t length = cases[i / 2].length;
		bool read = i % 2;

		io_rig_faults(rig, NULL, 0);
		request(rig, read ? IN : OUT, cases[i / 2].sector, length);
		io_rig_expect(rig, cases[i / 2].status, ok && read ? length + 1 : 1);
		assert_int_equal(rig->tape.calls, ok);
		if (!ok) {
			io_rig_counters(rig, .io_errors = 1);
			assert_string_equal(rig->message, "request is past the end of the disk");
			continue;
		}
		assert_int_equal(rig->tape.call[0].offset, cases[i / 2].sector * SECTOR);
		if (read)
			io_rig_counters(rig, .reads_completed = 1, .bytes_read = length);
		else
			io_rig_counters(rig, .writes_completed = 1, .bytes_written = length);
	}
}

static void test_16_5_12_disk_without_capacity(void **state)
{
	struct io_rig *rig = *state;

	rig->disk.capacity_bytes = 0;
	request(rig, IN, 0, SECTOR);
	io_rig_expect(rig, IOERR, 1);
	request(rig, OUT, 0, SECTOR);
	io_rig_expect(rig, IOERR, 1);
	io_rig_counters(rig, .io_errors = 2);
	assert_int_equal(rig->tape.calls, 0);
}

/* The last bytes of the largest disk there can be. */
static void test_H_RANGE_up_to_the_last_offset(void **state)
{
	struct io_rig *rig = *state;

	rig->disk.capacity_bytes = INT64_MAX / SECTOR * SECTOR;
	request(rig, IN, INT64_MAX / SECTOR - 1, SECTOR);
	io_rig_expect(rig, OK, 513);
	assert_true(ram_is_filled(&rig->ram, DATA, 0, SECTOR));
	request(rig, IN, INT64_MAX / SECTOR, SECTOR);
	io_rig_expect(rig, IOERR, 1);
	io_rig_counters(rig, .reads_completed = 1, .io_errors = 1);
}

/* Cases 16.2.9 and 16.5.13: the disk goes on where its file ends. */
static void test_16_2_9_short_file_reads_as_zeros(void **state)
{
	struct io_rig *rig = *state;

	rig->disk.capacity_bytes = 2ull * DISK_SIZE;
	request(rig, IN, 10, SECTOR);
	io_rig_expect(rig, OK, 513);
	assert_true(ram_is_filled(&rig->ram, DATA, 0, SECTOR));
	assert_true(ram_is_filled(&rig->ram, DATA + SECTOR, SENTINEL, 16));
	io_rig_counters(rig, .reads_completed = 1);
	io_rig_faults(rig, NULL, 0);
	request(rig, IN, 7, 2 * SECTOR);
	io_rig_expect(rig, OK, 1025);
	assert_true(ram_is_filled(&rig->ram, DATA, 0xab, SECTOR));
	assert_true(ram_is_filled(&rig->ram, DATA + SECTOR, 0, SECTOR));
	io_rig_counters(rig, .reads_completed = 1, .bytes_read = 512);
}

static void test_16_2_13_read_scatters_over_segments(void **state)
{
	struct io_rig *rig = *state;

	disk_fill(rig->plain, 0, 0x11, SECTOR);
	disk_fill(rig->plain, SECTOR, 0x22, SECTOR);
	io_rig_request(rig, IN, 0);
	io_rig_segment(rig, 0x1400, SECTOR);
	io_rig_segment(rig, 0x1000, SECTOR);
	io_rig_expect(rig, OK, 1025);
	assert_true(ram_is_filled(&rig->ram, 0x1400, 0x11, SECTOR));
	assert_true(ram_is_filled(&rig->ram, 0x1000, 0x22, SECTOR));
	io_rig_counters(rig, .reads_completed = 1, .bytes_read = 1024);
	assert_int_equal(rig->tape.calls, 1);
	assert_int_equal(rig->tape.call[0].count, 2);
}

static void test_H_OUT_gathers_from_segments(void **state)
{
	struct io_rig *rig = *state;

	ram_fill(&rig->ram, 0x3000, 0x11, 100);
	ram_fill(&rig->ram, 0x1000, 0x22, 412);
	ram_fill(&rig->ram, 0x2000, 0x33, SECTOR);
	io_rig_request(rig, OUT, 2);
	io_rig_segment(rig, 0x3000, 100);
	io_rig_segment(rig, 0x1000, 412);
	io_rig_segment(rig, 0x2000, SECTOR);
	io_rig_expect(rig, OK, 1);
	assert_true(disk_is_filled(rig->plain, 1024, 0x11, 100));
	assert_true(disk_is_filled(rig->plain, 1124, 0x22, 412));
	assert_true(disk_is_filled(rig->plain, 1536, 0x33, SECTOR));
	assert_true(disk_is_filled(rig->plain, 2048, 0xab, SECTOR));
	io_rig_counters(rig, .writes_completed = 1, .bytes_written = 1024);
}

/* What has nothing to move needs no call. */
static void test_H_IN_H_OUT_without_data(void **state)
{
	struct io_rig *rig = *state;

	io_rig_request(rig, IN, 0);
	io_rig_expect(rig, OK, 1);
	io_rig_request(rig, OUT, 8); /* the end of the disk, not past it */
	io_rig_expect(rig, OK, 1);
	assert_int_equal(rig->tape.calls, 0);
	io_rig_counters(rig, .reads_completed = 1, .writes_completed = 1);
	io_rig_request(rig, IN, 9);
	io_rig_expect(rig, IOERR, 1);
}

/* Not a byte moves if one of them would have nowhere to go. */
static void test_H_IN_H_OUT_data_not_mapped(void **state)
{
	static const struct vblk_segment lost[] = { { 0x10000, SECTOR },
						    { 0xff00, SECTOR },
						    { UINT64_MAX - 15, SECTOR } };

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(lost) * 4; i++) {
		struct io_rig *rig = *state;

		io_rig_faults(rig, NULL, 0);
		io_rig_request(rig, i % 2 ? IN : OUT, 0);
		if (i / 2 % 2)
			io_rig_segment(rig, DATA, SECTOR);
		io_rig_segment(rig, lost[i / 4].addr, lost[i / 4].len);
		io_rig_expect(rig, IOERR, 1);
		assert_int_equal(rig->tape.calls, 0);
		assert_string_equal(rig->message, "data is not in guest memory");
		assert_true(ram_is_filled(&rig->ram, 0, SENTINEL, 0x10000));
		assert_true(disk_is_filled(rig->plain, 0, 0xab, DISK_SIZE));
		io_rig_counters(rig, .io_errors = 1);
	}
}

/* The range is checked first: the driver learns of its first mistake. */
static void test_H_RANGE_precedes_mapping(void **state)
{
	struct io_rig *rig = *state;

	io_rig_request(rig, IN, 8);
	io_rig_segment(rig, 0x10000, SECTOR);
	io_rig_expect(rig, IOERR, 1);
	assert_string_equal(rig->message, "request is past the end of the disk");
	io_rig_counters(rig, .io_errors = 1);
}

static const uint8_t serial[] = { 's', 'e', 'r', 'i', 'a', 'l', '-', '0', '1', '2',
				  '3', '4', '5', '6', '7', '8', '9', '-', 'a', 'b' };

static void test_16_4_2_get_id(void **state)
{
	struct io_rig *rig = *state;

	request(rig, GET_ID, UINT64_MAX, 20);
	io_rig_expect(rig, OK, 21);
	ram_expect_at(&rig->ram, DATA, serial, 20, __FILE__, __LINE__);
	assert_true(ram_is_filled(&rig->ram, DATA - 16, SENTINEL, 16));
	assert_true(ram_is_filled(&rig->ram, DATA + 20, SENTINEL, 16));
	assert_int_equal(rig->tape.calls, 0);
	io_rig_counters(rig);
}

static void test_H_ID_longer_buffer_gets_20_bytes(void **state)
{
	struct io_rig *rig = *state;

	request(rig, GET_ID, 0, 4096);
	io_rig_expect(rig, OK, 21);
	ram_expect_at(&rig->ram, DATA, serial, 20, __FILE__, __LINE__);
	assert_true(ram_is_filled(&rig->ram, DATA + 20, SENTINEL, 4096 - 20));
	io_rig_counters(rig);
}

/* Case 16.4.3, by bytes (D-LAYOUT-2). */
static void test_16_4_3_get_id_needs_20_bytes(void **state)
{
	struct io_rig *rig = *state;

	for (uint32_t length = 1; length < 20; length++) {
		io_rig_faults(rig, NULL, 0);
		request(rig, GET_ID, 0, length);
		io_rig_expect(rig, IOERR, 1);
		assert_true(ram_is_filled(&rig->ram, DATA, SENTINEL, 32));
		io_rig_counters(rig, .io_errors = 1);
	}
	io_rig_faults(rig, NULL, 0);
	io_rig_request(rig, GET_ID, 0);
	io_rig_segment(rig, DATA, 10);
	io_rig_segment(rig, DATA + 10, 9);
	io_rig_expect(rig, IOERR, 1);
	io_rig_counters(rig, .io_errors = 1);
}

static void test_D_LAYOUT_2_get_id_over_segments(void **state)
{
	struct io_rig *rig = *state;

	for (uint32_t part = 1; part < 20; part++) {
		ram_fill(&rig->ram, DATA, SENTINEL, 0x200);
		io_rig_request(rig, GET_ID, 0);
		for (uint32_t at = 0; at < 20; at += part)
			io_rig_segment(rig, DATA + 0x100 - 8 * at, part);
		io_rig_segment(rig, DATA + 0x180, 20);
		io_rig_expect(rig, OK, 21);
		for (uint32_t at = 0; at < 20; at++)
			assert_int_equal(
				*ram_at(&rig->ram, DATA + 0x100 - 8 * (at - at % part) + at % part),
				serial[at]);
		assert_true(ram_is_filled(&rig->ram, DATA + 0x180, SENTINEL, 20));
	}
	io_rig_counters(rig);
}

static void test_H_ID_buffer_not_mapped(void **state)
{
	struct io_rig *rig = *state;

	io_rig_request(rig, GET_ID, 0);
	io_rig_segment(rig, 0x10000, 20);
	io_rig_expect(rig, IOERR, 1);
	io_rig_request(rig, GET_ID, 0);
	io_rig_segment(rig, DATA, 19);
	io_rig_segment(rig, 0x10000, 1);
	io_rig_expect(rig, IOERR, 1);
	io_rig_request(rig, GET_ID, 0);
	io_rig_segment(rig, 0xfff0, 20);
	io_rig_expect(rig, IOERR, 1);
	io_rig_counters(rig, .io_errors = 3);
	/* What lies behind the 20 bytes is not touched, so it need not be there. */
	io_rig_faults(rig, NULL, 0);
	io_rig_request(rig, GET_ID, 0);
	io_rig_segment(rig, DATA, 20);
	io_rig_segment(rig, 0x10000, 20);
	io_rig_expect(rig, OK, 21);
	io_rig_counters(rig);
}

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 7 + at / 251);
}

/* A disk where each byte says where it is. */
static void put_pattern(struct io_rig *rig)
{
	for (uint64_t at = 0; at < LARGE_DISK; at++)
		disk_fill(rig->plain, at, pattern(at), 1);
}

/* Segments that cut through the pieces: 16 bytes each, some 640 vectors in all. */
static void scattered_request(struct io_rig *rig, uint32_t type)
{
	io_rig_request(rig, type, 1);
	io_rig_segment(rig, SCATTERED + 5, 3);
	io_rig_segment(rig, SCATTERED + 5000, 6000);
	io_rig_segment(rig, SCATTERED + 8, 4237);
	assert_int_equal(rig->flight.request.data_len, 20 * SECTOR);
}

static uint64_t scattered_at(const struct io_rig *rig, uint64_t at)
{
	const struct vblk_segment *segment = rig->flight.request.segment;

	for (; at >= segment->len; segment++)
		at -= segment->len;
	return segment->addr + at;
}

/* Three windows, each where the one before it ended. */
static void check_windows(const struct io_rig *rig, enum tape_op op)
{
	uint64_t offset = SECTOR;

	assert_int_equal(rig->tape.calls, 3);
	assert_int_equal(rig->tape.count_max, 256);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rig->tape.call[i].op, op);
		assert_int_equal(rig->tape.call[i].offset, offset);
		offset += rig->tape.call[i].bytes;
	}
	assert_int_equal(offset, 21 * SECTOR);
}

static void test_D_FRAGMENT_read_into_scattered_memory(void **state)
{
	struct io_rig *rig = *state;

	put_pattern(rig);
	scattered_request(rig, IN);
	io_rig_expect(rig, OK, 20 * SECTOR + 1);
	for (uint64_t at = 0; at < rig->flight.request.data_len; at++)
		assert_int_equal(*ram_at(&rig->ram, scattered_at(rig, at)), pattern(SECTOR + at));
	assert_true(ram_is_filled(&rig->ram, SCATTERED, SENTINEL, 5));
	assert_true(ram_is_filled(&rig->ram, SCATTERED + 8 + 4237, SENTINEL, 5000 - 8 - 4237));
	assert_true(ram_is_filled(&rig->ram, SCATTERED + 11000, SENTINEL, 200));
	check_windows(rig, TAPE_READ);
	io_rig_counters(rig, .reads_completed = 1, .bytes_read = 20 * SECTOR);
}

static void test_D_FRAGMENT_write_from_scattered_memory(void **state)
{
	struct io_rig *rig = *state;

	scattered_request(rig, OUT);
	for (uint64_t at = 0; at < rig->flight.request.data_len; at++)
		*ram_at(&rig->ram, scattered_at(rig, at)) = pattern(at);
	io_rig_expect(rig, OK, 1);
	check_windows(rig, TAPE_WRITE);
	assert_true(disk_is_filled(rig->plain, 0, 0xab, SECTOR));
	for (uint64_t at = 0; at < rig->flight.request.data_len; at++)
		assert_true(disk_is_filled(rig->plain, SECTOR + at, pattern(at), 1));
	assert_true(disk_is_filled(rig->plain, 21 * SECTOR, 0xab, 11 * SECTOR));
	io_rig_counters(rig, .writes_completed = 1, .bytes_written = 20 * SECTOR);
}

/* The disk ends in the last window, or well before the first has been filled. */
static void test_D_FRAGMENT_scattered_memory_is_zero_filled(void **state)
{
	struct io_rig *rig = *state;

	rig->disk.capacity_bytes = 2 * LARGE_DISK;
	for (uint32_t present = 0; present <= 20; present += 10) {
		uint64_t left = present * SECTOR;

		io_rig_faults(rig, NULL, 0);
		ram_fill(&rig->ram, SCATTERED, SENTINEL, (size_t)16 * PIECES);
		scattered_request(rig, IN);
		rig->flight.request.sector = 32 - present;
		io_rig_expect(rig, OK, 20 * SECTOR + 1);
		for (uint64_t at = 0; at < rig->flight.request.data_len; at++)
			assert_int_equal(*ram_at(&rig->ram, scattered_at(rig, at)),
					 at < left ? 0xab : 0);
		assert_true(ram_is_filled(&rig->ram, SCATTERED + 11000, SENTINEL, 200));
		io_rig_counters(rig, .reads_completed = 1, .bytes_read = left);
	}
}

/* D-STABLE: the sync comes behind the last part of the write, and is no flush. */
static void test_D_STABLE_write_is_synced(void **state)
{
	struct io_rig *rig = *state;

	rig->io.stable_writes = true;
	scattered_request(rig, OUT);
	io_rig_expect(rig, OK, 1);
	assert_int_equal(rig->tape.calls, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(rig->tape.call[i].op, i < 3 ? TAPE_WRITE : TAPE_SYNC);
	io_rig_counters(rig, .writes_completed = 1, .bytes_written = 20 * SECTOR);
}

static void test_D_STABLE_nothing_else_is_synced(void **state)
{
	struct io_rig *rig = *state;

	rig->io.stable_writes = true;
	request(rig, IN, 0, SECTOR);
	io_rig_expect(rig, OK, 513);
	request(rig, GET_ID, 0, 20);
	io_rig_expect(rig, OK, 21);
	request(rig, OUT, 8, SECTOR);
	io_rig_expect(rig, IOERR, 1);
	assert_int_equal(rig->tape.calls, 1);
	assert_int_equal(rig->tape.call[0].op, TAPE_READ);
	io_rig_request(rig, FLUSH, 0);
	io_rig_expect(rig, OK, 1);
	assert_int_equal(rig->tape.calls, 2);
	/* And a driver that can flush is left to do so. */
	rig->io.stable_writes = false;
	request(rig, OUT, 0, SECTOR);
	io_rig_expect(rig, OK, 1);
	assert_int_equal(rig->tape.calls, 3);
	assert_int_equal(rig->tape.call[2].op, TAPE_WRITE);
}

#define TEST(fn)	   cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define TEST_SCATTERED(fn) cmocka_unit_test_setup_teardown(fn, setup_scattered, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_16_2_1_read),
		TEST(test_16_2_2_write),
		TEST(test_H_FLUSH_16_2_5),
		TEST(test_H_RANGE_of_sectors),
		TEST(test_16_5_12_disk_without_capacity),
		TEST(test_H_RANGE_up_to_the_last_offset),
		TEST(test_16_2_9_short_file_reads_as_zeros),
		TEST(test_16_2_13_read_scatters_over_segments),
		TEST(test_H_OUT_gathers_from_segments),
		TEST(test_H_IN_H_OUT_without_data),
		TEST(test_H_IN_H_OUT_data_not_mapped),
		TEST(test_H_RANGE_precedes_mapping),
		TEST(test_16_4_2_get_id),
		TEST(test_H_ID_longer_buffer_gets_20_bytes),
		TEST(test_16_4_3_get_id_needs_20_bytes),
		TEST(test_D_LAYOUT_2_get_id_over_segments),
		TEST(test_H_ID_buffer_not_mapped),
		TEST_SCATTERED(test_D_FRAGMENT_read_into_scattered_memory),
		TEST_SCATTERED(test_D_FRAGMENT_write_from_scattered_memory),
		TEST_SCATTERED(test_D_FRAGMENT_scattered_memory_is_zero_filled),
		TEST_SCATTERED(test_D_STABLE_write_is_synced),
		TEST(test_D_STABLE_nothing_else_is_synced),
	};

	return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
