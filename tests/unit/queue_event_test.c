/* SPDX-License-Identifier: MIT */
/*
 * Notifications in both directions: when the driver is asked to notify, and whether it wants an
 * interrupt. Names begin with the rule of the contract (section 5.5) or the case of its catalogue.
 */
#include "ram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/checked.h"

#define SIZE	    16u
#define AVAIL	    0x1000u
#define USED	    0x2000u
#define USED_EVENT  (AVAIL + 4 + 2 * SIZE)
#define AVAIL_EVENT (USED + 4 + 8 * SIZE)

struct rig {
	struct ram ram;
	struct vblk_queue queue;
};

static void start_at(struct rig *rig, bool event_idx, uint64_t avail, uint64_t used)
{
	const struct vblk_queue_layout layout = { SIZE, true, 0, avail, used };

	vblk_queue_start(&rig->queue, &layout, event_idx, rig->ram.memory);
}

static void rig_create(struct rig *rig, bool event_idx)
{
	ram_create(&rig->ram, { 0, 0x4000 });
	start_at(rig, event_idx, AVAIL, USED);
}

static void test_Q14_disable_sets_no_notify(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	ram_fill(&rig.ram, USED, 0xee, 0x100);
	assert_int_equal(vblk_queue_disable_notifications(&rig.queue), 0);
	ram_expect(&rig.ram, USED, 0x01, 0x00, 0xee);
	assert_true(ram_is_filled(&rig.ram, USED + 2, 0xee, 0xfe));
	ram_destroy(&rig.ram);
}

static void test_Q14_disable_with_event_idx_writes_nothing(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, true);
	ram_fill(&rig.ram, USED, 0xee, 0x100);
	assert_int_equal(vblk_queue_disable_notifications(&rig.queue), 0);
	assert_true(ram_is_filled(&rig.ram, USED, 0xee, 0x100));
	start_at(&rig, true, AVAIL, 0x10000);
	assert_int_equal(vblk_queue_disable_notifications(&rig.queue), 0);
	ram_destroy(&rig.ram);
}

static void test_Q14_Q15_used_flags_in_a_hole(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	start_at(&rig, false, AVAIL, 0x4000);
	assert_int_equal(vblk_queue_disable_notifications(&rig.queue), -EFAULT);
	assert_int_equal(vblk_queue_enable_notifications(&rig.queue), -EFAULT);
	ram_destroy(&rig.ram);
}

static void test_Q15_enable_clears_flags(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	ram_fill(&rig.ram, USED, 0xee, 0x100);
	assert_int_equal(vblk_queue_enable_notifications(&rig.queue), 0);
	ram_expect(&rig.ram, USED, 0x00, 0x00, 0xee);
	assert_true(ram_is_filled(&rig.ram, USED + 2, 0xee, 0xfe));
	ram_destroy(&rig.ram);
}

static void test_Q15_enable_with_event_idx_sets_avail_event(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, true);
	ram_fill(&rig.ram, USED, 0xee, 0x100);
	rig.queue.next_avail = 0xabcd;
	ram_put16(&rig.ram, AVAIL + 2, 0xabcd);
	assert_int_equal(vblk_queue_enable_notifications(&rig.queue), 0);
	ram_expect(&rig.ram, AVAIL_EVENT, 0xcd, 0xab);
	assert_true(ram_is_filled(&rig.ram, USED, 0xee, AVAIL_EVENT - USED));
	assert_true(ram_is_filled(&rig.ram, AVAIL_EVENT + 2, 0xee, 8));
	ram_destroy(&rig.ram);
}

static void test_Q15_enable_looks_once_more(void **state)
{
	static const struct {
		uint16_t next_avail;
		uint16_t idx;
		int want;
	} cases[] = {
		{ 0, 0, 0 },	  { 0, 1, 1 },	    { 0xffff, 0xffff, 0 },
		{ 0xffff, 0, 1 }, { 5, 0x0105, 1 }, /* both bytes count */
		{ 0, 1000, 1 }, /* further than the queue is long: the next pop will see */
		{ 1, 0, 1 },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases) * 2; i++) {
		struct rig rig;

		rig_create(&rig, i % 2);
		rig.queue.next_avail = cases[i / 2].next_avail;
		ram_put16(&rig.ram, AVAIL + 2, cases[i / 2].idx);
		assert_int_equal(vblk_queue_enable_notifications(&rig.queue), cases[i / 2].want);
		ram_destroy(&rig.ram);
	}
}

static void test_Q15_avail_event_in_a_hole(void **state)
{
	struct rig rig;

	(void)state;
	ram_create(&rig.ram, { 0x1000, 0x1000 });
	start_at(&rig, true, AVAIL, 0x2000 - 4 - 8 * SIZE);
	assert_int_equal(vblk_queue_push(&rig.queue, SIZE - 1, 1), 0);
	assert_int_equal(vblk_queue_enable_notifications(&rig.queue), -EFAULT);
	/* Without event-idx the field does not exist. */
	start_at(&rig, false, AVAIL, 0x2000 - 4 - 8 * SIZE);
	assert_int_equal(vblk_queue_enable_notifications(&rig.queue), 0);
	ram_destroy(&rig.ram);
}

static void test_Q15_avail_event_in_another_region(void **state)
{
	struct rig rig;

	(void)state;
	ram_create(&rig.ram, { 0x2000, 0x1000 }, { 0x1000, 0x1000 });
	start_at(&rig, true, AVAIL, 0x2000 - 4 - 8 * SIZE);
	rig.queue.next_avail = 0x1234;
	assert_int_equal(vblk_queue_enable_notifications(&rig.queue), 1);
	ram_expect(&rig.ram, 0x2000, 0x34, 0x12);
	ram_destroy(&rig.ram);
}

static void test_Q15_avail_idx_in_a_hole(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	for (int event_idx = 0; event_idx < 2; event_idx++) {
		start_at(&rig, event_idx, 0x8000, USED);
		assert_int_equal(vblk_queue_enable_notifications(&rig.queue), -EFAULT);
	}
	ram_destroy(&rig.ram);
}

static void test_16_4_13_disable_and_enable_toggle_used_flags(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	for (int i = 0; i < 2; i++) {
		ram_expect(&rig.ram, USED, 0, 0);
		assert_int_equal(vblk_queue_disable_notifications(&rig.queue), 0);
		ram_expect(&rig.ram, USED, 1, 0);
		assert_int_equal(vblk_queue_enable_notifications(&rig.queue), 0);
	}
	ram_expect(&rig.ram, USED, 0, 0);
	ram_destroy(&rig.ram);
}

/* Neither used_event nor the flag NO_INTERRUPT (avail.flags bit 0) is heard. */
static void test_Q16_without_event_idx_always(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	ram_put16(&rig.ram, AVAIL, 1);
	ram_put16(&rig.ram, USED_EVENT, 0xffff);
	assert_int_equal(vblk_queue_push(&rig.queue, 0, 1), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vblk_queue_needs_interrupt(&rig.queue), 1);
		assert_int_equal(rig.queue.num_added, 1);
	}
	start_at(&rig, false, 0x8000, USED);
	assert_int_equal(vblk_queue_needs_interrupt(&rig.queue), 1);
	ram_destroy(&rig.ram);
}

/*
 * An interrupt is wanted if used.idx moved past used_event: if one of the elements published since
 * the last question carried that index. Every used_event, around the wrap and away from it.
 */
static void test_Q16_event_idx_is_wanted_when_passed(void **state)
{
	static const uint16_t olds[] = { 0, 100, 0x7ff0, 0xfff5, 0xffff };
	struct rig rig;

	(void)state;
	rig_create(&rig, true);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(olds) * (SIZE + 1); i++) {
		uint16_t old = olds[i / (SIZE + 1)];
		uint16_t added = (uint16_t)(i % (SIZE + 1));

		for (uint32_t event = 0; event <= 0xffff; event++) {
			bool want = false;

			for (uint16_t k = 0; k < added; k++)
				want = want || (uint16_t)(old + k) == event;
			rig.queue.next_used = (uint16_t)(old + added);
			rig.queue.num_added = added;
			*ram_at(&rig.ram, USED_EVENT) = (uint8_t)event;
			*ram_at(&rig.ram, USED_EVENT + 1) = (uint8_t)(event >> 8);
			if (vblk_queue_needs_interrupt(&rig.queue) != want)
				fail_msg("old %u added %u used_event %u", old, added, event);
			if (rig.queue.num_added != 0)
				fail_msg("num_added is not forgotten");
		}
	}
	ram_destroy(&rig.ram);
}

static void test_Q16_question_is_forgotten(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, true);
	assert_int_equal(vblk_queue_push(&rig.queue, 0, 1), 0);
	ram_put16(&rig.ram, USED_EVENT, 0);
	assert_int_equal(vblk_queue_needs_interrupt(&rig.queue), 1);
	assert_int_equal(vblk_queue_needs_interrupt(&rig.queue), 0);
	ram_destroy(&rig.ram);
}

static void test_16_4_11_successive_batches_span_the_threshold(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, true);
	ram_put16(&rig.ram, USED_EVENT, 2);
	assert_int_equal(vblk_queue_push(&rig.queue, 0, 1), 0);
	assert_int_equal(vblk_queue_needs_interrupt(&rig.queue), 0);
	assert_int_equal(vblk_queue_push(&rig.queue, 1, 1), 0);
	assert_int_equal(vblk_queue_push(&rig.queue, 2, 1), 0);
	assert_int_equal(vblk_queue_needs_interrupt(&rig.queue), 1);
	ram_destroy(&rig.ram);
}

/* Nothing is forgotten: once the field can be read, the whole batch is asked about. */
static void test_16_4_12_used_event_in_a_hole(void **state)
{
	struct rig rig;

	(void)state;
	ram_create(&rig.ram, { 0, 0xa000 }, { 0xb000, 0x1000 });
	start_at(&rig, true, 0x9fdc, 0xb000);
	assert_int_equal(vblk_queue_push(&rig.queue, 0, 1), 0);
	assert_int_equal(vblk_queue_push(&rig.queue, 1, 1), 0);
	assert_int_equal(vblk_queue_needs_interrupt(&rig.queue), -EFAULT);
	assert_int_equal(rig.queue.num_added, 2);
	ram_destroy(&rig.ram);
}

static void test_Q16_used_event_in_another_region(void **state)
{
	struct rig rig;

	(void)state;
	ram_create(&rig.ram, { 0xa000, 0x1000 }, { 0, 0xa000 });
	start_at(&rig, true, 0x9fdc, USED);
	ram_put16(&rig.ram, 0xa000, 0);
	assert_int_equal(vblk_queue_push(&rig.queue, 0, 1), 0);
	assert_int_equal(vblk_queue_needs_interrupt(&rig.queue), 1);
	ram_put16(&rig.ram, 0xa000, 0x100);
	assert_int_equal(vblk_queue_push(&rig.queue, 1, 1), 0);
	assert_int_equal(vblk_queue_needs_interrupt(&rig.queue), 0);
	ram_destroy(&rig.ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_Q14_disable_sets_no_notify),
		cmocka_unit_test(test_Q14_disable_with_event_idx_writes_nothing),
		cmocka_unit_test(test_Q14_Q15_used_flags_in_a_hole),
		cmocka_unit_test(test_Q15_enable_clears_flags),
		cmocka_unit_test(test_Q15_enable_with_event_idx_sets_avail_event),
		cmocka_unit_test(test_Q15_enable_looks_once_more),
		cmocka_unit_test(test_Q15_avail_event_in_a_hole),
		cmocka_unit_test(test_Q15_avail_event_in_another_region),
		cmocka_unit_test(test_Q15_avail_idx_in_a_hole),
		cmocka_unit_test(test_16_4_13_disable_and_enable_toggle_used_flags),
		cmocka_unit_test(test_Q16_without_event_idx_always),
		cmocka_unit_test(test_Q16_event_idx_is_wanted_when_passed),
		cmocka_unit_test(test_Q16_question_is_forgotten),
		cmocka_unit_test(test_16_4_11_successive_batches_span_the_threshold),
		cmocka_unit_test(test_16_4_12_used_event_in_a_hole),
		cmocka_unit_test(test_Q16_used_event_in_another_region),
	};

	return cmocka_run_group_tests_name("queue_event", tests, NULL, NULL);
}
