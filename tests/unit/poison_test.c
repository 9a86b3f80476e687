/* SPDX-License-Identifier: MIT */
/*
 * A driver that breaks its available ring: the queue is poisoned, the driver is told, and nothing
 * but a reset helps.
 */
#include "bare_drain.h"
#include "disk.h"
#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE
#define VRING	  VIRTIO_MMIO_INT_VRING
#define CONFIG	  VIRTIO_MMIO_INT_CONFIG
#define RUNNING	  0x0fu
#define POISONED  0x4fu

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static void start_with(struct guest *g, const struct guest_options *options)
{
	guest_create(g, options, disk_create(DISK_SIZE, 0xab));
	guest_start(g);
}

static void start(struct guest *g)
{
	start_with(g, &inline_options);
}

/* Rules: D-12, L-3 */
static void test_16_6_1_hostile_avail_idx_poisons_until_reset(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_set_avail_idx(&g, 1000);
	for (int i = 0; i < 2; i++) {
		guest_kick(&g);
		expect_counters(&g, .invalid_avail_idx = 1);
	}
	guest_reset(&g);
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_counters(&g, .invalid_avail_idx = 1, .reads_completed = 1, .bytes_read = SECTOR);
	guest_destroy(&g);
}

static void test_16_6_2_poison_signals_the_driver(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	assert_int_equal(guest_status(&g), RUNNING);
	expect_interrupts(&g, 0, 0);
	guest_set_avail_idx(&g, 1000);
	guest_kick(&g);
	assert_int_equal(guest_status(&g), POISONED);
	expect_interrupts(&g, 1, CONFIG);
	guest_kick(&g);
	assert_int_equal(guest_status(&g), POISONED);
	expect_interrupts(&g, 0, CONFIG);
	guest_reset(&g);
	assert_int_equal(guest_status(&g), 0);
	expect_interrupts(&g, 0, 0);
	guest_destroy(&g);
}

static void test_16_7_19_no_livelock_and_no_io(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_set_avail_idx(&g, 257);
	for (int i = 0; i < 6; i++) {
		guest_kick(&g);
		expect_answer(&g, GUEST_SENTINEL, 0);
		expect_counters(&g, .invalid_avail_idx = 1);
	}
	guest_destroy(&g);
}

/* The distance may be the whole ring, and not one more; also where the index wraps. */
static void test_Q6_16_15_distance_by_table(void **state)
{
	static const struct {
		uint16_t next_avail;
		uint16_t avail_idx;
		bool legal;
	} cases[] = {
		{ 0, 16, true },       { 0, 17, false },	{ 0, 0xffff, false },
		{ 0, 0x8000, false },  { 5, 21, true },		{ 5, 22, false },
		{ 5, 4, false },       { 0xfff8, 8, true },	{ 0xfff8, 9, false },
		{ 0xffff, 0xf, true }, { 0xffff, 0x10, false },
	};
	const struct guest_options options = { .queue_size = 16 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bare_drain bare;

		bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0));
		bare.drain.queue.next_avail = cases[i].next_avail;
		for (uint16_t slot = 0; slot < 16; slot++) /* heads outside the table: dropped */
			*guest_at(&bare.guest, 0x1004 + 2u * slot) = 16;
		guest_set_avail_idx(&bare.guest, cases[i].avail_idx);
		(void)vblk_drain_run(&bare.drain, &(uint64_t){ 0 });
		assert_int_equal(bare.drain.poisoned, !cases[i].legal);
		if (cases[i].legal)
			expect_counters(&bare.guest, .io_errors = 16);
		else
			expect_counters(&bare.guest, .invalid_avail_idx = 1);
		bare_drain_destroy(&bare);
	}
}

static void test_16_7_20_poison_clears_on_reset_and_is_counted_on(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	for (uint64_t i = 1; i <= 3; i++) {
		guest_set_avail_idx(&g, 1000);
		guest_kick(&g);
		expect_counters(&g, .invalid_avail_idx = i);
		assert_int_equal(guest_status(&g), POISONED);
		guest_reset(&g);
		guest_start(&g);
	}
	guest_destroy(&g);
}

/*
 * D-2, D-6: the flag stays as it was when the queue broke, whatever the driver makes of it.
 * Rules: D-2, D-12
 */
static void test_16_7_21_kicks_of_a_poisoned_queue_leave_used_flags(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_set_avail_idx(&g, 1000);
	guest_kick(&g);
	assert_int_equal(guest_used_flags(&g), VRING_USED_F_NO_NOTIFY);
	*guest_at(&g, 0x2000) = 0;
	for (int i = 0; i < 5; i++) {
		guest_kick(&g);
		assert_int_equal(guest_used_flags(&g), 0);
	}
	expect_counters(&g, .invalid_avail_idx = 1);
	guest_destroy(&g);
}

static void test_D6_event_idx_poison_leaves_avail_event(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.event_idx = true;
	start_with(&g, &options);
	*guest_at(&g, 0x2000 + 4 + 8 * 256) = 0x77;
	guest_set_avail_idx(&g, 1000);
	guest_kick(&g);
	assert_int_equal(guest_avail_event(&g), 0x77);
	assert_int_equal(guest_status(&g), POISONED);
	guest_destroy(&g);
}

/* The third chain is behind a jump of avail.idx that happens while the second is carried out. */
static void break_the_ring(void *context)
{
	guest_set_avail_idx(context, 1000);
}

static void test_D10_published_then_poison_interrupts_twice(void **state)
{
	struct guest g;

	(void)state;
	guest_create(&g, &inline_options, disk_create_hooked(DISK_SIZE, 0xab, break_the_ring, &g));
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_counters(&g, .reads_completed = 1, .bytes_read = SECTOR, .invalid_avail_idx = 1);
	assert_int_equal(guest_metrics(&g).interrupts, 2);
	expect_interrupts(&g, 2, VRING | CONFIG);
	assert_int_equal(guest_status(&g), POISONED);
	guest_destroy(&g);
}

/* D-7: what the driver cannot have meant, other than the index. */
static void expect_poisoned_by_error(struct guest *g)
{
	assert_int_equal(guest_status(g), POISONED);
	expect_counters(g, .io_errors = 1);
	expect_interrupts(g, 1, CONFIG);
	guest_kick(g);
	expect_counters(g, .io_errors = 1);
	expect_interrupts(g, 0, CONFIG);
}

static void test_D7_16_15_ready_without_available_ring(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	guest_create(&g, &inline_options, disk_create(DISK_SIZE, 0));
	guest_negotiate(&g);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_USED_LOW, 0x2000);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_READY, 1);
	guest_set_status(&g, 0xf);
	guest_kick(&g);
	expect_poisoned_by_error(&g);
	assert_true(guest_logged(&g, "it has no available ring"));
	guest_destroy(&g);
}

static void test_D7_available_ring_outside_memory(void **state)
{
	static const uint64_t places[] = { GUEST_RAM_SIZE - 2, GUEST_RAM_SIZE, UINT64_MAX - 1,
					   UINT64_MAX - 3 };

	(void)state;
	guest_needs_registers();
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct guest_options options = inline_options;
		struct guest g;

		options.avail = places[i];
		start_with(&g, &options);
		guest_kick(&g);
		expect_poisoned_by_error(&g);
		assert_true(guest_logged(&g, "available ring is not in guest memory"));
		guest_destroy(&g);
	}
}

/* avail.idx is the last thing in the guest's memory: a livelock elsewhere. */
static void test_D_HOLE_1_ring_element_outside_memory(void **state)
{
	(void)state;
	guest_needs_registers();
	for (int event_idx = 0; event_idx < 2; event_idx++) {
		struct guest_options options = inline_options;
		struct guest g;

		options.avail = GUEST_RAM_SIZE - 4;
		options.event_idx = event_idx;
		start_with(&g, &options);
		guest_set_avail_idx(&g, 1);
		guest_kick(&g);
		expect_poisoned_by_error(&g);
		guest_destroy(&g);
	}
}

/* The first element is there, the second is not: the first is served. */
static void test_D_HOLE_1_only_what_is_mapped_is_served(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	guest_needs_registers();
	options.avail = GUEST_RAM_SIZE - 6;
	start_with(&g, &options);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_set_avail_idx(&g, 2);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_counters(&g, .reads_completed = 1, .bytes_read = SECTOR, .io_errors = 1);
	expect_interrupts(&g, 2, VRING | CONFIG);
	assert_int_equal(guest_status(&g), POISONED);
	guest_destroy(&g);
}

static void test_D_HEAD_head_in_flight_poisons(void **state)
{
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, NULL, disk_create(DISK_SIZE, 0));
	bare.drain.queue.in_flight[0] = 1; /* as an engine with several requests at a time does */
	guest_request(&bare.guest, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	assert_true(bare.drain.poisoned);
	expect_answer(&bare.guest, GUEST_SENTINEL, 0);
	expect_counters(&bare.guest, .io_errors = 1);
	expect_interrupts(&bare.guest, 1, CONFIG);
	bare_drain_destroy(&bare);
}

/* The same head twice, one after the other, is what drivers do all the time. */
static void test_D_HEAD_head_may_be_used_again(void **state)
{
	struct guest g;
	uint16_t head;

	(void)state;
	start(&g);
	head = guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_offer(&g, head);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 2);
	assert_int_equal(guest_status(&g), RUNNING);
	guest_destroy(&g);
}

static void test_S11_poisoned_device_refuses_and_ignores(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	start(&g);
	guest_set_avail_idx(&g, 1000);
	guest_kick(&g);
	guest_clear_log(&g);
	guest_set_status(&g, POISONED);
	assert_string_equal(g.log, "");
	guest_set_status(&g, RUNNING);
	assert_true(guest_logged(&g, "NEEDS_RESET"));
	assert_false(guest_logged(&g, "attempted to clear"));
	assert_int_equal(guest_status(&g), POISONED);
	guest_destroy(&g);
}

/* A poisoned drain that is told to go on does nothing, in any engine. */
static void test_D11_poison_ends_the_drain_as_done(void **state)
{
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, NULL, disk_create(DISK_SIZE, 0));
	guest_set_avail_idx(&bare.guest, 1000);
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	expect_counters(&bare.guest, .invalid_avail_idx = 1);
	bare_drain_destroy(&bare);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_16_6_1_hostile_avail_idx_poisons_until_reset),
		cmocka_unit_test(test_16_6_2_poison_signals_the_driver),
		cmocka_unit_test(test_16_7_19_no_livelock_and_no_io),
		cmocka_unit_test(test_Q6_16_15_distance_by_table),
		cmocka_unit_test(test_16_7_20_poison_clears_on_reset_and_is_counted_on),
		cmocka_unit_test(test_16_7_21_kicks_of_a_poisoned_queue_leave_used_flags),
		cmocka_unit_test(test_D6_event_idx_poison_leaves_avail_event),
		cmocka_unit_test(test_D10_published_then_poison_interrupts_twice),
		cmocka_unit_test(test_D7_16_15_ready_without_available_ring),
		cmocka_unit_test(test_D7_available_ring_outside_memory),
		cmocka_unit_test(test_D_HOLE_1_ring_element_outside_memory),
		cmocka_unit_test(test_D_HOLE_1_only_what_is_mapped_is_served),
		cmocka_unit_test(test_D_HEAD_head_in_flight_poisons),
		cmocka_unit_test(test_D_HEAD_head_may_be_used_again),
		cmocka_unit_test(test_S11_poisoned_device_refuses_and_ignores),
		cmocka_unit_test(test_D11_poison_ends_the_drain_as_done),
	};

	return cmocka_run_group_tests_name("poison", tests, NULL, NULL);
}
