/* SPDX-License-Identifier: MIT */
/*
 * How long a drain looks at an empty ring: the rule for growing and shrinking, and what a drain
 * does with it. The clock moves by itself with each look at it.
 */
#include "bare_drain.h"
#include "disk.h"
#include "late_aio.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MAX_NS	  50000u
#define DISK_SIZE 4096u

static void sleep_for(struct vblk_linger *linger, uint64_t time_ns)
{
	vblk_linger_sleep(linger, 1000);
	vblk_linger_wake(linger, 1000 + time_ns);
}

/* Gaps of any length below the bound: the time grows until it spans them. */
static void test_grows_to_its_bound_and_shrinks_to_nothing(void **state)
{
	struct vblk_linger linger;

	(void)state;
	vblk_linger_init(&linger, MAX_NS);
	assert_int_equal(linger.now_ns, 0);
	for (unsigned i = 0; i < 10; i++)
		sleep_for(&linger, MAX_NS / 2);
	assert_int_equal(linger.now_ns, MAX_NS);
	sleep_for(&linger, MAX_NS + 1);
	assert_int_equal(linger.now_ns, MAX_NS / 2);
	for (unsigned i = 0; i < 3; i++)
		sleep_for(&linger, MAX_NS + 1);
	assert_int_equal(linger.now_ns, 0);
}

static void test_learns_from_a_short_sleep_only(void **state)
{
	struct vblk_linger linger;

	(void)state;
	vblk_linger_init(&linger, MAX_NS);
	vblk_linger_wake(&linger, 5); /* it has not slept */
	assert_int_equal(linger.now_ns, 0);
	vblk_linger_sleep(&linger, 1000);
	vblk_linger_wake(&linger, 1000 + MAX_NS + 1);
	assert_int_equal(linger.now_ns, 0);
	vblk_linger_sleep(&linger, 1000);
	vblk_linger_wake(&linger, 1000 + MAX_NS);
	assert_int_equal(linger.now_ns, VBLK_LINGER_MIN_NS);
	vblk_linger_wake(&linger, 1000 + MAX_NS); /* once for each sleep */
	assert_int_equal(linger.now_ns, VBLK_LINGER_MIN_NS);
}

static void test_without_a_bound_it_never_looks(void **state)
{
	struct vblk_linger linger;

	(void)state;
	vblk_linger_init(&linger, 0);
	vblk_linger_sleep(&linger, 1);
	vblk_linger_wake(&linger, 1);
	assert_int_equal(linger.now_ns, 0);
}

struct rig {
	struct bare_drain bare;
	uint64_t tick_ns;   /* what each look at the clock takes */
	unsigned looks;	    /* at the clock */
	unsigned offers_at; /* the driver makes a request available during this look; 0: none */
};

static uint64_t read_clock(void *context)
{
	struct rig *rig = context;

	rig->bare.guest.now_ns += rig->tick_ns;
	if (++rig->looks == rig->offers_at)
		guest_request_at(&rig->bare.guest, 1, VIRTIO_BLK_T_FLUSH, 0, 0);
	return rig->bare.guest.now_ns;
}

static void begin(struct rig *rig, uint64_t tick_ns)
{
	*rig = (struct rig){ .tick_ns = tick_ns };
	bare_drain_create(&rig->bare, NULL, disk_create(DISK_SIZE, 0));
	rig->bare.drain.config.disk->clock = (struct vblk_clock){ read_clock, rig };
	vblk_linger_init(&rig->bare.drain.linger, MAX_NS);
	sleep_for(&rig->bare.drain.linger, 0);
}

/* The answer that is there is announced first: the driver may be waiting for nothing else. */
static void test_looks_and_finds(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig, 1000);
	rig.offers_at = 3;
	guest_request_at(&rig.bare.guest, 0, VIRTIO_BLK_T_FLUSH, 0, 0);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 2);
	assert_int_equal(guest_take_interrupts(&rig.bare.guest), 2);
	bare_drain_destroy(&rig.bare);
}

static void test_gives_up_in_time(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig, 1000);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	/* The start, four that took a microsecond each, and the time of going to sleep. */
	assert_int_equal(rig.looks, 1 + VBLK_LINGER_MIN_NS / 1000 + 1);
	rig.looks = 0;
	rig.bare.guest.now_ns += MAX_NS;
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_true(rig.looks <= 2); /* when it woke, and when it sleeps again */
	bare_drain_destroy(&rig.bare);
}

/* A clock that stands still must not keep a worker awake for ever. */
static void test_a_clock_that_stands_still(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig, 0);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_true(rig.looks < VBLK_LINGER_MIN_NS);
	bare_drain_destroy(&rig.bare);
}

static void test_yields(void **state)
{
	atomic_bool yield = true;
	struct rig rig;

	(void)state;
	begin(&rig, 0);
	rig.bare.drain.config.yield = &yield;
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_true(rig.looks <= 3);
	bare_drain_destroy(&rig.bare);
}

/* What lands would wake a worker that sleeps; one that looks at the ring does not see it. */
static void test_does_not_look_while_requests_are_airborne(void **state)
{
	struct late_aio *late;
	unsigned without;
	struct rig rig;

	(void)state;
	begin(&rig, 0);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	without = rig.looks;
	bare_drain_destroy(&rig.bare);
	begin(&rig, 0);
	vblk_air_destroy(rig.bare.drain.config.air);
	late = late_aio_create(rig.bare.guest.backing);
	rig.bare.drain.config.air = late_aio_air(late);
	late->hold = true;
	guest_request_at(&rig.bare.guest, 0, VIRTIO_BLK_T_FLUSH, 0, 0);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(late->under_way_count, 1);
	assert_true(rig.looks < without / 2);
	late->hold = false;
	vblk_drain_settle(&rig.bare.drain);
	bare_drain_destroy(&rig.bare);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_to_its_bound_and_shrinks_to_nothing),
		cmocka_unit_test(test_learns_from_a_short_sleep_only),
		cmocka_unit_test(test_without_a_bound_it_never_looks),
		cmocka_unit_test(test_looks_and_finds),
		cmocka_unit_test(test_gives_up_in_time),
		cmocka_unit_test(test_a_clock_that_stands_still),
		cmocka_unit_test(test_yields),
		cmocka_unit_test(test_does_not_look_while_requests_are_airborne),
	};

	return cmocka_run_group_tests_name("linger", tests, NULL, NULL);
}
