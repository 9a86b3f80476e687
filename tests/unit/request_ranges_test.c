/* SPDX-License-Identifier: MIT */
/*
 * DISCARD and WRITE_ZEROES: what is refused at the gates, and what is done to the disk
 * (specification 5.2.6.2).
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "backing/faulty.h"
#include "base/checked.h"
#include "io_rig.h"

#define DISCARD VIRTIO_BLK_T_DISCARD
#define ZEROES	VIRTIO_BLK_T_WRITE_ZEROES
#define UNMAP	VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP
#define W	VRING_DESC_F_WRITE

#define HEADER 0x4000u
#define RANGES 0x5000u
#define STATUS 0x6000u
#define SECTOR VBLK_SECTOR_SIZE

static const struct vblk_request_rules all = { .discard = true, .write_zeroes = true };
static const struct vblk_request_rules none = { .discard = false };
static const struct vblk_request_rules read_only = { true, true, true };

/* ---- the gates ---- */

static struct ram ram;

static int setup_ram(void **state)
{
	(void)state;
	ram_create(&ram, { 0, 0x10000 });
	return 0;
}

static int teardown_ram(void **state)
{
	(void)state;
	ram_destroy(&ram);
	return 0;
}

static void put_range(const struct ram *memory, unsigned index, uint64_t sector, uint32_t sectors,
		      uint32_t flags)
{
	ram_put64(memory, RANGES + 16 * index, sector);
	ram_put32(memory, RANGES + 16 * index + 8, sectors);
	ram_put32(memory, RANGES + 16 * index + 12, flags);
}

/* A request whose data is `length` bytes from RANGES on, of which the first `cut` by themselves. */
static struct vblk_verdict parse(struct vblk_request *request, uint32_t type, uint32_t length,
				 uint32_t cut, const struct vblk_request_rules *rules)
{
	struct vblk_chain chain = { .head = 7,
				    .count = 4,
				    .desc = { { HEADER, 16, 0, 0 },
					      { RANGES, cut, 0, 0 },
					      { RANGES + cut, length - cut, 0, 0 },
					      { STATUS, 1, W, 0 } } };

	ram_put32(&ram, HEADER, type);
	ram_put64(&ram, HEADER + 8, UINT64_MAX); /* the header's sector means nothing */
	memset(request, 0xee, sizeof(*request));
	return vblk_request_parse(request, &chain, &ram.view, rules);
}

static void expect(struct vblk_verdict got, enum vblk_action action, uint8_t status,
		   const char *reason)
{
	assert_int_equal(got.action, action);
	if (action == VBLK_ACTION_REPLY)
		assert_int_equal(got.status, status);
	if (reason)
		assert_string_equal(got.reason, reason);
	else
		assert_null(got.reason);
}

static void ranges_are_read_however_they_are_cut(void **state)
{
	(void)state;
	put_range(&ram, 0, 8, 16, 0);
	put_range(&ram, 1, 0x123456789ull, VBLK_RANGE_SECTORS_MAX, UNMAP);
	for (uint32_t cut = 0; cut <= 32; cut++) {
		struct vblk_request request;

		expect(parse(&request, ZEROES, 32, cut, &all), VBLK_ACTION_RUN, 0, NULL);
		assert_int_equal(request.range_count, 2);
		assert_int_equal(request.range[0].sector, 8);
		assert_int_equal(request.range[0].sectors, 16);
		assert_false(request.range[0].unmap);
		assert_int_equal(request.range[1].sector, 0x123456789ull);
		assert_int_equal(request.range[1].sectors, VBLK_RANGE_SECTORS_MAX);
		assert_true(request.range[1].unmap);
		assert_int_equal(vblk_request_cost(&request),
				 (16ull + VBLK_RANGE_SECTORS_MAX) * SECTOR);
	}
}

static void a_discard_costs_no_bytes(void **state)
{
	struct vblk_request request;

	(void)state;
	put_range(&ram, 0, 8, 16, 0);
	expect(parse(&request, DISCARD, 16, 0, &all), VBLK_ACTION_RUN, 0, NULL);
	assert_int_equal(vblk_request_cost(&request), 0);
	assert_int_equal(vblk_request_range_bytes(&request), 16 * SECTOR);
}

static void lists_that_are_none(void **state)
{
	static const struct {
		uint32_t length;
		const char *reason;
	} cases[] = {
		{ 0, "data is no list of ranges" },
		{ 1, "data is no list of ranges" },
		{ 15, "data is no list of ranges" },
		{ 17, "data is no list of ranges" },
		{ 16 * VBLK_RANGES_MAX + 1, "data is no list of ranges" },
		{ 16 * (VBLK_RANGES_MAX + 1), "too many ranges" },
		{ VBLK_SIZE_MAX, "too many ranges" },
	};
	static const uint32_t types[] = { DISCARD, ZEROES };

	(void)state;
	for (size_t i = 0; i < 2 * VBLK_ARRAY_SIZE(cases); i++) {
		struct vblk_request request;

		expect(parse(&request, types[i % 2], cases[i / 2].length, 0, &all),
		       VBLK_ACTION_REPLY, VIRTIO_BLK_S_IOERR, cases[i / 2].reason);
		assert_int_equal(request.range_count, 0);
	}
}

static void as_many_ranges_as_there_may_be(void **state)
{
	struct vblk_request request;

	(void)state;
	for (unsigned i = 0; i < VBLK_RANGES_MAX; i++)
		put_range(&ram, i, i, 1, 0);
	expect(parse(&request, DISCARD, 16 * VBLK_RANGES_MAX, 100, &all), VBLK_ACTION_RUN, 0, NULL);
	assert_int_equal(request.range_count, VBLK_RANGES_MAX);
	for (unsigned i = 0; i < VBLK_RANGES_MAX; i++)
		assert_int_equal(request.range[i].sector, i);
}

static void ranges_that_are_refused(void **state)
{
	static const struct {
		uint32_t type;
		uint32_t sectors;
		uint32_t flags;
		uint8_t status;
		const char *reason;
	} cases[] = {
		{ DISCARD, 1, UNMAP, VIRTIO_BLK_S_UNSUPP, NULL },
		{ DISCARD, 1, 2, VIRTIO_BLK_S_UNSUPP, NULL },
		{ ZEROES, 1, 2, VIRTIO_BLK_S_UNSUPP, NULL },
		{ ZEROES, 1, UNMAP | 1u << 31, VIRTIO_BLK_S_UNSUPP, NULL },
		{ DISCARD, VBLK_RANGE_SECTORS_MAX + 1, 0, VIRTIO_BLK_S_IOERR,
		  "range has too many sectors" },
		{ ZEROES, UINT32_MAX, UNMAP, VIRTIO_BLK_S_IOERR, "range has too many sectors" },
	};

	(void)state;
	for (size_t i = 0; i < 2 * VBLK_ARRAY_SIZE(cases); i++) {
		unsigned at = i % 2; /* the first range is wrong, or the second */
		struct vblk_request request;

		put_range(&ram, !at, 0, 8, 0);
		put_range(&ram, at, 0, cases[i / 2].sectors, cases[i / 2].flags);
		expect(parse(&request, cases[i / 2].type, 32, 0, &all), VBLK_ACTION_REPLY,
		       cases[i / 2].status, cases[i / 2].reason);
	}
}

static void what_was_not_negotiated_is_not_supported(void **state)
{
	static const uint32_t types[] = { DISCARD, ZEROES };

	(void)state;
	put_range(&ram, 0, 0, 8, 0);
	for (size_t i = 0; i < 2; i++) {
		struct vblk_request_rules other = { .discard = types[i] != DISCARD,
						    .write_zeroes = types[i] != ZEROES };
		struct vblk_request request;

		expect(parse(&request, types[i], 16, 0, &none), VBLK_ACTION_REPLY,
		       VIRTIO_BLK_S_UNSUPP, NULL);
		expect(parse(&request, types[i], 16, 0, &other), VBLK_ACTION_REPLY,
		       VIRTIO_BLK_S_UNSUPP, NULL);
		expect(parse(&request, types[i], 16, 0, &read_only), VBLK_ACTION_REPLY,
		       VIRTIO_BLK_S_IOERR, "range of a read-only disk is to be changed");
	}
}

static void ranges_the_device_cannot_read(void **state)
{
	struct vblk_chain chain = {
		.count = 3,
		.desc = { { HEADER, 16, 0, 0 }, { RANGES, 16, W, 0 }, { STATUS, 1, W, 0 } },
	};
	struct vblk_request request;

	(void)state;
	ram_put32(&ram, HEADER, DISCARD);
	expect(vblk_request_parse(&request, &chain, &ram.view, &all), VBLK_ACTION_REPLY,
	       VIRTIO_BLK_S_IOERR, "ranges are not readable");
	chain.desc[1] = (struct vblk_desc){ 0x10000 - 8, 16, 0, 0 };
	expect(vblk_request_parse(&request, &chain, &ram.view, &all), VBLK_ACTION_REPLY,
	       VIRTIO_BLK_S_IOERR, "ranges are not in guest memory");
}

/* ---- the disk ---- */

#define SIZE (1u << 20)

static int setup_rig(void **state)
{
	static struct io_rig rig;

	memset(&rig, 0, sizeof(rig));
	ram_create(&rig.ram, { 0, 0x10000 });
	io_rig_create(&rig, SIZE, 0xff);
	/* Past the tape, which knows reads and writes only. */
	vblk_backing_unref(rig.disk.backing);
	rig.disk.backing = vblk_backing_ref(rig.faulty);
	*state = &rig;
	return 0;
}

static int teardown_rig(void **state)
{
	io_rig_destroy(*state);
	return 0;
}

static void add_range(struct io_rig *rig, uint64_t sector, uint32_t sectors, bool unmap)
{
	rig->flight.request.range[rig->flight.request.range_count++] =
		(struct vblk_range){ sector, sectors, unmap };
}

/* Expects zeros in `count` ranges of two numbers, from and to, in sectors; and ones elsewhere. */
static void expect_zeros(const struct io_rig *rig, const uint32_t (*ranges)[2], size_t count)
{
	static uint8_t bytes[SIZE];
	const struct iovec iov = { bytes, SIZE };

	assert_int_equal(vblk_backing_preadv(rig->plain, &iov, 1, 0), SIZE);
	for (uint32_t i = 0; i < SIZE; i++) {
		bool zero = false;

		for (size_t r = 0; r < count; r++)
			zero = zero || (i / SECTOR >= ranges[r][0] && i / SECTOR < ranges[r][1]);
		if (bytes[i] != (zero ? 0 : 0xff))
			fail_msg("byte %u is %#x", i, bytes[i]);
	}
}

static void ranges_are_carried_out(void **state)
{
	static const uint32_t zeros[][2] = { { 1, 4 }, { 100, 300 }, { 2040, 2048 } };
	struct io_rig *rig = *state;

	io_rig_request(rig, ZEROES, UINT64_MAX);
	add_range(rig, 1, 3, false);
	add_range(rig, 100, 200, true);
	add_range(rig, 7, 0, false);	/* nothing */
	add_range(rig, 2048, 0, false); /* nothing, at the very end */
	add_range(rig, 2040, 8, false);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 1);
	expect_zeros(rig, zeros, 3);
	io_rig_counters(rig, .write_zeroes_completed = 1, .bytes_zeroed = 211 * SECTOR);
}

static void a_discard_is_carried_out(void **state)
{
	static const uint32_t zeros[][2] = { { 8, 24 } };
	struct io_rig *rig = *state;

	io_rig_request(rig, DISCARD, 0);
	add_range(rig, 8, 16, false);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 1);
	expect_zeros(rig, zeros, 1);
	io_rig_counters(rig, .discards_completed = 1, .bytes_discarded = 16 * SECTOR);
}

/* All ranges are looked at before the first is touched. */
static void a_range_past_the_end_changes_nothing(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t sectors;
	} cases[] = {
		{ 2048, 1 },
		{ 2047, 2 },
		{ 2049, 0 },
		{ UINT64_MAX, 1 },
		{ UINT64_MAX / 512, 8 },
		{ 1ull << 55, 1 },
		{ 0, SIZE / SECTOR + 1 },
	};
	static const uint32_t types[] = { DISCARD, ZEROES };
	struct io_rig *rig = *state;

	for (size_t i = 0; i < 2 * VBLK_ARRAY_SIZE(cases); i++) {
		io_rig_faults(rig, NULL, 0);
		io_rig_request(rig, types[i % 2], 0);
		add_range(rig, 0, 8, true);
		add_range(rig, cases[i / 2].sector, cases[i / 2].sectors, true);
		io_rig_expect(rig, VIRTIO_BLK_S_IOERR, 1);
		assert_string_equal(rig->message, "range is past the end of the disk");
		io_rig_counters(rig, .io_errors = 1);
		expect_zeros(rig, NULL, 0);
	}
}

static void zeros_are_written_where_they_cannot_be_made(void **state)
{
	const struct vblk_faulty_rule rules[] = {
		{ .op = VBLK_FAULTY_WRITE_ZEROES,
		  .action = VBLK_FAULTY_ERROR,
		  .value = EOPNOTSUPP },
		{ .op = VBLK_FAULTY_PWRITEV,
		  .action = VBLK_FAULTY_SHORT,
		  .value = 1000,
		  .count = 3 },
		{ .op = VBLK_FAULTY_PWRITEV,
		  .action = VBLK_FAULTY_ERROR,
		  .value = EINTR,
		  .first = 2,
		  .every = 2,
		  .count = 1 },
	};
	static const uint32_t zeros[][2] = { { 1, 2048 } };
	struct io_rig *rig = *state;

	io_rig_faults(rig, rules, VBLK_ARRAY_SIZE(rules));
	io_rig_request(rig, ZEROES, 0);
	add_range(rig, 1, 2047, false);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 1);
	expect_zeros(rig, zeros, 1);
	io_rig_counters(rig, .write_zeroes_completed = 1, .bytes_zeroed = 2047 * SECTOR);
}

/* What cannot be done for one range may be done for the next: it is asked each time. */
static void each_range_is_asked_for_anew(void **state)
{
	const struct vblk_faulty_rule rule = {
		VBLK_FAULTY_WRITE_ZEROES, VBLK_FAULTY_ERROR, EOPNOTSUPP, 2, 2, 0
	};
	static const uint32_t zeros[][2] = { { 1, 4 }, { 8, 16 }, { 20, 21 }, { 30, 32 } };
	struct io_rig *rig = *state;

	io_rig_faults(rig, &rule, 1);
	io_rig_request(rig, ZEROES, 0);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(zeros); i++)
		add_range(rig, zeros[i][0], zeros[i][1] - zeros[i][0], false);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 1);
	expect_zeros(rig, zeros, VBLK_ARRAY_SIZE(zeros));
	assert_int_equal(vblk_faulty_calls(rig->faulty, VBLK_FAULTY_WRITE_ZEROES), 4);
	assert_int_equal(vblk_faulty_calls(rig->faulty, VBLK_FAULTY_PWRITEV), 2);
}

/* Notes the flags that it is given, and does nothing. */
struct flags {
	uint32_t of[4];
	unsigned count;
};

static ssize_t move_nothing(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	(void)context;
	(void)iov;
	(void)count;
	(void)offset;
	return 0;
}

static int note_flags(void *context, uint64_t offset, uint64_t bytes, uint32_t flags)
{
	struct flags *seen = context;

	(void)offset;
	(void)bytes;
	assert_in_range(seen->count, 0, VBLK_ARRAY_SIZE(seen->of) - 1);
	seen->of[seen->count++] = flags;
	return 0;
}

static void each_range_says_whether_it_may_be_given_back(void **state)
{
	static const struct vblk_backing_ops ops = { .preadv = move_nothing,
						     .pwritev = move_nothing,
						     .write_zeroes = note_flags };
	const struct vblk_backing_info info = { .size_bytes = SIZE };
	struct flags seen = { .count = 0 };
	struct io_rig *rig = *state;

	vblk_backing_unref(rig->disk.backing);
	assert_int_equal(vblk_backing_create(&ops, &seen, &info, &rig->disk.backing), 0);
	io_rig_request(rig, ZEROES, 0);
	add_range(rig, 0, 1, false);
	add_range(rig, 1, 1, true);
	add_range(rig, 2, 1, false);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(seen.count, 3);
	assert_int_equal(seen.of[0], 0);
	assert_int_equal(seen.of[1], VBLK_ZEROES_UNMAP);
	assert_int_equal(seen.of[2], 0);
}

/* It was a hint. */
static void a_discard_that_cannot_be_done_has_succeeded(void **state)
{
	const struct vblk_faulty_rule rule = { .op = VBLK_FAULTY_DISCARD,
					       .action = VBLK_FAULTY_ERROR,
					       .value = EOPNOTSUPP };
	struct io_rig *rig = *state;

	io_rig_faults(rig, &rule, 1);
	io_rig_request(rig, DISCARD, 0);
	add_range(rig, 0, 8, false);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 1);
	expect_zeros(rig, NULL, 0);
}

static void ranges_whose_disk_fails(void **state)
{
	static const struct {
		uint32_t type;
		const char *message;
		struct vblk_faulty_rule rules[2];
	} cases[] = {
		{ DISCARD,
		  "discard failed",
		  { { VBLK_FAULTY_DISCARD, VBLK_FAULTY_ERROR, EIO, 0, 0, 0 } } },
		{ DISCARD,
		  "discard failed",
		  { { VBLK_FAULTY_DISCARD, VBLK_FAULTY_EXCESS, 1, 0, 0, 0 } } },
		{ DISCARD,
		  "discard failed",
		  { { VBLK_FAULTY_DISCARD, VBLK_FAULTY_ERROR, EINTR, 0, 0, 0 } } },
		{ ZEROES,
		  "write zeroes failed",
		  { { VBLK_FAULTY_WRITE_ZEROES, VBLK_FAULTY_ERROR, ENOSPC, 0, 0, 0 } } },
		{ ZEROES,
		  "write zeroes failed",
		  { { VBLK_FAULTY_WRITE_ZEROES, VBLK_FAULTY_ERROR, EOPNOTSUPP, 0, 0, 0 },
		    { VBLK_FAULTY_PWRITEV, VBLK_FAULTY_ZERO, 0, 0, 0, 0 } } },
		{ ZEROES,
		  "write zeroes failed",
		  { { VBLK_FAULTY_WRITE_ZEROES, VBLK_FAULTY_ERROR, EOPNOTSUPP, 0, 0, 0 },
		    { VBLK_FAULTY_PWRITEV, VBLK_FAULTY_EXCESS, 1, 0, 0, 0 } } },
		{ ZEROES,
		  "write zeroes failed",
		  { { VBLK_FAULTY_WRITE_ZEROES, VBLK_FAULTY_ERROR, EOPNOTSUPP, 0, 0, 0 },
		    { VBLK_FAULTY_PWRITEV, VBLK_FAULTY_ERROR, EIO, 0, 0, 0 } } },
	};
	struct io_rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		io_rig_faults(rig, cases[i].rules, cases[i].rules[1].op ? 2 : 1);
		io_rig_request(rig, cases[i].type, 0);
		add_range(rig, 0, 8, false);
		io_rig_expect(rig, VIRTIO_BLK_S_IOERR, 1);
		assert_string_equal(rig->message, cases[i].message);
		io_rig_counters(rig, .io_errors = 1);
	}
}

/* 16 times is still no error, as everywhere. */
static void a_range_may_be_interrupted(void **state)
{
	const struct vblk_faulty_rule rules[] = {
		{ VBLK_FAULTY_DISCARD, VBLK_FAULTY_ERROR, EINTR, 1, 1, 16 },
		{ VBLK_FAULTY_WRITE_ZEROES, VBLK_FAULTY_ERROR, EINTR, 1, 1, 16 },
	};
	struct io_rig *rig = *state;

	io_rig_faults(rig, rules, 2);
	io_rig_request(rig, DISCARD, 0);
	add_range(rig, 0, 8, false);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 1);
	io_rig_request(rig, ZEROES, 0);
	add_range(rig, 0, 8, false);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 1);
}

/* So may the write that takes its place; and once more is an error. */
static void zeros_that_are_written_may_be_interrupted(void **state)
{
	static const uint32_t zeros[][2] = { { 0, 8 } };
	struct io_rig *rig = *state;

	for (uint32_t count = 16; count <= 17; count++) {
		const struct vblk_faulty_rule rules[] = {
			{ VBLK_FAULTY_WRITE_ZEROES, VBLK_FAULTY_ERROR, EOPNOTSUPP, 0, 0, 0 },
			{ VBLK_FAULTY_PWRITEV, VBLK_FAULTY_ERROR, EINTR, 1, 1, count },
		};

		io_rig_faults(rig, rules, 2);
		io_rig_request(rig, ZEROES, 0);
		add_range(rig, 0, 8, false);
		io_rig_expect(rig, count == 16 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR, 1);
		assert_int_equal(vblk_faulty_calls(rig->faulty, VBLK_FAULTY_PWRITEV), 17);
		expect_zeros(rig, zeros, 1);
	}
}

/* Rules: D-STABLE. */
static void ranges_are_stable_for_a_driver_that_cannot_flush(void **state)
{
	const struct vblk_faulty_rule rule = { VBLK_FAULTY_SYNC, VBLK_FAULTY_ERROR, EIO, 0, 0, 0 };
	struct io_rig *rig = *state;

	rig->io.stable_writes = true;
	io_rig_request(rig, DISCARD, 0);
	add_range(rig, 0, 8, false);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(vblk_faulty_calls(rig->faulty, VBLK_FAULTY_SYNC), 1);
	io_rig_faults(rig, &rule, 1);
	io_rig_expect(rig, VIRTIO_BLK_S_IOERR, 1);
	assert_string_equal(rig->message, "write could not be made stable");
}

/* A worker that was cut off makes no further call. */
static void a_revoked_lease_ends_it(void **state)
{
	static const uint32_t types[] = { DISCARD, ZEROES };
	struct io_rig *rig = *state;

	assert_int_equal(vblk_lease_revoke(&rig->lease), 0);
	for (size_t i = 0; i < 2; i++) {
		struct vblk_transfer transfer;

		io_rig_request(rig, types[i], 0);
		add_range(rig, 0, 8, false);
		transfer = io_rig_transfer(rig);
		assert_int_equal(transfer.error, -ECANCELED);
		expect_zeros(rig, NULL, 0);
	}
	assert_int_equal(vblk_faulty_calls(rig->faulty, VBLK_FAULTY_DISCARD), 0);
	assert_int_equal(vblk_faulty_calls(rig->faulty, VBLK_FAULTY_WRITE_ZEROES), 0);
}

#define GATE_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup_ram, teardown_ram)
#define DISK_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup_rig, teardown_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		GATE_TEST(ranges_are_read_however_they_are_cut),
		GATE_TEST(a_discard_costs_no_bytes),
		GATE_TEST(lists_that_are_none),
		GATE_TEST(as_many_ranges_as_there_may_be),
		GATE_TEST(ranges_that_are_refused),
		GATE_TEST(what_was_not_negotiated_is_not_supported),
		GATE_TEST(ranges_the_device_cannot_read),
		DISK_TEST(ranges_are_carried_out),
		DISK_TEST(a_discard_is_carried_out),
		DISK_TEST(a_range_past_the_end_changes_nothing),
		DISK_TEST(zeros_are_written_where_they_cannot_be_made),
		DISK_TEST(each_range_is_asked_for_anew),
		DISK_TEST(each_range_says_whether_it_may_be_given_back),
		DISK_TEST(a_discard_that_cannot_be_done_has_succeeded),
		DISK_TEST(ranges_whose_disk_fails),
		DISK_TEST(a_range_may_be_interrupted),
		DISK_TEST(zeros_that_are_written_may_be_interrupted),
		DISK_TEST(ranges_are_stable_for_a_driver_that_cannot_flush),
		DISK_TEST(a_revoked_lease_ends_it),
	};

	return cmocka_run_group_tests_name("request: ranges", tests, NULL, NULL);
}
