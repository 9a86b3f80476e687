/* SPDX-License-Identifier: MIT */
/*
 * A request is a run of bytes, and a driver may cut it into descriptors wherever it likes (D-LAYOUT
 * and D-LAYOUT-2). The run here is 16 bytes of header, the data, the status byte; a test says where
 * the cuts are, and the request must come out the same.
 *
 * Readable bytes lie from 0x4000 on (header, then data to write), writable ones from 0x8000 on
 * (data to read, then the status byte), so where a byte belongs follows from its address.
 */
#include "request/request.h"

#include "ram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>

#include "base/checked.h"

#define W VRING_DESC_F_WRITE

#define IN     VIRTIO_BLK_T_IN
#define OUT    VIRTIO_BLK_T_OUT
#define FLUSH  VIRTIO_BLK_T_FLUSH
#define GET_ID VIRTIO_BLK_T_GET_ID

#define READABLE 0x4000u
#define WRITABLE 0x8000u
#define UNMAPPED 0x200000u
#define SECTOR	 0x0123456789abcdefull

/* What the disks of these tests allow. */
static const struct vblk_request_rules anything = { .read_only = false };
static const struct vblk_request_rules read_only = { .read_only = true };

static struct ram ram;

static int setup(void **state)
{
	(void)state;
	ram_create(&ram, { 0, 0x10000 });
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ram_destroy(&ram);
	return 0;
}

static void put_header(uint64_t address, uint32_t type)
{
	ram_put32(&ram, address, type);
	ram_put32(&ram, address + 4, 0);
	ram_put64(&ram, address + 8, SECTOR);
}

/* A chain that is being written; the addresses go on where the last descriptor ended. */
struct writer {
	struct vblk_chain chain;
	uint64_t readable;
	uint64_t writable;
};

static struct writer begin(uint32_t type)
{
	put_header(READABLE, type);
	return (struct writer){ .readable = READABLE, .writable = WRITABLE };
}

static void add(struct writer *writer, uint32_t len, uint16_t flags)
{
	uint64_t *at = flags & W ? &writer->writable : &writer->readable;

	assert_true(writer->chain.count < VBLK_CHAIN_MAX);
	writer->chain.desc[writer->chain.count++] = (struct vblk_desc){ *at, len, flags, 0 };
	*at += len;
}

static struct vblk_verdict parse(const struct writer *writer, struct vblk_request *request)
{
	memset(request, 0xee, sizeof(*request));
	return vblk_request_parse(request, &writer->chain, &ram.view, &anything);
}

/* The segments carry the `length` bytes from `address` on, in that order, none of them empty. */
static void expect_data(const struct vblk_request *request, uint64_t address, uint32_t length)
{
	uint64_t at = address;

	assert_int_equal(request->data_len, length);
	for (uint16_t i = 0; i < request->segment_count; i++) {
		assert_int_equal(request->segment[i].addr, at);
		assert_int_not_equal(request->segment[i].len, 0);
		at += request->segment[i].len;
	}
	assert_int_equal(at, address + length);
}

/* What was written to READABLE and WRITABLE is a request of this type and size. */
static void expect_request(const struct writer *writer, uint32_t type, uint32_t length)
{
	struct vblk_request request;
	struct vblk_verdict verdict = parse(writer, &request);

	if (verdict.action != VBLK_ACTION_RUN)
		fail_msg("refused: %s", verdict.reason);
	assert_int_equal(request.type, type);
	assert_true(request.sector == SECTOR);
	assert_int_equal(request.status_addr, writer->writable - 1);
	if (type == OUT)
		expect_data(&request, READABLE + 16, length);
	else
		expect_data(&request, WRITABLE, length);
}

static void expect_refused(const struct writer *writer, const char *reason)
{
	struct vblk_request request;
	struct vblk_verdict verdict = parse(writer, &request);

	assert_int_equal(verdict.action, VBLK_ACTION_REPLY);
	assert_int_equal(verdict.status, VIRTIO_BLK_S_IOERR);
	assert_string_equal(verdict.reason, reason);
	assert_int_equal(request.status_addr, writer->writable - 1);
}

/* 1 + 15, 8 + 8 (case 16.5.28) and all the others. */
static void test_D_LAYOUT_header_in_two_descriptors(void **state)
{
	(void)state;
	for (uint32_t first = 0; first <= 16; first++) {
		struct writer writer = begin(IN);

		add(&writer, first, 0);
		add(&writer, 16 - first, 0);
		add(&writer, 512, W);
		add(&writer, 1, W);
		expect_request(&writer, IN, 512);
	}
}

static void test_D_LAYOUT_header_in_16_descriptors(void **state)
{
	struct writer writer = begin(OUT);

	(void)state;
	for (int i = 0; i < 16; i++)
		add(&writer, 1, 0);
	add(&writer, 512, 0);
	add(&writer, 1, W);
	expect_request(&writer, OUT, 512);
}

/* The parts of a header need not be neighbours in memory. */
static void test_D_LAYOUT_header_from_several_places(void **state)
{
	struct writer writer = begin(IN);
	struct vblk_request request;

	(void)state;
	for (uint64_t i = 0; i < 16; i++) {
		uint64_t at = 0x6000 - 32 * i;

		*ram_at(&ram, at) = *ram_at(&ram, READABLE + i);
		add(&writer, 1, 0);
		writer.chain.desc[i].addr = at;
	}
	add(&writer, 512, W);
	add(&writer, 1, W);
	assert_int_equal(parse(&writer, &request).action, VBLK_ACTION_RUN);
	assert_int_equal(request.type, IN);
	assert_true(request.sector == SECTOR);
	expect_data(&request, WRITABLE, 512);
}

static void test_D_LAYOUT_Z1_empty_descriptors_in_the_header(void **state)
{
	struct writer writer = begin(IN);

	(void)state;
	add(&writer, 0, 0);
	add(&writer, 0, 0);
	for (int i = 0; i < 8; i++) {
		add(&writer, 2, 0);
		add(&writer, 0, 0);
	}
	add(&writer, 512, W);
	add(&writer, 1, W);
	expect_request(&writer, IN, 512);
}

/* An empty descriptor has an address as well, which is nobody's business. */
static void test_D_LAYOUT_empty_descriptors_are_not_looked_at(void **state)
{
	static const uint64_t places[] = { UNMAPPED, 0, UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(places); i++) {
		struct writer writer = begin(IN);

		add(&writer, 0, 0);
		add(&writer, 8, 0);
		add(&writer, 0, 0);
		add(&writer, 8, 0);
		add(&writer, 0, 0);
		add(&writer, 0, W);
		add(&writer, 512, W);
		add(&writer, 0, W);
		add(&writer, 1, W);
		for (size_t k = 0; k < writer.chain.count; k++) {
			if (writer.chain.desc[k].len == 0)
				writer.chain.desc[k].addr = places[i];
		}
		expect_request(&writer, IN, 512);
	}
}

static void test_D_LAYOUT_header_and_data_in_one_descriptor(void **state)
{
	(void)state;
	for (uint32_t first = 1; first <= 512; first++) {
		struct writer writer = begin(OUT);

		add(&writer, 16 + first, 0);
		if (first < 512)
			add(&writer, 512 - first, 0);
		add(&writer, 1, W);
		expect_request(&writer, OUT, 512);
	}
}

/* The last part of a header that was cut brings data along. */
static void test_D_LAYOUT_cut_header_and_data_in_one_descriptor(void **state)
{
	(void)state;
	for (uint32_t first = 1; first < 16; first++) {
		struct writer writer = begin(OUT);

		add(&writer, first, 0);
		add(&writer, 16 - first + 100, 0);
		add(&writer, 412, 0);
		add(&writer, 1, W);
		expect_request(&writer, OUT, 512);
	}
}

static void test_D_LAYOUT_data_and_status_in_one_descriptor(void **state)
{
	(void)state;
	for (uint32_t first = 0; first < 512; first++) {
		struct writer writer = begin(IN);

		add(&writer, 16, 0);
		add(&writer, first, W);
		add(&writer, 512 - first + 1, W);
		expect_request(&writer, IN, 512);
	}
}

/* All that a driver has to say in two descriptors. */
static void test_D_LAYOUT_two_descriptors(void **state)
{
	struct writer writer = begin(IN);

	(void)state;
	add(&writer, 16, 0);
	add(&writer, 4096 + 1, W);
	expect_request(&writer, IN, 4096);
	writer = begin(OUT);
	add(&writer, 16 + 4096, 0);
	add(&writer, 1, W);
	expect_request(&writer, OUT, 4096);
	writer = begin(GET_ID);
	add(&writer, 16, 0);
	add(&writer, 20 + 1, W);
	expect_request(&writer, GET_ID, 20);
	writer = begin(FLUSH);
	add(&writer, 16, 0);
	add(&writer, 1, W);
	expect_request(&writer, FLUSH, 0);
}

/* Adds `length` bytes in parts of any size from 0 to `most`, at most `count` of them. */
static void add_in_parts(struct writer *writer, uint32_t length, uint16_t flags, unsigned count,
			 unsigned short seed[3], uint32_t most)
{
	for (; count > 1 && length > 0; count--) {
		uint32_t part = (uint32_t)nrand48(seed) % (most + 1);

		if (part > length)
			part = length;
		add(writer, part, flags);
		length -= part;
	}
	if (length > 0)
		add(writer, length, flags);
}

/* Rules: V-3 */
static void test_D_LAYOUT_any_cut_gives_the_same_request(void **state)
{
	unsigned short seed[3] = { 1, 2, 3 };

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t type = i % 2 ? IN : OUT;
		uint32_t length = 512 * (1 + i / 2 % 3);
		uint32_t most = 1u << i % 11;
		struct writer writer = begin(type);

		add_in_parts(&writer, 16 + (type == OUT ? length : 0), 0, 64, seed, most);
		add_in_parts(&writer, (type == IN ? length : 0) + 1, W, 64, seed, most);
		expect_request(&writer, type, length);
	}
}

/* Case 16.5.11: what stands before the status byte in its descriptor is data like any other. */
static void test_D_LAYOUT_2_longer_status_descriptor(void **state)
{
	struct writer writer = begin(IN);
	struct vblk_request request;

	(void)state;
	add(&writer, 16, 0);
	add(&writer, 509, W);
	add(&writer, 4, W);
	expect_request(&writer, IN, 512);
	writer = begin(IN);
	add(&writer, 16, 0);
	add(&writer, 512, W);
	add(&writer, 4, W);
	expect_refused(&writer, "data is no multiple of a sector");
	writer = begin(FLUSH);
	add(&writer, 16, 0);
	add(&writer, 4, W);
	expect_refused(&writer, "flush with data");
	writer = begin(OUT);
	add(&writer, 16, 0);
	add(&writer, 510, 0);
	add(&writer, 3, W);
	expect_refused(&writer, "data to write is not readable");
	writer = begin(0xbeef);
	add(&writer, 16, 0);
	add(&writer, 4, W);
	assert_int_equal(parse(&writer, &request).status, VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(request.status_addr, WRITABLE + 3);
}

/* What follows the 16 bytes in a header's descriptor is data, also where none is wanted. */
static void test_D_LAYOUT_2_V6_longer_header_descriptor(void **state)
{
	struct writer writer = begin(IN);

	(void)state;
	add(&writer, 32, 0);
	add(&writer, 512, W);
	add(&writer, 1, W);
	expect_refused(&writer, "data is no multiple of a sector");
	writer = begin(IN);
	add(&writer, 16 + 512, 0);
	add(&writer, 512, W);
	add(&writer, 1, W);
	expect_refused(&writer, "buffer to fill is not writable");
	writer = begin(FLUSH);
	add(&writer, 17, 0);
	add(&writer, 1, W);
	expect_refused(&writer, "flush with data");
	writer = begin(GET_ID);
	add(&writer, 17, 0);
	add(&writer, 20, W);
	add(&writer, 1, W);
	expect_refused(&writer, "buffer to fill is not writable");
}

/* Cases 16.3.7 and 16.3.8 as D-LAYOUT-2 has them: bytes are counted, not descriptors. */
static void test_D_LAYOUT_2_Z1_empty_descriptors_are_no_data(void **state)
{
	static const uint32_t types[] = { IN, OUT, GET_ID };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(types) * 2; i++) {
		struct writer writer = begin(types[i / 2]);

		add(&writer, 16, 0);
		add(&writer, 0, i % 2 ? W : 0);
		add(&writer, 0, W);
		add(&writer, 1, W);
		expect_refused(&writer, "request without data");
	}
}

static void test_D_LAYOUT_2_flush_with_empty_descriptors(void **state)
{
	struct vblk_request request;
	struct vblk_verdict verdict;

	(void)state;
	for (uint16_t flags = 0; flags <= W; flags += W) {
		struct writer writer = begin(FLUSH);

		add(&writer, 16, 0);
		add(&writer, 0, flags);
		add(&writer, 1, W);
		expect_request(&writer, FLUSH, 0);
		verdict = vblk_request_parse(&request, &writer.chain, &ram.view, &read_only);
		assert_int_equal(verdict.action, VBLK_ACTION_REPLY);
		assert_int_equal(verdict.status, VIRTIO_BLK_S_OK);
	}
}

/* Gate 10 counts bytes: the direction of an empty descriptor is none. */
static void test_D_LAYOUT_2_direction_of_empty_descriptors(void **state)
{
	struct writer writer = begin(OUT);

	(void)state;
	add(&writer, 16, 0);
	add(&writer, 512, 0);
	add(&writer, 0, W);
	add(&writer, 1, W);
	expect_request(&writer, OUT, 512);
	writer = begin(IN);
	add(&writer, 16, 0);
	add(&writer, 0, 0);
	add(&writer, 512, W);
	add(&writer, 1, W);
	expect_request(&writer, IN, 512);
}

/* Gate 5 looks at the data in a descriptor, not at what else is in it (V-6). */
static void test_gate_5_in_shared_descriptors(void **state)
{
	struct vblk_request request;
	struct writer writer;

	(void)state;
	for (uint32_t over = 0; over <= 1; over++) {
		const char *reason = over ? "descriptor is longer than size_max" : NULL;

		writer = begin(OUT);
		add(&writer, 16 + VBLK_SIZE_MAX + over, 0);
		add(&writer, 1, W);
		if (reason)
			expect_refused(&writer, reason);
		else
			expect_request(&writer, OUT, VBLK_SIZE_MAX);
		writer = begin(OUT);
		add(&writer, 8, 0);
		add(&writer, 8 + VBLK_SIZE_MAX + over, 0);
		add(&writer, 1, W);
		if (reason)
			expect_refused(&writer, reason);
		else
			expect_request(&writer, OUT, VBLK_SIZE_MAX);
		writer = begin(IN);
		add(&writer, 16, 0);
		add(&writer, VBLK_SIZE_MAX + over + 1, W);
		if (reason)
			expect_refused(&writer, reason);
		else
			expect_request(&writer, IN, VBLK_SIZE_MAX);
	}
	/* The largest request there is, with data in all of its descriptors. */
	writer = begin(IN);
	add(&writer, 16, 0);
	for (unsigned i = 2; i < VBLK_CHAIN_MAX; i++)
		add(&writer, VBLK_SIZE_MAX, W);
	add(&writer, VBLK_SIZE_MAX + 1, W);
	expect_request(&writer, IN, (VBLK_SEG_MAX + 1) * VBLK_SIZE_MAX);
	assert_int_equal(parse(&writer, &request).action, VBLK_ACTION_RUN);
	assert_int_equal(request.segment_count, VBLK_SEG_MAX + 1);
}

static void test_gate_4_cut_header_over_a_hole(void **state)
{
	(void)state;
	for (int lost = 0; lost < 16; lost++) {
		struct writer writer = begin(IN);

		for (int i = 0; i < 16; i++)
			add(&writer, 1, 0);
		writer.chain.desc[lost].addr = UNMAPPED;
		add(&writer, 512, W);
		add(&writer, 1, W);
		expect_refused(&writer, "header is not in guest memory");
	}
}

/*
 * A header in the last 16 bytes of the address space, and data behind it in the same descriptor:
 * that data is nowhere. It is not at 0, where the guest may well have memory.
 */
static void test_D_LAYOUT_data_behind_the_header_does_not_wrap(void **state)
{
	struct vblk_request request;
	struct vblk_verdict verdict;
	struct writer writer;
	struct ram edge;

	(void)state;
	ram_create(&edge, { 0, 0x10000 }, { UINT64_MAX - 15, 16 });
	ram_fill(&edge, UINT64_MAX - 15, 0, 16);
	*ram_at(&edge, UINT64_MAX - 15) = OUT;
	writer = begin(OUT);
	add(&writer, 16 + 512, 0);
	add(&writer, 1, W);
	writer.chain.desc[0].addr = UINT64_MAX - 15;
	verdict = vblk_request_parse(&request, &writer.chain, &edge.view, &anything);
	ram_destroy(&edge);
	assert_int_equal(verdict.action, VBLK_ACTION_REPLY);
	assert_int_equal(verdict.status, VIRTIO_BLK_S_IOERR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_D_LAYOUT_header_in_two_descriptors),
		cmocka_unit_test(test_D_LAYOUT_header_in_16_descriptors),
		cmocka_unit_test(test_D_LAYOUT_header_from_several_places),
		cmocka_unit_test(test_D_LAYOUT_Z1_empty_descriptors_in_the_header),
		cmocka_unit_test(test_D_LAYOUT_empty_descriptors_are_not_looked_at),
		cmocka_unit_test(test_D_LAYOUT_header_and_data_in_one_descriptor),
		cmocka_unit_test(test_D_LAYOUT_cut_header_and_data_in_one_descriptor),
		cmocka_unit_test(test_D_LAYOUT_data_and_status_in_one_descriptor),
		cmocka_unit_test(test_D_LAYOUT_two_descriptors),
		cmocka_unit_test(test_D_LAYOUT_any_cut_gives_the_same_request),
		cmocka_unit_test(test_D_LAYOUT_2_longer_status_descriptor),
		cmocka_unit_test(test_D_LAYOUT_2_V6_longer_header_descriptor),
		cmocka_unit_test(test_D_LAYOUT_2_Z1_empty_descriptors_are_no_data),
		cmocka_unit_test(test_D_LAYOUT_2_flush_with_empty_descriptors),
		cmocka_unit_test(test_D_LAYOUT_2_direction_of_empty_descriptors),
		cmocka_unit_test(test_gate_5_in_shared_descriptors),
		cmocka_unit_test(test_gate_4_cut_header_over_a_hole),
		cmocka_unit_test(test_D_LAYOUT_data_behind_the_header_does_not_wrap),
	};

	return cmocka_run_group_tests_name("request_layout", tests, setup, teardown);
}
