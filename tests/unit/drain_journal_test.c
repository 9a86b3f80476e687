/* SPDX-License-Identifier: MIT */
/*
 * What a drain writes into its record of requests in flight, and when; and who is told of its end.
 */
#include "chains.h"
#include "disk.h"
#include "journal_rig.h"
#include "process.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/le.h"
#include "device/device.h"
#include "engine/engine.h"

#define SECTOR VBLK_SECTOR_SIZE

/* Rules: D-JOURNAL */
static void test_entries_are_made_around_publishing(void **state)
{
	struct journal_rig rig;
	uint16_t head[2];

	(void)state;
	journal_rig_begin(&rig);
	head[0] = journal_rig_ask(&rig, 0);
	head[1] = journal_rig_ask(&rig, 1);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 7);
	journal_rig_expect(&rig, 0, JOURNAL_OPEN, 0, 0, 0);
	journal_rig_expect(&rig, 1, JOURNAL_CLAIM, head[0], 0, 0);
	journal_rig_expect(&rig, 2, JOURNAL_PREPARE, head[0], 0, 0);
	journal_rig_expect(&rig, 3, JOURNAL_COMMIT, head[0], 1, 1);
	journal_rig_expect(&rig, 4, JOURNAL_CLAIM, head[1], 0, 1);
	journal_rig_expect(&rig, 5, JOURNAL_PREPARE, head[1], 0, 1);
	journal_rig_expect(&rig, 6, JOURNAL_COMMIT, head[1], 2, 2);
	journal_rig_end(&rig);
}

/* By the events that had been there when the backing was asked. */
static void look_at_events(void *context)
{
	struct journal_rig *rig = context;

	assert_int_equal(rig->events, 2);
	assert_int_equal(rig->event[1].kind, JOURNAL_CLAIM);
	rig->looked = true;
}

/* Rules: D-JOURNAL */
static void test_a_request_is_claimed_before_it_is_carried_out(void **state)
{
	struct journal_rig rig;

	(void)state;
	journal_rig_begin_on(&rig, NULL,
			     disk_create_hooked(JOURNAL_DISK_SIZE, 0, look_at_events, &rig));
	journal_rig_ask(&rig, 0);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_true(rig.looked);
	journal_rig_end(&rig);
}

/* It was taken from the ring and will never be answered. Rules: D-JOURNAL, D-13 */
static void test_a_chain_that_is_dropped_stays_claimed(void **state)
{
	const struct guest_desc lone[] = { { GUEST_HEADER, 16, 0 } };
	struct journal_rig rig;
	uint16_t head;

	(void)state;
	journal_rig_begin(&rig);
	head = guest_chain(&rig.bare.guest, lone, 1);
	guest_offer(&rig.bare.guest, head);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 2);
	journal_rig_expect(&rig, 1, JOURNAL_CLAIM, head, 0, 0);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 1);
	journal_rig_end(&rig);
}

/* It would not be counted, and the next drain would go on at the wrong place. Rules: D-JOURNAL */
static void test_a_head_that_has_no_place_in_the_record_poisons(void **state)
{
	struct journal_rig rig;

	(void)state;
	journal_rig_begin(&rig);
	guest_offer(&rig.bare.guest, 256);
	journal_rig_ask(&rig, 0);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 1);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 0);
	assert_true(guest_status(&rig.bare.guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(guest_logged(&rig.bare.guest, "has no place for the head"));
	expect_counters(&rig.bare.guest, .io_errors = 1);
	/* Whoever comes next finds it, and does not pass it over. */
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 0);
	journal_rig_end(&rig);
}

/* Marked twice it would be counted once. Rules: D-JOURNAL, D-HEAD */
static void test_a_chain_that_was_dropped_and_comes_again_poisons(void **state)
{
	const struct guest_desc lone[] = { { GUEST_HEADER, 16, 0 } };
	struct journal_rig rig;
	uint16_t head;

	(void)state;
	journal_rig_begin(&rig);
	head = guest_chain(&rig.bare.guest, lone, 1);
	guest_offer(&rig.bare.guest, head);
	guest_offer(&rig.bare.guest, head);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 2);
	journal_rig_expect(&rig, 1, JOURNAL_CLAIM, head, 0, 0);
	assert_true(guest_status(&rig.bare.guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_counters(&rig.bare.guest, .io_errors = 2);
	journal_rig_end(&rig);
}

/* By another thread, or the process in the middle of a request. */
static void revoke_lease(void *context)
{
	struct journal_rig *rig = context;

	vblk_lease_surrender(&rig->bare.drain.lease);
}

/* Rules: D-JOURNAL, D-HOLE-7 */
static void test_who_lost_the_guest_passes_over_nothing(void **state)
{
	struct journal_rig rig;

	(void)state;
	journal_rig_begin_on(&rig, NULL,
			     disk_create_hooked(JOURNAL_DISK_SIZE, 0, revoke_lease, &rig));
	journal_rig_ask(&rig, 0);
	journal_rig_ask(&rig, 1);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 0);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 0);
	journal_rig_end(&rig);
}

static void with_cut_used_ring(struct vblk_drain_config *config)
{
	config->layout.used = GUEST_RAM_SIZE - 8;
}

/* Rules: D-JOURNAL, P-1 */
static void test_what_cannot_be_published_is_not_committed(void **state)
{
	struct journal_rig rig;
	uint16_t head;

	(void)state;
	journal_rig_begin(&rig);
	journal_rig_restart(&rig, with_cut_used_ring);
	rig.ended = 0;
	head = journal_rig_ask(&rig, 0);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 3);
	assert_int_equal(rig.event[1].kind, JOURNAL_CLAIM);
	assert_int_equal(rig.event[2].kind, JOURNAL_PREPARE);
	assert_int_equal(rig.event[2].head, head);
	journal_rig_end(&rig);
}

/* A record entry for which nobody is left to touch the guest. */
static void test_D_JOURNAL_who_lost_the_guest_opens_nothing(void **state)
{
	struct journal_rig rig;

	(void)state;
	journal_rig_begin(&rig);
	journal_rig_ask(&rig, 0);
	assert_int_equal(vblk_lease_revoke(&rig.bare.drain.lease), 0);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 0);
	assert_int_equal(guest_status(&rig.bare.guest) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	expect_counters(&rig.bare.guest);
	journal_rig_end(&rig);
}

/* --- Who is told of the end --- */

static void test_D_JOURNAL_a_drain_that_never_ran_says_where_it_would_have_begun(void **state)
{
	struct journal_rig rig;

	(void)state;
	journal_rig_begin(&rig);
	journal_rig_restart(&rig, journal_rig_without_record);
	rig.ended = 0;
	journal_rig_end(&rig);
	assert_false(rig.ended_without_drain);
	assert_int_equal(rig.ended_at, 7);
}

static void test_D_JOURNAL_a_config_without_a_drain_ends_too(void **state)
{
	struct journal_rig rig;

	(void)state;
	journal_rig_begin(&rig);
	vblk_drain_discard(&rig.bare.drain.config);
	assert_int_equal(rig.ended, 1);
	assert_true(rig.ended_without_drain);
	rig.ended = 0;
	journal_rig_end(&rig);
	assert_false(rig.ended_without_drain);
}

typedef int (*engine_maker)(struct vblk_engine **engine);

static const engine_maker makers[] = { vblk_inline_engine_create, vblk_worker_engine_create };

static void test_D_JOURNAL_an_engine_says_once_that_its_drain_has_ended(void **state)
{
	const struct vblk_engine_host host = { .lost = NULL };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct vblk_engine *engine;
		struct journal_rig rig;

		journal_rig_begin(&rig);
		journal_rig_ask(&rig, 0);
		assert_int_equal(makers[i](&engine), 0);
		assert_int_equal(vblk_engine_start(engine, &rig.bare.drain.config, &host), 0);
		vblk_engine_notify(engine);
		assert_true(guest_wait_used(&rig.bare.guest, 1));
		assert_int_equal(rig.ended, 0);
		assert_int_equal(vblk_engine_stop(engine, 10000), 0);
		assert_int_equal(rig.ended, 1);
		assert_false(rig.ended_without_drain);
		assert_int_equal(rig.ended_at, 1);
		vblk_engine_destroy(engine);
		assert_int_equal(rig.ended, 1);
		rig.ended = 0;
		journal_rig_end(&rig);
	}
}

static void test_D_JOURNAL_an_engine_that_cannot_start_says_so_once(void **state)
{
	const struct vblk_engine_host host = { .lost = NULL };
	struct vblk_engine *engine;
	struct journal_rig rig;

	(void)state;
	journal_rig_begin(&rig);
	assert_int_equal(vblk_worker_engine_create(&engine), 0);
	process_forbid_threads();
	assert_true(vblk_engine_start(engine, &rig.bare.drain.config, &host) < 0);
	process_allow_threads();
	assert_int_equal(rig.ended, 1);
	vblk_engine_destroy(engine);
	assert_int_equal(rig.ended, 1);
	rig.ended = 0;
	journal_rig_end(&rig);
}

static void test_D_JOURNAL_an_engine_without_descriptors_says_so_once(void **state)
{
	const struct vblk_engine_host host = { .lost = NULL };
	struct vblk_engine *engine;
	struct journal_rig rig;

	(void)state;
	journal_rig_begin(&rig);
	assert_int_equal(vblk_worker_engine_create(&engine), 0);
	for (size_t more = 0; more < 2; more++) {
		process_limit_fds(more);
		assert_int_equal(vblk_engine_start(engine, &rig.bare.drain.config, &host), -EMFILE);
		process_unlimit_fds();
		assert_int_equal(rig.ended, more + 1);
	}
	vblk_engine_destroy(engine);
	rig.ended = 0;
	journal_rig_end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries_are_made_around_publishing),
		cmocka_unit_test(test_a_request_is_claimed_before_it_is_carried_out),
		cmocka_unit_test(test_a_chain_that_is_dropped_stays_claimed),
		cmocka_unit_test(test_a_head_that_has_no_place_in_the_record_poisons),
		cmocka_unit_test(test_a_chain_that_was_dropped_and_comes_again_poisons),
		cmocka_unit_test(test_who_lost_the_guest_passes_over_nothing),
		cmocka_unit_test(test_what_cannot_be_published_is_not_committed),
		cmocka_unit_test(test_D_JOURNAL_who_lost_the_guest_opens_nothing),
		cmocka_unit_test(
			test_D_JOURNAL_a_drain_that_never_ran_says_where_it_would_have_begun),
		cmocka_unit_test(test_D_JOURNAL_a_config_without_a_drain_ends_too),
		cmocka_unit_test(test_D_JOURNAL_an_engine_says_once_that_its_drain_has_ended),
		cmocka_unit_test(test_D_JOURNAL_an_engine_that_cannot_start_says_so_once),
		cmocka_unit_test(test_D_JOURNAL_an_engine_without_descriptors_says_so_once),
	};

	return cmocka_run_group_tests_name("drain_journal", tests, NULL, NULL);
}
