/* SPDX-License-Identifier: MIT */
/*
 * The walk of plain chains against the walk of all chains: whatever stands in the tables, both find
 * the same, and the first says that a chain is plain exactly when it is. Every way in which a chain
 * misses that is tried by itself, and then many at random.
 */
#include "request/chain.h"

#include "ram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>
#include <linux/virtio_ring.h>

#include "base/checked.h"
#include "soak/rng.h"

#define NEXT	 VRING_DESC_F_NEXT
#define WRITE	 VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

#define TABLE  0x1000u	/* of the queue */
#define TABLE2 0x10000u /* an indirect one */
#define TABLE3 0x20000u /* one that a descriptor names which may not */

/* Walks twice and compares. Returns whether the chain is said to be plain. */
static bool walk(struct ram *ram, uint64_t table, uint16_t size, uint16_t head, const char *what)
{
	struct vblk_chain chain, want;
	struct vblk_table opened;
	bool plain;

	for (size_t i = 0; i < sizeof(chain); i++) {
		((uint8_t *)&chain)[i] = 0xee;
		((uint8_t *)&want)[i] = 0x77;
	}
	vblk_memory_view_init(&ram->view, ram->memory);
	vblk_table_open(&opened, &ram->view, table, size);
	vblk_chain_walk(&want, &ram->view, &opened, head);
	vblk_memory_view_init(&ram->view, ram->memory);
	plain = vblk_chain_walk_plain(&chain, &ram->view, &opened, head);
	if (chain.head != head || want.head != head)
		fail_msg("%s: head is %u, expected %u", what, chain.head, head);
	if (chain.count != want.count)
		fail_msg("%s: %u descriptors, expected %u", what, chain.count, want.count);
	for (unsigned i = 0; i < want.count && i < VBLK_CHAIN_MAX; i++) {
		const struct vblk_desc *a = &chain.desc[i], *b = &want.desc[i];

		if (a->addr != b->addr || a->len != b->len || a->flags != b->flags ||
		    a->next != b->next)
			fail_msg("%s: descriptor %u is another", what, i);
	}
	return plain;
}

static void expect(bool plain, bool want, const char *what)
{
	if (plain != want)
		fail_msg("%s: is%s said to be plain", what, plain ? "" : " not");
}

static void setup_ram(struct ram *ram)
{
	ram_create(ram, { TABLE, 0x1000 }, { TABLE2, 0x1000 }, { TABLE3, 0x1000 });
}

/* The table that a descriptor of the ring names. */
static void put_indirect(const struct ram *ram, uint32_t index, uint64_t table, uint32_t len)
{
	ram_put_desc(ram, TABLE, index, (struct vblk_desc){ table, len, INDIRECT, 0 });
}

#define HEAD                      \
	{                         \
		0xa0, 16, NEXT, 1 \
	}
#define DATA                               \
	{                                  \
		0xb0, 512, NEXT | WRITE, 2 \
	}
#define END                       \
	{                         \
		0xc0, 1, WRITE, 0 \
	}
#define MORE                  \
	{                     \
		0xd0, 3, 0, 0 \
	}
#define LEFT_OF_4G (0xffffffffu - 16 - 512)

/* Four descriptors at the beginning of a table of so many; the chain begins with the first. */
struct shape {
	const char *what;
	uint16_t size;
	bool plain;
	struct vblk_desc desc[4];
};

static const struct shape shapes[] = {
	{ "read", 4, true, { HEAD, DATA, END, MORE } },
	{ "write", 4, true, { HEAD, { 0xb0, 512, NEXT, 2 }, END, MORE } },
	{ "next of the last", 4, true, { HEAD, DATA, { 0xc0, 1, WRITE, 0xffff }, MORE } },

	{ "header of none", 4, false, { { 0xa0, 0, NEXT, 1 }, DATA, END, MORE } },
	{ "header of 15", 4, false, { { 0xa0, 15, NEXT, 1 }, DATA, END, MORE } },
	{ "header of 17", 4, false, { { 0xa0, 17, NEXT, 1 }, DATA, END, MORE } },
	{ "header of 64 KiB", 4, false, { { 0xa0, 0x10010, NEXT, 1 }, DATA, END, MORE } },
	{ "header, no next", 4, false, { { 0xa0, 16, 0, 1 }, DATA, END, MORE } },
	{ "header, write", 4, false, { { 0xa0, 16, NEXT | WRITE, 1 }, DATA, END, MORE } },
	{ "header, only write", 4, false, { { 0xa0, 16, WRITE, 1 }, DATA, END, MORE } },
	{ "header, bit 3", 4, false, { { 0xa0, 16, NEXT | 8, 1 }, DATA, END, MORE } },
	{ "header, bit 15", 4, false, { { 0xa0, 16, NEXT | 0x8000, 1 }, DATA, END, MORE } },

	{ "data of none", 4, true, { HEAD, { 0xb0, 0, NEXT | WRITE, 2 }, END, MORE } },
	{ "data of 1", 4, true, { HEAD, { 0xb0, 1, NEXT | WRITE, 2 }, END, MORE } },
	{ "data of 15", 4, true, { HEAD, { 0xb0, 15, NEXT, 2 }, END, MORE } },
	{ "size_max", 4, true, { HEAD, { 0xb0, VBLK_SIZE_MAX, NEXT, 2 }, END, MORE } },
	{ "more than it", 4, false, { HEAD, { 0xb0, VBLK_SIZE_MAX + 1, NEXT, 2 }, END, MORE } },
	{ "data of 4 GiB", 4, false, { HEAD, { 0xb0, 0xffffffff, NEXT, 2 }, END, MORE } },
	{ "data, 2 GiB", 4, false, { HEAD, { 0xb0, 0x80000200, NEXT, 2 }, END, MORE } },
	{ "data, no next", 4, false, { HEAD, { 0xb0, 512, 0, 2 }, END, MORE } },
	{ "data, only write", 4, false, { HEAD, { 0xb0, 512, WRITE, 2 }, END, MORE } },
	{ "data, bit 3", 4, false, { HEAD, { 0xb0, 512, NEXT | 8, 2 }, END, MORE } },
	{ "data, bit 15", 4, false, { HEAD, { 0xb0, 512, NEXT | 0x8000, 2 }, END, MORE } },
	{ "data, more", 4, false, { HEAD, { 0xb0, 512, NEXT | WRITE | 0x4000, 2 }, END, MORE } },

	{ "status of none", 4, false, { HEAD, DATA, { 0xc0, 0, WRITE, 0 }, MORE } },
	{ "status of 2", 4, false, { HEAD, DATA, { 0xc0, 2, WRITE, 0 }, MORE } },
	{ "status of 257", 4, false, { HEAD, DATA, { 0xc0, 257, WRITE, 0 }, MORE } },
	{ "all of 4 GiB", 4, false, { HEAD, DATA, { 0xc0, LEFT_OF_4G, WRITE, 0 }, MORE } },
	{ "and one", 4, false, { HEAD, DATA, { 0xc0, LEFT_OF_4G + 1, WRITE, 0 }, MORE } },
	{ "status, no write", 4, false, { HEAD, DATA, { 0xc0, 1, 0, 0 }, MORE } },
	{ "status, next", 4, false, { HEAD, DATA, { 0xc0, 1, NEXT | WRITE, 3 }, MORE } },
	{ "status, only next", 4, false, { HEAD, DATA, { 0xc0, 1, NEXT, 3 }, MORE } },
	{ "status, bit 3", 4, false, { HEAD, DATA, { 0xc0, 1, WRITE | 8, 0 }, MORE } },
	{ "status, bit 15", 4, false, { HEAD, DATA, { 0xc0, 1, WRITE | 0x8000, 0 }, MORE } },
	{ "status, then none", 4, false, { HEAD, DATA, { 0xc0, 1, NEXT | WRITE, 4 }, MORE } },

	{ "header to the size", 4, false, { { 0xa0, 16, NEXT, 4 }, DATA, END, MORE } },
	{ "header to nowhere", 4, false, { { 0xa0, 16, NEXT, 0xffff }, DATA, END, MORE } },
	{ "data to the size", 4, false, { HEAD, { 0xb0, 512, NEXT, 4 }, END, MORE } },
	{ "data to nowhere", 4, false, { HEAD, { 0xb0, 512, NEXT, 0xffff }, END, MORE } },
	{ "header to the last", 4, false, { { 0xa0, 16, NEXT, 3 }, DATA, END, MORE } },
	{ "data to the last", 4, false, { HEAD, { 0xb0, 512, NEXT, 3 }, END, MORE } },
	{ "by the last",
	  4,
	  true,
	  { { 0xa0, 16, NEXT, 3 }, MORE, END, { 0xb0, 512, NEXT | WRITE, 2 } } },
	{ "to the last",
	  4,
	  true,
	  { { 0xa0, 16, NEXT, 2 }, MORE, { 0xb0, 512, NEXT, 3 }, { 0xc0, 1, WRITE, 0 } } },

	{ "its own next", 4, false, { { 0xa0, 16, NEXT, 0 }, DATA, END, MORE } },
	{ "data its own next", 4, false, { HEAD, { 0xb0, 512, NEXT, 1 }, END, MORE } },
	{ "data and header", 4, false, { HEAD, { 0xb0, 512, NEXT, 0 }, END, MORE } },
	{ "status and header", 4, false, { HEAD, DATA, { 0xc0, 1, NEXT | WRITE, 0 }, MORE } },
	{ "status its own", 4, false, { HEAD, DATA, { 0xc0, 1, NEXT | WRITE, 2 }, MORE } },

	{ "three", 3, true, { HEAD, DATA, END, MORE } },
	{ "three, and more", 3, false, { HEAD, DATA, { 0xc0, 1, NEXT | WRITE, 3 }, MORE } },
	{ "three, a cycle", 3, false, { HEAD, DATA, { 0xc0, 1, NEXT | WRITE, 0 }, MORE } },
	{ "three, two", 3, false, { HEAD, { 0xb0, 512, NEXT, 0 }, END, MORE } },
	{ "two of three", 2, false, { HEAD, DATA, END, MORE } },
	{ "two, a cycle", 2, false, { HEAD, { 0xb0, 512, NEXT, 0 }, END, MORE } },
	{ "two, one", 2, false, { { 0xa0, 16, NEXT, 0 }, DATA, END, MORE } },
	{ "one of three", 1, false, { HEAD, DATA, END, MORE } },
	{ "one, a cycle", 1, false, { { 0xa0, 16, NEXT, 0 }, DATA, END, MORE } },
	{ "one", 1, false, { { 0xa0, 16, 0, 0 }, DATA, END, MORE } },
	{ "one, a status", 1, false, { END, DATA, END, MORE } },
};

static void put_shape(const struct ram *ram, uint64_t table, const struct shape *shape)
{
	for (uint32_t i = 0; i < VBLK_ARRAY_SIZE(shape->desc); i++)
		ram_put_desc(ram, table, i, shape->desc[i]);
}

static void test_Q9_Q10_every_descriptor_in_every_way(void **state)
{
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(shapes); i++) {
		put_shape(&ram, TABLE, &shapes[i]);
		expect(walk(&ram, TABLE, shapes[i].size, 0, shapes[i].what), shapes[i].plain,
		       shapes[i].what);
	}
	ram_destroy(&ram);
}

/* The same where another descriptor names the table, in a ring of one and of more. */
static void test_Q9_Q10_every_descriptor_of_an_indirect_table(void **state)
{
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(shapes); i++) {
		const uint32_t length = 16u * shapes[i].size;

		put_shape(&ram, TABLE2, &shapes[i]);
		put_indirect(&ram, 0, TABLE2, length);
		expect(walk(&ram, TABLE, 1, 0, shapes[i].what), shapes[i].plain, shapes[i].what);
		ram_put_desc(&ram, TABLE, 7,
			     (struct vblk_desc){ TABLE2, length, INDIRECT | NEXT | WRITE | 8, 9 });
		expect(walk(&ram, TABLE, 256, 7, shapes[i].what), shapes[i].plain, shapes[i].what);
	}
	ram_destroy(&ram);
}

static void put_plain(const struct ram *ram, uint64_t table)
{
	put_shape(ram, table, &shapes[0]);
}

/* What stands in the place of a descriptor is a table: of a plain chain, or of the rest of one. */
static void test_Q9_table_in_the_place_of_each_descriptor(void **state)
{
	static const uint16_t flags[] = { INDIRECT, INDIRECT | NEXT, INDIRECT | WRITE,
					  INDIRECT | NEXT | WRITE };
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	for (uint32_t place = 0; place < 3; place++) {
		for (size_t i = 0; i < VBLK_ARRAY_SIZE(flags) * 3; i++) {
			const uint32_t skip = (uint32_t)(i % 3) * 16;
			const struct vblk_desc desc = { TABLE3 + skip, 64 - skip, flags[i / 3], 3 };

			put_plain(&ram, TABLE);
			put_plain(&ram, TABLE2);
			put_plain(&ram, TABLE3);
			ram_put_desc(&ram, TABLE, place, desc);
			expect(walk(&ram, TABLE, 4, 0, "direct"), place == 0 && skip == 0,
			       "direct");
			/* A table in a table is none. */
			put_indirect(&ram, 0, TABLE2, 64);
			ram_put_desc(&ram, TABLE2, place, desc);
			expect(walk(&ram, TABLE, 4, 0, "nested"), false, "nested");
		}
	}
	ram_destroy(&ram);
}

/* Behind the table stand descriptors too, which are none of ours. */
static void test_Q8_head_outside_the_table(void **state)
{
	static const uint16_t heads[] = { 4, 5, 100, 0xffff };
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	put_plain(&ram, TABLE);
	for (uint32_t i = 4; i < 8; i++)
		ram_put_desc(&ram, TABLE, i, shapes[0].desc[0]);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(heads); i++)
		expect(walk(&ram, TABLE, 4, heads[i], "outside"), false, "outside");
	/* The last of the table is no plain chain, and is there. */
	expect(walk(&ram, TABLE, 4, 3, "last"), false, "last");
	ram_destroy(&ram);
}

static void test_Q9_plain_chain_in_any_order(void **state)
{
	static const uint16_t order[][3] = { { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 },
					     { 2, 0, 1 }, { 2, 1, 0 }, { 255, 0, 254 } };
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(order); i++) {
		for (uint32_t k = 0; k < 3; k++) {
			struct vblk_desc desc = shapes[0].desc[k];

			desc.next = order[i][(k + 1) % 3];
			ram_put_desc(&ram, TABLE, order[i][k], desc);
		}
		expect(walk(&ram, TABLE, 256, order[i][0], "order"), true, "order");
	}
	ram_destroy(&ram);
}

static void test_Q9_length_of_an_indirect_table(void **state)
{
	static const struct {
		uint32_t length;
		bool plain;
	} cases[] = {
		{ 0, false },	       { 1, false },	      { 16, false },
		{ 32, false },	       { 47, false },	      { 48, true },
		{ 49, false },	       { 56, false },	      { 64, true },
		{ 65535 * 16, true },  { 65536 * 16, false }, { 0xfffffff0, false },
		{ 0xffffffff, false },
	};
	struct ram ram;

	(void)state;
	ram_create(&ram, { TABLE, 0x1000 }, { TABLE2, 0x100000 });
	put_plain(&ram, TABLE2);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		put_indirect(&ram, 0, TABLE2, cases[i].length);
		expect(walk(&ram, TABLE, 1, 0, "length"), cases[i].plain, "length");
	}
	/* What a table of 65535 has as its last is one of it. */
	ram_put_desc(&ram, TABLE2, 0, (struct vblk_desc){ 0xa0, 16, NEXT, 65534 });
	ram_put_desc(&ram, TABLE2, 65534, (struct vblk_desc){ 0xb0, 512, NEXT, 65535 });
	put_indirect(&ram, 0, TABLE2, 65535 * 16);
	expect(walk(&ram, TABLE, 1, 0, "long"), false, "long");
	ram_put_desc(&ram, TABLE2, 65534, (struct vblk_desc){ 0xb0, 512, NEXT, 2 });
	expect(walk(&ram, TABLE, 1, 0, "long"), true, "long");
	ram_destroy(&ram);
}

/* Aligned and in one region it has a host address, and elsewhere its chain is the same. */
static void test_Q9_place_of_an_indirect_table(void **state)
{
	static const uint64_t gone[] = { 0x50000, 0xfff0, TABLE2 + 0x200, UINT64_MAX - 15 };
	struct ram ram;

	(void)state;
	ram_create(&ram, { TABLE, 0x1000 }, { TABLE2, 0x100 }, { TABLE2 + 0x100, 0x100 });
	for (uint64_t table = TABLE2; table <= TABLE2 + 0x1c0; table++) {
		const bool is_whole = table + 64 <= TABLE2 + 0x100 || table >= TABLE2 + 0x100;

		put_plain(&ram, table);
		put_indirect(&ram, 0, table, 64);
		expect(walk(&ram, TABLE, 1, 0, "place"), table % 16 == 0 && is_whole, "place");
	}
	/* A part of it is not there, of which the chain may need nothing. */
	put_plain(&ram, TABLE2 + 0x1c0);
	put_indirect(&ram, 0, TABLE2 + 0x1c0, 80);
	expect(walk(&ram, TABLE, 1, 0, "part"), false, "part");
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(gone); i++) {
		put_indirect(&ram, 0, gone[i], 48);
		expect(walk(&ram, TABLE, 1, 0, "gone"), false, "gone");
	}
	ram_destroy(&ram);
}

static void test_Q9_ring_that_is_not_in_one_region(void **state)
{
	struct ram ram;

	(void)state;
	ram_create(&ram, { TABLE, 0x100 }, { TABLE + 0x100, 0x100 }, { TABLE2, 0x100 });
	put_plain(&ram, TABLE);
	put_plain(&ram, TABLE + 0x100);
	put_plain(&ram, TABLE2);
	expect(walk(&ram, TABLE, 16, 0, "whole"), true, "whole");
	expect(walk(&ram, TABLE, 17, 0, "cut"), false, "cut");
	expect(walk(&ram, TABLE, 32, 0, "cut"), false, "cut");
	/* A part of it is nowhere. */
	expect(walk(&ram, TABLE + 0x100, 16, 0, "whole"), true, "whole");
	expect(walk(&ram, TABLE + 0x100, 17, 0, "part"), false, "part");
	expect(walk(&ram, TABLE + 0x100, 17, 16, "part"), false, "part");
	expect(walk(&ram, TABLE3, 16, 0, "nowhere"), false, "nowhere");
	/* Not even where what it names is whole. */
	put_indirect(&ram, 5, TABLE2, 64);
	expect(walk(&ram, TABLE, 16, 5, "indirect"), true, "indirect");
	expect(walk(&ram, TABLE, 32, 5, "indirect"), false, "indirect");
	ram_destroy(&ram);
}

/* What begins as a plain one goes on to the cap and beyond it. */
static void test_gate_1_long_chain_that_begins_as_a_plain_one(void **state)
{
	struct ram ram;

	(void)state;
	setup_ram(&ram);
	for (uint32_t count = 4; count <= VBLK_CHAIN_MAX + 2; count++) {
		put_plain(&ram, TABLE);
		for (uint32_t i = 2; i < count; i++)
			ram_put_desc(&ram, TABLE, i,
				     (struct vblk_desc){ i, 1, i + 1 < count ? NEXT | WRITE : WRITE,
							 (uint16_t)(i + 1) });
		expect(walk(&ram, TABLE, 256, 0, "long"), false, "long");
	}
	ram_destroy(&ram);
}

/* ---- at random ---- */

#define TABLES 20000u
#define SEED   0x706c61696eu
#define MAX    6u /* descriptors of a table */
#define RING   0x1000u
#define REGION 0x100u

struct random_table {
	uint64_t address;
	uint32_t size;
	struct vblk_desc desc[MAX];
};

/* Two regions of REGION that touch, from `first` on: where a table may lie. */
static bool is_whole(const struct random_table *table, uint64_t first)
{
	const uint64_t offset = table->address - first, length = 16 * table->size;

	return table->size > 0 && table->address % 16 == 0 && offset % REGION + length <= REGION &&
	       offset < 2 * REGION;
}

static uint64_t random_place(struct rng *rng, uint64_t first, uint32_t step)
{
	switch (rng_below(rng, 8)) {
	case 0: /* about the border of the regions */
		return first + REGION - MAX * 16 + (uint64_t)rng_below(rng, MAX * 16) / step * step;
	case 1: /* about the end */
		return first + 2 * REGION - rng_between(rng, 1, MAX) * 16;
	default:
		return first;
	}
}

static uint32_t random_size(struct rng *rng)
{
	return rng_chance(rng, 6) ? rng_below(rng, MAX + 1) : rng_between(rng, 3, MAX);
}

static uint16_t random_flags(struct rng *rng)
{
	return rng_chance(rng, 4) ? (uint16_t)rng_next(rng) : (uint16_t)rng_below(rng, 8);
}

static uint32_t random_length(struct rng *rng)
{
	switch (rng_below(rng, 4)) {
	case 0: /* about the largest that data may have */
		return VBLK_SIZE_MAX - 1 + rng_below(rng, 3);
	case 1: /* about what all may have together */
		return 0xffffffff - rng_below(rng, 1024);
	default:
		return rng_below(rng, 65);
	}
}

/* Changes one thing. */
static void spoil(struct rng *rng, struct vblk_desc *desc)
{
	switch (rng_below(rng, 3)) {
	case 0:
		desc->len = random_length(rng);
		break;
	case 1:
		desc->flags = random_flags(rng);
		break;
	default:
		desc->next = (uint16_t)(rng_chance(rng, 8) ? rng_next(rng) : rng_below(rng, MAX));
		break;
	}
}

/* A plain chain, in any order, among others; then, more often than not, something is wrong. */
static uint16_t random_chain(struct rng *rng, struct random_table *table, bool begins_at_0)
{
	uint16_t place[MAX] = { 0, 1, 2, 3, 4, 5 };
	const uint32_t among = table->size < 3 ? 3 : table->size;

	for (uint16_t i = 0; i < MAX; i++)
		table->desc[i] =
			(struct vblk_desc){ rng_next(rng), random_length(rng), random_flags(rng),
					    (uint16_t)rng_below(rng, MAX) };
	for (uint32_t i = begins_at_0 ? 1 : 0; i < 3; i++) {
		const uint32_t other = rng_between(rng, i, among - 1);
		const uint16_t kept = place[i];

		place[i] = place[other];
		place[other] = kept;
	}
	table->desc[place[0]] = (struct vblk_desc){ rng_next(rng), 16, NEXT, place[1] };
	table->desc[place[1]] =
		(struct vblk_desc){ rng_next(rng), 512 * rng_below(rng, 9),
				    rng_chance(rng, 2) ? NEXT : NEXT | WRITE, place[2] };
	table->desc[place[2]] =
		(struct vblk_desc){ rng_next(rng), 1, WRITE, (uint16_t)rng_next(rng) };
	for (uint32_t i = rng_below(rng, 3); i > 0; i--)
		spoil(rng, &table->desc[rng_chance(rng, 4) ? rng_below(rng, MAX)
							   : place[rng_below(rng, 3)]]);
	return place[0];
}

/* As far as there is memory. */
static void put_table(const struct ram *ram, const struct random_table *table, uint64_t end)
{
	for (uint32_t i = 0; i < MAX && table->address + 16 * (i + 1) <= end; i++)
		ram_put_desc(ram, table->address, i, table->desc[i]);
}

static bool is_plain(const struct random_table *table, uint32_t index)
{
	const struct vblk_desc *desc[3];

	for (unsigned i = 0; i < 3; i++) {
		if (index >= table->size)
			return false;
		desc[i] = &table->desc[index];
		index = desc[i]->next;
	}
	return desc[0]->len == 16 && desc[0]->flags == NEXT && desc[1]->len <= VBLK_SIZE_MAX &&
	       (desc[1]->flags == NEXT || desc[1]->flags == (NEXT | WRITE)) && desc[2]->len == 1 &&
	       desc[2]->flags == WRITE;
}

/* The same from a head of the ring, in which only descriptors that name `other` name a table. */
static bool is_plain_from(const struct random_table *ring, const struct random_table *other,
			  uint16_t head)
{
	const struct vblk_desc *first;

	if (!is_whole(ring, RING) || head >= ring->size)
		return false;
	first = &ring->desc[head];
	if (!(first->flags & INDIRECT))
		return is_plain(ring, head);
	return first->addr == other->address && first->len == 16 * other->size &&
	       is_whole(other, TABLE2) && is_plain(other, 0);
}

/* One ring, and a table that one of its descriptors may name. Returns whether its chain is plain.
 */
static bool try_random(struct ram *ram, struct rng *rng, const char *what)
{
	struct random_table ring = {
		.address = random_place(rng, RING, 16),
		.size = random_size(rng),
	};
	struct random_table other = {
		.address = random_place(rng, TABLE2, rng_chance(rng, 4) ? 1 : 16),
		.size = random_size(rng),
	};
	const uint32_t cut = rng_chance(rng, 8) ? rng_below(rng, 16) : 0;
	uint16_t head = random_chain(rng, &ring, false);
	bool plain;

	(void)random_chain(rng, &other, true);
	if (rng_chance(rng, 2))
		ring.desc[rng_chance(rng, 4) ? rng_below(rng, MAX) : head] =
			(struct vblk_desc){ other.address, 16 * other.size + cut,
					    random_flags(rng) | INDIRECT,
					    (uint16_t)rng_below(rng, MAX) };
	if (rng_chance(rng, 8))
		head = (uint16_t)(rng_chance(rng, 4) ? rng_next(rng) : rng_below(rng, MAX));
	put_table(ram, &ring, RING + 2 * REGION);
	put_table(ram, &other, TABLE2 + 2 * REGION);
	plain = walk(ram, ring.address, (uint16_t)ring.size, head, what);
	expect(plain, is_plain_from(&ring, &other, head), what);
	return plain;
}

static void test_Q9_Q10_random_tables(void **state)
{
	unsigned plain = 0;
	struct rng rng;
	struct ram ram;

	(void)state;
	ram_create(&ram, { RING, REGION }, { RING + REGION, REGION }, { TABLE2, REGION },
		   { TABLE2 + REGION, REGION });
	rng_init(&rng, SEED, 0);
	for (unsigned i = 0; i < TABLES; i++) {
		char what[32];

		(void)snprintf(what, sizeof(what), "table %u", i);
		plain += try_random(&ram, &rng, what);
	}
	/* What is tried is of both kinds. */
	assert_in_range(plain, TABLES / 8, TABLES / 8 * 7);
	ram_destroy(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_Q9_Q10_every_descriptor_in_every_way),
		cmocka_unit_test(test_Q9_Q10_every_descriptor_of_an_indirect_table),
		cmocka_unit_test(test_Q9_table_in_the_place_of_each_descriptor),
		cmocka_unit_test(test_Q8_head_outside_the_table),
		cmocka_unit_test(test_Q9_plain_chain_in_any_order),
		cmocka_unit_test(test_Q9_length_of_an_indirect_table),
		cmocka_unit_test(test_Q9_place_of_an_indirect_table),
		cmocka_unit_test(test_Q9_ring_that_is_not_in_one_region),
		cmocka_unit_test(test_gate_1_long_chain_that_begins_as_a_plain_one),
		cmocka_unit_test(test_Q9_Q10_random_tables),
	};

	return cmocka_run_group_tests_name("chain_plain", tests, NULL, NULL);
}
