/* SPDX-License-Identifier: MIT */
/*
 * Chains that are refused, and chains of unusual shape that are served: the gates of the contract
 * from 3 on in their order, and that a request is a run of bytes however it is cut.
 */
#include "chains.h"
#include "disk.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static void start_with(struct guest *g, const struct guest_options *options)
{
	guest_create(g, options, disk_create(DISK_SIZE, 0xab));
	guest_start(g);
}

static void start(struct guest *g)
{
	start_with(g, &inline_options);
}

static void test_16_3_11_short_header_is_refused(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, { GUEST_HEADER, 8, 0 }, STATUS);
	expect_refused(&g);
	guest_destroy(&g);
}

static void test_gate_3_writable_header_is_refused(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, { GUEST_HEADER, 16, W }, STATUS);
	expect_refused(&g);
	guest_destroy(&g);
}

static void test_gate_3_header_interrupted_by_a_writable_descriptor_is_refused(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, { GUEST_HEADER, 8, 0 }, { GUEST_DATA, 8, W },
	      { GUEST_HEADER + 8, 8, 0 }, STATUS);
	expect_refused(&g);
	guest_destroy(&g);
}

static void test_16_5_2_header_outside_memory_is_refused(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, { 0x200000, 16, 0 }, STATUS);
	expect_refused(&g);
	guest_destroy(&g);
}

static void test_16_5_3_descriptor_above_size_max_is_refused(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_GET_ID, 0xbeef };
	struct guest g;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		start(&g);
		OFFER(&g, types[i], HEADER, { 0x80000, (1u << 20) + 1, W }, STATUS);
		expect_refused(&g);
		guest_destroy(&g);
	}
}

/* Exactly size_max is legal: it passes this gate and fails on its place, which costs an error. */
static void test_gate_5_descriptor_of_size_max_is_served(void **state)
{
	static const struct guest_region regions[] = { { 0, 0x10000 }, { 0x100000, 0x100000 } };
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.regions = regions;
	options.region_count = 2;
	guest_create(&g, &options, disk_create(1u << 20, 0xab));
	guest_start(&g);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { 0x100000, 1u << 20, W }, STATUS);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(guest_used_elem(&g, 0).len, (1u << 20) + 1);
	guest_destroy(&g);
}

static void test_16_5_4_requests_without_data_are_refused(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_GET_ID };
	struct guest g;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		start(&g);
		OFFER(&g, types[i], HEADER, STATUS);
		expect_refused(&g);
		guest_destroy(&g);
	}
}

/* D-LAYOUT-2: bytes count, not descriptors. */
static void test_16_3_7_16_3_8_empty_data_descriptors_are_no_data(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_OUT, HEADER, { GUEST_DATA, 0, 0 }, { GUEST_DATA, 0, 0 }, STATUS);
	expect_refused(&g);
	guest_destroy(&g);
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { GUEST_DATA, 0, W }, { GUEST_DATA, 0, W }, STATUS);
	expect_refused(&g);
	guest_destroy(&g);
}

static void test_D_LAYOUT_2_empty_descriptors_are_skipped(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { UNMAPPED, 0, 0 }, { GUEST_DATA, SECTOR, W },
	      { UNMAPPED, 0, W }, STATUS);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_counters(&g, .reads_completed = 1, .bytes_read = SECTOR);
	guest_destroy(&g);
}

/* 16.15 as D-LAYOUT-2 has it: a descriptor without bytes is no data, for a flush either. */
static void test_16_15_flush_with_an_empty_descriptor_is_served(void **state)
{
	(void)state;
	for (int read_only = 0; read_only < 2; read_only++) {
		struct guest_options options = inline_options;
		struct guest g;

		options.device.read_only = read_only;
		start_with(&g, &options);
		OFFER(&g, VIRTIO_BLK_T_FLUSH, HEADER, { GUEST_DATA, 0, 0 }, STATUS);
		expect_answer(&g, VIRTIO_BLK_S_OK, 1);
		expect_counters(&g, .flushes_completed = 1);
		guest_destroy(&g);
	}
}

static void test_gate_7_flush_with_data_is_refused(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, HEADER, { GUEST_DATA, 1, W }, STATUS);
	expect_refused(&g);
	guest_destroy(&g);
}

static void test_gate_7_flush_with_data_is_refused_on_a_read_only_disk(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.read_only = true;
	start_with(&g, &options);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, HEADER, { GUEST_DATA, 1, 0 }, STATUS);
	expect_refused(&g);
	guest_destroy(&g);
}

static void test_16_5_5_data_that_is_no_multiple_of_a_sector_is_refused(void **state)
{
	static const uint32_t lengths[] = { 1, 511, 513, 1023 };
	struct guest g;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		start(&g);
		OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { GUEST_DATA, lengths[i], W }, STATUS);
		expect_refused(&g);
		guest_destroy(&g);
		start(&g);
		OFFER(&g, VIRTIO_BLK_T_OUT, HEADER, { GUEST_DATA, lengths[i], 0 }, STATUS);
		expect_refused(&g);
		guest_destroy(&g);
	}
}

static void test_16_5_6_read_into_readable_data_is_refused(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { GUEST_DATA, SECTOR, 0 }, STATUS);
	expect_refused(&g);
	guest_destroy(&g);
}

static void test_16_5_7_write_from_writable_data_is_refused(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_fill(&g, GUEST_DATA, 0xcd, SECTOR);
	OFFER(&g, VIRTIO_BLK_T_OUT, HEADER, { GUEST_DATA, SECTOR, W }, STATUS);
	expect_refused(&g);
	assert_true(guest_is_filled(&g, GUEST_DATA, 0xcd, SECTOR));
	assert_true(disk_is_filled(g.backing, 0, 0xab, SECTOR));
	guest_destroy(&g);
}

static void test_16_4_9_get_id_into_readable_data_is_refused(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_GET_ID, HEADER, { GUEST_DATA, 20, 0 }, STATUS);
	expect_refused(&g);
	guest_destroy(&g);
}

static void test_16_4_7_get_id_of_19_bytes_is_refused(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_GET_ID, HEADER, { GUEST_DATA, 19, W }, STATUS);
	expect_refused(&g);
	guest_destroy(&g);
}

static void test_D_LAYOUT_2_get_id_over_several_descriptors(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_GET_ID, HEADER, { GUEST_DATA, 5, W }, { GUEST_DATA + 5, 15, W },
	      STATUS);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_memory_equal(guest_at(&g, GUEST_DATA), "ktstr-virtio-blk", 16);
	assert_int_equal(guest_used_elem(&g, 0).len, 21);
	guest_destroy(&g);
}

/* Gate 9c stands before gate 10: an unknown type may carry anything. */
static void test_gate_9c_unknown_type_with_any_data_is_unsupp(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, 2, HEADER, { GUEST_DATA, 3, 0 }, { GUEST_DATA, 5, W }, STATUS);
	expect_answer(&g, VIRTIO_BLK_S_UNSUPP, 1);
	assert_int_equal(guest_used_elem(&g, 0).len, 1);
	expect_counters(&g);
	guest_destroy(&g);
}

/* Gate 9a stands before gate 10, and 8 before 9: one error each. */
static void test_gate_9a_write_to_read_only_disk_comes_before_its_direction(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.read_only = true;
	start_with(&g, &options);
	OFFER(&g, VIRTIO_BLK_T_OUT, HEADER, { GUEST_DATA, SECTOR, W }, STATUS);
	expect_refused(&g);
	assert_true(guest_logged(&g, "write to a read-only disk"));
	guest_destroy(&g);
}

static void test_16_5_10_flush_of_read_only_disk(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.read_only = true;
	guest_create(&g, &options, disk_create_faulty(DISK_SIZE, 0xab, NULL, 0));
	guest_start(&g);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, HEADER, STATUS);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_counters(&g, .flushes_completed = 1);
	assert_int_equal(vblk_faulty_calls(g.backing, VBLK_FAULTY_SYNC), 0);
	guest_destroy(&g);
}

static void test_16_5_12_disk_of_no_sectors_refuses_reads(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.capacity_bytes = 511;
	start_with(&g, &options);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { GUEST_DATA, SECTOR, W }, STATUS);
	expect_refused(&g);
	guest_destroy(&g);
}

static void test_16_5_13_read_beyond_the_file_gives_zeros(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.capacity_bytes = DISK_SIZE;
	guest_create(&g, &options, disk_create(100, 0xa5));
	guest_start(&g);
	guest_fill(&g, GUEST_DATA, GUEST_SENTINEL, SECTOR);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { GUEST_DATA, SECTOR, W }, STATUS);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_true(guest_is_filled(&g, GUEST_DATA, 0xa5, 100));
	assert_true(guest_is_filled(&g, GUEST_DATA + 100, 0, SECTOR - 100));
	assert_int_equal(guest_used_elem(&g, 0).len, SECTOR + 1);
	expect_counters(&g, .reads_completed = 1, .bytes_read = 100);
	guest_destroy(&g);
}

/* 16.2.3, 4, 8 and 16.5.14, as chains: where a request of two sectors may stand on eight. */
static void test_16_5_14_range_by_table(void **state)
{
	static const struct {
		uint64_t sector;
		uint8_t status;
	} places[] = {
		{ 0, VIRTIO_BLK_S_OK },
		{ 6, VIRTIO_BLK_S_OK },
		{ 7, VIRTIO_BLK_S_IOERR },
		{ 8, VIRTIO_BLK_S_IOERR },
		{ (UINT64_MAX >> 9), VIRTIO_BLK_S_IOERR },     /* the end wraps */
		{ (UINT64_MAX >> 9) + 1, VIRTIO_BLK_S_IOERR }, /* the offset wraps to 0 */
		{ UINT64_MAX, VIRTIO_BLK_S_IOERR },
		{ (uint64_t)1 << 32, VIRTIO_BLK_S_IOERR },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		for (uint32_t type = VIRTIO_BLK_T_IN; type <= VIRTIO_BLK_T_OUT; type++) {
			bool good = places[i].status == VIRTIO_BLK_S_OK;
			struct guest g;

			start(&g);
			guest_request(&g, type, places[i].sector, 1024);
			guest_kick(&g);
			expect_answer(&g, places[i].status, 1);
			assert_int_equal(guest_metrics(&g).io_errors, !good);
			if (!good)
				assert_true(disk_is_filled(g.backing, 0, 0xab, DISK_SIZE));
			guest_destroy(&g);
		}
	}
}

static void test_H_IN_data_outside_memory_is_refused_before_any_io(void **state)
{
	struct guest g;

	(void)state;
	guest_create(&g, &inline_options, disk_create_faulty(DISK_SIZE, 0xab, NULL, 0));
	guest_start(&g);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { GUEST_DATA, SECTOR, W }, { UNMAPPED, SECTOR, W },
	      STATUS);
	expect_refused(&g);
	assert_int_equal(vblk_faulty_calls(g.backing, VBLK_FAULTY_PREADV), 0);
	guest_destroy(&g);
}

static void test_16_5_28_header_in_two_pieces_is_served(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_IN, { GUEST_HEADER, 8, 0 }, { GUEST_HEADER + 8, 8, 0 },
	      { GUEST_DATA, SECTOR, W }, STATUS);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_true(guest_is_filled(&g, GUEST_DATA, 0xab, SECTOR));
	expect_counters(&g, .reads_completed = 1, .bytes_read = SECTOR);
	guest_destroy(&g);
}

/* V-6 under D-LAYOUT: what follows the header in its descriptor is data. */
static void test_D_LAYOUT_header_and_data_in_one_descriptor(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_fill(&g, GUEST_HEADER + 16, 0xcd, SECTOR);
	OFFER(&g, VIRTIO_BLK_T_OUT, { GUEST_HEADER, 16 + SECTOR, 0 }, STATUS);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_true(disk_is_filled(g.backing, 0, 0xcd, SECTOR));
	assert_true(disk_is_filled(g.backing, SECTOR, 0xab, SECTOR));
	guest_destroy(&g);
}

static void test_D_LAYOUT_data_and_status_in_one_descriptor(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_fill(&g, GUEST_DATA, GUEST_SENTINEL, SECTOR + 2);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { GUEST_DATA, SECTOR + 1, W });
	assert_true(guest_is_filled(&g, GUEST_DATA, 0xab, SECTOR));
	assert_int_equal(*guest_at(&g, GUEST_DATA + SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(*guest_at(&g, GUEST_DATA + SECTOR + 1), GUEST_SENTINEL);
	assert_int_equal(guest_used_elem(&g, 0).len, SECTOR + 1);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_16_3_11_short_header_is_refused),
		cmocka_unit_test(test_gate_3_writable_header_is_refused),
		cmocka_unit_test(
			test_gate_3_header_interrupted_by_a_writable_descriptor_is_refused),
		cmocka_unit_test(test_16_5_2_header_outside_memory_is_refused),
		cmocka_unit_test(test_16_5_3_descriptor_above_size_max_is_refused),
		cmocka_unit_test(test_gate_5_descriptor_of_size_max_is_served),
		cmocka_unit_test(test_16_5_4_requests_without_data_are_refused),
		cmocka_unit_test(test_16_3_7_16_3_8_empty_data_descriptors_are_no_data),
		cmocka_unit_test(test_D_LAYOUT_2_empty_descriptors_are_skipped),
		cmocka_unit_test(test_16_15_flush_with_an_empty_descriptor_is_served),
		cmocka_unit_test(test_gate_7_flush_with_data_is_refused),
		cmocka_unit_test(test_gate_7_flush_with_data_is_refused_on_a_read_only_disk),
		cmocka_unit_test(test_16_5_5_data_that_is_no_multiple_of_a_sector_is_refused),
		cmocka_unit_test(test_16_5_6_read_into_readable_data_is_refused),
		cmocka_unit_test(test_16_5_7_write_from_writable_data_is_refused),
		cmocka_unit_test(test_16_4_9_get_id_into_readable_data_is_refused),
		cmocka_unit_test(test_16_4_7_get_id_of_19_bytes_is_refused),
		cmocka_unit_test(test_D_LAYOUT_2_get_id_over_several_descriptors),
		cmocka_unit_test(test_gate_9c_unknown_type_with_any_data_is_unsupp),
		cmocka_unit_test(test_gate_9a_write_to_read_only_disk_comes_before_its_direction),
		cmocka_unit_test(test_16_5_10_flush_of_read_only_disk),
		cmocka_unit_test(test_16_5_12_disk_of_no_sectors_refuses_reads),
		cmocka_unit_test(test_16_5_13_read_beyond_the_file_gives_zeros),
		cmocka_unit_test(test_16_5_14_range_by_table),
		cmocka_unit_test(test_H_IN_data_outside_memory_is_refused_before_any_io),
		cmocka_unit_test(test_16_5_28_header_in_two_pieces_is_served),
		cmocka_unit_test(test_D_LAYOUT_header_and_data_in_one_descriptor),
		cmocka_unit_test(test_D_LAYOUT_data_and_status_in_one_descriptor),
	};

	return cmocka_run_group_tests_name("drain_validation", tests, NULL, NULL);
}
