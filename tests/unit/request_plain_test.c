/* SPDX-License-Identifier: MIT */
/*
 * Requests on the short way against the way of all requests: whatever a plain chain asks for, both
 * read the same request and come to the same verdict, and it is the short way's exactly where it is
 * a read or write that may run. Names begin with the rule of the contract (section 6).
 */
#include "request/hot.h"

#include "ram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"

#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE

#define TABLE  0x1000u
#define HEADER 0x2000u
#define RANGES 0x2100u /* two of them, as data */
#define STATUS 0x2200u
#define SECTOR 0x123456789abcdefu
#define HEAD   5u

static const uint32_t types[] = {
	VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,		 VIRTIO_BLK_T_FLUSH,   VIRTIO_BLK_T_GET_ID,
	VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_T_OUT + 1, 0x100,
	0x80000001,
};

static const uint32_t lengths[] = {
	0,   1,	  15,  16,  17,	  20,	31,	  32,	    255,      256,
	257, 511, 512, 513, 1024, 1280, 0xfff00u, 0xffe00u, 0xfffffu, VBLK_SIZE_MAX,
};

static const struct vblk_request_rules rules[] = {
	{ .read_only = false },
	{ .read_only = true },
	{ .discard = true, .write_zeroes = true },
};

static void setup(struct ram *ram)
{
	ram_create(ram, { TABLE, 0x100 }, { HEADER, 0x1000 }, { HEADER + 0x1000, 0x20 });
	ram_put_desc(ram, TABLE, HEAD, (struct vblk_desc){ HEADER, 16, NEXT, 2 });
	ram_put_desc(ram, TABLE, 9, (struct vblk_desc){ STATUS, 1, WRITE, 0 });
	ram_put64(ram, RANGES, 3);
	ram_put32(ram, RANGES + 8, 2);
	ram_put64(ram, RANGES + 16, 7);
	ram_put32(ram, RANGES + 24, 1);
}

static void put(const struct ram *ram, uint32_t type, uint32_t length, uint16_t flags)
{
	ram_put32(ram, HEADER, type);
	ram_put32(ram, HEADER + 4, 0xdeadbeef); /* which nobody uses */
	ram_put64(ram, HEADER + 8, SECTOR);
	ram_put_desc(ram, TABLE, 2, (struct vblk_desc){ RANGES, length, flags | NEXT, 9 });
}

static void expect_same_request(const struct vblk_request *got, const struct vblk_request *want)
{
	assert_int_equal(got->type, want->type);
	assert_int_equal(got->sector, want->sector);
	assert_int_equal(got->data_len, want->data_len);
	assert_int_equal(got->segment_count, want->segment_count);
	for (unsigned i = 0; i < want->segment_count; i++) {
		assert_int_equal(got->segment[i].addr, want->segment[i].addr);
		assert_int_equal(got->segment[i].len, want->segment[i].len);
	}
	assert_int_equal(got->range_count, want->range_count);
	for (unsigned i = 0; i < want->range_count; i++) {
		assert_int_equal(got->range[i].sector, want->range[i].sector);
		assert_int_equal(got->range[i].sectors, want->range[i].sectors);
	}
}

/* Reads the request on both ways. Returns whether the short one has taken it. */
static bool read_both(struct ram *ram, const struct vblk_request_rules *may)
{
	static struct vblk_request got, want;
	static struct vblk_chain chain;
	struct vblk_verdict verdict = { .action = VBLK_ACTION_RUN }, wanted;
	struct vblk_table table;
	bool plain;

	/* What either leaves as it was is not the same. */
	memset(&got, 0xa5, sizeof(got));
	memset(&want, 0x5a, sizeof(want));
	memset(&chain, 0xa5, sizeof(chain));
	vblk_memory_view_init(&ram->view, ram->memory);
	vblk_table_open(&table, &ram->view, TABLE, 16);
	plain = vblk_hot_read(&got, &chain, &ram->view, &table, may, HEAD, &verdict);
	vblk_chain_walk(&chain, &ram->view, &table, HEAD);
	wanted = vblk_request_parse(&want, &chain, &ram->view, may);
	assert_int_equal(verdict.action, wanted.action);
	assert_int_equal(verdict.status, wanted.status);
	assert_ptr_equal(verdict.reason, wanted.reason);
	if (wanted.reason || wanted.status == VIRTIO_BLK_S_UNSUPP)
		assert_int_equal(verdict.error, wanted.error);
	if (wanted.action != VBLK_ACTION_DROP) {
		assert_int_equal(got.head, want.head);
		assert_int_equal(got.status_addr, want.status_addr);
	}
	if (wanted.action == VBLK_ACTION_RUN)
		expect_same_request(&got, &want);
	assert_int_equal(plain,
			 wanted.action == VBLK_ACTION_RUN &&
				 (want.type == VIRTIO_BLK_T_IN || want.type == VIRTIO_BLK_T_OUT));
	return plain;
}

/* Rules: gate-6 gate-7 gate-8 gate-9 gate-10 */
static void test_every_type_length_and_direction(void **state)
{
	unsigned plain = 0;
	struct ram ram;

	(void)state;
	setup(&ram);
	for (size_t t = 0; t < VBLK_ARRAY_SIZE(types); t++) {
		for (size_t l = 0; l < VBLK_ARRAY_SIZE(lengths); l++) {
			for (size_t i = 0; i < 2 * VBLK_ARRAY_SIZE(rules); i++) {
				put(&ram, types[t], lengths[l], i % 2 ? WRITE : 0);
				plain += read_both(&ram, &rules[i / 2]);
			}
		}
	}
	/* Of 512, 1024, 0xffe00 and 1 MiB: reads always, writes unless the disk is read-only. */
	assert_int_equal(plain, 4 * (3 + 2));
	ram_destroy(&ram);
}

/* A header that is not there, over two regions, or aligned to nothing. */
static void test_gate_4_place_of_the_header(void **state)
{
	static const struct {
		uint64_t address;
		bool plain;
	} cases[] = {
		{ HEADER + 1, true },	    { HEADER + 8, true },	{ HEADER + 0xff0, true },
		{ HEADER + 0xff1, true },   { HEADER + 0x1000, true },	{ HEADER + 0x1010, true },
		{ HEADER + 0x1011, false }, { HEADER + 0x1020, false }, { HEADER - 1, false },
		{ TABLE + 0xf0, true },	    { 0x9000, false },		{ UINT64_MAX - 15, false },
		{ UINT64_MAX, false },
	};
	struct ram ram;

	(void)state;
	setup(&ram);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		put(&ram, VIRTIO_BLK_T_IN, 512, WRITE);
		ram_put_desc(&ram, TABLE, HEAD,
			     (struct vblk_desc){ cases[i].address, 16, NEXT, 2 });
		if (cases[i].plain) {
			ram_put32(&ram, cases[i].address, VIRTIO_BLK_T_IN);
			ram_put64(&ram, cases[i].address + 8, SECTOR);
		}
		assert_int_equal(read_both(&ram, &rules[0]), cases[i].plain);
	}
	ram_destroy(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_type_length_and_direction),
		cmocka_unit_test(test_gate_4_place_of_the_header),
	};

	return cmocka_run_group_tests_name("request_plain", tests, NULL, NULL);
}
