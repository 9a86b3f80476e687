/* SPDX-License-Identifier: MIT */
/* What a load asks for. */
#include "driver/order.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void sequence_begins_again_at_its_end(void **state)
{
	struct vblk_order order = { .blocks = 3, .read_percent = 100 };

	(void)state;
	vblk_order_init(&order, 0);
	for (uint64_t i = 0; i < 9; i++)
		assert_int_equal(vblk_order_block(&order), i % 3);
}

static void passed_block_is_followed_by_the_next(void **state)
{
	struct vblk_order order = { .blocks = 5, .random = true };
	uint64_t block;

	(void)state;
	vblk_order_init(&order, 7);
	for (unsigned i = 0; i < 100; i++) {
		block = vblk_order_block(&order);
		assert_int_equal(vblk_order_pass(&order), (block + 1) % 5);
		assert_int_equal(vblk_order_pass(&order), (block + 2) % 5);
	}
}

static void random_blocks_reach_the_whole_range_evenly(void **state)
{
	struct vblk_order order = { .blocks = 16, .random = true };
	unsigned hits[16] = { 0 };

	(void)state;
	vblk_order_init(&order, 1);
	for (unsigned i = 0; i < 16000; i++) {
		uint64_t block = vblk_order_block(&order);

		assert_true(block < 16);
		hits[block]++;
	}
	for (unsigned i = 0; i < 16; i++)
		assert_in_range(hits[i], 900, 1100);
}

static void seed_decides_the_order(void **state)
{
	struct vblk_order one = { .blocks = 1 << 20, .random = true }, same = one, other = one;
	unsigned equal = 0;

	(void)state;
	vblk_order_init(&one, 1);
	vblk_order_init(&same, 1);
	vblk_order_init(&other, 2);
	for (unsigned i = 0; i < 100; i++) {
		uint64_t block = vblk_order_block(&one);

		assert_int_equal(block, vblk_order_block(&same));
		equal += block == vblk_order_block(&other);
	}
	assert_in_range(equal, 0, 2);
}

static void mix_is_what_was_asked_for(void **state)
{
	struct vblk_order order = { .blocks = 1, .read_percent = 70 };
	unsigned reads = 0;

	(void)state;
	vblk_order_init(&order, 1);
	for (unsigned i = 0; i < 10000; i++)
		reads += vblk_order_kind(&order) == VBLK_DRIVER_READ;
	assert_in_range(reads, 6800, 7200);
}

static void flush_comes_after_so_many_writes(void **state)
{
	struct vblk_order order = { .blocks = 1, .read_percent = 50, .flush_every = 4 };
	unsigned writes = 0, flushes = 0;

	(void)state;
	vblk_order_init(&order, 1);
	for (unsigned i = 0; i < 1000; i++) {
		enum vblk_driver_kind kind = vblk_order_kind(&order);

		writes += kind == VBLK_DRIVER_WRITE;
		if (kind == VBLK_DRIVER_FLUSH)
			assert_int_equal(writes, 4 * ++flushes);
	}
	assert_in_range(flushes, 100, 125);
}

static void pure_loads_are_pure(void **state)
{
	struct vblk_order reads = { .blocks = 1, .read_percent = 100, .flush_every = 1 };
	struct vblk_order writes = { .blocks = 1 };

	(void)state;
	vblk_order_init(&reads, 1);
	vblk_order_init(&writes, 1);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(vblk_order_kind(&reads), VBLK_DRIVER_READ);
		assert_int_equal(vblk_order_kind(&writes), VBLK_DRIVER_WRITE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequence_begins_again_at_its_end),
		cmocka_unit_test(passed_block_is_followed_by_the_next),
		cmocka_unit_test(random_blocks_reach_the_whole_range_evenly),
		cmocka_unit_test(seed_decides_the_order),
		cmocka_unit_test(mix_is_what_was_asked_for),
		cmocka_unit_test(flush_comes_after_so_many_writes),
		cmocka_unit_test(pure_loads_are_pure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
