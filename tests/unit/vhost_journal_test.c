/* SPDX-License-Identifier: MIT */
/*
 * The record of requests in flight between two back ends: the first hangs in its disk and is thrown
 * away, the second goes on with what the first had taken and not answered.
 */
#include "disk.h"
#include "process.h"
#include "vhost_front.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define DISK_SIZE  0x40000u
#define FILL	   0xab
#define SECTOR	   VBLK_SECTOR_SIZE
#define PATIENT_MS 10000u
#define STUCK_MS   200u /* of a disk that hangs */

struct record {
	struct vblk_vhost_inflight_area area;
	int fd;
	uint8_t *map;
};

struct scene {
	struct front_host first;
	struct front_host second;
	struct front front;
	struct record record;
	size_t fds;
};

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

static void start_host(struct front_host *host, unsigned queues, uint32_t stop_timeout_ms,
		       struct vblk_backing *disk)
{
	const struct vblk_vhost_server_options options = {
		.device = { .stop_timeout_ms = stop_timeout_ms },
		.queues = (uint16_t)queues,
	};

	front_host_start(host, &options, disk);
}

/* Returns how long the answer is; the descriptor is -1 if the request was refused. */
static size_t get_record(struct front *f, struct record *record, size_t size)
{
	const struct vblk_vhost_header header = { VBLK_VHOST_GET_INFLIGHT_FD, VBLK_VHOST_VERSION,
						  (uint32_t)size };
	struct vblk_vhost_header reply;

	front_send(f, &header, &record->area, size, NULL, 0);
	return front_receive(f, &reply, &record->area, sizeof(record->area), &record->fd);
}

static uint64_t set_record(struct front *f, const struct record *record)
{
	return front_put(f, VBLK_VHOST_SET_INFLIGHT_FD, &record->area, sizeof(record->area),
			 &record->fd, 1);
}

static void start_rings(struct front *f, unsigned rings)
{
	front_share_memory(f);
	for (unsigned i = 0; i < rings; i++) {
		front_set_ring(f, i, 0);
		front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, i, 1);
	}
}

/* A first back end on `disk`, with a record that is in use. */
static struct front *begin_with(struct scene *scene, unsigned queues, uint32_t stop_timeout_ms,
				struct vblk_backing *disk)
{
	struct record *record = &scene->record;
	struct front *f = &scene->front;

	memset(scene, 0, sizeof(*scene));
	scene->fds = process_fds();
	start_host(&scene->first, queues, stop_timeout_ms, disk);
	front_open(f, &scene->first);
	front_negotiate(f);
	record->area.queues = (uint16_t)queues;
	record->area.queue_size = FRONT_RING_SIZE;
	assert_int_equal(get_record(f, record, sizeof(record->area)), sizeof(record->area));
	assert_true(record->fd >= 0);
	record->map = mmap(NULL, record->area.size, PROT_READ | PROT_WRITE, MAP_SHARED, record->fd,
			   (off_t)record->area.offset);
	assert_true(record->map != MAP_FAILED);
	assert_int_equal(set_record(f, record), 0);
	start_rings(f, queues);
	return f;
}

static struct front *begin(struct scene *scene, unsigned queues, struct vblk_backing *disk)
{
	return begin_with(scene, queues, PATIENT_MS, disk);
}

static struct vblk_vhost_inflight_queue *area_of(struct scene *scene, unsigned ring)
{
	return (void *)(scene->record.map + ring * vblk_vhost_inflight_stride(1024));
}

static unsigned count_marks(struct scene *scene, unsigned ring)
{
	const struct vblk_vhost_inflight_queue *area = area_of(scene, ring);
	unsigned marks = 0;

	for (unsigned i = 0; i < FRONT_RING_SIZE; i++)
		marks += area->desc[i].inflight;
	return marks;
}

/* As a crash, but for the process: whoever hangs may write no more. */
static void crash(struct scene *scene)
{
	vblk_vhost_server_destroy(scene->first.server);
	scene->first.server = NULL;
	scene->front.host = NULL;
	front_disconnect(&scene->front);
}

static void start_second(struct scene *scene, unsigned queues)
{
	struct front *f = &scene->front;

	start_host(&scene->second, queues, PATIENT_MS, disk_create(DISK_SIZE, FILL));
	front_reconnect(f, &scene->second);
	front_negotiate(f);
	assert_int_equal(set_record(f, &scene->record), 0);
	start_rings(f, queues);
}

static void end(struct scene *scene)
{
	front_close(&scene->front);
	front_host_stop(&scene->first);
	if (scene->second.server)
		front_host_stop(&scene->second);
	munmap(scene->record.map, scene->record.area.size);
	/* The mapping is the drain's until its thread has gone. */
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(front_count_mappings("memfd:vblk-inflight"), 0);
	close(scene->record.fd);
	assert_int_equal(process_fds(), scene->fds);
}

/* ---- the record ---- */

static void test_record_has_room_for_the_longest_ring(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 2, disk_create(DISK_SIZE, FILL));

	(void)state;
	(void)f;
	assert_int_equal(scene.record.area.size, 2 * vblk_vhost_inflight_stride(1024) + 64);
	assert_int_equal(scene.record.area.offset, 0);
	assert_int_equal(scene.record.area.queue_size, FRONT_RING_SIZE);
	assert_int_equal(fcntl(scene.record.fd, F_GET_SEALS),
			 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	end(&scene);
}

static void test_answer_has_the_length_of_the_question(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1, disk_create(DISK_SIZE, FILL));
	struct record other = { .area = { .queues = 1, .queue_size = 8 } };

	(void)state;
	assert_int_equal(get_record(f, &other, VBLK_VHOST_INFLIGHT_SHORT),
			 VBLK_VHOST_INFLIGHT_SHORT);
	close(other.fd);
	end(&scene);
}

static void test_record_for_more_than_the_disk_has_is_refused(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1, disk_create(DISK_SIZE, FILL));
	struct record other = { .area = { .queues = 2, .queue_size = 8 } };
	struct record bad = scene.record;

	(void)state;
	assert_int_equal(get_record(f, &other, sizeof(other.area)), sizeof(other.area));
	assert_int_equal(other.fd, -1);
	assert_int_equal(other.area.size, 0);
	bad.area.queues = 2;
	assert_int_equal(set_record(f, &bad), EINVAL);
	end(&scene);
}

static void test_record_that_is_too_small_or_crooked_is_refused(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1, disk_create(DISK_SIZE, FILL));
	struct record bad = scene.record;

	(void)state;
	bad.area.size = vblk_vhost_inflight_stride(FRONT_RING_SIZE) - 1;
	assert_int_equal(set_record(f, &bad), EINVAL);
	bad.area = scene.record.area;
	bad.area.offset = 32;
	assert_int_equal(set_record(f, &bad), EINVAL);
	bad.area.offset = 64; /* behind the end of the file */
	assert_int_equal(set_record(f, &bad), EINVAL);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	end(&scene);
}

static void test_answered_requests_are_not_marked(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1, disk_create(DISK_SIZE, FILL));

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(front_do(f, 0, i, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_get_base(f, 0), 5);
	assert_int_equal(count_marks(&scene, 0), 0);
	assert_int_equal(area_of(&scene, 0)->used_idx, 5);
	end(&scene);
}

/* ---- two lives ---- */

static const struct vblk_faulty_rule third_write_hangs =
	FAULT(PWRITEV, HANG, .first = 3, .count = 1);

/* Slots 0 and 1 are answered, 2 hangs in the disk, 3 was offered and not taken. */
static struct vblk_backing *get_stuck(struct scene *scene, unsigned queues, unsigned ring)
{
	struct vblk_backing *disk = disk_create_faulty(DISK_SIZE, FILL, &third_write_hangs, 1);
	struct front *f = begin_with(scene, queues, STUCK_MS, disk);

	for (unsigned i = 0; i < 4; i++) {
		memset(front_data(f, ring, i), (int)(0x10 + i), SECTOR);
		front_offer(f, ring, i, VIRTIO_BLK_T_OUT, 8 * i, SECTOR);
	}
	front_kick(f, ring);
	vblk_faulty_wait_hanging(disk, 1);
	return disk;
}

/* The one that hangs ends, and `workers` are left. Who was joined just now may still be counted. */
static void release(struct vblk_backing *disk, unsigned workers)
{
	vblk_faulty_release(disk);
	assert_true(process_wait_threads(own_threads + workers));
}

static void test_requests_in_flight_are_served_again_and_no_others(void **state)
{
	struct scene scene;
	struct vblk_backing *disk = get_stuck(&scene, 1, 0);
	struct front *f = &scene.front;

	(void)state;
	crash(&scene);
	assert_int_equal(count_marks(&scene, 0), 1);
	assert_int_equal(area_of(&scene, 0)->desc[6].inflight, 1);
	start_second(&scene, 1);
	assert_true(front_wait_used(f, 0, 4));
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(front_used_head(f, 0, (uint16_t)i), 3 * i);
		assert_int_equal(front_status(f, 0, i), VIRTIO_BLK_S_OK);
	}
	assert_true(front_host_logged(&scene.second, "in flight are served again"));
	front_get_base(f, 0);
	assert_int_equal(count_marks(&scene, 0), 0);
	/* Those that the first has answered did not come again. */
	assert_true(disk_is_filled(scene.second.backing, 0, FILL, 16 * SECTOR));
	assert_true(disk_is_filled(scene.second.backing, 16 * SECTOR, 0x12, SECTOR));
	assert_true(disk_is_filled(scene.second.backing, 24 * SECTOR, 0x13, SECTOR));
	release(disk, 0);
	end(&scene);
}

/* What the disk gives back to a worker that was cut off is nobody's answer any more. */
static void test_first_back_end_answers_nothing_afterwards(void **state)
{
	struct scene scene;
	struct vblk_backing *disk = get_stuck(&scene, 1, 0);
	struct front *f = &scene.front;

	(void)state;
	crash(&scene);
	release(disk, 0);
	assert_int_equal(front_used_idx(f, 0), 2);
	assert_int_equal(front_status(f, 0, 2), FRONT_SENTINEL);
	assert_int_equal(count_marks(&scene, 0), 1);
	start_second(&scene, 1);
	assert_true(front_wait_used(f, 0, 4));
	assert_int_equal(front_status(f, 0, 2), VIRTIO_BLK_S_OK);
	end(&scene);
}

static void test_each_ring_has_a_record_of_its_own(void **state)
{
	struct scene scene;
	struct vblk_backing *disk = get_stuck(&scene, 3, 1);
	struct front *f = &scene.front;

	(void)state;
	assert_int_equal(front_do(f, 2, 5, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	crash(&scene);
	assert_int_equal(count_marks(&scene, 0), 0);
	assert_int_equal(count_marks(&scene, 1), 1);
	assert_int_equal(count_marks(&scene, 2), 0);
	start_second(&scene, 3);
	assert_true(front_wait_used(f, 1, 4));
	assert_int_equal(front_used_idx(f, 0), 0);
	assert_int_equal(front_used_idx(f, 2), 1);
	assert_int_equal(front_do(f, 2, 6, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	release(disk, 3);
	end(&scene);
}

/* With a record, the index that the front end tells counts for nothing: it may be too high. */
static void test_record_knows_better_than_the_base(void **state)
{
	struct scene scene;
	struct vblk_backing *disk = get_stuck(&scene, 1, 0);
	struct front *f = &scene.front;

	(void)state;
	crash(&scene);
	start_host(&scene.second, 1, PATIENT_MS, disk_create(DISK_SIZE, FILL));
	front_reconnect(f, &scene.second);
	front_negotiate(f);
	assert_int_equal(set_record(f, &scene.record), 0);
	front_share_memory(f);
	front_set_ring(f, 0, 4);
	front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 0, 1);
	assert_true(front_wait_used(f, 0, 4));
	release(disk, 1);
	end(&scene);
}

static void test_record_that_contradicts_itself_breaks_the_ring(void **state)
{
	struct scene scene;
	struct vblk_backing *disk = get_stuck(&scene, 1, 0);
	struct front *f = &scene.front;

	(void)state;
	crash(&scene);
	release(disk, 0);
	area_of(&scene, 0)->used_idx = (uint16_t)(area_of(&scene, 0)->used_idx + 1000);
	start_second(&scene, 1);
	assert_true(front_wait_fd(f->ring[0].err_fd));
	assert_int_equal(front_get(f, VBLK_VHOST_GET_STATUS), VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(front_used_idx(f, 0), 2);
	end(&scene);
}

static void test_reset_forgets_the_record(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1, disk_create(DISK_SIZE, FILL));

	(void)state;
	assert_int_equal(front_put_u64(f, VBLK_VHOST_SET_STATUS, 0), 0);
	area_of(&scene, 0)->desc[0].inflight = 1;
	area_of(&scene, 0)->version = 99;
	start_rings(f, 1);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(area_of(&scene, 0)->version, 99);
	end(&scene);
}

static void test_ring_longer_than_its_record_is_served_without_it(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1, disk_create(DISK_SIZE, FILL));

	(void)state;
	front_get_base(f, 0);
	/* Of this size the record is for 8 entries and no more. */
	scene.record.area.queue_size = 8;
	scene.record.area.size = vblk_vhost_inflight_stride(8);
	area_of(&scene, 0)->version = 0;
	assert_int_equal(set_record(f, &scene.record), 0);
	front_set_ring(f, 0, 0);
	assert_true(front_host_logged(&scene.first, "ring is longer than its record"));
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	front_get_base(f, 0);
	assert_int_equal(area_of(&scene, 0)->version, 0);
	scene.record.area.size = vblk_vhost_inflight_stride(1024) + 64;
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_has_room_for_the_longest_ring),
		cmocka_unit_test(test_answer_has_the_length_of_the_question),
		cmocka_unit_test(test_record_for_more_than_the_disk_has_is_refused),
		cmocka_unit_test(test_record_that_is_too_small_or_crooked_is_refused),
		cmocka_unit_test(test_answered_requests_are_not_marked),
		cmocka_unit_test(test_requests_in_flight_are_served_again_and_no_others),
		cmocka_unit_test(test_first_back_end_answers_nothing_afterwards),
		cmocka_unit_test(test_each_ring_has_a_record_of_its_own),
		cmocka_unit_test(test_record_knows_better_than_the_base),
		cmocka_unit_test(test_record_that_contradicts_itself_breaks_the_ring),
		cmocka_unit_test(test_reset_forgets_the_record),
		cmocka_unit_test(test_ring_longer_than_its_record_is_served_without_it),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
