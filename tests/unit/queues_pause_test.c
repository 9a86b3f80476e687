/* SPDX-License-Identifier: MIT */
/* A device of several queues that is brought to rest: one flag and one acknowledgement for all. */
#include "disk.h"
#include "expect.h"
#include "queues.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/eventfd.h"
#include "device/device.h"

#define SECTOR	  VBLK_SECTOR_SIZE
#define DISK_SIZE (64u * SECTOR)
#define QUEUES	  4u
#define LONG_MS	  10000

static const struct vblk_faulty_rule hang = FAULT(PREADV, HANG, .count = 1);

static int create(struct queues *q, const struct guest_options *options, struct vblk_backing *disk)
{
	int fd;

	queues_create(q, QUEUES, options, disk);
	assert_int_equal(vblk_eventfd_create(&fd), 0);
	assert_int_equal(vblk_device_set_parked_fd(q->guest.device, fd), 0);
	return fd;
}

static void destroy(struct queues *q, int fd)
{
	queues_destroy(q);
	close(fd);
}

/* Waits for acknowledgements and returns how many came with the first. */
static uint64_t take_acks(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&pfd, 1, LONG_MS), 1);
	return vblk_eventfd_clear(fd);
}

static void request_all(struct queues *q)
{
	for (unsigned i = 0; i < QUEUES; i++) {
		queues_read(q, i, 10 * i, 2);
		queues_kick(q, i);
	}
}

static void expect_all_served(struct queues *q)
{
	for (unsigned i = 0; i < QUEUES; i++)
		assert_true(queues_wait_used(q, i, 2));
}

/* One queue has a request in hand that does not end; the others have nothing to do. */
static int start_with_one_busy(struct queues *q, unsigned index)
{
	const struct guest_options options = { .device.stop_timeout_ms = 20 };
	int fd = create(q, &options, disk_create_faulty(DISK_SIZE, 0xab, &hang, 1));

	queues_start(q);
	queues_read(q, index, 10 * index, 2);
	queues_kick(q, index);
	vblk_faulty_wait_hanging(q->guest.backing, 1);
	return fd;
}

static bool others_rest(struct queues *q, unsigned busy)
{
	for (unsigned i = 0; i < QUEUES; i++) {
		if (i != busy &&
		    vblk_park_wait(q->guest.device->queue[i].engine->park, LONG_MS) < 0)
			return false;
	}
	return true;
}

/* Rules: U-4 U-8 O-6 D-RESUME */
static void test_MQ_6_the_last_queue_to_rest_acknowledges(void **state)
{
	(void)state;
	for (unsigned busy = 0; busy < QUEUES; busy++) {
		struct queues q;
		int fd = start_with_one_busy(&q, busy);

		assert_true(vblk_device_pause(q.guest.device));
		assert_false(vblk_device_pause(q.guest.device));
		assert_true(others_rest(&q, busy));
		assert_false(vblk_device_is_paused(q.guest.device));
		assert_int_equal(vblk_device_wait_paused(q.guest.device, 1), -ETIMEDOUT);
		assert_int_equal(vblk_eventfd_clear(fd), 0);
		vblk_faulty_release(q.guest.backing);
		assert_int_equal(take_acks(fd), 1);
		assert_true(vblk_device_is_paused(q.guest.device));
		assert_false(vblk_device_pause(q.guest.device));
		assert_int_equal(vblk_eventfd_clear(fd), 0);
		assert_true(vblk_device_resume(q.guest.device));
		assert_true(queues_wait_used(&q, busy, 2));
		assert_int_equal(vblk_eventfd_clear(fd), 0);
		destroy(&q, fd);
	}
}

/* Rules: U-5 */
static void test_MQ_6_nothing_is_served_at_rest_and_all_after(void **state)
{
	struct queues q;
	int fd;

	(void)state;
	fd = create(&q, NULL, disk_create(DISK_SIZE, 0xab));
	queues_start(&q);
	assert_true(vblk_device_pause(q.guest.device));
	assert_int_equal(take_acks(fd), 1);
	request_all(&q);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(queues_used(&q, i), 0);
	assert_true(vblk_device_resume(q.guest.device));
	expect_all_served(&q);
	assert_false(vblk_device_is_paused(q.guest.device));
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	destroy(&q, fd);
}

/* Rules: D-RESUME U-1 */
static void test_MQ_6_queues_that_start_during_a_pause_rest(void **state)
{
	struct queues q;
	int fd;

	(void)state;
	fd = create(&q, NULL, disk_create(DISK_SIZE, 0xab));
	assert_false(vblk_device_pause(q.guest.device));
	request_all(&q);
	queues_start(&q);
	assert_true(vblk_device_is_paused(q.guest.device));
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(queues_used(&q, i), 0);
	assert_true(vblk_device_resume(q.guest.device));
	expect_all_served(&q);
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	destroy(&q, fd);
}

/* Rules: D-RESUME */
static void test_MQ_6_a_resume_pays_for_a_pause_without_an_answer(void **state)
{
	struct queues q;
	int fd;

	(void)state;
	fd = start_with_one_busy(&q, 1);
	assert_true(vblk_device_pause(q.guest.device));
	assert_true(others_rest(&q, 1));
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	assert_true(vblk_device_resume(q.guest.device));
	assert_int_equal(vblk_eventfd_clear(fd), 1);
	vblk_faulty_release(q.guest.backing);
	assert_true(queues_wait_used(&q, 1, 2));
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	destroy(&q, fd);
}

/* Rules: D-RESUME L-9 */
static void test_MQ_6_a_stop_pays_for_a_pause_without_an_answer(void **state)
{
	struct queues q;
	int fd;

	(void)state;
	fd = start_with_one_busy(&q, 2);
	assert_true(vblk_device_pause(q.guest.device));
	assert_true(others_rest(&q, 2));
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	guest_set_status(&q.guest, 0);
	assert_int_equal(vblk_eventfd_clear(fd), 1);
	assert_true(vblk_device_is_paused(q.guest.device));
	vblk_faulty_release(q.guest.backing);
	destroy(&q, fd);
}

/* Rules: D-HOLE-5 W-10 R-2 */
static void test_MQ_6_a_reset_ends_the_rest_of_all(void **state)
{
	struct queues q;
	int fd;

	(void)state;
	fd = create(&q, NULL, disk_create(DISK_SIZE, 0xab));
	for (int round = 0; round < 20; round++) {
		queues_start(&q);
		assert_true(vblk_device_pause(q.guest.device));
		assert_int_equal(take_acks(fd), 1);
		request_all(&q);
		queues_reset(&q);
		assert_int_equal(guest_metrics(&q.guest).reads_completed, 0);
		assert_true(vblk_device_is_paused(q.guest.device));
		assert_false(vblk_device_resume(q.guest.device));
	}
	queues_start(&q);
	assert_false(vblk_device_is_paused(q.guest.device));
	request_all(&q);
	expect_all_served(&q);
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	destroy(&q, fd);
}

/* Rules: D-RESUME */
static void test_MQ_6_every_promised_acknowledgement_comes(void **state)
{
	uint64_t promised = 0, got = 0;
	struct queues q;
	int fd;

	(void)state;
	fd = create(&q, NULL, disk_create(DISK_SIZE, 0xab));
	queues_start(&q);
	for (int i = 0; i < 1000; i++) {
		promised += vblk_device_pause(q.guest.device);
		if (i % 3 == 0) {
			assert_int_equal(vblk_device_wait_paused(q.guest.device, LONG_MS), 0);
			for (unsigned j = 0; j < QUEUES; j++)
				assert_true(
					vblk_park_is_paused(q.guest.device->queue[j].engine->park));
		}
		assert_true(vblk_device_resume(q.guest.device));
		got += vblk_eventfd_clear(fd);
	}
	assert_int_equal(promised, 1000);
	assert_int_equal(got, 1000);
	request_all(&q);
	expect_all_served(&q);
	destroy(&q, fd);
}

struct storm {
	struct vblk_device *device;
	atomic_bool stop;
};

static void *pause_storm(void *argument)
{
	struct storm *storm = argument;

	while (!atomic_load(&storm->stop)) {
		(void)vblk_device_pause(storm->device);
		(void)vblk_device_resume(storm->device);
	}
	return NULL;
}

/* Rules: U-5 O-10 */
static void test_MQ_6_pauses_under_load_lose_nothing(void **state)
{
	struct storm storm;
	pthread_t thread;
	struct queues q;
	int fd;

	(void)state;
	fd = create(&q, NULL, disk_create(DISK_SIZE, 0xab));
	queues_start(&q);
	storm.device = q.guest.device;
	atomic_init(&storm.stop, false);
	assert_int_equal(pthread_create(&thread, NULL, pause_storm, &storm), 0);
	for (uint16_t round = 1; round <= 100; round++) {
		for (unsigned i = 0; i < QUEUES; i++) {
			queues_read(&q, i, 10 * i, 2);
			queues_kick(&q, i);
		}
		for (unsigned i = 0; i < QUEUES; i++)
			assert_true(queues_wait_used(&q, i, (uint16_t)(2 * round)));
	}
	atomic_store(&storm.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(guest_metrics(&q.guest).reads_completed, 200 * QUEUES);
	destroy(&q, fd);
}

/* Rules: D-INLINE-PAUSE */
static void test_MQ_6_inline_rests_at_once_with_one_acknowledgement(void **state)
{
	const struct guest_options options = { .device.engine = VBLK_ENGINE_INLINE };
	struct queues q;
	int fd;

	(void)state;
	fd = create(&q, &options, disk_create(DISK_SIZE, 0xab));
	queues_start(&q);
	assert_false(vblk_device_is_paused(q.guest.device));
	assert_true(vblk_device_pause(q.guest.device));
	assert_true(vblk_device_is_paused(q.guest.device));
	assert_int_equal(vblk_eventfd_clear(fd), 1);
	assert_false(vblk_device_pause(q.guest.device));
	request_all(&q);
	vblk_device_run(q.guest.device);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(queues_used(&q, i), 0);
	assert_false(vblk_device_resume(q.guest.device));
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(queues_used(&q, i), 2);
	assert_int_equal(vblk_eventfd_clear(fd), 0);
	destroy(&q, fd);
}

/* Rules: U-3 D-CREATE */
static void test_MQ_6_the_flag_of_all_outlives_the_device(void **state)
{
	struct vblk_park *park;
	struct queues q;

	(void)state;
	queues_create(&q, QUEUES, NULL, disk_create(DISK_SIZE, 0xab));
	queues_start(&q);
	park = vblk_park_ref(vblk_device_park(q.guest.device));
	assert_false(vblk_park_is_paused(park));
	queues_destroy(&q);
	assert_true(vblk_park_is_paused(park));
	vblk_park_unref(park);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_MQ_6_the_last_queue_to_rest_acknowledges),
		cmocka_unit_test(test_MQ_6_nothing_is_served_at_rest_and_all_after),
		cmocka_unit_test(test_MQ_6_queues_that_start_during_a_pause_rest),
		cmocka_unit_test(test_MQ_6_a_resume_pays_for_a_pause_without_an_answer),
		cmocka_unit_test(test_MQ_6_a_stop_pays_for_a_pause_without_an_answer),
		cmocka_unit_test(test_MQ_6_a_reset_ends_the_rest_of_all),
		cmocka_unit_test(test_MQ_6_every_promised_acknowledgement_comes),
		cmocka_unit_test(test_MQ_6_pauses_under_load_lose_nothing),
		cmocka_unit_test(test_MQ_6_inline_rests_at_once_with_one_acknowledgement),
		cmocka_unit_test(test_MQ_6_the_flag_of_all_outlives_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
