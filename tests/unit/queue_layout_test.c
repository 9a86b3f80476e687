/* SPDX-License-Identifier: MIT */
/*
 * What a driver may say of a queue before it is put to work, and how a descriptor is read. Names
 * begin with the rule of the contract (section 5).
 */
#include "ram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <linux/virtio_ring.h>

#include "base/checked.h"

static void test_Q1_sizes_are_powers_of_two_up_to_256(void **state)
{
	(void)state;
	for (uint32_t size = 0; size <= UINT16_MAX; size++) {
		struct vblk_queue_layout layout = { .size = 3 };
		bool legal = size == 1 || size == 2 || size == 4 || size == 8 || size == 16 ||
			     size == 32 || size == 64 || size == 128 || size == 256;

		assert_int_equal(vblk_queue_layout_set_size(&layout, (uint16_t)size, 256),
				 legal ? 0 : -EINVAL);
		assert_int_equal(layout.size, legal ? size : 3);
	}
}

typedef int (*set_fn)(struct vblk_queue_layout *layout, enum vblk_half half, uint32_t value);

/* The three addresses, which differ in their setter and their alignment alone. */
static const struct {
	set_fn set;
	size_t offset;
	uint32_t align;
} areas[] = {
	{ vblk_queue_layout_set_desc, offsetof(struct vblk_queue_layout, desc), 16 },
	{ vblk_queue_layout_set_avail, offsetof(struct vblk_queue_layout, avail), 2 },
	{ vblk_queue_layout_set_used, offsetof(struct vblk_queue_layout, used), 4 },
};

static uint64_t *area(struct vblk_queue_layout *layout, size_t i)
{
	return (uint64_t *)(void *)((uint8_t *)layout + areas[i].offset);
}

static void test_Q2_halves_merge_with_the_other_half(void **state)
{
	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(areas); i++) {
		struct vblk_queue_layout layout;

		vblk_queue_layout_reset(&layout, 256);
		assert_int_equal(areas[i].set(&layout, VBLK_HALF_LOW, 0xfffffff0), 0);
		assert_int_equal(*area(&layout, i), 0xfffffff0);
		assert_int_equal(areas[i].set(&layout, VBLK_HALF_HIGH, 0xffffffff), 0);
		assert_int_equal(*area(&layout, i), 0xfffffffffffffff0);
		assert_int_equal(areas[i].set(&layout, VBLK_HALF_LOW, 0x1000), 0);
		assert_int_equal(*area(&layout, i), 0xffffffff00001000);
		assert_int_equal(areas[i].set(&layout, VBLK_HALF_HIGH, 3), 0);
		assert_int_equal(*area(&layout, i), 0x300001000);
		/* An odd upper half misaligns nothing. */
		assert_int_equal(areas[i].set(&layout, VBLK_HALF_HIGH, 0x80000001), 0);
		assert_int_equal(*area(&layout, i), 0x8000000100001000);
		/* And the other two are where they were. */
		assert_int_equal(*area(&layout, (i + 1) % 3), 0);
		assert_int_equal(*area(&layout, (i + 2) % 3), 0);
	}
}

static void test_Q2_misaligned_address_is_dropped_whole(void **state)
{
	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(areas); i++) {
		struct vblk_queue_layout layout;

		vblk_queue_layout_reset(&layout, 256);
		*area(&layout, i) = 0x500001000;
		for (uint32_t low = 0x2000; low <= 0x2020; low++) {
			bool legal = low % areas[i].align == 0;

			*area(&layout, i) = 0x500001000;
			assert_int_equal(areas[i].set(&layout, VBLK_HALF_LOW, low),
					 legal ? 0 : -EINVAL);
			assert_int_equal(*area(&layout, i),
					 legal ? 0x500000000 + (uint64_t)low : 0x500001000);
		}
	}
}

static void test_Q3_reset_values(void **state)
{
	struct vblk_queue_layout layout = { 4, true, 0x10, 0x20, 0x30 };

	(void)state;
	vblk_queue_layout_reset(&layout, 256);
	assert_int_equal(layout.size, 256);
	assert_false(layout.ready);
	assert_int_equal(layout.desc, 0);
	assert_int_equal(layout.avail, 0);
	assert_int_equal(layout.used, 0);
}

static void test_Q3_queue_starts_at_0(void **state)
{
	struct vblk_queue_layout layout = { 16, true, 0, 0x100, 0x200 };
	struct vblk_queue queue;
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0, 0x1000 });
	ram_fill(&ram, 0, 0xff, 0x1000);
	for (size_t i = 0; i < sizeof(queue); i++)
		((uint8_t *)&queue)[i] = 0xff;
	vblk_queue_start(&queue, &layout, false, ram.memory);
	assert_int_equal(queue.next_avail, 0);
	assert_int_equal(queue.next_used, 0);
	assert_int_equal(queue.num_added, 0);
	assert_false(queue.event_idx);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(queue.in_flight); i++)
		assert_int_equal(queue.in_flight[i], 0);
	assert_true(ram_is_filled(&ram, 0, 0xff, 0x1000));
	ram_destroy(&ram);
}

/* Bad addresses are no matter for the start; every access says so. */
static void test_Q4_bad_addresses_show_at_the_first_access(void **state)
{
	static const struct vblk_queue_layout layouts[] = {
		{ 256, true, 0x10000, 0x20000, 0x30000 },
		{ 256, true, UINT64_MAX - 15, UINT64_MAX - 1, UINT64_MAX - 3 },
		{ 1, true, UINT64_MAX - 15, UINT64_MAX - 3, UINT64_MAX - 3 },
	};
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0, 0x1000 });
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(layouts); i++) {
		for (int event_idx = 0; event_idx < 2; event_idx++) {
			struct vblk_queue queue;
			uint16_t head;

			vblk_queue_start(&queue, &layouts[i], event_idx, ram.memory);
			assert_int_equal(vblk_queue_pop(&queue, &head), -EFAULT);
			assert_int_equal(vblk_queue_push(&queue, 0, 1), -EFAULT);
			assert_int_equal(vblk_queue_disable_notifications(&queue),
					 event_idx ? 0 : -EFAULT);
			assert_int_equal(vblk_queue_enable_notifications(&queue), -EFAULT);
			assert_int_equal(vblk_queue_needs_interrupt(&queue),
					 event_idx ? -EFAULT : 1);
		}
	}
	assert_true(ram_is_filled(&ram, 0, 0, 0x1000));
	ram_destroy(&ram);
}

static void test_Q9_descriptor_is_little_endian(void **state)
{
	static const uint8_t raw[] = { 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01,
				       0x04, 0x03, 0x02, 0x01, 0x03, 0x80, 0x34, 0x12 };
	struct vblk_desc desc = { 0 };
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0x1000, 0x1000 });
	ram_put(&ram, 0x1000 + (uint64_t)16 * 37, raw, sizeof(raw));
	assert_int_equal(vblk_desc_read(&ram.view, 0x1000, 37, &desc), 0);
	assert_int_equal(desc.addr, 0x0123456789abcdef);
	assert_int_equal(desc.len, 0x01020304);
	assert_int_equal(desc.flags, 0x8003);
	assert_int_equal(desc.next, 0x1234);
	ram_destroy(&ram);
}

/* An indirect table needs no alignment, so its descriptors may straddle regions. */
static void test_Q9_descriptor_over_two_regions(void **state)
{
	const struct vblk_desc want = { 0x1122334455667788, 0x99aabbcc, 0xddee, 0xff01 };
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0x2000, 0x1000 }, { 0x1000, 0x1000 });
	for (uint64_t table = 0x1ff0; table <= 0x2000; table++) {
		struct vblk_desc desc = { 0 };

		ram_put_desc(&ram, table, 0, want);
		assert_int_equal(vblk_desc_read(&ram.view, table, 0, &desc), 0);
		assert_int_equal(desc.addr, want.addr);
		assert_int_equal(desc.len, want.len);
		assert_int_equal(desc.flags, want.flags);
		assert_int_equal(desc.next, want.next);
	}
	ram_destroy(&ram);
}

static void test_Q9_descriptor_that_is_not_mapped(void **state)
{
	static const struct {
		uint64_t table;
		uint32_t index;
		int want;
	} cases[] = {
		{ 0x1000, 0, 0 },
		{ 0x1000, 255, 0 },
		{ 0x1000, 256, -EFAULT },
		{ 0x0ff0, 0, -EFAULT },
		{ 0x0ff1, 0, -EFAULT }, /* its last byte is mapped, its first is not */
		{ 0x1ff8, 0, -EFAULT }, /* and the other way round */
		{ UINT64_MAX - 15, 0, 0 },
		{ UINT64_MAX - 15, 1, -EFAULT }, /* would wrap to 0 */
		{ UINT64_MAX - 7, 0, -EFAULT },	 /* its second half would */
		{ UINT64_MAX - 7, 1, -EFAULT },
	};
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0, 0x100 }, { 0x1000, 0x1000 }, { UINT64_MAX - 15, 16 });
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		struct vblk_desc desc;

		assert_int_equal(vblk_desc_read(&ram.view, cases[i].table, cases[i].index, &desc),
				 cases[i].want);
	}
	ram_destroy(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_Q1_sizes_are_powers_of_two_up_to_256),
		cmocka_unit_test(test_Q2_halves_merge_with_the_other_half),
		cmocka_unit_test(test_Q2_misaligned_address_is_dropped_whole),
		cmocka_unit_test(test_Q3_reset_values),
		cmocka_unit_test(test_Q3_queue_starts_at_0),
		cmocka_unit_test(test_Q4_bad_addresses_show_at_the_first_access),
		cmocka_unit_test(test_Q9_descriptor_is_little_endian),
		cmocka_unit_test(test_Q9_descriptor_over_two_regions),
		cmocka_unit_test(test_Q9_descriptor_that_is_not_mapped),
	};

	return cmocka_run_group_tests_name("queue_layout", tests, NULL, NULL);
}
