/* SPDX-License-Identifier: MIT */
/*
 * A worker that can no longer wait for events, because somebody put another descriptor in the
 * place of its epoll instance. The test does so itself, from the disk, hence on the worker's own
 * thread while it has a request in hand: what it sees next is the error.
 */
#include "disk.h"
#include "expect.h"
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/eventfd.h"
#include "device/device.h"

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE
#define LONG_MS	  10000

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

struct scene {
	struct guest g;
	bool broken; /* once is enough */
	bool pause_first;
	bool promised;
	int parked_fd;
	int other_fd;	   /* what takes the place of the epoll instance */
	pthread_t breaker; /* the worker */

	/* What the embedder hears. */
	atomic_uint losses;
	int error;
	bool at_rest;
	pthread_t teller;
};

/* The one epoll instance of this process. */
static int find_epoll(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	int found = -1;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		char target[64];
		ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

		if (length < 0)
			continue;
		target[length] = '\0';
		if (strcmp(target, "anon_inode:[eventpoll]") == 0)
			found = atoi(entry->d_name);
	}
	closedir(dir);
	assert_true(found >= 0);
	return found;
}

/* As a system call: the thread sanitizer would object, and rightly so. */
static void break_epoll(void *context)
{
	struct scene *scene = context;

	if (scene->broken)
		return;
	scene->broken = true;
	scene->breaker = pthread_self();
	if (scene->pause_first)
		scene->promised = vblk_device_pause(scene->g.device);
	syscall(SYS_dup3, scene->other_fd, find_epoll(), O_CLOEXEC);
}

static void note_loss(void *context, int error)
{
	struct scene *scene = context;

	scene->error = error;
	scene->teller = pthread_self();
	scene->at_rest = vblk_device_is_paused(scene->g.device);
	atomic_fetch_add(&scene->losses, 1);
}

static bool is_lost(void *context)
{
	return atomic_load(&((struct scene *)context)->losses) > 0;
}

/* Serves one request and loses the worker behind it. */
static void lose(struct scene *scene)
{
	const struct guest_options options = {
		.device = { .worker_lost = note_loss, .worker_lost_context = scene },
	};
	struct guest *g = &scene->g;

	assert_true(process_wait_threads(own_threads));
	assert_int_equal(vblk_eventfd_create(&scene->other_fd), 0);
	assert_int_equal(vblk_eventfd_create(&scene->parked_fd), 0);
	guest_create(g, &options, disk_create_hooked(DISK_SIZE, 0xab, break_epoll, scene));
	assert_int_equal(vblk_device_set_parked_fd(g->device, scene->parked_fd), 0);
	guest_start(g);
	guest_request(g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(g);
	assert_true(process_wait(is_lost, scene));
}

static void end(struct scene *scene)
{
	guest_destroy(&scene->g);
	close(scene->parked_fd);
	close(scene->other_fd);
	assert_true(process_wait_threads(own_threads));
}

/* Rules: W-4 D-HOLE-4 */
static void test_driver_and_embedder_are_told(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	lose(&scene);
	expect_answer(g, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(guest_status(g), 0x4f);
	expect_interrupts(g, 2, VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(scene.error, -EINVAL);
	assert_true(pthread_equal(scene.teller, scene.breaker));
	assert_true(scene.at_rest);
	assert_true(guest_logged(g, "vblk: error: worker cannot wait for events"));
	assert_true(guest_logged(g, "instance="));
	end(&scene);
	assert_int_equal(atomic_load(&scene.losses), 1);
}

/* Rules: D-SPAWN R-2 */
static void test_reset_puts_it_right(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	lose(&scene);
	guest_request(g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(g);
	guest_reset(g);
	assert_int_equal(guest_status(g), 0);
	expect_interrupts(g, 0, 0);
	assert_false(g->device->dead);
	assert_true(process_wait_threads(own_threads));
	guest_start(g);
	assert_false(vblk_device_is_paused(g->device));
	guest_request(g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(g);
	assert_true(guest_wait_used(g, 1));
	expect_counters(g, .reads_completed = 2, .bytes_read = 2 * SECTOR);
	end(&scene);
	assert_int_equal(atomic_load(&scene.losses), 1);
}

/* Rules: D-RESUME W-3 */
static void test_pause_of_a_lost_worker_waits_for_nobody(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	lose(&scene);
	assert_int_equal(vblk_device_wait_paused(g->device, LONG_MS), 0);
	assert_false(vblk_device_pause(g->device));
	assert_false(vblk_device_resume(g->device));
	assert_true(vblk_device_is_paused(g->device));
	assert_int_equal(vblk_eventfd_clear(scene.parked_fd), 0);
	end(&scene);
}

/* Rules: D-RESUME */
static void test_unanswered_pause_is_acknowledged_by_the_loss(void **state)
{
	struct scene scene = { .pause_first = true };
	struct guest *g = &scene.g;

	(void)state;
	lose(&scene);
	assert_true(scene.promised);
	assert_int_equal(vblk_eventfd_clear(scene.parked_fd), 1);
	assert_true(vblk_device_is_paused(g->device));
	guest_reset(g);
	assert_int_equal(vblk_eventfd_clear(scene.parked_fd), 0);
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_driver_and_embedder_are_told),
		cmocka_unit_test(test_reset_puts_it_right),
		cmocka_unit_test(test_pause_of_a_lost_worker_waits_for_nobody),
		cmocka_unit_test(test_unanswered_pause_is_acknowledged_by_the_loss),
	};

	return cmocka_run_group_tests_name("worker_lost", tests, setup_group, NULL);
}
