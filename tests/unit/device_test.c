/* SPDX-License-Identifier: MIT */
/*
 * A device as its embedder meets it: creation and what it refuses, what can be asked of it, the
 * features and the configuration space that it shows, and the memory that is bound to it.
 */
#include "disk.h"
#include "expect.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "base/le.h"
#include "device/device.h"

#define BIT(n)	  ((uint64_t)1 << (n))
#define DISK_SIZE 4096u

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static void create(struct guest *g)
{
	guest_create(g, &inline_options, disk_create(DISK_SIZE, 0xab));
}

/* Creates with options that should be refused, and sees to it that nothing was kept. */
static void expect_create_error(const struct vblk_device_options *options,
				struct vblk_backing *disk, int error)
{
	struct vblk_device *const untouched = (struct vblk_device *)&options;
	struct vblk_device *device = untouched;
	unsigned refs = atomic_load(&disk->refs);
	size_t fds = process_fds();

	assert_int_equal(vblk_device_create(options, disk, &device), error);
	assert_ptr_equal(device, untouched);
	assert_int_equal(atomic_load(&disk->refs), refs);
	assert_int_equal(process_fds(), fds);
}

static void test_create_refuses_senseless_options(void **state)
{
	static const struct vblk_device_options cases[] = {
		{ .engine = (enum vblk_engine_kind)3 },
		{ .engine = (enum vblk_engine_kind) - 1 },
		{ .on_undeliverable = (enum vblk_undeliverable)2 },
		{ .serial = "twenty-one-bytes-long" },
		{ .throttle = { .iops_burst = 1 } },
		{ .throttle = { .bps_burst = 1 } },
		{ .throttle = { .iops = 10, .iops_burst = 9 } },
		{ .throttle = { .bps = 10, .bps_burst = 9 } },
		{ .throttle = { .iops = 10, .iops_burst = 10, .bps_burst = 1 } },
	};
	struct vblk_backing *disk = disk_create(DISK_SIZE, 0);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_create_error(&cases[i], disk, -EINVAL);
	vblk_backing_unref(disk);
}

static ssize_t read_nothing(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	(void)context;
	(void)iov;
	(void)count;
	(void)offset;
	return 0;
}

/* A read-only disk that says of itself what it likes. */
static struct vblk_backing *create_braggart(uint64_t size)
{
	static const struct vblk_backing_ops ops = { .preadv = read_nothing };
	const struct vblk_backing_info info = { size, VBLK_BACKING_READ_ONLY };
	struct vblk_backing *disk;

	assert_int_equal(vblk_backing_create(&ops, NULL, &info, &disk), 0);
	return disk;
}

static void test_D_CREATE_capacity_above_2_63_minus_1(void **state)
{
	const struct vblk_device_options too_large = { .capacity_bytes = BIT(63) };
	const struct vblk_device_options read_only = { .read_only = true };
	struct vblk_backing *disk = disk_create(DISK_SIZE, 0);
	struct vblk_backing *braggart = create_braggart(BIT(63));

	(void)state;
	expect_create_error(&too_large, disk, -EFBIG);
	expect_create_error(&read_only, braggart, -EFBIG);
	vblk_backing_unref(braggart);
	vblk_backing_unref(disk);
}

static void test_create_read_only_disk_needs_a_read_only_device(void **state)
{
	const struct vblk_device_options writable = { .read_only = false };
	const struct vblk_device_options read_only = { .read_only = true };
	struct vblk_backing *disk = create_braggart(DISK_SIZE);
	struct vblk_device *device;

	(void)state;
	expect_create_error(&writable, disk, -EROFS);
	assert_int_equal(vblk_device_create(&read_only, disk, &device), 0);
	vblk_device_destroy(device);
	vblk_backing_unref(disk);
}

/* C-2, 16.1.27: whole sectors, and a word where nothing is left of a disk. */
static void test_C2_capacity_by_table(void **state)
{
	static const struct {
		uint64_t disk, asked, capacity;
		bool warned;
	} cases[] = {
		{ 4096, 0, 4096, false },
		{ 4097, 0, 4096, false },
		{ 1000, 0, 512, false },
		{ 511, 0, 0, true },
		{ 1, 0, 0, true },
		{ 0, 0, 0, false },
		{ 4096, 1024, 1024, false },
		{ 4096, 1535, 1024, false },
		{ 4096, 8192, 8192, false },
		{ 4096, 100, 0, true },
		{ 4096, 256u << 20, 256u << 20, false },
		{ 4096, INT64_MAX, (uint64_t)INT64_MAX - 511, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct guest_options options = inline_options;
		uint8_t raw[8];
		struct guest g;

		options.device.capacity_bytes = cases[i].asked;
		options.device.read_only = true;
		guest_create(&g, &options, create_braggart(cases[i].disk));
		assert_int_equal(vblk_device_capacity(g.device), cases[i].capacity);
		vblk_mmio_read(g.device, VIRTIO_MMIO_CONFIG, raw, sizeof(raw));
		assert_int_equal(vblk_le64_get(raw), cases[i].capacity / 512);
		assert_int_equal(guest_logged(&g, "disk is smaller than a sector"),
				 cases[i].warned);
		guest_destroy(&g);
	}
}

static void test_C4_initial_values(void **state)
{
	const struct vblk_device *device;
	struct guest g;

	(void)state;
	create(&g);
	device = g.device;
	assert_int_equal(vblk_device_status(device), 0);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_CONFIG_GENERATION), 0);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(device->device_features_sel, 0);
	assert_int_equal(device->driver_features_sel, 0);
	assert_int_equal(device->queue_sel, 0);
	assert_int_equal(device->accepted, 0);
	assert_int_equal(device->queue[0].layout.size, 256);
	assert_int_equal(device->queue[0].layout.desc | device->queue[0].layout.avail |
				 device->queue[0].layout.used,
			 0);
	assert_int_equal(device->stop_timeout_ms, 1000);
	expect_counters(&g); /* 16.1.28, 16.7.16 */
	expect_interrupts(&g, 0, 0);
	guest_destroy(&g);
}

static void test_stop_timeout_of_the_options(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.stop_timeout_ms = 77;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0));
	assert_int_equal(g.device->stop_timeout_ms, 77);
	guest_destroy(&g);
}

static void test_instances_are_unique(void **state)
{
	struct guest a, b;

	(void)state;
	create(&a);
	create(&b);
	assert_int_not_equal(vblk_device_instance(a.device), vblk_device_instance(b.device));
	guest_destroy(&a);
	create(&a);
	assert_int_not_equal(vblk_device_instance(a.device), vblk_device_instance(b.device));
	guest_destroy(&a);
	guest_destroy(&b);
}

static void test_C3_interrupt_descriptor(void **state)
{
	struct guest g;
	int fd;

	(void)state;
	create(&g);
	fd = vblk_device_irq_fd(g.device);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	vblk_port_raise(g.device->port);
	vblk_port_raise(g.device->port);
	assert_int_equal(guest_take_interrupts(&g), 2);
	guest_reset(&g);
	assert_int_equal(vblk_device_irq_fd(g.device), fd);
	guest_destroy(&g);
}

static void test_kick_descriptor(void **state)
{
	struct guest worker, alone;
	int fd;

	(void)state;
	create(&alone);
	assert_int_equal(vblk_device_kick_fd(alone.device, 0), -ENOTSUP);
	assert_int_equal(vblk_device_kick_fd(alone.device, 1), -EINVAL);
	guest_create(&worker, NULL, disk_create(DISK_SIZE, 0));
	fd = vblk_device_kick_fd(worker.device, 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(vblk_device_kick_fd(worker.device, 1), -EINVAL);
	assert_int_equal(vblk_device_kick_fd(worker.device, UINT32_MAX), -EINVAL);
	guest_start(&worker);
	guest_reset(&worker);
	assert_int_equal(vblk_device_kick_fd(worker.device, 0), fd);
	guest_destroy(&worker);
	guest_destroy(&alone);
}

/* Rules: N-4 */
static void test_16_1_29_counters_are_shared(void **state)
{
	struct vblk_metrics_snapshot snapshot;
	struct vblk_metrics *metrics;
	struct guest g;

	(void)state;
	create(&g);
	metrics = vblk_metrics_ref(vblk_device_metrics(g.device));
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	vblk_metrics_read(metrics, &snapshot);
	assert_int_equal(snapshot.reads_completed, 1);
	guest_destroy(&g);
	vblk_metrics_read(metrics, &snapshot); /* D-CREATE: also after the device */
	assert_int_equal(snapshot.reads_completed, 1);
	vblk_metrics_unref(metrics);
}

static void test_destroy_of_nothing(void **state)
{
	(void)state;
	vblk_device_destroy(NULL);
}

/* --- Features --- */

static uint64_t read_features(struct guest *g)
{
	uint64_t low;

	guest_write32(g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	low = guest_read32(g, VIRTIO_MMIO_DEVICE_FEATURES);
	guest_write32(g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	return low | (uint64_t)guest_read32(g, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

static void test_E1_16_1_2_16_1_3_16_2_6_16_2_7_features(void **state)
{
	const uint64_t base = BIT(32) | BIT(1) | BIT(2) | BIT(6) | BIT(9) | BIT(29);
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	create(&g);
	assert_int_equal(read_features(&g), base);
	guest_destroy(&g);
	options.device.read_only = true;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0));
	assert_int_equal(read_features(&g), base | BIT(5));
	guest_destroy(&g);
}

static void test_16_1_46_other_feature_pages_are_zero(void **state)
{
	static const uint32_t pages[] = { 2, 3, 32, 0x100, UINT32_MAX };
	struct guest g;

	(void)state;
	create(&g);
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		guest_write32(&g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, pages[i]);
		assert_int_equal(guest_read32(&g, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	}
	guest_destroy(&g);
}

/* E-5: the device enforces RO of itself. */
static void test_E5_read_only_need_not_be_accepted(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.read_only = true;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0));
	guest_start(&g);
	assert_int_equal(g.device->accepted & BIT(5), 0);
	guest_request(&g, VIRTIO_BLK_T_OUT, 0, 512);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_IOERR, 1);
	guest_destroy(&g);
}

/* --- Configuration space --- */

static const uint8_t expected_config[24] = {
	0x08, 0, 0,    0, 0, 0, 0, 0, /* capacity: 8 sectors */
	0,    0, 0x10, 0,	      /* size_max: 1 MiB */
	0x80, 0, 0,    0,	      /* seg_max: 128 */
	0,    0, 0,    0,	      /* geometry */
	0,    2, 0,    0,	      /* blk_size: 512 */
};

/* Rules: G-1, G-5, D-BLKSIZE */
static void test_16_1_19_config_space_byte_for_byte(void **state)
{
	uint8_t got[24];
	struct guest g;

	(void)state;
	assert_int_equal(VBLK_CONFIG_SIZE_BASE, 24); /* 16.1.21 */
	create(&g);
	vblk_mmio_read(g.device, VIRTIO_MMIO_CONFIG, got, sizeof(got));
	assert_memory_equal(got, expected_config, sizeof(got));
	guest_destroy(&g);
}

/* 16.1.4, 5, 18, 20, 43 and 16.5.30: all reads of all widths, across the end too. */
static void test_G2_config_space_by_offset_and_width(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	for (uint64_t offset = 0; offset < 40; offset++) {
		for (size_t width = 0; width <= 32; width++) {
			uint8_t got[33], want[33];

			memset(got, 0x5a, sizeof(got));
			memset(want, 0x5a, sizeof(want));
			for (size_t i = 0; i < width; i++)
				want[i] = offset + i < 24 ? expected_config[offset + i] : 0;
			vblk_mmio_read(g.device, VIRTIO_MMIO_CONFIG + offset, got, width);
			assert_memory_equal(got, want, sizeof(got));
		}
	}
	guest_destroy(&g);
}

static void test_G2_far_beyond_the_end_is_zero(void **state)
{
	static const uint64_t offsets[] = { 0x300,	0xfff,		0x1000,
					    UINT32_MAX, UINT64_MAX - 7, UINT64_MAX };
	uint8_t got[8], zeros[8] = { 0 };
	struct guest g;

	(void)state;
	create(&g);
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		memset(got, 0x5a, sizeof(got));
		vblk_mmio_read(g.device, offsets[i], got, sizeof(got));
		assert_memory_equal(got, zeros, sizeof(got));
	}
	guest_destroy(&g);
}

/* G-3, D-WCE: without a log line. 16.1.22 and 44. */
static void test_G3_config_space_cannot_be_written(void **state)
{
	static const uint8_t ones[8] = { 255, 255, 255, 255, 255, 255, 255, 255 };
	uint8_t got[24];
	struct guest g;

	(void)state;
	create(&g);
	for (uint64_t offset = 0; offset < 0x300; offset++) {
		for (size_t width = 1; width <= 8; width *= 2)
			vblk_mmio_write(g.device, VIRTIO_MMIO_CONFIG + offset, ones, width);
	}
	vblk_mmio_read(g.device, VIRTIO_MMIO_CONFIG, got, sizeof(got));
	assert_memory_equal(got, expected_config, sizeof(got));
	assert_int_equal(guest_status(&g), 0);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_CONFIG_GENERATION), 0);
	assert_string_equal(g.log, "");
	guest_destroy(&g);
}

/* --- Memory --- */

static void count_release(void *context)
{
	++*(unsigned *)context;
}

static void test_C6_16_1_32_16_7_23_first_memory_stays(void **state)
{
	struct vblk_memory *other;
	unsigned released = 0;
	struct guest g;

	(void)state;
	create(&g);
	assert_false(guest_logged(&g, "set_mem"));
	assert_int_equal(vblk_memory_create(count_release, &released, &other), 0);
	assert_int_equal(vblk_device_set_memory(g.device, other), -EALREADY);
	assert_true(guest_logged(&g, "set_mem called on already-initialised"));
	assert_true(guest_logged(&g, "guest memory binding unchanged"));
	assert_ptr_equal(g.device->memory, g.memory);
	vblk_memory_unref(other);
	assert_int_equal(released, 1); /* the device took no reference */
	assert_int_equal(vblk_device_set_memory(g.device, g.memory), -EALREADY);
	guest_destroy(&g);
}

static void test_R4_memory_stays_bound_across_resets(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_start(&g);
	guest_reset(&g);
	assert_ptr_equal(g.device->memory, g.memory);
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	guest_destroy(&g);
}

static void test_destroy_gives_all_references_back(void **state)
{
	struct vblk_backing *disk = disk_create(DISK_SIZE, 0);
	struct vblk_memory *memory;
	struct vblk_device *device;
	size_t fds = process_fds();
	unsigned released = 0;

	(void)state;
	for (int engine = VBLK_ENGINE_WORKER; engine <= VBLK_ENGINE_URING; engine++) {
		const struct vblk_device_options options = {
			.engine = (enum vblk_engine_kind)engine,
		};

		assert_int_equal(vblk_memory_create(count_release, &released, &memory), 0);
		assert_int_equal(vblk_device_create(&options, disk, &device), 0);
		assert_int_equal(vblk_device_set_memory(device, memory), 0);
		vblk_memory_unref(memory);
		assert_int_equal(released, engine);
		vblk_device_destroy(device);
		assert_int_equal(released, engine + 1);
		assert_int_equal(atomic_load(&disk->refs), 1);
		assert_int_equal(process_fds(), fds);
	}
	vblk_backing_unref(disk);
}

/* D-14, 16.4.18, 16.1.11: one warning between resets, and nothing counted. */
static void test_D14_notification_without_memory_warns_once(void **state)
{
	static const char *const text = "has no guest memory";
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.unbound = true;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0));
	for (int round = 0; round < 2; round++) {
		guest_kick(&g);
		assert_true(guest_logged(&g, text));
		guest_clear_log(&g);
		guest_kick(&g);
		assert_false(guest_logged(&g, text));
		guest_set_status(&g, 0);
	}
	expect_counters(&g);
	assert_int_equal(guest_metrics(&g).notifications, 0);
	guest_destroy(&g);
}

static void test_D14_notification_with_memory_does_not_warn(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_kick(&g);
	assert_string_equal(g.log, "");
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create_refuses_senseless_options),
		cmocka_unit_test(test_D_CREATE_capacity_above_2_63_minus_1),
		cmocka_unit_test(test_create_read_only_disk_needs_a_read_only_device),
		cmocka_unit_test(test_C2_capacity_by_table),
		cmocka_unit_test(test_C4_initial_values),
		cmocka_unit_test(test_stop_timeout_of_the_options),
		cmocka_unit_test(test_instances_are_unique),
		cmocka_unit_test(test_C3_interrupt_descriptor),
		cmocka_unit_test(test_kick_descriptor),
		cmocka_unit_test(test_16_1_29_counters_are_shared),
		cmocka_unit_test(test_destroy_of_nothing),
		cmocka_unit_test(test_E1_16_1_2_16_1_3_16_2_6_16_2_7_features),
		cmocka_unit_test(test_16_1_46_other_feature_pages_are_zero),
		cmocka_unit_test(test_E5_read_only_need_not_be_accepted),
		cmocka_unit_test(test_16_1_19_config_space_byte_for_byte),
		cmocka_unit_test(test_G2_config_space_by_offset_and_width),
		cmocka_unit_test(test_G2_far_beyond_the_end_is_zero),
		cmocka_unit_test(test_G3_config_space_cannot_be_written),
		cmocka_unit_test(test_C6_16_1_32_16_7_23_first_memory_stays),
		cmocka_unit_test(test_R4_memory_stays_bound_across_resets),
		cmocka_unit_test(test_destroy_gives_all_references_back),
		cmocka_unit_test(test_D14_notification_without_memory_warns_once),
		cmocka_unit_test(test_D14_notification_with_memory_does_not_warn),
	};

	return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
