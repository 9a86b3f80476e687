/* SPDX-License-Identifier: MIT */
/*
 * The guest memory map: building it, finding in it, copying through it. Names say the function of
 * include/vblk/memory.h or src/memory/memory.h.
 */
#include "ram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"

#define TOP UINT64_MAX /* the last address there is */

/* Host memory that nobody looks at. */
static _Alignas(16) uint8_t host[0x10000];

static struct vblk_memory *empty_map(void)
{
	struct vblk_memory *memory;

	assert_int_equal(vblk_memory_create(NULL, NULL, &memory), 0);
	assert_int_equal(vblk_memory_region_count(memory), 0);
	return memory;
}

static void count_release(void *context)
{
	++*(int *)context;
}

static void test_unref_last_reference_releases_once(void **state)
{
	struct vblk_memory *memory;
	int released = 0;

	(void)state;
	assert_int_equal(vblk_memory_create(count_release, &released, &memory), 0);
	assert_ptr_equal(vblk_memory_ref(memory), memory);
	vblk_memory_unref(memory);
	assert_int_equal(released, 0);
	vblk_memory_unref(memory);
	assert_int_equal(released, 1);
	vblk_memory_unref(NULL);
	assert_int_equal(released, 1);
}

static void test_add_region_refuses_what_is_no_region(void **state)
{
	static const struct {
		uint64_t address;
		uint64_t length;
		uintptr_t host;
	} cases[] = {
		{ 0x1000, 0, 0x1000 },		    /* empty */
		{ 0x1000, 0x10, 0 },		    /* nowhere */
		{ 0x1008, 0x10, 0x1000 },	    /* address not aligned */
		{ 0x1001, 0x10, 0x1000 },	    /* the same */
		{ 0x1000, 0x18, 0x1000 },	    /* length not aligned */
		{ 0x1000, 0x0f, 0x1000 },	    /* the same */
		{ 0x1000, 0x10, 0x1008 },	    /* host not aligned */
		{ TOP - 15, 0x20, 0x1000 },	    /* past the last address */
		{ 0x1000, TOP - 15, 0x1000 },	    /* the same, from far */
		{ 0x1000, 0x20, UINTPTR_MAX - 15 }, /* past the host's last address */
	};
	struct vblk_memory *memory = empty_map();

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		void *at = (void *)cases[i].host; // NOLINT(performance-no-int-to-ptr)

		assert_int_equal(
			vblk_memory_add_region(memory, cases[i].address, cases[i].length, at),
			-EINVAL);
	}
	assert_int_equal(vblk_memory_region_count(memory), 0);
	vblk_memory_unref(memory);
}

static void test_add_region_up_to_the_last_address(void **state)
{
	struct vblk_memory *memory = empty_map();

	(void)state;
	assert_int_equal(vblk_memory_add_region(memory, TOP - 15, 16, host), 0);
	assert_int_equal(vblk_memory_add_region(memory, TOP - 31, 16, host), 0);
	assert_int_equal(vblk_memory_add_region(memory, TOP - 15, 16, host), -EEXIST);
	assert_int_equal(vblk_memory_add_region(memory, TOP - 47, 32, host), -EEXIST);
	assert_int_equal(vblk_memory_region_count(memory), 2);
	vblk_memory_unref(memory);
}

static void test_add_region_refuses_overlap_and_allows_touching(void **state)
{
	static const struct {
		uint64_t address;
		uint64_t length;
		int want;
	} cases[] = {
		{ 0x2000, 0x1000, -EEXIST }, /* the same */
		{ 0x2400, 0x0100, -EEXIST }, /* within */
		{ 0x1000, 0x3000, -EEXIST }, /* around */
		{ 0x1000, 0x1010, -EEXIST }, /* its first bytes */
		{ 0x2ff0, 0x0010, -EEXIST }, /* its last bytes */
		{ 0x2ff0, 0x1000, -EEXIST }, /* and on from there */
		{ 0x2000, 0x0010, -EEXIST }, /* the same start, shorter */
		{ 0x1000, 0x1000, 0 },	     /* touches its start */
		{ 0x3000, 0x1000, 0 },	     /* touches its end */
		{ 0x0000, 0x0010, 0 },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		struct vblk_memory *memory = empty_map();

		assert_int_equal(vblk_memory_add_region(memory, 0x2000, 0x1000, host), 0);
		assert_int_equal(
			vblk_memory_add_region(memory, cases[i].address, cases[i].length, host),
			cases[i].want);
		assert_int_equal(vblk_memory_region_count(memory), cases[i].want == 0 ? 2 : 1);
		vblk_memory_unref(memory);
	}
}

static void test_add_region_sealed_map_is_busy(void **state)
{
	struct vblk_memory *memory = empty_map();

	(void)state;
	assert_int_equal(vblk_memory_add_region(memory, 0x1000, 0x1000, host), 0);
	vblk_memory_seal(memory);
	assert_int_equal(vblk_memory_add_region(memory, 0x4000, 0x1000, host), -EBUSY);
	assert_int_equal(vblk_memory_region_count(memory), 1);
	vblk_memory_unref(memory);
}

/* Adds four regions with gaps, in the order that `order` says, and looks every one of them up. */
static void check_order(const int order[4])
{
	struct vblk_memory *memory = empty_map();
	struct vblk_memory_view view;
	uint64_t piece;

	for (int i = 0; i < 4; i++) {
		uint64_t at = (uint64_t)order[i] * 0x100;

		assert_int_equal(vblk_memory_add_region(memory, at, 0x80, host + at), 0);
	}
	vblk_memory_seal(memory);
	vblk_memory_view_init(&view, memory);
	for (uint64_t at = 0; at < 0x400; at += 0x10) {
		bool mapped = at % 0x100 < 0x80;

		assert_ptr_equal(vblk_memory_view_at(&view, at, 1, &piece),
				 mapped ? host + at : NULL);
	}
	vblk_memory_unref(memory);
}

static void test_add_region_in_any_order(void **state)
{
	int order[4];

	(void)state;
	for (int i = 0; i < 256; i++) {
		unsigned seen = 0;

		for (int k = 0; k < 4; k++) {
			order[k] = i >> 2 * k & 3;
			seen |= 1u << order[k];
		}
		if (seen == 0xf)
			check_order(order);
	}
}

/* First and last byte of each region, and the bytes beside them, among 1 to 9 regions. */
static void test_view_find_edges(void **state)
{
	(void)state;
	for (size_t count = 1; count <= 9; count++) {
		struct vblk_memory *memory = empty_map();
		struct vblk_memory_view view;

		for (size_t i = 0; i < count; i++)
			assert_int_equal(vblk_memory_add_region(memory, 0x1000 + i * 0x1000, 0x800,
								host + i * 0x800),
					 0);
		vblk_memory_seal(memory);
		vblk_memory_view_init(&view, memory);
		assert_null(view.recent);
		for (size_t i = 0; i < count; i++) {
			const struct vblk_memory_region *region;
			uint64_t start = 0x1000 + i * 0x1000;

			assert_null(vblk_memory_view_find(&view, start - 1));
			region = vblk_memory_view_find(&view, start);
			assert_non_null(region);
			assert_ptr_equal(region->host, host + i * 0x800);
			assert_ptr_equal(view.recent, region);
			assert_ptr_equal(vblk_memory_view_find(&view, start + 0x7ff), region);
			assert_null(vblk_memory_view_find(&view, start + 0x800));
		}
		assert_null(vblk_memory_view_find(&view, 0));
		assert_null(vblk_memory_view_find(&view, TOP));
		vblk_memory_unref(memory);
	}
}

static void test_view_find_nothing_in_an_empty_map(void **state)
{
	struct vblk_memory *memory = empty_map();
	struct vblk_memory_view view;

	(void)state;
	vblk_memory_view_init(&view, memory);
	assert_null(vblk_memory_view_find(&view, 0));
	assert_null(view.recent);
	vblk_memory_unref(memory);
}

static void test_view_at_says_how_much_is_contiguous(void **state)
{
	static const struct {
		uint64_t address;
		uint64_t length;
		uint64_t piece; /* 0: not mapped */
	} cases[] = {
		{ 0x1000, 1, 1 },
		{ 0x1000, 0x100, 0x100 },
		{ 0x1000, 0x101, 0x100 }, /* the neighbour is another region */
		{ 0x10ff, 1, 1 },
		{ 0x10ff, 2, 1 },
		{ 0x1080, TOP, 0x80 },
		{ 0x1100, 0x80, 0x80 },
		{ 0x1180, 1, 0 },
		{ 0x0fff, 2, 0 },
		{ TOP - 15, 16, 16 },
		{ TOP - 15, TOP, 16 },
		{ TOP, 1, 1 },
		{ TOP, 2, 1 },
		{ TOP - 16, 1, 0 },
	};
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0x1000, 0x100 }, { 0x1100, 0x80 }, { TOP - 15, 16 });
	/* Each after each other one, so that the region found last is any of them. */
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		for (size_t k = 0; k < VBLK_ARRAY_SIZE(cases); k++) {
			uint64_t address = cases[k].address;
			uint64_t piece = 0;

			(void)vblk_memory_view_at(&ram.view, cases[i].address, 1, &piece);
			piece = 0;
			assert_ptr_equal(
				vblk_memory_view_at(&ram.view, address, cases[k].length, &piece),
				cases[k].piece ? ram_at(&ram, address) : NULL);
			assert_int_equal(piece, cases[k].piece);
		}
	}
	ram_destroy(&ram);
}

/* In one piece, with each region as the one that was found last, and with none. */
static void test_view_whole(void **state)
{
	static const struct {
		uint64_t address;
		uint64_t length;
		unsigned region; /* that it lies in, from 1 on; 0: in none, or in two */
	} cases[] = {
		{ 0x1000, 1, 1 },     { 0x1000, 0x100, 1 },
		{ 0x1000, 0x101, 0 }, { 0x0fff, 1, 0 },
		{ 0x0fff, 2, 0 },     { 0x1001, 0xff, 1 },
		{ 0x1001, 0x100, 0 }, { 0x10ff, 1, 1 },
		{ 0x10ff, 2, 0 },     { 0x1100, 1, 2 },
		{ 0x1100, 0x80, 2 },  { 0x117f, 1, 2 },
		{ 0x117f, 2, 0 },     { 0x1180, 1, 0 },
		{ TOP - 15, 16, 3 },  { TOP - 15, 17, 0 },
		{ TOP, 1, 3 },	      { TOP, 2, 0 },
		{ TOP - 16, 1, 0 },   { 0x1000, TOP, 0 },
		{ 0x1001, TOP, 0 },   { 0x10ff, TOP, 0 },
		{ TOP - 15, TOP, 0 }, { TOP, TOP, 0 },
		{ 0, 1, 0 },	      { 0x1000, TOP - 0xfff, 0 },
	};
	static const uint64_t recent[] = { 0x1000, 0x1100, TOP };
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0x1000, 0x100 }, { 0x1100, 0x80 }, { TOP - 15, 16 });
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		const uint64_t address = cases[i].address, length = cases[i].length;
		uint8_t *want = cases[i].region ? ram_at(&ram, address) : NULL;

		vblk_memory_view_init(&ram.view, ram.memory);
		assert_ptr_equal(vblk_memory_view_whole(&ram.view, address, length), want);
		for (unsigned k = 0; k < VBLK_ARRAY_SIZE(recent); k++) {
			assert_non_null(vblk_memory_view_find(&ram.view, recent[k]));
			assert_ptr_equal(vblk_memory_view_whole(&ram.view, address, length), want);
		}
	}
	ram_destroy(&ram);
}

/* Every alignment and length around the words that copy_in reads at once, over a seam at 0x20. */
static void test_copy_in_any_alignment(void **state)
{
	uint8_t want[64], got[66];
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0x20, 0x20 }, { 0, 0x20 });
	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t)(i * 37 + 5);
	ram_put(&ram, 0, want, sizeof(want));
	for (size_t from = 0; from < 64; from++) {
		for (size_t length = 0; length <= 64 - from; length++) {
			memset(got, 0xee, sizeof(got));
			assert_int_equal(vblk_memory_copy_in(&ram.view, got + 1, from, length), 0);
			assert_int_equal(got[0], 0xee);
			assert_memory_equal(got + 1, want + from, length);
			assert_int_equal(got[1 + length], 0xee);
		}
	}
	ram_destroy(&ram);
}

static void test_copy_out_any_alignment(void **state)
{
	uint8_t bytes[64];
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0x20, 0x20 }, { 0, 0x20 });
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 37 + 5);
	for (size_t at = 0; at < 64; at++) {
		for (size_t length = 0; length <= 64 - at; length++) {
			uint8_t got[64];

			ram_fill(&ram, 0, 0xee, 64);
			assert_int_equal(vblk_memory_copy_out(&ram.view, at, bytes, length), 0);
			ram_get(&ram, at, got, length);
			assert_memory_equal(got, bytes, length);
			assert_true(ram_is_filled(&ram, 0, 0xee, at));
			assert_true(ram_is_filled(&ram, at + length, 0xee, 64 - at - length));
		}
	}
	ram_destroy(&ram);
}

static void test_zero_exactly_what_was_asked(void **state)
{
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0x20, 0x20 }, { 0, 0x20 });
	for (size_t at = 0; at < 64; at++) {
		for (size_t length = 0; length <= 64 - at; length++) {
			ram_fill(&ram, 0, 0xee, 64);
			assert_int_equal(vblk_memory_zero(&ram.view, at, length), 0);
			assert_true(ram_is_filled(&ram, 0, 0xee, at));
			assert_true(ram_is_filled(&ram, at, 0, length));
			assert_true(ram_is_filled(&ram, at + length, 0xee, 64 - at - length));
		}
	}
	ram_destroy(&ram);
}

static void test_copy_over_many_regions(void **state)
{
	uint8_t bytes[0x400], got[0x400];
	struct ram ram;

	(void)state;
	ram_create_scattered(&ram, 0x8000, 16, 64);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i ^ i >> 8);
	assert_int_equal(vblk_memory_copy_out(&ram.view, 0x8000, bytes, sizeof(bytes)), 0);
	ram_get(&ram, 0x8000, got, sizeof(got));
	assert_memory_equal(got, bytes, sizeof(bytes));
	memset(got, 0, sizeof(got));
	assert_int_equal(vblk_memory_copy_in(&ram.view, got, 0x8000, sizeof(got)), 0);
	assert_memory_equal(got, bytes, sizeof(bytes));
	ram_destroy(&ram);
}

/* What the three copying functions do with a range that is not mapped to its end. */
static void test_copy_with_a_hole_does_the_part_before_it(void **state)
{
	uint8_t bytes[16] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	uint8_t got[16];
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0x1000, 0x10 }, { 0x1020, 0x10 });
	ram_fill(&ram, 0x1000, 0xaa, 0x10);
	ram_fill(&ram, 0x1020, 0xaa, 0x10);
	memset(got, 0, sizeof(got));
	assert_int_equal(vblk_memory_copy_in(&ram.view, got, 0x100c, 16), -EFAULT);
	assert_memory_equal(got, "\xaa\xaa\xaa\xaa\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(vblk_memory_copy_out(&ram.view, 0x100c, bytes, 16), -EFAULT);
	ram_expect(&ram, 0x100b, 0xaa, 1, 2, 3, 4);
	assert_int_equal(vblk_memory_zero(&ram.view, 0x100e, 16), -EFAULT);
	ram_expect(&ram, 0x100b, 0xaa, 1, 2, 0, 0);
	assert_true(ram_is_filled(&ram, 0x1020, 0xaa, 0x10));
	ram_destroy(&ram);
}

static void test_copy_of_nothing_needs_no_memory(void **state)
{
	uint8_t byte = 0x55;
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0x1000, 0x10 });
	assert_int_equal(vblk_memory_copy_in(&ram.view, &byte, 0x5000, 0), 0);
	assert_int_equal(vblk_memory_copy_out(&ram.view, TOP, &byte, 0), 0);
	assert_int_equal(vblk_memory_zero(&ram.view, 0, 0), 0);
	assert_int_equal(byte, 0x55);
	ram_destroy(&ram);
}

/* Memory at both ends of the address space: a range may reach the last byte and not pass it. */
static void test_copy_does_not_wrap_to_address_0(void **state)
{
	uint8_t bytes[32] = { 0 };
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0, 0x10 }, { TOP - 15, 16 });
	ram_fill(&ram, 0, 0xaa, 16);
	ram_fill(&ram, TOP - 15, 0xbb, 16);
	assert_int_equal(vblk_memory_copy_in(&ram.view, bytes, TOP - 15, 16), 0);
	assert_int_equal(bytes[15], 0xbb);
	assert_int_equal(vblk_memory_copy_in(&ram.view, bytes, TOP - 15, 17), -EFAULT);
	assert_int_equal(vblk_memory_copy_in(&ram.view, bytes, TOP, 2), -EFAULT);
	assert_int_equal(vblk_memory_copy_out(&ram.view, TOP, bytes, 2), -EFAULT);
	assert_int_equal(vblk_memory_zero(&ram.view, TOP, 2), -EFAULT);
	assert_int_equal(vblk_memory_zero(&ram.view, TOP, TOP), -EFAULT);
	assert_true(ram_is_filled(&ram, 0, 0xaa, 16));
	assert_int_equal(vblk_memory_zero(&ram.view, TOP, 1), 0);
	ram_expect(&ram, TOP - 1, 0xbb, 0);
	ram_destroy(&ram);
}

static bool has_failed(void *context)
{
	return *(bool *)context;
}

/* What failed before there was a guard counts too; and without new failures nobody is asked. */
static void test_guard_is_asked_at_first_and_after_failures(void **state)
{
	bool failed = true;
	const struct vblk_memory_guard guard = { has_failed, &failed };
	struct vblk_memory *memory = empty_map();
	struct vblk_memory_view view;

	(void)state;
	vblk_memory_view_init(&view, memory);
	assert_false(vblk_memory_view_has_failed(&view));
	vblk_memory_view_set_guard(&view, &guard);
	assert_true(vblk_memory_view_has_failed(&view));
	failed = false;
	assert_false(vblk_memory_view_has_failed(&view));
	failed = true; /* not by the flags' own rules */
	assert_false(vblk_memory_view_has_failed(&view));
	atomic_fetch_add(&vblk_sigbus_failure_count, 1);
	assert_true(vblk_memory_view_has_failed(&view));
	vblk_memory_unref(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unref_last_reference_releases_once),
		cmocka_unit_test(test_add_region_refuses_what_is_no_region),
		cmocka_unit_test(test_add_region_up_to_the_last_address),
		cmocka_unit_test(test_add_region_refuses_overlap_and_allows_touching),
		cmocka_unit_test(test_add_region_sealed_map_is_busy),
		cmocka_unit_test(test_add_region_in_any_order),
		cmocka_unit_test(test_view_find_edges),
		cmocka_unit_test(test_view_find_nothing_in_an_empty_map),
		cmocka_unit_test(test_view_at_says_how_much_is_contiguous),
		cmocka_unit_test(test_view_whole),
		cmocka_unit_test(test_copy_in_any_alignment),
		cmocka_unit_test(test_copy_out_any_alignment),
		cmocka_unit_test(test_zero_exactly_what_was_asked),
		cmocka_unit_test(test_copy_over_many_regions),
		cmocka_unit_test(test_copy_with_a_hole_does_the_part_before_it),
		cmocka_unit_test(test_copy_of_nothing_needs_no_memory),
		cmocka_unit_test(test_copy_does_not_wrap_to_address_0),
		cmocka_unit_test(test_guard_is_asked_at_first_and_after_failures),
	};

	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
