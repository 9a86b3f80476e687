/* SPDX-License-Identifier: MIT */
/*
 * What drivers can do with the features beyond the base, by registers and rings: ranges that are
 * discarded or zeroed, a write cache that is turned off, indirect tables. With either engine.
 */
#include "disk.h"
#include "expect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/le.h"

#define DISK_SIZE 65536u /* 128 sectors */
#define SECTOR	  VBLK_SECTOR_SIZE
#define WRITEBACK 32u
#define BIT(n)	  ((uint64_t)1 << (n))
#define MS	  1000000ull

#define VERSION_1 BIT(VIRTIO_F_VERSION_1)
#define FLUSH	  BIT(VIRTIO_BLK_F_FLUSH)
#define WCE	  BIT(VIRTIO_BLK_F_CONFIG_WCE)
#define DISCARD	  BIT(VIRTIO_BLK_F_DISCARD)
#define ZEROES	  BIT(VIRTIO_BLK_F_WRITE_ZEROES)
#define INDIRECT  BIT(VIRTIO_RING_F_INDIRECT_DESC)
#define MOST	  (VERSION_1 | FLUSH | DISCARD | ZEROES)

#define TABLE 0x8000u /* an indirect one */

static const enum vblk_engine_kind engines[] = { VBLK_ENGINE_INLINE, VBLK_ENGINE_WORKER };

static void create(struct guest *g, enum vblk_engine_kind engine,
		   const struct vblk_throttle *throttle)
{
	struct guest_options options = { .device.engine = engine, .all_features = true };

	if (throttle)
		options.device.throttle = *throttle;
	guest_create(g, &options, disk_create_faulty(DISK_SIZE, 0xab, NULL, 0));
}

static void put_range(struct guest *g, unsigned index, uint64_t sector, uint32_t sectors,
		      uint32_t flags)
{
	uint8_t *raw = guest_at(g, GUEST_DATA + 16u * index);

	vblk_le64_put(raw, sector);
	vblk_le32_put(raw + 8, sectors);
	vblk_le32_put(raw + 12, flags);
}

static void offer_ranges(struct guest *g, uint32_t type, uint32_t count)
{
	const struct guest_desc desc[] = {
		{ GUEST_HEADER, 16, 0 },
		{ GUEST_DATA, 16 * count, 0 },
		{ GUEST_STATUS, 1, VRING_DESC_F_WRITE },
	};

	guest_put_header(g, GUEST_HEADER, type, 0);
	*guest_at(g, GUEST_STATUS) = GUEST_SENTINEL;
	guest_offer(g, guest_chain(g, desc, 3));
	guest_kick(g);
}

/* One request with one range; returns its status. It is the guest's `nth`. */
static uint8_t change(struct guest *g, uint32_t type, uint64_t sector, uint32_t sectors,
		      uint16_t nth)
{
	put_range(g, 0, sector, sectors, 0);
	offer_ranges(g, type, 1);
	assert_true(guest_wait_used(g, nth));
	assert_int_equal(guest_used_elem(g, (uint16_t)(nth - 1)).len, 1);
	return guest_status_byte(g);
}

static uint8_t transfer(struct guest *g, uint32_t type, uint32_t length, uint16_t nth)
{
	guest_request(g, type, 0, length);
	guest_kick(g);
	assert_true(guest_wait_used(g, nth));
	return guest_status_byte(g);
}

static void set_write_cache(struct guest *g, uint8_t value)
{
	guest_write_config(g, WRITEBACK, value);
}

static uint64_t syncs(struct guest *g)
{
	return vblk_faulty_calls(g->backing, VBLK_FAULTY_SYNC);
}

/* Rules: D-FEATURES */
static void test_all_features_are_offered(void **state)
{
	const uint64_t base = VERSION_1 | FLUSH | BIT(VIRTIO_RING_F_EVENT_IDX) |
			      BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) |
			      BIT(VIRTIO_BLK_F_BLK_SIZE);
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_INLINE, NULL);
	assert_true(guest_offered(&g) ==
		    (base | INDIRECT | WCE | DISCARD | ZEROES | BIT(VIRTIO_BLK_F_TOPOLOGY)));
	guest_destroy(&g);
}

/* What always fails is not offered. Rules: D-FEATURES */
static void test_a_read_only_disk_offers_no_changes(void **state)
{
	struct guest_options options = {
		.device.engine = VBLK_ENGINE_INLINE,
		.device.read_only = true,
		.all_features = true,
	};
	struct guest g;

	(void)state;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0));
	assert_true((guest_offered(&g) & (DISCARD | ZEROES)) == 0);
	assert_true((guest_offered(&g) & BIT(VIRTIO_BLK_F_RO)) != 0);
	guest_destroy(&g);
}

/* Rules: H-RANGES */
static void test_write_zeroes_of_a_range(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct vblk_metrics_snapshot m;
		struct guest g;

		create(&g, engines[i], NULL);
		guest_start_with(&g, MOST);
		assert_int_equal(change(&g, VIRTIO_BLK_T_WRITE_ZEROES, 2, 3, 1), VIRTIO_BLK_S_OK);
		assert_true(disk_is_filled(g.backing, 0, 0xab, 2 * SECTOR));
		assert_true(disk_is_filled(g.backing, 2 * SECTOR, 0, 3 * SECTOR));
		assert_true(disk_is_filled(g.backing, 5 * SECTOR, 0xab, SECTOR));
		m = guest_metrics(&g);
		assert_int_equal(m.write_zeroes_completed, 1);
		assert_int_equal(m.bytes_zeroed, 3 * SECTOR);
		assert_int_equal(m.discards_completed, 0);
		expect_counters(&g);
		guest_destroy(&g);
	}
}

/* Rules: H-RANGES */
static void test_discard_of_a_range(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct vblk_metrics_snapshot m;
		struct guest g;

		create(&g, engines[i], NULL);
		guest_start_with(&g, MOST);
		assert_int_equal(change(&g, VIRTIO_BLK_T_DISCARD, 8, 8, 1), VIRTIO_BLK_S_OK);
		assert_int_equal(vblk_faulty_calls(g.backing, VBLK_FAULTY_DISCARD), 1);
		assert_true(disk_is_filled(g.backing, 7 * SECTOR, 0xab, SECTOR));
		assert_true(disk_is_filled(g.backing, 16 * SECTOR, 0xab, SECTOR));
		m = guest_metrics(&g);
		assert_int_equal(m.discards_completed, 1);
		assert_int_equal(m.bytes_discarded, 8 * SECTOR);
		assert_int_equal(m.write_zeroes_completed, 0);
		expect_counters(&g);
		guest_destroy(&g);
	}
}

/* Rules: H-RANGES */
static void test_several_ranges_in_one_request(void **state)
{
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_INLINE, NULL);
	guest_start_with(&g, MOST);
	put_range(&g, 0, 0, 1, 0);
	put_range(&g, 1, 10, 2, 1);
	put_range(&g, 2, 127, 1, 0);
	offer_ranges(&g, VIRTIO_BLK_T_WRITE_ZEROES, 3);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_true(disk_is_filled(g.backing, 0, 0, SECTOR));
	assert_true(disk_is_filled(g.backing, SECTOR, 0xab, 9 * SECTOR));
	assert_true(disk_is_filled(g.backing, 10 * SECTOR, 0, 2 * SECTOR));
	assert_true(disk_is_filled(g.backing, 127 * SECTOR, 0, SECTOR));
	assert_int_equal(guest_metrics(&g).bytes_zeroed, 4 * SECTOR);
	guest_destroy(&g);
}

/* The last range is past the end, so the first is not touched. Rules: H-RANGES */
static void test_a_range_past_the_end_spoils_all(void **state)
{
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_INLINE, NULL);
	guest_start_with(&g, MOST);
	put_range(&g, 0, 0, 1, 0);
	put_range(&g, 1, 127, 2, 0);
	offer_ranges(&g, VIRTIO_BLK_T_WRITE_ZEROES, 2);
	expect_answer(&g, VIRTIO_BLK_S_IOERR, 1);
	assert_true(disk_is_filled(g.backing, 0, 0xab, DISK_SIZE));
	assert_int_equal(guest_metrics(&g).write_zeroes_completed, 0);
	expect_counters(&g, .io_errors = 1);
	guest_destroy(&g);
}

/* Rules: N-2, D-FEATURES */
static void test_what_was_not_negotiated_is_unsupp(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct guest g;

		create(&g, engines[i], NULL);
		guest_start_with(&g, MOST & ~(types[i] == VIRTIO_BLK_T_DISCARD ? DISCARD : ZEROES));
		assert_int_equal(change(&g, types[i], 0, 1, 1), VIRTIO_BLK_S_UNSUPP);
		assert_int_equal(change(&g, types[1 - i], 0, 1, 2), VIRTIO_BLK_S_OK);
		expect_counters(&g);
		guest_destroy(&g);
	}
}

/* A new life has the features of its own negotiation. Rules: R-1 */
static void test_features_are_forgotten_by_a_reset(void **state)
{
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_INLINE, NULL);
	guest_start_with(&g, MOST);
	guest_reset(&g);
	guest_start_with(&g, VERSION_1 | FLUSH);
	assert_int_equal(change(&g, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 1), VIRTIO_BLK_S_UNSUPP);
	guest_destroy(&g);
}

/* Zeros are bytes that the disk writes. Rules: T-10 */
static void test_write_zeroes_costs_the_bytes_that_it_zeroes(void **state)
{
	const struct vblk_throttle limits = { .bps = 4 * SECTOR };
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_INLINE, &limits);
	guest_start_with(&g, MOST);
	assert_int_equal(change(&g, VIRTIO_BLK_T_WRITE_ZEROES, 0, 4, 1), VIRTIO_BLK_S_OK);
	put_range(&g, 0, 8, 2, 0);
	offer_ranges(&g, VIRTIO_BLK_T_WRITE_ZEROES, 1);
	expect_answer(&g, GUEST_SENTINEL, 1);
	g.now_ns += 499 * MS;
	guest_run(&g);
	expect_answer(&g, GUEST_SENTINEL, 1);
	g.now_ns += MS;
	guest_run(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 2);
	guest_destroy(&g);
}

/* Rules: T-10 */
static void test_discard_costs_an_operation_and_no_bytes(void **state)
{
	const struct vblk_throttle limits = { .iops = 2, .bps = SECTOR };
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_INLINE, &limits);
	guest_start_with(&g, MOST);
	assert_int_equal(change(&g, VIRTIO_BLK_T_DISCARD, 0, 64, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_IN, SECTOR, 2), VIRTIO_BLK_S_OK);
	put_range(&g, 0, 0, 64, 0);
	offer_ranges(&g, VIRTIO_BLK_T_DISCARD, 1);
	expect_answer(&g, GUEST_SENTINEL, 2);
	assert_int_equal(guest_metrics(&g).throttled_now, 1);
	guest_destroy(&g);
}

static void test_D_WCE_a_cache_that_is_on_is_not_synced(void **state)
{
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_INLINE, NULL);
	guest_start_with(&g, MOST | WCE);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_OUT, SECTOR, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(change(&g, VIRTIO_BLK_T_DISCARD, 0, 1, 2), VIRTIO_BLK_S_OK);
	assert_int_equal(change(&g, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 3), VIRTIO_BLK_S_OK);
	assert_int_equal(syncs(&g), 0);
	guest_destroy(&g);
}

/* From the next request on, in a device that runs. */
static void test_D_WCE_a_cache_that_is_off_makes_each_change_stable(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct guest g;

		create(&g, engines[i], NULL);
		guest_start_with(&g, MOST | WCE);
		set_write_cache(&g, 0);
		assert_int_equal(transfer(&g, VIRTIO_BLK_T_OUT, SECTOR, 1), VIRTIO_BLK_S_OK);
		assert_int_equal(syncs(&g), 1);
		assert_int_equal(change(&g, VIRTIO_BLK_T_DISCARD, 0, 1, 2), VIRTIO_BLK_S_OK);
		assert_int_equal(syncs(&g), 2);
		assert_int_equal(change(&g, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 3), VIRTIO_BLK_S_OK);
		assert_int_equal(syncs(&g), 3);
		assert_int_equal(transfer(&g, VIRTIO_BLK_T_IN, SECTOR, 4), VIRTIO_BLK_S_OK);
		assert_int_equal(syncs(&g), 3);
		set_write_cache(&g, 1);
		assert_int_equal(transfer(&g, VIRTIO_BLK_T_OUT, SECTOR, 5), VIRTIO_BLK_S_OK);
		assert_int_equal(syncs(&g), 3);
		assert_int_equal(guest_metrics(&g).flushes_completed, 0);
		guest_destroy(&g);
	}
}

static void test_D_WCE_a_change_that_cannot_be_made_stable_fails(void **state)
{
	static const struct vblk_faulty_rule broken = FAULT(SYNC, ERROR, .value = EIO);
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_INLINE, NULL);
	guest_start_with(&g, MOST | WCE);
	set_write_cache(&g, 0);
	assert_int_equal(vblk_faulty_set_rules(g.backing, &broken, 1), 0);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_OUT, SECTOR, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(change(&g, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 2), VIRTIO_BLK_S_IOERR);
	assert_int_equal(guest_metrics(&g).write_zeroes_completed, 0);
	expect_counters(&g, .io_errors = 2);
	guest_destroy(&g);
}

static void test_D_WCE_without_flush_writes_go_through_until_told_otherwise(void **state)
{
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_INLINE, NULL);
	guest_start_with(&g, VERSION_1 | WCE);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_OUT, SECTOR, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(syncs(&g), 1);
	set_write_cache(&g, 1);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_OUT, SECTOR, 2), VIRTIO_BLK_S_OK);
	assert_int_equal(syncs(&g), 1);
	guest_destroy(&g);
}

/* Nor is there a byte to turn it off with. */
static void test_D_STABLE_without_flush_and_cache_control_every_change_is_stable(void **state)
{
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_INLINE, NULL);
	guest_start_with(&g, VERSION_1 | ZEROES | DISCARD);
	set_write_cache(&g, 1);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_OUT, SECTOR, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(change(&g, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 2), VIRTIO_BLK_S_OK);
	assert_int_equal(syncs(&g), 2);
	guest_destroy(&g);
}

static void test_D_WCE_the_cache_is_on_again_after_a_reset(void **state)
{
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_WORKER, NULL);
	guest_start_with(&g, MOST | WCE);
	set_write_cache(&g, 0);
	guest_reset(&g);
	guest_start_with(&g, MOST | WCE);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_OUT, SECTOR, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(syncs(&g), 0);
	guest_destroy(&g);
}

/* A read whose chain is one descriptor of the queue. Rules: D-FEATURES, E-2 */
static void test_indirect_table_that_was_negotiated(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t desc;
		struct guest g;

		create(&g, engines[i], NULL);
		assert_true((guest_offered(&g) & INDIRECT) != 0);
		guest_start_with(&g, MOST | INDIRECT);
		guest_put_header(&g, GUEST_HEADER, VIRTIO_BLK_T_IN, 0);
		*guest_at(&g, GUEST_STATUS) = GUEST_SENTINEL;
		desc = g.options.desc;
		g.options.desc = TABLE;
		guest_put_desc(&g, 0, GUEST_HEADER, 16, VRING_DESC_F_NEXT, 1);
		guest_put_desc(&g, 1, GUEST_DATA, SECTOR, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
			       2);
		guest_put_desc(&g, 2, GUEST_STATUS, 1, VRING_DESC_F_WRITE, 0);
		g.options.desc = desc;
		guest_put_desc(&g, 7, TABLE, 3 * 16, VRING_DESC_F_INDIRECT, 0);
		guest_offer(&g, 7);
		guest_kick(&g);
		assert_true(guest_wait_used(&g, 1));
		expect_answer(&g, VIRTIO_BLK_S_OK, 1);
		assert_int_equal(guest_used_elem(&g, 0).id, 7);
		assert_int_equal(guest_used_elem(&g, 0).len, SECTOR + 1);
		assert_true(guest_is_filled(&g, GUEST_DATA, 0xab, SECTOR));
		guest_destroy(&g);
	}
}

/* --- Deviations from the specification that stay --- */

static void test_D_KNOWN_a_queue_that_runs_cannot_be_taken_back(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	create(&g, VBLK_ENGINE_INLINE, NULL);
	guest_start_with(&g, MOST);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_QUEUE_READY), 1);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_IN, SECTOR, 1), VIRTIO_BLK_S_OK);
	guest_destroy(&g);
}

static void test_D_KNOWN_the_used_length_of_an_error_is_1(void **state)
{
	static const struct vblk_faulty_rule cut[] = {
		FAULT(PREADV, SHORT, .value = 100, .count = 1),
		FAULT(PREADV, ERROR, .value = EIO, .first = 2),
	};
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_INLINE, NULL);
	guest_start_with(&g, MOST);
	assert_int_equal(vblk_faulty_set_rules(g.backing, cut, 2), 0);
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_IN, SECTOR, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(guest_used_elem(&g, 0).len, 1);
	guest_destroy(&g);
}

static void test_D_KNOWN_a_reset_fills_the_buckets(void **state)
{
	const struct vblk_throttle limits = { .iops = 1 };
	struct guest g;

	(void)state;
	create(&g, VBLK_ENGINE_INLINE, &limits);
	for (unsigned life = 0; life < 3; life++) {
		guest_start_with(&g, MOST);
		assert_int_equal(transfer(&g, VIRTIO_BLK_T_IN, SECTOR, 1), VIRTIO_BLK_S_OK);
		guest_reset(&g);
	}
	guest_destroy(&g);
}

static void test_D_KNOWN_a_queue_may_change_while_it_is_ready(void **state)
{
	struct guest g;

	(void)state;
	guest_needs_registers();
	create(&g, VBLK_ENGINE_INLINE, NULL);
	guest_negotiate(&g);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x1800);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_USED_LOW, 0x2800);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_READY, 1);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x1000);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_USED_LOW, 0x2000);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_NUM, 4);
	guest_set_status(&g, 0xf);
	g.options.queue_size = 4;
	assert_int_equal(transfer(&g, VIRTIO_BLK_T_IN, SECTOR, 1), VIRTIO_BLK_S_OK);
	guest_set_avail_idx(&g, 6);
	guest_kick(&g);
	assert_int_equal(guest_metrics(&g).invalid_avail_idx, 1);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_features_are_offered),
		cmocka_unit_test(test_a_read_only_disk_offers_no_changes),
		cmocka_unit_test(test_write_zeroes_of_a_range),
		cmocka_unit_test(test_discard_of_a_range),
		cmocka_unit_test(test_several_ranges_in_one_request),
		cmocka_unit_test(test_a_range_past_the_end_spoils_all),
		cmocka_unit_test(test_what_was_not_negotiated_is_unsupp),
		cmocka_unit_test(test_features_are_forgotten_by_a_reset),
		cmocka_unit_test(test_write_zeroes_costs_the_bytes_that_it_zeroes),
		cmocka_unit_test(test_discard_costs_an_operation_and_no_bytes),
		cmocka_unit_test(test_D_WCE_a_cache_that_is_on_is_not_synced),
		cmocka_unit_test(test_D_WCE_a_cache_that_is_off_makes_each_change_stable),
		cmocka_unit_test(test_D_WCE_a_change_that_cannot_be_made_stable_fails),
		cmocka_unit_test(test_D_WCE_without_flush_writes_go_through_until_told_otherwise),
		cmocka_unit_test(
			test_D_STABLE_without_flush_and_cache_control_every_change_is_stable),
		cmocka_unit_test(test_D_WCE_the_cache_is_on_again_after_a_reset),
		cmocka_unit_test(test_indirect_table_that_was_negotiated),
		cmocka_unit_test(test_D_KNOWN_a_queue_that_runs_cannot_be_taken_back),
		cmocka_unit_test(test_D_KNOWN_the_used_length_of_an_error_is_1),
		cmocka_unit_test(test_D_KNOWN_a_reset_fills_the_buckets),
		cmocka_unit_test(test_D_KNOWN_a_queue_may_change_while_it_is_ready),
	};

	return cmocka_run_group_tests_name("device_features", tests, NULL, NULL);
}
