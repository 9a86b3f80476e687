/* SPDX-License-Identifier: MIT */
/*
 * What a drain says: which queue it speaks of, enough to find the fault, and no more lines than a
 * guest may cause.
 */
#include "chains.h"
#include "disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "base/log.h"
#include "device/device.h"

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static void start(struct guest *g, const struct guest_options *options)
{
	guest_create(g, options, disk_create(DISK_SIZE, 0xab));
	guest_start(g);
}

static unsigned count_lines(const struct guest *g, const char *text)
{
	unsigned lines = 0;

	for (const char *at = strstr(g->log, text); at; at = strstr(at + 1, text))
		lines++;
	return lines;
}

/* Every line so far says whose it is. */
static void expect_named(const struct guest *g)
{
	char name[64];

	snprintf(name, sizeof(name), " instance=%u queue=0", guest_instance(g));
	assert_true(count_lines(g, "\n") > 0);
	assert_int_equal(count_lines(g, name), count_lines(g, "\n"));
}

/* Three ways for a guest to be heard: no status byte, a request refused, a request that fails. */
static void offer_dropped(struct guest *g)
{
	guest_offer(g, 256);
	guest_kick(g);
}

static void offer_refused(struct guest *g)
{
	guest_request(g, VIRTIO_BLK_T_IN, 0, 1);
	guest_kick(g);
}

static void offer_failing(struct guest *g)
{
	guest_request(g, VIRTIO_BLK_T_IN, DISK_SIZE, SECTOR);
	guest_kick(g);
}

static void (*const offers[])(struct guest *g) = { offer_dropped, offer_refused, offer_failing };

static void test_messages_of_a_drain_name_their_queue(void **state)
{
	struct guest g;

	(void)state;
	start(&g, &inline_options);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(offers); i++)
		offers[i](&g);
	guest_set_avail_idx(&g, 1000);
	guest_kick(&g);
	assert_int_equal(count_lines(&g, "\n"), 4);
	expect_named(&g);
	guest_destroy(&g);
}

static void test_guest_cannot_flood_the_log(void **state)
{
	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(offers); i++) {
		struct guest g;

		start(&g, &inline_options);
		for (unsigned k = 0; k < 50; k++)
			offers[i](&g);
		assert_int_equal(count_lines(&g, "\n"), VBLK_LOG_BURST);
		assert_int_equal(count_lines(&g, "suppressed"), 0);
		/* Its errors are all counted. */
		assert_int_equal(guest_metrics(&g).io_errors, 50);
		g.now_ns += VBLK_LOG_INTERVAL_NS;
		guest_clear_log(&g);
		offers[i](&g);
		assert_int_equal(count_lines(&g, "\n"), 1);
		assert_true(guest_logged(&g, " suppressed=40\n"));
		guest_destroy(&g);
	}
}

/* The same driver starts again and again: it has no new burst each time. */
static void test_limit_survives_a_reset(void **state)
{
	struct guest g;

	(void)state;
	start(&g, &inline_options);
	for (unsigned k = 0; k < 5; k++) {
		for (unsigned i = 0; i < 5; i++)
			offer_dropped(&g);
		guest_reset(&g);
		guest_start(&g);
	}
	assert_int_equal(count_lines(&g, "\n"), VBLK_LOG_BURST);
	guest_destroy(&g);
}

/* It comes once, and is what has to be read. */
static void test_poison_is_told_whatever_was_said_before(void **state)
{
	struct guest g;

	(void)state;
	start(&g, &inline_options);
	for (unsigned k = 0; k < 50; k++)
		offer_dropped(&g);
	guest_clear_log(&g);
	guest_set_avail_idx(&g, 1000);
	guest_kick(&g);
	assert_true(guest_logged(&g, "queue poisoned"));
	guest_destroy(&g);
}

/* A used ring of which only the first four bytes are in memory. */
static void start_without_used_ring(struct guest *g, enum vblk_undeliverable on_undeliverable)
{
	static const struct guest_region regions[] = { { 0, 0x20000 } };
	struct guest_options options = inline_options;

	options.regions = regions;
	options.region_count = 1;
	options.used = 0x20000 - 4;
	options.device.on_undeliverable = on_undeliverable;
	start(g, &options);
}

static void expect_unpublished(enum vblk_undeliverable on_undeliverable)
{
	char want[128];
	struct guest g;

	start_without_used_ring(&g, on_undeliverable);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, HEADER, STATUS);
	snprintf(want, sizeof(want),
		 "cannot publish in the used ring instance=%u queue=0 head=0 error=%d by=flush\n",
		 guest_instance(&g), -EFAULT);
	assert_true(guest_logged(&g, want));
	assert_int_equal(guest_metrics(&g).io_errors, 1);
	guest_destroy(&g);
}

static void test_D_LOG_failed_used_element_names_head_and_handler(void **state)
{
	(void)state;
	guest_needs_registers();
	expect_unpublished(VBLK_UNDELIVERABLE_DROP);
}

/* Rules: D-STRICT, D-LOG */
static void test_D_LOG_failed_used_element_is_told_in_strict_mode_too(void **state)
{
	(void)state;
	guest_needs_registers();
	expect_unpublished(VBLK_UNDELIVERABLE_NEEDS_RESET);
}

/* The gate is named by what it refused. */
static void test_D_LOG_failed_used_element_names_the_gate(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	start_without_used_ring(&g, VBLK_UNDELIVERABLE_NEEDS_RESET);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { GUEST_DATA, 1, W }, STATUS);
	assert_true(guest_logged(&g, " by=data "));
	expect_named(&g);
	guest_destroy(&g);
}

/* Why a request has failed is told also where its answer does not reach the driver. */
static void test_D_LOG_failure_that_cannot_be_answered_is_told(void **state)
{
	struct guest g;

	(void)state;
	start(&g, &inline_options);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { UNMAPPED, SECTOR, W }, { UNMAPPED, 1, W });
	assert_int_equal(count_lines(&g, "\n"), 2);
	assert_true(guest_logged(&g, "data is not in guest memory"));
	assert_true(guest_logged(&g, "status byte is not in guest memory"));
	guest_destroy(&g);
}

static void test_D_LOG_failure_that_cannot_be_published_is_told(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	start_without_used_ring(&g, VBLK_UNDELIVERABLE_DROP);
	guest_clear_log(&g);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { UNMAPPED, SECTOR, W }, STATUS);
	assert_true(guest_logged(&g, "data is not in guest memory"));
	assert_true(guest_logged(&g, " by=read\n"));
	guest_destroy(&g);
}

static void test_D_STRICT_dropped_chain_names_its_head(void **state)
{
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	options.device.on_undeliverable = VBLK_UNDELIVERABLE_NEEDS_RESET;
	start(&g, &options);
	offer_dropped(&g);
	assert_true(guest_logged(&g, " head=256"));
	expect_named(&g);
	assert_int_equal(guest_status(&g), 0x4f);
	guest_destroy(&g);
}

/* The used ring ends where the guest's memory does, but for avail_event. */
static void start_without_avail_event(struct guest *g, enum vblk_undeliverable on_undeliverable)
{
	static const struct guest_region hole[] = { { 0, 0x20000 }, { 0x30000, 0x10000 } };
	const struct guest_options options = {
		.device = { .engine = VBLK_ENGINE_INLINE, .on_undeliverable = on_undeliverable },
		.regions = hole,
		.region_count = 2,
		.queue_size = 16,
		.used = 0x20000 - 4 - 8 * 16,
		.event_idx = true,
	};

	start(g, &options);
	guest_request(g, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_kick(g);
	expect_answer(g, VIRTIO_BLK_S_OK, 1);
	assert_true(guest_logged(g, "cannot control notifications"));
	expect_named(g);
}

/* The driver would notify no more, and its next request would wait for ever. */
static void test_D_STRICT_drain_that_cannot_be_notified_again_needs_reset(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	start_without_avail_event(&g, VBLK_UNDELIVERABLE_NEEDS_RESET);
	assert_int_equal(guest_status(&g), 0x4f);
	expect_interrupts(&g, 2, VIRTIO_MMIO_INT_CONFIG | VIRTIO_MMIO_INT_VRING);
	expect_counters(&g, .flushes_completed = 1, .io_errors = 1);
	assert_true(guest_logged(&g, "queue poisoned"));
	guest_request_at(&g, 1, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_kick(&g);
	assert_int_equal(guest_used_idx(&g), 1);
	guest_destroy(&g);
}

static void test_D4_drain_that_cannot_be_notified_again_ends(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	start_without_avail_event(&g, VBLK_UNDELIVERABLE_DROP);
	assert_int_equal(guest_status(&g), 0xf);
	expect_counters(&g, .flushes_completed = 1);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages_of_a_drain_name_their_queue),
		cmocka_unit_test(test_guest_cannot_flood_the_log),
		cmocka_unit_test(test_limit_survives_a_reset),
		cmocka_unit_test(test_poison_is_told_whatever_was_said_before),
		cmocka_unit_test(test_D_LOG_failed_used_element_names_head_and_handler),
		cmocka_unit_test(test_D_LOG_failed_used_element_is_told_in_strict_mode_too),
		cmocka_unit_test(test_D_LOG_failed_used_element_names_the_gate),
		cmocka_unit_test(test_D_LOG_failure_that_cannot_be_answered_is_told),
		cmocka_unit_test(test_D_LOG_failure_that_cannot_be_published_is_told),
		cmocka_unit_test(test_D_STRICT_dropped_chain_names_its_head),
		cmocka_unit_test(test_D_STRICT_drain_that_cannot_be_notified_again_needs_reset),
		cmocka_unit_test(test_D4_drain_that_cannot_be_notified_again_ends),
	};

	return cmocka_run_group_tests_name("drain_log", tests, NULL, NULL);
}
