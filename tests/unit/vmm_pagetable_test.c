/* SPDX-License-Identifier: MIT */
/* Page tables of a guest: what its kernel has mapped, and tables that are made to hurt. */
#include "vmm_guest_fixture.h"

static void assert_mapping(const struct vmm_mappings *mappings, size_t index, uint64_t linear,
			   uint64_t physical, uint64_t bytes)
{
	assert_true(index < mappings->count);
	assert_int_equal(mappings->list[index].linear, linear);
	assert_int_equal(mappings->list[index].physical, physical);
	assert_int_equal(mappings->list[index].bytes, bytes);
}

/* Pages of all sizes, joined where they continue each other, cut to what is memory. */
static void lists_what_the_kernel_has_mapped(void **state)
{
	struct guest *guest = *state;
	struct vmm_mappings mappings;

	map(guest, 4, DIRECT_MAP, 0, 3);			   /* 1 GiB, of which 64 pages */
	map(guest, 4, DIRECT_MAP + VMM_HOLE_END, VMM_HOLE_END, 2); /* 2 MiB, of which 16 */
	map(guest, 4, TEXT_MAP, 8 * PAGE, 1);
	map(guest, 4, TEXT_MAP + PAGE, 9 * PAGE, 1);
	map(guest, 4, TEXT_MAP + 2 * PAGE, 11 * PAGE, 1);     /* not the next */
	map(guest, 4, TEXT_MAP + 4 * PAGE, 12 * PAGE, 1);     /* a gap */
	map(guest, 4, TEXT_MAP + 5 * PAGE, VMM_DISK_BASE, 1); /* registers */
	map(guest, 4, 0x400000, 5 * PAGE, 1);		      /* the lower half */
	mappings = list(guest, 4);
	assert_int_equal(mappings.count, 5);
	assert_mapping(&mappings, 0, DIRECT_MAP, 0, LOW_PAGES * PAGE);
	assert_mapping(&mappings, 1, DIRECT_MAP + VMM_HOLE_END, VMM_HOLE_END, HIGH_PAGES * PAGE);
	assert_mapping(&mappings, 2, TEXT_MAP, 8 * PAGE, 2 * PAGE);
	assert_mapping(&mappings, 3, TEXT_MAP + 2 * PAGE, 11 * PAGE, PAGE);
	assert_mapping(&mappings, 4, TEXT_MAP + 4 * PAGE, 12 * PAGE, PAGE);
	assert_int_equal(mappings.bytes, (LOW_PAGES + HIGH_PAGES + 4) * PAGE);
	assert_false(mappings.cut);
	vmm_mappings_free(&mappings);
}

static void five_levels(void **state)
{
	struct guest *guest = *state;
	struct vmm_mappings mappings;

	map(guest, 5, UINT64_C(0xff11000000000000), 3 * PAGE, 1);
	mappings = list(guest, 5);
	assert_int_equal(mappings.count, 1);
	assert_mapping(&mappings, 0, UINT64_C(0xff11000000000000), 3 * PAGE, PAGE);
	vmm_mappings_free(&mappings);
}

static void make_tables_that_are_their_own_children(struct guest *guest)
{
	for (unsigned int i = 0; i < 512; i++)
		vblk_le64_put(guest->host + TABLES + 8 * (size_t)i, TABLES | PRESENT);
}

/* Tables that are their own children, and tables outside memory: it ends, and says what is cut. */
static void tables_made_to_hurt(void **state)
{
	struct guest *guest = *state;
	struct vmm_mappings mappings;

	make_tables_that_are_their_own_children(guest);
	mappings = list(guest, 4);
	assert_true(mappings.cut);
	assert_true(mappings.count <= VMM_MAPPINGS_MAX);
	vmm_mappings_free(&mappings);

	for (unsigned int i = 0; i < 512; i++)
		vblk_le64_put(guest->host + TABLES + 8 * (size_t)i,
			      UINT64_C(0x000ffffffffff000) | PRESENT);
	mappings = list(guest, 4);
	assert_int_equal(mappings.count, 0);
	vmm_mappings_free(&mappings);
}

static bool count_and_go_on(void *context)
{
	(*(unsigned int *)context)++;
	return true;
}

/* As many processors as there can be, each with tables that hurt: together they cost what a few do.
 */
static void all_walks_have_one_limit(void **state)
{
	struct guest *guest = *state;
	const uint64_t enough = vmm_pagetable_enough(&guest->ram);
	unsigned int asked = 0;
	struct vmm_walk_limits limits = { enough, count_and_go_on, &asked };
	struct vmm_mappings mappings;

	make_tables_that_are_their_own_children(guest);
	for (unsigned int i = 0; i < 64; i++) {
		const uint64_t before = limits.tables;

		assert_int_equal(vmm_pagetable_list(&guest->ram, TABLES, 4, &limits, &mappings), 0);
		assert_true(mappings.cut);
		assert_true(before - limits.tables <= enough / 4);
		assert_true(before > 0 || mappings.count == 0);
		vmm_mappings_free(&mappings);
	}
	assert_int_equal(limits.tables, 0);
	assert_true(asked >= enough / 1024);
}

static void a_walk_is_called_off(void **state)
{
	struct guest *guest = *state;
	unsigned int asked = 0;
	struct vmm_walk_limits limits = { vmm_pagetable_enough(&guest->ram), stop_the_walk,
					  &asked };
	const uint64_t before = limits.tables;
	struct vmm_mappings mappings;

	make_tables_that_are_their_own_children(guest);
	assert_int_equal(vmm_pagetable_list(&guest->ram, TABLES, 4, &limits, &mappings),
			 -ECANCELED);
	assert_int_equal(asked, 1);
	assert_true(before - limits.tables <= 1024);
	assert_null(mappings.list);
}

static bool lists(const struct vmm_mappings *mappings, uint64_t linear)
{
	for (size_t i = 0; i < mappings->count; i++)
		if (linear - mappings->list[i].linear < mappings->list[i].bytes)
			return true;
	return false;
}

/*
 * A page that stands for everything, as in a sanitizer's shadow: one table is all 512 of the level
 * above it, and each of its entries the same page, which nothing joins.
 */
static void map_shadow(struct guest *guest, unsigned int levels, uint64_t linear)
{
	uint32_t upper, lowest;

	map(guest, levels, linear, 5 * PAGE, 1);
	lowest = guest->next_table - (uint32_t)PAGE;
	upper = lowest - (uint32_t)PAGE;
	for (size_t i = 0; i < 512; i++) {
		vblk_le64_put(guest->host + lowest + 8 * i, (5 * PAGE) | PRESENT);
		vblk_le64_put(guest->host + upper + 8 * i, lowest | PRESENT);
	}
}

/* What is missed most is there however much there is: text, and the map of all memory. */
static void more_than_there_is_room_for(void **state)
{
	static const struct {
		unsigned int levels;
		uint64_t direct, shadow;
	} kernels[] = {
		{ 4, UINT64_C(0xffff888000000000), UINT64_C(0xffffec0000000000) },
		/* Randomized: the map of all memory comes last. */
		{ 4, UINT64_C(0xffffd00000000000), UINT64_C(0xffff900000000000) },
		/* The shadow and the text are below one entry of the top table. */
		{ 5, UINT64_C(0xff11000000000000), UINT64_C(0xfffff00000000000) },
	};
	struct guest *guest = *state;
	struct vmm_mappings mappings;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(kernels); i++) {
		memset(guest->host, 0, LOW_PAGES * PAGE);
		guest->next_table = TABLES + PAGE;
		map_shadow(guest, kernels[i].levels, kernels[i].shadow);
		map(guest, kernels[i].levels, kernels[i].direct, 0, 3);
		map(guest, kernels[i].levels, TEXT_MAP, 8 * PAGE, 1);
		mappings = list(guest, kernels[i].levels);
		assert_true(mappings.cut);
		assert_int_equal(mappings.count, VMM_MAPPINGS_MAX);
		assert_true(lists(&mappings, TEXT_MAP));
		assert_true(lists(&mappings, kernels[i].direct));
		assert_true(lists(&mappings, kernels[i].shadow));
		for (size_t j = 1; j < mappings.count; j++)
			assert_true(mappings.list[j - 1].linear < mappings.list[j].linear);
		vmm_mappings_free(&mappings);
	}
}

/* As many modules as one likes leave room for the map of all memory, and the other way round. */
static void each_part_leaves_room(void **state)
{
	struct guest *guest = *state;
	struct vmm_mappings mappings;

	map_shadow(guest, 4, UINT64_C(0xffffffffc0000000));
	map(guest, 4, DIRECT_MAP, 0, 3);
	map(guest, 4, UINT64_C(0xffffc90000000000), 7 * PAGE, 1);
	mappings = list(guest, 4);
	assert_true(mappings.cut);
	assert_true(lists(&mappings, DIRECT_MAP));
	assert_true(lists(&mappings, UINT64_C(0xffffc90000000000)));
	vmm_mappings_free(&mappings);
}

/* Neighbours that are found by different walks are one mapping. */
static void parts_are_joined(void **state)
{
	const uint64_t large = UINT64_C(0x200000);
	struct guest *guest = *state;
	struct vmm_mappings mappings;

	map(guest, 4, DIRECT_MAP, 0, 2);
	map(guest, 4, DIRECT_MAP + LOW_PAGES * PAGE + large, 3 * PAGE, 1);
	map(guest, 4, TEXT_MAP - PAGE, 8 * PAGE, 1);
	map(guest, 4, TEXT_MAP, 9 * PAGE, 1);
	mappings = list(guest, 4);
	assert_int_equal(mappings.count, 3);
	assert_mapping(&mappings, 2, TEXT_MAP - PAGE, 8 * PAGE, 2 * PAGE);
	vmm_mappings_free(&mappings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lists_what_the_kernel_has_mapped),
		TEST(five_levels),
		TEST(tables_made_to_hurt),
		TEST(all_walks_have_one_limit),
		TEST(a_walk_is_called_off),
		TEST(more_than_there_is_room_for),
		TEST(each_part_leaves_room),
		TEST(parts_are_joined),
	};

	return cmocka_run_group_tests_name("vmm_pagetable", tests, NULL, NULL);
}
