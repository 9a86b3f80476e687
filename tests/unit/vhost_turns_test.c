/* SPDX-License-Identifier: MIT */
/*
 * The back end and what there is not enough of: turns, places, descriptors, threads. Who takes too
 * much of it harms nobody else, and who gets none is told or waits, without keeping the thread
 * busy.
 */
#include "vhost_fixture.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- front ends that take what others wait for ---- */

static bool wait_for_event(struct scene *scene, int timeout_ms)
{
	struct pollfd pfd = { .fd = vblk_vhost_server_fd(scene->host.server), .events = POLLIN };

	return poll(&pfd, 1, timeout_ms) == 1;
}

/* Serves until `other`, who has said something, is answered. */
static void expect_to_be_let_in(struct scene *scene, struct front *other)
{
	uint8_t byte;

	while (recv(other->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0) {
		assert_int_equal(errno, EAGAIN);
		assert_true(wait_for_event(scene, 10000));
		vblk_vhost_server_serve(scene->host.server);
	}
}

static void expect_to_give_way(struct scene *scene)
{
	const struct vblk_vhost_header header = { VBLK_VHOST_GET_FEATURES, VBLK_VHOST_VERSION, 0 };
	struct front other;

	front_open(&other, &scene->host);
	front_send(&other, &header, NULL, 0, NULL, 0);
	expect_to_be_let_in(scene, &other);
	assert_true(front_is_cut_off(&scene->front));
	assert_true(front_host_logged(&scene->host, "a message of it is overdue"));
	assert_int_equal(front_host_complaints(&scene->host), 1);
	front_close(&other);
}

static void test_half_a_message_gives_way_to_who_waits(void **state)
{
	const struct vblk_vhost_header header = { VBLK_VHOST_SET_FEATURES, VBLK_VHOST_VERSION, 8 };
	struct scene scene;
	struct front *f = begin_hasty(&scene);

	(void)state;
	front_start(f, 1);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	front_send(f, &header, "abc", 3, NULL, 0);
	expect_to_give_way(&scene);
	end(&scene);
}

static void test_silence_from_the_start_gives_way_to_who_waits(void **state)
{
	struct scene scene;

	(void)state;
	begin_hasty(&scene);
	expect_to_give_way(&scene);
	end(&scene);
}

/* Nobody waits, so nobody is hurt; and the rest of the message may come yet. */
static void test_late_message_is_served_where_nobody_waits(void **state)
{
	const struct vblk_vhost_header header = { VBLK_VHOST_GET_FEATURES, VBLK_VHOST_VERSION, 0 };
	struct vblk_vhost_header reply;
	struct scene scene;
	struct front *f = begin_hasty(&scene);
	uint64_t features;
	int fd;

	(void)state;
	assert_int_equal(send(f->fd, &header, 5, MSG_NOSIGNAL), 5);
	front_host_serve(&scene.host);
	assert_true(wait_for_event(&scene, 10000));
	front_host_serve(&scene.host);
	assert_int_equal(send(f->fd, (const uint8_t *)&header + 5, 7, MSG_NOSIGNAL), 7);
	front_host_serve(&scene.host);
	assert_int_equal(front_receive(f, &reply, &features, sizeof(features), &fd),
			 sizeof(features));
	assert_int_equal(front_host_complaints(&scene.host), 0);
	end(&scene);
}

static void test_front_end_at_peace_keeps_its_place(void **state)
{
	struct scene scene;
	struct front *f = begin_hasty(&scene);
	struct front other;

	(void)state;
	front_start(f, 1);
	front_open(&other, &scene.host);
	assert_false(wait_for_event(&scene, 20));
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	front_get_base(f, 0);
	assert_int_equal(front_host_complaints(&scene.host), 0);
	front_close(&other);
	end(&scene);
}

/* However much it says at once: what else happens is looked at between any two messages. */
static void test_flood_of_messages_lets_others_have_their_turn(void **state)
{
	const struct vblk_vhost_header header = { VBLK_VHOST_GET_FEATURES, VBLK_VHOST_VERSION, 0 };
	uint8_t answer[sizeof(header) + sizeof(uint64_t)];
	struct scene scene;
	struct front *f = begin(&scene, 1);

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(write(f->fd, &header, sizeof(header)), sizeof(header));
	for (unsigned i = 0; i < 10; i++) {
		vblk_vhost_server_serve(scene.host.server);
		assert_int_equal(recv(f->fd, answer, sizeof(answer), MSG_DONTWAIT), sizeof(answer));
		assert_int_equal(recv(f->fd, answer, sizeof(answer), MSG_DONTWAIT), -1);
	}
	end(&scene);
}

/* ---- what runs out ---- */

static void test_front_end_is_turned_away_without_descriptors(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 2);

	(void)state;
	front_disconnect(f);
	f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(
		connect(f->fd, (struct sockaddr *)&scene.host.address, scene.host.address_length),
		0);
	process_limit_fds(2); /* the connection, and not all descriptors of the rings */
	front_host_serve(&scene.host);
	process_unlimit_fds();
	assert_true(front_is_cut_off(f));
	assert_int_equal(front_host_complaints(&scene.host), 1);
	front_disconnect(f);
	front_reconnect(f, &scene.host);
	front_start(f, 2);
	assert_int_equal(front_do(f, 1, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	end(&scene);
}

/* Serves all there is to do; returns how often that was. */
static unsigned count_turns(struct scene *scene)
{
	unsigned turns = 0;

	for (; wait_for_event(scene, 0) && turns < 1000; turns++)
		vblk_vhost_server_serve(scene->host.server);
	return turns;
}

/* A front end that cannot be accepted stays in the line, and nobody spins meanwhile. */
static void test_without_descriptors_the_server_waits(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 2);

	(void)state;
	front_disconnect(f);
	f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(
		connect(f->fd, (struct sockaddr *)&scene.host.address, scene.host.address_length),
		0);
	process_limit_fds(0);
	assert_in_range(count_turns(&scene), 1, 2);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(wait_for_event(&scene, 10000));
		/* The timer, and the one who knocks. */
		assert_in_range(count_turns(&scene), 1, 3);
	}
	process_unlimit_fds();
	/* One line for all of it. */
	assert_int_equal(front_host_complaints(&scene.host), 1);
	assert_true(front_host_logged(&scene.host, "cannot accept front ends"));
	while (!vblk_vhost_server_is_connected(scene.host.server)) {
		assert_true(wait_for_event(&scene, 10000));
		vblk_vhost_server_serve(scene.host.server);
	}
	f->host = &scene.host;
	front_start(f, 2);
	assert_int_equal(front_do(f, 1, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	end(&scene);
}

/* Whoever else has the listening socket may end it; there is no more to be done then. */
static void test_socket_that_is_shut_down_does_not_spin(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1);

	(void)state;
	front_disconnect(f);
	for (int fd = 0; fd < 1024; fd++) {
		int listens = 0;
		socklen_t length = sizeof(listens);

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens)
			shutdown(fd, SHUT_RDWR);
	}
	assert_in_range(count_turns(&scene), 0, 2);
	assert_true(wait_for_event(&scene, 10000));
	assert_in_range(count_turns(&scene), 1, 3);
	assert_int_equal(front_host_complaints(&scene.host), 0);
	end(&scene);
}

static void test_worker_that_cannot_be_started_is_told(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1);
	uint64_t answer;

	(void)state;
	front_negotiate(f);
	front_share_memory(f);
	front_set_ring(f, 0, 0);
	process_forbid_threads();
	answer = front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 0, 1);
	process_allow_threads();
	assert_int_not_equal(answer, 0);
	assert_true(front_host_logged(&scene.host, "the ring's worker cannot be started"));
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_half_a_message_gives_way_to_who_waits),
		cmocka_unit_test(test_silence_from_the_start_gives_way_to_who_waits),
		cmocka_unit_test(test_late_message_is_served_where_nobody_waits),
		cmocka_unit_test(test_front_end_at_peace_keeps_its_place),
		cmocka_unit_test(test_flood_of_messages_lets_others_have_their_turn),
		cmocka_unit_test(test_front_end_is_turned_away_without_descriptors),
		cmocka_unit_test(test_without_descriptors_the_server_waits),
		cmocka_unit_test(test_socket_that_is_shut_down_does_not_spin),
		cmocka_unit_test(test_worker_that_cannot_be_started_is_told),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
