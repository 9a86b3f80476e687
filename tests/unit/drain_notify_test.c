/* SPDX-License-Identifier: MIT */
/*
 * The two directions of notification around a drain: when the driver is asked to notify (used.flags
 * or avail_event), and when it is interrupted (the eventfd and InterruptStatus).
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

static void start(struct guest *g, bool event_idx)
{
	const struct guest_options options = {
		.device.engine = VBLK_ENGINE_INLINE,
		.event_idx = event_idx,
	};

	guest_create(g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(g);
}

/* Offers `count` flushes and notifies once; each has a place of its own. */
static void flush(struct guest *g, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		guest_request_at(g, i, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_kick(g);
}

static void test_16_5_18_legacy_interrupts_once(void **state)
{
	struct guest g;

	(void)state;
	start(&g, false);
	expect_interrupts(&g, 0, 0);
	flush(&g, 1);
	expect_interrupts(&g, 1, VRING);
	guest_destroy(&g);
}

static void test_16_5_23_legacy_ignores_used_event(void **state)
{
	struct guest g;

	(void)state;
	start(&g, false);
	guest_set_used_event(&g, 0xffff);
	flush(&g, 1);
	expect_interrupts(&g, 1, VRING);
	guest_destroy(&g);
}

/* so is the driver's NO_INTERRUPT. */
static void test_Q16_legacy_ignores_no_interrupt(void **state)
{
	struct guest g;

	(void)state;
	start(&g, false);
	*guest_at(&g, 0x1000) = VRING_AVAIL_F_NO_INTERRUPT;
	flush(&g, 1);
	expect_interrupts(&g, 1, VRING);
	guest_destroy(&g);
}

static void test_16_5_24_two_chains_one_interrupt(void **state)
{
	struct guest g;

	(void)state;
	start(&g, false);
	flush(&g, 2);
	assert_int_equal(guest_used_idx(&g), 2);
	expect_counters(&g, .flushes_completed = 2);
	expect_interrupts(&g, 1, VRING);
	guest_destroy(&g);
}

static void test_16_5_19_event_idx_threshold_not_reached(void **state)
{
	struct guest g;

	(void)state;
	start(&g, true);
	guest_set_used_event(&g, 0xffff);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_counters(&g, .reads_completed = 1, .bytes_read = SECTOR);
	expect_interrupts(&g, 0, VRING);
	assert_int_equal(guest_metrics(&g).interrupts, 0);
	guest_destroy(&g);
}

static void test_16_5_20_event_idx_threshold_reached(void **state)
{
	struct guest g;

	(void)state;
	start(&g, true);
	guest_set_used_event(&g, 0);
	flush(&g, 1);
	expect_interrupts(&g, 1, VRING);
	assert_int_equal(guest_metrics(&g).interrupts, 1);
	guest_destroy(&g);
}

static void test_16_5_21_event_idx_many_chains_one_interrupt(void **state)
{
	struct guest g;

	(void)state;
	start(&g, true);
	guest_set_used_event(&g, 0);
	flush(&g, 3);
	assert_int_equal(guest_used_idx(&g), 3);
	expect_interrupts(&g, 1, VRING);
	guest_destroy(&g);
}

static void test_16_5_22_event_idx_many_chains_below_threshold(void **state)
{
	struct guest g;

	(void)state;
	start(&g, true);
	guest_set_used_event(&g, 10);
	flush(&g, 3);
	assert_int_equal(guest_used_idx(&g), 3);
	expect_interrupts(&g, 0, VRING);
	guest_destroy(&g);
}

static void test_16_4_11_successive_drains_span_the_threshold(void **state)
{
	struct guest g;

	(void)state;
	start(&g, true);
	guest_set_used_event(&g, 2);
	flush(&g, 1);
	expect_interrupts(&g, 0, VRING);
	flush(&g, 2);
	assert_int_equal(guest_used_idx(&g), 3);
	expect_interrupts(&g, 1, VRING);
	guest_destroy(&g);
}

static void test_16_4_15_each_notification_reaches_its_threshold(void **state)
{
	struct guest g;

	(void)state;
	start(&g, true);
	for (uint16_t i = 0; i < 2; i++) {
		guest_set_used_event(&g, i);
		flush(&g, 1);
		assert_int_equal(guest_used_idx(&g), i + 1);
		expect_interrupts(&g, 1, VRING);
	}
	guest_destroy(&g);
}

/* Q-16 over all positions of the threshold, with 3 published beyond 2 that were asked about. */
static void test_Q16_threshold_by_table(void **state)
{
	(void)state;
	for (uint16_t used_event = 0; used_event < 8; used_event++) {
		bool crossed = used_event >= 2 && used_event < 5;
		struct guest g;

		start(&g, true);
		guest_set_used_event(&g, 0xff00);
		flush(&g, 2);
		expect_interrupts(&g, 0, VRING);
		guest_set_used_event(&g, used_event);
		flush(&g, 3);
		expect_interrupts(&g, crossed, VRING);
		guest_destroy(&g);
	}
}

static void test_16_5_29_error_chain_obeys_the_threshold_too(void **state)
{
	struct guest g;

	(void)state;
	start(&g, true);
	guest_set_used_event(&g, 0xffff);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR + 1);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_IOERR, 1);
	expect_counters(&g, .io_errors = 1);
	expect_interrupts(&g, 0, VRING);
	guest_destroy(&g);
}

/* used_event stands in the page at 0xa000, which the guest does not have. */
static void test_16_4_12_unreadable_used_event_interrupts_to_be_safe(void **state)
{
	static const struct guest_region regions[] = { { 0, 0xa000 }, { 0xb000, 0x10000 } };
	const struct guest_options options = {
		.device.engine = VBLK_ENGINE_INLINE,
		.regions = regions,
		.region_count = 2,
		.queue_size = 16,
		.avail = 0xa000 - 4 - 2 * 16,
		.used = 0xb000,
		.event_idx = true,
	};
	struct guest g;

	(void)state;
	guest_needs_registers();
	guest_create(&g, &options, disk_create(DISK_SIZE, 0));
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_counters(&g, .flushes_completed = 1);
	expect_interrupts(&g, 1, VRING);
	assert_true(guest_logged(&g, "used_event is not in guest memory"));
	guest_destroy(&g);
}

/* The used ring ends where the guest's memory does, but for avail_event. */
static const struct guest_region hole[] = { { 0, 0x20000 }, { 0x30000, 0x10000 } };

static struct guest_options without_avail_event(void)
{
	return (struct guest_options){
		.device.engine = VBLK_ENGINE_INLINE,
		.regions = hole,
		.region_count = 2,
		.queue_size = 16,
		.used = 0x20000 - 4 - 8 * 16,
		.event_idx = true,
	};
}

static void test_16_5_25_unwritable_avail_event_ends_the_drain(void **state)
{
	const struct guest_options options = without_avail_event();
	struct guest g;

	(void)state;
	guest_needs_registers();
	guest_create(&g, &options, disk_create(DISK_SIZE, 0));
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_counters(&g, .flushes_completed = 1);
	expect_interrupts(&g, 1, VRING);
	assert_true(guest_logged(&g, "cannot control notifications"));
	assert_int_equal(guest_status(&g), 0xf);
	guest_destroy(&g);
}

static void test_16_5_26_unwritable_avail_event_on_a_stall(void **state)
{
	struct guest_options options = without_avail_event();
	struct bare_drain bare;

	(void)state;
	options.device.throttle.iops = 1;
	bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0));
	bare.drain.config.disk->throttle->state.ops.available = 0;
	guest_request(&bare.guest, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&bare, VBLK_DRAIN_STALLED);
	expect_answer(&bare.guest, GUEST_SENTINEL, 0);
	expect_counters(&bare.guest, .throttled = 1, .throttled_now = 1);
	expect_interrupts(&bare.guest, 0, 0);
	assert_true(bare.drain.stalled);
	assert_int_equal(bare.drain.queue.next_avail, 0);
	bare_drain_destroy(&bare);
}

/* What the driver sees of used.flags and avail_event while a request is carried out. */
struct witness {
	struct guest *guest;
	uint16_t used_flags;
	uint16_t avail_event;
};

static void look(void *context)
{
	struct witness *witness = context;

	witness->used_flags = guest_used_flags(witness->guest);
	witness->avail_event = guest_avail_event(witness->guest);
}

/* Rules: D-3 */
static void test_16_4_13_16_legacy_bracket_closes_and_opens(void **state)
{
	const struct guest_options options = { .device.engine = VBLK_ENGINE_INLINE };
	struct guest g;
	struct witness witness = { .guest = &g };

	(void)state;
	guest_create(&g, &options, disk_create_hooked(DISK_SIZE, 0, look, &witness));
	guest_start(&g);
	assert_int_equal(guest_used_flags(&g), 0);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_int_equal(witness.used_flags, VRING_USED_F_NO_NOTIFY);
	assert_int_equal(guest_used_flags(&g), 0);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	expect_interrupts(&g, 1, VRING);
	guest_destroy(&g);
}

static void test_Q14_event_idx_bracket_uses_avail_event_only(void **state)
{
	const struct guest_options options = {
		.device.engine = VBLK_ENGINE_INLINE,
		.event_idx = true,
	};
	struct guest g;
	struct witness witness = { .guest = &g };

	(void)state;
	guest_create(&g, &options, disk_create_hooked(DISK_SIZE, 0, look, &witness));
	guest_start(&g);
	for (uint16_t i = 0; i < 3; i++) {
		guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
		guest_kick(&g);
		assert_int_equal(witness.used_flags, 0);
		assert_int_equal(witness.avail_event, i);
		assert_int_equal(guest_avail_event(&g), i + 1);
	}
	guest_destroy(&g);
}

/* A second request appears while the first is carried out: no notification is needed for it. */
struct latecomer {
	struct guest *guest;
	unsigned left;
};

static void offer_another(void *context)
{
	struct latecomer *late = context;

	if (late->left > 0) {
		late->left--;
		guest_request_at(late->guest, late->left, VIRTIO_BLK_T_FLUSH, 0, 0);
	}
}

static void test_D4_chains_added_during_the_drain_are_served(void **state)
{
	(void)state;
	for (int event_idx = 0; event_idx < 2; event_idx++) {
		const struct guest_options options = {
			.device.engine = VBLK_ENGINE_INLINE,
			.event_idx = event_idx,
		};
		struct guest g;
		struct latecomer late = { &g, 5 };

		guest_create(&g, &options, disk_create_hooked(DISK_SIZE, 0, offer_another, &late));
		guest_start(&g);
		guest_request_at(&g, 9, VIRTIO_BLK_T_FLUSH, 0, 0);
		guest_kick(&g);
		assert_int_equal(guest_used_idx(&g), 6);
		expect_counters(&g, .flushes_completed = 6);
		guest_destroy(&g);
	}
}

static void test_D9_nothing_published_nothing_raised(void **state)
{
	struct guest g;

	(void)state;
	start(&g, false);
	guest_kick(&g);
	expect_interrupts(&g, 0, 0);
	guest_offer(&g, 256); /* a head outside the table: dropped */
	guest_kick(&g);
	expect_interrupts(&g, 0, 0);
	expect_counters(&g, .io_errors = 1);
	guest_destroy(&g);
}

struct calls {
	unsigned interrupts;
};

static void count_interrupt(void *context)
{
	((struct calls *)context)->interrupts++;
}

static void test_interrupt_callback_replaces_the_eventfd(void **state)
{
	struct calls calls = { 0 };
	const struct guest_options options = {
		.device = { .engine = VBLK_ENGINE_INLINE,
			    .interrupt = count_interrupt,
			    .interrupt_context = &calls },
	};
	struct guest g;

	(void)state;
	guest_needs_registers();
	guest_create(&g, &options, disk_create(DISK_SIZE, 0));
	guest_start(&g);
	flush(&g, 2);
	assert_int_equal(calls.interrupts, 1);
	expect_interrupts(&g, 0, VRING);
	assert_int_equal(guest_metrics(&g).interrupts, 1);
	guest_set_avail_idx(&g, 1000);
	guest_kick(&g);
	assert_int_equal(calls.interrupts, 2);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_16_5_18_legacy_interrupts_once),
		cmocka_unit_test(test_16_5_23_legacy_ignores_used_event),
		cmocka_unit_test(test_Q16_legacy_ignores_no_interrupt),
		cmocka_unit_test(test_16_5_24_two_chains_one_interrupt),
		cmocka_unit_test(test_16_5_19_event_idx_threshold_not_reached),
		cmocka_unit_test(test_16_5_20_event_idx_threshold_reached),
		cmocka_unit_test(test_16_5_21_event_idx_many_chains_one_interrupt),
		cmocka_unit_test(test_16_5_22_event_idx_many_chains_below_threshold),
		cmocka_unit_test(test_16_4_11_successive_drains_span_the_threshold),
		cmocka_unit_test(test_16_4_15_each_notification_reaches_its_threshold),
		cmocka_unit_test(test_Q16_threshold_by_table),
		cmocka_unit_test(test_16_5_29_error_chain_obeys_the_threshold_too),
		cmocka_unit_test(test_16_4_12_unreadable_used_event_interrupts_to_be_safe),
		cmocka_unit_test(test_16_5_25_unwritable_avail_event_ends_the_drain),
		cmocka_unit_test(test_16_5_26_unwritable_avail_event_on_a_stall),
		cmocka_unit_test(test_16_4_13_16_legacy_bracket_closes_and_opens),
		cmocka_unit_test(test_Q14_event_idx_bracket_uses_avail_event_only),
		cmocka_unit_test(test_D4_chains_added_during_the_drain_are_served),
		cmocka_unit_test(test_D9_nothing_published_nothing_raised),
		cmocka_unit_test(test_interrupt_callback_replaces_the_eventfd),
	};

	return cmocka_run_group_tests_name("drain_notify", tests, NULL, NULL);
}
