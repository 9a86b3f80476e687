/* SPDX-License-Identifier: MIT */
/* The disk behind the queues: how it is made, how long it lives, and its size. */
#include "request/disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <vblk/backing.h>

#include "base/checked.h"
#include "metrics/metrics.h"

#define SECTOR VBLK_SECTOR_SIZE

/* A backing that says when it is closed, and what it was asked to grow to. */
struct watched {
	unsigned closed;
	unsigned grown;
	uint64_t bytes;
	int ret; /* of growing */
};

static ssize_t watched_preadv(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	(void)context;
	(void)iov;
	(void)count;
	(void)offset;
	return 0;
}

static int watched_grow(void *context, uint64_t bytes)
{
	struct watched *watched = context;

	watched->grown++;
	watched->bytes = bytes;
	return watched->ret;
}

static void watched_close(void *context)
{
	((struct watched *)context)->closed++;
}

static const struct vblk_backing_ops watched_ops = {
	.preadv = watched_preadv,
	.pwritev = watched_preadv,
	.grow = watched_grow,
	.close = watched_close,
};

static struct vblk_backing *watch(struct watched *watched, uint64_t size)
{
	const struct vblk_backing_info info = { .size_bytes = size };
	struct vblk_backing *backing;

	memset(watched, 0, sizeof(*watched));
	assert_int_equal(vblk_backing_create(&watched_ops, watched, &info, &backing), 0);
	return backing;
}

/* The disk has the only reference to its backing. */
static struct vblk_disk *create(const struct vblk_device_options *options, struct watched *watched)
{
	struct vblk_backing *backing = watch(watched, 8 * SECTOR);
	struct vblk_disk *disk;

	assert_int_equal(vblk_disk_create(options, backing, &disk), 0);
	vblk_backing_unref(backing);
	return disk;
}

static void test_a_new_disk_is_what_was_asked_for(void **state)
{
	static const uint8_t serial[VIRTIO_BLK_ID_BYTES] = "a disk";
	const struct vblk_device_options options = {
		.serial = "a disk",
		.capacity_bytes = 3 * SECTOR + 511,
		.read_only = true,
		.on_undeliverable = VBLK_UNDELIVERABLE_NEEDS_RESET,
		.throttle.iops = 5,
	};
	struct vblk_throttle limits;
	struct watched watched;
	struct vblk_disk *disk;

	(void)state;
	disk = create(&options, &watched);
	assert_memory_equal(disk->serial, serial, sizeof(serial));
	assert_int_equal(vblk_disk_capacity(disk), 3 * SECTOR);
	assert_true(disk->read_only);
	assert_int_equal(disk->on_undeliverable, VBLK_UNDELIVERABLE_NEEDS_RESET);
	assert_false(atomic_load(&disk->write_through));
	vblk_throttle_group_get(disk->throttle, &limits);
	assert_int_equal(limits.iops, 5);
	vblk_disk_unref(disk);
}

static void test_how_long_to_look_has_a_bound(void **state)
{
	static const struct {
		uint32_t poll_us;
		uint64_t poll_ns;
		int ret;
	} cases[] = {
		{ 0, VBLK_POLL_US_DEFAULT * 1000ull, 0 },
		{ 1, 1000, 0 },
		{ VBLK_POLL_US_MAX, VBLK_POLL_US_MAX * 1000ull, 0 },
		{ VBLK_POLL_US_MAX + 1, 0, -EINVAL },
		{ VBLK_POLL_NEVER - 1, 0, -EINVAL },
		{ VBLK_POLL_NEVER, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		const struct vblk_device_options options = { .poll_us = cases[i].poll_us };
		struct watched watched;
		struct vblk_backing *backing = watch(&watched, 8 * SECTOR);
		struct vblk_disk *disk = NULL;

		assert_int_equal(vblk_disk_create(&options, backing, &disk), cases[i].ret);
		if (disk)
			assert_int_equal(disk->poll_ns, cases[i].poll_ns);
		vblk_disk_unref(disk);
		vblk_backing_unref(backing);
		assert_int_equal(watched.closed, 1);
	}
}

static void test_the_last_reference_closes_the_backing(void **state)
{
	const struct vblk_device_options options = { .capacity_bytes = 0 };
	struct watched watched;
	struct vblk_disk *disk;

	(void)state;
	disk = create(&options, &watched);
	assert_ptr_equal(vblk_disk_ref(disk), disk);
	vblk_disk_unref(disk);
	assert_int_equal(watched.closed, 0);
	vblk_disk_unref(disk);
	assert_int_equal(watched.closed, 1);
	vblk_disk_unref(NULL);
}

/* Whoever lets a disk watch holds its counters and limits. */
static void test_counters_and_limits_outlive_the_disk(void **state)
{
	const struct vblk_device_options options = { .throttle.iops = 7 };
	struct vblk_throttle_group *group;
	struct vblk_metrics *metrics;
	struct vblk_throttle limits;
	struct watched watched;
	struct vblk_disk *disk;

	(void)state;
	disk = create(&options, &watched);
	metrics = vblk_metrics_ref(disk->metrics);
	group = vblk_throttle_group_ref(disk->throttle);
	vblk_disk_unref(disk);
	vblk_metrics_add_error(metrics, VBLK_ERROR_IO);
	vblk_throttle_group_get(group, &limits);
	assert_int_equal(limits.iops, 7);
	vblk_metrics_unref(metrics);
	vblk_throttle_group_unref(group);
}

static void test_a_disk_that_is_not_made_leaves_nothing(void **state)
{
	static const struct {
		struct vblk_device_options options;
		int ret;
	} table[] = {
		{ { .serial = "more than twenty bytes" }, -EINVAL },
		{ { .throttle.iops_burst = 1 }, -EINVAL },
		{ { .throttle = { .bps = 10, .bps_burst = 9 } }, -EINVAL },
		{ { .on_undeliverable = (enum vblk_undeliverable)2 }, -EINVAL },
		{ { .capacity_bytes = (uint64_t)1 << 63 }, -EFBIG },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct watched watched;
		struct vblk_backing *backing = watch(&watched, SECTOR);
		struct vblk_disk *disk;

		assert_int_equal(vblk_disk_create(&table[i].options, backing, &disk), table[i].ret);
		vblk_backing_unref(backing);
		assert_int_equal(watched.closed, 1);
	}
}

/* Both steps of a resize, without a driver to be told. */
static int resize(struct vblk_disk *disk, uint64_t capacity_bytes, bool shrink)
{
	int ret = vblk_disk_prepare_resize(disk, capacity_bytes, shrink);

	if (ret == 0)
		vblk_disk_set_capacity(disk, capacity_bytes);
	return ret;
}

/* Rules: D-RESIZE */
static void test_growing_asks_the_backing_first(void **state)
{
	const struct vblk_device_options options = { .capacity_bytes = 0 };
	struct watched watched;
	struct vblk_disk *disk;

	(void)state;
	disk = create(&options, &watched);
	watched.ret = -ENOSPC;
	assert_int_equal(resize(disk, 9 * SECTOR, false), -ENOSPC);
	assert_int_equal(vblk_disk_capacity(disk), 8 * SECTOR);
	watched.ret = 0;
	assert_int_equal(resize(disk, 9 * SECTOR, false), 0);
	assert_int_equal(vblk_disk_capacity(disk), 9 * SECTOR);
	assert_int_equal(watched.grown, 2);
	assert_int_equal(watched.bytes, 9 * SECTOR);
	vblk_disk_unref(disk);
}

/* Rules: D-RESIZE */
static void test_shrinking_and_staying_ask_nobody(void **state)
{
	const struct vblk_device_options options = { .capacity_bytes = 0 };
	struct watched watched;
	struct vblk_disk *disk;

	(void)state;
	disk = create(&options, &watched);
	assert_int_equal(resize(disk, 8 * SECTOR, false), 0);
	assert_int_equal(resize(disk, SECTOR, false), -ERANGE);
	assert_int_equal(resize(disk, SECTOR, true), 0);
	assert_int_equal(vblk_disk_capacity(disk), SECTOR);
	assert_int_equal(watched.grown, 0);
	vblk_disk_unref(disk);
}

/* What is read-only changes nothing of its backing, its size neither. */
static void test_a_read_only_disk_never_grows_its_backing(void **state)
{
	const struct vblk_device_options options = { .read_only = true };
	struct watched watched;
	struct vblk_disk *disk;

	(void)state;
	disk = create(&options, &watched);
	assert_int_equal(resize(disk, INT64_MAX / SECTOR * SECTOR, false), 0);
	assert_int_equal(watched.grown, 0);
	vblk_disk_unref(disk);
}

static void test_instances_differ(void **state)
{
	const struct vblk_device_options options = { .capacity_bytes = 0 };
	struct watched watched[2];
	struct vblk_disk *disk[2];

	(void)state;
	disk[0] = create(&options, &watched[0]);
	disk[1] = create(&options, &watched[1]);
	assert_int_not_equal(disk[0]->instance, disk[1]->instance);
	vblk_disk_unref(disk[0]);
	vblk_disk_unref(disk[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_new_disk_is_what_was_asked_for),
		cmocka_unit_test(test_how_long_to_look_has_a_bound),
		cmocka_unit_test(test_the_last_reference_closes_the_backing),
		cmocka_unit_test(test_counters_and_limits_outlive_the_disk),
		cmocka_unit_test(test_a_disk_that_is_not_made_leaves_nothing),
		cmocka_unit_test(test_growing_asks_the_backing_first),
		cmocka_unit_test(test_shrinking_and_staying_ask_nobody),
		cmocka_unit_test(test_a_read_only_disk_never_grows_its_backing),
		cmocka_unit_test(test_instances_differ),
	};

	return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
