/* SPDX-License-Identifier: MIT */
/*
 * A driver on another thread, at the moments when the order of accesses decides (section 13 of the
 * contract). A device that orders its accesses wrongly fails these with great likelihood, not with
 * certainty; one that orders them rightly never does.
 */
#include "ram.h"

#include <endian.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>
#include <linux/virtio_ring.h>

#define SIZE	    16u
#define AVAIL	    0x1000u
#define USED	    0x2000u
#define USED_EVENT  (AVAIL + 4 + 2 * SIZE)
#define AVAIL_EVENT (USED + 4 + 8 * SIZE)
#define ROUNDS	    60000u

struct race {
	struct ram ram;
	struct vblk_queue queue;
	bool event_idx;
	void *(*driver)(void *race);
	pthread_t thread;
	atomic_uint round; /* the other side may begin with it */
	atomic_uint done;  /* it has ended it */
	bool seen;	   /* what it saw, for the device to look at when it is done */
};

static uint16_t load(const struct race *race, uint64_t address)
{
	return le16toh(
		__atomic_load_n((uint16_t *)(void *)ram_at(&race->ram, address), __ATOMIC_ACQUIRE));
}

static void store(const struct race *race, uint64_t address, uint16_t value)
{
	__atomic_store_n((uint16_t *)(void *)ram_at(&race->ram, address), htole16(value),
			 __ATOMIC_RELEASE);
}

static void queue_start(struct race *race)
{
	const struct vblk_queue_layout layout = { SIZE, true, 0, AVAIL, USED };

	vblk_queue_start(&race->queue, &layout, race->event_idx, race->ram.memory);
}

static void race_start(struct race *race, bool event_idx, void *(*driver)(void *race))
{
	ram_create(&race->ram, { 0, 0x4000 });
	race->event_idx = event_idx;
	queue_start(race);
	atomic_init(&race->round, 0);
	atomic_init(&race->done, 0);
	assert_int_equal(pthread_create(&race->thread, NULL, driver, race), 0);
}

static void race_end(struct race *race)
{
	pthread_join(race->thread, NULL);
	ram_destroy(&race->ram);
}

/* Spins a while, and then lets others have the processor: there may be only one. */
static void wait_for(const atomic_uint *value, unsigned want)
{
	for (unsigned spins = 0; atomic_load(value) != want; spins++) {
		if (spins > 1000)
			sched_yield();
	}
}

/* A different delay in each round, so that the two meet in all ways. */
static void hesitate(unsigned round)
{
	for (unsigned i = 0; i < round % 211; i++)
		atomic_signal_fence(memory_order_seq_cst);
}

/* Makes a chain available, then looks whether it should notify (specification 2.7.13). */
static void *make_available(void *context)
{
	struct race *race = context;

	for (unsigned round = 1; round <= ROUNDS; round++) {
		wait_for(&race->round, round);
		store(race, AVAIL + 2, 1);
		atomic_thread_fence(memory_order_seq_cst);
		if (race->event_idx)
			race->seen = load(race, AVAIL_EVENT) == 0;
		else
			race->seen = !(load(race, USED) & VRING_USED_F_NO_NOTIFY);
		atomic_store(&race->done, round);
	}
	return NULL;
}

/* O-2: either the device finds the chain, or the driver sees that it should notify. */
static void check_rearm(bool event_idx)
{
	struct race race;
	unsigned lost = 0;

	race_start(&race, event_idx, make_available);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		int more;

		queue_start(&race);
		store(&race, AVAIL + 2, 0);
		store(&race, USED, VRING_USED_F_NO_NOTIFY);
		store(&race, AVAIL_EVENT, 0xffff);
		atomic_store(&race.round, round);
		hesitate(round);
		more = vblk_queue_enable_notifications(&race.queue);
		wait_for(&race.done, round);
		lost += more != 1 && !race.seen;
	}
	race_end(&race);
	assert_int_equal(lost, 0);
}

static void test_O2_rearm_by_flags(void **state)
{
	(void)state;
	check_rearm(false);
}

static void test_O2_rearm_by_avail_event(void **state)
{
	(void)state;
	check_rearm(true);
}

/* Asks for an interrupt, then looks whether there is anything already (specification 2.7.14). */
static void *ask_for_interrupt(void *context)
{
	struct race *race = context;

	for (unsigned round = 1; round <= ROUNDS; round++) {
		wait_for(&race->round, round);
		store(race, USED_EVENT, 0);
		atomic_thread_fence(memory_order_seq_cst);
		race->seen = load(race, USED + 2) == 1;
		atomic_store(&race->done, round);
	}
	return NULL;
}

/* O-1: either the driver finds the used element, or the device knows that it wants an interrupt. */
static void test_O1_interrupt_or_used_index(void **state)
{
	struct race race;
	unsigned lost = 0;

	(void)state;
	race_start(&race, true, ask_for_interrupt);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		int pushed, interrupt;

		queue_start(&race);
		store(&race, USED + 2, 0);
		store(&race, USED_EVENT, 0x8000);
		atomic_store(&race.round, round);
		hesitate(round);
		pushed = vblk_queue_push(&race.queue, 0, 1);
		interrupt = vblk_queue_needs_interrupt(&race.queue);
		wait_for(&race.done, round);
		lost += pushed != 0 || (interrupt != 1 && !race.seen);
	}
	race_end(&race);
	assert_int_equal(lost, 0);
}

/* Watches the used ring: whatever the index promises must be there. Lengths only grow. */
static void *watch_used(void *context)
{
	struct race *race = context;
	unsigned seen = 0;

	race->seen = true;
	atomic_store(&race->round, 1);
	while (seen < ROUNDS) {
		const void *length;

		seen = load(race, USED + 2);
		if (seen == 0)
			continue;
		length = ram_at(&race->ram, USED + 4 + 8 * ((seen - 1) % SIZE) + 4);
		if (le32toh(__atomic_load_n((const uint32_t *)length, __ATOMIC_RELAXED)) < seen)
			race->seen = false;
	}
	return NULL;
}

static void test_O1_used_element_precedes_its_index(void **state)
{
	struct race race;
	unsigned failed = 0;

	(void)state;
	race_start(&race, false, watch_used);
	wait_for(&race.round, 1);
	for (uint32_t i = 0; i < ROUNDS; i++)
		failed += vblk_queue_push(&race.queue, i % SIZE, i + 1) != 0;
	pthread_join(race.thread, NULL);
	ram_destroy(&race.ram);
	assert_int_equal(failed, 0);
	assert_true(race.seen);
}

/* Makes heads available that say which they are; waits where the ring is full. */
static void *offer_heads(void *context)
{
	struct race *race = context;

	for (unsigned i = 0; i < ROUNDS; i++) {
		while (i - atomic_load(&race->done) >= SIZE)
			sched_yield();
		store(race, AVAIL + 4 + 2 * (i % SIZE), (uint16_t)(SIZE + i));
		store(race, AVAIL + 2, (uint16_t)(i + 1));
	}
	return NULL;
}

/* O-3: what the index promises is in the ring. Heads beyond the table are handed on as they are. */
static void test_O3_available_element_follows_its_index(void **state)
{
	struct race race;
	unsigned wrong = 0;

	(void)state;
	race_start(&race, false, offer_heads);
	for (unsigned i = 0; i < ROUNDS;) {
		uint16_t head = 0;
		int ret = vblk_queue_pop(&race.queue, &head);

		if (ret == 0) {
			sched_yield();
			continue;
		}
		wrong += ret != 1 || head != SIZE + i;
		atomic_store(&race.done, ++i);
	}
	race_end(&race);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_O2_rearm_by_flags),
		cmocka_unit_test(test_O2_rearm_by_avail_event),
		cmocka_unit_test(test_O1_interrupt_or_used_index),
		cmocka_unit_test(test_O1_used_element_precedes_its_index),
		cmocka_unit_test(test_O3_available_element_follows_its_index),
	};

	return cmocka_run_group_tests_name("queue_race", tests, NULL, NULL);
}
