/* SPDX-License-Identifier: MIT */
/*
 * A drain that goes on where another has stopped, with a record of requests in flight and without;
 * and who is told of its end.
 */
#include "bare_drain.h"
#include "chains.h"
#include "disk.h"
#include "process.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/le.h"
#include "device/device.h"
#include "engine/engine.h"

#define SECTOR	   VBLK_SECTOR_SIZE
#define DISK_SIZE  (64 * SECTOR)
#define EVENTS_MAX 64u
#define SECOND	   1000000000ull

enum event_kind {
	OPEN,
	CLAIM,
	PREPARE,
	COMMIT,
};

struct event {
	enum event_kind kind;
	uint16_t head;
	uint16_t told;	  /* the used.idx that was told */
	uint16_t in_ring; /* what the ring said at that time */
};

/* A drain with a record of requests in flight that the test has written, and reads. */
struct rig {
	struct bare_drain bare;
	struct vblk_journal_heads left; /* what another drain has left behind */
	int open_ret;
	struct event event[EVENTS_MAX]; /* the first of them */
	unsigned events;
	bool looked;
	unsigned ended; /* how often we were told */
	bool ended_without_drain;
	uint16_t ended_at; /* where the drain would have gone on */
};

static void note(struct rig *rig, enum event_kind kind, uint16_t head, uint16_t told)
{
	unsigned index = rig->events++;

	if (index < EVENTS_MAX)
		rig->event[index] =
			(struct event){ kind, head, told, guest_used_idx(&rig->bare.guest) };
}

static int note_open(void *context, uint16_t used_idx, struct vblk_journal_heads *heads)
{
	struct rig *rig = context;

	note(rig, OPEN, 0, used_idx);
	*heads = rig->left;
	return rig->open_ret;
}

static void note_claim(void *context, uint16_t head)
{
	note(context, CLAIM, head, 0);
}

static void note_prepare(void *context, uint16_t head)
{
	note(context, PREPARE, head, 0);
}

static void note_commit(void *context, uint16_t head, uint16_t used_idx)
{
	note(context, COMMIT, head, used_idx);
}

static const struct vblk_journal_ops journal_ops = {
	.open = note_open,
	.claim = note_claim,
	.prepare = note_prepare,
	.commit = note_commit,
};

static void note_end(void *context, const struct vblk_drain *drain)
{
	struct rig *rig = context;

	rig->ended++;
	rig->ended_without_drain = drain == NULL;
	if (drain)
		rig->ended_at = vblk_drain_next_avail(drain);
}

/* Puts another drain on the guest's rings, one that continues what `change` says. */
static void restart(struct rig *rig, void (*change)(struct vblk_drain_config *config))
{
	struct vblk_drain_config config = rig->bare.drain.config;

	config.continues = true;
	config.journal = (struct vblk_journal){ &journal_ops, rig };
	config.ended = note_end;
	config.ended_context = rig;
	if (change)
		change(&config);
	vblk_drain_destroy(&rig->bare.drain);
	vblk_drain_init(&rig->bare.drain, &config);
}

static void begin_on(struct rig *rig, const struct guest_options *options,
		     struct vblk_backing *disk)
{
	memset(rig, 0, sizeof(*rig));
	bare_drain_create(&rig->bare, options, disk);
	restart(rig, NULL);
}

static void begin_with(struct rig *rig, const struct guest_options *options)
{
	begin_on(rig, options, disk_create(DISK_SIZE, 0xab));
}

static void begin(struct rig *rig)
{
	begin_with(rig, NULL);
}

static void end(struct rig *rig)
{
	bare_drain_destroy(&rig->bare);
	assert_int_equal(rig->ended, 1);
}

/* What another drain took from the ring and did not answer. */
static void leave(struct rig *rig, uint16_t head)
{
	rig->left.head[rig->left.count++] = head;
}

static void expect_event(const struct rig *rig, unsigned index, enum event_kind kind, uint16_t head,
			 uint16_t told, uint16_t in_ring)
{
	assert_true(index < rig->events);
	assert_int_equal(rig->event[index].kind, kind);
	assert_int_equal(rig->event[index].head, head);
	assert_int_equal(rig->event[index].told, told);
	assert_int_equal(rig->event[index].in_ring, in_ring);
}

static uint16_t ask(struct rig *rig, unsigned slot)
{
	return guest_request_at(&rig->bare.guest, slot, VIRTIO_BLK_T_IN, slot, SECTOR);
}

static void set_used_idx(struct rig *rig, uint16_t value)
{
	vblk_le16_put(guest_at(&rig->bare.guest, 0x2000 + 2), value);
}

/* Rules: D-JOURNAL */
static void test_entries_are_made_around_publishing(void **state)
{
	struct rig rig;
	uint16_t head[2];

	(void)state;
	begin(&rig);
	head[0] = ask(&rig, 0);
	head[1] = ask(&rig, 1);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 7);
	expect_event(&rig, 0, OPEN, 0, 0, 0);
	expect_event(&rig, 1, CLAIM, head[0], 0, 0);
	expect_event(&rig, 2, PREPARE, head[0], 0, 0);
	expect_event(&rig, 3, COMMIT, head[0], 1, 1);
	expect_event(&rig, 4, CLAIM, head[1], 0, 1);
	expect_event(&rig, 5, PREPARE, head[1], 0, 1);
	expect_event(&rig, 6, COMMIT, head[1], 2, 2);
	end(&rig);
}

/* By the events that had been there when the backing was asked. */
static void look_at_events(void *context)
{
	struct rig *rig = context;

	assert_int_equal(rig->events, 2);
	assert_int_equal(rig->event[1].kind, CLAIM);
	rig->looked = true;
}

/* Rules: D-JOURNAL */
static void test_a_request_is_claimed_before_it_is_carried_out(void **state)
{
	struct rig rig;

	(void)state;
	begin_on(&rig, NULL, disk_create_hooked(DISK_SIZE, 0, look_at_events, &rig));
	ask(&rig, 0);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_true(rig.looked);
	end(&rig);
}

/* The journal's order counts, not the ring's; they are not claimed again. Rules: D-JOURNAL */
static void test_what_was_in_flight_is_served_first_and_in_order(void **state)
{
	struct rig rig;
	struct guest *g = &rig.bare.guest;
	uint16_t head[3];

	(void)state;
	begin(&rig);
	for (unsigned i = 0; i < 3; i++)
		head[i] = ask(&rig, i);
	leave(&rig, head[1]);
	leave(&rig, head[0]);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(g), 3);
	assert_int_equal(guest_used_elem(g, 0).id, head[1]);
	assert_int_equal(guest_used_elem(g, 1).id, head[0]);
	assert_int_equal(guest_used_elem(g, 2).id, head[2]);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(guest_slot_status(g, i), VIRTIO_BLK_S_OK);
	assert_int_equal(rig.events, 8);
	expect_event(&rig, 1, PREPARE, head[1], 0, 0);
	expect_event(&rig, 3, PREPARE, head[0], 0, 1);
	expect_event(&rig, 5, CLAIM, head[2], 0, 2);
	assert_true(guest_logged(g, "requests that were in flight are served again"));
	end(&rig);
}

static void with_other_index(struct vblk_drain_config *config)
{
	config->next_avail = 1234;
}

/* Where to go on follows from the ring and the record, whatever the config says. */
static void test_D_JOURNAL_the_record_says_where_to_go_on(void **state)
{
	struct rig rig;
	struct guest *g = &rig.bare.guest;
	uint16_t head;

	(void)state;
	begin(&rig);
	restart(&rig, with_other_index);
	rig.ended = 0;
	guest_set_avail_idx(g, 65535);
	set_used_idx(&rig, 65534);
	head = ask(&rig, 0); /* element 65535: what is left behind was 65534 */
	leave(&rig, 200);
	guest_put_desc(g, 200, GUEST_HEADER, 16, VRING_DESC_F_NEXT, 201);
	guest_put_desc(g, 201, GUEST_STATUS, 1, VRING_DESC_F_WRITE, 0);
	guest_put_header(g, GUEST_HEADER, VIRTIO_BLK_T_FLUSH, 0);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 1234);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	expect_event(&rig, 0, OPEN, 0, 65534, 65534);
	assert_int_equal(guest_used_idx(g), 0);
	assert_int_equal(guest_used_elem(g, 65534).id, 200);
	assert_int_equal(guest_used_elem(g, 65535).id, head);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 0);
	end(&rig);
}

/* Whoever was before may have answered without an interrupt. */
static void test_D_JOURNAL_going_on_begins_with_an_interrupt(void **state)
{
	struct rig rig;
	struct guest *g = &rig.bare.guest;

	(void)state;
	begin(&rig);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	expect_interrupts(g, 1, VIRTIO_MMIO_INT_VRING);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	expect_interrupts(g, 0, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(rig.events, 1);
	end(&rig);
}

/* Rules: D-JOURNAL, T-11 */
static void test_what_was_in_flight_waits_for_tokens_in_its_place(void **state)
{
	const struct guest_options options = { .device.throttle.iops = 1 };
	struct rig rig;
	struct guest *g = &rig.bare.guest;
	uint16_t head[3];

	(void)state;
	begin_with(&rig, &options);
	for (unsigned i = 0; i < 3; i++)
		head[i] = ask(&rig, i);
	leave(&rig, head[1]);
	leave(&rig, head[0]);
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
	end(&rig);
}

/* It is still in the ring, so who goes on will find it there. Rules: D-JOURNAL, T-11 */
static void test_what_waits_for_tokens_is_not_claimed(void **state)
{
	const struct guest_options options = { .device.throttle.iops = 1 };
	struct rig rig;

	(void)state;
	begin_with(&rig, &options);
	ask(&rig, 0);
	ask(&rig, 1);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_STALLED);
	assert_int_equal(rig.events, 4);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 1);
	end(&rig);
	assert_int_equal(rig.ended_at, 1);
}

static void test_D_HEAD_what_was_in_flight_may_not_be_made_available_again(void **state)
{
	const struct guest_options options = { .device.throttle.iops = 1 };
	struct rig rig;
	uint16_t head[2], again;

	(void)state;
	begin_with(&rig, &options);
	head[0] = ask(&rig, 0);
	head[1] = ask(&rig, 1);
	leave(&rig, head[0]);
	leave(&rig, head[1]);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_STALLED);
	guest_offer(&rig.bare.guest, head[1]);
	assert_int_equal(vblk_queue_pop(&rig.bare.drain.queue, &again), -EEXIST);
	end(&rig);
}

/* Rules: D-JOURNAL, D-7 */
static void test_a_record_that_cannot_be_used_poisons(void **state)
{
	struct rig rig;
	struct guest *g = &rig.bare.guest;

	(void)state;
	begin(&rig);
	ask(&rig, 0);
	rig.open_ret = -EINVAL;
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 1);
	assert_int_equal(guest_used_idx(g), 0);
	assert_true(guest_status(g) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_interrupts(g, 1, VIRTIO_MMIO_INT_CONFIG);
	expect_counters(g, .io_errors = 1);
	end(&rig);
}

static void without_used_ring(struct vblk_drain_config *config)
{
	config->layout.used = UNMAPPED;
}

/* Rules: D-JOURNAL, D-7 */
static void test_a_ring_whose_used_idx_cannot_be_read_poisons(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig);
	restart(&rig, without_used_ring);
	assert_int_equal(rig.ended, 1);
	rig.ended = 0;
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 0);
	assert_true(guest_status(&rig.bare.guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_counters(&rig.bare.guest, .io_errors = 1);
	end(&rig);
}

static void without_record(struct vblk_drain_config *config)
{
	config->journal.ops = NULL;
	config->next_avail = 7;
}

/* used.idx is in the ring; the next available index has to be told. */
static void test_D_JOURNAL_without_a_record_we_are_told_where_to_go_on(void **state)
{
	struct rig rig;
	struct guest *g = &rig.bare.guest;
	uint16_t head;

	(void)state;
	begin(&rig);
	restart(&rig, without_record);
	rig.ended = 0;
	guest_set_avail_idx(g, 7);
	set_used_idx(&rig, 5);
	head = ask(&rig, 3);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 7);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 8);
	assert_int_equal(guest_used_idx(g), 6);
	assert_int_equal(guest_used_elem(g, 5).id, head);
	assert_int_equal(guest_slot_status(g, 3), VIRTIO_BLK_S_OK);
	assert_int_equal(rig.events, 0);
	end(&rig);
	assert_int_equal(rig.ended_at, 8);
}

/* It was taken from the ring and will never be answered. Rules: D-JOURNAL, D-13 */
static void test_a_chain_that_is_dropped_stays_claimed(void **state)
{
	const struct guest_desc lone[] = { { GUEST_HEADER, 16, 0 } };
	struct rig rig;
	uint16_t head;

	(void)state;
	begin(&rig);
	head = guest_chain(&rig.bare.guest, lone, 1);
	guest_offer(&rig.bare.guest, head);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 2);
	expect_event(&rig, 1, CLAIM, head, 0, 0);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 1);
	end(&rig);
}

/* It would not be counted, and the next drain would go on at the wrong place. Rules: D-JOURNAL */
static void test_a_head_that_has_no_place_in_the_record_poisons(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig);
	guest_offer(&rig.bare.guest, 256);
	ask(&rig, 0);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 1);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 0);
	assert_true(guest_status(&rig.bare.guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(guest_logged(&rig.bare.guest, "has no place for the head"));
	expect_counters(&rig.bare.guest, .io_errors = 1);
	/* Whoever comes next finds it, and does not pass it over. */
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 0);
	end(&rig);
}

/* Marked twice it would be counted once. Rules: D-JOURNAL, D-HEAD */
static void test_a_chain_that_was_dropped_and_comes_again_poisons(void **state)
{
	const struct guest_desc lone[] = { { GUEST_HEADER, 16, 0 } };
	struct rig rig;
	uint16_t head;

	(void)state;
	begin(&rig);
	head = guest_chain(&rig.bare.guest, lone, 1);
	guest_offer(&rig.bare.guest, head);
	guest_offer(&rig.bare.guest, head);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 2);
	expect_event(&rig, 1, CLAIM, head, 0, 0);
	assert_true(guest_status(&rig.bare.guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_counters(&rig.bare.guest, .io_errors = 2);
	end(&rig);
}

/* Three heads of which the first two were in flight, and tokens for one of them. */
static void leave_two_and_serve_one(struct rig *rig, const uint16_t order[2])
{
	static const struct guest_options options = { .device.throttle.iops = 1 };
	uint16_t head[3];

	begin_with(rig, &options);
	for (unsigned i = 0; i < 3; i++)
		head[i] = ask(rig, i);
	leave(rig, head[order[0]]);
	leave(rig, head[order[1]]);
	(void)bare_drain_run(&rig->bare, VBLK_DRAIN_STALLED);
	assert_int_equal(guest_used_idx(&rig->bare.guest), 1);
}

/* Who goes on without the record finds it in the ring. Rules: D-JOURNAL, T-11 */
static void test_what_was_in_flight_and_waits_for_tokens_is_not_passed_over(void **state)
{
	static const uint16_t order[] = { 0, 1 };
	struct rig rig;

	(void)state;
	leave_two_and_serve_one(&rig, order);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 1);
	rig.bare.guest.now_ns += SECOND;
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_STALLED);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 2);
	end(&rig);
	assert_int_equal(rig.ended_at, 2);
}

/* An index cannot say that the first is to be served and the second not. Rules: D-JOURNAL */
static void test_what_was_answered_is_not_served_again_for_want_of_a_record(void **state)
{
	static const uint16_t order[] = { 1, 0 };
	struct rig rig;

	(void)state;
	leave_two_and_serve_one(&rig, order);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 2);
	end(&rig);
}

/* By another thread, or the process in the middle of a request. */
static void revoke_lease(void *context)
{
	struct rig *rig = context;

	vblk_lease_surrender(&rig->bare.drain.lease);
}

/* Rules: D-JOURNAL, D-HOLE-7 */
static void test_who_lost_the_guest_passes_over_nothing(void **state)
{
	struct rig rig;

	(void)state;
	begin_on(&rig, NULL, disk_create_hooked(DISK_SIZE, 0, revoke_lease, &rig));
	ask(&rig, 0);
	ask(&rig, 1);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 0);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 0);
	end(&rig);
}

static void with_cut_used_ring(struct vblk_drain_config *config)
{
	config->layout.used = GUEST_RAM_SIZE - 8;
}

/* Rules: D-JOURNAL, P-1 */
static void test_what_cannot_be_published_is_not_committed(void **state)
{
	struct rig rig;
	uint16_t head;

	(void)state;
	begin(&rig);
	restart(&rig, with_cut_used_ring);
	rig.ended = 0;
	head = ask(&rig, 0);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 3);
	assert_int_equal(rig.event[1].kind, CLAIM);
	assert_int_equal(rig.event[2].kind, PREPARE);
	assert_int_equal(rig.event[2].head, head);
	end(&rig);
}

/* A record entry for which nobody is left to touch the guest. */
static void test_D_JOURNAL_who_lost_the_guest_opens_nothing(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig);
	ask(&rig, 0);
	assert_int_equal(vblk_lease_revoke(&rig.bare.drain.lease), 0);
	(void)bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.events, 0);
	assert_int_equal(guest_status(&rig.bare.guest) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	expect_counters(&rig.bare.guest);
	end(&rig);
}

/* --- Who is told of the end --- */

static void test_D_JOURNAL_a_drain_that_never_ran_says_where_it_would_have_begun(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig);
	restart(&rig, without_record);
	rig.ended = 0;
	end(&rig);
	assert_false(rig.ended_without_drain);
	assert_int_equal(rig.ended_at, 7);
}

static void test_D_JOURNAL_a_config_without_a_drain_ends_too(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig);
	vblk_drain_discard(&rig.bare.drain.config);
	assert_int_equal(rig.ended, 1);
	assert_true(rig.ended_without_drain);
	rig.ended = 0;
	end(&rig);
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
		struct rig rig;

		begin(&rig);
		ask(&rig, 0);
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
		end(&rig);
	}
}

static void test_D_JOURNAL_an_engine_that_cannot_start_says_so_once(void **state)
{
	const struct vblk_engine_host host = { .lost = NULL };
	struct vblk_engine *engine;
	struct rig rig;

	(void)state;
	begin(&rig);
	assert_int_equal(vblk_worker_engine_create(&engine), 0);
	process_forbid_threads();
	assert_true(vblk_engine_start(engine, &rig.bare.drain.config, &host) < 0);
	process_allow_threads();
	assert_int_equal(rig.ended, 1);
	vblk_engine_destroy(engine);
	assert_int_equal(rig.ended, 1);
	rig.ended = 0;
	end(&rig);
}

static void test_D_JOURNAL_an_engine_without_descriptors_says_so_once(void **state)
{
	const struct vblk_engine_host host = { .lost = NULL };
	struct vblk_engine *engine;
	struct rig rig;

	(void)state;
	begin(&rig);
	assert_int_equal(vblk_worker_engine_create(&engine), 0);
	for (size_t more = 0; more < 2; more++) {
		process_limit_fds(more);
		assert_int_equal(vblk_engine_start(engine, &rig.bare.drain.config, &host), -EMFILE);
		process_unlimit_fds();
		assert_int_equal(rig.ended, more + 1);
	}
	vblk_engine_destroy(engine);
	rig.ended = 0;
	end(&rig);
}

static void take_long(void *context)
{
	struct rig *rig = context;

	rig->bare.guest.now_ns += 200000;
}

static void bound_batches(struct vblk_drain_config *config)
{
	config->batch_ns = 100000;
}

/* A run that ends early has not forgotten them, although the ring has nothing more to offer. */
static void test_what_was_in_flight_is_served_over_several_runs(void **state)
{
	struct rig rig;
	uint64_t wait_ns;

	(void)state;
	begin_on(&rig, NULL, disk_create_hooked(DISK_SIZE, 0, take_long, &rig));
	restart(&rig, bound_batches);
	rig.ended = 0;
	for (unsigned i = 0; i < 3; i++)
		leave(&rig, ask(&rig, i));
	while (vblk_drain_run(&rig.bare.drain, &wait_ns) == VBLK_DRAIN_MORE)
		;
	assert_int_equal(guest_used_idx(&rig.bare.guest), 3);
	end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_was_in_flight_is_served_over_several_runs),
		cmocka_unit_test(test_entries_are_made_around_publishing),
		cmocka_unit_test(test_a_request_is_claimed_before_it_is_carried_out),
		cmocka_unit_test(test_what_was_in_flight_is_served_first_and_in_order),
		cmocka_unit_test(test_D_JOURNAL_the_record_says_where_to_go_on),
		cmocka_unit_test(test_D_JOURNAL_going_on_begins_with_an_interrupt),
		cmocka_unit_test(test_what_was_in_flight_waits_for_tokens_in_its_place),
		cmocka_unit_test(test_what_waits_for_tokens_is_not_claimed),
		cmocka_unit_test(test_D_HEAD_what_was_in_flight_may_not_be_made_available_again),
		cmocka_unit_test(test_a_record_that_cannot_be_used_poisons),
		cmocka_unit_test(test_a_ring_whose_used_idx_cannot_be_read_poisons),
		cmocka_unit_test(test_D_JOURNAL_without_a_record_we_are_told_where_to_go_on),
		cmocka_unit_test(test_a_chain_that_is_dropped_stays_claimed),
		cmocka_unit_test(test_a_head_that_has_no_place_in_the_record_poisons),
		cmocka_unit_test(test_a_chain_that_was_dropped_and_comes_again_poisons),
		cmocka_unit_test(test_what_was_in_flight_and_waits_for_tokens_is_not_passed_over),
		cmocka_unit_test(test_what_was_answered_is_not_served_again_for_want_of_a_record),
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
