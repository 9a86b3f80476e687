/* SPDX-License-Identifier: MIT */
/*
 * A drain whose memory is lost, at each point of a request's way: whatever it has read may be zeros
 * that nobody wrote, so it acts on nothing, publishes nothing and leaves the request to whoever
 * comes next.
 */
#include "bare_drain.h"
#include "disk.h"
#include "expect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

#define DISK_SIZE 8192u
#define FILL	  0xab
#define SECTOR	  VBLK_SECTOR_SIZE

struct rig {
	struct bare_drain bare;
	struct vblk_memory_guard guard;
	bool lost;
	unsigned asked;
	unsigned calls;	     /* to the disk */
	unsigned lost_in;    /* the call in which memory is lost; 0: none */
	unsigned journalled; /* heads about to be published */
};

static bool is_lost(void *context)
{
	struct rig *rig = context;

	rig->asked++;
	return rig->lost;
}

/* What the handler of SIGBUS does when a page fails. */
static void some_memory_fails(void)
{
	atomic_fetch_add(&vblk_sigbus_failure_count, 1);
}

static void lose(struct rig *rig)
{
	rig->lost = true;
	some_memory_fails();
}

static void lose_in_time(void *context)
{
	struct rig *rig = context;

	if (++rig->calls == rig->lost_in)
		lose(rig);
}

static struct guest *begin(struct rig *rig, const struct guest_options *options)
{
	memset(rig, 0, sizeof(*rig));
	rig->guard = (struct vblk_memory_guard){ is_lost, rig };
	bare_drain_create(&rig->bare, options,
			  disk_create_hooked(DISK_SIZE, FILL, lose_in_time, rig));
	vblk_memory_view_set_guard(&rig->bare.drain.queue.view, &rig->guard);
	return &rig->bare.guest;
}

static unsigned count_lines(const struct guest *g)
{
	unsigned lines = 0;

	for (size_t i = 0; i < g->log_used; i++)
		lines += g->log[i] == '\n';
	return lines;
}

/* Nothing was published, nobody was interrupted, and there is one line, now and later. */
static void expect_cut_off(struct rig *rig, uint16_t used_idx)
{
	struct guest *g = &rig->bare.guest;

	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(g), used_idx);
	expect_interrupts(g, 0, 0);
	assert_false(guest_status(g) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(guest_logged(g, "memory was cut short"));
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	assert_int_equal(count_lines(g), 1);
	assert_true(rig->bare.drain.poisoned);
	assert_false(vblk_lease_hold(&rig->bare.drain.lease));
	assert_int_equal(vblk_drain_next_avail(&rig->bare.drain), used_idx);
	bare_drain_destroy(&rig->bare);
}

static void test_memory_lost_before_a_request_was_read(void **state)
{
	struct rig rig;
	struct guest *g = begin(&rig, NULL);

	(void)state;
	guest_request(g, VIRTIO_BLK_T_OUT, 0, SECTOR);
	lose(&rig);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.calls, 0);
	assert_int_equal(guest_status_byte(g), GUEST_SENTINEL);
	expect_counters(g);
	expect_cut_off(&rig, 0);
}

static void test_memory_lost_before_there_was_a_drain(void **state)
{
	struct rig rig;
	struct guest *g = begin(&rig, NULL);

	(void)state;
	lose(&rig);
	vblk_memory_view_set_guard(&rig.bare.drain.queue.view, &rig.guard);
	guest_request(g, VIRTIO_BLK_T_IN, 0, SECTOR);
	expect_cut_off(&rig, 0);
}

/* An avail.idx of 0 is far behind: that would be the driver's fault, if it were true. */
static void test_nonsense_in_the_ring_is_not_the_drivers_fault(void **state)
{
	struct rig rig;
	struct guest *g = begin(&rig, NULL);

	(void)state;
	guest_request(g, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	guest_take_interrupts(g);
	guest_set_avail_idx(g, 0);
	lose(&rig);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_metrics(g).invalid_avail_idx, 0);
	assert_int_equal(guest_metrics(g).io_errors, 0);
	assert_false(guest_logged(g, "poisoned"));
	bare_drain_destroy(&rig.bare);
}

static void test_memory_lost_while_the_disk_is_read(void **state)
{
	struct rig rig;
	struct guest *g = begin(&rig, NULL);

	(void)state;
	guest_request(g, VIRTIO_BLK_T_IN, 0, SECTOR);
	rig.lost_in = 1;
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.calls, 1);
	assert_int_equal(guest_status_byte(g), GUEST_SENTINEL);
	expect_cut_off(&rig, 0);
}

/* What was answered before stays answered; the interrupt for it is whoever's who comes next. */
static void test_memory_lost_in_the_second_request_of_a_batch(void **state)
{
	struct rig rig;
	struct guest *g = begin(&rig, NULL);

	(void)state;
	guest_request_at(g, 0, VIRTIO_BLK_T_OUT, 0, SECTOR);
	guest_request_at(g, 1, VIRTIO_BLK_T_OUT, 1, SECTOR);
	guest_request_at(g, 2, VIRTIO_BLK_T_OUT, 2, SECTOR);
	rig.lost_in = 2;
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.calls, 2);
	assert_int_equal(guest_slot_status(g, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(guest_slot_status(g, 1), GUEST_SENTINEL);
	assert_true(disk_is_filled(g->backing, 2 * SECTOR, FILL, SECTOR));
	expect_cut_off(&rig, 1);
}

static void note_claim(void *context, uint16_t head)
{
	(void)context;
	(void)head;
}

static void lose_at_the_answer(void *context, uint16_t head)
{
	struct rig *rig = context;

	(void)head;
	rig->journalled++;
	lose(rig);
}

static void test_memory_lost_between_the_answer_and_its_publication(void **state)
{
	static const struct vblk_journal_ops ops = {
		.claim = note_claim,
		.prepare = lose_at_the_answer,
	};
	struct rig rig;
	struct guest *g = begin(&rig, NULL);

	(void)state;
	rig.bare.drain.config.journal = (struct vblk_journal){ &ops, &rig };
	guest_request(g, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.journalled, 1);
	expect_cut_off(&rig, 0);
}

static void test_memory_lost_while_a_request_waits_for_tokens(void **state)
{
	const struct guest_options options = { .device.throttle = { .iops = 1 } };
	struct rig rig;
	struct guest *g = begin(&rig, &options);

	(void)state;
	rig.bare.drain.config.disk->throttle->state.ops.available = 0;
	guest_request(g, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_STALLED);
	expect_counters(g, .throttled = 1, .throttled_now = 1);
	lose(&rig);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	expect_counters(g, .throttled = 1);
	expect_cut_off(&rig, 0);
}

static void test_memory_lost_where_a_ring_goes_on(void **state)
{
	struct rig rig;
	struct vblk_drain_config config;

	(void)state;
	begin(&rig, NULL);
	config = rig.bare.drain.config;
	config.continues = true;
	config.guard = &rig.guard;
	vblk_drain_destroy(&rig.bare.drain);
	vblk_drain_init(&rig.bare.drain, &config);
	lose(&rig);
	expect_cut_off(&rig, 0);
}

static int lose_at_the_start(void *context, uint16_t used_idx, struct vblk_journal_heads *heads)
{
	(void)used_idx;
	(void)heads;
	lose(context);
	return -EBADMSG;
}

/* As for the ring: what it says is nobody's fault. */
static void test_nonsense_in_the_record_is_not_the_front_ends_fault(void **state)
{
	static const struct vblk_journal_ops ops = { .open = lose_at_the_start };
	struct rig rig;
	struct vblk_drain_config config;

	(void)state;
	begin(&rig, NULL);
	config = rig.bare.drain.config;
	config.continues = true;
	config.journal = (struct vblk_journal){ &ops, &rig };
	config.guard = &rig.guard;
	vblk_drain_destroy(&rig.bare.drain);
	vblk_drain_init(&rig.bare.drain, &config);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	expect_counters(&rig.bare.guest);
	expect_cut_off(&rig, 0);
}

static void test_memory_of_others_is_no_concern(void **state)
{
	struct rig rig;
	struct guest *g = begin(&rig, NULL);

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		unsigned asked = rig.asked;

		some_memory_fails();
		guest_request_at(g, 2 * i, VIRTIO_BLK_T_IN, 0, SECTOR);
		guest_request_at(g, 2 * i + 1, VIRTIO_BLK_T_OUT, 0, SECTOR);
		bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
		assert_int_equal(guest_slot_status(g, 2 * i + 1), VIRTIO_BLK_S_OK);
		assert_int_equal(rig.asked, asked + 1);
	}
	assert_int_equal(guest_used_idx(g), 8);
	assert_int_equal(count_lines(g), 0);
	bare_drain_destroy(&rig.bare);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_lost_before_a_request_was_read),
		cmocka_unit_test(test_memory_lost_before_there_was_a_drain),
		cmocka_unit_test(test_nonsense_in_the_ring_is_not_the_drivers_fault),
		cmocka_unit_test(test_memory_lost_while_the_disk_is_read),
		cmocka_unit_test(test_memory_lost_in_the_second_request_of_a_batch),
		cmocka_unit_test(test_memory_lost_between_the_answer_and_its_publication),
		cmocka_unit_test(test_memory_lost_while_a_request_waits_for_tokens),
		cmocka_unit_test(test_memory_lost_where_a_ring_goes_on),
		cmocka_unit_test(test_nonsense_in_the_record_is_not_the_front_ends_fault),
		cmocka_unit_test(test_memory_of_others_is_no_concern),
	};

	return cmocka_run_group_tests_name("drain_lost", tests, NULL, NULL);
}
