/* SPDX-License-Identifier: MIT */
/*
 * What happens when the host has no more descriptors or threads to give: at creation an error and
 * nothing kept; at DRIVER_OK a driver that is told, an embedder that is told, and a device that
 * works as soon as there is something to be had again.
 */
#include "disk.h"
#include "expect.h"
#include "process.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "device/device.h"

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE
#define CONFIG	  VIRTIO_MMIO_INT_CONFIG

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

struct loss {
	unsigned count;
	int error;
};

static void note_loss(void *context, int error)
{
	struct loss *loss = context;

	loss->count++;
	loss->error = error;
}

/* Returns how many descriptors a device needed in the end. */
static size_t create_with_ever_more(enum vblk_engine_kind engine)
{
	const struct vblk_device_options options = { .engine = engine };
	struct vblk_backing *disk = disk_create(DISK_SIZE, 0);
	size_t fds = process_fds();
	size_t needed;

	for (needed = 0; needed < 16; needed++) {
		struct vblk_device *device = NULL;
		int ret;

		process_limit_fds(needed);
		ret = vblk_device_create(&options, disk, &device);
		process_unlimit_fds();
		if (ret == 0) {
			vblk_device_destroy(device);
			break;
		}
		assert_int_equal(ret, -EMFILE);
		assert_null(device);
		assert_int_equal(process_fds(), fds);
		assert_int_equal(atomic_load(&disk->refs), 1);
	}
	assert_int_equal(process_fds(), fds);
	vblk_backing_unref(disk);
	return needed;
}

static void test_D_CREATE_without_descriptors(void **state)
{
	(void)state;
	assert_in_range(create_with_ever_more(VBLK_ENGINE_INLINE), 1, 15);
	assert_in_range(create_with_ever_more(VBLK_ENGINE_WORKER), 2, 15);
}

static void create(struct guest *g, struct loss *loss)
{
	const struct guest_options options = {
		.device = { .worker_lost = note_loss, .worker_lost_context = loss },
	};

	*loss = (struct loss){ 0 };
	guest_create(g, &options, disk_create(DISK_SIZE, 0xab));
}

/* All that a driver does before DRIVER_OK. */
static void prepare(struct guest *g)
{
	guest_negotiate(g);
	guest_write32(g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x1000);
	guest_write32(g, VIRTIO_MMIO_QUEUE_USED_LOW, 0x2000);
	guest_write32(g, VIRTIO_MMIO_QUEUE_READY, 1);
}

static void expect_not_started(struct guest *g, const struct loss *loss, int error)
{
	assert_int_equal(guest_status(g), 0x4f);
	expect_interrupts(g, 1, CONFIG);
	assert_int_equal(loss->count, 1);
	assert_int_equal(loss->error, error);
	assert_true(guest_logged(g, "vblk: error: cannot start the worker"));
	assert_int_equal(process_threads(), own_threads);
	guest_request(g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(g);
	expect_answer(g, GUEST_SENTINEL, 0);
}

static void expect_works_after_reset(struct guest *g, const struct loss *loss)
{
	guest_reset(g);
	assert_int_equal(guest_status(g), 0);
	guest_start(g);
	guest_request(g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(g);
	assert_true(guest_wait_used(g, 1));
	expect_answer(g, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(loss->count, 1);
}

/* Rules: W-3, L-8 */
static void test_D_HOLE_4_D_SPAWN_driver_ok_without_descriptors(void **state)
{
	size_t needed;

	(void)state;
	for (needed = 0; needed < 16; needed++) {
		struct loss loss;
		struct guest g;
		bool started;
		size_t fds;

		create(&g, &loss);
		assert_true(process_wait_threads(own_threads));
		prepare(&g);
		fds = process_fds();
		process_limit_fds(needed);
		guest_set_status(&g, 0xf);
		process_unlimit_fds();
		started = guest_status(&g) == 0xf;
		if (!started) {
			assert_int_equal(process_fds(), fds);
			expect_not_started(&g, &loss, -EMFILE);
			expect_works_after_reset(&g, &loss);
		}
		guest_destroy(&g);
		if (started)
			break;
	}
	/* Kick, stop, timer, epoll. */
	assert_in_range(needed, 4, 15);
}

/* Rules: L-8 */
static void test_D_SPAWN_driver_ok_without_threads(void **state)
{
	struct loss loss;
	struct guest g;
	size_t fds;

	(void)state;
	create(&g, &loss);
	assert_true(process_wait_threads(own_threads));
	prepare(&g);
	fds = process_fds();
	process_forbid_threads();
	guest_set_status(&g, 0xf);
	process_allow_threads();
	assert_int_equal(process_fds(), fds);
	expect_not_started(&g, &loss, -EAGAIN);
	expect_works_after_reset(&g, &loss);
	guest_destroy(&g);
}

/* As long as there is nothing to be had, each try ends alike. */
static void test_D_SPAWN_failing_again_and_again(void **state)
{
	struct loss loss;
	struct guest g;

	(void)state;
	create(&g, &loss);
	for (unsigned i = 1; i <= 3; i++) {
		prepare(&g);
		process_limit_fds(0);
		guest_set_status(&g, 0xf);
		process_unlimit_fds();
		assert_int_equal(guest_status(&g), 0x4f);
		assert_int_equal(loss.count, i);
		expect_interrupts(&g, 1, CONFIG);
		guest_reset(&g);
		expect_interrupts(&g, 0, 0);
	}
	guest_start(&g);
	guest_destroy(&g);
}

/* The memory is bound, the start that this sets off fails: driver and caller are told. */
static void test_D_HOLE_4_set_memory_without_descriptors(void **state)
{
	struct loss loss = { 0 };
	const struct guest_options options = {
		.device = { .worker_lost = note_loss, .worker_lost_context = &loss },
		.unbound = true,
	};
	struct guest g;

	(void)state;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	assert_true(process_wait_threads(own_threads));
	guest_start(&g);
	process_limit_fds(0);
	assert_int_equal(vblk_device_set_memory(g.device, g.memory), -EMFILE);
	process_unlimit_fds();
	expect_not_started(&g, &loss, -EMFILE);
	assert_ptr_equal(g.device->memory, g.memory);
	expect_works_after_reset(&g, &loss);
	guest_destroy(&g);
}

static void test_D_SPAWN_destroy_after_a_failed_start(void **state)
{
	struct loss loss;
	struct guest g;
	size_t fds = process_fds();

	(void)state;
	create(&g, &loss);
	prepare(&g);
	process_limit_fds(0);
	guest_set_status(&g, 0xf);
	process_unlimit_fds();
	guest_destroy(&g);
	assert_int_equal(loss.count, 1);
	assert_int_equal(process_fds(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_D_CREATE_without_descriptors),
		cmocka_unit_test(test_D_HOLE_4_D_SPAWN_driver_ok_without_descriptors),
		cmocka_unit_test(test_D_SPAWN_driver_ok_without_threads),
		cmocka_unit_test(test_D_SPAWN_failing_again_and_again),
		cmocka_unit_test(test_D_HOLE_4_set_memory_without_descriptors),
		cmocka_unit_test(test_D_SPAWN_destroy_after_a_failed_start),
	};

	return cmocka_run_group_tests_name("worker_start", tests, setup_group, NULL);
}
