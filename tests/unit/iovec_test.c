/* SPDX-License-Identifier: MIT */
/*
 * From guest segments to windows of host vectors. Names begin with the rule of the contract
 * (section 7) or the decision.
 */
#include "request/iovec.h"

#include "ram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"

#define TOP UINT64_MAX

static struct vblk_request request;
static struct vblk_iovecs iovecs;

/* The request's segments as a list: segments({ 0x1000, 512 }, { 0x3000, 512 }); */
#define segments(...)                                                       \
	set_segments((const struct vblk_segment[]){ __VA_ARGS__ },          \
		     sizeof((const struct vblk_segment[]){ __VA_ARGS__ }) / \
			     sizeof(struct vblk_segment))

static void set_segments(const struct vblk_segment *segment, size_t count)
{
	memset(&request, 0, sizeof(request));
	memset(&iovecs, 0xee, sizeof(iovecs));
	for (size_t i = 0; i < count; i++) {
		request.segment[request.segment_count++] = segment[i];
		request.data_len += segment[i].len;
	}
}

static int start(struct ram *ram)
{
	return vblk_iovecs_start(&iovecs, &request, &ram->view);
}

/* The vectors left in the window add up to what it says. */
static void check_bytes(void)
{
	uint64_t bytes = 0;

	assert_true(iovecs.first + iovecs.count <= VBLK_IOVEC_MAX);
	for (unsigned i = 0; i < iovecs.count; i++)
		bytes += iovecs.vec[iovecs.first + i].iov_len;
	assert_int_equal(iovecs.bytes, bytes);
}

static void expect_vec(unsigned i, const void *base, size_t len)
{
	assert_true(i < iovecs.count);
	assert_ptr_equal(iovecs.vec[iovecs.first + i].iov_base, base);
	assert_int_equal(iovecs.vec[iovecs.first + i].iov_len, len);
}

static void test_H_IN_one_vector_per_segment(void **state)
{
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0, 0x10000 });
	segments({ 0x5000, 512 }, { 0x1000, 1 }, { 0xffff, 1 });
	assert_int_equal(start(&ram), 0);
	assert_int_equal(iovecs.count, 3);
	assert_int_equal(iovecs.bytes, 514);
	expect_vec(0, ram_at(&ram, 0x5000), 512);
	expect_vec(1, ram_at(&ram, 0x1000), 1);
	expect_vec(2, ram_at(&ram, 0xffff), 1);
	ram_destroy(&ram);
}

static void test_H_IN_no_segments_no_vectors(void **state)
{
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0, 0x10000 });
	set_segments(NULL, 0);
	assert_int_equal(start(&ram), 0);
	assert_int_equal(iovecs.count, 0);
	assert_int_equal(iovecs.bytes, 0);
	ram_destroy(&ram);
}

static void test_H_IN_segment_over_regions_is_cut(void **state)
{
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0x3000, 0x1000 }, { 0x1000, 0x1000 }, { 0x2000, 0x1000 });
	segments({ 0x1ffe, 0x1004 });
	assert_int_equal(start(&ram), 0);
	assert_int_equal(iovecs.count, 3);
	expect_vec(0, ram_at(&ram, 0x1ffe), 2);
	expect_vec(1, ram_at(&ram, 0x2000), 0x1000);
	expect_vec(2, ram_at(&ram, 0x3000), 2);
	check_bytes();
	ram_destroy(&ram);
}

static void test_H_IN_data_that_is_not_mapped(void **state)
{
	static const struct {
		struct vblk_segment segment;
		int want;
	} cases[] = {
		{ { 0x1000, 0x1000 }, 0 },
		{ { 0x2000, 1 }, -EFAULT },
		{ { 0x0fff, 2 }, -EFAULT },
		{ { 0x1fff, 2 }, -EFAULT },
		{ { 0x1000, 0x4000 }, -EFAULT }, /* its ends are mapped */
		{ { 0x1000, UINT32_MAX }, -EFAULT },
		{ { TOP - 15, 16 }, 0 }, /* up to the last address */
		{ { TOP, 1 }, 0 },
		{ { TOP, 2 }, -EFAULT }, /* does not go on at 0 */
		{ { TOP - 15, 32 }, -EFAULT },
		{ { TOP - 16, 1 }, -EFAULT },
	};
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0, 0x100 }, { 0x1000, 0x1000 }, { 0x3000, 0x2000 }, { TOP - 15, 16 });
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		segments(cases[i].segment);
		assert_int_equal(start(&ram), cases[i].want);
		/* And behind others. */
		segments({ 0x1000, 16 }, { 0x3000, 16 }, cases[i].segment);
		assert_int_equal(start(&ram), cases[i].want);
		segments(cases[i].segment, { 0x1000, 16 });
		assert_int_equal(start(&ram), cases[i].want);
	}
	ram_destroy(&ram);
}

/* What the window does not reach is looked at as well, before anybody writes anything. */
static void test_D_FRAGMENT_hole_behind_the_window(void **state)
{
	struct ram ram;

	(void)state;
	ram_create_scattered(&ram, 0x10000, 16, 600);
	for (uint32_t pieces = 255; pieces <= 600; pieces += 115) {
		segments({ 0x10000, 16 * pieces });
		assert_int_equal(start(&ram), 0);
		segments({ 0x10000, 16 * pieces }, { 0x10000 + 16 * 600, 1 });
		assert_int_equal(start(&ram), -EFAULT);
	}
	segments({ 0x10000, 16 * 600 + 1 });
	assert_int_equal(start(&ram), -EFAULT);
	ram_destroy(&ram);
}

static void test_D_FRAGMENT_windows_of_256(void **state)
{
	struct ram ram;

	(void)state;
	ram_create_scattered(&ram, 0x10000, 16, 600);
	segments({ 0x10000, 16 * 600 });
	assert_int_equal(start(&ram), 0);
	assert_int_equal(iovecs.count, 256);
	assert_int_equal(iovecs.bytes, 256 * 16);
	expect_vec(255, ram_at(&ram, 0x10000 + 16 * 255), 16);
	vblk_iovecs_advance(&iovecs, 256 * 16);
	assert_int_equal(iovecs.first, 0);
	assert_int_equal(iovecs.count, 256);
	expect_vec(0, ram_at(&ram, 0x10000 + 16 * 256), 16);
	vblk_iovecs_advance(&iovecs, 256 * 16);
	assert_int_equal(iovecs.count, 88);
	assert_int_equal(iovecs.bytes, 88 * 16);
	expect_vec(0, ram_at(&ram, 0x10000 + 16 * 512), 16);
	vblk_iovecs_advance(&iovecs, 88 * 16);
	assert_int_equal(iovecs.count, 0);
	assert_int_equal(iovecs.bytes, 0);
	ram_destroy(&ram);
}

/* At, below and above what the array holds. */
static void test_D_FRAGMENT_window_edges(void **state)
{
	struct ram ram;

	(void)state;
	ram_create_scattered(&ram, 0x10000, 16, 258);
	for (uint32_t pieces = 255; pieces <= 258; pieces++) {
		unsigned first = pieces < 256 ? pieces : 256;

		segments({ 0x10000, 16 * pieces });
		assert_int_equal(start(&ram), 0);
		assert_int_equal(iovecs.count, first);
		/* All but a byte: the window stays what it is. */
		vblk_iovecs_advance(&iovecs, 16 * first - 1);
		assert_int_equal(iovecs.count, 1);
		assert_int_equal(iovecs.bytes, 1);
		vblk_iovecs_advance(&iovecs, 1);
		assert_int_equal(iovecs.count, pieces - first);
		check_bytes();
	}
	ram_destroy(&ram);
}

/*
 * Takes the data off in steps of `step` bytes: the first byte left is always the next one of the
 * request, whatever the segments and regions are.
 */
static void walk_in_steps(struct ram *ram, uint64_t step)
{
	uint64_t done = 0;
	uint16_t segment = 0;
	uint32_t offset = 0;

	assert_int_equal(start(ram), 0);
	while (done < request.data_len) {
		uint64_t part;

		assert_int_not_equal(iovecs.count, 0);
		assert_ptr_equal(iovecs.vec[iovecs.first].iov_base,
				 ram_at(ram, request.segment[segment].addr + offset));
		check_bytes();
		part = vblk_min_u64(step, iovecs.bytes);
		vblk_iovecs_advance(&iovecs, part);
		done += part;
		for (; part > 0; part--) {
			if (++offset == request.segment[segment].len) {
				offset = 0;
				segment++;
			}
		}
	}
	assert_int_equal(iovecs.count, 0);
	assert_int_equal(iovecs.bytes, 0);
}

static void test_Z2_any_step_reaches_the_end(void **state)
{
	static const uint64_t steps[] = {
		1, 2, 3, 15, 16, 17, 100, 255, 4095, 4096, 4097, 1 << 20
	};
	struct ram ram;

	(void)state;
	ram_create_scattered(&ram, 0x10000, 16, 700);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(steps); i++) {
		segments({ 0x10003, 5 }, { 0x10100, 6000 }, { 0x10000, 1 }, { 0x1000f, 2 },
			 { 0x12345, 16 }, { 0x10200, 4096 });
		walk_in_steps(&ram, steps[i]);
	}
	ram_destroy(&ram);
}

/* 128 segments as a driver that knows seg_max sends them, each over two regions. */
static void test_Z3_every_segment_in_two_regions(void **state)
{
	struct ram ram;

	(void)state;
	ram_create_scattered(&ram, 0, 4096, 129);
	memset(&request, 0, sizeof(request));
	for (uint16_t i = 0; i < VBLK_SEG_MAX; i++)
		request.segment[i] = (struct vblk_segment){ 4096u * i + 2048, 4096 };
	request.segment_count = VBLK_SEG_MAX;
	request.data_len = VBLK_SEG_MAX * 4096;
	assert_int_equal(start(&ram), 0);
	assert_int_equal(iovecs.count, 256);
	assert_int_equal(iovecs.bytes, request.data_len);
	walk_in_steps(&ram, 1000);
	ram_destroy(&ram);
}

/* The case as the contract tells it, with empty vectors, which no request brings about. */
static void test_Z2_advance_drops_empty_vectors_and_trims(void **state)
{
	static const size_t lengths[] = { 4, 0, 6, 0, 0, 8 };
	static const struct {
		uint64_t done;
		unsigned first;
		size_t len; /* of what is then the first; 0: nothing is left */
	} cases[] = {
		{ 0, 0, 4 }, { 1, 0, 3 },  { 3, 0, 1 },	 { 4, 2, 6 },  { 5, 2, 5 },
		{ 9, 2, 1 }, { 10, 5, 8 }, { 17, 5, 1 }, { 18, 6, 0 },
	};
	static uint8_t place[6][8];

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		set_segments(NULL, 0);
		iovecs = (struct vblk_iovecs){ .request = &request, .count = 6, .bytes = 18 };
		for (size_t k = 0; k < 6; k++)
			iovecs.vec[k] = (struct iovec){ place[k], lengths[k] };
		vblk_iovecs_advance(&iovecs, cases[i].done);
		assert_int_equal(iovecs.bytes, 18 - cases[i].done);
		assert_int_equal(iovecs.count, 6 - cases[i].first);
		if (cases[i].len == 0)
			continue;
		assert_int_equal(iovecs.first, cases[i].first);
		expect_vec(0, place[cases[i].first] + lengths[cases[i].first] - cases[i].len,
			   cases[i].len);
	}
}

/* D-FRAGMENT: a window is also cut by its bytes, wherever that falls in a segment. */
static void test_window_holds_no_more_than_its_bytes(void **state)
{
	const uint32_t length = 3u << 20;
	const uint64_t whole = 3ull * length;
	uint64_t seen = 0;
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0, 0x1000000 });
	segments({ 0x1000, length }, { 0x400000, length }, { 0x800000, length });
	assert_int_equal(start(&ram), 0);
	assert_int_equal(iovecs.count, 2);
	assert_int_equal(iovecs.bytes, VBLK_IOVEC_BYTES_MAX);
	expect_vec(0, ram_at(&ram, 0x1000), length);
	expect_vec(1, ram_at(&ram, 0x400000), VBLK_IOVEC_BYTES_MAX - length);
	while (iovecs.bytes > 0) {
		check_bytes();
		assert_true(iovecs.bytes <= VBLK_IOVEC_BYTES_MAX);
		seen += iovecs.bytes;
		vblk_iovecs_advance(&iovecs, iovecs.bytes);
		if (seen == VBLK_IOVEC_BYTES_MAX)
			expect_vec(0, ram_at(&ram, 0x400000 + VBLK_IOVEC_BYTES_MAX - length),
				   2ull * length - VBLK_IOVEC_BYTES_MAX);
	}
	assert_int_equal(seen, whole);
	ram_destroy(&ram);
}

/* What is behind a window that was cut by its bytes is looked at before anything moves, too. */
static void test_D_FRAGMENT_hole_behind_the_bytes_of_a_window(void **state)
{
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0, VBLK_IOVEC_BYTES_MAX + 0x1000 });
	segments({ 0, VBLK_IOVEC_BYTES_MAX + 0x1000 });
	assert_int_equal(start(&ram), 0);
	segments({ 0, VBLK_IOVEC_BYTES_MAX + 0x1001 });
	assert_int_equal(start(&ram), -EFAULT);
	segments({ 0, VBLK_IOVEC_BYTES_MAX }, { 0x10000000, 1 });
	assert_int_equal(start(&ram), -EFAULT);
	ram_destroy(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_H_IN_one_vector_per_segment),
		cmocka_unit_test(test_H_IN_no_segments_no_vectors),
		cmocka_unit_test(test_H_IN_segment_over_regions_is_cut),
		cmocka_unit_test(test_H_IN_data_that_is_not_mapped),
		cmocka_unit_test(test_D_FRAGMENT_hole_behind_the_window),
		cmocka_unit_test(test_D_FRAGMENT_windows_of_256),
		cmocka_unit_test(test_D_FRAGMENT_window_edges),
		cmocka_unit_test(test_window_holds_no_more_than_its_bytes),
		cmocka_unit_test(test_D_FRAGMENT_hole_behind_the_bytes_of_a_window),
		cmocka_unit_test(test_Z2_any_step_reaches_the_end),
		cmocka_unit_test(test_Z3_every_segment_in_two_regions),
		cmocka_unit_test(test_Z2_advance_drops_empty_vectors_and_trims),
	};

	return cmocka_run_group_tests_name("iovec", tests, NULL, NULL);
}
