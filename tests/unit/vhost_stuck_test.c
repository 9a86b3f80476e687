/* SPDX-License-Identifier: MIT */
/*
 * Disks that hang: a worker that does not come back from one is given up when its ring has to stop.
 * What its ring, its disk and the next front end have of that, and what they have when the call
 * returns after all. And front ends whose descriptors hang, which is no reason to wait for them.
 */
#include "disk.h"
#include "process.h"
#include "vhost_front.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/eventfd.h"
#include "base/le.h"

#define DISK_SIZE 0x40000u
#define FILL	  0xab
#define SECTOR	  VBLK_SECTOR_SIZE
#define STUCK_MS  200u
#define LONG_MS	  30000u

struct scene {
	struct front_host host;
	struct front front;
	struct vblk_backing *hanging;
	struct vblk_disk *disk; /* owned reference */
	size_t fds;
	int lost; /* what worker_lost said last */
	unsigned losses;
};

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

static void note_loss(void *context, int error)
{
	struct scene *scene = context;

	scene->lost = error;
	scene->losses++;
}

static struct front *begin_with(struct scene *scene, unsigned queues, uint32_t stop_timeout_ms,
				const struct vblk_faulty_rule *rules, size_t count)
{
	const struct vblk_vhost_server_options options = {
		.device = {
			.stop_timeout_ms = stop_timeout_ms,
			.worker_lost = note_loss,
			.worker_lost_context = scene,
		},
		.queues = (uint16_t)queues,
	};

	memset(scene, 0, sizeof(*scene));
	scene->fds = process_fds();
	scene->hanging = disk_create_faulty(DISK_SIZE, FILL, rules, count);
	front_host_start(&scene->host, &options, scene->hanging);
	scene->disk = vblk_disk_ref(vblk_vhost_server_disk(scene->host.server));
	front_open(&scene->front, &scene->host);
	return &scene->front;
}

/* The first read hangs; the others are served. */
static struct front *begin(struct scene *scene, unsigned queues)
{
	static const struct vblk_faulty_rule rule = FAULT(PREADV, HANG, .count = 1);

	return begin_with(scene, queues, STUCK_MS, &rule, 1);
}

/* Slot 0 of ring 0 hangs in the disk. */
static struct front *begin_stuck(struct scene *scene, unsigned queues)
{
	struct front *f = begin(scene, queues);

	front_start(f, queues);
	front_offer(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	front_kick(f, 0);
	vblk_faulty_wait_hanging(scene->hanging, 1);
	return f;
}

/* The same, and its worker was given up. */
static struct front *begin_given_up(struct scene *scene, unsigned queues)
{
	struct front *f = begin_stuck(scene, queues);

	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 0, 0), 0);
	assert_int_equal(vblk_disk_abandoned(scene->disk), 1);
	return f;
}

static bool nobody_hangs(void *context)
{
	return vblk_disk_abandoned(((struct scene *)context)->disk) == 0;
}

/* The call returns, and the server hears that the worker has ended. */
static void let_go(struct scene *scene)
{
	vblk_faulty_release(scene->hanging);
	assert_true(process_wait(nobody_hangs, scene));
	if (scene->host.server) {
		assert_true(front_wait_fd(vblk_vhost_server_fd(scene->host.server)));
		front_host_serve(&scene->host);
	}
}

static void end(struct scene *scene)
{
	front_close(&scene->front);
	if (scene->host.server)
		front_host_stop(&scene->host);
	vblk_disk_unref(scene->disk);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(process_fds(), scene->fds);
}

static void enable(struct front *f, unsigned ring)
{
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, ring, 1), 0);
}

/* ---- while it hangs ---- */

static void test_disk_that_hangs_does_not_hold_up_the_front_end(void **state)
{
	struct scene scene;
	struct front *f = begin_given_up(&scene, 2);

	(void)state;
	assert_int_equal(scene.losses, 1);
	assert_int_equal(scene.lost, -ETIMEDOUT);
	assert_true(front_host_logged(&scene.host, "did not stop in time and was abandoned"));
	/* The other ring is served; this one waits, whatever is said to it. */
	assert_int_equal(front_do(f, 1, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	front_host_clear_log(&scene.host);
	enable(f, 0);
	assert_true(front_host_logged(&scene.host, "ring waits"));
	assert_int_equal(front_share_memory(f), 0);
	enable(f, 0);
	assert_int_equal(front_host_complaints(&scene.host), 1);
	assert_true(process_wait_threads(own_threads + 2)); /* the other ring's, and the lost one */
	assert_int_equal(front_used_idx(f, 0), 0);
	vblk_faulty_release(scene.hanging);
	end(&scene);
}

/* An index that is too old would have requests served twice: better the end of the connection. */
static void test_ring_of_a_disk_that_hangs_tells_no_base(void **state)
{
	const struct vhost_vring_state ring = { .index = 0 };
	const struct vblk_vhost_header header = { VBLK_VHOST_GET_VRING_BASE, VBLK_VHOST_VERSION,
						  sizeof(ring) };
	struct scene scene;
	struct front *f = begin_stuck(&scene, 1);

	(void)state;
	front_send(f, &header, &ring, sizeof(ring), NULL, 0);
	assert_true(front_is_cut_off(f));
	assert_true(front_host_logged(&scene.host, "where it stands is not known"));
	vblk_faulty_release(scene.hanging);
	end(&scene);
}

/* ---- when it ends ---- */

static void test_ring_starts_by_itself_when_its_worker_has_ended(void **state)
{
	struct scene scene;
	struct front *f = begin_given_up(&scene, 2);

	(void)state;
	enable(f, 0);
	let_go(&scene);
	/* The one who was given up has answered nothing, so its request is served again. */
	assert_true(front_wait_used(f, 0, 1));
	assert_int_equal(front_status(f, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(front_do(f, 0, 1, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_get_base(f, 0), 2);
	end(&scene);
}

static void test_ring_that_is_not_enabled_stays_stopped(void **state)
{
	struct scene scene;
	struct front *f = begin_given_up(&scene, 1);

	(void)state;
	let_go(&scene);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(front_used_idx(f, 0), 0);
	assert_int_equal(front_status(f, 0, 0), FRONT_SENTINEL);
	enable(f, 0);
	assert_true(front_wait_used(f, 0, 1));
	end(&scene);
}

static void test_base_is_told_again_when_the_worker_has_ended(void **state)
{
	struct scene scene;
	struct front *f = begin_given_up(&scene, 1);

	(void)state;
	let_go(&scene);
	assert_int_equal(front_get_base(f, 0), 0);
	front_set_ring(f, 0, 0);
	enable(f, 0);
	assert_true(front_wait_used(f, 0, 1));
	end(&scene);
}

static void test_what_the_front_end_says_of_the_base_counts(void **state)
{
	struct scene scene;
	struct front *f = begin_given_up(&scene, 1);

	(void)state;
	front_offer(f, 0, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	front_set_ring(f, 0, 1);
	let_go(&scene);
	enable(f, 0);
	assert_true(front_wait_used(f, 0, 1));
	assert_int_equal(front_used_head(f, 0, 0), 3);
	assert_int_equal(front_status(f, 0, 0), FRONT_SENTINEL);
	end(&scene);
}

static void test_next_front_end_waits_for_the_worker_of_the_former(void **state)
{
	struct scene scene;
	struct front *f = begin_stuck(&scene, 2);

	(void)state;
	front_disconnect(f);
	assert_int_equal(vblk_disk_abandoned(scene.disk), 1);
	front_reconnect(f, &scene.host);
	front_start(f, 2);
	assert_int_equal(front_do(f, 1, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_used_idx(f, 0), 0);
	let_go(&scene);
	assert_true(front_wait_used(f, 0, 1));
	/* It began where it was told, not where the former had stopped. */
	assert_int_equal(front_get_base(f, 0), 1);
	end(&scene);
}

/* It was never started, so where it stands is known. */
static void test_ring_that_waits_for_the_worker_of_another_tells_its_base(void **state)
{
	struct scene scene;
	struct front *f = begin_stuck(&scene, 1);

	(void)state;
	front_disconnect(f);
	front_reconnect(f, &scene.host);
	front_negotiate(f);
	front_share_memory(f);
	front_set_ring(f, 0, 7);
	enable(f, 0);
	assert_int_equal(front_get_base(f, 0), 7);
	vblk_faulty_release(scene.hanging);
	end(&scene);
}

static void test_what_a_worker_leaves_behind_goes_with_it(void **state)
{
	struct scene scene;
	struct front *f = begin_stuck(&scene, 1);

	(void)state;
	front_disconnect(f);
	assert_int_equal(front_count_mappings("memfd:guest"), 2);
	let_go(&scene);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(front_count_mappings("memfd:guest"), 1);
	end(&scene);
}

/* Said of a worker that was given up a moment ago: now it ends, before anything else happens. */
static void end_worker_meanwhile(void *context, enum vblk_log_level level, const char *message,
				 const struct vblk_log_field *fields, size_t count)
{
	struct scene *scene = context;

	(void)level;
	(void)fields;
	(void)count;
	if (!strstr(message, "did not stop in time and was abandoned"))
		return;
	vblk_faulty_release(scene->hanging);
	assert_true(process_wait_threads(own_threads));
}

/* Who has looked in between, and found that the disk was not at rest, waits to be told. */
static void test_worker_that_ends_while_it_is_given_up_is_an_event(void **state)
{
	struct scene scene;
	struct front *f = begin_stuck(&scene, 1);
	int parked;

	(void)state;
	assert_int_equal(vblk_eventfd_create(&parked), 0);
	assert_int_equal(vblk_vhost_server_set_parked_fd(scene.host.server, parked), 0);
	assert_int_equal(vblk_vhost_server_pause(scene.host.server), 1);
	scene.disk->log = (struct vblk_log){ end_worker_meanwhile, &scene, VBLK_LOG_ERROR };
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 0, 0), 0);
	front_host_serve(&scene.host);
	assert_int_equal(scene.losses, 1);
	assert_true(vblk_vhost_server_is_at_rest(scene.host.server));
	/* The acknowledgement, and that it is at rest. */
	assert_int_equal(vblk_eventfd_clear(parked), 2);
	assert_int_equal(vblk_vhost_server_set_parked_fd(scene.host.server, -1), 0);
	close(parked);
	end(&scene);
}

static void test_server_may_go_before_the_worker(void **state)
{
	int others[16]; /* among them the number of the event that nobody waits for any more */
	struct scene scene;

	(void)state;
	begin_stuck(&scene, 1);
	vblk_vhost_server_destroy(scene.host.server);
	scene.host.server = NULL;
	scene.front.host = NULL;
	assert_int_equal(vblk_disk_abandoned(scene.disk), 1);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(vblk_eventfd_create(&others[i]), 0);
	let_go(&scene);
	assert_true(process_wait_threads(own_threads));
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(vblk_eventfd_clear(others[i]), 0);
		close(others[i]);
	}
	vblk_backing_unref(scene.host.backing);
	pthread_mutex_destroy(&scene.host.log_lock);
	end(&scene);
}

/* ---- pauses ---- */

static void test_disk_is_not_at_rest_while_an_abandoned_call_may_still_land(void **state)
{
	struct scene scene;
	struct front *f = begin_given_up(&scene, 1);

	(void)state;
	assert_int_equal(vblk_vhost_server_pause(scene.host.server), 0);
	assert_false(vblk_vhost_server_is_at_rest(scene.host.server));
	front_disconnect(f);
	assert_false(vblk_vhost_server_is_at_rest(scene.host.server));
	let_go(&scene);
	assert_true(vblk_vhost_server_is_at_rest(scene.host.server));
	end(&scene);
}

static void test_ring_that_starts_when_its_worker_has_ended_minds_the_pause(void **state)
{
	struct scene scene;
	struct front *f = begin_given_up(&scene, 1);

	(void)state;
	vblk_vhost_server_pause(scene.host.server);
	enable(f, 0);
	let_go(&scene);
	assert_true(vblk_vhost_server_is_at_rest(scene.host.server));
	assert_int_equal(front_used_idx(f, 0), 0);
	vblk_vhost_server_resume(scene.host.server);
	assert_true(front_wait_used(f, 0, 1));
	end(&scene);
}

/* ---- descriptors of the front end that hang ---- */

static void let_block(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
}

/* Serves a request whose interrupt gets the worker stuck, and stops the ring. */
static void stop_behind_a_call_that_blocks(struct scene *scene)
{
	struct front *f = &scene->front;

	front_offer(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	front_kick(f, 0);
	while (front_used_idx(f, 0) == 0)
		;
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 0, 0), 0);
	assert_int_equal(scene->losses, 0);
	assert_int_equal(vblk_disk_abandoned(scene->disk), 0);
	assert_int_equal(front_get_base(f, 0), 1);
}

static void test_call_that_blocks_does_not_hold_up_the_stop(void **state)
{
	const uint64_t most = UINT64_MAX - 1;
	struct scene scene;
	struct front *f = begin_with(&scene, 1, LONG_MS, NULL, 0);

	(void)state;
	front_start(f, 1);
	assert_true(front_wait_fd(f->ring[0].call_fd)); /* that of the start */
	assert_int_equal(write(f->ring[0].call_fd, &most, sizeof(most)), sizeof(most));
	let_block(f->ring[0].call_fd);
	stop_behind_a_call_that_blocks(&scene);
#ifndef EMULATED /* it swaps the bytes of those eventfds that were not sent */
	/* And it was told after all. */
	assert_int_equal(vblk_eventfd_clear(f->ring[0].call_fd), 1);
#endif
	end(&scene);
}

static void test_call_that_is_a_socket_may_be_full_too(void **state)
{
	struct scene scene;
	struct front *f = begin_with(&scene, 1, LONG_MS, NULL, 0);
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	front_start(f, 1);
	assert_true(front_wait_fd(f->ring[0].call_fd)); /* that of the start */
	assert_int_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_CALL, 0, pair[1]), 0);
	while (send(pair[1], &(uint64_t){ 1 }, sizeof(uint64_t), MSG_DONTWAIT) > 0)
		;
	let_block(pair[1]);
	stop_behind_a_call_that_blocks(&scene);
	close(pair[0]);
	close(pair[1]);
	end(&scene);
}

static void test_descriptors_have_to_be_eventfds(void **state)
{
	struct scene scene;
	struct front *f = begin_with(&scene, 1, LONG_MS, NULL, 0);
	int pipe_fds[2], pair[2];

	(void)state;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	front_start(f, 1);
	assert_int_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_CALL, 0, pipe_fds[1]), EINVAL);
	assert_int_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_ERR, 0, f->memory_fd), EINVAL);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_KICK, 0, pipe_fds[0]), EINVAL);
	assert_int_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_KICK, 0, pair[0]), EINVAL);
	for (unsigned i = 0; i < 2; i++) {
		close(pipe_fds[i]);
		close(pair[i]);
	}
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_disk_that_hangs_does_not_hold_up_the_front_end),
		cmocka_unit_test(test_ring_of_a_disk_that_hangs_tells_no_base),
		cmocka_unit_test(test_ring_starts_by_itself_when_its_worker_has_ended),
		cmocka_unit_test(test_ring_that_is_not_enabled_stays_stopped),
		cmocka_unit_test(test_base_is_told_again_when_the_worker_has_ended),
		cmocka_unit_test(test_what_the_front_end_says_of_the_base_counts),
		cmocka_unit_test(test_next_front_end_waits_for_the_worker_of_the_former),
		cmocka_unit_test(test_ring_that_waits_for_the_worker_of_another_tells_its_base),
		cmocka_unit_test(test_what_a_worker_leaves_behind_goes_with_it),
		cmocka_unit_test(test_worker_that_ends_while_it_is_given_up_is_an_event),
		cmocka_unit_test(test_server_may_go_before_the_worker),
		cmocka_unit_test(test_disk_is_not_at_rest_while_an_abandoned_call_may_still_land),
		cmocka_unit_test(test_ring_that_starts_when_its_worker_has_ended_minds_the_pause),
		cmocka_unit_test(test_call_that_blocks_does_not_hold_up_the_stop),
		cmocka_unit_test(test_call_that_is_a_socket_may_be_full_too),
		cmocka_unit_test(test_descriptors_have_to_be_eventfds),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
