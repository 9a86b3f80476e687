/* SPDX-License-Identifier: MIT */
/*
 * Servers with a thread each, as in `vblk serve`: what one of them waits for is nobody else's
 * business. Two disks, of which the first hangs.
 */
#include "disk.h"
#include "process.h"
#include "vhost_front.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/eventfd.h"

#define DISK_SIZE 0x40000u
#define FILL	  0xab
#define SECTOR	  VBLK_SECTOR_SIZE
#define QUEUES	  4u

/* No test lives to see the first. */
#define NEVER_MS 600000u
#define SOON_MS	 400u

struct scene {
	struct front_host stuck_host, host;
	struct front stuck, front;
	struct vblk_backing *hanging;
	struct vblk_disk *disk; /* the one that hangs, an owned reference */
	int parked;		/* written when that comes to rest */
	size_t fds;
};

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

/* Two servers. The first `rings` rings of the one are in a read that does not return. */
static void begin(struct scene *scene, uint32_t stop_timeout_ms, unsigned rings)
{
	const struct vblk_faulty_rule rule = FAULT(PREADV, HANG, .count = rings);
	const struct vblk_vhost_server_options options = {
		.device = { .stop_timeout_ms = stop_timeout_ms },
		.queues = QUEUES,
	};
	struct front *f = &scene->stuck;

	memset(scene, 0, sizeof(*scene));
	scene->fds = process_fds();
	assert_int_equal(vblk_eventfd_create(&scene->parked), 0);
	scene->hanging = disk_create_faulty(DISK_SIZE, FILL, &rule, rings > 0);
	front_host_start(&scene->stuck_host, &options, scene->hanging);
	front_host_start(&scene->host, &options, disk_create(DISK_SIZE, FILL));
	scene->disk = vblk_disk_ref(vblk_vhost_server_disk(scene->stuck_host.server));
	assert_int_equal(vblk_vhost_server_set_parked_fd(scene->stuck_host.server, scene->parked),
			 0);
	front_host_run(&scene->stuck_host);
	front_host_run(&scene->host);
	front_open(f, &scene->stuck_host);
	front_start(f, QUEUES);
	for (unsigned i = 0; i < rings; i++) {
		front_offer(f, i, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
		front_kick(f, i);
	}
	vblk_faulty_wait_hanging(scene->hanging, rings);
	front_open(&scene->front, &scene->host);
}

/* The server of the disk that hangs is told to stop ring 0, and waits in that. */
static void begin_stop(struct scene *scene)
{
	const struct vhost_vring_state ring = { 0, 0 };
	const struct vblk_vhost_header header = { VBLK_VHOST_SET_VRING_ENABLE,
						  VBLK_VHOST_VERSION | VBLK_VHOST_FLAG_NEED_REPLY,
						  sizeof(ring) };

	front_post(&scene->stuck, &header, &ring, sizeof(ring));
}

static bool is_answered(struct scene *scene)
{
	return poll(&(struct pollfd){ .fd = scene->stuck.fd, .events = POLLIN }, 1, 0) > 0;
}

static void expect_ack(struct front *f)
{
	struct vblk_vhost_header header;
	uint64_t result;
	int fd;

	assert_int_equal(front_receive(f, &header, &result, sizeof(result), &fd), sizeof(result));
	assert_int_equal(result, 0);
}

static void expect_acks(struct scene *scene, uint64_t count)
{
	while (count > 0) {
		uint64_t more;

		assert_int_equal(
			poll(&(struct pollfd){ .fd = scene->parked, .events = POLLIN }, 1, 10000),
			1);
		more = vblk_eventfd_clear(scene->parked);
		assert_in_range(more, 1, count);
		count -= more;
	}
	assert_int_equal(vblk_eventfd_clear(scene->parked), 0);
}

static bool nobody_hangs(void *context)
{
	return vblk_disk_abandoned(((struct scene *)context)->disk) == 0;
}

static void end(struct scene *scene)
{
	vblk_faulty_release(scene->hanging);
	front_close(&scene->stuck);
	front_close(&scene->front);
	front_host_stop(&scene->stuck_host);
	front_host_stop(&scene->host);
	assert_true(process_wait(nobody_hangs, scene));
	vblk_disk_unref(scene->disk);
	close(scene->parked);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(process_fds(), scene->fds);
}

static void test_stop_that_hangs_does_not_hold_up_another_disk(void **state)
{
	struct scene scene;
	struct front *f = &scene.front;

	(void)state;
	begin(&scene, NEVER_MS, 1);
	begin_stop(&scene);
	front_start(f, QUEUES);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(front_do(f, i, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_get_base(f, 0), 1);
	/* The next front end, too. */
	front_disconnect(f);
	front_reconnect(f, &scene.host);
	front_negotiate(f);
	assert_false(is_answered(&scene));
	vblk_faulty_release(scene.hanging);
	expect_ack(&scene.stuck);
	assert_int_equal(vblk_disk_abandoned(scene.disk), 0);
	end(&scene);
}

/* Nobody who asked is left to be told, and still the rings have to stop before others may come. */
static void test_front_end_that_goes_does_not_hold_up_another_disk(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene, NEVER_MS, QUEUES);
	front_disconnect(&scene.stuck);
	front_start(&scene.front, 1);
	assert_int_equal(front_do(&scene.front, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	/* For a second nobody is given up. */
	assert_int_equal(vblk_disk_abandoned(scene.disk), 0);
	end(&scene);
}

/* The thread that serves a disk waits; those who ask something of the disk do not. */
static void test_owner_does_not_wait_for_a_stop_that_hangs(void **state)
{
	const struct vblk_throttle limit = { .iops = 5 }, none = { 0 };
	struct vblk_vhost_server *server;
	struct scene scene;

	(void)state;
	begin(&scene, NEVER_MS, 1);
	server = scene.stuck_host.server;
	begin_stop(&scene);
	assert_true(vblk_vhost_server_is_connected(server));
	assert_int_equal(vblk_vhost_server_pause(server), QUEUES);
	assert_true(vblk_vhost_server_is_paused(server));
	assert_false(vblk_vhost_server_is_at_rest(server));
	vblk_vhost_server_resume(server);
	assert_int_equal(vblk_vhost_server_set_throttle(server, &limit), 0);
	assert_int_equal(vblk_vhost_server_set_throttle(server, &none), 0);
	assert_int_equal(vblk_vhost_server_resize(server, DISK_SIZE / 2, true), 0);
	assert_false(is_answered(&scene));
	vblk_faulty_release(scene.hanging);
	expect_ack(&scene.stuck);
	/* The others go on, and so does this one. */
	assert_int_equal(front_do(&scene.stuck, 1, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_put_state(&scene.stuck, VBLK_VHOST_SET_VRING_ENABLE, 0, 1), 0);
	assert_true(front_wait_used(&scene.stuck, 0, 1));
	end(&scene);
}

/* A pause that comes while a ring is being stopped holds for the worker that it is given next. */
static void test_pause_during_a_stop_holds_for_the_next_worker(void **state)
{
	struct vblk_vhost_server *server;
	struct scene scene;
	struct front *f = &scene.stuck;

	(void)state;
	begin(&scene, NEVER_MS, 1);
	server = scene.stuck_host.server;
	begin_stop(&scene);
	assert_int_equal(vblk_vhost_server_pause(server), QUEUES);
	vblk_faulty_release(scene.hanging);
	expect_ack(f);
	expect_acks(&scene, QUEUES);
	front_offer(f, 0, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 0, 1), 0);
	assert_true(vblk_vhost_server_is_at_rest(server));
	assert_int_equal(front_used_idx(f, 0), 1);
	vblk_vhost_server_resume(server);
	assert_true(front_wait_used(f, 0, 2));
	end(&scene);
}

struct owner {
	struct vblk_vhost_server *server;
	atomic_bool stop;
	uint64_t acks; /* that follow */
};

static void *be_restless(void *context)
{
	struct owner *owner = context;
	struct vblk_vhost_server *server = owner->server;

	while (!atomic_load(&owner->stop)) {
		owner->acks += vblk_vhost_server_pause(server);
		(void)vblk_vhost_server_is_at_rest(server);
		assert_int_equal(vblk_vhost_server_resize(server, DISK_SIZE, true), 0);
		assert_true(vblk_vhost_server_is_connected(server));
		vblk_vhost_server_resume(server);
	}
	return NULL;
}

/* Every pause is acknowledged as often as it was said, whatever becomes of the workers meanwhile.
 */
static void test_owner_and_front_end_speak_at_the_same_time(void **state)
{
	struct scene scene;
	struct front *f = &scene.stuck;
	struct owner owner = { .stop = false };
	pthread_t thread;

	(void)state;
	begin(&scene, NEVER_MS, 0);
	owner.server = scene.stuck_host.server;
	assert_int_equal(pthread_create(&thread, NULL, be_restless, &owner), 0);
	for (unsigned i = 0; i < 200; i++) {
		unsigned ring = i % QUEUES, slot = i / QUEUES % FRONT_SLOTS;

		assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, ring, 0), 0);
		assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, ring, 1), 0);
		assert_int_equal(front_do(f, ring, slot, VIRTIO_BLK_T_IN, 0, SECTOR),
				 VIRTIO_BLK_S_OK);
	}
	atomic_store(&owner.stop, true);
	pthread_join(thread, NULL);
	expect_acks(&scene, owner.acks);
	end(&scene);
}

/* ---- how long it takes ---- */

static uint64_t now_ms(void)
{
	return vblk_clock_now(&(struct vblk_clock){ 0 }) / VBLK_NSEC_PER_MSEC;
}

static void test_rings_that_hang_cost_one_timeout(void **state)
{
	struct scene scene;
	uint64_t begun;

	(void)state;
	begin(&scene, SOON_MS, QUEUES);
	begun = now_ms();
	assert_int_equal(front_put(&scene.stuck, VBLK_VHOST_RESET_DEVICE, NULL, 0, NULL, 0), 0);
	assert_in_range(now_ms() - begun, SOON_MS - 1, QUEUES * SOON_MS - 1);
	assert_int_equal(vblk_disk_abandoned(scene.disk), QUEUES);
	end(&scene);
}

/* One of them is waited for already, and what is left of the timeout then is for all others. */
static void test_end_gives_up_all_that_hangs_within_one_timeout(void **state)
{
	struct scene scene;
	uint64_t begun;

	(void)state;
	begin(&scene, 4 * SOON_MS, QUEUES - 1);
	begin_stop(&scene);
	begun = now_ms();
	front_host_end(&scene.stuck_host);
	assert_in_range(now_ms() - begun, SOON_MS, 7 * SOON_MS);
	assert_int_equal(vblk_disk_abandoned(scene.disk), QUEUES - 1);
	assert_false(vblk_vhost_server_is_connected(scene.stuck_host.server));
	end(&scene);
}

/* However short the time that is left by then: what does not hang ends in peace. */
static void test_end_waits_for_what_does_not_hang(void **state)
{
	struct scene scene;
	struct front *f = &scene.front;

	(void)state;
	begin(&scene, NEVER_MS, 0);
	front_start(f, QUEUES);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(front_do(f, i, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	front_host_end(&scene.host);
	assert_int_equal(vblk_disk_abandoned(vblk_vhost_server_disk(scene.host.server)), 0);
	assert_true(front_is_cut_off(f));
	end(&scene);
}

/* Its workers end, and a message that wants a ring to be served after all changes nothing. */
static void test_no_ring_is_served_once_the_end_is_wanted(void **state)
{
	struct front_host host; /* served by this thread */
	struct front f;

	(void)state;
	front_host_start(&host, NULL, disk_create(DISK_SIZE, FILL));
	front_open(&f, &host);
	front_start(&f, 1);
	assert_int_equal(process_threads(), own_threads + 1);
	vblk_vhost_server_ask_to_end(host.server);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(front_get_base(&f, 0), 0);
	front_set_ring(&f, 0, 0);
	assert_int_equal(process_threads(), own_threads);
	front_close(&f);
	front_host_stop(&host);
}

/* ---- what others are told ---- */

static void test_rest_by_the_end_of_a_worker_is_told(void **state)
{
	struct vblk_vhost_server *server;
	struct scene scene;

	(void)state;
	begin(&scene, SOON_MS, 1);
	server = scene.stuck_host.server;
	begin_stop(&scene);
	expect_ack(&scene.stuck);
	assert_int_equal(vblk_disk_abandoned(scene.disk), 1);
	assert_int_equal(vblk_vhost_server_pause(server), QUEUES - 1);
	expect_acks(&scene, QUEUES - 1);
	assert_false(vblk_vhost_server_is_at_rest(server));
	vblk_faulty_release(scene.hanging);
	assert_true(front_wait_fd(scene.parked));
	assert_true(vblk_vhost_server_is_at_rest(server));
	end(&scene);
}

/* ---- a thread that hangs ---- */

struct hang {
	sem_t there, released;
	struct front_host host;
};

/* What is told goes to somebody who takes his time: as if a call of the thread did not return. */
static void take_time(void *context, enum vblk_log_level level, const char *text,
		      const struct vblk_log_field *fields, size_t count)
{
	struct hang *hang = context;

	(void)level;
	(void)fields;
	(void)count;
	if (!strstr(text, "front end connected"))
		return;
	sem_post(&hang->there);
	while (sem_wait(&hang->released) != 0)
		;
}

static bool has_ended(void *context)
{
	struct vblk_vhost_thread *thread = context;
	bool ended;

	pthread_mutex_lock(&thread->lock);
	ended = thread->ended;
	pthread_mutex_unlock(&thread->lock);
	return ended;
}

/* Who waits for it gets an answer in time; it ends when it can, and has all it needs for that. */
static void test_thread_that_hangs_is_left_to_itself(void **state)
{
	struct hang hang = { 0 };
	const struct vblk_vhost_server_options options = {
		.device = { .log = { take_time, &hang, VBLK_LOG_INFO } },
	};
	struct vblk_vhost_server *server;
	struct front front;

	(void)state;
	sem_init(&hang.there, 0, 0);
	sem_init(&hang.released, 0, 0);
	front_host_start(&hang.host, &options, disk_create(DISK_SIZE, FILL));
	server = hang.host.server;
	front_host_run(&hang.host);
	memset(&front, 0, sizeof(front));
	front_knock(&front, &hang.host);
	while (sem_wait(&hang.there) != 0)
		;
	vblk_vhost_server_ask_to_end(server);
	assert_int_equal(vblk_vhost_thread_join(&hang.host.thread, 1), -ETIMEDOUT);
	hang.host.has_thread = false;
	sem_post(&hang.released);
	assert_true(process_wait(has_ended, &hang.host.thread));
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(hang.host.thread.result, 0);
	assert_true(front_is_cut_off(&front));
	front_disconnect(&front);
	front_host_stop(&hang.host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stop_that_hangs_does_not_hold_up_another_disk),
		cmocka_unit_test(test_front_end_that_goes_does_not_hold_up_another_disk),
		cmocka_unit_test(test_owner_does_not_wait_for_a_stop_that_hangs),
		cmocka_unit_test(test_pause_during_a_stop_holds_for_the_next_worker),
		cmocka_unit_test(test_owner_and_front_end_speak_at_the_same_time),
		cmocka_unit_test(test_rings_that_hang_cost_one_timeout),
		cmocka_unit_test(test_end_gives_up_all_that_hangs_within_one_timeout),
		cmocka_unit_test(test_end_waits_for_what_does_not_hang),
		cmocka_unit_test(test_no_ring_is_served_once_the_end_is_wanted),
		cmocka_unit_test(test_rest_by_the_end_of_a_worker_is_told),
		cmocka_unit_test(test_thread_that_hangs_is_left_to_itself),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
