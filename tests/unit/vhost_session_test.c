/* SPDX-License-Identifier: MIT */
/*
 * A front end and the back end, message by message: what is agreed on, what a ring serves, and how
 * it stops and goes on. The disk is in memory and its workers are real.
 */
#include "vhost_fixture.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "base/le.h"

#define PAGE 4096u

/* ---- negotiation ---- */

static void test_features_and_protocol_features_are_offered(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 3);
	uint64_t features = front_get(f, VBLK_VHOST_GET_FEATURES);

	(void)state;
	assert_true(features >> VBLK_VHOST_F_PROTOCOL_FEATURES & 1);
	assert_true(features >> VBLK_VHOST_F_LOG_ALL & 1);
	assert_true(features >> VIRTIO_F_VERSION_1 & 1);
	assert_true(features >> VIRTIO_BLK_F_MQ & 1);
	assert_true(features >> VIRTIO_BLK_F_CONFIG_WCE & 1);
	assert_int_equal(front_get(f, VBLK_VHOST_GET_PROTOCOL_FEATURES), 0x1b22bu);
	front_negotiate(f);
	assert_int_equal(front_get(f, VBLK_VHOST_GET_QUEUE_NUM), 3);
	assert_int_equal(front_get(f, VBLK_VHOST_GET_MAX_MEM_SLOTS), VBLK_VHOST_SLOTS_MAX);
	assert_int_equal(front_host_complaints(&scene.host), 0);
	end(&scene);
}

static void test_ring_waits_until_it_is_enabled(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1);

	(void)state;
	front_negotiate(f);
	front_share_memory(f);
	front_set_ring(f, 0, 0);
	assert_true(process_wait_threads(own_threads));
	front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 0, 1);
	assert_int_equal(process_threads(), own_threads + 1);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 0, 0);
	assert_true(process_wait_threads(own_threads));
	end(&scene);
}

static void test_ring_is_enabled_by_itself_without_protocol_features(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1);

	(void)state;
	front_put_u64(f, VBLK_VHOST_SET_FEATURES, 1ull << VIRTIO_F_VERSION_1);
	front_share_memory(f);
	front_set_ring(f, 0, 0);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	end(&scene);
}

/* ---- requests ---- */

static bool data_is(struct front *f, unsigned slot, uint8_t value, size_t length)
{
	const uint8_t *data = front_data(f, 0, slot);

	for (size_t i = 0; i < length; i++) {
		if (data[i] != value)
			return false;
	}
	return true;
}

static void test_reads_writes_and_flushes_are_served(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);

	(void)state;
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, PAGE), VIRTIO_BLK_S_OK);
	assert_true(data_is(f, 0, FILL, PAGE));
	memset(front_data(f, 0, 1), 0x5c, PAGE);
	assert_int_equal(front_do(f, 0, 1, VIRTIO_BLK_T_OUT, 8, PAGE), VIRTIO_BLK_S_OK);
	assert_int_equal(front_do(f, 0, 2, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(front_used_head(f, 0, 2), 6);
	assert_int_equal(front_get_base(f, 0), 3); /* the disk is the test's from here on */
	assert_true(disk_is_filled(scene.host.backing, PAGE, 0x5c, PAGE));
	assert_true(disk_is_filled(scene.host.backing, 2 * PAGE, FILL, PAGE));
	end(&scene);
}

static void test_serial_number_is_told(void **state)
{
	static const char wanted[VIRTIO_BLK_ID_BYTES] = "vhost-7";
	const struct vblk_vhost_server_options options = { .device = { .serial = wanted } };
	struct scene scene = { .fds = process_fds() };
	struct front *f = &scene.front;

	(void)state;
	front_host_start(&scene.host, &options, disk_create(DISK_SIZE, FILL));
	front_open(f, &scene.host);
	front_start(f, 1);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES),
			 VIRTIO_BLK_S_OK);
	assert_memory_equal(front_data(f, 0, 0), wanted, sizeof(wanted));
	end(&scene);
}

static void put_range(struct front *f, unsigned slot, uint64_t sector, uint32_t sectors)
{
	uint8_t *data = front_data(f, 0, slot);

	vblk_le64_put(data, sector);
	vblk_le32_put(data + 8, sectors);
	vblk_le32_put(data + 12, 0);
}

static void test_zeroes_and_discards_are_served(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);
	bool discards = front_get(f, VBLK_VHOST_GET_FEATURES) >> VIRTIO_BLK_F_DISCARD & 1;

	(void)state;
	put_range(f, 0, 8, 8);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_OK);
	put_range(f, 1, 16, 8);
	assert_int_equal(front_do(f, 0, 1, VIRTIO_BLK_T_DISCARD, 0, 16),
			 discards ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(front_get_base(f, 0), 2);
	assert_true(disk_is_filled(scene.host.backing, PAGE, 0, PAGE));
	assert_true(disk_is_filled(scene.host.backing, 0, FILL, PAGE));
	end(&scene);
}

/* ---- stopping and going on ---- */

static void test_base_is_where_the_ring_goes_on(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);
	uint32_t base;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(front_do(f, 0, i, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	base = front_get_base(f, 0);
	assert_int_equal(base, 3);
	assert_true(process_wait_threads(own_threads));
	/* What was taken is not taken again: these are new. */
	front_offer(f, 0, 3, VIRTIO_BLK_T_IN, 0, SECTOR);
	front_set_ring(f, 0, (uint16_t)base);
	assert_true(front_wait_used(f, 0, 4));
	assert_int_equal(front_used_head(f, 0, 3), 9);
	assert_int_equal(front_get_base(f, 0), 4);
	end(&scene);
}

static void test_base_above_used_leaves_out_requests(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene, 1);

	(void)state;
	front_negotiate(f);
	front_share_memory(f);
	for (unsigned i = 0; i < 3; i++)
		front_offer(f, 0, i, VIRTIO_BLK_T_IN, 0, SECTOR);
	front_set_ring(f, 0, 2);
	front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 0, 1);
	assert_true(front_wait_used(f, 0, 1));
	assert_int_equal(front_used_head(f, 0, 0), 6);
	assert_int_equal(front_status(f, 0, 0), FRONT_SENTINEL);
	end(&scene);
}

static void test_ring_that_is_served_keeps_its_size_and_base(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);

	(void)state;
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_NUM, 0, 32), EBUSY);
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_BASE, 0, 7), EBUSY);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	front_get_base(f, 0);
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_NUM, 0, 2048), EINVAL);
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_NUM, 0, 1024), 0);
	end(&scene);
}

static void test_ring_that_does_not_exist_is_refused(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 2);

	(void)state;
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_NUM, 2, 32), EINVAL);
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, 2, 1), EINVAL);
	assert_int_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_KICK, 2, f->memory_fd), EINVAL);
	assert_int_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_CALL, 255, f->memory_fd),
			 EINVAL);
	assert_int_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_ERR, 2, -1), EINVAL);
	assert_int_equal(front_host_complaints(&scene.host), 5);
	assert_int_equal(front_do(f, 1, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	end(&scene);
}

static void test_ring_outside_of_memory_is_refused(void **state)
{
	struct vhost_vring_addr addr = { .desc_user_addr = FRONT_USER + FRONT_SIZE };
	struct scene scene;
	struct front *f = begin_started(&scene, 1);

	(void)state;
	addr.used_user_addr = addr.avail_user_addr = FRONT_USER;
	assert_int_equal(front_put(f, VBLK_VHOST_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0),
			 EFAULT);
	assert_true(process_wait_threads(own_threads));
	assert_true(front_host_logged(&scene.host, "the ring is not in the memory"));
	end(&scene);
}

static void test_ring_without_a_kick_is_refused(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);

	(void)state;
	assert_int_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_KICK, 0, -1), ENOTSUP);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	/* A file is readable at all times and cannot be waited for. */
	assert_int_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_KICK, 0, f->memory_fd), EINVAL);
	end(&scene);
}

/* ---- descriptors ---- */

static void test_call_is_replaced_while_the_ring_runs(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);
	int former = f->ring[0].call_fd, own;

	(void)state;
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(vblk_eventfd_create(&own), 0);
	assert_int_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_CALL, 0, own), 0);
	vblk_eventfd_clear(former);
	f->ring[0].call_fd = own;
	assert_int_equal(front_do(f, 0, 1, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_int_equal(front_get_base(f, 0), 2);
	assert_int_equal(vblk_eventfd_clear(former), 0);
	close(former);
	end(&scene);
}

static void test_ring_without_a_call_is_served_in_silence(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);

	(void)state;
	assert_int_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_CALL, 0, -1), 0);
	vblk_eventfd_clear(f->ring[0].call_fd);
	front_offer(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	front_kick(f, 0);
	while (front_used_idx(f, 0) == 0)
		;
	front_get_base(f, 0);
	assert_int_equal(vblk_eventfd_clear(f->ring[0].call_fd), 0);
	end(&scene);
}

/* An avail.idx that is further ahead than the ring is long. */
static void poison(struct front *f)
{
	front_set_avail_idx(f, 0, 1000);
	front_kick(f, 0);
	assert_true(front_wait_fd(f->ring[0].err_fd));
}

static void test_broken_ring_is_told_by_the_error_descriptor_and_the_status(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 2);

	(void)state;
	assert_int_equal(front_put_u64(f, VBLK_VHOST_SET_STATUS, 0xf), 0);
	assert_int_equal(front_get(f, VBLK_VHOST_GET_STATUS), 0xf);
	poison(f);
	assert_int_equal(front_get(f, VBLK_VHOST_GET_STATUS), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(front_do(f, 1, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	/* Changes of other things do not bring it back. */
	assert_int_equal(front_share_memory(f), 0);
	assert_true(process_wait_threads(own_threads + 1));
	assert_int_equal(front_put_u64(f, VBLK_VHOST_SET_STATUS, 0), 0);
	assert_int_equal(front_get(f, VBLK_VHOST_GET_STATUS), 0);
	end(&scene);
}

static void test_broken_ring_starts_anew_with_a_base(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 1);

	(void)state;
	poison(f);
	front_get_base(f, 0);
	front_set_avail_idx(f, 0, 0);
	front_set_ring(f, 0, 0);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	end(&scene);
}

static void test_status_zero_and_reset_device_stop_all_rings(void **state)
{
	struct scene scene;
	struct front *f = begin_started(&scene, 2);

	(void)state;
	assert_int_equal(front_put_u64(f, VBLK_VHOST_SET_STATUS, 0), 0);
	assert_true(process_wait_threads(own_threads));
	for (unsigned i = 0; i < 2; i++) {
		memset(front_desc(f, i), 0, 0x8000);
		f->ring[i].avail_idx = 0;
		front_set_ring(f, i, 0);
		front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, i, 1);
		assert_int_equal(front_do(f, i, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	}
	assert_int_equal(front_put(f, VBLK_VHOST_RESET_DEVICE, NULL, 0, NULL, 0), 0);
	assert_true(process_wait_threads(own_threads));
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features_and_protocol_features_are_offered),
		cmocka_unit_test(test_ring_waits_until_it_is_enabled),
		cmocka_unit_test(test_ring_is_enabled_by_itself_without_protocol_features),
		cmocka_unit_test(test_reads_writes_and_flushes_are_served),
		cmocka_unit_test(test_serial_number_is_told),
		cmocka_unit_test(test_zeroes_and_discards_are_served),
		cmocka_unit_test(test_base_is_where_the_ring_goes_on),
		cmocka_unit_test(test_base_above_used_leaves_out_requests),
		cmocka_unit_test(test_ring_that_is_served_keeps_its_size_and_base),
		cmocka_unit_test(test_ring_that_does_not_exist_is_refused),
		cmocka_unit_test(test_ring_outside_of_memory_is_refused),
		cmocka_unit_test(test_ring_without_a_kick_is_refused),
		cmocka_unit_test(test_call_is_replaced_while_the_ring_runs),
		cmocka_unit_test(test_ring_without_a_call_is_served_in_silence),
		cmocka_unit_test(test_broken_ring_is_told_by_the_error_descriptor_and_the_status),
		cmocka_unit_test(test_broken_ring_starts_anew_with_a_base),
		cmocka_unit_test(test_status_zero_and_reset_device_stop_all_rings),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
