/* SPDX-License-Identifier: MIT */
/*
 * Taking heads from the available ring and publishing in the used ring. The rings are laid out and
 * looked at as bytes. Names begin with the rule of the contract (section 5) or the decision.
 */
#include "ram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/checked.h"

#define AVAIL 0x1000u
#define USED  0x2000u

/* A queue in one region, where nothing stands in its way. */
struct rig {
	struct ram ram;
	struct vblk_queue queue;
};

static void start_at(struct rig *rig, uint16_t size, uint64_t avail, uint64_t used)
{
	const struct vblk_queue_layout layout = { size, true, 0, avail, used };

	vblk_queue_start(&rig->queue, &layout, false, rig->ram.memory);
}

static void rig_create(struct rig *rig, uint16_t size)
{
	ram_create(&rig->ram, { 0, 0x4000 });
	start_at(rig, size, AVAIL, USED);
}

/* Puts `head` where a driver whose index is `index` would, and makes it available. */
static void offer(struct rig *rig, uint16_t index, uint16_t head)
{
	uint16_t size = rig->queue.layout.size;

	ram_put16(&rig->ram, rig->queue.layout.avail + 4 + 2u * (index % size), head);
	ram_put16(&rig->ram, rig->queue.layout.avail + 2, (uint16_t)(index + 1));
}

static void expect_pop(struct rig *rig, int want, uint16_t want_head)
{
	uint16_t head = 0xdead;

	assert_int_equal(vblk_queue_pop(&rig->queue, &head), want);
	if (want == 1)
		assert_int_equal(head, want_head);
}

static void test_Q6_queue_that_is_not_ready(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, 16);
	offer(&rig, 0, 3);
	rig.queue.layout.ready = false;
	expect_pop(&rig, -EINVAL, 0);
	assert_int_equal(rig.queue.next_avail, 0);
	rig.queue.layout.ready = true;
	expect_pop(&rig, 1, 3);
	ram_destroy(&rig.ram);
}

/* Address 0 is mapped and holds a ring with a head in it: it is no ring all the same. */
static void test_Q6_available_ring_at_0_is_none(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, 16);
	start_at(&rig, 16, 0, USED);
	offer(&rig, 0, 3);
	expect_pop(&rig, -EINVAL, 0);
	ram_destroy(&rig.ram);
}

static void test_Q6_avail_idx_in_a_hole(void **state)
{
	struct rig rig;

	(void)state;
	ram_create(&rig.ram, { 0x1000, 0x100 }, { 0x1110, 0x100 });
	start_at(&rig, 16, 0x110c, 0x1000);
	expect_pop(&rig, -EFAULT, 0);
	assert_int_equal(rig.queue.next_avail, 0);
	ram_destroy(&rig.ram);
}

static void test_Q6_distance_equal_to_size_is_fine(void **state)
{
	static const uint16_t starts[] = { 0, 1, 0x7fff, 0xff00, 0xffff };

	(void)state;
	for (unsigned size = 1; size <= 256; size *= 2) {
		for (size_t i = 0; i < VBLK_ARRAY_SIZE(starts); i++) {
			struct rig rig;

			rig_create(&rig, (uint16_t)size);
			rig.queue.next_avail = starts[i];
			ram_put16(&rig.ram, AVAIL + 2, (uint16_t)(starts[i] + size));
			expect_pop(&rig, 1, 0);
			ram_destroy(&rig.ram);
		}
	}
}

static void test_Q6_distance_above_size_is_refused(void **state)
{
	static const uint16_t starts[] = { 0, 1, 0x7fff, 0xff00, 0xffff };

	(void)state;
	for (unsigned size = 1; size <= 256; size *= 2) {
		const unsigned distances[] = { size + 1, 2 * size + 1, 0x8000, 0xffff };

		for (size_t i = 0; i < VBLK_ARRAY_SIZE(starts) * 4; i++) {
			uint16_t start = starts[i / 4];
			struct rig rig;

			rig_create(&rig, (uint16_t)size);
			rig.queue.next_avail = start;
			ram_put16(&rig.ram, AVAIL + 2, (uint16_t)(start + distances[i % 4]));
			expect_pop(&rig, -ERANGE, 0);
			assert_int_equal(rig.queue.next_avail, start);
			ram_destroy(&rig.ram);
		}
	}
}

/* avail.idx is read for each head: what a driver takes back is gone, what it adds is there. */
static void test_Q6_avail_idx_is_read_every_time(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, 16);
	offer(&rig, 0, 5);
	offer(&rig, 1, 6);
	expect_pop(&rig, 1, 5);
	ram_put16(&rig.ram, AVAIL + 2, 1);
	expect_pop(&rig, 0, 0);
	offer(&rig, 1, 7);
	expect_pop(&rig, 1, 7);
	ram_put16(&rig.ram, AVAIL + 2, 1); /* behind next_avail: 65535 ahead */
	expect_pop(&rig, -ERANGE, 0);
	ram_destroy(&rig.ram);
}

static void test_Q7_nothing_available(void **state)
{
	uint16_t head = 0xdead;
	struct rig rig;

	(void)state;
	rig_create(&rig, 16);
	assert_int_equal(vblk_queue_pop(&rig.queue, &head), 0);
	assert_int_equal(head, 0xdead);
	assert_int_equal(rig.queue.next_avail, 0);
	ram_destroy(&rig.ram);
}

static void test_Q7_available_ring_is_little_endian(void **state)
{
	/* flags, idx 257, ring[0], ring[1] */
	static const uint8_t ring[] = { 0, 0, 0x01, 0x01, 0x02, 0x01, 0x80, 0x00 };
	struct rig rig;

	(void)state;
	rig_create(&rig, 256);
	ram_put(&rig.ram, AVAIL, ring, sizeof(ring));
	rig.queue.next_avail = 0x100;
	expect_pop(&rig, 1, 0x102);
	assert_int_equal(rig.queue.next_avail, 0x101);
	expect_pop(&rig, 0, 0);
	ram_put16(&rig.ram, AVAIL + 2, 0x102);
	expect_pop(&rig, 1, 0x80);
	ram_destroy(&rig.ram);
}

/* D-HOLE-1: the index can be read, the element cannot. Nothing moves, so nobody goes on. */
static void test_D_HOLE_1_ring_element_in_a_hole(void **state)
{
	struct rig rig;

	(void)state;
	ram_create(&rig.ram, { 0x1000, 0x100 });
	start_at(&rig, 16, 0x10f8, 0x1000);
	for (uint16_t i = 0; i < 2; i++)
		ram_put16(&rig.ram, 0x10fc + 2u * i, i);
	ram_put16(&rig.ram, 0x10fa, 3);
	expect_pop(&rig, 1, 0);
	expect_pop(&rig, 1, 1);
	for (int i = 0; i < 3; i++) {
		expect_pop(&rig, -EFAULT, 0);
		assert_int_equal(rig.queue.next_avail, 2);
	}
	ram_destroy(&rig.ram);
}

/* A head beyond the table is handed on every time: it is no chain that could be in flight. */
static void test_Q8_head_out_of_range_is_handed_on(void **state)
{
	static const uint16_t heads[] = { 16, 17, 255, 256, 0x7fff, 0xffff };
	uint16_t index = 0;
	struct rig rig;

	(void)state;
	rig_create(&rig, 16);
	for (size_t i = 0; i < 2 * VBLK_ARRAY_SIZE(heads); i++, index++) {
		offer(&rig, index, heads[i / 2]);
		expect_pop(&rig, 1, heads[i / 2]);
		assert_int_equal(rig.queue.next_avail, index + 1);
	}
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(rig.queue.in_flight); i++)
		assert_int_equal(rig.queue.in_flight[i], 0);
	vblk_queue_drop(&rig.queue, 0xffff);
	vblk_queue_undo_pop(&rig.queue, 0xffff);
	assert_int_equal(rig.queue.next_avail, index - 1);
	ram_destroy(&rig.ram);
}

static void test_D_HEAD_duplicate_of_each_head_is_refused(void **state)
{
	(void)state;
	for (uint16_t head = 0; head < 256; head++) {
		struct rig rig;

		rig_create(&rig, 256);
		offer(&rig, 0, head);
		offer(&rig, 1, (uint16_t)(head ^ 64));
		offer(&rig, 2, head);
		expect_pop(&rig, 1, head);
		expect_pop(&rig, 1, head ^ 64);
		expect_pop(&rig, -EEXIST, 0);
		assert_int_equal(rig.queue.next_avail, 2);
		ram_destroy(&rig.ram);
	}
}

static void test_D_HEAD_all_heads_in_flight_at_once(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, 256);
	for (uint16_t i = 0; i < 256; i++)
		offer(&rig, i, (uint16_t)(i * 7 % 256));
	for (uint16_t i = 0; i < 256; i++)
		expect_pop(&rig, 1, (uint16_t)(i * 7 % 256));
	for (uint16_t i = 0; i < 256; i++)
		assert_int_equal(vblk_queue_push(&rig.queue, i, i), 0);
	for (uint16_t i = 0; i < 256; i++)
		offer(&rig, (uint16_t)(256 + i), i);
	for (uint16_t i = 0; i < 256; i++)
		expect_pop(&rig, 1, i);
	ram_destroy(&rig.ram);
}

/* The three ways in which a head leaves the queue's hands. */
static void test_D_HEAD_given_back_head_may_come_again(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, 16);
	offer(&rig, 0, 9);
	expect_pop(&rig, 1, 9);
	vblk_queue_undo_pop(&rig.queue, 9);
	expect_pop(&rig, 1, 9);
	vblk_queue_drop(&rig.queue, 9);
	offer(&rig, 1, 9);
	expect_pop(&rig, 1, 9);
	assert_int_equal(vblk_queue_push(&rig.queue, 9, 1), 0);
	offer(&rig, 2, 9);
	expect_pop(&rig, 1, 9);
	offer(&rig, 3, 9);
	expect_pop(&rig, -EEXIST, 0);
	ram_destroy(&rig.ram);
}

static void test_D_HEAD_failed_push_gives_the_head_back(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, 16);
	start_at(&rig, 16, AVAIL, 0x8000);
	offer(&rig, 0, 9);
	offer(&rig, 1, 9);
	expect_pop(&rig, 1, 9);
	assert_int_equal(vblk_queue_push(&rig.queue, 9, 1), -EFAULT);
	expect_pop(&rig, 1, 9);
	ram_destroy(&rig.ram);
}

static void test_16_5_27_undo_wraps_next_avail(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, 16);
	vblk_queue_undo_pop(&rig.queue, 0);
	assert_int_equal(rig.queue.next_avail, 65535);
	vblk_queue_undo_pop(&rig.queue, 0);
	assert_int_equal(rig.queue.next_avail, 65534);
	ram_destroy(&rig.ram);
}

static void test_Q12_used_element_and_index_as_bytes(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, 256);
	ram_fill(&rig.ram, USED, 0xee, 0x900);
	rig.queue.next_used = 0x1ff;
	assert_int_equal(vblk_queue_push(&rig.queue, 0xab, 0x12345678), 0);
	ram_expect(&rig.ram, USED, 0xee, 0xee, 0x00, 0x02);
	ram_expect(&rig.ram, USED + 4 + 8 * 255, 0xab, 0, 0, 0, 0x78, 0x56, 0x34, 0x12);
	assert_true(ram_is_filled(&rig.ram, USED + 4, 0xee, 8 * 255));
	assert_true(ram_is_filled(&rig.ram, USED + 4 + 8 * 256, 0xee, 16));
	assert_int_equal(rig.queue.next_used, 0x200);
	assert_int_equal(rig.queue.num_added, 1);
	ram_destroy(&rig.ram);
}

static void test_Q12_head_out_of_range_is_not_published(void **state)
{
	static const uint16_t heads[] = { 16, 255, 256, 0xffff };
	struct rig rig;

	(void)state;
	rig_create(&rig, 16);
	ram_fill(&rig.ram, USED, 0xee, 0x100);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(heads); i++)
		assert_int_equal(vblk_queue_push(&rig.queue, heads[i], 1), -ERANGE);
	assert_true(ram_is_filled(&rig.ram, USED, 0xee, 0x100));
	assert_int_equal(rig.queue.next_used, 0);
	assert_int_equal(rig.queue.num_added, 0);
	ram_destroy(&rig.ram);
}

/* The index must not promise an element that could not be written. */
static void test_Q12_used_element_in_a_hole(void **state)
{
	struct rig rig;

	(void)state;
	ram_create(&rig.ram, { 0, 0x2000 });
	start_at(&rig, 16, AVAIL, 0x1ff4);
	ram_fill(&rig.ram, 0x1ff4, 0, 12);
	assert_int_equal(vblk_queue_push(&rig.queue, 3, 1), 0);
	assert_int_equal(vblk_queue_push(&rig.queue, 4, 1), -EFAULT);
	ram_expect(&rig.ram, 0x1ff4, 0, 0, 1, 0);
	assert_int_equal(rig.queue.next_used, 1);
	assert_int_equal(rig.queue.num_added, 1);
	/* Half of the element is mapped, which is not enough. */
	start_at(&rig, 16, AVAIL, 0x1ff8);
	ram_fill(&rig.ram, 0x1ff8, 0, 4);
	assert_int_equal(vblk_queue_push(&rig.queue, 5, 1), -EFAULT);
	ram_expect(&rig.ram, 0x1ff8, 0, 0, 0, 0);
	assert_int_equal(rig.queue.next_used, 0);
	ram_destroy(&rig.ram);
}

static void test_Q12_used_idx_in_a_hole(void **state)
{
	struct rig rig;

	(void)state;
	ram_create(&rig.ram, { 0, 0x1000 }, { 0x2000, 0x1000 });
	start_at(&rig, 16, AVAIL, 0x1ffc);
	assert_int_equal(vblk_queue_push(&rig.queue, 3, 1), -EFAULT);
	assert_int_equal(rig.queue.next_used, 0);
	assert_int_equal(rig.queue.num_added, 0);
	ram_destroy(&rig.ram);
}

/* Every size goes round until all indices have passed 2^16, with the ring's bytes looked at. */
static void test_Q7_Q12_indices_wrap_at_65536(void **state)
{
	(void)state;
	for (unsigned size = 1; size <= 256; size *= 2) {
		struct rig rig;

		rig_create(&rig, (uint16_t)size);
		for (uint32_t i = 0; i < 65536 + 2 * size; i++) {
			uint16_t head = (uint16_t)((i * 5 + 1) % size);
			const uint8_t *elem;

			offer(&rig, (uint16_t)i, head);
			expect_pop(&rig, 1, head);
			assert_int_equal(rig.queue.next_avail, (uint16_t)(i + 1));
			assert_int_equal(vblk_queue_push(&rig.queue, head, i), 0);
			elem = ram_at(&rig.ram, USED + 4 + 8 * (i % size));
			assert_int_equal(elem[0], head);
			assert_int_equal(elem[4] | elem[5] << 8 | elem[6] << 16, i);
			elem = ram_at(&rig.ram, USED);
			assert_int_equal(elem[2] | elem[3] << 8, (uint16_t)(i + 1));
		}
		assert_int_equal(rig.queue.num_added, (uint16_t)(2 * size));
		ram_destroy(&rig.ram);
	}
}

/* Four rounds over rings whose ends lie in another region than their starts. */
static void check_split_rings(uint64_t avail, uint64_t used)
{
	struct rig rig;

	ram_create(&rig.ram, { 0x2000, 0x800 }, { 0x1000, 0x800 }, { 0x1800, 0x800 },
		   { 0x2800, 0x800 });
	start_at(&rig, 16, avail, used);
	for (uint16_t i = 0; i < 64; i++) {
		const uint8_t *elem;

		offer(&rig, i, i % 16);
		expect_pop(&rig, 1, i % 16);
		assert_int_equal(vblk_queue_push(&rig.queue, i % 16, 0x01020300u + i), 0);
		elem = ram_at(&rig.ram, used + 4 + 8u * (i % 16));
		assert_int_equal(*elem, i % 16);
		elem = ram_at(&rig.ram, used + 8 + 8u * (i % 16));
		assert_memory_equal(elem, ((const uint8_t[]){ (uint8_t)i, 3, 2, 1 }), 4);
		ram_expect(&rig.ram, used + 2, (uint8_t)(i + 1), 0);
	}
	ram_destroy(&rig.ram);
}

static void test_Q4_rings_over_two_regions(void **state)
{
	(void)state;
	/* The seam at 0x1800 or 0x2800 falls before, behind and into every field. */
	for (uint64_t avail = 0x1800 - 0x28; avail <= 0x1802; avail += 2)
		check_split_rings(avail, 0x2000);
	for (uint64_t used = 0x2800 - 0x88; used <= 0x2804; used += 4)
		check_split_rings(0x1000, used);
}

/* The same with nothing behind the seam: what is mapped works, what is not says so. */
static void test_Q4_rings_that_end_in_a_hole(void **state)
{
	struct rig rig;

	(void)state;
	ram_create(&rig.ram, { 0x1000, 0x1000 });
	for (uint64_t used = 0x2000 - 0x88; used < 0x2000; used += 4) {
		start_at(&rig, 16, 0x1000, used);
		for (uint16_t i = 0; i < 16; i++) {
			bool fits = used + 4 + 8u * i + 8 <= 0x2000;

			rig.queue.next_used = i;
			assert_int_equal(vblk_queue_push(&rig.queue, i, 1), fits ? 0 : -EFAULT);
		}
	}
	for (uint64_t avail = 0x2000 - 0x28; avail < 0x1ffe; avail += 2) {
		start_at(&rig, 16, avail, 0x1000);
		for (uint16_t i = 0; i < 16; i++) {
			bool fits = avail + 4 + 2u * i + 2 <= 0x2000;

			rig.queue.next_avail = i;
			if (fits)
				ram_put16(&rig.ram, avail + 4 + 2u * i, i);
			ram_put16(&rig.ram, avail + 2, (uint16_t)(i + 1));
			expect_pop(&rig, fits ? 1 : -EFAULT, i);
		}
	}
	ram_destroy(&rig.ram);
}

/* A ring whose first bytes are in a hole, while index and elements are not. */
static void test_Q4_available_ring_that_starts_in_a_hole(void **state)
{
	struct rig rig;

	(void)state;
	ram_create(&rig.ram, { 0x1000, 0x1000 });
	start_at(&rig, 16, 0xffe, 0x1800);
	offer(&rig, 0, 11);
	expect_pop(&rig, 1, 11);
	expect_pop(&rig, 0, 0);
	ram_destroy(&rig.ram);
}

/* Takes heads 0 to 3, and gives back those of `given`. */
static void take_four(struct rig *rig, uint16_t size, const uint16_t *given, size_t count)
{
	rig_create(rig, size);
	for (uint16_t i = 0; i < 4; i++) {
		offer(rig, i, i);
		expect_pop(rig, 1, i);
	}
	for (size_t i = 0; i < count; i++)
		assert_int_equal(vblk_queue_push(&rig->queue, given[i], 1), 0);
}

/* Rules: D-JOURNAL */
static void test_behind_are_the_last_that_are_all_not_given_back(void **state)
{
	static const struct {
		uint16_t given[4];
		size_t count;
		uint16_t behind;
	} cases[] = {
		{ { 0 }, 0, 4 },    { { 0 }, 1, 3 },	   { { 1 }, 1, 2 },
		{ { 3 }, 1, 0 },    { { 0, 1, 2 }, 3, 1 }, { { 2, 0, 1, 3 }, 4, 0 },
		{ { 1, 0 }, 2, 2 },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		for (uint16_t size = 4; size <= 16; size = (uint16_t)(size * 4)) {
			struct rig rig;

			take_four(&rig, size, cases[i].given, cases[i].count);
			assert_int_equal(vblk_queue_behind(&rig.queue), cases[i].behind);
			ram_destroy(&rig.ram);
		}
	}
}

/* Head 1 was given back at index 1 and is not at index 4. Rules: D-JOURNAL */
static void test_head_that_came_again_is_behind_once(void **state)
{
	static const uint16_t given[] = { 2, 3, 1 };
	struct rig rig;

	(void)state;
	take_four(&rig, 16, given, 3);
	offer(&rig, 4, 1);
	expect_pop(&rig, 1, 1);
	assert_int_equal(vblk_queue_behind(&rig.queue), 1);
	offer(&rig, 5, 3);
	expect_pop(&rig, 1, 3);
	assert_int_equal(vblk_queue_behind(&rig.queue), 2);
	vblk_queue_undo_pop(&rig.queue, 3);
	assert_int_equal(vblk_queue_behind(&rig.queue), 1);
	ram_destroy(&rig.ram);
}

/* What another took is in the ring; what cannot be read is nobody's. Rules: D-JOURNAL */
static void test_heads_of_another_are_recalled_from_the_ring(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, 16);
	for (uint16_t i = 0; i < 3; i++)
		offer(&rig, i, (uint16_t)(i + 5));
	vblk_queue_adopt(&rig.queue, 6);
	vblk_queue_adopt(&rig.queue, 7);
	vblk_queue_recall(&rig.queue, 1, 3);
	vblk_queue_continue(&rig.queue, 3, 1);
	assert_int_equal(vblk_queue_behind(&rig.queue), 2);
	vblk_queue_recall(&rig.queue, 3, 2);
	assert_int_equal(vblk_queue_behind(&rig.queue), 2);
	start_at(&rig, 16, 0x8000, USED);
	vblk_queue_adopt(&rig.queue, 0);
	vblk_queue_recall(&rig.queue, 0, 1);
	vblk_queue_continue(&rig.queue, 1, 0);
	assert_int_equal(vblk_queue_behind(&rig.queue), 0);
	ram_destroy(&rig.ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_Q6_queue_that_is_not_ready),
		cmocka_unit_test(test_Q6_available_ring_at_0_is_none),
		cmocka_unit_test(test_Q6_avail_idx_in_a_hole),
		cmocka_unit_test(test_Q6_distance_equal_to_size_is_fine),
		cmocka_unit_test(test_Q6_distance_above_size_is_refused),
		cmocka_unit_test(test_Q6_avail_idx_is_read_every_time),
		cmocka_unit_test(test_Q7_nothing_available),
		cmocka_unit_test(test_Q7_available_ring_is_little_endian),
		cmocka_unit_test(test_D_HOLE_1_ring_element_in_a_hole),
		cmocka_unit_test(test_Q8_head_out_of_range_is_handed_on),
		cmocka_unit_test(test_D_HEAD_duplicate_of_each_head_is_refused),
		cmocka_unit_test(test_D_HEAD_all_heads_in_flight_at_once),
		cmocka_unit_test(test_D_HEAD_given_back_head_may_come_again),
		cmocka_unit_test(test_D_HEAD_failed_push_gives_the_head_back),
		cmocka_unit_test(test_16_5_27_undo_wraps_next_avail),
		cmocka_unit_test(test_Q12_used_element_and_index_as_bytes),
		cmocka_unit_test(test_Q12_head_out_of_range_is_not_published),
		cmocka_unit_test(test_Q12_used_element_in_a_hole),
		cmocka_unit_test(test_Q12_used_idx_in_a_hole),
		cmocka_unit_test(test_Q7_Q12_indices_wrap_at_65536),
		cmocka_unit_test(test_Q4_rings_over_two_regions),
		cmocka_unit_test(test_Q4_rings_that_end_in_a_hole),
		cmocka_unit_test(test_Q4_available_ring_that_starts_in_a_hole),
		cmocka_unit_test(test_behind_are_the_last_that_are_all_not_given_back),
		cmocka_unit_test(test_head_that_came_again_is_behind_once),
		cmocka_unit_test(test_heads_of_another_are_recalled_from_the_ring),
	};

	return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
