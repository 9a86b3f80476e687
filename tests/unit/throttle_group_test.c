/* SPDX-License-Identifier: MIT */
/* The limits of a disk with several queues: who waits, who is next, who is woken. */
#include "throttle/group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"

#define QUEUES 4
#define MS     1000000ull

static struct {
	uint64_t now;
	struct vblk_throttle_group *group;
	struct vblk_throttle_member member[QUEUES];
	unsigned wakes[QUEUES];
	uint64_t wait;
} t;

static uint64_t read_clock(void *context)
{
	(void)context;
	return t.now;
}

static void count_wake(void *context)
{
	(*(unsigned *)context)++;
}

static void begin(const struct vblk_throttle *limits)
{
	const struct vblk_clock clock = { read_clock, NULL };

	memset(&t, 0, sizeof(t));
	assert_int_equal(vblk_throttle_group_create(limits, &clock, &t.group), 0);
	for (size_t i = 0; i < QUEUES; i++)
		vblk_throttle_join(&t.member[i], t.group, count_wake, &t.wakes[i]);
}

static void end(void)
{
	for (size_t i = 0; i < QUEUES; i++)
		vblk_throttle_leave(&t.member[i]);
	vblk_throttle_group_unref(t.group);
}

static bool try(unsigned queue, uint64_t bytes)
{
	t.wait = 0;
	return vblk_throttle_pass(&t.member[queue], bytes, &t.wait);
}

static void without_limits_everything_passes(void **state)
{
	(void)state;
	begin(&(struct vblk_throttle){ 0 });
	for (unsigned i = 0; i < 1000; i++)
		assert_true(try(i % QUEUES, UINT64_MAX));
	assert_int_equal(t.wait, 0);
	end();
}

static void one_queue_waits_exactly_as_long_as_its_bucket_says(void **state)
{
	(void)state;
	begin(&(struct vblk_throttle){ .iops = 10 });
	for (unsigned i = 0; i < 10; i++)
		assert_true(try(0, 0));
	assert_false(try(0, 0));
	assert_int_equal(t.wait, 100 * MS);
	t.now += 100 * MS - 1;
	assert_false(try(0, 0));
	assert_int_equal(t.wait, 1);
	t.now++;
	assert_true(try(0, 0));
	assert_int_equal(t.wakes[0], 0);
	end();
}

/* The buckets are those of the disk: what one queue takes, another has not. */
static void queues_share_the_buckets(void **state)
{
	(void)state;
	begin(&(struct vblk_throttle){ .bps = 1000 });
	assert_true(try(0, 600));
	assert_true(try(1, 400));
	assert_false(try(2, 1));
	assert_int_equal(t.wait, MS);
	end();
}

static void who_came_first_goes_first(void **state)
{
	(void)state;
	begin(&(struct vblk_throttle){ .iops = 10 });
	for (unsigned i = 0; i < 10; i++)
		assert_true(try(0, 0));
	assert_false(try(2, 0));
	assert_false(try(1, 0));
	assert_true(t.wait == VBLK_THROTTLE_TURN);
	assert_false(try(0, 0));
	t.now += 200 * MS;
	/* There are tokens for two, and they are the first two's. */
	assert_false(try(0, 0));
	assert_false(try(1, 0));
	assert_true(try(2, 0));
	assert_int_equal(t.wakes[1], 1);
	assert_false(try(0, 0));
	/* Behind the others, with the next request. */
	assert_false(try(2, 0));
	assert_true(t.wait == VBLK_THROTTLE_TURN);
	assert_true(try(1, 0));
	assert_int_equal(t.wakes[0], 1);
	assert_false(try(0, 0));
	assert_int_equal(t.wait, 100 * MS);
	t.now += 100 * MS;
	assert_true(try(0, 0));
	assert_int_equal(t.wakes[2], 1);
	end();
}

/* Small requests of one queue do not starve the large ones of another. */
static void a_large_request_is_not_overtaken(void **state)
{
	unsigned passed = 0;

	(void)state;
	begin(&(struct vblk_throttle){ .bps = 1000000 });
	assert_true(try(0, 1000000));
	assert_false(try(1, 500000));
	for (unsigned i = 0; i < 500; i++) {
		assert_false(try(0, 10));
		t.now += MS;
	}
	assert_true(try(1, 500000));
	while (try(0, 10))
		passed++;
	assert_int_equal(passed, 0);
	end();
}

/* Four queues that always have something get a quarter each, whatever the size. */
static void busy_queues_get_the_same_number_of_turns(void **state)
{
	static const uint64_t size[QUEUES] = { 1, 10, 100, 1000 };
	unsigned turns[QUEUES] = { 0 };

	(void)state;
	begin(&(struct vblk_throttle){ .iops = 100, .bps = 100000 });
	for (unsigned ms = 0; ms < 10000; ms++, t.now += MS) {
		for (unsigned i = 0; i < QUEUES; i++) {
			if (try(i, size[i]))
				turns[i]++;
		}
	}
	for (unsigned i = 0; i < QUEUES; i++)
		assert_in_range(turns[i], 270, 280);
	end();
}

static void a_queue_that_gives_up_makes_room(void **state)
{
	(void)state;
	begin(&(struct vblk_throttle){ .iops = 1 });
	assert_true(try(0, 0));
	assert_false(try(1, 0));
	assert_false(try(2, 0));
	assert_false(try(3, 0));
	vblk_throttle_give_up(&t.member[2]); /* from the middle: nobody's turn has come */
	assert_int_equal(t.wakes[1] + t.wakes[3], 0);
	vblk_throttle_give_up(&t.member[1]);
	assert_int_equal(t.wakes[3], 1);
	vblk_throttle_give_up(&t.member[1]); /* it stands there no more */
	assert_int_equal(t.wakes[3], 1);
	t.now += 1000 * MS;
	assert_true(try(3, 0));
	end();
}

static void a_queue_that_leaves_makes_room(void **state)
{
	(void)state;
	begin(&(struct vblk_throttle){ .iops = 1 });
	assert_true(try(0, 0));
	assert_false(try(1, 0));
	assert_false(try(2, 0));
	vblk_throttle_leave(&t.member[1]);
	assert_int_equal(t.wakes[2], 1);
	vblk_throttle_join(&t.member[1], t.group, count_wake, &t.wakes[1]);
	assert_false(try(1, 0));
	t.now += 1000 * MS;
	assert_false(try(1, 0));
	assert_true(try(2, 0));
	end();
}

static void other_limits_wake_the_first(void **state)
{
	struct vblk_throttle now;

	(void)state;
	begin(&(struct vblk_throttle){ .iops = 1 });
	assert_true(try(0, 0));
	assert_false(try(1, 0));
	assert_false(try(2, 0));
	vblk_throttle_group_change(t.group, &(struct vblk_throttle){ .iops = 1000 });
	assert_int_equal(t.wakes[1], 1);
	assert_int_equal(t.wakes[2], 0);
	assert_false(try(1, 0));
	assert_int_equal(t.wait, MS);
	vblk_throttle_group_get(t.group, &now);
	assert_int_equal(now.iops, 1000);
	end();
}

static void no_limits_wake_all(void **state)
{
	(void)state;
	begin(&(struct vblk_throttle){ .iops = 1 });
	assert_true(try(0, 0));
	for (unsigned i = 1; i < QUEUES; i++)
		assert_false(try(i, 0));
	vblk_throttle_group_change(t.group, &(struct vblk_throttle){ 0 });
	for (unsigned i = 1; i < QUEUES; i++) {
		assert_int_equal(t.wakes[i], 1);
		assert_true(try(i, 0));
	}
	/* And nobody stands in line when there are limits again. */
	vblk_throttle_group_change(t.group, &(struct vblk_throttle){ .iops = 1 });
	assert_true(try(3, 0));
	end();
}

static void a_refill_wakes_the_first(void **state)
{
	(void)state;
	begin(&(struct vblk_throttle){ .iops = 2 });
	assert_true(try(0, 0));
	assert_true(try(0, 0));
	assert_false(try(1, 0));
	vblk_throttle_group_refill(t.group);
	assert_int_equal(t.wakes[1], 1);
	assert_true(try(1, 0));
	assert_true(try(0, 0));
	assert_false(try(0, 0));
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_limits_everything_passes),
		cmocka_unit_test(one_queue_waits_exactly_as_long_as_its_bucket_says),
		cmocka_unit_test(queues_share_the_buckets),
		cmocka_unit_test(who_came_first_goes_first),
		cmocka_unit_test(a_large_request_is_not_overtaken),
		cmocka_unit_test(busy_queues_get_the_same_number_of_turns),
		cmocka_unit_test(a_queue_that_gives_up_makes_room),
		cmocka_unit_test(a_queue_that_leaves_makes_room),
		cmocka_unit_test(other_limits_wake_the_first),
		cmocka_unit_test(no_limits_wake_all),
		cmocka_unit_test(a_refill_wakes_the_first),
	};

	return cmocka_run_group_tests_name("throttle: group", tests, NULL, NULL);
}
