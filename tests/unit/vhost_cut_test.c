/* SPDX-License-Identifier: MIT */
/*
 * Front ends that cut their files short between a request and its answer. The disk is a file, and
 * what it holds is looked at from outside: no zeros that stand for a page which is gone may come
 * to it, the front end is told nothing that is not so, and everybody else goes on.
 */
#include "process.h"
#include "vhost_front.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/le.h"
#include "vhost/inflight_layout.h"

#define DISK_SIZE 0x40000u
#define FILL	  0xab
#define SECTOR	  VBLK_SECTOR_SIZE
#define PAGE	  4096u

#define LINE "memory was cut short"

/* Its handlers of signals cannot be left by a jump. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

typedef int (*opener)(const char *path, uint32_t flags, struct vblk_backing **backing);

struct scene {
	struct front_host host;
	struct front front;
	int disk;
	size_t fds;
};

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

/* Two rings on a disk of its own. */
static struct front *begin(struct scene *scene, opener open_disk)
{
	const struct vblk_vhost_server_options options = { .queues = 2 };
	struct vblk_backing *backing;
	uint8_t fill[PAGE];
	char path[64];

	memset(scene, 0, sizeof(*scene));
	scene->fds = process_fds();
	scene->disk = memfd_create("disk", MFD_CLOEXEC);
	memset(fill, FILL, sizeof(fill));
	for (unsigned at = 0; at < DISK_SIZE; at += PAGE)
		assert_int_equal(pwrite(scene->disk, fill, PAGE, at), PAGE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", scene->disk);
	assert_int_equal(open_disk(path, 0, &backing), 0);
	front_host_start(&scene->host, &options, backing);
	front_open(&scene->front, &scene->host);
	front_start(&scene->front, 2);
	return &scene->front;
}

static void end(struct scene *scene)
{
	front_close(&scene->front);
	front_host_stop(&scene->host);
	close(scene->disk);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(process_fds(), scene->fds);
}

static bool disk_is_untouched(const struct scene *scene)
{
	uint8_t bytes[PAGE];

	for (unsigned at = 0; at < DISK_SIZE; at += PAGE) {
		assert_int_equal(pread(scene->disk, bytes, PAGE, at), PAGE);
		for (unsigned i = 0; i < PAGE; i++) {
			if (bytes[i] != FILL)
				return false;
		}
	}
	return true;
}

/* Until the workers go on, what is laid out in the rings is seen by nobody. */
static void hold_workers(struct scene *scene)
{
	(void)vblk_vhost_server_pause(scene->host.server);
	while (!vblk_vhost_server_is_at_rest(scene->host.server))
		sched_yield();
}

/* Cuts off all of the front end's memory from a place on, and lets a ring run into the hole. */
static void cut_and_go_on(struct scene *scene, const uint8_t *at, uint32_t ring)
{
	struct front *f = &scene->front;

	assert_int_equal(ftruncate(f->memory_fd, at - f->memory), 0);
	vblk_vhost_server_resume(scene->host.server);
	front_kick(f, ring);
}

static unsigned count_lines(struct front_host *host, const char *text)
{
	const char *at = host->log;
	unsigned count = 0;

	pthread_mutex_lock(&host->log_lock);
	while ((at = strstr(at, text)) != NULL) {
		at++;
		count++;
	}
	pthread_mutex_unlock(&host->log_lock);
	return count;
}

/* Waits until a worker has found out, and the server is told. */
static void wait_until_told(struct scene *scene)
{
	struct pollfd pfd = { .fd = vblk_vhost_server_fd(scene->host.server), .events = POLLIN };

	assert_int_equal(poll(&pfd, 1, 10000), 1);
}

/*
 * The front end is disconnected, its workers have ended and its memory is unmapped, and the next
 * one is served. `beside`: another scene that is there and stays, or NULL.
 */
static void expect_end_of_connection(struct scene *scene, const struct scene *beside)
{
	struct front *f = &scene->front;

	front_host_serve(&scene->host);
	assert_true(front_is_cut_off(f));
	assert_true(front_host_logged(&scene->host, "front end has cut its memory short"));
	assert_true(process_wait_threads(own_threads + (beside ? 2 : 0)));
	/* Its own mapping, and both of the other's. */
	assert_int_equal(front_count_mappings("memfd:guest"), beside ? 3 : 1);
	front_close(f);
	front_open(f, &scene->host);
	front_start(f, 2);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_data(f, 0, 0)[0], FILL);
}

/* The kernel copies from the page, and says that there is none: nothing else has happened. */
static void test_write_of_a_page_that_is_gone_fails(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, vblk_backing_open_file);

	(void)state;
	hold_workers(&scene);
	front_offer(f, 1, 3, VIRTIO_BLK_T_OUT, 8, PAGE);
	cut_and_go_on(&scene, front_data(f, 1, 3), 1);
	assert_true(front_wait_used(f, 1, 1));
	assert_int_equal(front_status(f, 1, 3), VIRTIO_BLK_S_IOERR);
	assert_true(disk_is_untouched(&scene));
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_do(f, 1, 2, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_true(vblk_vhost_server_is_connected(scene.host.server));
	end(&scene);
}

static void test_write_from_a_page_that_is_gone_into_a_mapping_ends_the_connection(void **state)
{
	struct scene scene;
	struct front *f;

	(void)state;
	if (UNDER_TSAN)
		skip();
	f = begin(&scene, vblk_backing_map_file);
	hold_workers(&scene);
	front_offer(f, 1, 3, VIRTIO_BLK_T_OUT, 8, PAGE);
	cut_and_go_on(&scene, front_data(f, 1, 3), 1);
	wait_until_told(&scene);
	expect_end_of_connection(&scene, NULL);
	assert_true(front_host_logged(&scene.host, LINE));
	assert_true(disk_is_untouched(&scene));
	end(&scene);
}

/*
 * One ring runs into the hole, and leaves zeros there. The other is to write data that were in that
 * page, and has not found out by itself.
 */
static void zeros_come_to_no_disk(opener open_disk)
{
	struct scene scene, other;
	struct front *f = begin(&scene, open_disk);
	struct front *g = begin(&other, open_disk);
	uint8_t *hole = front_data(f, 1, 3) - PAGE; /* where the header is */

	hold_workers(&scene);
	front_offer(f, 1, 3, VIRTIO_BLK_T_IN, 0, PAGE);
	cut_and_go_on(&scene, hole, 1);
	wait_until_told(&scene);
	front_offer(f, 0, 0, VIRTIO_BLK_T_OUT, 8, PAGE);
	vblk_le64_put(front_desc(f, 0) + 16, front_guest_of(f, hole));
	front_kick(f, 0);
	while (count_lines(&scene.host, LINE) < 2 && front_used_idx(f, 0) == 0)
		sched_yield();
	assert_int_equal(front_used_idx(f, 0), 0);
	assert_int_equal(front_used_idx(f, 1), 0);
	assert_int_equal(front_status(f, 0, 0), FRONT_SENTINEL);
	assert_true(disk_is_untouched(&scene));
	assert_int_equal(front_do(g, 1, 3, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);

	expect_end_of_connection(&scene, &other);
	assert_int_equal(count_lines(&scene.host, LINE), 2);
	assert_true(disk_is_untouched(&scene));
	assert_int_equal(front_do(g, 0, 0, VIRTIO_BLK_T_OUT, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_host_complaints(&other.host), 0);
	front_close(&other.front);
	front_host_stop(&other.host);
	close(other.disk);
	end(&scene);
}

static void test_zeros_of_a_lost_page_come_to_no_file(void **state)
{
	(void)state;
	zeros_come_to_no_disk(vblk_backing_open_file);
}

static void test_zeros_of_a_lost_page_come_to_no_mapping(void **state)
{
	(void)state;
	zeros_come_to_no_disk(vblk_backing_map_file);
}

/*
 * A header that is cut in two: the type is there, and says write; the sector is not, and reads as
 * 0, where it never was to be written.
 */
static void test_half_a_header_is_no_request(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, vblk_backing_open_file);
	uint8_t *hole = front_data(f, 1, 3), *header = hole - 8;

	(void)state;
	hold_workers(&scene);
	front_offer(f, 1, 3, VIRTIO_BLK_T_OUT, 8, SECTOR);
	vblk_le64_put(front_desc(f, 1) + 16 * 9, front_guest_of(f, header));
	vblk_le64_put(front_desc(f, 1) + 16 * 10, front_guest_of(f, front_data(f, 1, 2)));
	memset(header, 0, 16);
	vblk_le32_put(header, VIRTIO_BLK_T_OUT);
	vblk_le64_put(header + 8, 8);
	cut_and_go_on(&scene, hole, 1);
	wait_until_told(&scene);
	front_host_serve(&scene.host); /* and the worker has ended */
	assert_int_equal(front_used_idx(f, 1), 0);
	assert_true(disk_is_untouched(&scene));
	expect_end_of_connection(&scene, NULL);
	end(&scene);
}

/* It would be said to be in flight by nobody, if this process were killed now. */
static void test_request_without_a_record_is_not_served(void **state)
{
	struct vblk_vhost_inflight_area area = { .queues = 2, .queue_size = FRONT_RING_SIZE };
	struct scene scene;
	struct front *f;
	int fd;

	(void)state;
	if (UNDER_TSAN) {
		print_message("ThreadSanitizer holds a lock of its own while it stores there\n");
		skip();
	}
	f = begin(&scene, vblk_backing_open_file);
	fd = memfd_create("record", MFD_CLOEXEC);
	area.size = 2 * vblk_vhost_inflight_stride(FRONT_RING_SIZE);
	assert_int_equal(ftruncate(fd, (off_t)area.size), 0);
	assert_int_equal(front_put(f, VBLK_VHOST_SET_INFLIGHT_FD, &area, sizeof(area), &fd, 1), 0);
	assert_int_equal(front_do(f, 1, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	hold_workers(&scene);
	front_offer(f, 1, 1, VIRTIO_BLK_T_OUT, 0, SECTOR);
	assert_int_equal(ftruncate(fd, 0), 0);
	cut_and_go_on(&scene, f->memory + FRONT_SIZE, 1);
	wait_until_told(&scene);
	front_host_serve(&scene.host);
	assert_int_equal(front_used_idx(f, 1), 1);
	assert_true(disk_is_untouched(&scene));
	expect_end_of_connection(&scene, NULL);
	close(fd);
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_of_a_page_that_is_gone_fails),
		cmocka_unit_test(
			test_write_from_a_page_that_is_gone_into_a_mapping_ends_the_connection),
		cmocka_unit_test(test_zeros_of_a_lost_page_come_to_no_file),
		cmocka_unit_test(test_zeros_of_a_lost_page_come_to_no_mapping),
		cmocka_unit_test(test_half_a_header_is_no_request),
		cmocka_unit_test(test_request_without_a_record_is_not_served),
	};

	return cmocka_run_group_tests_name("vhost_cut", tests, setup_group, NULL);
}
