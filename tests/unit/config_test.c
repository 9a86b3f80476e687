/* SPDX-License-Identifier: MIT */
/* Configuration space byte for byte, and the one byte of it that a driver may write. */
#include "disk.h"
#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "device/device.h"

#define DISK_SIZE (1u << 20)
#define SPACE	  80u /* more than there is */
#define WRITEBACK 32u
#define BIT(n)	  ((uint64_t)1 << (n))

#define VERSION_1 BIT(VIRTIO_F_VERSION_1)
#define FLUSH	  BIT(VIRTIO_BLK_F_FLUSH)
#define WCE	  BIT(VIRTIO_BLK_F_CONFIG_WCE)

/* capacity 2048, size_max 2^20, seg_max 128, no geometry, blk_size 512 */
#define BASE_BYTES 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 128, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0
/* physical_block_exp 3, alignment_offset 0, min_io_size 8, opt_io_size 0, wce 1, num_queues 1 */
#define TOPOLOGY_BYTES 3, 0, 8, 0, 0, 0, 0, 0, 1, 0, 1, 0
/* 2^22 sectors in a range, 16 ranges, and to what they should be aligned, or whether to unmap */
#define DISCARD_BYTES 0, 0, 0x40, 0, 16, 0, 0, 0, 8, 0, 0, 0
#define ZEROES_BYTES  0, 0, 0x40, 0, 16, 0, 0, 0, 1, 0, 0, 0

static void no_hook(void *context)
{
	(void)context;
}

static void create(struct guest *g, bool all, bool read_only, struct vblk_backing *disk)
{
	struct guest_options options = {
		.device.engine = VBLK_ENGINE_INLINE,
		.device.read_only = read_only,
		.all_features = all,
	};

	guest_create(g, &options, disk);
}

static void expect_space(struct guest *g, const uint8_t want[SPACE])
{
	uint8_t got[SPACE], byte;

	vblk_mmio_read(g->device, VIRTIO_MMIO_CONFIG, got, sizeof(got));
	assert_memory_equal(got, want, SPACE);
	for (unsigned i = 0; i < SPACE; i++) {
		vblk_mmio_read(g->device, VIRTIO_MMIO_CONFIG + i, &byte, 1);
		assert_int_equal(byte, want[i]);
	}
}

static uint8_t writeback(struct guest *g)
{
	uint8_t byte;

	vblk_mmio_read(g->device, VIRTIO_MMIO_CONFIG + WRITEBACK, &byte, 1);
	return byte;
}

static void write_writeback(struct guest *g, uint8_t value)
{
	vblk_mmio_write(g->device, VIRTIO_MMIO_CONFIG + WRITEBACK, &value, 1);
}

/* Up to FEATURES_OK with these features. */
static void negotiate(struct guest *g, uint64_t features)
{
	guest_set_status(g, 0x1);
	guest_set_status(g, 0x3);
	guest_accept(g, features);
	guest_set_status(g, 0xb);
	assert_int_equal(guest_status(g), 0xb);
}

/* Rules: D-FEATURES, G-5 */
static void test_config_of_all_features(void **state)
{
	static const uint8_t want[SPACE] = { BASE_BYTES, TOPOLOGY_BYTES, DISCARD_BYTES,
					     ZEROES_BYTES };
	struct guest g;

	(void)state;
	create(&g, true, false, disk_create(DISK_SIZE, 0));
	expect_space(&g, want);
	guest_destroy(&g);
}

/* Rules: D-FEATURES */
static void test_config_of_a_read_only_disk_has_no_limits_of_ranges(void **state)
{
	static const uint8_t want[SPACE] = { BASE_BYTES, TOPOLOGY_BYTES };
	struct guest g;

	(void)state;
	create(&g, true, true, disk_create(DISK_SIZE, 0));
	expect_space(&g, want);
	guest_destroy(&g);
}

/* Zeros can always be written; space can only be given back by a backing that knows how. */
static void test_config_of_a_backing_that_cannot_discard(void **state)
{
	static const uint8_t want[SPACE] = {
		BASE_BYTES, TOPOLOGY_BYTES, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ZEROES_BYTES
	};
	struct guest g;

	(void)state;
	create(&g, true, false, disk_create_hooked(DISK_SIZE, 0, no_hook, NULL));
	expect_space(&g, want);
	guest_destroy(&g);
}

/* Rules: D-FEATURES, G-1, G-2 */
static void test_config_of_the_base_ends_after_24_bytes(void **state)
{
	static const uint8_t want[SPACE] = { BASE_BYTES };
	struct guest g;

	(void)state;
	create(&g, false, false, disk_create(DISK_SIZE, 0));
	expect_space(&g, want);
	guest_destroy(&g);
}

static void test_D_WCE_the_byte_turns_the_cache_off_and_on(void **state)
{
	struct guest g;

	(void)state;
	create(&g, true, false, disk_create(DISK_SIZE, 0));
	negotiate(&g, VERSION_1 | FLUSH | WCE);
	assert_int_equal(writeback(&g), 1);
	write_writeback(&g, 0);
	assert_int_equal(writeback(&g), 0);
	write_writeback(&g, 1);
	assert_int_equal(writeback(&g), 1);
	guest_destroy(&g);
}

static void test_D_WCE_other_values_are_dropped(void **state)
{
	struct guest g;

	(void)state;
	create(&g, true, false, disk_create(DISK_SIZE, 0));
	negotiate(&g, VERSION_1 | FLUSH | WCE);
	for (unsigned value = 2; value < 256; value++) {
		write_writeback(&g, (uint8_t)value);
		assert_int_equal(writeback(&g), 1);
	}
	write_writeback(&g, 0);
	write_writeback(&g, 255);
	assert_int_equal(writeback(&g), 0);
	guest_destroy(&g);
}

/* Rules: D-WCE, G-3 */
static void test_no_other_byte_and_no_other_width_can_be_written(void **state)
{
	static const uint8_t ones[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
	static const uint8_t zeros[8];
	uint8_t before[SPACE], after[SPACE];
	struct guest g;

	(void)state;
	create(&g, true, false, disk_create(DISK_SIZE, 0));
	negotiate(&g, VERSION_1 | FLUSH | WCE);
	guest_clear_log(&g);
	vblk_mmio_read(g.device, VIRTIO_MMIO_CONFIG, before, sizeof(before));
	for (unsigned i = 0; i < SPACE; i++) {
		for (size_t width = 1; width <= 8; width++) {
			if (i == WRITEBACK && width == 1)
				continue;
			vblk_mmio_write(g.device, VIRTIO_MMIO_CONFIG + i, zeros, width);
			vblk_mmio_write(g.device, VIRTIO_MMIO_CONFIG + i, ones, width);
			vblk_mmio_write(g.device, VIRTIO_MMIO_CONFIG + i, zeros, width);
		}
	}
	vblk_mmio_read(g.device, VIRTIO_MMIO_CONFIG, after, sizeof(after));
	assert_memory_equal(before, after, SPACE);
	assert_int_equal(g.log_used, 0);
	guest_destroy(&g);
}

static void test_D_WCE_nothing_is_written_before_features_ok(void **state)
{
	struct guest g;

	(void)state;
	create(&g, true, false, disk_create(DISK_SIZE, 0));
	write_writeback(&g, 0);
	guest_set_status(&g, 0x1);
	write_writeback(&g, 0);
	guest_set_status(&g, 0x3);
	guest_accept(&g, VERSION_1 | FLUSH | WCE);
	write_writeback(&g, 0);
	assert_int_equal(writeback(&g), 1);
	guest_destroy(&g);
}

static void test_D_WCE_nothing_is_written_without_the_feature(void **state)
{
	struct guest g;

	(void)state;
	create(&g, true, false, disk_create(DISK_SIZE, 0));
	negotiate(&g, VERSION_1 | FLUSH);
	guest_clear_log(&g);
	write_writeback(&g, 0);
	assert_int_equal(writeback(&g), 1);
	assert_int_equal(g.log_used, 0);
	guest_destroy(&g);
}

/* Specification 5.2.5.2: who could not flush starts with a cache that writes through. */
static void test_D_WCE_starts_off_without_flush(void **state)
{
	struct guest g;

	(void)state;
	create(&g, true, false, disk_create(DISK_SIZE, 0));
	negotiate(&g, VERSION_1 | WCE);
	assert_int_equal(writeback(&g), 0);
	write_writeback(&g, 1);
	assert_int_equal(writeback(&g), 1);
	guest_destroy(&g);
}

static void test_D_WCE_a_reset_turns_the_cache_on(void **state)
{
	struct guest g;

	(void)state;
	create(&g, true, false, disk_create(DISK_SIZE, 0));
	negotiate(&g, VERSION_1 | FLUSH | WCE);
	write_writeback(&g, 0);
	guest_set_status(&g, 0);
	assert_int_equal(writeback(&g), 1);
	negotiate(&g, VERSION_1 | FLUSH | WCE);
	assert_int_equal(writeback(&g), 1);
	guest_destroy(&g);
}

/* A driver writes what it likes; that is no change of the device's own. */
static void test_D_WCE_a_write_moves_no_generation_and_interrupts_nobody(void **state)
{
	struct guest g;

	(void)state;
	create(&g, true, false, disk_create(DISK_SIZE, 0));
	negotiate(&g, VERSION_1 | FLUSH | WCE);
	write_writeback(&g, 0);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_CONFIG_GENERATION), 0);
	expect_interrupts(&g, 0, 0);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_of_all_features),
		cmocka_unit_test(test_config_of_a_read_only_disk_has_no_limits_of_ranges),
		cmocka_unit_test(test_config_of_a_backing_that_cannot_discard),
		cmocka_unit_test(test_config_of_the_base_ends_after_24_bytes),
		cmocka_unit_test(test_D_WCE_the_byte_turns_the_cache_off_and_on),
		cmocka_unit_test(test_D_WCE_other_values_are_dropped),
		cmocka_unit_test(test_no_other_byte_and_no_other_width_can_be_written),
		cmocka_unit_test(test_D_WCE_nothing_is_written_before_features_ok),
		cmocka_unit_test(test_D_WCE_nothing_is_written_without_the_feature),
		cmocka_unit_test(test_D_WCE_starts_off_without_flush),
		cmocka_unit_test(test_D_WCE_a_reset_turns_the_cache_on),
		cmocka_unit_test(test_D_WCE_a_write_moves_no_generation_and_interrupts_nobody),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
