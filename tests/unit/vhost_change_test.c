/* SPDX-License-Identifier: MIT */
/*
 * What a front end changes while rings run: guest memory, the log of written pages, the
 * configuration space and the channel on which it is told of another one.
 */
#include "vhost_fixture.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "base/le.h"

#define PAGE 4096u

/* ---- memory ---- */

static void test_memory_table_is_changed_while_rings_run(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(front_do(f, 0, i, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
		assert_int_equal(front_share_memory(f), 0);
	}
	assert_int_equal(front_get_base(f, 0), 8);
	end(&scene);
}

static void test_requests_before_and_behind_a_change_of_memory_are_all_served(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);

	(void)state;
	for (unsigned i = 0; i < FRONT_SLOTS; i++) {
		front_offer(f, 0, i, VIRTIO_BLK_T_IN, 0, SECTOR);
		front_kick(f, 0);
		assert_int_equal(front_share_memory(f), 0);
	}
	assert_true(front_wait_used(f, 0, FRONT_SLOTS));
	for (unsigned i = 0; i < FRONT_SLOTS; i++) {
		assert_int_equal(front_status(f, 0, i), VIRTIO_BLK_S_OK);
		assert_int_equal(front_used_head(f, 0, (uint16_t)i), 3 * i);
	}
	end(&scene);
}

static void test_memory_regions_come_and_go(void **state)
{
	struct vblk_vhost_slot slot = { .region = { FRONT_GUEST + FRONT_SIZE, PAGE,
						    FRONT_USER + FRONT_SIZE, 0 } };
	struct scene scene;
	struct front *f = begin_started(&scene, 1);
	int more = memfd_create("more", MFD_CLOEXEC);
	uint8_t *at;

	(void)state;
	assert_int_equal(ftruncate(more, PAGE), 0);
	at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, more, 0);
	assert_int_equal(front_put(f, VBLK_VHOST_ADD_MEM_REG, &slot, sizeof(slot), &more, 1), 0);
	assert_int_equal(front_put(f, VBLK_VHOST_ADD_MEM_REG, &slot, sizeof(slot), &more, 1),
			 EEXIST);
	front_offer(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	vblk_le64_put(front_desc(f, 0) + 16, slot.region.guest);
	front_kick(f, 0);
	assert_true(front_wait_used(f, 0, 1));
	assert_int_equal(front_status(f, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(at[0], FILL);
	assert_int_equal(front_put(f, VBLK_VHOST_REM_MEM_REG, &slot, sizeof(slot), NULL, 0), 0);
	assert_int_equal(front_put(f, VBLK_VHOST_REM_MEM_REG, &slot, sizeof(slot), NULL, 0),
			 ENOENT);
	/* It is not there any more. */
	front_offer(f, 0, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	vblk_le64_put(front_desc(f, 0) + 16 * 4, slot.region.guest);
	front_kick(f, 0);
	assert_true(front_wait_used(f, 0, 2));
	assert_int_equal(front_status(f, 0, 1), VIRTIO_BLK_S_IOERR);
	munmap(at, PAGE);
	close(more);
	end(&scene);
}

static void test_memory_that_a_ring_lies_in_cannot_be_left_out_in_silence(void **state)
{
	const struct vblk_vhost_memory none = { .count = 0 };
	const struct vblk_vhost_slot slot = { .region = { FRONT_GUEST, FRONT_SIZE, FRONT_USER,
							  0 } };
	struct scene scene;
	struct front *f = begin_started(&scene, 1);

	(void)state;
	/* Without any memory the ring waits; with other memory it is an error. */
	assert_int_equal(front_put(f, VBLK_VHOST_REM_MEM_REG, &slot, sizeof(slot), NULL, 0), 0);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(front_share_memory(f), 0);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_put(f, VBLK_VHOST_SET_MEM_TABLE, &none, 8, NULL, 0), 0);
	assert_true(process_wait_threads(own_threads));
	end(&scene);
}

/* ---- the log of written pages ---- */

static bool is_marked(const uint8_t *log, uint64_t guest)
{
	return log[guest / PAGE / 8] >> guest / PAGE % 8 & 1;
}

static void test_all_written_pages_are_marked(void **state)
{
	const struct vblk_vhost_log where = { .size = (FRONT_GUEST + FRONT_SIZE) / PAGE / 8 };
	struct scene scene;
	struct front *f = begin(&scene, 1);
	int fd = memfd_create("log", MFD_CLOEXEC);
	unsigned marked = 0;
	uint8_t *log;

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)where.size), 0);
	log = mmap(NULL, where.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	f->features = ~0ull;
	front_start(f, 1);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_put(f, VBLK_VHOST_SET_LOG_BASE, &where, sizeof(where), &fd, 1), 0);
	assert_int_equal(front_do(f, 0, 1, VIRTIO_BLK_T_IN, 0, PAGE), VIRTIO_BLK_S_OK);
	assert_int_equal(front_do(f, 0, 2, VIRTIO_BLK_T_OUT, 0, PAGE), VIRTIO_BLK_S_OK);
	front_get_base(f, 0);
	/* Data that were read, two status bytes, the used ring; nothing that was only read. */
	assert_true(is_marked(log, front_guest_of(f, front_data(f, 0, 1))));
	assert_true(is_marked(log, front_guest_of(f, front_data(f, 0, 1) - PAGE)));
	assert_true(is_marked(log, front_guest_of(f, front_data(f, 0, 2) - PAGE)));
	assert_true(is_marked(log, front_guest_of(f, front_used(f, 0))));
	for (uint64_t at = 0; at < FRONT_SIZE; at += PAGE)
		marked += is_marked(log, FRONT_GUEST + at);
	assert_int_equal(marked, 4);
	munmap(log, where.size);
	close(fd);
	end(&scene);
}

static void test_pages_are_not_marked_unless_that_was_negotiated(void **state)
{
	const struct vblk_vhost_log where = { .size = (FRONT_GUEST + FRONT_SIZE) / PAGE / 8 };
	struct scene scene;
	struct front *f = begin_started(&scene, 1);
	int fd = memfd_create("log", MFD_CLOEXEC);
	uint64_t features = front_get(f, VBLK_VHOST_GET_FEATURES);
	uint8_t byte = 0;

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)where.size), 0);
	assert_int_equal(front_put(f, VBLK_VHOST_SET_LOG_BASE, &where, sizeof(where), &fd, 1), 0);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(pread(fd, &byte, 1, FRONT_GUEST / PAGE / 8), 1);
	assert_int_equal(byte, 0);
	/* A migration begins: the feature comes while the ring runs. */
	assert_int_equal(front_put_u64(f, VBLK_VHOST_SET_FEATURES, features), 0);
	assert_int_equal(front_do(f, 0, 1, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(pread(fd, &byte, 1, FRONT_GUEST / PAGE / 8), 1);
	assert_int_not_equal(byte, 0);
	close(fd);
	end(&scene);
}

/* ---- configuration space ---- */

static struct vblk_vhost_header get_config(struct front *f, struct vblk_vhost_config *config)
{
	const struct vblk_vhost_header header = {
		VBLK_VHOST_GET_CONFIG,
		VBLK_VHOST_VERSION,
		(uint32_t)VBLK_VHOST_CONFIG_HEADER + config->size,
	};
	struct vblk_vhost_header reply;
	int fd;

	front_send(f, &header, config, header.size, NULL, 0);
	front_receive(f, &reply, config, sizeof(*config), &fd);
	assert_int_equal(fd, -1);
	return reply;
}

static uint64_t set_config(struct front *f, uint32_t offset, uint8_t value)
{
	struct vblk_vhost_config config = { .offset = offset, .size = 1, .data = { value } };

	return front_put(f, VBLK_VHOST_SET_CONFIG, &config, VBLK_VHOST_CONFIG_HEADER + 1, NULL, 0);
}

static void test_configuration_space_is_read(void **state)
{
	struct vblk_vhost_config config = { .size = 60 };
	struct scene scene;
	struct front *f = begin(&scene, 4);

	(void)state;
	front_negotiate(f);
	assert_int_equal(get_config(f, &config).size, VBLK_VHOST_CONFIG_HEADER + 60);
	assert_int_equal(vblk_le64_get(config.data), DISK_SIZE / SECTOR);
	assert_int_equal(vblk_le16_get(config.data + 34), 4);
	config = (struct vblk_vhost_config){ .offset = 34, .size = 2 };
	get_config(f, &config);
	assert_int_equal(vblk_le16_get(config.data), 4);
	end(&scene);
}

static void test_write_cache_is_turned_off_and_on(void **state)
{
	struct vblk_vhost_config config = { .offset = VBLK_CONFIG_WRITEBACK, .size = 1 };
	struct scene scene;
	struct front *f = begin_started(&scene, 1);

	(void)state;
	get_config(f, &config);
	assert_int_equal(config.data[0], 1);
	assert_int_equal(set_config(f, VBLK_CONFIG_WRITEBACK, 0), 0);
	get_config(f, &config);
	assert_int_equal(config.data[0], 0);
	assert_int_equal(set_config(f, VBLK_CONFIG_WRITEBACK, 1), 0);
	get_config(f, &config);
	assert_int_equal(config.data[0], 1);
	end(&scene);
}

/* Dropped, as through the register window: a driver must not be able to end the connection. */
static void test_nothing_else_of_the_configuration_can_be_written(void **state)
{
	struct vblk_vhost_config before = { .offset = 0, .size = VBLK_CONFIG_SIZE };
	struct vblk_vhost_config after = { .offset = 0, .size = VBLK_CONFIG_SIZE };
	struct scene scene;
	struct front *f = begin_started(&scene, 1);

	(void)state;
	get_config(f, &before);
	assert_int_equal(set_config(f, VBLK_CONFIG_WRITEBACK, 2), 0);
	assert_int_equal(set_config(f, 0, 1), 0);
	assert_int_equal(set_config(f, VBLK_CONFIG_WRITEBACK - 1, 0), 0);
	get_config(f, &after);
	assert_memory_equal(before.data, after.data, VBLK_CONFIG_SIZE);
	end(&scene);
}

static int open_backend_channel(struct front *f)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(front_put(f, VBLK_VHOST_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
	close(pair[1]);
	return pair[0];
}

static void test_front_end_is_told_of_another_size(void **state)
{
	struct vblk_vhost_config config = { .size = 8 };
	struct vblk_vhost_header header;
	struct scene scene;
	struct front *f = begin_started(&scene, 1);
	int fd = open_backend_channel(f);

	(void)state;
	assert_int_equal(recv(fd, &header, sizeof(header), MSG_DONTWAIT), -1);
	assert_int_equal(vblk_vhost_server_resize(scene.host.server, DISK_SIZE / 2, false),
			 -ERANGE);
	assert_int_equal(recv(fd, &header, sizeof(header), MSG_DONTWAIT), -1);
	assert_int_equal(vblk_vhost_server_resize(scene.host.server, DISK_SIZE / 2, true), 0);
	front_host_serve(&scene.host);
	assert_int_equal(recv(fd, &header, sizeof(header), MSG_DONTWAIT), sizeof(header));
	assert_int_equal(header.request, VBLK_VHOST_BACKEND_CONFIG_CHANGE_MSG);
	assert_int_equal(header.flags, VBLK_VHOST_VERSION);
	assert_int_equal(header.size, 0);
	get_config(f, &config);
	assert_int_equal(vblk_le64_get(config.data), DISK_SIZE / 2 / SECTOR);
	close(fd);
	front_host_serve(&scene.host);
	assert_true(front_host_logged(&scene.host, "back-end channel has gone"));
	assert_int_equal(vblk_vhost_server_resize(scene.host.server, DISK_SIZE, false), 0);
	end(&scene);
}

/* What is closed here stays open there, and must not be looked at for ever. */
static void test_replaced_back_end_channel_is_watched_no_longer(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);
	int one[2], other;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, one), 0);
	assert_int_equal(front_put(f, VBLK_VHOST_SET_BACKEND_REQ_FD, NULL, 0, &one[1], 1), 0);
	other = open_backend_channel(f);
	assert_int_equal(write(one[0], "x", 1), 1);
	front_host_serve(&scene.host);
	assert_int_equal(vblk_vhost_server_resize(scene.host.server, DISK_SIZE / 2, true), 0);
	front_host_serve(&scene.host);
	assert_int_equal(recv(one[0], &(char){ 0 }, 1, MSG_DONTWAIT), -1);
	close(other);
	front_host_serve(&scene.host);
	close(one[0]);
	close(one[1]);
	end(&scene);
}

static void test_channel_that_its_front_end_shut_down_is_watched_no_longer(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(front_put(f, VBLK_VHOST_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
	close(pair[0]);
	front_host_serve(&scene.host);
	assert_true(front_host_logged(&scene.host, "back-end channel has gone"));
	close(pair[1]);
	end(&scene);
}

static void test_back_end_channel_has_to_be_a_socket(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);

	(void)state;
	assert_int_equal(front_put(f, VBLK_VHOST_SET_BACKEND_REQ_FD, NULL, 0, &f->memory_fd, 1), 0);
	assert_true(front_host_logged(&scene.host, "the back-end channel is no socket"));
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_table_is_changed_while_rings_run),
		cmocka_unit_test(test_requests_before_and_behind_a_change_of_memory_are_all_served),
		cmocka_unit_test(test_memory_regions_come_and_go),
		cmocka_unit_test(test_memory_that_a_ring_lies_in_cannot_be_left_out_in_silence),
		cmocka_unit_test(test_all_written_pages_are_marked),
		cmocka_unit_test(test_pages_are_not_marked_unless_that_was_negotiated),
		cmocka_unit_test(test_configuration_space_is_read),
		cmocka_unit_test(test_write_cache_is_turned_off_and_on),
		cmocka_unit_test(test_nothing_else_of_the_configuration_can_be_written),
		cmocka_unit_test(test_front_end_is_told_of_another_size),
		cmocka_unit_test(test_replaced_back_end_channel_is_watched_no_longer),
		cmocka_unit_test(test_channel_that_its_front_end_shut_down_is_watched_no_longer),
		cmocka_unit_test(test_back_end_channel_has_to_be_a_socket),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
