/* SPDX-License-Identifier: MIT */
/*
 * Reset: what a status of 0 puts back to its beginning, and what it leaves alone. On the inline
 * engine, where it is immediate; the worker's part is in the worker's tests.
 */
#include "disk.h"
#include "expect.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "device/device.h"

#define DISK_SIZE 4096u

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static void create(struct guest *g)
{
	guest_create(g, &inline_options, disk_create(DISK_SIZE, 0xab));
}

static void read_once(struct guest *g)
{
	guest_request(g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(g);
}

static uint32_t generation(struct guest *g)
{
	return guest_read32(g, VIRTIO_MMIO_CONFIG_GENERATION);
}

static void test_16_1_6_16_7_8_generation_counts_resets(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	create(&g);
	for (uint32_t i = 0; i < 16; i++) {
		assert_int_equal(generation(&g), i);
		if (i % 2) /* busy, idle, in turn; and G-4: nothing else moves it */
			guest_start(&g);
		assert_int_equal(generation(&g), i);
		guest_reset(&g);
		assert_int_equal(generation(&g), i + 1);
	}
	guest_destroy(&g);
}

static void test_G4_generation_wraps(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	create(&g);
	atomic_store(&g.device->config_generation, UINT32_MAX);
	guest_reset(&g);
	assert_int_equal(generation(&g), 0);
	guest_destroy(&g);
}

/* */
static void test_R1_selectors_features_and_queue(void **state)
{
	const struct vblk_device *device;
	struct guest g;

	(void)state;
	guest_needs_registers();
	create(&g);
	guest_start(&g);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_SEL, 7);
	guest_write32(&g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	guest_write32(&g, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	guest_set_status(&g, 0);
	device = g.device;
	assert_int_equal(device->queue_sel, 0);
	assert_int_equal(device->device_features_sel, 0);
	assert_int_equal(device->driver_features_sel, 0);
	assert_int_equal(device->accepted, 0);
	assert_false(device->queue[0].layout.ready);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(device->queue[0].layout.size, 256);
	assert_int_equal(device->queue[0].layout.desc, 0);
	assert_int_equal(device->queue[0].layout.avail, 0);
	assert_int_equal(device->queue[0].layout.used, 0);
	guest_destroy(&g);
}

static void test_16_1_8_12_queue_starts_anew(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_start(&g);
	for (int i = 0; i < 7; i++)
		read_once(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 7);
	guest_reset(&g);
	assert_int_equal(guest_status(&g), 0);
	guest_start(&g);
	read_once(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_counters(&g, .reads_completed = 8, .bytes_read = 8 * 512);
	guest_destroy(&g);
}

/* E-5: event-idx is a matter of each negotiation. */
static void test_E5_event_idx_is_forgotten(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.event_idx = true;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	guest_set_used_event(&g, 0xffff);
	read_once(&g);
	expect_interrupts(&g, 0, VIRTIO_MMIO_INT_VRING);
	g.options.event_idx = false;
	guest_reset(&g);
	guest_start(&g);
	read_once(&g);
	expect_interrupts(&g, 1, VIRTIO_MMIO_INT_VRING);
	guest_destroy(&g);
}

static void test_16_1_9_10_16_interrupts_are_forgotten(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_start(&g);
	for (int i = 0; i < 3; i++)
		read_once(&g);
	guest_reset(&g);
	expect_interrupts(&g, 0, 0);
	assert_int_equal(guest_metrics(&g).interrupts, 3);
	guest_destroy(&g);
}

/* Rules: N-1 */
static void test_16_1_13_counters_stay(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_start(&g);
	read_once(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 513);
	guest_kick(&g);
	guest_reset(&g);
	expect_counters(&g, .reads_completed = 1, .bytes_read = 512, .io_errors = 1);
	assert_int_equal(guest_metrics(&g).notifications, 2);
	guest_destroy(&g);
}

static void test_16_1_15_queue_is_closed_after_reset(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	create(&g);
	guest_negotiate(&g);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000);
	assert_int_equal(g.device->queue[0].layout.desc, 0x1000);
	guest_reset(&g);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x2000);
	assert_int_equal(g.device->queue[0].layout.desc, 0);
	guest_destroy(&g);
}

static void test_R2_notification_from_before_is_forgotten(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	create(&g);
	guest_kick(&g);
	guest_reset(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
	guest_start(&g);
	expect_answer(&g, GUEST_SENTINEL, 0);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	guest_destroy(&g);
}

static void test_R_reset_is_silent(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_start(&g);
	guest_reset(&g);
	guest_reset(&g);
	assert_string_equal(g.log, "");
	guest_destroy(&g);
}

/* --- InterruptStatus under concurrency (16.7) --- */

struct racer {
	struct vblk_port *port;
	struct vblk_device *device;
	uint32_t bits;
};

static void *set_bits(void *context)
{
	struct racer *racer = context;

	for (int i = 0; i < 1000; i++)
		vblk_port_set_interrupt_status(racer->port, racer->bits);
	return NULL;
}

static void test_16_7_6_10_concurrent_sets_lose_nothing(void **state)
{
	struct racer racer[16];
	pthread_t thread[16];
	struct guest g;

	(void)state;
	guest_needs_registers();
	create(&g);
	for (unsigned i = 0; i < 16; i++) {
		racer[i] = (struct racer){ g.device->port, g.device, 1u << i };
		assert_int_equal(pthread_create(&thread[i], NULL, set_bits, &racer[i]), 0);
	}
	for (unsigned i = 0; i < 16; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_INTERRUPT_STATUS), 0xffff);
	guest_destroy(&g);
}

static void *acknowledge_config(void *context)
{
	struct racer *racer = context;

	for (int i = 0; i < 10000; i++)
		vblk_device_acknowledge(racer->device, VIRTIO_MMIO_INT_CONFIG);
	return NULL;
}

static void test_16_7_7_concurrent_set_and_acknowledge(void **state)
{
	struct racer racer;
	pthread_t thread;
	struct guest g;

	(void)state;
	guest_needs_registers();
	create(&g);
	racer = (struct racer){ g.device->port, g.device, 0 };
	vblk_port_set_interrupt_status(racer.port, VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(pthread_create(&thread, NULL, acknowledge_config, &racer), 0);
	for (int i = 0; i < 10000; i++) {
		guest_write32(&g, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
		vblk_port_set_interrupt_status(racer.port, VIRTIO_MMIO_INT_VRING);
		/* Nobody else clears it: what was set is there, whatever the other does. */
		assert_true(guest_read32(&g, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_VRING);
	}
	pthread_join(thread, NULL);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_16_1_6_16_7_8_generation_counts_resets),
		cmocka_unit_test(test_G4_generation_wraps),
		cmocka_unit_test(test_R1_selectors_features_and_queue),
		cmocka_unit_test(test_16_1_8_12_queue_starts_anew),
		cmocka_unit_test(test_E5_event_idx_is_forgotten),
		cmocka_unit_test(test_16_1_9_10_16_interrupts_are_forgotten),
		cmocka_unit_test(test_16_1_13_counters_stay),
		cmocka_unit_test(test_16_1_15_queue_is_closed_after_reset),
		cmocka_unit_test(test_R2_notification_from_before_is_forgotten),
		cmocka_unit_test(test_R_reset_is_silent),
		cmocka_unit_test(test_16_7_6_10_concurrent_sets_lose_nothing),
		cmocka_unit_test(test_16_7_7_concurrent_set_and_acknowledge),
	};

	return cmocka_run_group_tests_name("reset", tests, NULL, NULL);
}
