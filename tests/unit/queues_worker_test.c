/* SPDX-License-Identifier: MIT */
/*
 * Several queues with a worker each: served at the same time, started all or none, and stopped
 * together however many of them hang in the host's disk.
 */
#include "disk.h"
#include "expect.h"
#include "process.h"
#include "queues.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "device/device.h"

#define SECTOR	   VBLK_SECTOR_SIZE
#define DISK_SIZE  (64u * SECTOR)
#define QUEUES	   4u
#define TIMEOUT_MS 400u

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

struct scene {
	struct queues q;
	unsigned losses;
	int error;
};

static void note_loss(void *context, int error)
{
	struct scene *scene = context;

	scene->losses++;
	scene->error = error;
}

static void create_patient(struct scene *scene, struct vblk_backing *disk, uint32_t timeout_ms)
{
	const struct guest_options options = {
		.device = { .stop_timeout_ms = timeout_ms,
			    .worker_lost = note_loss,
			    .worker_lost_context = scene },
	};

	memset(scene, 0, sizeof(*scene));
	assert_true(process_wait_threads(own_threads));
	queues_create(&scene->q, QUEUES, &options, disk);
}

static void create(struct scene *scene, struct vblk_backing *disk)
{
	create_patient(scene, disk, TIMEOUT_MS);
}

static uint64_t now_ms(void)
{
	return vblk_clock_now(&(struct vblk_clock){ 0 }) / VBLK_NSEC_PER_MSEC;
}

static unsigned times_logged(struct guest *g, const char *text)
{
	unsigned count = 0;

	for (const char *at = g->log; (at = strstr(at, text)); at++)
		count++;
	return count;
}

static void expect_all_served(struct queues *q)
{
	for (unsigned i = 0; i < QUEUES; i++) {
		uint16_t before = queues_used(q, i);

		queues_read(q, i, 20 * i, 3);
		queues_kick(q, i);
		assert_true(queues_wait_used(q, i, (uint16_t)(before + 3)));
	}
}

static void test_MQ_3_a_queue_is_served_while_another_hangs(void **state)
{
	static const struct vblk_faulty_rule hang = FAULT(PREADV, HANG, .count = 1);
	struct scene s;

	(void)state;
	create(&s, disk_create_faulty(DISK_SIZE, 0xab, &hang, 1));
	queues_start(&s.q);
	queues_read(&s.q, 0, 0, 2);
	queues_kick(&s.q, 0);
	vblk_faulty_wait_hanging(s.q.guest.backing, 1);
	queues_read(&s.q, 3, 10, 5);
	queues_kick(&s.q, 3);
	assert_true(queues_wait_used(&s.q, 3, 5));
	assert_int_equal(queues_used(&s.q, 0), 0);
	vblk_faulty_release(s.q.guest.backing);
	assert_true(queues_wait_used(&s.q, 0, 2));
	queues_destroy(&s.q);
}

/* Rules: D-NAMES */
static void test_MQ_4_a_worker_for_each_queue_that_is_ready(void **state)
{
	struct scene s;

	(void)state;
	create(&s, disk_create(DISK_SIZE, 0xab));
	queues_negotiate(&s.q);
	queues_set_up(&s.q, 1);
	queues_set_up(&s.q, 3);
	assert_int_equal(process_threads(), own_threads);
	guest_set_status(&s.q.guest, 0xf);
	assert_int_equal(process_threads(), own_threads + 3); /* queue 0 always has one */
	queues_reset(&s.q);
	assert_true(process_wait_threads(own_threads));
	queues_start(&s.q);
	assert_int_equal(process_threads(), own_threads + QUEUES);
	expect_all_served(&s.q);
	queues_destroy(&s.q);
	assert_true(process_wait_threads(own_threads));
}

/* Rules: D-HOLE-4, D-SPAWN, L-8 */
static void test_MQ_4_a_start_that_fails_half_way_is_undone(void **state)
{
	unsigned failures = 0;

	(void)state;
	for (size_t more = 0;; more++) {
		struct scene s;
		bool started;
		size_t fds;

		create(&s, disk_create(DISK_SIZE, 0xab));
		queues_negotiate(&s.q);
		for (unsigned i = 0; i < QUEUES; i++)
			queues_set_up(&s.q, i);
		fds = process_fds();
		process_limit_fds(more);
		guest_set_status(&s.q.guest, 0xf);
		process_unlimit_fds();
		started = guest_status(&s.q.guest) == 0xf;
		if (!started) {
			failures++;
			assert_int_equal(guest_status(&s.q.guest), 0x4f);
			assert_int_equal(s.losses, 1);
			assert_int_equal(s.error, -EMFILE);
			assert_true(process_wait_threads(own_threads));
			assert_int_equal(process_fds(), fds);
			assert_true(vblk_device_is_paused(s.q.guest.device));
			queues_reset(&s.q);
			queues_start(&s.q);
		}
		expect_all_served(&s.q);
		assert_int_equal(s.losses, started ? 0 : 1);
		queues_destroy(&s.q);
		if (started)
			break;
	}
	/* Four descriptors for each worker. */
	assert_in_range(failures, 4 * QUEUES, 40);
}

/* Rules: D-DEAD, D-HOLE-7 */
static void test_MQ_5_one_that_hangs_takes_no_other_with_it(void **state)
{
	static const struct vblk_faulty_rule hang = FAULT(PREADV, HANG, .count = 1);

	(void)state;
	for (unsigned stuck = 0; stuck < QUEUES; stuck += QUEUES - 1) {
		struct scene s;
		uint64_t begin;

		create(&s, disk_create_faulty(DISK_SIZE, 0xab, &hang, 1));
		queues_start(&s.q);
		queues_read(&s.q, stuck, 0, 1);
		queues_kick(&s.q, stuck);
		vblk_faulty_wait_hanging(s.q.guest.backing, 1);
		queues_read(&s.q, 1, 10, 5);
		queues_kick(&s.q, 1);
		assert_true(queues_wait_used(&s.q, 1, 5));
		begin = now_ms();
		guest_set_status(&s.q.guest, 0);
		assert_in_range(now_ms() - begin, TIMEOUT_MS - 1, 4 * TIMEOUT_MS - 1);
		assert_int_equal(s.losses, 1);
		assert_int_equal(s.error, -ETIMEDOUT);
		assert_int_equal(times_logged(&s.q.guest, "was abandoned"), 1);
		assert_true(process_wait_threads(own_threads + 1));
		queues_start(&s.q);
		assert_int_equal(guest_status(&s.q.guest), 0x4f);
		assert_int_equal(process_threads(), own_threads + 1);
		vblk_faulty_release(s.q.guest.backing);
		assert_true(process_wait_threads(own_threads));
		queues_destroy(&s.q);
	}
}

/* Rules: R-7 */
static void test_MQ_5_all_that_hang_are_waited_for_at_once(void **state)
{
	static const struct vblk_faulty_rule hang = FAULT(PREADV, HANG, .count = QUEUES);
	struct scene s;
	uint64_t begin;

	(void)state;
	create(&s, disk_create_faulty(DISK_SIZE, 0xab, &hang, 1));
	queues_start(&s.q);
	for (unsigned i = 0; i < QUEUES; i++) {
		queues_read(&s.q, i, i, 1);
		queues_kick(&s.q, i);
	}
	vblk_faulty_wait_hanging(s.q.guest.backing, QUEUES);
	begin = now_ms();
	guest_set_status(&s.q.guest, 0);
	assert_in_range(now_ms() - begin, TIMEOUT_MS - 1, 4 * TIMEOUT_MS - 1);
	assert_int_equal(s.losses, 1);
	assert_int_equal(times_logged(&s.q.guest, "was abandoned"), QUEUES);
	assert_int_equal(process_threads(), own_threads + QUEUES);
	vblk_faulty_release(s.q.guest.backing);
	assert_true(process_wait_threads(own_threads));
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(queues_used(&s.q, i), 0);
	queues_destroy(&s.q);
}

static bool all_are_told(void *context)
{
	const struct scene *s = context;

	for (unsigned i = 0; i < QUEUES; i++) {
		if (!atomic_load(&s->q.guest.device->queue[i].engine->park->yield))
			return false;
	}
	return true;
}

static void *release_when_all_are_told(void *context)
{
	struct scene *s = context;

	(void)process_wait(all_are_told, s);
	vblk_faulty_release(s->q.guest.backing);
	return NULL;
}

/* None ends before all are told, so a device that waited for one first would lose it. */
static void test_MQ_5_all_are_told_before_one_is_waited_for(void **state)
{
	static const struct vblk_faulty_rule hang = FAULT(PREADV, HANG, .count = QUEUES);
	pthread_t thread;
	struct scene s;

	(void)state;
	create_patient(&s, disk_create_faulty(DISK_SIZE, 0xab, &hang, 1), 8000);
	queues_start(&s.q);
	for (unsigned i = 0; i < QUEUES; i++) {
		queues_read(&s.q, i, i, 1);
		queues_kick(&s.q, i);
	}
	vblk_faulty_wait_hanging(s.q.guest.backing, QUEUES);
	assert_int_equal(pthread_create(&thread, NULL, release_when_all_are_told, &s), 0);
	guest_set_status(&s.q.guest, 0);
	pthread_join(thread, NULL);
	assert_int_equal(s.losses, 0);
	queues_destroy(&s.q);
}

/* Rules: D-GROUP, D-HOLE-3 */
static void test_MQ_7_a_reset_while_all_wait_for_tokens(void **state)
{
	struct guest_options options = {
		.device.throttle = { .bps = 1, .bps_burst = SECTOR },
		.real_clock = true,
	};
	struct queues q;

	(void)state;
	queues_create(&q, QUEUES, &options, disk_create(DISK_SIZE, 0xab));
	for (int round = 0; round < 3; round++) {
		static const struct vblk_throttle none;

		queues_start(&q);
		for (unsigned i = 0; i < QUEUES; i++) {
			queues_read(&q, i, 10 * i, 5);
			queues_kick(&q, i);
		}
		assert_true(guest_wait_interrupt(&q.guest));
		queues_reset(&q);
		assert_int_equal(guest_metrics(&q.guest).throttled_now, 0);
		if (round == 1)
			assert_int_equal(vblk_device_set_throttle(q.guest.device, &none), 0);
	}
	queues_start(&q);
	expect_all_served(&q);
	queues_destroy(&q);
}

/* The thread id of the worker of a queue; 0: there is none. */
static pid_t worker_of(struct guest *g, unsigned queue)
{
	char wanted[32], path[300], name[32];
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	pid_t found = 0;

	assert_non_null(tasks);
	snprintf(wanted, sizeof(wanted), "vblk%u/%u\n", vblk_device_instance(g->device), queue);
	while ((task = readdir(tasks)) && !found) {
		FILE *comm;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
		comm = fopen(path, "r");
		if (!comm)
			continue;
		if (fgets(name, sizeof(name), comm) && strcmp(name, wanted) == 0)
			found = atoi(task->d_name);
		fclose(comm);
	}
	closedir(tasks);
	return found;
}

/* Rules: D-PLACE, W-1 */
static void test_MQ_8_workers_share_the_processors(void **state)
{
	struct guest_options options = { .queue_size = 16 };
	uint32_t list[2];
	size_t count = 0;
	cpu_set_t set;
	struct queues q;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	for (uint32_t cpu = 0; cpu < CPU_SETSIZE && count < 2; cpu++) {
		if (CPU_ISSET(cpu, &set))
			list[count++] = cpu;
	}
	options.device.placement = (struct vblk_placement){ .cpus = list, .cpu_count = count };
	queues_create(&q, QUEUES, &options, disk_create(DISK_SIZE, 0xab));
	queues_start(&q);
	expect_all_served(&q); /* hence they have been placed */
	for (unsigned i = 0; i < QUEUES; i++) {
		assert_int_equal(sched_getaffinity(worker_of(&q.guest, i), sizeof(set), &set), 0);
		assert_int_equal(CPU_COUNT(&set), 1);
		assert_true(CPU_ISSET(list[i % count], &set));
	}
	queues_destroy(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_MQ_3_a_queue_is_served_while_another_hangs),
		cmocka_unit_test(test_MQ_4_a_worker_for_each_queue_that_is_ready),
		cmocka_unit_test(test_MQ_4_a_start_that_fails_half_way_is_undone),
		cmocka_unit_test(test_MQ_5_one_that_hangs_takes_no_other_with_it),
		cmocka_unit_test(test_MQ_5_all_that_hang_are_waited_for_at_once),
		cmocka_unit_test(test_MQ_5_all_are_told_before_one_is_waited_for),
		cmocka_unit_test(test_MQ_7_a_reset_while_all_wait_for_tokens),
		cmocka_unit_test(test_MQ_8_workers_share_the_processors),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
