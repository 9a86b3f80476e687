/* SPDX-License-Identifier: MIT */
/* Bringing a device to rest and back: the worker's park, and the inline engine's. */
#include "mock_guest.h"
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backing/faulty.h"
#include "base/eventfd.h"
#include "engine/park.h"

#define LONG_MS 10000

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static int parked_fd(struct guest *g)
{
	int fd;

	assert_int_equal(vblk_eventfd_create(&fd), 0);
	assert_int_equal(guest_set_parked_fd(g, fd), 0);
	return fd;
}

/* Waits for acknowledgements and returns how many came with the first. */
static uint64_t take_acks(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&pfd, 1, LONG_MS), 1);
	return vblk_eventfd_clear(fd);
}

static void serve_one_read(struct guest *g)
{
	uint16_t before = guest_used_idx(g);

	guest_request(g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(g);
	assert_true(guest_wait_used(g, (uint16_t)(before + 1)));
}

/* Rules: C-4 U-1 U-2 U-8 */
static void test_without_a_worker_there_is_nothing_to_wait_for(void **state)
{
	struct guest g;
	int fd;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	fd = parked_fd(&g);
	assert_true(guest_is_paused(&g));
	assert_false(guest_pause(&g));
	assert_false(guest_pause(&g));
	assert_int_equal(guest_wait_paused(&g, 0), 0);
	assert_false(guest_resume(&g));
	assert_true(guest_is_paused(&g));
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	/* A pause that is over leaves no trace: the worker that starts later runs. */
	guest_start(&g);
	assert_false(guest_is_paused(&g));
	serve_one_read(&g);
	close(fd);
	guest_destroy(&g);
}

/* Whether the device's worker sleeps; by then it has done what it does without being asked. */
static bool worker_sleeps(void *context)
{
	struct guest *g = context;
	char wanted[32], path[300], line[128];
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	bool sleeps = false;

	assert_non_null(tasks);
	snprintf(wanted, sizeof(wanted), "(vblk%u/0) S ", guest_instance(g));
	while ((task = readdir(tasks)) && !sleeps) {
		FILE *stat;

		snprintf(path, sizeof(path), "/proc/self/task/%s/stat", task->d_name);
		stat = fopen(path, "r");
		if (!stat)
			continue;
		sleeps = fgets(line, sizeof(line), stat) && strstr(line, wanted);
		fclose(stat);
	}
	closedir(tasks);
	return sleeps;
}

/* Rules: D-RESUME U-8 */
static void test_worker_that_starts_during_a_pause_parks_before_it_serves(void **state)
{
	struct guest g;
	int fd;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	fd = parked_fd(&g);
	assert_false(guest_pause(&g));
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	guest_start(&g);
	assert_true(guest_is_paused(&g));
	assert_true(process_wait(worker_sleeps, &g));
	assert_true(guest_is_paused(&g));
	assert_int_equal(guest_status_byte(&g), GUEST_SENTINEL);
	assert_int_equal(guest_used_idx(&g), 0);
	/* It is on already, and was promised to nobody. */
	assert_false(guest_pause(&g));
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	assert_true(guest_resume(&g));
	assert_true(guest_wait_used(&g, 1));
	assert_false(guest_is_paused(&g));
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	/* The next one is like any other. */
	assert_true(guest_pause(&g));
	assert_int_equal(take_acks(fd), 1);
	close(fd);
	guest_destroy(&g);
}

/* Rules: D-RESUME */
static void test_pause_without_a_worker_ends_with_a_reset(void **state)
{
	(void)state;
	guest_needs_registers();
	for (int engine = VBLK_ENGINE_WORKER; engine <= VBLK_ENGINE_INLINE; engine++) {
		const struct guest_options options = {
			.device.engine = (enum vblk_engine_kind)engine,
		};
		struct guest g;

		guest_create_filled(&g, &options, 4096, 0xab);
		assert_false(guest_pause(&g));
		guest_reset(&g);
		guest_start(&g);
		assert_false(guest_is_paused(&g));
		serve_one_read(&g);
		guest_destroy(&g);
	}
}

/* Rules: D-RESUME U-5 */
static void test_what_came_during_a_pause_is_served_in_one_drain(void **state)
{
	struct guest g;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	guest_start(&g);
	assert_true(guest_pause(&g));
	assert_int_equal(guest_wait_paused(&g, LONG_MS), 0);
	for (unsigned i = 0; i < 8; i++)
		guest_request_at(&g, i, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	assert_true(guest_resume(&g));
	assert_true(guest_wait_used(&g, 8));
	guest_reset(&g); /* whatever else it did, it has done */
	assert_int_equal(guest_metrics(&g).interrupts, 1);
	assert_int_equal(guest_metrics(&g).reads_completed, 8);
	guest_destroy(&g);
}

/* Rules: W-2 */
static void test_the_flag_is_down_when_driver_ok_returns(void **state)
{
	struct guest g;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	for (int i = 0; i < 50; i++) {
		guest_start(&g);
		assert_false(guest_is_paused(&g));
		guest_reset(&g);
		assert_true(guest_is_paused(&g));
	}
	guest_destroy(&g);
}

/* Rules: U-4 U-6 O-6 D-RESUME */
static void test_a_pause_is_acknowledged_once_with_the_flag_up(void **state)
{
	struct guest g;
	int fd;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	fd = parked_fd(&g);
	guest_start(&g);
	assert_true(guest_pause(&g));
	assert_int_equal(take_acks(fd), 1);
	assert_true(guest_is_paused(&g));
	/* Pausing what is paused promises nothing more. */
	assert_false(guest_pause(&g));
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	assert_true(guest_resume(&g));
	serve_one_read(&g);
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	close(fd);
	guest_destroy(&g);
}

/* Rules: U-5 */
static void test_a_kick_while_parked_is_served_after_resume(void **state)
{
	struct guest g;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	guest_start(&g);
	assert_true(guest_pause(&g));
	assert_int_equal(guest_wait_paused(&g, LONG_MS), 0);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	assert_int_equal(guest_used_idx(&g), 0);
	assert_int_equal(guest_status_byte(&g), GUEST_SENTINEL);
	assert_true(guest_resume(&g));
	assert_true(guest_wait_used(&g, 1));
	assert_int_equal(guest_status_byte(&g), VIRTIO_BLK_S_OK);
	guest_destroy(&g);
}

/* Rules: D-RESUME */
static void test_every_promised_acknowledgement_comes_whatever_the_race(void **state)
{
	struct guest g;
	uint64_t promised = 0, got = 0;
	int fd;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	fd = parked_fd(&g);
	guest_start(&g);
	for (int i = 0; i < 2000; i++) {
		promised += guest_pause(&g);
		assert_true(guest_resume(&g));
		got += vblk_eventfd_clear(fd);
	}
	assert_int_equal(promised, 2000);
	assert_int_equal(got, 2000);
	serve_one_read(&g);
	close(fd);
	guest_destroy(&g);
}

/* Rules: D-RESUME U-4 */
static void test_a_pause_right_after_a_resume_brings_it_to_rest_again(void **state)
{
	struct guest g;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	guest_start(&g);
	for (uint16_t i = 0; i < 500; i++) {
		assert_true(guest_pause(&g));
		assert_int_equal(guest_wait_paused(&g, LONG_MS), 0);
		guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
		guest_kick(&g);
		assert_int_equal(guest_used_idx(&g), i);
		guest_resume(&g);
		assert_true(guest_wait_used(&g, (uint16_t)(i + 1)));
	}
	guest_destroy(&g);
}

/* Rules: D-HOLE-5 W-10 U-8 R-2 */
static void test_reset_while_parked_ends_the_pause(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	guest_create_filled(&g, NULL, 4096, 0xab);
	guest_start(&g);
	assert_true(guest_pause(&g));
	assert_int_equal(guest_wait_paused(&g, LONG_MS), 0);
	guest_reset(&g);
	assert_true(guest_is_paused(&g));
	assert_false(guest_resume(&g));
	guest_start(&g);
	serve_one_read(&g);
	guest_destroy(&g);
}

/* Rules: D-RESUME L-9 */
static void test_an_unanswered_pause_is_acknowledged_by_the_stop(void **state)
{
	const struct vblk_faulty_rule hang = { VBLK_FAULTY_PREADV, VBLK_FAULTY_HANG, 0, 1, 1, 1 };
	struct vblk_backing *memory, *backing;
	struct guest_options options = { .device.stop_timeout_ms = 20 };
	struct guest g;
	int fd;

	(void)state;
	guest_needs_registers();
	assert_int_equal(vblk_backing_create_memory(4096, &memory), 0);
	assert_int_equal(vblk_faulty_create(memory, &hang, 1, NULL, &backing), 0);
	vblk_backing_unref(memory);
	guest_create(&g, &options, backing);
	fd = parked_fd(&g);
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	vblk_faulty_wait_hanging(backing, 1);
	assert_true(guest_pause(&g));
	assert_int_equal(guest_wait_paused(&g, 1), -ETIMEDOUT);
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	guest_set_status(&g, 0);
	assert_int_equal(vblk_eventfd_clear(fd), 1);
	assert_true(guest_is_paused(&g));
	vblk_faulty_release(backing);
	close(fd);
	guest_destroy(&g);
}

/* Rules: L-9 D-CREATE U-3 */
static void test_the_flag_outlives_a_device_destroyed_while_parked(void **state)
{
	struct vblk_park *park;
	struct guest g;

	(void)state;
	guest_needs_registers();
	guest_create_filled(&g, NULL, 4096, 0xab);
	guest_start(&g);
	park = vblk_park_ref(vblk_device_park(g.device));
	assert_false(vblk_park_is_paused(park));
	assert_true(guest_pause(&g));
	guest_destroy(&g);
	assert_true(vblk_park_is_paused(park));
	vblk_park_unref(park);
}

/* Rules: U-7 */
static void test_pause_while_throttled_and_on(void **state)
{
	struct guest_options options = {
		.device.throttle = { .iops = 20, .iops_burst = 20 },
		.real_clock = true,
	};
	struct guest g;

	(void)state;
	guest_create_filled(&g, &options, 4096, 0xab);
	guest_start(&g);
	for (unsigned i = 0; i < 22; i++)
		guest_request_at(&g, i, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	assert_true(guest_wait_used(&g, 20));
	assert_true(guest_pause(&g));
	assert_int_equal(guest_wait_paused(&g, LONG_MS), 0);
	assert_true(guest_resume(&g));
	assert_true(guest_wait_used(&g, 22));
	guest_destroy(&g);
}

/* Rules: T-17 */
static void test_limits_taken_away_while_stalled_let_the_request_pass_at_once(void **state)
{
	/* One operation in 10^6 s: without the change this would never end. */
	struct guest_options options = {
		.device.throttle = { .bps = 1, .bps_burst = 512 },
		.real_clock = true,
	};
	const struct vblk_throttle none = { 0 };
	struct guest g;

	(void)state;
	guest_create_filled(&g, &options, 4096, 0xab);
	guest_start(&g);
	for (unsigned i = 0; i < 5; i++)
		guest_request_at(&g, i, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	assert_true(guest_wait_used(&g, 1));
	assert_int_equal(guest_set_throttle(&g, &none), 0);
	assert_true(guest_wait_used(&g, 5));
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(guest_used_elem(&g, (uint16_t)i).id, 3 * i);
	assert_int_equal(guest_metrics(&g).throttled_now, 0);
	guest_destroy(&g);
}

/* Rules: T-19 */
static void test_set_throttle_refuses_nonsense_and_keeps_what_was(void **state)
{
	struct guest_options options = inline_options;
	const struct vblk_throttle nonsense = { .iops_burst = 5 };
	struct guest g;

	(void)state;
	options.device.throttle = (struct vblk_throttle){ .iops = 1 };
	guest_create_filled(&g, &options, 4096, 0xab);
	guest_start(&g);
	assert_int_equal(guest_set_throttle(&g, &nonsense), -EINVAL);
	guest_request_at(&g, 0, VIRTIO_BLK_T_IN, 0, 512);
	guest_request_at(&g, 1, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	assert_int_equal(guest_used_idx(&g), 1);
	guest_destroy(&g);
}

/* Rules: D-INLINE-PAUSE */
static void test_inline_rests_at_once_and_serves_on_resume(void **state)
{
	struct guest g;
	uint64_t deadline;
	int fd;

	(void)state;
	guest_needs_registers();
	guest_create_filled(&g, &inline_options, 4096, 0xab);
	fd = parked_fd(&g);
	guest_start(&g);
	assert_false(guest_is_paused(&g));
	assert_true(guest_pause(&g));
	assert_true(guest_is_paused(&g));
	assert_int_equal(vblk_eventfd_clear(fd), 1);
	assert_false(guest_pause(&g));
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	guest_run(&g);
	assert_int_equal(guest_used_idx(&g), 0);
	assert_false(vblk_device_next_deadline(g.device, &deadline));
	assert_false(guest_resume(&g));
	assert_false(guest_is_paused(&g));
	assert_int_equal(guest_used_idx(&g), 1);
	close(fd);
	guest_destroy(&g);
}

/* Rules: D-INLINE-PAUSE R-8 */
static void test_inline_that_starts_during_a_pause_serves_on_resume(void **state)
{
	struct guest g;
	uint64_t deadline;
	int fd;

	(void)state;
	guest_needs_registers();
	guest_create_filled(&g, &inline_options, 4096, 0xab);
	fd = parked_fd(&g);
	assert_false(guest_pause(&g));
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	guest_start(&g);
	assert_true(guest_is_paused(&g));
	assert_false(vblk_device_next_deadline(g.device, &deadline));
	guest_run(&g);
	assert_int_equal(guest_used_idx(&g), 0);
	assert_false(guest_pause(&g));
	assert_false(guest_resume(&g));
	assert_false(guest_is_paused(&g));
	assert_int_equal(guest_used_idx(&g), 1);
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	close(fd);
	guest_destroy(&g);
}

static void test_inline_reset_ends_the_pause(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	guest_create_filled(&g, &inline_options, 4096, 0xab);
	guest_start(&g);
	assert_true(guest_pause(&g));
	guest_reset(&g);
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	assert_int_equal(guest_used_idx(&g), 1);
	guest_destroy(&g);
}

/* Rules: C-7 */
static void test_the_parked_eventfd_can_be_taken_away(void **state)
{
	struct guest g;
	int fd;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	fd = parked_fd(&g);
	guest_start(&g);
	assert_int_equal(guest_set_parked_fd(&g, -1), 0);
	assert_true(guest_pause(&g));
	assert_int_equal(guest_wait_paused(&g, LONG_MS), 0);
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	assert_int_equal(guest_set_parked_fd(&g, 1 << 20), -EBADF);
	close(fd);
	guest_destroy(&g);
}

struct storm {
	struct guest *guest;
	atomic_bool stop;
};

static void *pause_storm(void *argument)
{
	struct storm *storm = argument;

	while (!atomic_load(&storm->stop)) {
		(void)guest_pause(storm->guest);
		(void)guest_resume(storm->guest);
	}
	return NULL;
}

/* Rules: U-5 O-10 */
static void test_pauses_under_load_lose_nothing(void **state)
{
	struct storm storm;
	pthread_t thread;
	struct guest g;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	guest_start(&g);
	storm.guest = &g;
	atomic_init(&storm.stop, false);
	assert_int_equal(pthread_create(&thread, NULL, pause_storm, &storm), 0);
	for (int i = 0; i < 2000; i++)
		serve_one_read(&g);
	atomic_store(&storm.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(guest_metrics(&g).reads_completed, 2000);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_a_worker_there_is_nothing_to_wait_for),
		cmocka_unit_test(test_worker_that_starts_during_a_pause_parks_before_it_serves),
		cmocka_unit_test(test_pause_without_a_worker_ends_with_a_reset),
		cmocka_unit_test(test_what_came_during_a_pause_is_served_in_one_drain),
		cmocka_unit_test(test_the_flag_is_down_when_driver_ok_returns),
		cmocka_unit_test(test_a_pause_is_acknowledged_once_with_the_flag_up),
		cmocka_unit_test(test_a_kick_while_parked_is_served_after_resume),
		cmocka_unit_test(test_every_promised_acknowledgement_comes_whatever_the_race),
		cmocka_unit_test(test_a_pause_right_after_a_resume_brings_it_to_rest_again),
		cmocka_unit_test(test_reset_while_parked_ends_the_pause),
		cmocka_unit_test(test_an_unanswered_pause_is_acknowledged_by_the_stop),
		cmocka_unit_test(test_the_flag_outlives_a_device_destroyed_while_parked),
		cmocka_unit_test(test_pause_while_throttled_and_on),
		cmocka_unit_test(test_limits_taken_away_while_stalled_let_the_request_pass_at_once),
		cmocka_unit_test(test_set_throttle_refuses_nonsense_and_keeps_what_was),
		cmocka_unit_test(test_inline_rests_at_once_and_serves_on_resume),
		cmocka_unit_test(test_inline_that_starts_during_a_pause_serves_on_resume),
		cmocka_unit_test(test_inline_reset_ends_the_pause),
		cmocka_unit_test(test_the_parked_eventfd_can_be_taken_away),
		cmocka_unit_test(test_pauses_under_load_lose_nothing),
	};

	return cmocka_run_group_tests_name("pause", tests, NULL, NULL);
}
