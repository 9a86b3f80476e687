/* SPDX-License-Identifier: MIT */
/*
 * The worker with two system calls in the test's hands: a timer that never fires, and the pause
 * between two looks at a lease. The program's definitions stand before the C library's.
 */
#include "disk.h"
#include "expect.h"
#include "process.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>

#include <cmocka.h>

#include "device/device.h"

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

static atomic_uint timers_set;
static atomic_bool timer_is_set; /* of the last call */

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): reserved there */
int timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *before)
{
	(void)fd;
	(void)flags;
	(void)before;
	atomic_store(&timer_is_set, when->it_value.tv_sec || when->it_value.tv_nsec);
	atomic_fetch_add(&timers_set, 1);
	return 0;
}

/* An interrupt that is not done with before somebody waits for it, and then at once. */
struct gate {
	atomic_bool entered;
	atomic_bool open;
};

static struct gate gate;

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): reserved there */
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request,
		    struct timespec *remain)
{
	(void)clock;
	(void)flags;
	(void)request;
	(void)remain;
	atomic_store(&gate.open, true);
	assert_true(process_wait_threads(own_threads));
	return 0;
}

static void wait_at_gate(void *context)
{
	(void)context;
	atomic_store(&gate.entered, true);
	while (!atomic_load(&gate.open))
		sched_yield();
}

static bool is_set(void *context)
{
	return atomic_load((atomic_bool *)context);
}

static bool is_asleep(void *context)
{
	return guest_metrics(context).throttled_now == 1 && atomic_load(&timers_set) > 0;
}

static bool is_timer_off(void *context)
{
	(void)context;
	return !atomic_load(&timer_is_set);
}

/* Rules: T-17 W-6. And the timer is taken back, as there is nothing left to wake up for. */
static void test_new_limits_do_not_wait_for_the_timer_of_the_old_ones(void **state)
{
	const struct guest_options options = {
		.device.throttle = { .bps = 1, .bps_burst = SECTOR },
	};
	struct guest g;

	(void)state;
	atomic_store(&timers_set, 0);
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	for (unsigned i = 0; i < 4; i++)
		guest_request_at(&g, i, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_true(process_wait(is_asleep, &g));
	assert_int_equal(guest_used_idx(&g), 1);
	assert_true(atomic_load(&timer_is_set));
	assert_int_equal(vblk_device_set_throttle(g.device, &(struct vblk_throttle){ 0 }), 0);
	assert_true(guest_wait_used(&g, 4));
	assert_true(process_wait(is_timer_off, NULL));
	assert_int_equal(guest_metrics(&g).throttled_now, 0);
	guest_destroy(&g);
}

static bool have_been_answered(void *context)
{
	return guest_used_idx(context) == 2;
}

/*
 * One waits for tokens, and the timer that would bring them never fires: those before it are
 * answered as soon as the disk is done with them.
 */
static void test_what_lands_is_answered_while_the_next_waits_for_tokens(void **state)
{
	const struct guest_options options = { .device.throttle = { .iops = 1, .iops_burst = 2 } };
	struct guest g;

	(void)state;
	atomic_store(&timers_set, 0);
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	for (unsigned i = 0; i < 3; i++)
		guest_request_at(&g, i, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_kick(&g);
	assert_true(process_wait(is_asleep, &g));
	assert_true(process_wait(have_been_answered, &g));
	assert_int_equal(guest_metrics(&g).throttled_now, 1);
	guest_destroy(&g);
}

static void note_loss(void *context, int error)
{
	*(int *)context = error;
}

/* Rules: R-5 D-LOG */
static void test_worker_that_ends_after_all_is_not_called_abandoned(void **state)
{
	int lost = 0;
	const struct guest_options options = {
		.device = { .stop_timeout_ms = 1,
			    .interrupt = wait_at_gate,
			    .worker_lost = note_loss,
			    .worker_lost_context = &lost },
	};
	struct guest g;

	(void)state;
	assert_true(process_wait_threads(own_threads));
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_true(process_wait(is_set, &gate.entered));
	/* The timeout passes; then the worker ends while its lease is looked at. */
	guest_set_status(&g, 0);
	assert_true(atomic_load(&gate.open));
	assert_null(strstr(g.log, "abandoned"));
	assert_int_equal(lost, 0);
	assert_false(g.device->dead);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_limits_do_not_wait_for_the_timer_of_the_old_ones),
		cmocka_unit_test(test_what_lands_is_answered_while_the_next_waits_for_tokens),
		cmocka_unit_test(test_worker_that_ends_after_all_is_not_called_abandoned),
	};

	return cmocka_run_group_tests_name("worker_calls", tests, setup_group, NULL);
}
