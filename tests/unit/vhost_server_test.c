/* SPDX-License-Identifier: MIT */
/*
 * The back end as a whole: front ends that come, wait, break rules and go; pauses and limits over
 * several rings; memory that is cut short.
 */
#include "vhost_fixture.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vblk/metrics.h>

#include "base/eventfd.h"

/* ---- coming and going ---- */

static void test_queues_are_1_to_16(void **state)
{
	struct vblk_backing *disk = disk_create(DISK_SIZE, FILL);
	const struct vblk_vhost_server_options options = { .queues = 17 };
	size_t fds = process_fds();
	struct vblk_vhost_server *server;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(vblk_vhost_server_create(&options, disk, fd, &server), -EINVAL);
	assert_int_equal(process_fds(), fds);
	vblk_backing_unref(disk);
}

static void test_second_front_end_waits_until_the_first_has_gone(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1);
	struct front other;
	struct vblk_vhost_header header = { VBLK_VHOST_GET_FEATURES, VBLK_VHOST_VERSION, 0 };
	uint64_t features;
	int fd;

	(void)state;
	front_start(f, 1);
	front_open(&other, &scene.host);
	front_send(&other, &header, NULL, 0, NULL, 0);
	assert_int_equal(recv(other.fd, &features, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	front_disconnect(f);
	assert_int_equal(front_receive(&other, &header, &features, sizeof(features), &fd),
			 sizeof(features));
	front_start(&other, 1);
	assert_int_equal(front_do(&other, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	front_close(&other);
	end(&scene);
}

static void test_next_front_end_finds_nothing_of_the_former(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 2);

	(void)state;
	front_start(f, 2);
	front_put_u64(f, VBLK_VHOST_SET_STATUS, 0xf);
	front_disconnect(f);
	assert_false(vblk_vhost_server_is_connected(scene.host.server));
	assert_true(process_wait_threads(own_threads));
	front_reconnect(f, &scene.host);
	assert_true(vblk_vhost_server_is_connected(scene.host.server));
	front_negotiate(f);
	assert_int_equal(front_get(f, VBLK_VHOST_GET_STATUS), 0);
	/* Addresses and descriptors would have to be there for that. */
	assert_int_equal(front_share_memory(f), 0);
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(process_threads(), own_threads);
	assert_int_equal(front_get_base(f, 0), 0);
	end(&scene);
}

static void test_connections_leave_nothing_behind(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 2);
	unsigned mappings = front_count_mappings("memfd:guest");
	size_t fds = process_fds();

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		memset(front_desc(f, 0), 0, 0x10000);
		f->ring[0].avail_idx = 0;
		front_start(f, 1 + i % 2);
		assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
		assert_true(front_count_mappings("memfd:guest") > mappings);
		front_disconnect(f);
		front_reconnect(f, &scene.host);
		assert_true(process_wait_threads(own_threads));
		assert_int_equal(front_count_mappings("memfd:guest"), mappings);
		assert_int_equal(process_fds(), fds);
	}
	assert_int_equal(front_host_complaints(&scene.host), 0);
	end(&scene);
}

static void test_server_goes_while_a_front_end_is_there(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 2);

	(void)state;
	front_start(f, 2);
	front_do(f, 1, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	vblk_vhost_server_destroy(scene.host.server);
	scene.host.server = NULL;
	f->host = NULL;
	assert_true(front_is_cut_off(f));
	end(&scene);
}

/* ---- front ends that break rules ---- */

static void expect_cut_off(struct scene *scene)
{
	struct front *f = &scene->front;

	assert_true(front_is_cut_off(f));
	assert_false(vblk_vhost_server_is_connected(scene->host.server));
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(front_count_mappings("memfd:guest"), 1); /* the front end's own */
	assert_int_equal(front_host_complaints(&scene->host), 1);
	/* The next one is served. */
	front_disconnect(f);
	front_reconnect(f, &scene->host);
	front_negotiate(f);
}

static void test_protocol_error_has_one_line_and_ends_the_connection(void **state)
{
	static const struct {
		struct vblk_vhost_header header;
		unsigned fds;
	} bad[] = {
		{ { VBLK_VHOST_SET_VRING_NUM, VBLK_VHOST_VERSION, 0 }, 0 },
		{ { VBLK_VHOST_GET_FEATURES, VBLK_VHOST_VERSION, 0 }, 1 },
		{ { VBLK_VHOST_GET_FEATURES, 0, 0 }, 0 },
		{ { VBLK_VHOST_GET_FEATURES, VBLK_VHOST_VERSION | VBLK_VHOST_FLAG_REPLY, 0 }, 0 },
		{ { VBLK_VHOST_GET_FEATURES, VBLK_VHOST_VERSION, 0xffffffff }, 0 },
#ifndef EMULATED /* it keeps the ninth to itself, and says nothing */
		{ { VBLK_VHOST_SET_OWNER, VBLK_VHOST_VERSION, 0 }, 9 },
#endif
		{ { VBLK_VHOST_GET_SHMEM_CONFIG, VBLK_VHOST_VERSION, 0 }, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct scene scene;
		struct front *f = begin(&scene, 2);
		int fds[9];

		for (unsigned k = 0; k < 9; k++)
			fds[k] = f->memory_fd;
		front_start(f, 2);
		front_send(f, &bad[i].header, NULL, 0, fds, bad[i].fds);
		expect_cut_off(&scene);
		end(&scene);
	}
}

/* Without an answer the front end would go on in the belief that it is done. */
static void test_refused_request_ends_a_connection_without_answers(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1);

	(void)state;
	front_start(f, 1);
	f->acks = false;
	front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 7, 1);
	expect_cut_off(&scene);
	end(&scene);
}

static void test_unknown_request_is_refused_where_that_can_be_told(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1);

	(void)state;
	front_start(f, 1);
	assert_int_equal(front_put(f, 200, NULL, 0, NULL, 0), EOPNOTSUPP);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_host_complaints(&scene.host), 1);
	end(&scene);
}

static void test_front_end_may_go_in_the_middle_of_a_message(void **state)
{
	const struct vblk_vhost_header header = { VBLK_VHOST_SET_FEATURES, VBLK_VHOST_VERSION, 8 };
	struct scene scene;
	struct front *f = begin(&scene, 1);

	(void)state;
	front_start(f, 1);
	front_send(f, &header, "abc", 3, NULL, 0);
	front_disconnect(f);
	assert_false(vblk_vhost_server_is_connected(scene.host.server));
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(front_host_complaints(&scene.host), 0);
	end(&scene);
}

static void test_front_end_may_go_before_its_answer(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1);
	const struct vblk_vhost_header header = { VBLK_VHOST_GET_FEATURES, VBLK_VHOST_VERSION, 0 };

	(void)state;
	assert_int_equal(write(f->fd, &header, sizeof(header)), sizeof(header));
	front_disconnect(f);
	assert_false(vblk_vhost_server_is_connected(scene.host.server));
	assert_int_equal(front_host_complaints(&scene.host), 0);
	end(&scene);
}

static void test_memory_that_is_cut_short_ends_the_connection(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1);

	(void)state;
	front_start(f, 1);
	front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	assert_int_equal(ftruncate(f->memory_fd, 0), 0);
	front_kick(f, 0);
	/* The worker finds out, the server is told. */
	assert_int_equal(poll(&(struct pollfd){ .fd = vblk_vhost_server_fd(scene.host.server),
						.events = POLLIN },
			      1, 10000),
			 1);
	front_host_serve(&scene.host);
	assert_true(front_is_cut_off(f));
	assert_true(front_host_logged(&scene.host, "has cut its memory short"));
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(front_count_mappings("memfd:guest"), 1);
	end(&scene);
}

/* ---- pauses and limits ---- */

static void test_pause_holds_over_connections(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 2);
	struct vblk_vhost_server *server = scene.host.server;
	int parked;

	(void)state;
	assert_int_equal(vblk_eventfd_create(&parked), 0);
	assert_int_equal(vblk_vhost_server_set_parked_fd(server, parked), 0);
	front_start(f, 2);
	assert_false(vblk_vhost_server_is_at_rest(server));
	assert_int_equal(vblk_vhost_server_pause(server), 2);
	assert_true(front_wait_fd(parked));
	while (!vblk_vhost_server_is_at_rest(server))
		assert_true(front_wait_fd(parked));
	front_offer(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	front_kick(f, 0);
	front_disconnect(f);
	front_reconnect(f, &scene.host);
	front_start(f, 2);
	assert_true(vblk_vhost_server_is_paused(server));
	assert_true(vblk_vhost_server_is_at_rest(server));
	assert_int_equal(vblk_vhost_server_pause(server), 0);
	front_get_base(f, 0); /* its worker has ended, and served nothing */
	assert_int_equal(front_used_idx(f, 0), 0);
	front_set_ring(f, 0, 0);
	vblk_vhost_server_resume(server);
	assert_true(front_wait_used(f, 0, 1));
	assert_int_equal(front_do(f, 1, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	close(parked);
	end(&scene);
}

static void test_pause_without_a_front_end_is_at_rest_at_once(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1);
	struct vblk_vhost_server *server = scene.host.server;

	(void)state;
	front_disconnect(f);
	assert_int_equal(vblk_vhost_server_pause(server), 0);
	assert_true(vblk_vhost_server_is_at_rest(server));
	vblk_vhost_server_resume(server);
	assert_false(vblk_vhost_server_is_paused(server));
	front_reconnect(f, &scene.host);
	front_start(f, 1);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	end(&scene);
}

static struct vblk_metrics_snapshot metrics(struct scene *scene)
{
	struct vblk_metrics_snapshot snapshot;

	vblk_metrics_read(vblk_vhost_server_disk(scene->host.server)->metrics, &snapshot);
	return snapshot;
}

static bool are_stalled(void *context)
{
	return metrics(context).throttled_now == 2;
}

/* The clock stands: what is in the buckets is all there is. */
static void test_rings_share_one_limit(void **state)
{
	const struct vblk_throttle limit = { .iops = 5 }, none = { 0 };
	struct scene scene;
	struct front *f = begin(&scene, 2);

	(void)state;
	assert_int_equal(vblk_vhost_server_set_throttle(scene.host.server, &limit), 0);
	front_start(f, 2);
	for (unsigned i = 0; i < 8; i++) {
		front_offer(f, 0, i, VIRTIO_BLK_T_IN, 0, SECTOR);
		front_offer(f, 1, i, VIRTIO_BLK_T_IN, 0, SECTOR);
	}
	front_kick(f, 0);
	front_kick(f, 1);
	assert_true(process_wait(are_stalled, &scene));
	assert_int_equal(front_used_idx(f, 0) + front_used_idx(f, 1), 5);
	assert_int_equal(metrics(&scene).reads_completed, 5);
	assert_int_equal(vblk_vhost_server_set_throttle(scene.host.server, &none), 0);
	assert_true(front_wait_used(f, 0, 8));
	assert_true(front_wait_used(f, 1, 8));
	end(&scene);
}

static void test_contradicting_limits_change_nothing(void **state)
{
	const struct vblk_throttle bad = { .iops_burst = 5 };
	struct scene scene;
	struct front *f = begin(&scene, 1);
	struct vblk_throttle now;

	(void)state;
	assert_int_equal(vblk_vhost_server_set_throttle(scene.host.server, &bad), -EINVAL);
	vblk_throttle_group_get(vblk_vhost_server_disk(scene.host.server)->throttle, &now);
	assert_int_equal(now.iops_burst, 0);
	front_start(f, 1);
	end(&scene);
}

static void test_rings_have_states_of_their_own(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 4);

	(void)state;
	front_start(f, 4);
	for (unsigned q = 0; q < 4; q++) {
		for (unsigned i = 0; i <= q; i++)
			assert_int_equal(front_do(f, q, i, VIRTIO_BLK_T_IN, 0, SECTOR),
					 VIRTIO_BLK_S_OK);
	}
	front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 2, 0);
	assert_int_equal(front_do(f, 3, 5, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_get_base(f, 0), 1);
	assert_int_equal(front_get_base(f, 1), 2);
	assert_int_equal(front_get_base(f, 2), 3);
	assert_int_equal(front_get_base(f, 3), 5);
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queues_are_1_to_16),
		cmocka_unit_test(test_second_front_end_waits_until_the_first_has_gone),
		cmocka_unit_test(test_next_front_end_finds_nothing_of_the_former),
		cmocka_unit_test(test_connections_leave_nothing_behind),
		cmocka_unit_test(test_server_goes_while_a_front_end_is_there),
		cmocka_unit_test(test_protocol_error_has_one_line_and_ends_the_connection),
		cmocka_unit_test(test_refused_request_ends_a_connection_without_answers),
		cmocka_unit_test(test_unknown_request_is_refused_where_that_can_be_told),
		cmocka_unit_test(test_front_end_may_go_in_the_middle_of_a_message),
		cmocka_unit_test(test_front_end_may_go_before_its_answer),
		cmocka_unit_test(test_memory_that_is_cut_short_ends_the_connection),
		cmocka_unit_test(test_pause_holds_over_connections),
		cmocka_unit_test(test_pause_without_a_front_end_is_at_rest_at_once),
		cmocka_unit_test(test_rings_share_one_limit),
		cmocka_unit_test(test_contradicting_limits_change_nothing),
		cmocka_unit_test(test_rings_have_states_of_their_own),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
