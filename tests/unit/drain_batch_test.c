/* SPDX-License-Identifier: MIT */
/*
 * How long an answer may wait for the interrupt while others of the same batch are made. The disk
 * moves the clock: each request takes a time of its own.
 */
#include "bare_drain.h"
#include "disk.h"
#include "expect.h"
#include "late_aio.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE
#define VRING	  VIRTIO_MMIO_INT_VRING
#define BATCH_NS  100u

/* A drain on a disk that takes its time, and how often the clock is read. */
struct rig {
	struct bare_drain bare;
	uint64_t takes_ns;
	uint64_t tick_ns; /* what a look at the clock takes */
	unsigned clock_reads;
};

static void take_time(void *context)
{
	struct rig *rig = context;

	rig->bare.guest.now_ns += rig->takes_ns;
}

static uint64_t read_clock(void *context)
{
	struct rig *rig = context;

	rig->clock_reads++;
	rig->bare.guest.now_ns += rig->tick_ns;
	return rig->bare.guest.now_ns;
}

static void start(struct rig *rig, uint64_t batch_ns, uint64_t takes_ns, unsigned requests)
{
	*rig = (struct rig){ .takes_ns = takes_ns };
	bare_drain_create(&rig->bare, NULL, disk_create_hooked(DISK_SIZE, 0xab, take_time, rig));
	rig->bare.drain.config.batch_ns = batch_ns;
	rig->bare.drain.config.disk->clock = (struct vblk_clock){ read_clock, rig };
	for (unsigned i = 0; i < requests; i++)
		guest_request_at(&rig->bare.guest, i, VIRTIO_BLK_T_FLUSH, 0, 0);
}

static void stop(struct rig *rig)
{
	bare_drain_destroy(&rig->bare);
}

/* Runs the drain and expects how it ends, how many are published by now, and an interrupt. */
static void expect_batch(struct rig *rig, enum vblk_drain_result want, uint16_t used_idx)
{
	bare_drain_run(&rig->bare, want);
	assert_int_equal(guest_used_idx(&rig->bare.guest), used_idx);
	expect_interrupts(&rig->bare.guest, 1, VRING);
	guest_write32(&rig->bare.guest, VIRTIO_MMIO_INTERRUPT_ACK, VRING);
}

/* The first is published at 40 ns, and the bound is reached at 140 ns, by the fourth. */
static void test_D8_overdue_batch_is_announced(void **state)
{
	struct rig rig;

	(void)state;
	start(&rig, BATCH_NS, 40, 10);
	expect_batch(&rig, VBLK_DRAIN_MORE, 4);
	expect_batch(&rig, VBLK_DRAIN_MORE, 8);
	expect_batch(&rig, VBLK_DRAIN_DONE, 10);
	expect_counters(&rig.bare.guest, .flushes_completed = 10);
	stop(&rig);
}

static void test_batch_ends_at_the_bound_and_not_before(void **state)
{
	(void)state;
	for (uint64_t takes_ns = BATCH_NS - 1; takes_ns <= BATCH_NS + 1; takes_ns++) {
		struct rig rig;

		start(&rig, BATCH_NS, takes_ns, 4);
		expect_batch(&rig, VBLK_DRAIN_MORE, takes_ns < BATCH_NS ? 3 : 2);
		stop(&rig);
	}
}

/* Rules: D-11 */
static void test_overdue_batch_that_is_the_last_is_done(void **state)
{
	struct rig rig;

	(void)state;
	start(&rig, BATCH_NS, BATCH_NS, 2);
	expect_batch(&rig, VBLK_DRAIN_DONE, 2);
	stop(&rig);
}

static void test_batch_without_a_bound_takes_its_time(void **state)
{
	struct rig rig;

	(void)state;
	start(&rig, 0, VBLK_NSEC_PER_SEC, 10);
	expect_batch(&rig, VBLK_DRAIN_DONE, 10);
	stop(&rig);
}

/* Once more for the first of a run, and never for a look at an empty queue. */
static void test_clock_is_read_once_for_each_chain(void **state)
{
	struct rig rig;

	(void)state;
	start(&rig, BATCH_NS, 0, 10);
	expect_batch(&rig, VBLK_DRAIN_DONE, 10);
	assert_int_equal(rig.clock_reads, 11);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.clock_reads, 11);
	stop(&rig);
}

/*
 * Somebody else makes the calls: requests that are only handed over take time too, while the first
 * sixteen are answered and wait for their interrupt.
 */
static void test_launches_behind_an_answer_are_timed(void **state)
{
	struct late_aio *late;
	struct rig rig;

	(void)state;
	start(&rig, BATCH_NS, 0, 2 * VBLK_AIR_BATCH);
	vblk_air_destroy(rig.bare.drain.config.air);
	late = late_aio_create(rig.bare.guest.backing);
	rig.bare.drain.config.air = late_aio_air(late);
	rig.tick_ns = BATCH_NS / 2;
	bare_drain_run(&rig.bare, VBLK_DRAIN_MORE);
	assert_in_range(rig.bare.drain.queue.next_avail, VBLK_AIR_BATCH + 1, VBLK_AIR_BATCH + 4);
	stop(&rig);
}

/* Nobody waits for an interrupt while there is nothing to tell. */
static void test_dropped_chains_do_not_start_the_time(void **state)
{
	struct rig rig;

	(void)state;
	start(&rig, 1, 0, 0);
	rig.bare.drain.config.disk->log.fn = NULL;
	for (unsigned i = 0; i < 5; i++)
		guest_offer(&rig.bare.guest, 256);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	expect_counters(&rig.bare.guest, .io_errors = 5);
	expect_interrupts(&rig.bare.guest, 0, 0);
	stop(&rig);
}

/* ---- what another drain has left behind ---- */

static int leave_three(void *context, uint16_t used_idx, struct vblk_journal_heads *heads)
{
	(void)context;
	(void)used_idx;
	for (uint16_t i = 0; i < 3; i++)
		heads->head[heads->count++] = (uint16_t)(i * 2); /* each is two descriptors long */
	return 0;
}

static void note_nothing(void *context, uint16_t head)
{
	(void)context;
	(void)head;
}

static void note_no_commit(void *context, uint16_t head, uint16_t used_idx)
{
	(void)context;
	(void)head;
	(void)used_idx;
}

/*
 * The ring has nothing new, so no notification would bring a drain back to what is left of them.
 * Rules: D-JOURNAL
 */
static void test_a_bound_leaves_nothing_behind_that_was_in_flight(void **state)
{
	static const struct vblk_journal_ops ops = {
		.open = leave_three,
		.claim = note_nothing,
		.prepare = note_nothing,
		.commit = note_no_commit,
	};
	struct vblk_drain_config config;
	struct rig rig;

	(void)state;
	start(&rig, BATCH_NS, BATCH_NS, 3);
	config = rig.bare.drain.config;
	config.continues = true;
	config.journal = (struct vblk_journal){ &ops, NULL };
	vblk_drain_destroy(&rig.bare.drain);
	vblk_drain_init(&rig.bare.drain, &config);
	bare_drain_run(&rig.bare, VBLK_DRAIN_MORE);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 2);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 3);
	stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_D8_overdue_batch_is_announced),
		cmocka_unit_test(test_batch_ends_at_the_bound_and_not_before),
		cmocka_unit_test(test_overdue_batch_that_is_the_last_is_done),
		cmocka_unit_test(test_batch_without_a_bound_takes_its_time),
		cmocka_unit_test(test_clock_is_read_once_for_each_chain),
		cmocka_unit_test(test_launches_behind_an_answer_are_timed),
		cmocka_unit_test(test_dropped_chains_do_not_start_the_time),
		cmocka_unit_test(test_a_bound_leaves_nothing_behind_that_was_in_flight),
	};

	return cmocka_run_group_tests_name("drain_batch", tests, NULL, NULL);
}
