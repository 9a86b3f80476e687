/* SPDX-License-Identifier: MIT */
/*
 * The write cache from one session to the next: what a driver has turned off stays off, whether the
 * daemon died or the connection broke, and where that is not known it is off to be safe. The
 * limits, which begin anew with the device, are here too.
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
#include <vblk/metrics.h>

#include <cmocka.h>

#define DISK_SIZE 0x40000u
#define FILL	  0xab
#define SECTOR	  VBLK_SECTOR_SIZE

struct scene {
	struct front_host host;
	struct front front;
	struct vblk_vhost_inflight_area area;
	int record; /* -1: the front end keeps none */
	uint64_t now_ns;
	size_t fds;
};

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

static uint64_t read_clock(void *context)
{
	return ((struct scene *)context)->now_ns;
}

static void start_host(struct scene *scene)
{
	const struct vblk_vhost_server_options options = {
		.device = {
			.clock = read_clock,
			.clock_context = scene,
			.throttle = { .iops = 2 },
		},
		.queues = 2,
	};

	front_host_start(&scene->host, &options, disk_create(DISK_SIZE, FILL));
}

static struct front *begin(struct scene *scene)
{
	memset(scene, 0, sizeof(*scene));
	scene->fds = process_fds();
	scene->record = -1;
	scene->now_ns = 1;
	start_host(scene);
	front_open(&scene->front, &scene->host);
	front_negotiate(&scene->front);
	return &scene->front;
}

static void end(struct scene *scene)
{
	front_close(&scene->front);
	front_host_stop(&scene->host);
	if (scene->record >= 0)
		close(scene->record);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(process_fds(), scene->fds);
}

static void get_record(struct scene *scene)
{
	const struct vblk_vhost_header header = { VBLK_VHOST_GET_INFLIGHT_FD, VBLK_VHOST_VERSION,
						  sizeof(scene->area) };
	struct vblk_vhost_header reply;

	scene->area = (struct vblk_vhost_inflight_area){ .queues = 2, .queue_size = 64 };
	front_send(&scene->front, &header, &scene->area, sizeof(scene->area), NULL, 0);
	front_receive(&scene->front, &reply, &scene->area, sizeof(scene->area), &scene->record);
	assert_true(scene->record >= 0);
}

static void set_record(struct scene *scene)
{
	assert_int_equal(front_put(&scene->front, VBLK_VHOST_SET_INFLIGHT_FD, &scene->area,
				   sizeof(scene->area), &scene->record, 1),
			 0);
}

static void begin_record(struct scene *scene)
{
	get_record(scene);
	set_record(scene);
}

static void serve_from(struct front *f, unsigned ring, uint16_t base)
{
	assert_int_equal(front_share_memory(f), 0);
	front_set_ring(f, ring, base);
	assert_int_equal(front_put_state(f, VBLK_VHOST_SET_VRING_ENABLE, ring, 1), 0);
}

static void turn(struct front *f, bool on)
{
	const struct vblk_vhost_config config = { .offset = VBLK_CONFIG_WRITEBACK,
						  .size = 1,
						  .data = { on } };

	assert_int_equal(
		front_put(f, VBLK_VHOST_SET_CONFIG, &config, VBLK_VHOST_CONFIG_HEADER + 1, NULL, 0),
		0);
}

/* As the driver reads it, which has to be as it is. */
static bool is_on(struct scene *scene)
{
	struct vblk_vhost_config config = { .offset = VBLK_CONFIG_WRITEBACK, .size = 1 };
	const struct vblk_vhost_header header = { VBLK_VHOST_GET_CONFIG, VBLK_VHOST_VERSION,
						  VBLK_VHOST_CONFIG_HEADER + 1 };
	const struct vblk_disk *disk = vblk_vhost_server_disk(scene->host.server);
	struct vblk_vhost_header reply;
	int fd;

	front_send(&scene->front, &header, &config, header.size, NULL, 0);
	front_receive(&scene->front, &reply, &config, sizeof(config), &fd);
	assert_int_equal(config.data[0], !atomic_load(&disk->write_through));
	return config.data[0];
}

static void connect_again(struct scene *scene)
{
	front_disconnect(&scene->front);
	front_reconnect(&scene->front, &scene->host);
	front_negotiate(&scene->front);
}

/* A daemon that knows nothing but what it is told. */
static void daemon_dies(struct scene *scene)
{
	struct front *f = &scene->front;

	front_disconnect(f);
	front_host_stop(&scene->host);
	start_host(scene);
	front_reconnect(f, &scene->host);
	front_negotiate(f);
}

/* ---- what is known ---- */

static void test_cache_that_was_turned_off_stays_off(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene);

	(void)state;
	begin_record(&scene);
	serve_from(f, 0, 0);
	assert_true(is_on(&scene));
	turn(f, false);
	daemon_dies(&scene);
	set_record(&scene);
	assert_false(is_on(&scene));
	serve_from(f, 0, 0);
	assert_false(is_on(&scene));
	connect_again(&scene);
	set_record(&scene);
	assert_false(is_on(&scene));
	end(&scene);
}

static void test_cache_that_is_on_stays_on(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene);

	(void)state;
	begin_record(&scene);
	serve_from(f, 0, 0);
	daemon_dies(&scene);
	set_record(&scene);
	serve_from(f, 0, 7);
	assert_true(is_on(&scene));
	turn(f, false);
	turn(f, true);
	daemon_dies(&scene);
	set_record(&scene);
	serve_from(f, 0, 7);
	assert_true(is_on(&scene));
	end(&scene);
}

/* Front ends differ in what they say first. */
static void test_features_may_come_behind_the_record(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene);
	uint64_t features = front_get(f, VBLK_VHOST_GET_FEATURES);

	(void)state;
	begin_record(&scene);
	turn(f, false);
	front_disconnect(f);
	front_reconnect(f, &scene.host);
	front_put_u64(f, VBLK_VHOST_SET_PROTOCOL_FEATURES,
		      front_get(f, VBLK_VHOST_GET_PROTOCOL_FEATURES));
	f->acks = true;
	set_record(&scene);
	assert_int_equal(front_put_u64(f, VBLK_VHOST_SET_FEATURES, features), 0);
	assert_false(is_on(&scene));
	end(&scene);
}

/* QEMU resets the device when the machine is stopped, and hands the record over when it goes on. */
static void test_machine_that_was_stopped_goes_on_with_its_record(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene);

	(void)state;
	begin_record(&scene);
	serve_from(f, 0, 0);
	turn(f, false);
	assert_int_equal(front_put_u64(f, VBLK_VHOST_SET_STATUS, 0), 0);
	assert_true(is_on(&scene));
	front_negotiate(f);
	set_record(&scene);
	serve_from(f, 0, 1);
	assert_false(is_on(&scene));
	end(&scene);
}

static void test_session_knows_better_than_a_record_that_comes_late(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene);

	(void)state;
	begin_record(&scene);
	turn(f, false);
	connect_again(&scene);
	turn(f, true);
	set_record(&scene);
	assert_true(is_on(&scene));
	/* And the record was told. */
	connect_again(&scene);
	set_record(&scene);
	assert_true(is_on(&scene));
	end(&scene);
}

/* ---- what is not ---- */

static void test_record_without_a_note_begins_with_the_cache_off(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene);
	scene.area.queues = 2;
	scene.area.queue_size = 64;
	scene.area.size = 2 * vblk_vhost_inflight_stride(64);
	scene.record = memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(scene.record, (off_t)scene.area.size), 0);
	set_record(&scene);
	assert_false(is_on(&scene));
	end(&scene);
}

/* It could be cut short under the hands of the one thread that may not stumble. */
static void test_note_in_a_file_that_can_shrink_is_not_looked_at(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene);
	get_record(&scene);
	close(scene.record);
	scene.record = memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(scene.record, (off_t)scene.area.size), 0);
	set_record(&scene);
	assert_false(is_on(&scene));
	turn(&scene.front, true);
	assert_true(is_on(&scene));
	end(&scene);
}

static void test_ring_that_goes_on_without_a_record_does_so_with_the_cache_off(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene);

	(void)state;
	serve_from(f, 0, 0);
	assert_true(is_on(&scene));
	connect_again(&scene);
	serve_from(f, 0, 0);
	serve_from(f, 1, 3);
	assert_false(is_on(&scene));
	turn(f, true);
	assert_true(is_on(&scene));
	end(&scene);
}

static void test_ring_that_goes_on_in_its_session_leaves_the_cache_alone(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene);

	(void)state;
	serve_from(f, 0, 0);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	front_set_ring(f, 0, (uint16_t)front_get_base(f, 0));
	assert_true(is_on(&scene));
	end(&scene);
}

/* ---- drivers that begin ---- */

static void test_reset_ends_what_was_left(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene);

	(void)state;
	serve_from(f, 0, 3);
	assert_false(is_on(&scene));
	assert_int_equal(front_put(f, VBLK_VHOST_RESET_DEVICE, NULL, 0, NULL, 0), 0);
	front_negotiate(f);
	serve_from(f, 0, 0);
	assert_true(is_on(&scene));
	end(&scene);
}

static void test_other_features_behind_a_run_end_it_too(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene);
	uint64_t features = front_get(f, VBLK_VHOST_GET_FEATURES) & f->features;

	(void)state;
	serve_from(f, 0, 3);
	assert_false(is_on(&scene));
	front_get_base(f, 0);
	features &= ~(1ull << VIRTIO_RING_F_EVENT_IDX);
	assert_int_equal(front_put_u64(f, VBLK_VHOST_SET_FEATURES, features), 0);
	assert_true(is_on(&scene));
	end(&scene);
}

/* It can have turned nothing off. */
static void test_driver_that_cannot_switch_the_cache_has_it_on(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene);

	(void)state;
	front_disconnect(f);
	f->features &= ~(1ull << VIRTIO_BLK_F_CONFIG_WCE);
	front_reconnect(f, &scene.host);
	front_negotiate(f);
	serve_from(f, 0, 3);
	assert_true(is_on(&scene));
	end(&scene);
}

/* ---- limits ---- */

static bool has_tokens(struct scene *scene, unsigned ring, unsigned slot)
{
	struct front *f = &scene->front;
	struct vblk_metrics_snapshot before, now;
	const struct vblk_disk *disk = vblk_vhost_server_disk(scene->host.server);
	uint16_t used = front_used_idx(f, ring);

	vblk_metrics_read(disk->metrics, &before);
	front_offer(f, ring, slot, VIRTIO_BLK_T_IN, 0, SECTOR);
	front_kick(f, ring);
	do {
		vblk_metrics_read(disk->metrics, &now);
	} while (front_used_idx(f, ring) == used && now.throttled == before.throttled);
	return front_used_idx(f, ring) != used;
}

/* The clock stands, so no time fills them. Rules: D-KNOWN */
static void test_reset_fills_the_buckets(void **state)
{
	struct scene scene;
	struct front *f = begin(&scene);

	(void)state;
	for (unsigned life = 0; life < 2; life++) {
		serve_from(f, life, 0);
		assert_true(has_tokens(&scene, life, 0));
		assert_true(has_tokens(&scene, life, 1));
		assert_false(has_tokens(&scene, life, 2));
		assert_int_equal(front_put_u64(f, VBLK_VHOST_SET_STATUS, 0), 0);
		front_negotiate(f);
	}
	connect_again(&scene);
	serve_from(f, 0, 2);
	assert_true(front_wait_used(f, 0, 3));
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cache_that_was_turned_off_stays_off),
		cmocka_unit_test(test_cache_that_is_on_stays_on),
		cmocka_unit_test(test_features_may_come_behind_the_record),
		cmocka_unit_test(test_machine_that_was_stopped_goes_on_with_its_record),
		cmocka_unit_test(test_session_knows_better_than_a_record_that_comes_late),
		cmocka_unit_test(test_record_without_a_note_begins_with_the_cache_off),
		cmocka_unit_test(test_note_in_a_file_that_can_shrink_is_not_looked_at),
		cmocka_unit_test(
			test_ring_that_goes_on_without_a_record_does_so_with_the_cache_off),
		cmocka_unit_test(test_ring_that_goes_on_in_its_session_leaves_the_cache_alone),
		cmocka_unit_test(test_reset_ends_what_was_left),
		cmocka_unit_test(test_other_features_behind_a_run_end_it_too),
		cmocka_unit_test(test_driver_that_cannot_switch_the_cache_has_it_on),
		cmocka_unit_test(test_reset_fills_the_buckets),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
