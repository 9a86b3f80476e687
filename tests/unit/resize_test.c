/* SPDX-License-Identifier: MIT */
/* A disk that changes its size while a driver uses it. */
#include "disk.h"
#include "expect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "base/le.h"

#define SECTOR	  VBLK_SECTOR_SIZE
#define DISK_SIZE (8 * SECTOR)

static void create(struct guest *g, bool read_only, struct vblk_backing *disk)
{
	struct guest_options options = {
		.device.engine = VBLK_ENGINE_INLINE,
		.device.read_only = read_only,
		.all_features = true,
	};

	guest_create(g, &options, disk);
}

/* A disk in a file, which can grow. */
static struct vblk_backing *file_disk(uint64_t size)
{
	struct vblk_backing *disk;
	FILE *file = tmpfile();

	assert_non_null(file);
	assert_int_equal(ftruncate(fileno(file), (off_t)size), 0);
	assert_int_equal(vblk_backing_open_fd(fileno(file), 0, &disk), 0);
	fclose(file);
	return disk;
}

static uint64_t told_capacity(struct guest *g)
{
	uint8_t raw[8];

	guest_read_config(g, 0, raw, sizeof(raw));
	return vblk_le64_get(raw) * SECTOR;
}

/* Over vhost-user it is the front end's. */
static void expect_generation(struct guest *g, uint32_t generation)
{
	if (g->device)
		assert_int_equal(guest_read32(g, VIRTIO_MMIO_CONFIG_GENERATION), generation);
}

static uint8_t transfer(struct guest *g, uint32_t type, uint64_t sector)
{
	guest_request(g, type, sector, SECTOR);
	guest_kick(g);
	return guest_status_byte(g);
}

/* Nothing of this has happened. */
static void expect_unchanged(struct guest *g, uint64_t capacity)
{
	assert_int_equal(guest_capacity(g), capacity);
	assert_int_equal(told_capacity(g), capacity);
	expect_generation(g, 0);
	expect_interrupts(g, 0, 0);
}

/* Rules: D-RESIZE */
static void test_growing_tells_the_driver(void **state)
{
	struct guest g;

	(void)state;
	create(&g, false, file_disk(DISK_SIZE));
	guest_start(&g);
	assert_int_equal(guest_resize(&g, 2 * DISK_SIZE, 0), 0);
	assert_int_equal(guest_capacity(&g), 2 * DISK_SIZE);
	assert_int_equal(told_capacity(&g), 2 * DISK_SIZE);
	expect_generation(&g, 1);
	expect_interrupts(&g, 1, VIRTIO_MMIO_INT_CONFIG);
	guest_destroy(&g);
}

/* Rules: D-RESIZE */
static void test_what_has_grown_can_be_written_and_read(void **state)
{
	struct guest g;

	(void)state;
	create(&g, false, file_disk(DISK_SIZE));
	guest_start(&g);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_OUT, 8), VIRTIO_BLK_S_IOERR);
	assert_int_equal(guest_resize(&g, 2 * DISK_SIZE, 0), 0);
	guest_fill(&g, GUEST_DATA, 0x5a, SECTOR);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_OUT, 8), VIRTIO_BLK_S_OK);
	guest_fill(&g, GUEST_DATA, 0xff, SECTOR);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_IN, 15), VIRTIO_BLK_S_OK);
	assert_true(guest_is_filled(&g, GUEST_DATA, 0, SECTOR));
	assert_true(disk_is_filled(g.backing, DISK_SIZE, 0x5a, SECTOR));
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_IN, 16), VIRTIO_BLK_S_IOERR);
	guest_destroy(&g);
}

/* The new bytes are there before a driver could ask for them. */
static void test_growing_grows_the_file(void **state)
{
	struct guest g;

	(void)state;
	create(&g, false, file_disk(DISK_SIZE));
	assert_int_equal(guest_resize(&g, 2 * DISK_SIZE, 0), 0);
	assert_true(disk_is_filled(g.backing, DISK_SIZE, 0, DISK_SIZE));
	guest_destroy(&g);
}

/* Rules: D-RESIZE */
static void test_shrinking_needs_the_flag(void **state)
{
	struct guest g;

	(void)state;
	create(&g, false, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	assert_int_equal(guest_resize(&g, DISK_SIZE / 2, 0), -ERANGE);
	expect_unchanged(&g, DISK_SIZE);
	assert_int_equal(guest_resize(&g, DISK_SIZE / 2, VBLK_RESIZE_SHRINK), 0);
	assert_int_equal(told_capacity(&g), DISK_SIZE / 2);
	expect_interrupts(&g, 1, VIRTIO_MMIO_INT_CONFIG);
	guest_destroy(&g);
}

/* Rules: D-RESIZE */
static void test_what_was_cut_off_fails_and_comes_back_when_it_grows(void **state)
{
	struct guest g;

	(void)state;
	create(&g, false, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	assert_int_equal(guest_resize(&g, DISK_SIZE / 2, VBLK_RESIZE_SHRINK), 0);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_IN, 3), VIRTIO_BLK_S_OK);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_IN, 4), VIRTIO_BLK_S_IOERR);
	assert_int_equal(guest_resize(&g, DISK_SIZE, 0), 0);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_IN, 4), VIRTIO_BLK_S_OK);
	assert_true(guest_is_filled(&g, GUEST_DATA, 0xab, SECTOR));
	guest_destroy(&g);
}

static void test_senseless_sizes_are_refused(void **state)
{
	static const struct {
		uint64_t bytes;
		uint32_t flags;
		int ret;
	} table[] = {
		{ 0, 0, -EINVAL },
		{ 0, VBLK_RESIZE_SHRINK, -EINVAL },
		{ 1, VBLK_RESIZE_SHRINK, -EINVAL },
		{ DISK_SIZE + 1, 0, -EINVAL },
		{ DISK_SIZE - 1, VBLK_RESIZE_SHRINK, -EINVAL },
		{ UINT64_MAX, 0, -EINVAL },
		{ DISK_SIZE, 2, -EINVAL },
		{ DISK_SIZE, UINT32_MAX, -EINVAL },
		{ (uint64_t)1 << 63, 0, -EFBIG },
		{ UINT64_MAX - 511, 0, -EFBIG },
		{ DISK_SIZE - SECTOR, 0, -ERANGE },
		{ SECTOR, 0, -ERANGE },
	};
	struct guest g;

	(void)state;
	create(&g, false, file_disk(DISK_SIZE));
	guest_start(&g);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		assert_int_equal(guest_resize(&g, table[i].bytes, table[i].flags), table[i].ret);
	expect_unchanged(&g, DISK_SIZE);
	guest_destroy(&g);
}

/* Rules: D-RESIZE */
static void test_a_backing_that_cannot_grow(void **state)
{
	struct guest g;

	(void)state;
	create(&g, false, disk_create(DISK_SIZE, 0));
	guest_start(&g);
	assert_int_equal(guest_resize(&g, DISK_SIZE + SECTOR, 0), -EOPNOTSUPP);
	expect_unchanged(&g, DISK_SIZE);
	guest_destroy(&g);
}

/* Nobody writes there, so nothing has to be there: it reads as zeros. */
static void test_a_read_only_disk_grows_beyond_its_backing(void **state)
{
	struct guest g;

	(void)state;
	create(&g, true, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	assert_int_equal(guest_resize(&g, 2 * DISK_SIZE, 0), 0);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_IN, 8), VIRTIO_BLK_S_OK);
	assert_true(guest_is_filled(&g, GUEST_DATA, 0, SECTOR));
	guest_destroy(&g);
}

/* A driver that does not run yet looks by itself, and finds another generation. */
static void test_before_driver_ok_there_is_no_interrupt(void **state)
{
	struct guest g;

	(void)state;
	create(&g, false, disk_create(DISK_SIZE, 0));
	guest_negotiate(&g);
	assert_int_equal(guest_resize(&g, SECTOR, VBLK_RESIZE_SHRINK), 0);
	expect_generation(&g, 1);
	assert_int_equal(told_capacity(&g), SECTOR);
	expect_interrupts(&g, 0, 0);
	guest_destroy(&g);
}

/* Rules: R-4 */
static void test_the_size_survives_a_reset(void **state)
{
	struct guest g;

	(void)state;
	create(&g, false, disk_create(DISK_SIZE, 0));
	guest_start(&g);
	assert_int_equal(guest_resize(&g, SECTOR, VBLK_RESIZE_SHRINK), 0);
	guest_reset(&g);
	assert_int_equal(told_capacity(&g), SECTOR);
	expect_generation(&g, 2);
	guest_destroy(&g);
}

/* --- While a request is with the backing of a worker --- */

static void start_hanging(struct guest *g, enum vblk_faulty_op op, uint32_t type, uint64_t sector)
{
	const struct vblk_faulty_rule hang = { .op = op, .action = VBLK_FAULTY_HANG, .count = 1 };
	struct guest_options options = { .device.engine = VBLK_ENGINE_WORKER,
					 .all_features = true };

	guest_create(g, &options, disk_create_faulty(DISK_SIZE, 0xab, &hang, 1));
	guest_start(g);
	guest_request(g, type, sector, SECTOR);
	guest_kick(g);
	vblk_faulty_wait_hanging(g->backing, 1);
}

/* Rules: D-RESIZE */
static void test_a_request_in_hand_keeps_the_size_of_its_start(void **state)
{
	struct guest g;

	(void)state;
	start_hanging(&g, VBLK_FAULTY_PREADV, VIRTIO_BLK_T_IN, 7);
	assert_int_equal(guest_resize(&g, SECTOR, VBLK_RESIZE_SHRINK), 0);
	assert_int_equal(guest_used_idx(&g), 0);
	vblk_faulty_release(g.backing);
	assert_true(guest_wait_used(&g, 1));
	assert_int_equal(guest_status_byte(&g), VIRTIO_BLK_S_OK);
	guest_request(&g, VIRTIO_BLK_T_IN, 7, SECTOR);
	guest_kick(&g);
	assert_true(guest_wait_used(&g, 2));
	assert_int_equal(guest_status_byte(&g), VIRTIO_BLK_S_IOERR);
	guest_destroy(&g);
}

/* Rules: D-RESIZE */
static void test_a_worker_that_is_busy_does_not_hold_up_a_resize(void **state)
{
	struct guest g;

	(void)state;
	start_hanging(&g, VBLK_FAULTY_PWRITEV, VIRTIO_BLK_T_OUT, 0);
	assert_int_equal(guest_resize(&g, 4 * SECTOR, VBLK_RESIZE_SHRINK), 0);
	assert_int_equal(told_capacity(&g), 4 * SECTOR);
	expect_interrupts(&g, 1, VIRTIO_MMIO_INT_CONFIG);
	vblk_faulty_release(g.backing);
	assert_true(guest_wait_used(&g, 1));
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_growing_tells_the_driver),
		cmocka_unit_test(test_what_has_grown_can_be_written_and_read),
		cmocka_unit_test(test_growing_grows_the_file),
		cmocka_unit_test(test_shrinking_needs_the_flag),
		cmocka_unit_test(test_what_was_cut_off_fails_and_comes_back_when_it_grows),
		cmocka_unit_test(test_senseless_sizes_are_refused),
		cmocka_unit_test(test_a_backing_that_cannot_grow),
		cmocka_unit_test(test_a_read_only_disk_grows_beyond_its_backing),
		cmocka_unit_test(test_before_driver_ok_there_is_no_interrupt),
		cmocka_unit_test(test_the_size_survives_a_reset),
		cmocka_unit_test(test_a_request_in_hand_keeps_the_size_of_its_start),
		cmocka_unit_test(test_a_worker_that_is_busy_does_not_hold_up_a_resize),
	};

	return cmocka_run_group_tests_name("resize", tests, NULL, NULL);
}
