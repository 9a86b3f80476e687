/* SPDX-License-Identifier: MIT */
/*
 * The worker thread at its daily work: when it exists, what wakes it, what it waits for, and that
 * it is always there to be stopped. Everything here runs against the clock of the machine, but
 * nothing depends on how fast that is.
 */
#include "disk.h"
#include "expect.h"
#include "process.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/eventfd.h"
#include "device/device.h"

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE
#define VRING	  VIRTIO_MMIO_INT_VRING
#define CONFIG	  VIRTIO_MMIO_INT_CONFIG

static size_t own_threads;
static sigset_t own_signals;	/* blocked before there was a device */
static sigset_t can_be_blocked; /* not all can, and an emulator keeps more of them to itself */

static int setup_group(void **state)
{
	(void)state;
	sigfillset(&can_be_blocked);
	pthread_sigmask(SIG_BLOCK, &can_be_blocked, &own_signals);
	pthread_sigmask(SIG_SETMASK, &own_signals, &can_be_blocked);
	own_threads = process_own_threads();
	return 0;
}

static void start_with(struct guest *g, const struct guest_options *options)
{
	guest_create(g, options, disk_create(DISK_SIZE, 0xab));
	guest_start(g);
}

static void start(struct guest *g)
{
	start_with(g, NULL);
}

static uint64_t now_ns(void)
{
	return vblk_clock_now(&(struct vblk_clock){ 0 });
}

static void kick_by_descriptor(struct guest *g)
{
	assert_int_equal(vblk_eventfd_signal(guest_kick_fd(g)), 0);
}

/* Rules: L-2 */
static void test_C5_thread_lives_from_driver_ok_to_reset(void **state)
{
	struct guest g;

	(void)state;
	assert_true(process_wait_threads(own_threads));
	guest_create(&g, NULL, disk_create(DISK_SIZE, 0xab));
	guest_negotiate(&g);
	assert_int_equal(process_threads(), own_threads);
	guest_start(&g);
	assert_int_equal(process_threads(), own_threads + 1);
	guest_reset(&g);
	assert_true(process_wait_threads(own_threads));
	guest_start(&g);
	assert_int_equal(process_threads(), own_threads + 1);
	guest_destroy(&g);
	assert_true(process_wait_threads(own_threads));
}

static void test_L1_notification_by_register(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	for (uint16_t i = 1; i <= 10; i++) {
		guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
		guest_kick(&g);
		assert_true(guest_wait_used(&g, i));
		assert_int_equal(guest_status_byte(&g), VIRTIO_BLK_S_OK);
	}
	assert_true(guest_is_filled(&g, GUEST_DATA, 0xab, SECTOR));
	assert_true(guest_metrics(&g).notifications >= 1);
	guest_destroy(&g);
}

/*
 * The descriptor is wired to the guest's notifications once (KVM_IOEVENTFD keeps what is behind
 * the number): a duplicate from before the first start must do to the end.
 * Rules: L-4
 */
static void test_notification_by_descriptor(void **state)
{
	struct guest g;
	int wired;

	(void)state;
	guest_create(&g, NULL, disk_create(DISK_SIZE, 0xab));
	wired = dup(guest_kick_fd(&g));
	assert_true(wired >= 0);
	for (int round = 0; round < 3; round++) {
		guest_start(&g);
		for (uint16_t i = 1; i <= 5; i++) {
			guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
			assert_int_equal(vblk_eventfd_signal(wired), 0);
			assert_true(guest_wait_used(&g, i));
		}
		guest_reset(&g);
	}
	close(wired);
	guest_destroy(&g);
}

static void test_D_HOLE_6_kick_before_driver_ok_is_served(void **state)
{
	(void)state;
	for (int by_descriptor = 0; by_descriptor < 2; by_descriptor++) {
		struct guest g;

		guest_create(&g, NULL, disk_create(DISK_SIZE, 0xab));
		guest_negotiate(&g);
		guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
		if (by_descriptor)
			kick_by_descriptor(&g);
		else
			guest_kick(&g);
		expect_answer(&g, GUEST_SENTINEL, 0);
		guest_start(&g);
		assert_true(guest_wait_used(&g, 1));
		guest_destroy(&g);
	}
}

static void test_D_HOLE_6_worker_drains_once_when_it_starts(void **state)
{
	struct guest g;

	(void)state;
	guest_create(&g, NULL, disk_create(DISK_SIZE, 0xab));
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_start(&g);
	assert_true(guest_wait_used(&g, 1));
	assert_int_equal(guest_metrics(&g).notifications, 0);
	guest_destroy(&g);
}

/* Rules: W-7 */
static void test_driver_ok_without_memory_starts_with_the_memory(void **state)
{
	const struct guest_options options = { .unbound = true };
	struct guest g;

	(void)state;
	assert_true(process_wait_threads(own_threads));
	start_with(&g, &options);
	assert_int_equal(process_threads(), own_threads);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_int_equal(guest_bind_memory(&g), 0);
	assert_int_equal(process_threads(), own_threads + 1);
	assert_true(guest_wait_used(&g, 1));
	assert_int_equal(guest_status(&g), 0xf);
	guest_destroy(&g);
}

/* Rules: Q-13 */
static void test_O1_interrupt_comes_after_its_reason(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	for (uint16_t i = 1; i <= 100; i++) {
		guest_request(&g, VIRTIO_BLK_T_FLUSH, 0, 0);
		guest_kick(&g);
		while (guest_used_idx(&g) != i)
			sched_yield();
		expect_answer(&g, VIRTIO_BLK_S_OK, i);
		assert_true(guest_wait_interrupt(&g));
		assert_int_equal(guest_interrupt_status(&g), VRING);
		guest_acknowledge(&g, VRING);
	}
	guest_destroy(&g);
}

/*
 * Whoever has the device's lock, for as long as he likes: it is not on a request's way.
 * Rules: Q-11, O-8
 */
static void test_O9_request_needs_no_lock_of_the_device(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	vblk_device_lock(g.device);
	guest_kick(&g);
	assert_true(guest_wait_used(&g, 1));
	vblk_device_unlock(g.device);
	guest_destroy(&g);
}

static bool is_set(void *context)
{
	return atomic_load((atomic_bool *)context);
}

/* Holds the first request until the driver has notified. */
struct late_kick {
	atomic_bool entered;
	atomic_bool kicked;
};

static void wait_for_late_kick(void *context)
{
	struct late_kick *late = context;

	atomic_store(&late->entered, true);
	while (!atomic_load(&late->kicked))
		sched_yield();
}

static bool was_notified(void *context)
{
	return guest_metrics(context).notifications > 0;
}

/* The drain is the one that a worker begins with, so there is no other kick. */
static void test_W9_kick_during_a_drain_causes_another(void **state)
{
	struct late_kick late = { 0 };
	struct guest g;

	(void)state;
	guest_create(&g, NULL, disk_create_hooked(DISK_SIZE, 0xab, wait_for_late_kick, &late));
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_start(&g);
	assert_true(process_wait(is_set, &late.entered));
	assert_int_equal(guest_metrics(&g).notifications, 0);
	guest_kick(&g);
	atomic_store(&late.kicked, true);
	assert_true(guest_wait_used(&g, 1));
	assert_true(process_wait(was_notified, &g));
	guest_destroy(&g);
}

static void test_L5_worker_leaves_a_queue_alone_that_is_not_ready(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	guest_create(&g, NULL, disk_create(DISK_SIZE, 0xab));
	guest_negotiate(&g);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x1000);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_USED_LOW, 0x2000);
	guest_set_status(&g, 0xf);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_true(process_wait(was_notified, &g));
	guest_set_status(&g, 0); /* it has gone, and so has done what it would do */
	expect_answer(&g, GUEST_SENTINEL, 0);
	expect_counters(&g);
	guest_destroy(&g);
}

static void test_worker_poisons_and_recovers(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_set_avail_idx(&g, 1000);
	guest_kick(&g);
	assert_true(guest_wait_interrupt(&g));
	assert_int_equal(guest_status(&g), 0x4f);
	assert_int_equal(guest_interrupt_status(&g), CONFIG);
	guest_reset(&g);
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_true(guest_wait_used(&g, 1));
	expect_counters(&g, .invalid_avail_idx = 1, .reads_completed = 1, .bytes_read = SECTOR);
	guest_destroy(&g);
}

/* --- The thread itself --- */

struct self {
	char name[16];
	sigset_t blocked;
};

static void introduce(void *context)
{
	struct self *self = context;

	pthread_getname_np(pthread_self(), self->name, sizeof(self->name));
	pthread_sigmask(SIG_BLOCK, NULL, &self->blocked);
}

/* Rules: W-4 */
static void test_D_NAMES_D_SHORT_thread_name_and_signals(void **state)
{
	struct self self = { 0 };
	sigset_t after;
	char name[16];
	struct guest g;

	(void)state;
	guest_create(&g, NULL, disk_create_hooked(DISK_SIZE, 0, introduce, &self));
	guest_start(&g);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_true(guest_wait_used(&g, 1));
	snprintf(name, sizeof(name), "vblk%u/0", guest_instance(&g));
	assert_string_equal(self.name, name);
	for (int number = 1; number < SIGRTMAX; number++) {
		/* SIGBUS is about what the thread has touched itself. */
		if (number == SIGBUS || !sigismember(&can_be_blocked, number))
			continue;
		assert_true(sigismember(&self.blocked, number));
		assert_int_equal(sigismember(&own_signals, number), sigismember(&after, number));
	}
	guest_destroy(&g);
}

/* --- Stopping --- */

static bool is_given_up(const struct guest *g)
{
	return g->device ? g->device->dead : vblk_disk_abandoned(guest_disk(g)) > 0;
}

static void note_loss(void *context, int error)
{
	*(int *)context = error;
}

static void test_16_7_1_idle_worker_stops_at_once(void **state)
{
	int lost = 0;
	const struct guest_options options = {
		.device = { .stop_timeout_ms = 60000,
			    .worker_lost = note_loss,
			    .worker_lost_context = &lost },
	};
	struct guest g;
	uint64_t begin;

	(void)state;
	start_with(&g, &options);
	begin = now_ns();
	guest_reset(&g);
	assert_true(now_ns() - begin < 30 * VBLK_NSEC_PER_SEC);
	assert_int_equal(lost, 0);
	guest_destroy(&g);
}

/* Holds a request until a reset has begun: the generation is the first thing that it changes. */
struct gate {
	struct guest *guest;
	atomic_bool entered;
};

static void wait_for_reset(void *context)
{
	struct gate *gate = context;

	atomic_store(&gate->entered, true);
	while (guest_read32(gate->guest, VIRTIO_MMIO_CONFIG_GENERATION) == 0)
		sched_yield();
}

/* Rules: R-3 */
static void test_R2_request_in_flight_is_finished(void **state)
{
	int lost = 0;
	const struct guest_options options = {
		.device = { .stop_timeout_ms = 60000,
			    .worker_lost = note_loss,
			    .worker_lost_context = &lost },
	};
	struct guest g;
	struct gate gate = { .guest = &g };

	(void)state;
	guest_needs_registers();
	guest_create(&g, &options, disk_create_hooked(DISK_SIZE, 0xab, wait_for_reset, &gate));
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_true(process_wait(is_set, &gate.entered));
	guest_set_status(&g, 0);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_counters(&g, .reads_completed = 1, .bytes_read = SECTOR);
	/* what it raised is forgotten with the rest. */
	expect_interrupts(&g, 0, 0);
	assert_int_equal(guest_status(&g), 0);
	assert_int_equal(lost, 0);
	guest_destroy(&g);
}

/*
 * A slow disk is not a stuck one: no request takes as long as the timeout, only all of them do. The
 * disk itself takes the time, nobody waits for it to pass.
 * Rules: W-5
 */
static void test_stop_waits_for_the_request_in_hand_only(void **state)
{
	static const struct vblk_faulty_rule slow = FAULT(PREADV, DELAY, .value = 50000000);
	int lost = 0;
	const struct guest_options options = {
		.device = { .stop_timeout_ms = 1000,
			    .worker_lost = note_loss,
			    .worker_lost_context = &lost },
	};
	struct guest g;

	(void)state;
	guest_create(&g, &options, disk_create_faulty(DISK_SIZE, 0xab, &slow, 1));
	guest_start(&g);
	for (unsigned i = 0; i < 80; i++)
		guest_request_at(&g, i, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	while (vblk_faulty_calls(g.backing, VBLK_FAULTY_PREADV) == 0)
		sched_yield();
	guest_set_status(&g, 0);
	assert_int_equal(lost, 0);
	assert_false(is_given_up(&g));
	assert_true(vblk_faulty_calls(g.backing, VBLK_FAULTY_PREADV) < 80);
	guest_destroy(&g);
}

static void offer_again(void *context)
{
	guest_request_at(context, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
}

static void test_D_HOLE_2_stop_is_seen_by_a_worker_that_never_runs_out(void **state)
{
	int lost = 0;
	const struct guest_options options = {
		.device = { .worker_lost = note_loss, .worker_lost_context = &lost },
		.queue_size = 16,
	};
	struct guest g;

	(void)state;
	guest_create(&g, &options, disk_create_hooked(DISK_SIZE, 0xab, offer_again, &g));
	guest_start(&g);
	guest_request_at(&g, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	/* More than one drain's worth, without another notification. */
	while (guest_metrics(&g).reads_completed < 100)
		sched_yield();
	assert_int_equal(guest_metrics(&g).notifications, 1);
	guest_set_status(&g, 0);
	assert_int_equal(lost, 0);
	assert_false(is_given_up(&g));
	guest_destroy(&g);
}

/* --- The throttle on the real clock --- */

/* A byte a second: what comes after the first request waits for longer than any test takes. */
static const struct guest_options stalling = {
	.device.throttle = { .bps = 1 },
	.real_clock = true,
};

/* Waits until a request waits. */
static bool is_stalled(void *context)
{
	return guest_metrics(context).throttled_now == 1;
}

/* Rules: W-8 */
static void test_T16_timer_resumes_a_throttled_worker(void **state)
{
	const struct guest_options options = {
		.device.throttle = { .iops = 5 },
		.real_clock = true,
	};
	struct guest g;
	uint64_t begin;

	(void)state;
	begin = now_ns();
	start_with(&g, &options);
	for (unsigned i = 0; i < 6; i++)
		guest_request_at(&g, i, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_true(guest_wait_used(&g, 6));
	assert_true(now_ns() - begin >= 200 * VBLK_NSEC_PER_MSEC);
	assert_true(guest_metrics(&g).throttled >= 1);
	assert_int_equal(guest_metrics(&g).throttled_now, 0);
	guest_destroy(&g);
}

/* Rules: W-6 */
static void test_T17_kicks_do_not_retry_a_stalled_request(void **state)
{
	uint64_t begin, refused;
	struct guest g;

	(void)state;
	begin = now_ns();
	start_with(&g, &stalling);
	guest_request_at(&g, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_request_at(&g, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_true(process_wait(was_notified, &g));
	assert_true(process_wait(is_stalled, &g));
	for (int i = 0; i < 20; i++) {
		uint64_t before = guest_metrics(&g).notifications;

		guest_kick(&g);
		while (guest_metrics(&g).notifications == before)
			sched_yield();
	}
	/* Each of them was taken note of, and only once. */
	assert_int_equal(guest_metrics(&g).notifications, 21);
	/* The timer alone looks again, once a second. */
	refused = guest_metrics(&g).throttled;
	assert_in_range(refused, 1, 1 + (now_ns() - begin) / VBLK_NSEC_PER_SEC);
	guest_destroy(&g);
}

static void test_D_HOLE_3_stop_while_stalled_clears_the_gauge(void **state)
{
	(void)state;
	for (int destroy = 0; destroy < 2; destroy++) {
		struct vblk_metrics_snapshot snapshot;
		struct vblk_metrics *metrics;
		struct guest g;

		start_with(&g, &stalling);
		metrics = vblk_metrics_ref(guest_disk(&g)->metrics);
		guest_request_at(&g, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
		guest_request_at(&g, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
		guest_kick(&g);
		assert_true(process_wait(is_stalled, &g));
		if (!destroy) {
			guest_set_status(&g, 0);
			assert_int_equal(guest_metrics(&g).throttled_now, 0);
		}
		guest_destroy(&g);
		vblk_metrics_read(metrics, &snapshot);
		assert_int_equal(snapshot.throttled_now, 0);
		vblk_metrics_unref(metrics);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C5_thread_lives_from_driver_ok_to_reset),
		cmocka_unit_test(test_L1_notification_by_register),
		cmocka_unit_test(test_notification_by_descriptor),
		cmocka_unit_test(test_D_HOLE_6_kick_before_driver_ok_is_served),
		cmocka_unit_test(test_D_HOLE_6_worker_drains_once_when_it_starts),
		cmocka_unit_test(test_driver_ok_without_memory_starts_with_the_memory),
		cmocka_unit_test(test_O1_interrupt_comes_after_its_reason),
		cmocka_unit_test(test_O9_request_needs_no_lock_of_the_device),
		cmocka_unit_test(test_W9_kick_during_a_drain_causes_another),
		cmocka_unit_test(test_L5_worker_leaves_a_queue_alone_that_is_not_ready),
		cmocka_unit_test(test_worker_poisons_and_recovers),
		cmocka_unit_test(test_D_NAMES_D_SHORT_thread_name_and_signals),
		cmocka_unit_test(test_16_7_1_idle_worker_stops_at_once),
		cmocka_unit_test(test_R2_request_in_flight_is_finished),
		cmocka_unit_test(test_stop_waits_for_the_request_in_hand_only),
		cmocka_unit_test(test_D_HOLE_2_stop_is_seen_by_a_worker_that_never_runs_out),
		cmocka_unit_test(test_T16_timer_resumes_a_throttled_worker),
		cmocka_unit_test(test_T17_kicks_do_not_retry_a_stalled_request),
		cmocka_unit_test(test_D_HOLE_3_stop_while_stalled_clears_the_gauge),
	};

	return cmocka_run_group_tests_name("worker", tests, setup_group, NULL);
}
