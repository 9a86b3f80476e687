/* SPDX-License-Identifier: MIT */
/*
 * A drain that goes on where another has stopped: what it takes over from a record of requests in
 * flight or without one, in which order, and what it does about limits meanwhile.
 */
#include "chains.h"
#include "disk.h"
#include "journal_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/le.h"

#define SECTOR VBLK_SECTOR_SIZE
#define SECOND 1000000000ull

static void set_used_idx(struct journal_rig *rig, uint16_t value)
{
	vblk_le16_put(guest_at(&rig->bare.guest, 0x2000 + 2), value);
}

/* The journal's order counts, not the ring's; they are not claimed again. Rules: D-JOURNAL */
static void test_what_was_in_flight_is_served_first_and_in_order(void **state)
{
	struct journal_rig rig;
	struct guest *g = &rig.bare.guest;
	uint16_t head[3];

	(void)state;
	journal_rig_begin(&rig);
	for (unsigned i = 0; i < 3; i++)
		head[i] = journal_rig_ask(&rig, i);
	journal_rig_leave(&rig, head[1]);
	journal_rig_leave(&rig, head[0]);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(g), 3);
	assert_int_equal(guest_used_elem(g, 0).id, head[1]);
	assert_int_equal(guest_used_elem(g, 1).id, head[0]);
	assert_int_equal(guest_used_elem(g, 2).id, head[2]);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(guest_slot_status(g, i), VIRTIO_BLK_S_OK);
	assert_int_equal(rig.events, 8);
	journal_rig_expect(&rig, 1, JOURNAL_PREPARE, head[1], 0, 0);
	journal_rig_expect(&rig, 3, JOURNAL_PREPARE, head[0], 0, 1);
	journal_rig_expect(&rig, 5, JOURNAL_CLAIM, head[2], 0, 2);
	assert_true(guest_logged(g, "requests that were in flight are served again"));
	journal_rig_end(&rig);
}

static void with_other_index(struct vblk_drain_config *config)
{
	config->next_avail = 1234;
}

/* Where to go on follows from the ring and the record, whatever the config says. */
static void test_D_JOURNAL_the_record_says_where_to_go_on(void **state)
{
	struct journal_rig rig;
	struct guest *g = &rig.bare.guest;
	uint16_t head;

	(void)state;
	journal_rig_begin(&rig);
	journal_rig_restart(&rig, with_other_index);
	rig.ended = 0;
	guest_set_avail_idx(g, 65535);
	set_used_idx(&rig, 65534);
	head = journal_rig_ask(&rig, 0); /* element 65535: what is left behind was 65534 */
	journal_rig_leave(&rig, 200);
	guest_put_desc(g, 200, GUEST_HEADER, 16, VRING_DESC_F_NEXT, 201);
	guest_put_desc(g, 201, GUEST_STATUS, 1, VRING_DESC_F_WRITE, 0);
	guest_put_header(g, GUEST_HEADER, VIRTIO_BLK_T_FLUSH, 0);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 1234);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	journal_rig_expect(&rig, 0, JOURNAL_OPEN, 0, 65534, 65534);
	assert_int_equal(guest_used_idx(g), 0);
	assert_int_equal(guest_used_elem(g, 65534).id, 200);
	assert_int_equal(guest_used_elem(g, 65535).id, head);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 0);
	journal_rig_end(&rig);
}

/* Whoever was before may have answered without an interrupt. */
static void test_D_JOURNAL_going_on_begins_with_an_interrupt(void **state)
{
	struct journal_rig rig;
	struct guest *g = &rig.bare.guest;

	(void)state;
	journal_rig_begin(&rig);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	expect_interrupts(g, 1, VIRTIO_MMIO_INT_VRING);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	expect_interrupts(g, 0, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(rig.events, 1);
	journal_rig_end(&rig);
}

/* Rules: D-JOURNAL, T-11 */
static void test_what_was_in_flight_waits_for_tokens_in_its_place(void **state)
{
	const struct guest_options options = { .device.throttle.iops = 1 };
	struct journal_rig rig;
	struct guest *g = &rig.bare.guest;
	uint16_t head[3];

	(void)state;
	journal_rig_begin_with(&rig, &options);
	for (unsigned i = 0; i < 3; i++)
		head[i] = journal_rig_ask(&rig, i);
	journal_rig_leave(&rig, head[1]);
	journal_rig_leave(&rig, head[0]);
	for (uint16_t i = 0; i < 3; i++) {
		uint64_t wait =
			bare_drain_run(&rig.bare, i < 2 ? VBLK_DRAIN_STALLED : VBLK_DRAIN_DONE);

		assert_int_equal(guest_used_idx(g), i + 1);
		assert_int_equal(guest_metrics(g).throttled_now, i < 2);
		assert_int_equal(wait, i < 2 ? SECOND : 0);
		g->now_ns += SECOND;
	}
	assert_int_equal(guest_used_elem(g, 0).id, head[1]);
	assert_int_equal(guest_used_elem(g, 1).id, head[0]);
	assert_int_equal(guest_used_elem(g, 2).id, head[2]);
	journal_rig_end(&rig);
}

/* It is still in the ring, so who goes on will find it there. Rules: D-JOURNAL, T-11 */
static void test_what_waits_for_tokens_is_not_claimed(void **state)
{
	const struct guest_options options = { .device.throttle.iops = 1 };
	struct journal_rig rig;

	(void)state;
	journal_rig_begin_with(&rig, &options);
	journal_rig_ask(&rig, 0);
	journal_rig_ask(&rig, 1);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_STALLED);
	assert_int_equal(rig.events, 4);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 1);
	journal_rig_end(&rig);
	assert_int_equal(rig.ended_at, 1);
}

static void test_D_HEAD_what_was_in_flight_may_not_be_made_available_again(void **state)
{
	const struct guest_options options = { .device.throttle.iops = 1 };
	struct journal_rig rig;
	uint16_t head[2], again;

	(void)state;
	journal_rig_begin_with(&rig, &options);
	head[0] = journal_rig_ask(&rig, 0);
	head[1] = journal_rig_ask(&rig, 1);
	journal_rig_leave(&rig, head[0]);
	journal_rig_leave(&rig, head[1]);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_STALLED);
	guest_offer(&rig.bare.guest, head[1]);
	assert_int_equal(vblk_queue_pop(&rig.bare.drain.queue, &again), -EEXIST);
	journal_rig_end(&rig);
}

/* Rules: D-JOURNAL, D-7 */
static void test_a_record_that_cannot_be_used_poisons(void **state)
{
	struct journal_rig rig;
	struct guest *g = &rig.bare.guest;

	(void)state;
	journal_rig_begin(&rig);
	journal_rig_ask(&rig, 0);
	rig.open_ret = -EINVAL;
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 1);
	assert_int_equal(guest_used_idx(g), 0);
	assert_true(guest_status(g) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_interrupts(g, 1, VIRTIO_MMIO_INT_CONFIG);
	expect_counters(g, .io_errors = 1);
	journal_rig_end(&rig);
}

static void without_used_ring(struct vblk_drain_config *config)
{
	config->layout.used = UNMAPPED;
}

/* Rules: D-JOURNAL, D-7 */
static void test_a_ring_whose_used_idx_cannot_be_read_poisons(void **state)
{
	struct journal_rig rig;

	(void)state;
	journal_rig_begin(&rig);
	journal_rig_restart(&rig, without_used_ring);
	assert_int_equal(rig.ended, 1);
	rig.ended = 0;
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 0);
	assert_true(guest_status(&rig.bare.guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_counters(&rig.bare.guest, .io_errors = 1);
	journal_rig_end(&rig);
}

/* used.idx is in the ring; the next available index has to be told. */
static void test_D_JOURNAL_without_a_record_we_are_told_where_to_go_on(void **state)
{
	struct journal_rig rig;
	struct guest *g = &rig.bare.guest;
	uint16_t head;

	(void)state;
	journal_rig_begin(&rig);
	journal_rig_restart(&rig, journal_rig_without_record);
	rig.ended = 0;
	guest_set_avail_idx(g, 7);
	set_used_idx(&rig, 5);
	head = journal_rig_ask(&rig, 3);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 7);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 8);
	assert_int_equal(guest_used_idx(g), 6);
	assert_int_equal(guest_used_elem(g, 5).id, head);
	assert_int_equal(guest_slot_status(g, 3), VIRTIO_BLK_S_OK);
	assert_int_equal(rig.events, 0);
	journal_rig_end(&rig);
	assert_int_equal(rig.ended_at, 8);
}

/* Three heads of which the first two were in flight, and tokens for one of them. */
static void leave_two_and_serve_one(struct journal_rig *rig, const uint16_t order[2])
{
	static const struct guest_options options = { .device.throttle.iops = 1 };
	uint16_t head[3];

	journal_rig_begin_with(rig, &options);
	for (unsigned i = 0; i < 3; i++)
		head[i] = journal_rig_ask(rig, i);
	journal_rig_leave(rig, head[order[0]]);
	journal_rig_leave(rig, head[order[1]]);
	(void)bare_drain_run(&rig->bare, VBLK_DRAIN_STALLED);
	assert_int_equal(guest_used_idx(&rig->bare.guest), 1);
}

/* Who goes on without the record finds it in the ring. Rules: D-JOURNAL, T-11 */
static void test_what_was_in_flight_and_waits_for_tokens_is_not_passed_over(void **state)
{
	static const uint16_t order[] = { 0, 1 };
	struct journal_rig rig;

	(void)state;
	leave_two_and_serve_one(&rig, order);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 1);
	rig.bare.guest.now_ns += SECOND;
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_STALLED);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 2);
	journal_rig_end(&rig);
	assert_int_equal(rig.ended_at, 2);
}

/* An index cannot say that the first is to be served and the second not. Rules: D-JOURNAL */
static void test_what_was_answered_is_not_served_again_for_want_of_a_record(void **state)
{
	static const uint16_t order[] = { 1, 0 };
	struct journal_rig rig;

	(void)state;
	leave_two_and_serve_one(&rig, order);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 2);
	journal_rig_end(&rig);
}

static void take_long(void *context)
{
	struct journal_rig *rig = context;

	rig->bare.guest.now_ns += 200000;
}

static void bound_batches(struct vblk_drain_config *config)
{
	config->batch_ns = 100000;
}

/* A run that ends early has not forgotten them, although the ring has nothing more to offer. */
static void test_what_was_in_flight_is_served_over_several_runs(void **state)
{
	struct journal_rig rig;
	uint64_t wait_ns;

	(void)state;
	journal_rig_begin_on(&rig, NULL, disk_create_hooked(JOURNAL_DISK_SIZE, 0, take_long, &rig));
	journal_rig_restart(&rig, bound_batches);
	rig.ended = 0;
	for (unsigned i = 0; i < 3; i++)
		journal_rig_leave(&rig, journal_rig_ask(&rig, i));
	while (vblk_drain_run(&rig.bare.drain, &wait_ns) == VBLK_DRAIN_MORE)
		;
	assert_int_equal(guest_used_idx(&rig.bare.guest), 3);
	journal_rig_end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_was_in_flight_is_served_over_several_runs),
		cmocka_unit_test(test_what_was_in_flight_is_served_first_and_in_order),
		cmocka_unit_test(test_D_JOURNAL_the_record_says_where_to_go_on),
		cmocka_unit_test(test_D_JOURNAL_going_on_begins_with_an_interrupt),
		cmocka_unit_test(test_what_was_in_flight_waits_for_tokens_in_its_place),
		cmocka_unit_test(test_what_waits_for_tokens_is_not_claimed),
		cmocka_unit_test(test_D_HEAD_what_was_in_flight_may_not_be_made_available_again),
		cmocka_unit_test(test_a_record_that_cannot_be_used_poisons),
		cmocka_unit_test(test_a_ring_whose_used_idx_cannot_be_read_poisons),
		cmocka_unit_test(test_D_JOURNAL_without_a_record_we_are_told_where_to_go_on),
		cmocka_unit_test(test_what_was_in_flight_and_waits_for_tokens_is_not_passed_over),
		cmocka_unit_test(test_what_was_answered_is_not_served_again_for_want_of_a_record),
	};

	return cmocka_run_group_tests_name("drain_adopt", tests, NULL, NULL);
}
