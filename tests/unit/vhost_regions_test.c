/* SPDX-License-Identifier: MIT */
/* The table of guest memory: what may be in it, what comes out of it, what an address means. */
#include "vhost/regions.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"

#define TOP (UINT64_MAX - 0xf) /* the last address that a region may begin at */

static struct vblk_vhost_region region(uint64_t guest, uint64_t size, uint64_t user,
				       uint64_t offset)
{
	return (struct vblk_vhost_region){ guest, size, user, offset };
}

static void add(struct vblk_vhost_regions *regions, struct vblk_vhost_region r)
{
	const char *reason = "";

	if (vblk_vhost_regions_add(regions, &r, &reason) != 0)
		fail_msg("region refused: %s", reason);
	assert_null(reason);
}

static void assert_not_added(struct vblk_vhost_regions *regions, struct vblk_vhost_region r,
			     int error, const char *why)
{
	uint32_t count = regions->count;
	uint64_t total = regions->total;
	const char *reason = NULL;

	assert_int_equal(vblk_vhost_regions_add(regions, &r, &reason), error);
	assert_non_null(reason);
	if (!strstr(reason, why))
		fail_msg("'%s' does not say '%s'", reason, why);
	assert_int_equal(regions->count, count);
	assert_int_equal(regions->total, total);
}

static void test_region_alone(void **state)
{
	static const struct {
		struct vblk_vhost_region region;
		const char *why;
	} cases[] = {
		{ { 0, 16, 0, 0 }, NULL },
		{ { TOP, 16, TOP, 0 }, NULL },
		{ { 0, 16, 0, INT64_MAX - 31 }, NULL },
		{ { 0, 0, 0, 0 }, "empty" },
		{ { 8, 16, 0, 0 }, "guest address or size" },
		{ { 0, 24, 0, 0 }, "guest address or size" },
		{ { 0, 16, 8, 0 }, "user address or offset" },
		{ { 0, 16, 0, 8 }, "user address or offset" },
		{ { TOP, 32, 0, 0 }, "end of the guest's" },
		{ { 0, 32, TOP, 0 }, "end of the front end's" },
		{ { 0, 16, 0, INT64_MAX - 15 }, "2^63" },
		{ { 0, 32, 0, TOP }, "2^63" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		static struct vblk_vhost_regions regions;

		vblk_vhost_regions_clear(&regions);
		if (cases[i].why)
			assert_not_added(&regions, cases[i].region, -EINVAL, cases[i].why);
		else
			add(&regions, cases[i].region);
	}
}

/* The first region is 0x1000 to 0x2fff; the second lies around it in one of the two spaces. */
static void test_regions_do_not_overlap(void **state)
{
	static const struct {
		uint64_t start, size;
		bool overlaps;
	} cases[] = {
		{ 0x0, 0x1000, false },	 { 0x3000, 0x1000, false }, { 0x0, 0x1010, true },
		{ 0x2ff0, 0x10, true },	 { 0x1000, 0x2000, true },  { 0x1800, 0x10, true },
		{ 0x0, 0x100000, true }, { TOP, 0x10, false },	    { 0xff0, 0x10, false },
		{ 0x3000, 0x10, false },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		static struct vblk_vhost_regions regions;
		struct vblk_vhost_region by_guest =
			region(cases[i].start, cases[i].size, 0x10000000, 0);
		struct vblk_vhost_region by_user =
			region(0x10000000, cases[i].size, cases[i].start, 0);

		vblk_vhost_regions_clear(&regions);
		add(&regions, region(0x1000, 0x2000, 0x1000, 0));
		if (cases[i].overlaps) {
			assert_not_added(&regions, by_guest, -EEXIST, "guest's addresses");
			assert_not_added(&regions, by_user, -EEXIST, "front end's addresses");
			continue;
		}
		add(&regions, by_guest);
		vblk_vhost_regions_clear(&regions);
		add(&regions, region(0x1000, 0x2000, 0x1000, 0));
		add(&regions, by_user);
	}
}

static void test_region_at_the_end_of_the_address_space_overlaps_too(void **state)
{
	static struct vblk_vhost_regions regions;

	(void)state;
	vblk_vhost_regions_clear(&regions);
	add(&regions, region(0xffffffffffff0000, 0x10000, 0x1000, 0));
	assert_not_added(&regions, region(TOP, 16, 0x20000, 0), -EEXIST, "guest's");
	assert_not_added(&regions, region(0xfffffffffffe0000, 0x10010, 0x20000, 0), -EEXIST,
			 "guest's");
	add(&regions, region(0, 16, 0x20000, 0));
}

static void test_table_has_509_slots(void **state)
{
	static struct vblk_vhost_regions regions;

	(void)state;
	vblk_vhost_regions_clear(&regions);
	for (uint64_t i = 0; i < 509; i++)
		add(&regions, region(i << 12, 16, i << 12, 0));
	assert_not_added(&regions, region(1ull << 40, 16, 1ull << 40, 0), -ENOSPC, "509");
	assert_int_equal(regions.total, 509 * 16);
}

static void test_memory_has_a_limit(void **state)
{
	static struct vblk_vhost_regions regions;

	(void)state;
	vblk_vhost_regions_clear(&regions);
	assert_not_added(&regions, region(0, (1ull << 52) + 16, 0, 0), -ENOSPC, "2^52");
	add(&regions, region(0, (1ull << 52) - 16, 0, 0));
	assert_not_added(&regions, region(1ull << 60, 32, 1ull << 60, 0), -ENOSPC, "2^52");
	add(&regions, region(1ull << 60, 16, 1ull << 60, 0));
}

static void test_region_is_removed_by_addresses_and_size(void **state)
{
	static struct vblk_vhost_regions regions;
	static const struct vblk_vhost_region others[] = {
		{ 0x1010, 0x100, 0x5000, 0 },
		{ 0x1000, 0x110, 0x5000, 0 },
		{ 0x1000, 0x100, 0x5010, 0 },
	};
	struct vblk_vhost_region same = region(0x1000, 0x100, 0x5000, 0x7777);
	const char *reason;
	uint32_t slot = 99;

	(void)state;
	vblk_vhost_regions_clear(&regions);
	add(&regions, region(0x0, 0x10, 0x0, 0));
	add(&regions, region(0x1000, 0x100, 0x5000, 0x40));
	add(&regions, region(0x2000, 0x20, 0x2000, 0));
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(others); i++) {
		assert_int_equal(vblk_vhost_regions_remove(&regions, &others[i], &slot, &reason),
				 -ENOENT);
		assert_non_null(strstr(reason, "no region"));
	}
	assert_int_equal(slot, 99);
	assert_int_equal(vblk_vhost_regions_remove(&regions, &same, &slot, &reason), 0);
	assert_null(reason);
	assert_int_equal(slot, 1);
	assert_int_equal(regions.count, 2);
	assert_int_equal(regions.total, 0x30);
	assert_int_equal(regions.region[0].guest, 0);
	assert_int_equal(regions.region[1].guest, 0x2000);
	assert_int_equal(vblk_vhost_regions_remove(&regions, &same, &slot, &reason), -ENOENT);
	add(&regions, region(0x1000, 0x100, 0x5000, 0x40));
}

static void test_table_is_replaced_as_a_whole(void **state)
{
	static struct vblk_vhost_regions regions, before;
	struct vblk_vhost_memory memory = { .count = 8 };
	const char *reason;

	(void)state;
	vblk_vhost_regions_clear(&regions);
	for (uint64_t i = 0; i < 20; i++)
		add(&regions, region(i << 12, 16, i << 12, 0));
	for (uint64_t i = 0; i < 8; i++)
		memory.region[i] = region(i << 12, 0x1000, i << 12, 0);
	before = regions;
	memory.region[7] = memory.region[3];
	assert_int_equal(vblk_vhost_regions_set(&regions, &memory, &reason), -EEXIST);
	assert_non_null(reason);
	assert_memory_equal(&regions, &before, sizeof(regions));
	memory.region[7].size = 0;
	assert_int_equal(vblk_vhost_regions_set(&regions, &memory, &reason), -EINVAL);
	assert_memory_equal(&regions, &before, sizeof(regions));
	memory.region[7] = region(7 << 12, 0x1000, 7 << 12, 0);
	assert_int_equal(vblk_vhost_regions_set(&regions, &memory, &reason), 0);
	assert_int_equal(regions.count, 8);
	assert_int_equal(regions.total, 0x8000);
	assert_memory_equal(regions.region, memory.region, sizeof(memory.region));
	memory.count = 0;
	assert_int_equal(vblk_vhost_regions_set(&regions, &memory, &reason), 0);
	assert_int_equal(regions.count, 0);
	assert_int_equal(regions.total, 0);
}

static void test_user_address_becomes_guest_address(void **state)
{
	static const struct {
		uint64_t user, length, guest;
		int ret;
	} cases[] = {
		/* in one region */
		{ 0x10000, 0x1000, 0x1000, 0 },
		{ 0x10fff, 1, 0x1fff, 0 },
		{ 0x0ffff, 1, 0, -EFAULT },
		{ 0x10000, 0, 0, -EFAULT },
		/* over three neighbours, which are in the table in another order */
		{ 0x10ff8, 0x1010, 0x1ff8, 0 },
		{ 0x10000, 0x3000, 0x1000, 0 },
		{ 0x10000, 0x3001, 0, -EFAULT },
		{ 0x12fff, 2, 0, -EFAULT },
		/* neighbours to the front end, not to the guest */
		{ 0x20ff0, 0x10, 0x9ff0, 0 },
		{ 0x20ff0, 0x11, 0, -EFAULT },
		{ 0x21000, 0x10, 0x80000, 0 },
		/* neighbours to the guest, not to the front end */
		{ 0x30ff0, 0x11, 0, -EFAULT },
		/* the ends of both address spaces */
		{ TOP, 16, 0x1234560, 0 },
		{ TOP, 17, 0, -EFAULT },
		{ TOP, UINT64_MAX, 0, -EFAULT },
		{ 0x50000, 16, TOP, 0 },
		{ 0x50000, 17, 0, -EFAULT },
	};
	static struct vblk_vhost_regions regions;

	(void)state;
	vblk_vhost_regions_clear(&regions);
	add(&regions, region(0x3000, 0x1000, 0x12000, 0));
	add(&regions, region(0x1000, 0x1000, 0x10000, 0));
	add(&regions, region(0x2000, 0x1000, 0x11000, 0));
	add(&regions, region(0x9000, 0x1000, 0x20000, 0));
	add(&regions, region(0x80000, 0x1000, 0x21000, 0));
	add(&regions, region(0x40000, 0x1000, 0x30000, 0));
	add(&regions, region(0x41000, 0x1000, 0x40000, 0));
	add(&regions, region(0x1234560, 0x10, TOP, 0));
	add(&regions, region(0x1234570, 0x10, 0, 0));
	add(&regions, region(TOP, 0x10, 0x50000, 0));
	add(&regions, region(0, 0x10, 0x50010, 0));
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		uint64_t guest = 0;

		assert_int_equal(vblk_vhost_regions_translate(&regions, cases[i].user,
							      cases[i].length, &guest),
				 cases[i].ret);
		assert_int_equal(guest, cases[i].guest);
	}
}

static void test_mapping_consists_of_whole_pages(void **state)
{
	static const struct {
		uint64_t offset, size, page;
		int ret;
		struct vblk_vhost_mapping want;
	} cases[] = {
		{ 0, 0x1000, 0x1000, 0, { 0, 0x1000, 0 } },
		{ 0, 0x1010, 0x1000, 0, { 0, 0x2000, 0 } },
		{ 0x3450, 0x10, 0x1000, 0, { 0x3000, 0x1000, 0x450 } },
		{ 0x3ff0, 0x20, 0x1000, 0, { 0x3000, 0x2000, 0xff0 } },
		{ 0xc0000, 0x340000, 0x200000, 0, { 0, 0x400000, 0xc0000 } },
		{ 0, 0x1000, 0, -EINVAL, { 0 } },
		{ 0, 0x1000, 0x1800, -EINVAL, { 0 } },
		{ INT64_MAX - 31, 0x10, 0x1000, -ERANGE, { 0 } },
		{ INT64_MAX - 31, 0x10, 1ull << 63, -ERANGE, { 0 } },
		{ INT64_MAX - 0x101f, 0x20, 0x1000, 0, { 0x7fffffffffffe000, 0x1000, 0xfe0 } },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		struct vblk_vhost_region r = region(0, cases[i].size, 0, cases[i].offset);
		struct vblk_vhost_mapping got = { 0 };

		assert_int_equal(vblk_vhost_region_mapping(&r, cases[i].page, &got), cases[i].ret);
		assert_memory_equal(&got, &cases[i].want, sizeof(got));
	}
}

static void test_region_ends_in_its_file(void **state)
{
	struct vblk_vhost_region r = region(0, 0x100, 0, 0x40);

	(void)state;
	assert_true(vblk_vhost_region_is_in_file(&r, 0x140));
	assert_true(vblk_vhost_region_is_in_file(&r, UINT64_MAX));
	assert_false(vblk_vhost_region_is_in_file(&r, 0x13f));
	assert_false(vblk_vhost_region_is_in_file(&r, 0x3f));
	assert_false(vblk_vhost_region_is_in_file(&r, 0));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_region_alone),
		cmocka_unit_test(test_regions_do_not_overlap),
		cmocka_unit_test(test_region_at_the_end_of_the_address_space_overlaps_too),
		cmocka_unit_test(test_table_has_509_slots),
		cmocka_unit_test(test_memory_has_a_limit),
		cmocka_unit_test(test_region_is_removed_by_addresses_and_size),
		cmocka_unit_test(test_table_is_replaced_as_a_whole),
		cmocka_unit_test(test_user_address_becomes_guest_address),
		cmocka_unit_test(test_mapping_consists_of_whole_pages),
		cmocka_unit_test(test_region_ends_in_its_file),
	};

	return cmocka_run_group_tests_name("vhost_regions", tests, NULL, NULL);
}
