/* SPDX-License-Identifier: MIT */
/* Several queues of one disk, whose limits they share: turns, wake-ups, and the gauge. */
#include "bare_drain.h"
#include "disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "device/device.h"
#include "expect.h"

#define QUEUES	   3
#define SECTOR	   VBLK_SECTOR_SIZE
#define DISK_SIZE  (64 * SECTOR)
#define SECOND	   1000000000ull
#define RINGS	   0x80000u
#define RINGS_STEP 0x8000u

/* A queue with rings of its own, and the driver's place in them. */
struct line {
	struct vblk_drain drain;
	bool gone;
	uint16_t avail_idx;
	uint16_t next_desc;
	unsigned wakes; /* how often it was told to look again */
};

static struct {
	struct bare_drain bare; /* the disk, and a queue that nobody uses */
	struct line line[QUEUES];
	unsigned slots;
	uint64_t wait_ns; /* of the last run */
} t;

static void note_wake(void *context)
{
	((struct line *)context)->wakes++;
}

/* The guest's helpers work on the rings of this queue from here on. */
static void aim(unsigned queue)
{
	struct guest_options *at = &t.bare.guest.options;

	at->desc = RINGS + queue * RINGS_STEP;
	at->avail = at->desc + 0x1000;
	at->used = at->desc + 0x2000;
	t.bare.guest.avail_idx = t.line[queue].avail_idx;
	t.bare.guest.next_desc = t.line[queue].next_desc;
}

static void begin(const struct vblk_throttle *limits)
{
	const struct guest_options options = { .device.throttle = *limits };

	memset(&t, 0, sizeof(t));
	bare_drain_create(&t.bare, &options, disk_create(DISK_SIZE, 0xab));
	for (unsigned i = 0; i < QUEUES; i++) {
		struct vblk_drain_config config = t.bare.drain.config;

		aim(i);
		config.index = i;
		config.layout.desc = t.bare.guest.options.desc;
		config.layout.avail = t.bare.guest.options.avail;
		config.layout.used = t.bare.guest.options.used;
		config.retry = note_wake;
		config.retry_context = &t.line[i];
		vblk_drain_init(&t.line[i].drain, &config);
	}
}

static void stop(unsigned queue)
{
	vblk_drain_destroy(&t.line[queue].drain);
	t.line[queue].gone = true;
}

static void end(void)
{
	for (unsigned i = 0; i < QUEUES; i++) {
		if (!t.line[i].gone)
			stop(i);
	}
	assert_int_equal(guest_metrics(&t.bare.guest).throttled_now, 0);
	bare_drain_destroy(&t.bare);
}

static void ask(unsigned queue, unsigned count)
{
	aim(queue);
	while (count-- > 0)
		guest_request_at(&t.bare.guest, t.slots++ % 50, VIRTIO_BLK_T_IN, 0, SECTOR);
	t.line[queue].avail_idx = t.bare.guest.avail_idx;
	t.line[queue].next_desc = t.bare.guest.next_desc;
}

static enum vblk_drain_result run(unsigned queue)
{
	return vblk_drain_run(&t.line[queue].drain, &t.wait_ns);
}

static uint16_t served(unsigned queue)
{
	aim(queue);
	return guest_used_idx(&t.bare.guest);
}

static uint64_t waiting(void)
{
	return guest_metrics(&t.bare.guest).throttled_now;
}

static void set_limits(const struct vblk_throttle *limits)
{
	vblk_throttle_group_change(t.bare.guest.device->disk->throttle, limits);
}

/* One operation a second, and each queue has `count` requests; the first took the first token. */
static void begin_waiting(unsigned count)
{
	begin(&(struct vblk_throttle){ .iops = 1 });
	for (unsigned i = 0; i < QUEUES; i++)
		ask(i, count + (i == 0));
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(run(i), VBLK_DRAIN_STALLED);
	assert_int_equal(served(0), 1);
}

/* Which queue was served last, if one was. */
static int who_was_served(uint16_t before[QUEUES])
{
	int who = -1;

	for (unsigned i = 0; i < QUEUES; i++) {
		if (served(i) != before[i]) {
			assert_int_equal(who, -1);
			assert_int_equal(served(i), before[i] + 1);
			who = (int)i;
		}
		before[i] = served(i);
	}
	return who;
}

/* Whoever looks first, tokens go round. Rules: D-GROUP */
static void test_queues_take_turns(void **state)
{
	uint16_t before[QUEUES] = { 1, 0, 0 };

	(void)state;
	begin_waiting(4);
	for (int token = 0; token < 12; token++) {
		t.bare.guest.now_ns += SECOND;
		for (unsigned i = QUEUES; i > 0; i--)
			(void)run(i - 1);
		for (unsigned i = 0; i < QUEUES; i++)
			(void)run(i);
		assert_int_equal(who_was_served(before), token % QUEUES);
	}
	assert_int_equal(waiting(), 0);
	end();
}

/* Rules: D-GROUP */
static void test_only_the_first_knows_when(void **state)
{
	(void)state;
	begin_waiting(1);
	assert_int_equal(run(0), VBLK_DRAIN_STALLED);
	assert_int_equal(t.wait_ns, SECOND);
	assert_int_equal(run(1), VBLK_DRAIN_STALLED);
	assert_true(t.wait_ns == VBLK_THROTTLE_TURN);
	end();
}

/* Rules: D-GROUP */
static void test_who_passes_wakes_the_next(void **state)
{
	(void)state;
	begin_waiting(1);
	t.bare.guest.now_ns += SECOND;
	assert_int_equal(run(0), VBLK_DRAIN_DONE);
	assert_int_equal(t.line[1].wakes, 1);
	assert_int_equal(t.line[2].wakes, 0);
	assert_int_equal(run(1), VBLK_DRAIN_STALLED);
	assert_int_equal(t.wait_ns, SECOND);
	end();
}

/* Rules: D-HOLE-3, D-GROUP */
static void test_the_gauge_counts_the_queues_that_wait(void **state)
{
	(void)state;
	begin_waiting(1);
	assert_int_equal(waiting(), 3);
	t.bare.guest.now_ns += 2 * SECOND;
	assert_int_equal(run(0), VBLK_DRAIN_DONE);
	assert_int_equal(waiting(), 2);
	/* A bucket of one token holds no more, however long it waits. */
	assert_int_equal(run(1), VBLK_DRAIN_STALLED);
	assert_int_equal(waiting(), 2);
	t.bare.guest.now_ns += SECOND;
	assert_int_equal(run(1), VBLK_DRAIN_DONE);
	assert_int_equal(waiting(), 1);
	end();
}

/* Rules: D-HOLE-3, D-GROUP */
static void test_a_queue_that_ends_while_it_waits_wakes_the_next(void **state)
{
	(void)state;
	begin_waiting(1);
	stop(0);
	assert_int_equal(waiting(), 2);
	assert_int_equal(t.line[1].wakes, 1);
	assert_int_equal(t.line[2].wakes, 0);
	t.bare.guest.now_ns += SECOND;
	assert_int_equal(run(2), VBLK_DRAIN_STALLED);
	assert_int_equal(run(1), VBLK_DRAIN_DONE);
	assert_int_equal(served(1), 1);
	end();
}

/* Rules: D-GROUP */
static void test_a_queue_that_ends_in_the_middle_of_the_line_wakes_nobody(void **state)
{
	(void)state;
	begin_waiting(1);
	stop(1);
	assert_int_equal(waiting(), 2);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(t.line[i].wakes, 0);
	t.bare.guest.now_ns += SECOND;
	assert_int_equal(run(0), VBLK_DRAIN_DONE);
	assert_int_equal(t.line[2].wakes, 1);
	end();
}

/* A driver takes back what it made available. Rules: D-HOLE-3, D-GROUP */
static void test_a_request_that_is_taken_back_leaves_the_line(void **state)
{
	(void)state;
	begin_waiting(1);
	aim(0);
	guest_set_avail_idx(&t.bare.guest, 1);
	assert_int_equal(run(0), VBLK_DRAIN_DONE);
	assert_int_equal(waiting(), 2);
	assert_int_equal(t.line[1].wakes, 1);
	end();
}

/* Rules: D-HOLE-3, D-GROUP */
static void test_a_queue_that_is_poisoned_leaves_the_line(void **state)
{
	(void)state;
	begin_waiting(1);
	aim(0);
	guest_set_avail_idx(&t.bare.guest, 5000);
	assert_int_equal(run(0), VBLK_DRAIN_DONE);
	assert_int_equal(waiting(), 2);
	assert_int_equal(t.line[1].wakes, 1);
	t.bare.guest.now_ns += SECOND;
	assert_int_equal(run(1), VBLK_DRAIN_DONE);
	end();
}

/* Rules: D-GROUP */
static void test_without_limits_all_are_woken_and_pass(void **state)
{
	static const struct vblk_throttle none;

	(void)state;
	begin_waiting(4);
	set_limits(&none);
	for (unsigned i = QUEUES; i > 0; i--) {
		assert_int_equal(t.line[i - 1].wakes, 1);
		assert_int_equal(run(i - 1), VBLK_DRAIN_DONE);
		assert_int_equal(served(i - 1), i == 1 ? 5 : 4);
	}
	assert_int_equal(waiting(), 0);
	end();
}

/* The line stays as it is; who is first looks whether it may pass now. Rules: D-GROUP */
static void test_other_limits_wake_the_first(void **state)
{
	(void)state;
	begin_waiting(1);
	set_limits(&(struct vblk_throttle){ .iops = 10 });
	assert_int_equal(t.line[0].wakes, 1);
	assert_int_equal(t.line[1].wakes, 0);
	assert_int_equal(run(1), VBLK_DRAIN_STALLED);
	assert_int_equal(run(0), VBLK_DRAIN_STALLED);
	assert_int_equal(t.wait_ns, SECOND / 10);
	assert_int_equal(waiting(), 3);
	end();
}

/* Limits that come back find nobody in line. Rules: D-GROUP */
static void test_limits_that_come_back_make_a_new_line(void **state)
{
	static const struct vblk_throttle none;

	(void)state;
	begin_waiting(2);
	set_limits(&none);
	assert_int_equal(run(2), VBLK_DRAIN_DONE);
	set_limits(&(struct vblk_throttle){ .iops = 1 });
	assert_int_equal(run(1), VBLK_DRAIN_STALLED);
	assert_int_equal(served(1), 1);
	assert_int_equal(t.wait_ns, SECOND);
	assert_int_equal(run(0), VBLK_DRAIN_STALLED);
	assert_true(t.wait_ns == VBLK_THROTTLE_TURN);
	assert_int_equal(waiting(), 2);
	end();
}

/* A new life of the device fills the buckets. Rules: T-18, D-GROUP */
static void test_full_buckets_wake_the_first(void **state)
{
	(void)state;
	begin_waiting(1);
	vblk_throttle_group_refill(t.bare.guest.device->disk->throttle);
	assert_int_equal(t.line[0].wakes, 1);
	assert_int_equal(run(0), VBLK_DRAIN_DONE);
	assert_int_equal(run(1), VBLK_DRAIN_STALLED);
	end();
}

/* A refusal costs nothing, and needs no turn. Rules: V-8, D-GROUP */
static void test_what_is_refused_passes_by_the_line(void **state)
{
	(void)state;
	begin(&(struct vblk_throttle){ .iops = 1 });
	ask(0, 2);
	assert_int_equal(run(0), VBLK_DRAIN_STALLED);
	aim(1);
	guest_request_at(&t.bare.guest, 51, VIRTIO_BLK_T_IN, 0, 511);
	assert_int_equal(run(1), VBLK_DRAIN_DONE);
	assert_int_equal(guest_slot_status(&t.bare.guest, 51), VIRTIO_BLK_S_IOERR);
	assert_int_equal(waiting(), 1);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queues_take_turns),
		cmocka_unit_test(test_only_the_first_knows_when),
		cmocka_unit_test(test_who_passes_wakes_the_next),
		cmocka_unit_test(test_the_gauge_counts_the_queues_that_wait),
		cmocka_unit_test(test_a_queue_that_ends_while_it_waits_wakes_the_next),
		cmocka_unit_test(test_a_queue_that_ends_in_the_middle_of_the_line_wakes_nobody),
		cmocka_unit_test(test_a_request_that_is_taken_back_leaves_the_line),
		cmocka_unit_test(test_a_queue_that_is_poisoned_leaves_the_line),
		cmocka_unit_test(test_without_limits_all_are_woken_and_pass),
		cmocka_unit_test(test_other_limits_wake_the_first),
		cmocka_unit_test(test_limits_that_come_back_make_a_new_line),
		cmocka_unit_test(test_full_buckets_wake_the_first),
		cmocka_unit_test(test_what_is_refused_passes_by_the_line),
	};

	return cmocka_run_group_tests_name("drain_group", tests, NULL, NULL);
}
