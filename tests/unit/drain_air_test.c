/* SPDX-License-Identifier: MIT */
/*
 * A drain whose calls somebody else makes, in whatever order: what is answered when, and that
 * nothing is lost when the queue is full, poisoned, throttled, stopped or given up meanwhile.
 */
#include "bare_drain.h"
#include "chains.h"
#include "disk.h"
#include "late_aio.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/le.h"
#include "metrics/metrics.h"

#define SECTOR	  VBLK_SECTOR_SIZE
#define DISK_SIZE (64 * SECTOR)
#define FILL	  0xab
#define TABLE	  0x8000u

struct rig {
	struct bare_drain bare;
	struct late_aio *late;
};

static void begin_on(struct rig *rig, const struct guest_options *options,
		     struct vblk_backing *disk)
{
	*rig = (struct rig){ 0 };
	bare_drain_create(&rig->bare, options, disk);
	vblk_air_destroy(rig->bare.drain.config.air);
	rig->late = late_aio_create(rig->bare.guest.backing);
	rig->bare.drain.config.air = late_aio_air(rig->late);
}

static void begin(struct rig *rig)
{
	begin_on(rig, NULL, disk_create(DISK_SIZE, FILL));
}

static void end(struct rig *rig)
{
	rig->late->hold = false;
	vblk_drain_settle(&rig->bare.drain);
	bare_drain_destroy(&rig->bare);
}

static uint16_t used_head(struct rig *rig, unsigned index)
{
	return (uint16_t)guest_used_elem(&rig->bare.guest, (uint16_t)index).id;
}

static void test_what_the_host_can_do_at_once_takes_one_run(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig);
	for (unsigned i = 0; i < 40; i++)
		guest_request_at(&rig.bare.guest, i, VIRTIO_BLK_T_IN, i, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 40);
	for (unsigned i = 0; i < 40; i++)
		assert_true(guest_is_filled(&rig.bare.guest, guest_slot_data(i), FILL, SECTOR));
	/* Sixteen, sixteen, and the rest. */
	assert_int_equal(rig.late->submits, 3);
	end(&rig);
}

static void test_answers_come_in_the_order_of_the_disk(void **state)
{
	uint16_t head[3];
	struct rig rig;

	(void)state;
	begin(&rig);
	rig.late->hold = true;
	for (unsigned i = 0; i < 3; i++)
		head[i] = guest_request_at(&rig.bare.guest, i, VIRTIO_BLK_T_IN, i, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 0);
	late_aio_land(rig.late, 2);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 1);
	late_aio_land(rig.late, 0);
	late_aio_land(rig.late, 0);
	vblk_drain_land(&rig.bare.drain);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 3);
	assert_int_equal(used_head(&rig, 0), head[2]);
	assert_int_equal(used_head(&rig, 1), head[0]);
	assert_int_equal(used_head(&rig, 2), head[1]);
	end(&rig);
}

/* Who looks while they are under way is told of all of them, and of none that is over. */
/* Rules: D-INSPECT */
static void test_what_is_airborne_is_told(void **state)
{
	struct vblk_request_state requests[4];
	struct vblk_queue_state queue = { .requests = requests, .request_room = 4 };
	struct rig rig;

	(void)state;
	begin(&rig);
	rig.late->hold = true;
	for (unsigned i = 0; i < 3; i++)
		guest_request_at(&rig.bare.guest, i, VIRTIO_BLK_T_IN, 10 + i, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	late_aio_land(rig.late, 1);
	vblk_drain_land(&rig.bare.drain);
	rig.bare.guest.now_ns += 5000;
	vblk_drain_inspect_running(&rig.bare.drain, &queue);
	assert_int_equal(queue.request_count, 2);
	assert_false(queue.at_rest);
	assert_int_equal(requests[0].sector, 10);
	assert_int_equal(requests[1].sector, 12);
	assert_int_equal(requests[1].age_ns, 5000);
	queue.request_count = 0;
	rig.late->hold = false;
	vblk_drain_settle(&rig.bare.drain);
	vblk_drain_inspect_running(&rig.bare.drain, &queue);
	assert_int_equal(queue.request_count, 0);
	end(&rig);
}

/* Each descriptor of the ring is a request of its own: a flush, in a table that all share. */
static void offer_flushes(struct guest *g, uint16_t count)
{
	const uint16_t next = VRING_DESC_F_NEXT;
	uint8_t *table = guest_at(g, TABLE);

	guest_put_header(g, GUEST_HEADER, VIRTIO_BLK_T_FLUSH, 0);
	vblk_le64_put(table, GUEST_HEADER);
	vblk_le32_put(table + 8, 16);
	vblk_le16_put(table + 12, next);
	vblk_le16_put(table + 14, 1);
	vblk_le64_put(table + 16, GUEST_STATUS);
	vblk_le32_put(table + 24, 1);
	vblk_le16_put(table + 28, VRING_DESC_F_WRITE);
	for (uint16_t i = 0; i < count; i++) {
		guest_put_desc(g, i, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
		guest_offer(g, i);
	}
}

/* No more are taken than there are flights; each that lands makes room for one. */
static void test_a_full_air_leaves_the_rest_in_the_ring(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig);
	rig.late->hold = true;
	offer_flushes(&rig.bare.guest, VBLK_AIR_MAX + 2);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.late->under_way_count, VBLK_AIR_MAX);
	assert_int_equal(rig.bare.drain.queue.next_avail, VBLK_AIR_MAX);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 0); /* none is answered */
	late_aio_land(rig.late, 7);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.late->under_way_count, VBLK_AIR_MAX);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 1);
	rig.late->hold = false;
	vblk_drain_settle(&rig.bare.drain);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(&rig.bare.guest), VBLK_AIR_MAX + 2);
	end(&rig);
}

static void test_short_results_go_on(void **state)
{
	const struct vblk_faulty_rule rule = FAULT(PREADV, SHORT, .value = 200);
	struct rig rig;

	(void)state;
	begin_on(&rig, NULL, disk_create_faulty(DISK_SIZE, FILL, &rule, 1));
	guest_request_at(&rig.bare.guest, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.late->started, 3);
	assert_int_equal(rig.bare.drain.config.air->bytes, 0); /* it was counted once */
	assert_int_equal(guest_slot_status(&rig.bare.guest, 0), VIRTIO_BLK_S_OK);
	assert_true(guest_is_filled(&rig.bare.guest, guest_slot_data(0), FILL, SECTOR));
	end(&rig);
}

/* Without FLUSH a write is answered when it is stable, and no sooner. */
static void test_a_stable_write_waits_for_its_sync(void **state)
{
	const struct guest_options options = { .no_flush = true };
	struct rig rig;

	(void)state;
	begin_on(&rig, &options, disk_create(DISK_SIZE, FILL));
	rig.late->hold = true;
	guest_request_at(&rig.bare.guest, 0, VIRTIO_BLK_T_OUT, 0, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	late_aio_land(rig.late, 0);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 0);
	assert_int_equal(rig.late->under_way_count, 1);
	assert_int_equal(rig.late->under_way[0]->op, VBLK_CALL_SYNC);
	late_aio_land(rig.late, 0);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 1);
	assert_int_equal(guest_slot_status(&rig.bare.guest, 0), VIRTIO_BLK_S_OK);
	end(&rig);
}

static void expect_all_read(struct rig *rig, unsigned count)
{
	assert_int_equal(guest_used_idx(&rig->bare.guest), count);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(guest_slot_status(&rig->bare.guest, i), VIRTIO_BLK_S_OK);
		assert_true(guest_is_filled(&rig->bare.guest, guest_slot_data(i), FILL, SECTOR));
	}
}

static void test_calls_that_nobody_takes_are_made_here(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig);
	rig.late->refuse = true;
	for (unsigned i = 0; i < 20; i++)
		guest_request_at(&rig.bare.guest, i, VIRTIO_BLK_T_IN, i, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.late->started, 0);
	expect_all_read(&rig, 20);
	end(&rig);
}

static void test_calls_that_were_not_made_are_made_here(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig);
	rig.late->lose = true;
	for (unsigned i = 0; i < 20; i++)
		guest_request_at(&rig.bare.guest, i, VIRTIO_BLK_T_IN, i, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.late->started, 20);
	expect_all_read(&rig, 20);
	end(&rig);
}

/* D-HEAD holds for heads that are airborne; what was taken before the breach is answered. */
static void test_D_HEAD_of_a_request_under_way(void **state)
{
	uint16_t head;
	struct rig rig;

	(void)state;
	begin(&rig);
	rig.late->hold = true;
	head = guest_request_at(&rig.bare.guest, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	guest_offer(&rig.bare.guest, head);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_true(rig.bare.drain.poisoned);
	expect_all_read(&rig, 1);
	end(&rig);
}

/* In strict mode a request without an answer poisons, and then nothing more is published. */
static void test_what_lands_in_a_poisoned_queue_is_not_published(void **state)
{
	const struct guest_options options = {
		.device.on_undeliverable = VBLK_UNDELIVERABLE_NEEDS_RESET,
	};
	const struct guest_desc no_status = { GUEST_HEADER, 16, 0 };
	struct rig rig;

	(void)state;
	begin_on(&rig, &options, disk_create(DISK_SIZE, FILL));
	rig.late->hold = true;
	guest_request_at(&rig.bare.guest, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_offer(&rig.bare.guest, guest_chain(&rig.bare.guest, &no_status, 1));
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_true(rig.bare.drain.poisoned);
	late_aio_land(rig.late, 0);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.late->landed_count, 0);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 0);
	end(&rig);
}

/* A call that is made by the worker may take long: those before it are handed over first. */
static void look_at_disk(void *context)
{
	const struct rig *rig = context;

	assert_int_equal(rig->late->unsent_count, 0);
}

static void test_calls_made_here_hold_back_no_others(void **state)
{
	struct rig rig;

	(void)state;
	begin_on(&rig, NULL, disk_create_hooked(DISK_SIZE, FILL, look_at_disk, &rig));
	rig.late->hold = true;
	rig.late->refuse_after = 9;
	for (unsigned i = 0; i < 10; i++)
		guest_request_at(&rig.bare.guest, i, VIRTIO_BLK_T_IN, i, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.late->under_way_count, 9);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 1);
	end(&rig);
}

/* A stop waits for what is airborne, so that is no more than one long request, or some. */
static void test_few_bytes_are_airborne(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig);
	rig.late->hold = true;
	rig.bare.drain.config.air->bytes = VBLK_AIR_BYTES_MAX - SECTOR;
	for (unsigned i = 0; i < 3; i++)
		guest_request_at(&rig.bare.guest, i, VIRTIO_BLK_T_IN, i, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(rig.late->under_way_count, 1);
	rig.bare.drain.config.air->bytes = SECTOR;
	assert_true(vblk_drain_settle(&rig.bare.drain));
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	(void)vblk_drain_settle(&rig.bare.drain);
	expect_all_read(&rig, 3);
	assert_int_equal(rig.bare.drain.config.air->bytes, 0);
	assert_false(vblk_drain_settle(&rig.bare.drain));
	end(&rig);
}

/* Offers reads, the last of which has no place for its answer: that poisons the queue. */
static void begin_with_a_bad_one(struct rig *rig, unsigned count)
{
	const struct guest_options options = { .device.on_undeliverable =
						       VBLK_UNDELIVERABLE_NEEDS_RESET };
	uint16_t head = 0;

	begin_on(rig, &options, disk_create(DISK_SIZE, FILL));
	for (unsigned i = 0; i < count; i++)
		head = guest_request_at(&rig->bare.guest, i, VIRTIO_BLK_T_IN, i, SECTOR);
	guest_put_desc(&rig->bare.guest, (uint16_t)(head + 2), UNMAPPED, 1, VRING_DESC_F_WRITE, 0);
}

static void test_a_queue_that_a_landing_has_poisoned_is_served_no_more(void **state)
{
	struct rig rig;

	(void)state;
	begin_with_a_bad_one(&rig, VBLK_AIR_BATCH);
	for (unsigned i = 0; i < 4; i++)
		guest_request_at(&rig.bare.guest, VBLK_AIR_BATCH + i, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_true(rig.bare.drain.poisoned);
	assert_int_equal(rig.late->started, VBLK_AIR_BATCH);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), VBLK_AIR_BATCH);
	assert_int_equal(guest_used_idx(&rig.bare.guest), VBLK_AIR_BATCH - 1);
	end(&rig);
}

static void test_what_landed_before_the_queue_was_poisoned_is_announced(void **state)
{
	struct rig rig;

	(void)state;
	begin_with_a_bad_one(&rig, 2);
	rig.late->hold = true;
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	late_aio_land(rig.late, 0);
	late_aio_land(rig.late, 0);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_true(rig.bare.drain.poisoned);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 1);
	assert_true(guest_read32(&rig.bare.guest, VIRTIO_MMIO_INTERRUPT_STATUS) &
		    VIRTIO_MMIO_INT_VRING);
	end(&rig);
}

/* A write is on its way, and will come back as not made. */
static void begin_lost_write(struct rig *rig)
{
	begin(rig);
	rig->late->hold = true;
	rig->late->lose = true;
	guest_request_at(&rig->bare.guest, 0, VIRTIO_BLK_T_OUT, 0, SECTOR);
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
}

static void expect_not_written(struct rig *rig)
{
	(void)vblk_drain_settle(&rig->bare.drain);
	assert_true(disk_is_filled(rig->bare.guest.backing, 0, FILL, SECTOR));
	assert_int_equal(guest_used_idx(&rig->bare.guest), 0);
	end(rig);
}

static void test_calls_that_were_not_made_are_not_made_without_a_lease(void **state)
{
	struct rig rig;

	(void)state;
	begin_lost_write(&rig);
	assert_int_equal(vblk_lease_revoke(&rig.bare.drain.lease), 0);
	expect_not_written(&rig);
}

static bool is_lost(void *context)
{
	(void)context;
	return true;
}

static void test_calls_that_were_not_made_are_not_made_with_memory_that_is_lost(void **state)
{
	const struct vblk_memory_guard guard = { is_lost, NULL };
	struct rig rig;

	(void)state;
	begin_lost_write(&rig);
	vblk_memory_view_set_guard(&rig.bare.drain.queue.view, &guard);
	atomic_fetch_add(&vblk_sigbus_failure_count, 1);
	expect_not_written(&rig);
}

static void test_what_lands_after_the_lease_was_taken_is_not_published(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig);
	rig.late->hold = true;
	guest_request_at(&rig.bare.guest, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(vblk_lease_revoke(&rig.bare.drain.lease), 0);
	vblk_drain_settle(&rig.bare.drain);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 0);
	assert_int_equal(guest_slot_status(&rig.bare.guest, 0), GUEST_SENTINEL);
	end(&rig);
}

/* One waits for tokens; those before it land and are answered all the same. */
static void test_what_is_airborne_lands_while_the_next_waits_for_tokens(void **state)
{
	const struct guest_options options = { .device.throttle = { .iops = 2 } };
	struct rig rig;

	(void)state;
	begin_on(&rig, &options, disk_create(DISK_SIZE, FILL));
	rig.late->hold = true;
	for (unsigned i = 0; i < 3; i++)
		guest_request_at(&rig.bare.guest, i, VIRTIO_BLK_T_IN, i, SECTOR);
	assert_true(bare_drain_run(&rig.bare, VBLK_DRAIN_STALLED) > 0);
	assert_int_equal(rig.late->under_way_count, 2);
	late_aio_land(rig.late, 1);
	late_aio_land(rig.late, 0);
	vblk_drain_land(&rig.bare.drain);
	assert_int_equal(guest_used_idx(&rig.bare.guest), 2);
	assert_true(rig.bare.drain.stalled);
	rig.bare.guest.now_ns += 1000000000ull;
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	late_aio_land(rig.late, 0);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	expect_all_read(&rig, 3);
	end(&rig);
}

static void test_settling_waits_for_all_and_tells_the_driver(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig);
	rig.late->hold = true;
	for (unsigned i = 0; i < 5; i++)
		guest_request_at(&rig.bare.guest, i, VIRTIO_BLK_T_IN, i, SECTOR);
	bare_drain_run(&rig.bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_read32(&rig.bare.guest, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	vblk_drain_settle(&rig.bare.drain);
	assert_int_equal(rig.late->waits, 5);
	assert_int_equal(guest_read32(&rig.bare.guest, VIRTIO_MMIO_INTERRUPT_STATUS),
			 VIRTIO_MMIO_INT_VRING);
	expect_all_read(&rig, 5);
	assert_int_equal(vblk_drain_next_avail(&rig.bare.drain), 5);
	end(&rig);
}

/* Somebody who makes calls, who is gone at some point. */
struct maker {
	struct vblk_aio base;
	bool gone;
	unsigned told;	     /* how often the end was told ... */
	bool gone_when_told; /* ... and whether it was the last that happened */
};

static void maker_goes(struct vblk_aio *aio)
{
	((struct maker *)aio)->gone = true;
}

static void note_end(void *context, const struct vblk_drain *drain)
{
	struct maker *maker = context;

	(void)drain;
	maker->told++;
	maker->gone_when_told = maker->gone;
}

static void lend(struct maker *maker, struct vblk_drain_config *config)
{
	static const struct vblk_aio_ops ops = { .destroy = maker_goes };

	*maker = (struct maker){ .base = { .ops = &ops, .fd = -1 } };
	assert_int_equal(vblk_air_create(&maker->base, &config->air), 0);
	config->ended = note_end;
	config->ended_context = maker;
}

/* There may be no more of them than there are queues, and the next drain is started on the word. */
static void test_who_makes_the_calls_is_given_back_before_the_end_is_told(void **state)
{
	struct vblk_drain_config config = { 0 };
	struct maker maker;
	struct rig rig;

	(void)state;
	begin(&rig);
	vblk_air_destroy(rig.bare.drain.config.air);
	lend(&maker, &rig.bare.drain.config);
	bare_drain_destroy(&rig.bare);
	assert_int_equal(maker.told, 1);
	assert_true(maker.gone_when_told);
	/* Nor where it has not even come to a drain. */
	lend(&maker, &config);
	vblk_drain_discard(&config);
	assert_int_equal(maker.told, 1);
	assert_true(maker.gone_when_told);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_the_host_can_do_at_once_takes_one_run),
		cmocka_unit_test(test_answers_come_in_the_order_of_the_disk),
		cmocka_unit_test(test_what_is_airborne_is_told),
		cmocka_unit_test(test_a_full_air_leaves_the_rest_in_the_ring),
		cmocka_unit_test(test_short_results_go_on),
		cmocka_unit_test(test_a_stable_write_waits_for_its_sync),
		cmocka_unit_test(test_calls_that_nobody_takes_are_made_here),
		cmocka_unit_test(test_calls_that_were_not_made_are_made_here),
		cmocka_unit_test(test_D_HEAD_of_a_request_under_way),
		cmocka_unit_test(test_what_lands_in_a_poisoned_queue_is_not_published),
		cmocka_unit_test(test_calls_made_here_hold_back_no_others),
		cmocka_unit_test(test_few_bytes_are_airborne),
		cmocka_unit_test(test_a_queue_that_a_landing_has_poisoned_is_served_no_more),
		cmocka_unit_test(test_what_landed_before_the_queue_was_poisoned_is_announced),
		cmocka_unit_test(test_calls_that_were_not_made_are_not_made_without_a_lease),
		cmocka_unit_test(
			test_calls_that_were_not_made_are_not_made_with_memory_that_is_lost),
		cmocka_unit_test(test_what_lands_after_the_lease_was_taken_is_not_published),
		cmocka_unit_test(test_what_is_airborne_lands_while_the_next_waits_for_tokens),
		cmocka_unit_test(test_settling_waits_for_all_and_tells_the_driver),
		cmocka_unit_test(test_who_makes_the_calls_is_given_back_before_the_end_is_told),
	};

	return cmocka_run_group_tests_name("drain_air", tests, NULL, NULL);
}
