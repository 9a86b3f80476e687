/* SPDX-License-Identifier: MIT */
/*
 * Walking descriptor chains, direct and indirect, well formed and not. Names begin with the rule
 * of the contract (section 5.3).
 */
#include "request/chain.h"

#include "ram.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <linux/virtio_ring.h>

#include "base/checked.h"

#define NEXT	 VRING_DESC_F_NEXT
#define WRITE	 VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

#define TABLE  0x1000u	/* of the queue: room for 256 */
#define TABLE2 0x10000u /* an indirect one */
#define MANY   (VBLK_CHAIN_MAX + 1)

/* Addresses of descriptors are never followed here, so they serve as names. */
static void put(const struct ram *ram, uint64_t table, uint32_t index, uint64_t name,
		uint16_t flags, uint16_t next)
{
	ram_put_desc(ram, table, index, (struct vblk_desc){ name, 1, flags, next });
}

/* Names `first`, `first` + 1 and so on in the first `count` descriptors, linked in that order. */
static void put_row(const struct ram *ram, uint64_t table, uint32_t count, uint64_t first)
{
	for (uint32_t i = 0; i < count; i++)
		put(ram, table, i, first + i, i + 1 < count ? NEXT : 0, (uint16_t)(i + 1));
}

static struct vblk_chain walk(struct ram *ram, uint64_t table, uint16_t size, uint16_t head)
{
	struct vblk_chain chain;
	struct vblk_table opened;

	for (size_t i = 0; i < sizeof(chain); i++)
		((uint8_t *)&chain)[i] = 0xee;
	vblk_table_open(&opened, &ram->view, table, size);
	vblk_chain_walk(&chain, &ram->view, &opened, head);
	assert_int_equal(chain.head, head);
	return chain;
}

/* Expects a chain of these names. */
#define expect_names(chain, ...)                                    \
	expect_names_at((chain), (const uint64_t[]){ __VA_ARGS__ }, \
			sizeof((const uint64_t[]){ __VA_ARGS__ }) / 8, __LINE__)

static void expect_names_at(const struct vblk_chain *chain, const uint64_t *names, size_t count,
			    int line)
{
	if (chain->count != count)
		fail_msg("line %d: %u descriptors, expected %zu", line, chain->count, count);
	for (size_t i = 0; i < count; i++) {
		if (chain->desc[i].addr != names[i])
			fail_msg("line %d: descriptor %zu is %#llx", line, i,
				 (unsigned long long)chain->desc[i].addr);
	}
}

static void setup_ram(struct ram *ram)
{
	ram_create(ram, { TABLE, 0x1000 }, { TABLE2, 0x1000 });
}

static void test_Q9_follows_next_in_any_order(void **state)
{
	struct vblk_chain chain;
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	put(&ram, TABLE, 9, 0xa, NEXT, 2);
	put(&ram, TABLE, 2, 0xb, NEXT | WRITE, 15);
	put(&ram, TABLE, 15, 0xc, NEXT, 0);
	put(&ram, TABLE, 0, 0xd, WRITE, 9); /* a next without NEXT is nothing */
	chain = walk(&ram, TABLE, 16, 9);
	expect_names(&chain, 0xa, 0xb, 0xc, 0xd);
	ram_destroy(&ram);
}

static void test_Q9_D_SNAPSHOT_every_field_is_copied(void **state)
{
	const struct vblk_desc want = { 0x123456789abcdef0, 0x87654321, 0x8000 | WRITE, 0x7777 };
	struct vblk_chain chain;
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	ram_put_desc(&ram, TABLE, 3, want);
	chain = walk(&ram, TABLE, 16, 3);
	ram_fill(&ram, TABLE, 0, 0x1000);
	assert_int_equal(chain.count, 1);
	assert_int_equal(chain.desc[0].addr, want.addr);
	assert_int_equal(chain.desc[0].len, want.len);
	assert_int_equal(chain.desc[0].flags, want.flags);
	assert_int_equal(chain.desc[0].next, want.next);
	ram_destroy(&ram);
}

/* The memory behind the table holds descriptors too, which are none of ours. */
static void test_Q8_head_out_of_range_is_an_empty_chain(void **state)
{
	static const uint16_t heads[] = { 16, 17, 100, 256, 0xffff };
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	put_row(&ram, TABLE, 256, 0x1);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(heads); i++)
		assert_int_equal(walk(&ram, TABLE, 16, heads[i]).count, 0);
	ram_destroy(&ram);
}

static void test_Q9_next_out_of_range_ends_the_walk(void **state)
{
	static const uint16_t nexts[] = { 16, 17, 255, 256, 0xffff };
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	put_row(&ram, TABLE, 256, 0x1);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(nexts); i++) {
		struct vblk_chain chain;

		put(&ram, TABLE, 5, 0xa, NEXT, 7);
		put(&ram, TABLE, 7, 0xb, NEXT, nexts[i]);
		chain = walk(&ram, TABLE, 16, 5);
		expect_names(&chain, 0xa, 0xb);
	}
	ram_destroy(&ram);
}

static void test_Q9_cycles_end_by_the_budget(void **state)
{
	(void)state;
	for (unsigned size = 1; size <= 256; size *= 2) {
		unsigned want = size <= VBLK_CHAIN_MAX ? size : MANY;
		uint16_t last = (uint16_t)(size - 1);
		struct ram ram;

		setup_ram(&ram);
		/* A descriptor that is its own next. */
		put(&ram, TABLE, last, 0xa, NEXT, last);
		assert_int_equal(walk(&ram, TABLE, (uint16_t)size, last).count, want);
		/* All of them in a ring, entered anywhere. */
		for (unsigned i = 0; i < size; i++)
			put(&ram, TABLE, i, i, NEXT, (uint16_t)((i + 1) % size));
		for (unsigned i = 0; i < size; i++)
			assert_int_equal(walk(&ram, TABLE, (uint16_t)size, (uint16_t)i).count,
					 want);
		ram_destroy(&ram);
	}
}

static void test_gate_1_chain_is_counted_to_one_beyond_the_cap(void **state)
{
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	for (unsigned count = 1; count <= 256; count++) {
		struct vblk_chain chain;

		put_row(&ram, TABLE, count, 0x100);
		chain = walk(&ram, TABLE, 256, 0);
		assert_int_equal(chain.count, count <= VBLK_CHAIN_MAX ? count : MANY);
		for (unsigned i = 0; i < count && i < VBLK_CHAIN_MAX; i++)
			assert_int_equal(chain.desc[i].addr, 0x100 + i);
	}
	ram_destroy(&ram);
}

/* What would be the 131st descriptor does not count if it cannot be read. */
static void test_Q10_cut_right_behind_the_cap(void **state)
{
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0x2000 - 16 * VBLK_CHAIN_MAX, 16 * VBLK_CHAIN_MAX });
	put_row(&ram, 0x2000 - 16 * VBLK_CHAIN_MAX, VBLK_CHAIN_MAX, 0x1);
	put(&ram, 0x2000 - 16 * VBLK_CHAIN_MAX, VBLK_CHAIN_MAX - 1, 0x9, NEXT, VBLK_CHAIN_MAX);
	assert_int_equal(walk(&ram, 0x2000 - 16 * VBLK_CHAIN_MAX, 256, 0).count, VBLK_CHAIN_MAX);
	ram_destroy(&ram);
}

static void test_Q9_unreadable_descriptor_ends_the_walk(void **state)
{
	struct vblk_chain chain;
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0x1000, 0x40 }, { 0x1050, 0x40 });
	put(&ram, 0x1000, 0, 0xa, NEXT, 5);
	put(&ram, 0x1000, 5, 0xb, NEXT, 4); /* in the hole */
	chain = walk(&ram, 0x1000, 16, 0);
	expect_names(&chain, 0xa, 0xb);
	assert_int_equal(walk(&ram, 0x1000, 16, 4).count, 0);
	assert_int_equal(walk(&ram, 0x8000, 16, 0).count, 0);
	ram_destroy(&ram);
}

/* A table at the end of the address space does not go on at 0. */
static void test_Q9_table_does_not_wrap(void **state)
{
	struct vblk_chain chain;
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0, 0x1000 }, { UINT64_MAX - 15, 16 });
	put_row(&ram, 0, 16, 0x1);
	put(&ram, UINT64_MAX - 15, 0, 0xa, NEXT, 1);
	chain = walk(&ram, UINT64_MAX - 15, 16, 0);
	expect_names(&chain, 0xa);
	assert_int_equal(walk(&ram, UINT64_MAX - 15, 16, 1).count, 0);
	ram_destroy(&ram);
}

static void test_Q9_lengths_add_up_to_4_gib_less_one(void **state)
{
	static const struct {
		uint32_t len[4];
		uint16_t want;
	} cases[] = {
		{ { 0xffffffff, 0, 0, 0 }, 4 },		 { { 0xffffffff, 1, 0, 0 }, 1 },
		{ { 0xffffffff, 0, 0xffffffff, 0 }, 2 }, { { 0x80000000, 0x7fffffff, 0, 0 }, 4 },
		{ { 0x80000000, 0x80000000, 0, 0 }, 1 }, { { 0x80000000, 0x7fffffff, 1, 1 }, 2 },
		{ { 1, 0xfffffffd, 1, 1 }, 3 },		 { { 0x7fffffff, 0x7fffffff, 1, 0 }, 4 },
		{ { 0x7fffffff, 0x7fffffff, 1, 1 }, 3 },
	};
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases) * 2; i++) {
		const uint32_t *len = cases[i / 2].len;
		uint64_t table = i % 2 ? TABLE2 : TABLE;

		for (uint16_t k = 0; k < 4; k++)
			ram_put_desc(&ram, table, k,
				     (struct vblk_desc){ k, len[k], k < 3 ? NEXT : 0,
							 (uint16_t)(k + 1) });
		/* The length of an indirect table is none of the chain's. */
		if (i % 2)
			ram_put_desc(&ram, TABLE, 0, (struct vblk_desc){ table, 64, INDIRECT, 0 });
		assert_int_equal(walk(&ram, TABLE, 16, 0).count, cases[i / 2].want);
	}
	ram_destroy(&ram);
}

static void put_indirect(const struct ram *ram, uint32_t index, uint32_t len, uint16_t flags)
{
	ram_put_desc(ram, TABLE, index,
		     (struct vblk_desc){ TABLE2, len, (uint16_t)(INDIRECT | flags), 9 });
}

/* Alone or behind direct descriptors, also with WRITE, which means nothing on a table. */
static void test_Q9_indirect_table_takes_the_place_of_its_descriptor(void **state)
{
	struct vblk_chain chain;
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	put(&ram, TABLE2, 0, 0xa, NEXT, 2);
	put(&ram, TABLE2, 2, 0xb, NEXT | WRITE, 1);
	put(&ram, TABLE2, 1, 0xc, 0, 0);
	for (uint16_t flags = 0; flags <= WRITE; flags += WRITE) {
		put_indirect(&ram, 4, 48, flags);
		chain = walk(&ram, TABLE, 16, 4);
		expect_names(&chain, 0xa, 0xb, 0xc);
		put(&ram, TABLE, 7, 0x7, NEXT, 8);
		put(&ram, TABLE, 8, 0x8, NEXT, 4);
		chain = walk(&ram, TABLE, 16, 7);
		expect_names(&chain, 0x7, 0x8, 0xa, 0xb, 0xc);
	}
	ram_destroy(&ram);
}

static void test_Q9_next_on_an_indirect_descriptor_is_ignored(void **state)
{
	struct vblk_chain chain;
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	put_row(&ram, TABLE2, 2, 0xa);
	put_indirect(&ram, 4, 32, NEXT);
	put(&ram, TABLE, 9, 0x9, 0, 0);
	chain = walk(&ram, TABLE, 16, 4);
	expect_names(&chain, 0xa, 0xb);
	ram_destroy(&ram);
}

static void test_Q9_nested_indirect_ends_the_walk(void **state)
{
	struct vblk_chain chain;
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	put_row(&ram, TABLE2, 3, 0xa);
	ram_put_desc(&ram, TABLE2, 2, (struct vblk_desc){ TABLE2, 16, INDIRECT, 0 });
	put_indirect(&ram, 4, 48, 0);
	chain = walk(&ram, TABLE, 16, 4);
	expect_names(&chain, 0xa, 0xb);
	/* As the first of its table it leaves what came before the table. */
	ram_put_desc(&ram, TABLE2, 0, (struct vblk_desc){ TABLE2 + 16, 16, INDIRECT, 0 });
	put(&ram, TABLE, 7, 0x7, NEXT, 4);
	chain = walk(&ram, TABLE, 16, 7);
	expect_names(&chain, 0x7);
	ram_destroy(&ram);
}

static void test_Q9_indirect_table_of_odd_length_is_not_entered(void **state)
{
	static const uint32_t lengths[] = { 0, 1, 8, 15, 17, 31, 33, 0xfffff, 0xffffffff };
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	put_row(&ram, TABLE2, 4, 0xa);
	put(&ram, TABLE, 7, 0x7, NEXT, 4);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(lengths); i++) {
		struct vblk_chain chain;

		put_indirect(&ram, 4, lengths[i], 0);
		chain = walk(&ram, TABLE, 16, 7);
		expect_names(&chain, 0x7);
	}
	ram_destroy(&ram);
}

static void test_Q9_indirect_table_of_65535_entries_and_no_more(void **state)
{
	struct vblk_chain chain;
	struct ram ram;

	(void)state;
	ram_create(&ram, { TABLE, 0x1000 }, { TABLE2, 0x100010 });
	put(&ram, TABLE2, 0, 0xa, NEXT, 65534);
	put(&ram, TABLE2, 65534, 0xb, NEXT, 65535);
	put(&ram, TABLE2, 65535, 0xc, 0, 0);
	put_indirect(&ram, 0, 65535 * 16, 0);
	chain = walk(&ram, TABLE, 16, 0);
	expect_names(&chain, 0xa, 0xb);
	put_indirect(&ram, 0, 65536 * 16, 0);
	assert_int_equal(walk(&ram, TABLE, 16, 0).count, 0);
	put_indirect(&ram, 0, 0xfffffff0, 0);
	assert_int_equal(walk(&ram, TABLE, 16, 0).count, 0);
	ram_destroy(&ram);
}

static void test_Q9_indirect_next_beyond_its_table_ends_the_walk(void **state)
{
	struct vblk_chain chain;
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	put(&ram, TABLE2, 0, 0xa, NEXT, 1);
	put(&ram, TABLE2, 1, 0xb, NEXT, 2);
	put(&ram, TABLE2, 2, 0xc, 0, 0);
	put(&ram, TABLE, 2, 0xd, 0, 0);
	put_indirect(&ram, 0, 32, 0);
	chain = walk(&ram, TABLE, 16, 0);
	expect_names(&chain, 0xa, 0xb);
	ram_destroy(&ram);
}

/* The budget of a table is its own length, whatever the queue's is and was left of it. */
static void test_Q9_indirect_budget(void **state)
{
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	put_row(&ram, TABLE2, 100, 0x100);
	put_indirect(&ram, 0, 1600, 0);
	assert_int_equal(walk(&ram, TABLE, 1, 0).count, 100);
	put(&ram, TABLE, 0, 0x1, NEXT, 1);
	put_indirect(&ram, 1, 1600, 0);
	assert_int_equal(walk(&ram, TABLE, 2, 0).count, 101);
	/* A cycle of three in a table of five ends after five. */
	put(&ram, TABLE2, 2, 0x102, NEXT, 0);
	put_indirect(&ram, 1, 80, 0);
	assert_int_equal(walk(&ram, TABLE, 256, 0).count, 1 + 5);
	ram_destroy(&ram);
}

static void test_gate_1_indirect_chain_beyond_the_cap(void **state)
{
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	for (uint32_t count = VBLK_CHAIN_MAX - 1; count <= VBLK_CHAIN_MAX + 2; count++) {
		put_row(&ram, TABLE2, count, 0x100);
		put_indirect(&ram, 0, 16 * count, 0);
		assert_int_equal(walk(&ram, TABLE, 1, 0).count,
				 count <= VBLK_CHAIN_MAX ? count : MANY);
	}
	/* The table may come as the last that fits, or behind it. */
	put_row(&ram, TABLE, VBLK_CHAIN_MAX, 0x100);
	put_row(&ram, TABLE2, 1, 0x300);
	put_indirect(&ram, VBLK_CHAIN_MAX - 1, 16, 0);
	assert_int_equal(walk(&ram, TABLE, 256, 0).count, VBLK_CHAIN_MAX);
	put_row(&ram, TABLE, VBLK_CHAIN_MAX + 1, 0x100);
	put_indirect(&ram, VBLK_CHAIN_MAX, 16, 0);
	assert_int_equal(walk(&ram, TABLE, 256, 0).count, MANY);
	put_indirect(&ram, VBLK_CHAIN_MAX, 17, 0);
	assert_int_equal(walk(&ram, TABLE, 256, 0).count, VBLK_CHAIN_MAX);
	ram_destroy(&ram);
}

static void test_Q9_indirect_table_that_is_not_mapped(void **state)
{
	struct vblk_chain chain;
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0, 0x100 }, { TABLE, 0x1000 }, { TABLE2, 0x20 },
		   { UINT64_MAX - 15, 16 });
	put(&ram, TABLE, 7, 0x7, NEXT, 4);
	/* Two entries mapped, four announced. */
	put(&ram, TABLE2, 0, 0xa, NEXT, 1);
	put(&ram, TABLE2, 1, 0xb, NEXT, 2);
	put_indirect(&ram, 4, 64, 0);
	chain = walk(&ram, TABLE, 16, 7);
	expect_names(&chain, 0x7, 0xa, 0xb);
	/* Nowhere, and over the end of the address space. */
	ram_put_desc(&ram, TABLE, 4, (struct vblk_desc){ 0x50000, 64, INDIRECT, 0 });
	chain = walk(&ram, TABLE, 16, 7);
	expect_names(&chain, 0x7);
	put_row(&ram, 0, 4, 0x1);
	put(&ram, UINT64_MAX - 15, 0, 0xa, NEXT, 1);
	ram_put_desc(&ram, TABLE, 4, (struct vblk_desc){ UINT64_MAX - 15, 64, INDIRECT, 0 });
	chain = walk(&ram, TABLE, 16, 7);
	expect_names(&chain, 0x7, 0xa);
	ram_destroy(&ram);
}

/* An indirect table may lie anywhere: at any address, in any number of regions. */
static void test_Q9_indirect_table_over_regions(void **state)
{
	struct ram ram;

	(void)state;
	ram_create(&ram, { TABLE, 0x1000 }, { 0x10010, 0x10 }, { 0x10000, 0x10 },
		   { 0x10020, 0x100 });
	for (uint64_t table = 0x10000; table <= 0x10030; table++) {
		struct vblk_chain chain;

		put_row(&ram, table, 3, 0xa);
		ram_put_desc(&ram, TABLE, 0, (struct vblk_desc){ table, 48, INDIRECT, 0 });
		chain = walk(&ram, TABLE, 1, 0);
		expect_names(&chain, 0xa, 0xb, 0xc);
	}
	ram_destroy(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_Q9_follows_next_in_any_order),
		cmocka_unit_test(test_Q9_D_SNAPSHOT_every_field_is_copied),
		cmocka_unit_test(test_Q8_head_out_of_range_is_an_empty_chain),
		cmocka_unit_test(test_Q9_next_out_of_range_ends_the_walk),
		cmocka_unit_test(test_Q9_cycles_end_by_the_budget),
		cmocka_unit_test(test_gate_1_chain_is_counted_to_one_beyond_the_cap),
		cmocka_unit_test(test_Q10_cut_right_behind_the_cap),
		cmocka_unit_test(test_Q9_unreadable_descriptor_ends_the_walk),
		cmocka_unit_test(test_Q9_table_does_not_wrap),
		cmocka_unit_test(test_Q9_lengths_add_up_to_4_gib_less_one),
		cmocka_unit_test(test_Q9_indirect_table_takes_the_place_of_its_descriptor),
		cmocka_unit_test(test_Q9_next_on_an_indirect_descriptor_is_ignored),
		cmocka_unit_test(test_Q9_nested_indirect_ends_the_walk),
		cmocka_unit_test(test_Q9_indirect_table_of_odd_length_is_not_entered),
		cmocka_unit_test(test_Q9_indirect_table_of_65535_entries_and_no_more),
		cmocka_unit_test(test_Q9_indirect_next_beyond_its_table_ends_the_walk),
		cmocka_unit_test(test_Q9_indirect_budget),
		cmocka_unit_test(test_gate_1_indirect_chain_beyond_the_cap),
		cmocka_unit_test(test_Q9_indirect_table_that_is_not_mapped),
		cmocka_unit_test(test_Q9_indirect_table_over_regions),
	};

	return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
