/* SPDX-License-Identifier: MIT */
/*
 * The record of requests in flight, with a back end that is killed after each of its stores in
 * turn. The source is included, so that the test is there whenever it has stored something.
 */
static void stored(void);

#define VBLK_VHOST_INFLIGHT_STORED() stored()
/* NOLINTNEXTLINE(bugprone-suspicious-include): see above */
#include "vhost/inflight_layout.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/checked.h"

#define SIZE 8u /* entries of the ring */

/* What outlives the back end: the record, and the part of the ring that counts. */
static struct {
	_Alignas(VBLK_VHOST_INFLIGHT_ALIGN) uint8_t area[16 + 16 * SIZE + 64];
	uint16_t used_idx;
} shared;

static struct {
	jmp_buf dead;
	bool armed;
	unsigned left; /* stores until the end */
} killer;

static void stored(void)
{
	if (killer.armed && killer.left-- == 0) {
		killer.armed = false;
		longjmp(killer.dead, 1);
	}
}

/* What the outside world knows: who was taken, in which order, and who was answered. */
static struct {
	uint16_t taken[64]; /* heads in the order of their claims */
	bool answered[64];
	unsigned count;
	unsigned claiming; /* 1 during a claim: the last one may not be marked yet */
} world;

static struct vblk_vhost_inflight_queue *queue(void)
{
	return (struct vblk_vhost_inflight_queue *)(void *)shared.area;
}

static struct vblk_vhost_inflight_desc *desc(uint16_t head)
{
	return &queue()->desc[head];
}

static int open_log(struct vblk_vhost_inflight *log, struct vblk_vhost_recovery *recovery)
{
	return vblk_vhost_inflight_open(log, queue(), SIZE, SIZE, shared.used_idx, recovery);
}

/* An area in use, and nothing in flight. */
static void begin(struct vblk_vhost_inflight *log, uint16_t used_idx)
{
	struct vblk_vhost_recovery recovery = { 0 };

	killer.armed = false;
	memset(&shared, 0, sizeof(shared));
	memset(&world, 0, sizeof(world));
	shared.used_idx = used_idx;
	*log = (struct vblk_vhost_inflight){ 0 };
	assert_int_equal(open_log(log, &recovery), 0);
	assert_int_equal(recovery.count, 0);
}

static void take(struct vblk_vhost_inflight *log, uint16_t head)
{
	world.claiming = 1;
	world.taken[world.count++] = head;
	vblk_vhost_inflight_claim(log, head);
	world.claiming = 0;
}

static void answer(struct vblk_vhost_inflight *log, const uint16_t *heads, uint16_t count)
{
	for (uint16_t i = 0; i < count; i++)
		vblk_vhost_inflight_prepare(log, heads[i]);
	/* One store publishes the batch, and the world knows. */
	for (unsigned i = 0; i < world.count; i++) {
		for (uint16_t k = 0; k < count; k++) {
			if (world.taken[i] == heads[k])
				world.answered[i] = true;
		}
	}
	put16(&shared.used_idx, (uint16_t)(shared.used_idx + count));
	vblk_vhost_inflight_commit(log, heads, count, shared.used_idx);
}

/* Batches of one, two, three and all; in order and not; heads that come again. */
static void work(struct vblk_vhost_inflight *log)
{
	take(log, 3);
	take(log, 0);
	take(log, 7);
	answer(log, (uint16_t[]){ 0 }, 1);
	take(log, 0);
	take(log, 5);
	answer(log, (uint16_t[]){ 5, 3 }, 2);
	take(log, 3);
	take(log, 1);
	take(log, 2);
	answer(log, (uint16_t[]){ 1, 7, 0 }, 3);
	take(log, 7);
	answer(log, (uint16_t[]){ 7, 2, 3 }, 3);
	for (uint16_t head = 0; head < SIZE; head++)
		take(log, head);
	answer(log, (uint16_t[]){ 7, 6, 5, 4, 3, 2, 1, 0 }, SIZE);
	take(log, 4);
}

/* The heads that are to come back, in order. */
static unsigned expected(uint16_t heads[static 64])
{
	unsigned count = 0;

	for (unsigned i = 0; i < world.count; i++) {
		if (!world.answered[i])
			heads[count++] = world.taken[i];
	}
	return count;
}

static void assert_recovered(const struct vblk_vhost_recovery *recovery)
{
	uint16_t heads[64];
	unsigned count = expected(heads);

	/* A claim that was cut short was perhaps none: then the ring offers the head again. */
	if (world.claiming && recovery->count == count - 1)
		count--;
	assert_int_equal(recovery->count, count);
	assert_memory_equal(recovery->heads, heads, count * sizeof(heads[0]));
}

/* Works until store number `stop` is done; false if the work was done before. */
static bool work_until(unsigned stop, uint16_t used_idx)
{
	struct vblk_vhost_inflight log;

	begin(&log, used_idx);
	if (setjmp(killer.dead) != 0)
		return true;
	killer.left = stop;
	killer.armed = true;
	work(&log);
	killer.armed = false;
	return false;
}

static void test_recovery_is_right_after_every_store(void **state)
{
	unsigned stops = 0;

	(void)state;
	/* The second time the ring's index wraps on the way. */
	for (uint32_t used_idx = 0; used_idx <= 65530; used_idx += 65530) {
		for (unsigned stop = 0; work_until(stop, (uint16_t)used_idx); stop++) {
			struct vblk_vhost_recovery recovery = { 0 };
			struct vblk_vhost_inflight log;

			assert_int_equal(open_log(&log, &recovery), 0);
			assert_recovered(&recovery);
			assert_int_equal(queue()->used_idx, shared.used_idx);
			stops++;
		}
	}
	/* 2 for each of 18 claims, 3 for each of 17 answers, 2 for each of 5 batches. */
	assert_int_equal(stops, 2 * (2 * 18 + 3 * 17 + 2 * 5));
}

/* Opens what is there, and is killed after store number `stop`; false if there are not so many. */
static bool open_until(unsigned stop)
{
	struct vblk_vhost_recovery recovery = { 0 };
	struct vblk_vhost_inflight log;

	if (setjmp(killer.dead) != 0)
		return true;
	killer.left = stop;
	killer.armed = true;
	if (open_log(&log, &recovery) != 0)
		fail_msg("the record is refused");
	killer.armed = false;
	return false;
}

static void test_recovery_may_be_killed_and_repeated(void **state)
{
	(void)state;
	for (unsigned stop = 0; work_until(stop, 65530); stop++) {
		bool killed = true;

		for (unsigned again = 0; killed; again++) {
			struct vblk_vhost_recovery recovery = { 0 };
			struct vblk_vhost_inflight log;

			assert_true(work_until(stop, 65530));
			killed = open_until(again);
			assert_int_equal(open_log(&log, &recovery), 0);
			assert_recovered(&recovery);
		}
	}
}

/* Whoever takes over goes on with the work, and is killed too. */
static void test_successor_keeps_the_order(void **state)
{
	struct vblk_vhost_recovery recovery = { 0 };
	struct vblk_vhost_inflight log;

	(void)state;
	begin(&log, 0);
	take(&log, 6);
	take(&log, 2);
	take(&log, 4);
	assert_int_equal(open_log(&log, &recovery), 0);
	assert_recovered(&recovery);
	answer(&log, (uint16_t[]){ 2 }, 1);
	take(&log, 2);
	take(&log, 0);
	assert_int_equal(open_log(&log, &recovery), 0);
	assert_recovered(&recovery);
	assert_int_equal(recovery.count, 4);
	assert_int_equal(recovery.heads[2], 2);
}

/* It was linked twice by two back ends, and is still one. */
static void test_head_prepared_in_vain_is_answered_by_the_successor(void **state)
{
	struct vblk_vhost_recovery recovery = { 0 };
	struct vblk_vhost_inflight log;

	(void)state;
	begin(&log, 0);
	take(&log, 6);
	take(&log, 2);
	vblk_vhost_inflight_prepare(&log, 6);
	assert_int_equal(open_log(&log, &recovery), 0);
	assert_recovered(&recovery);
	vblk_vhost_inflight_prepare(&log, 2);
	vblk_vhost_inflight_prepare(&log, 6);
	shared.used_idx = 2;
	assert_int_equal(open_log(&log, &recovery), 0);
	assert_int_equal(recovery.count, 0);
}

static void test_layout_is_that_of_the_protocol(void **state)
{
	(void)state;
	assert_int_equal(offsetof(struct vblk_vhost_inflight_queue, features), 0);
	assert_int_equal(offsetof(struct vblk_vhost_inflight_queue, version), 8);
	assert_int_equal(offsetof(struct vblk_vhost_inflight_queue, desc_num), 10);
	assert_int_equal(offsetof(struct vblk_vhost_inflight_queue, last_batch_head), 12);
	assert_int_equal(offsetof(struct vblk_vhost_inflight_queue, used_idx), 14);
	assert_int_equal(offsetof(struct vblk_vhost_inflight_queue, desc), 16);
	assert_int_equal(offsetof(struct vblk_vhost_inflight_desc, inflight), 0);
	assert_int_equal(offsetof(struct vblk_vhost_inflight_desc, next), 6);
	assert_int_equal(offsetof(struct vblk_vhost_inflight_desc, counter), 8);
}

static void test_areas_are_aligned(void **state)
{
	static const struct {
		uint16_t desc_num;
		uint64_t stride;
	} cases[] = { { 1, 64 },     { 2, 64 },	    { 3, 64 },	      { 4, 128 },
		      { 128, 2112 }, { 256, 4160 }, { 32768, 524352 } };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++)
		assert_int_equal(vblk_vhost_inflight_stride(cases[i].desc_num), cases[i].stride);
}

static void test_new_area_is_formatted(void **state)
{
	struct vblk_vhost_inflight log;

	(void)state;
	begin(&log, 1234);
	assert_int_equal(queue()->version, 1);
	assert_int_equal(queue()->features, 0);
	assert_int_equal(queue()->desc_num, SIZE);
	assert_int_equal(queue()->used_idx, 1234);
}

static bool format_until(unsigned stop)
{
	if (setjmp(killer.dead) != 0)
		return true;
	killer.left = stop;
	killer.armed = true;
	vblk_vhost_inflight_format(queue(), SIZE, shared.used_idx);
	killer.armed = false;
	return false;
}

/* Garbage before, and killed on the way: it is empty all the same. */
static void test_format_may_be_killed(void **state)
{
	bool killed = true;

	(void)state;
	for (unsigned stop = 0; killed; stop++) {
		struct vblk_vhost_recovery recovery = { 0 };
		struct vblk_vhost_inflight log;

		memset(&shared, 0xa5, sizeof(shared));
		shared.used_idx = 7;
		killed = format_until(stop);
		assert_int_equal(open_log(&log, &recovery), 0);
		assert_int_equal(recovery.count, 0);
		for (uint16_t i = 0; i < SIZE; i++)
			assert_int_equal(desc(i)->inflight, 0);
		assert_int_equal(shared.area[16 + 16 * SIZE], 0xa5);
	}
}

/* The driver has reset the device: its ring begins at 0, and nothing was in flight. */
static void test_ring_that_began_anew_is_taken_as_it_is(void **state)
{
	struct vblk_vhost_recovery recovery = { 0 };
	struct vblk_vhost_inflight log;

	(void)state;
	begin(&log, 40000);
	shared.used_idx = 0;
	assert_int_equal(open_log(&log, &recovery), 0);
	assert_int_equal(recovery.count, 0);
	assert_int_equal(queue()->used_idx, 0);
}

static void test_area_that_is_not_ours_is_refused(void **state)
{
	struct vblk_vhost_recovery recovery = { 0 };
	struct vblk_vhost_inflight log;

	(void)state;
	begin(&log, 0);
	queue()->version = 2;
	assert_int_equal(open_log(&log, &recovery), -ENOTSUP);
	begin(&log, 0);
	queue()->features = 1;
	assert_int_equal(open_log(&log, &recovery), -ENOTSUP);
	begin(&log, 0);
	queue()->desc_num = SIZE + 1;
	assert_int_equal(open_log(&log, &recovery), -ENOTSUP);
}

static void test_arguments_are_checked(void **state)
{
	struct vblk_vhost_inflight_queue *odd = (void *)(shared.area + 8);
	struct vblk_vhost_recovery recovery = { 0 };
	struct vblk_vhost_inflight log;

	(void)state;
	begin(&log, 0);
	assert_int_equal(vblk_vhost_inflight_open(&log, odd, SIZE, SIZE, 0, &recovery), -EINVAL);
	assert_int_equal(vblk_vhost_inflight_open(&log, queue(), SIZE, 0, 0, &recovery), -EINVAL);
	assert_int_equal(vblk_vhost_inflight_open(&log, queue(), SIZE, SIZE + 1, 0, &recovery),
			 -EINVAL);
	assert_int_equal(vblk_vhost_inflight_open(&log, queue(), 32768, VBLK_QUEUE_SIZE_MAX + 1, 0,
						  &recovery),
			 -EINVAL);
	/* A ring may be shorter than its area: marks behind it are none of its heads. */
	desc(4)->inflight = 1;
	assert_int_equal(vblk_vhost_inflight_open(&log, queue(), SIZE, 4, 0, &recovery), 0);
	assert_int_equal(recovery.count, 0);
}

/* Heads 6, 2 and 4 in flight, of which 4 and 6 were answered in one batch and not cleared. */
static void begin_uncleared(struct vblk_vhost_inflight *log)
{
	begin(log, 0);
	take(log, 6);
	take(log, 2);
	take(log, 4);
	vblk_vhost_inflight_prepare(log, 4);
	vblk_vhost_inflight_prepare(log, 6);
	shared.used_idx = 2;
}

static void assert_damaged(void)
{
	uint8_t before[sizeof(shared.area)];
	struct vblk_vhost_recovery recovery = { 0 };
	struct vblk_vhost_inflight log;

	memcpy(before, shared.area, sizeof(before));
	assert_int_equal(open_log(&log, &recovery), -EBADMSG);
	assert_memory_equal(before, shared.area, sizeof(before));
}

static void test_area_that_contradicts_itself_is_refused(void **state)
{
	struct vblk_vhost_recovery recovery = { 0 };
	struct vblk_vhost_inflight log;

	(void)state;
	begin_uncleared(&log);
	assert_int_equal(open_log(&log, &recovery), 0);
	assert_int_equal(recovery.count, 1);
	assert_int_equal(recovery.heads[0], 2);
	begin_uncleared(&log);
	desc(1)->inflight = 2;
	assert_damaged();
	begin_uncleared(&log);
	desc(2)->counter = 1ull << 63;
	assert_damaged();
	begin_uncleared(&log);
	queue()->last_batch_head = SIZE;
	assert_damaged();
	begin_uncleared(&log);
	desc(6)->next = UINT16_MAX;
	assert_damaged();
	begin_uncleared(&log);
	desc(6)->next = 6;
	assert_damaged();
	begin_uncleared(&log);
	shared.used_idx = SIZE + 1;
	assert_damaged();
}

static void test_equal_counters_keep_the_order_of_heads(void **state)
{
	struct vblk_vhost_recovery recovery = { 0 };
	struct vblk_vhost_inflight log;

	(void)state;
	begin(&log, 0);
	for (uint16_t head = 0; head < SIZE; head++) {
		desc(head)->inflight = 1;
		desc(head)->counter = INT64_MAX;
	}
	assert_int_equal(open_log(&log, &recovery), 0);
	assert_int_equal(recovery.count, SIZE);
	for (uint16_t head = 0; head < SIZE; head++)
		assert_int_equal(recovery.heads[head], head);
}

/* Whatever is in the area, opening it ends, and what comes out are heads of the ring, each once. */
static void test_garbage_does_no_harm(void **state)
{
	uint32_t random = 1;
	unsigned opened = 0;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		struct vblk_vhost_recovery recovery = { 0 };
		struct vblk_vhost_inflight log;
		unsigned seen = 0;

		begin(&log, 0);
		for (unsigned i = 12; i < 16 + 16 * SIZE; i++) {
			random = random * 1664525 + 1013904223;
			shared.area[i] = random >> 30 ? 0 : (uint8_t)(random >> 16 & 7);
		}
		shared.used_idx = (uint16_t)(random >> 8 & 7);
		if (open_log(&log, &recovery) < 0)
			continue;
		opened++;
		for (uint16_t i = 0; i < recovery.count; i++) {
			assert_true(recovery.heads[i] < SIZE);
			assert_false(seen >> recovery.heads[i] & 1);
			seen |= 1u << recovery.heads[i];
		}
	}
	assert_in_range(opened, 100, 19900);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recovery_is_right_after_every_store),
		cmocka_unit_test(test_recovery_may_be_killed_and_repeated),
		cmocka_unit_test(test_successor_keeps_the_order),
		cmocka_unit_test(test_head_prepared_in_vain_is_answered_by_the_successor),
		cmocka_unit_test(test_layout_is_that_of_the_protocol),
		cmocka_unit_test(test_areas_are_aligned),
		cmocka_unit_test(test_new_area_is_formatted),
		cmocka_unit_test(test_format_may_be_killed),
		cmocka_unit_test(test_ring_that_began_anew_is_taken_as_it_is),
		cmocka_unit_test(test_area_that_is_not_ours_is_refused),
		cmocka_unit_test(test_arguments_are_checked),
		cmocka_unit_test(test_area_that_contradicts_itself_is_refused),
		cmocka_unit_test(test_equal_counters_keep_the_order_of_heads),
		cmocka_unit_test(test_garbage_does_no_harm),
	};

	return cmocka_run_group_tests_name("vhost_inflight", tests, NULL, NULL);
}
