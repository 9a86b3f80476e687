/* SPDX-License-Identifier: MIT */
/*
 * Chains that cannot be answered, because they have no place for a status byte or the used ring
 * has none for them; and how far a chain is walked. With the option for it, the queue is poisoned
 * instead, so that the driver need not wait for ever.
 */
#include "chains.h"
#include "disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static void start_with(struct guest *g, const struct guest_options *options)
{
	guest_create(g, options, disk_create(DISK_SIZE, 0xab));
	guest_start(g);
}

static void start(struct guest *g)
{
	start_with(g, &inline_options);
}

static void test_16_5_1_chain_of_131_descriptors_is_dropped(void **state)
{
	struct guest_desc desc[132] = { HEADER };

	(void)state;
	for (size_t count = 130; count <= 132; count++) {
		struct guest g;

		for (size_t i = 1; i < count - 1; i++)
			desc[i] = (struct guest_desc){ GUEST_DATA, SECTOR, W };
		desc[count - 1] = (struct guest_desc)STATUS;
		guest_create(&g, &inline_options, disk_create(128 * SECTOR, 0xab));
		guest_start(&g);
		offer_chain(&g, VIRTIO_BLK_T_IN, desc, count);
		if (count == 130)
			expect_answer(&g, VIRTIO_BLK_S_OK, 1);
		else
			expect_dropped(&g);
		guest_destroy(&g);
	}
}

/* Rules: D-13 */
static void test_16_3_12_status_that_is_not_writable_is_dropped(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { GUEST_DATA, SECTOR, W }, { GUEST_STATUS, 1, 0 });
	expect_dropped(&g);
	guest_destroy(&g);
}

static void test_gate_2_single_descriptor_is_dropped(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, STATUS);
	expect_dropped(&g);
	guest_destroy(&g);
}

static void test_gate_2_empty_status_is_dropped(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, HEADER, { GUEST_STATUS, 0, W });
	expect_dropped(&g);
	guest_destroy(&g);
}

static void test_gate_2_status_past_the_end_of_addresses_is_dropped(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, HEADER, { UINT64_MAX, 2, W });
	expect_dropped(&g);
	guest_destroy(&g);
}

static void test_Q8_head_outside_the_table_is_dropped(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	*guest_at(&g, GUEST_STATUS) = GUEST_SENTINEL;
	guest_offer(&g, 256);
	guest_kick(&g);
	expect_dropped(&g);
	guest_destroy(&g);
}

/* the last descriptor points outside the table; what was walked has no writable end. */
static void test_Q10_truncated_walk_is_judged_by_what_it_yielded(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_put_header(&g, GUEST_HEADER, VIRTIO_BLK_T_FLUSH, 0);
	*guest_at(&g, GUEST_STATUS) = GUEST_SENTINEL;
	guest_put_desc(&g, 0, GUEST_HEADER, 16, VRING_DESC_F_NEXT, 1);
	guest_put_desc(&g, 1, GUEST_STATUS, 1, W | VRING_DESC_F_NEXT, 256);
	guest_offer(&g, 0);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	guest_destroy(&g);
}

static void test_Q9_cycle_ends_and_is_dropped(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	*guest_at(&g, GUEST_STATUS) = GUEST_SENTINEL;
	guest_put_desc(&g, 0, GUEST_HEADER, 16, VRING_DESC_F_NEXT, 1);
	guest_put_desc(&g, 1, GUEST_STATUS, 1, W | VRING_DESC_F_NEXT, 0);
	guest_offer(&g, 0);
	guest_kick(&g);
	g.next_desc = 2;
	expect_dropped(&g);
	guest_destroy(&g);
}

/* E-2: not offered, and followed all the same. Rules: E-2 */
static void test_Q9_indirect_table_is_followed(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	guest_put_header(&g, GUEST_HEADER, VIRTIO_BLK_T_IN, 0);
	*guest_at(&g, GUEST_STATUS) = GUEST_SENTINEL;
	guest_put_desc(&g, 200, GUEST_HEADER, 16, VRING_DESC_F_NEXT, 1);
	guest_put_desc(&g, 201, GUEST_DATA, SECTOR, W | VRING_DESC_F_NEXT, 2);
	guest_put_desc(&g, 202, GUEST_STATUS, 1, W, 0);
	guest_put_desc(&g, 0, 16 * 200, 3 * 16, VRING_DESC_F_INDIRECT, 0);
	guest_offer(&g, 0);
	guest_kick(&g);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_true(guest_is_filled(&g, GUEST_DATA, 0xab, SECTOR));
	assert_int_equal(guest_used_elem(&g, 0).id, 0);
	guest_destroy(&g);
}

static void test_16_5_11_status_is_the_last_byte_of_its_descriptor(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	memcpy(guest_at(&g, GUEST_STATUS + 8), "\xaa\xbb\xcc\xdd", 4);
	OFFER(&g, VIRTIO_BLK_T_GET_ID, HEADER, { GUEST_DATA, 20, W }, { GUEST_STATUS + 8, 4, W });
	assert_memory_equal(guest_at(&g, GUEST_STATUS + 8), "\xaa\xbb\xcc\x00", 4);
	assert_int_equal(guest_used_idx(&g), 1);
	guest_destroy(&g);
}

/* Rules: V-9 */
static void test_16_5_8_16_4_14_status_outside_memory_is_not_published(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_GET_ID, HEADER, { GUEST_DATA, 20, W }, { UNMAPPED, 1, W });
	expect_dropped(&g);
	guest_destroy(&g);
}

/*
 * P-1: a bad request with a bad status counts both. Counters move before publishing (N-2).
 * Rules: V-7, N-2
 */
static void test_P1_errors_of_request_and_of_publishing_add_up(void **state)
{
	struct guest g;

	(void)state;
	start(&g);
	OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { GUEST_DATA, 513, W }, { UNMAPPED, 1, W });
	expect_counters(&g, .io_errors = 2);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, HEADER, { UNMAPPED, 1, W });
	expect_counters(&g, .io_errors = 3, .flushes_completed = 1);
	assert_int_equal(guest_used_idx(&g), 0);
	guest_destroy(&g);
}

/* All of the used ring but its first six bytes is in a hole. */
static void test_P1_used_ring_outside_memory_is_an_error(void **state)
{
	static const struct guest_region regions[] = { { 0, 0x20000 } };
	struct guest_options options = inline_options;
	struct guest g;

	(void)state;
	guest_needs_registers();
	options.regions = regions;
	options.region_count = 1;
	options.used = 0x20000 - 4;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0));
	guest_start(&g);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, HEADER, STATUS);
	expect_answer(&g, VIRTIO_BLK_S_OK, 0);
	expect_counters(&g, .flushes_completed = 1, .io_errors = 1);
	expect_interrupts(&g, 0, 0);
	assert_true(guest_logged(&g, "cannot publish in the used ring"));
	guest_destroy(&g);
}

static struct guest_options strict(void)
{
	struct guest_options options = inline_options;

	options.device.on_undeliverable = VBLK_UNDELIVERABLE_NEEDS_RESET;
	return options;
}

static void expect_poisoned(struct guest *g, uint64_t io_errors)
{
	assert_int_equal(guest_status(g), 0x4f);
	assert_int_equal(guest_used_idx(g), 0);
	assert_int_equal(guest_metrics(g).io_errors, io_errors);
	expect_interrupts(g, 1, VIRTIO_MMIO_INT_CONFIG);
	guest_request(g, VIRTIO_BLK_T_GET_ID, 0, 20);
	guest_kick(g);
	expect_answer(g, GUEST_SENTINEL, 0);
}

static void test_D_STRICT_chain_without_status_needs_reset(void **state)
{
	const struct guest_options options = strict();
	struct guest g;

	(void)state;
	start_with(&g, &options);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, HEADER, { GUEST_STATUS, 1, 0 });
	expect_poisoned(&g, 1);
	guest_destroy(&g);
}

static void test_D_STRICT_head_outside_the_table_needs_reset(void **state)
{
	const struct guest_options options = strict();
	struct guest g;

	(void)state;
	start_with(&g, &options);
	guest_offer(&g, 256);
	guest_kick(&g);
	expect_poisoned(&g, 1);
	guest_destroy(&g);
}

static void test_D_STRICT_status_outside_memory_needs_reset(void **state)
{
	const struct guest_options options = strict();
	struct guest g;

	(void)state;
	start_with(&g, &options);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, HEADER, { UNMAPPED, 1, W });
	expect_poisoned(&g, 1);
	guest_destroy(&g);
}

/* "No request of any shape is ever left without an answer": the ring may be what is missing. */
static void test_D_STRICT_used_ring_outside_memory_needs_reset(void **state)
{
	static const struct guest_region regions[] = { { 0, 0x20000 } };
	struct guest_options options = strict();
	struct guest g;

	(void)state;
	guest_needs_registers();
	options.regions = regions;
	options.region_count = 1;
	options.used = 0x20000 - 4;
	start_with(&g, &options);
	OFFER(&g, VIRTIO_BLK_T_FLUSH, HEADER, STATUS);
	assert_int_equal(guest_status(&g), 0x4f);
	expect_interrupts(&g, 1, VIRTIO_MMIO_INT_CONFIG);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_16_5_1_chain_of_131_descriptors_is_dropped),
		cmocka_unit_test(test_16_3_12_status_that_is_not_writable_is_dropped),
		cmocka_unit_test(test_gate_2_single_descriptor_is_dropped),
		cmocka_unit_test(test_gate_2_empty_status_is_dropped),
		cmocka_unit_test(test_gate_2_status_past_the_end_of_addresses_is_dropped),
		cmocka_unit_test(test_Q8_head_outside_the_table_is_dropped),
		cmocka_unit_test(test_Q10_truncated_walk_is_judged_by_what_it_yielded),
		cmocka_unit_test(test_Q9_cycle_ends_and_is_dropped),
		cmocka_unit_test(test_Q9_indirect_table_is_followed),
		cmocka_unit_test(test_16_5_11_status_is_the_last_byte_of_its_descriptor),
		cmocka_unit_test(test_16_5_8_16_4_14_status_outside_memory_is_not_published),
		cmocka_unit_test(test_P1_errors_of_request_and_of_publishing_add_up),
		cmocka_unit_test(test_P1_used_ring_outside_memory_is_an_error),
		cmocka_unit_test(test_D_STRICT_chain_without_status_needs_reset),
		cmocka_unit_test(test_D_STRICT_head_outside_the_table_needs_reset),
		cmocka_unit_test(test_D_STRICT_status_outside_memory_needs_reset),
		cmocka_unit_test(test_D_STRICT_used_ring_outside_memory_needs_reset),
	};

	return cmocka_run_group_tests_name("drain_drop", tests, NULL, NULL);
}
