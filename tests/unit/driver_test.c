/* SPDX-License-Identifier: MIT */
/*
 * The driver's half of a queue, against a device that the test plays by hand, and against a real
 * one behind the register window.
 */
#include "driver/queue.h"
#include "vhost_front.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vblk/backing.h>
#include <vblk/device.h>

#include <cmocka.h>

#include "base/eventfd.h"
#include "base/le.h"
#include "driver/front.h"
#include "driver/window.h"

#define DEPTH 4u

struct scene {
	struct vblk_driver_transport transport; /* of the device played by hand */
	struct vblk_driver_queue queue;
	struct vblk_driver_place place;
	struct vblk_driver_shape shape;
	uint8_t *memory;
	unsigned notified;
};

static void count_notification(struct vblk_driver_transport *transport, unsigned queue)
{
	(void)queue;
	((struct scene *)(void *)transport)->notified++;
}

static const struct vblk_driver_ops by_hand = { .notify = count_notification };

static void lay_out(struct scene *scene, struct vblk_driver_transport *transport)
{
	uint32_t most;

	assert_int_equal(vblk_driver_shape(&transport->traits, 4096, DEPTH, &scene->shape, &most),
			 0);
	scene->memory = aligned_alloc(4096, scene->shape.bytes);
	assert_non_null(scene->memory);
	memset(scene->memory, 0, scene->shape.bytes);
	assert_int_equal(vblk_driver_queue_init(&scene->queue, transport, 0, &scene->shape,
						scene->memory, VBLK_DRIVER_BASE, &scene->place),
			 0);
}

static void begin(struct scene *scene)
{
	*scene = (struct scene){ .transport = { .ops = &by_hand } };
	scene->transport.traits.queue_size = 256;
	scene->transport.traits.event_idx = true;
	lay_out(scene, &scene->transport);
}

static void end(struct scene *scene)
{
	vblk_driver_queue_destroy(&scene->queue);
	free(scene->memory);
}

static uint8_t *used_ring(struct scene *scene)
{
	return scene->memory + (scene->place.used - VBLK_DRIVER_BASE);
}

/* The device's answer number `index`. */
static void answer(struct scene *scene, uint16_t index, uint32_t head)
{
	uint8_t *used = used_ring(scene);

	vblk_le32_put(used + 4 + 8 * (size_t)(index % scene->shape.size), head);
	vblk_le16_put(used + 2, (uint16_t)(index + 1));
}

static void large_request_is_cut_as_the_device_wants(void **state)
{
	const struct vblk_driver_traits traits = { .size_max = 4096,
						   .seg_max = 4,
						   .queue_size = 64 };
	struct vblk_driver_shape shape;
	uint32_t most = 0;

	(void)state;
	assert_int_equal(vblk_driver_shape(&traits, 16384, 10, &shape, &most), 0);
	assert_int_equal(shape.segments, 4);
	assert_int_equal(shape.size, 64);
	assert_int_equal(vblk_driver_shape(&traits, 20480, 1, &shape, &most), -E2BIG);
	assert_int_equal(vblk_driver_shape(&traits, 16384, 11, &shape, &most), -ERANGE);
	assert_int_equal(most, 10);
}

static void tables_make_room_in_the_ring(void **state)
{
	struct vblk_driver_traits traits = { .queue_size = 256, .indirect = true };
	struct vblk_driver_shape shape;
	uint32_t most = 0;

	(void)state;
	assert_int_equal(vblk_driver_shape(&traits, 4096, 128, &shape, &most), 0);
	assert_int_equal(shape.entries, 1);
	assert_int_equal(shape.size, 128);
	assert_int_equal(vblk_driver_shape(&traits, 4096, 257, &shape, &most), -ERANGE);
	assert_int_equal(most, 256);
	traits.size_max = 4096;
	assert_int_equal(vblk_driver_shape(&traits, 255 * 4096, 1, &shape, &most), -E2BIG);
	traits.indirect = false;
	assert_int_equal(vblk_driver_shape(&traits, 4096, 128, &shape, &most), -ERANGE);
	assert_int_equal(most, 85);
}

/* The links of slot 1's chain, from its head on, wherever they are; their lengths in `lengths`. */
static unsigned walk(const struct scene *scene, bool indirect, uint32_t *lengths, uint16_t *flags)
{
	const uint8_t *table = scene->memory;
	const uint8_t *p = table + 16 * (size_t)scene->shape.entries;
	unsigned count = 0;

	if (indirect) {
		assert_int_equal(vblk_le16_get(p + 12), VRING_DESC_F_INDIRECT);
		assert_int_equal(vblk_le32_get(p + 8), 16 * (scene->shape.segments + 2));
		p = table = scene->memory + (vblk_le64_get(p) - VBLK_DRIVER_BASE);
	}
	for (;; p = table + 16 * (size_t)vblk_le16_get(p + 14)) {
		lengths[count] = vblk_le32_get(p + 8);
		flags[count++] = vblk_le16_get(p + 12);
		if (!(vblk_le16_get(p + 12) & VRING_DESC_F_NEXT))
			return count;
		assert_true(count < 8);
	}
}

static void check_kinds(bool indirect)
{
	struct vblk_driver_answer got;
	struct scene scene = { .transport = { .ops = &by_hand } };
	uint32_t lengths[8] = { 0 };
	uint16_t flags[8] = { 0 };

	scene.transport.traits.queue_size = 256;
	scene.transport.traits.size_max = 2048;
	scene.transport.traits.indirect = indirect;
	lay_out(&scene, &scene.transport);
	for (uint16_t i = 0; i < 9; i++) {
		const enum vblk_driver_kind kind = i % VBLK_DRIVER_KINDS;
		const unsigned links = kind == VBLK_DRIVER_FLUSH ? 2 : 4;

		vblk_driver_queue_submit(&scene.queue, 1, kind, 0);
		assert_int_equal(walk(&scene, indirect, lengths, flags), links);
		assert_int_equal(lengths[0], 16);
		assert_int_equal(flags[0], VRING_DESC_F_NEXT);
		for (unsigned k = 1; k + 1 < links; k++) {
			assert_int_equal(lengths[k], 2048);
			assert_int_equal(flags[k] & VRING_DESC_F_WRITE,
					 kind == VBLK_DRIVER_READ ? VRING_DESC_F_WRITE : 0);
		}
		assert_int_equal(lengths[links - 1], 1);
		assert_int_equal(flags[links - 1], VRING_DESC_F_WRITE);
		answer(&scene, i, scene.shape.entries);
		assert_int_equal(vblk_driver_queue_take(&scene.queue, &got), 1);
		assert_int_equal(got.slot, 1);
	}
	end(&scene);
}

static void each_kind_of_request_has_its_descriptors(void **state)
{
	(void)state;
	check_kinds(true);
	check_kinds(false);
}

static void device_is_notified_when_it_asked_for_it(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene);
	vblk_driver_queue_submit(&scene.queue, 0, VBLK_DRIVER_READ, 0);
	vblk_driver_queue_submit(&scene.queue, 1, VBLK_DRIVER_READ, 8);
	vblk_driver_queue_notify(&scene.queue); /* avail_event is 0: the first of the two */
	assert_int_equal(scene.notified, 1);
	vblk_driver_queue_submit(&scene.queue, 2, VBLK_DRIVER_READ, 16);
	vblk_driver_queue_notify(&scene.queue); /* and it is still 0 */
	vblk_driver_queue_notify(&scene.queue); /* nothing new */
	assert_int_equal(scene.notified, 1);
	assert_int_equal(scene.queue.notifications, 1);
	end(&scene);
}

static void answer_to_nothing_is_refused(void **state)
{
	const uint32_t wrong[] = { 3, 1, 3 * DEPTH, UINT32_MAX };
	struct vblk_driver_answer got;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct scene scene;

		begin(&scene);
		vblk_driver_queue_submit(&scene.queue, 0, VBLK_DRIVER_READ, 0);
		answer(&scene, 0, wrong[i]); /* 3 is the head of slot 1, which is free */
		assert_int_equal(vblk_driver_queue_take(&scene.queue, &got), -EPROTO);
		end(&scene);
	}
}

static void more_answers_than_requests_are_refused(void **state)
{
	struct vblk_driver_answer got;
	struct scene scene;

	(void)state;
	begin(&scene);
	vblk_driver_queue_submit(&scene.queue, 0, VBLK_DRIVER_READ, 0);
	answer(&scene, 1, 0);
	assert_int_equal(vblk_driver_queue_take(&scene.queue, &got), -EPROTO);
	end(&scene);
}

/* Over more answers than an index has values, used_event is never about to be reached. */
static void who_looks_all_the_time_asks_for_no_interrupt(void **state)
{
	struct vblk_driver_answer got;
	struct scene scene;
	uint8_t *used_event;

	(void)state;
	begin(&scene);
	used_event = scene.memory + (scene.place.avail - VBLK_DRIVER_BASE) + 4 +
		     2 * (size_t)scene.shape.size;
	for (uint32_t i = 0; i < 0x18000; i++) {
		vblk_driver_queue_submit(&scene.queue, i % DEPTH, VBLK_DRIVER_READ, 0);
		assert_int_not_equal(vblk_le16_get(used_event), (uint16_t)i);
		answer(&scene, (uint16_t)i, 3 * (i % DEPTH));
		assert_int_equal(vblk_driver_queue_take(&scene.queue, &got), 1);
		assert_int_equal(got.slot, i % DEPTH);
	}
	end(&scene);
}

static uint8_t serve_one(struct scene *scene, enum vblk_driver_kind kind, uint64_t sector)
{
	struct vblk_driver_answer got;

	vblk_driver_queue_submit(&scene->queue, 2, kind, sector);
	vblk_driver_queue_notify(&scene->queue);
	assert_int_equal(vblk_driver_queue_wait(&scene->queue, true, 10000), 0);
	assert_int_equal(vblk_driver_queue_take(&scene->queue, &got), 1);
	assert_int_equal(got.slot, 2);
	return got.status;
}

static void check_window(enum vblk_engine_kind engine)
{
	const struct vblk_device_options options = { .engine = engine };
	struct vblk_driver_transport *transport;
	struct vblk_backing *backing;
	struct vblk_device *device;
	struct scene scene;
	uint8_t *data;

	assert_int_equal(vblk_backing_create_memory(1 << 20, &backing), 0);
	assert_int_equal(vblk_device_create(&options, backing, &device), 0);
	assert_int_equal(vblk_window_open(device, engine, NULL, &transport), 0);
	assert_int_equal(transport->traits.capacity_bytes, 1 << 20);
	lay_out(&scene, transport);
	assert_int_equal(transport->ops->start(transport, -1, scene.memory, scene.shape.bytes,
					       &scene.place, 1),
			 0);
	data = vblk_driver_queue_data(&scene.queue, 2);
	memset(data, 0x5a, 4096);
	assert_int_equal(serve_one(&scene, VBLK_DRIVER_WRITE, 8), VIRTIO_BLK_S_OK);
	memset(data, 0, 4096);
	assert_int_equal(serve_one(&scene, VBLK_DRIVER_READ, 8), VIRTIO_BLK_S_OK);
	for (size_t i = 0; i < 4096; i++)
		assert_int_equal(data[i], 0x5a);
	assert_int_equal(serve_one(&scene, VBLK_DRIVER_FLUSH, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(serve_one(&scene, VBLK_DRIVER_READ, 1 << 20), VIRTIO_BLK_S_IOERR);
	transport->ops->close(transport);
	vblk_device_destroy(device);
	vblk_backing_unref(backing);
	end(&scene);
}

static void what_is_written_is_read_through_the_window(void **state)
{
	(void)state;
	check_window(VBLK_ENGINE_WORKER);
	check_window(VBLK_ENGINE_INLINE);
}

static void line_wakes_each_queue(void **state)
{
	struct vblk_window_line line;

	(void)state;
	assert_int_equal(vblk_window_line_create(&line, 3), 0);
	vblk_window_line_raise(&line);
	vblk_window_line_raise(&line);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vblk_eventfd_clear(line.fds[i]), 2);
		assert_int_equal(vblk_eventfd_clear(line.fds[i]), 0);
	}
	vblk_window_line_destroy(&line);
	assert_int_equal(line.queues, 0);
}

/* One queue is written by, the other reads; each sleeps until it is answered. */
static void window_has_as_many_queues_as_the_line(void **state)
{
	struct vblk_device_options options = { .queues = 3 };
	struct vblk_driver_transport *transport;
	struct vblk_driver_place places[2];
	struct vblk_driver_queue queues[2];
	struct vblk_window_line line;
	struct vblk_driver_shape shape;
	struct vblk_backing *backing;
	struct vblk_device *device;
	struct scene scene = { .memory = NULL };
	uint32_t most;

	(void)state;
	assert_int_equal(vblk_window_line_create(&line, 2), 0);
	options.interrupt = vblk_window_line_raise;
	options.interrupt_context = &line;
	assert_int_equal(vblk_backing_create_memory(1 << 20, &backing), 0);
	assert_int_equal(vblk_device_create(&options, backing, &device), 0);
	assert_int_equal(vblk_window_open(device, options.engine, &line, &transport), 0);
	assert_int_equal(transport->traits.queues, 2);
	assert_int_equal(vblk_driver_shape(&transport->traits, 4096, DEPTH, &shape, &most), 0);
	scene.memory = aligned_alloc(4096, 2 * shape.bytes);
	assert_non_null(scene.memory);
	memset(scene.memory, 0, 2 * shape.bytes);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(vblk_driver_queue_init(&queues[i], transport, i, &shape,
							scene.memory + i * shape.bytes,
							VBLK_DRIVER_BASE + i * shape.bytes,
							&places[i]),
				 0);
	assert_int_equal(
		transport->ops->start(transport, -1, scene.memory, 2 * shape.bytes, places, 2), 0);
	memset(vblk_driver_queue_data(&queues[0], 2), 0x5a, 4096);
	scene.queue = queues[0];
	assert_int_equal(serve_one(&scene, VBLK_DRIVER_WRITE, 8), VIRTIO_BLK_S_OK);
	scene.queue = queues[1];
	assert_int_equal(serve_one(&scene, VBLK_DRIVER_READ, 8), VIRTIO_BLK_S_OK);
	assert_int_equal(((uint8_t *)vblk_driver_queue_data(&queues[1], 2))[4095], 0x5a);
	transport->ops->close(transport);
	vblk_device_destroy(device);
	vblk_backing_unref(backing);
	vblk_window_line_destroy(&line);
	vblk_driver_queue_destroy(&queues[0]);
	vblk_driver_queue_destroy(&queues[1]);
	free(scene.memory);
}

struct server {
	struct front_host host;
	pthread_t thread;
	bool stop; /* atomic */
};

static void *serve_until_stopped(void *argument)
{
	struct server *server = argument;
	struct pollfd pfd = { .fd = vblk_vhost_server_fd(server->host.server), .events = POLLIN };

	while (!__atomic_load_n(&server->stop, __ATOMIC_ACQUIRE))
		if (poll(&pfd, 1, 10) > 0)
			vblk_vhost_server_serve(server->host.server);
	return NULL;
}

static struct vblk_driver_transport *connect_to(const struct server *server)
{
	struct vblk_driver_transport *transport = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&server->host.address,
				 server->host.address_length),
			 0);
	assert_int_equal(vblk_front_adopt(fd, &transport), 0);
	return transport;
}

static void what_is_written_is_read_over_a_socket(void **state)
{
	struct vblk_driver_transport *transport;
	struct vblk_backing *backing;
	struct server server = { .stop = false };
	struct scene scene;
	uint8_t *data, *shared;
	int fd = memfd_create("driver", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(vblk_backing_create_memory(1 << 20, &backing), 0);
	front_host_start(&server.host, NULL, backing);
	assert_int_equal(pthread_create(&server.thread, NULL, serve_until_stopped, &server), 0);
	transport = connect_to(&server);
	assert_int_equal(transport->traits.capacity_bytes, 1 << 20);
	assert_int_equal(transport->traits.pid, getpid());
	lay_out(&scene, transport);
	assert_int_equal(ftruncate(fd, (off_t)scene.shape.bytes), 0);
	shared = mmap(NULL, scene.shape.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(shared != MAP_FAILED);
	memcpy(shared, scene.memory, scene.shape.bytes);
	scene.queue.memory = shared;
	assert_int_equal(
		transport->ops->start(transport, fd, shared, scene.shape.bytes, &scene.place, 1),
		0);
	data = vblk_driver_queue_data(&scene.queue, 2);
	memset(data, 0x5a, 4096);
	assert_int_equal(serve_one(&scene, VBLK_DRIVER_WRITE, 8), VIRTIO_BLK_S_OK);
	memset(data, 0, 4096);
	assert_int_equal(serve_one(&scene, VBLK_DRIVER_READ, 8), VIRTIO_BLK_S_OK);
	for (size_t i = 0; i < 4096; i++)
		assert_int_equal(data[i], 0x5a);
	assert_int_equal(vblk_driver_queue_interrupts(&scene.queue) > 0, 1);
	transport->ops->close(transport);
	__atomic_store_n(&server.stop, true, __ATOMIC_RELEASE);
	pthread_join(server.thread, NULL);
	front_host_stop(&server.host);
	munmap(shared, scene.shape.bytes);
	close(fd);
	end(&scene);
}

static void back_end_that_hangs_up_is_no_disk(void **state)
{
	struct vblk_driver_transport *transport;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	shutdown(pair[1], SHUT_WR);
	assert_int_equal(vblk_front_adopt(pair[0], &transport), -ECONNRESET);
	close(pair[1]);
}

static void back_end_that_answers_in_another_size_is_refused(void **state)
{
	const uint32_t reply[] = { 1, 5, 4, 0 }; /* GET_FEATURES with 4 bytes instead of 8 */
	struct vblk_driver_transport *transport;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(write(pair[1], reply, sizeof(reply)), sizeof(reply));
	assert_int_equal(vblk_front_adopt(pair[0], &transport), -EPROTO);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(large_request_is_cut_as_the_device_wants),
		cmocka_unit_test(tables_make_room_in_the_ring),
		cmocka_unit_test(each_kind_of_request_has_its_descriptors),
		cmocka_unit_test(device_is_notified_when_it_asked_for_it),
		cmocka_unit_test(answer_to_nothing_is_refused),
		cmocka_unit_test(more_answers_than_requests_are_refused),
		cmocka_unit_test(who_looks_all_the_time_asks_for_no_interrupt),
		cmocka_unit_test(what_is_written_is_read_through_the_window),
		cmocka_unit_test(line_wakes_each_queue),
		cmocka_unit_test(window_has_as_many_queues_as_the_line),
		cmocka_unit_test(what_is_written_is_read_over_a_socket),
		cmocka_unit_test(back_end_that_hangs_up_is_no_disk),
		cmocka_unit_test(back_end_that_answers_in_another_size_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
