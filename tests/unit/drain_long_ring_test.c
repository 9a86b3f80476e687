/* SPDX-License-Identifier: MIT */
/* A ring of 1024 entries, more than the register window offers: the longest that is served. */
#include "bare_drain.h"
#include "disk.h"
#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/le.h"

#define DISK_SIZE 4096u

#define LONG_DESC  0x80000u
#define LONG_AVAIL 0x90000u
#define LONG_USED  0xa0000u
#define TABLE	   0x8000u

static const struct guest_options long_ring = {
	.queue_size = VBLK_QUEUE_SIZE_MAX,
	.desc = LONG_DESC,
	.avail = LONG_AVAIL,
	.used = LONG_USED,
};

/* Each descriptor of the ring is a request of its own: a flush, in a table that all share. */
static void fill_table(struct guest *g)
{
	uint8_t *table = guest_at(g, TABLE);

	guest_put_header(g, GUEST_HEADER, VIRTIO_BLK_T_FLUSH, 0);
	vblk_le64_put(table, GUEST_HEADER);
	vblk_le32_put(table + 8, 16);
	vblk_le16_put(table + 12, VRING_DESC_F_NEXT);
	vblk_le16_put(table + 14, 1);
	vblk_le64_put(table + 16, GUEST_STATUS);
	vblk_le32_put(table + 24, 1);
	vblk_le16_put(table + 28, VRING_DESC_F_WRITE);
	for (uint16_t i = 0; i < VBLK_QUEUE_SIZE_MAX; i++)
		guest_put_desc(g, i, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
}

/* Rules: Q-1, D-HOLE-2 */
static void test_a_ring_of_1024_entries_is_served_whole(void **state)
{
	struct bare_drain bare;
	struct guest *g = &bare.guest;

	(void)state;
	bare_drain_create(&bare, &long_ring, disk_create(DISK_SIZE, 0));
	fill_table(g);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < VBLK_QUEUE_SIZE_MAX; i++)
			guest_offer(g, (uint16_t)(VBLK_QUEUE_SIZE_MAX - 1 - i));
		(void)bare_drain_run(&bare, VBLK_DRAIN_DONE);
		assert_int_equal(guest_used_idx(g), VBLK_QUEUE_SIZE_MAX * (round + 1));
		for (uint16_t i = 0; i < VBLK_QUEUE_SIZE_MAX; i++)
			assert_int_equal(guest_used_elem(g, i).id, VBLK_QUEUE_SIZE_MAX - 1 - i);
	}
	expect_counters(g, .flushes_completed = 2 * VBLK_QUEUE_SIZE_MAX);
	bare_drain_destroy(&bare);
}

/* Rules: Q-6 */
static void test_a_ring_of_1024_entries_cannot_be_overfilled(void **state)
{
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, &long_ring, disk_create(DISK_SIZE, 0));
	guest_set_avail_idx(&bare.guest, VBLK_QUEUE_SIZE_MAX + 1);
	(void)bare_drain_run(&bare, VBLK_DRAIN_DONE);
	expect_counters(&bare.guest, .invalid_avail_idx = 1);
	bare_drain_destroy(&bare);
}

/* A record in which all of the ring is in flight, the last first. */
static int open_record(void *context, uint16_t used_idx, struct vblk_journal_heads *heads)
{
	(void)context;
	assert_int_equal(used_idx, 0);
	heads->count = VBLK_QUEUE_SIZE_MAX;
	for (uint16_t i = 0; i < VBLK_QUEUE_SIZE_MAX; i++)
		heads->head[i] = (uint16_t)(VBLK_QUEUE_SIZE_MAX - 1 - i);
	return 0;
}

static void claim_nothing(void *context, uint16_t head)
{
	(void)context;
	fail_msg("head %u is claimed a second time", head);
}

static void note_prepare(void *context, uint16_t head)
{
	(void)head;
	(*(unsigned *)context)++;
}

static void note_commit(void *context, uint16_t head, uint16_t used_idx)
{
	(void)head;
	assert_int_equal(used_idx, *(unsigned *)context);
}

/* Rules: D-JOURNAL */
static void test_all_of_a_ring_of_1024_entries_was_in_flight(void **state)
{
	static const struct vblk_journal_ops ops = {
		.open = open_record,
		.claim = claim_nothing,
		.prepare = note_prepare,
		.commit = note_commit,
	};
	struct vblk_drain_config config;
	struct bare_drain bare;
	struct guest *g = &bare.guest;
	unsigned published = 0;

	(void)state;
	bare_drain_create(&bare, &long_ring, disk_create(DISK_SIZE, 0));
	fill_table(g);
	for (uint16_t i = 0; i < VBLK_QUEUE_SIZE_MAX; i++)
		guest_offer(g, i);
	config = bare.drain.config;
	config.continues = true;
	config.journal = (struct vblk_journal){ &ops, &published };
	vblk_drain_destroy(&bare.drain);
	vblk_drain_init(&bare.drain, &config);
	(void)bare_drain_run(&bare, VBLK_DRAIN_DONE);
	assert_int_equal(published, VBLK_QUEUE_SIZE_MAX);
	assert_int_equal(guest_used_idx(g), VBLK_QUEUE_SIZE_MAX);
	assert_int_equal(vblk_drain_next_avail(&bare.drain), VBLK_QUEUE_SIZE_MAX);
	for (uint16_t i = 0; i < VBLK_QUEUE_SIZE_MAX; i++)
		assert_int_equal(guest_used_elem(g, i).id, VBLK_QUEUE_SIZE_MAX - 1 - i);
	bare_drain_destroy(&bare);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_ring_of_1024_entries_is_served_whole),
		cmocka_unit_test(test_a_ring_of_1024_entries_cannot_be_overfilled),
		cmocka_unit_test(test_all_of_a_ring_of_1024_entries_was_in_flight),
	};

	return cmocka_run_group_tests_name("drain_long_ring", tests, NULL, NULL);
}
