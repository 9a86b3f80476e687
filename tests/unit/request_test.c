/* SPDX-License-Identifier: MIT */
/*
 * The gates between a chain and the disk, one by one and in their order. Names begin with the gate
 * or rule of the contract (section 6) or the case of its catalogue. What is refused is told apart
 * by the reason, which is also what the log says. Layouts of the bytes: request_layout_test.c.
 */
#include "request/request.h"

#include "ram.h"

#include <endian.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/time.h>

#include <cmocka.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>

#include "base/checked.h"

#define W VRING_DESC_F_WRITE

#define IN	VIRTIO_BLK_T_IN
#define OUT	VIRTIO_BLK_T_OUT
#define FLUSH	VIRTIO_BLK_T_FLUSH
#define GET_ID	VIRTIO_BLK_T_GET_ID
#define UNKNOWN 0xbeef

#define HEADER	 0x4000u
#define DATA	 0x5000u
#define STATUS	 0x6000u
#define UNMAPPED 0x200000u
#define MIB	 VBLK_SIZE_MAX

/* What most chains begin and end with. */
#define HDR                   \
	{                     \
		HEADER, 16, 0 \
	}
#define STS                  \
	{                    \
		STATUS, 1, W \
	}

/* The reasons, each of which belongs to one gate. */
#define TOO_MANY     "chain has too many descriptors"
#define TOO_FEW	     "chain has no room for header and status"
#define NOT_WRITABLE "last descriptor is not writable"
#define EMPTY	     "last descriptor is empty"
#define PAST_END     "status byte is past the end of the address space"
#define SHORT_HEADER "fewer than 16 readable bytes of header"
#define LOST_HEADER  "header is not in guest memory"
#define TOO_LONG     "descriptor is longer than size_max"
#define NO_DATA	     "request without data"
#define FLUSH_DATA   "flush with data"
#define NO_SECTOR    "data is no multiple of a sector"
#define READ_ONLY    "write to a read-only disk"
#define NOT_READABLE "data to write is not readable"
#define NOT_TO_FILL  "buffer to fill is not writable"

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

static void put_header(uint64_t address, uint32_t type, uint64_t sector)
{
	ram_put32(&ram, address, type);
	ram_put32(&ram, address + 4, 0xffffffff); /* ioprio means nothing */
	ram_put64(&ram, address + 8, sector);
}

/* A chain of up to four descriptors; those behind the last are all zero and not there. */
struct shape {
	uint32_t type;
	bool read_only;
	struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
	} desc[4];
};

static struct vblk_chain chain_of(const struct shape *shape)
{
	struct vblk_chain chain = { .head = 7 };

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(shape->desc) && shape->desc[i].addr; i++)
		chain.desc[chain.count++] =
			(struct vblk_desc){ shape->desc[i].addr, shape->desc[i].len,
					    shape->desc[i].flags, 0 };
	return chain;
}

static struct vblk_verdict parse(const struct shape *shape, struct vblk_request *request)
{
	struct vblk_chain chain = chain_of(shape);

	put_header(HEADER, shape->type, 0);
	memset(request, 0xee, sizeof(*request));
	return vblk_request_parse(request, &chain, &ram.view,
				  shape->read_only ? &read_only : &anything);
}

static void expect_verdict(size_t i, struct vblk_verdict got, enum vblk_action action,
			   uint8_t status, const char *reason)
{
	bool same = got.reason && reason ? strcmp(got.reason, reason) == 0 : got.reason == reason;

	if (got.action != action || (action == VBLK_ACTION_REPLY && got.status != status) || !same)
		fail_msg("case %zu: action %d, status %u, reason %s", i, got.action, got.status,
			 got.reason ? got.reason : "none");
}

/* Expects each of the shapes to be refused with IOERR for the reason given. */
struct refusal {
	struct shape shape;
	const char *reason;
};

static void expect_refusals(const struct refusal *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct vblk_request request;

		expect_verdict(i, parse(&cases[i].shape, &request), VBLK_ACTION_REPLY,
			       VIRTIO_BLK_S_IOERR, cases[i].reason);
		assert_int_equal(request.head, 7);
		assert_true(request.status_addr >= STATUS);
	}
}

static void expect_runs(const struct shape *shapes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct vblk_request request;

		expect_verdict(i, parse(&shapes[i], &request), VBLK_ACTION_RUN, 0, NULL);
		assert_int_equal(request.type, shapes[i].type);
	}
}

static void test_gate_1_chain_that_is_too_long_is_dropped(void **state)
{
	static struct vblk_chain chain = { .count = VBLK_CHAIN_MAX };
	static struct vblk_request request;

	(void)state;
	put_header(HEADER, IN, 0);
	chain.desc[0] = (struct vblk_desc){ HEADER, 16, 0, 0 };
	for (uint64_t i = 1; i < VBLK_CHAIN_MAX; i++)
		chain.desc[i] = (struct vblk_desc){ DATA + 512 * i, 512, W, 0 };
	chain.desc[VBLK_CHAIN_MAX - 1] = (struct vblk_desc){ STATUS, 1, W, 0 };
	expect_verdict(0, vblk_request_parse(&request, &chain, &ram.view, &anything),
		       VBLK_ACTION_RUN, 0, NULL);
	assert_int_equal(request.segment_count, VBLK_SEG_MAX);
	assert_int_equal(request.data_len, 512 * VBLK_SEG_MAX);
	chain.count++;
	expect_verdict(1, vblk_request_parse(&request, &chain, &ram.view, &anything),
		       VBLK_ACTION_DROP, 0, TOO_MANY);
	/* Before gate 2: the last one seen is no status either. */
	chain.desc[VBLK_CHAIN_MAX - 1].flags = 0;
	expect_verdict(2, vblk_request_parse(&request, &chain, &ram.view, &anything),
		       VBLK_ACTION_DROP, 0, TOO_MANY);
}

static void test_gate_2_chain_without_a_status_byte_is_dropped(void **state)
{
	static const struct refusal cases[] = {
		{ { IN, false, { { 0 } } }, TOO_FEW },
		{ { IN, false, { HDR } }, TOO_FEW },
		{ { IN, false, { STS } }, TOO_FEW },
		{ { IN, false, { HDR, { STATUS, 1, 0 } } }, NOT_WRITABLE },
		{ { IN, false, { HDR, { STATUS, 0, 0 } } }, NOT_WRITABLE },
		{ { IN, false, { HDR, { DATA, 512, W }, { STATUS, 1, 0 } } }, NOT_WRITABLE },
		{ { IN, false, { HDR, { STATUS, 0, W } } }, EMPTY },
		{ { IN, false, { HDR, { UINT64_MAX, 2, W } } }, PAST_END },
		{ { IN, false, { HDR, { UINT64_MAX - 2, 4, W } } }, PAST_END },
		{ { IN, false, { HDR, { 0xfffffffff0000000, 0xffffffff, W } } }, PAST_END },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		struct vblk_request request;

		expect_verdict(i, parse(&cases[i].shape, &request), VBLK_ACTION_DROP, 0,
			       cases[i].reason);
		assert_int_equal(request.head, 7);
	}
}

static void test_V2_drop_precedes_every_refusal(void **state)
{
	static const struct shape shapes[] = {
		{ IN, false, { { HEADER, 15, 0 }, { STATUS, 1, 0 } } },	  /* gate 3 */
		{ IN, false, { { DATA, 16, W }, { STATUS, 0, W } } },	  /* gate 3 */
		{ IN, false, { { UNMAPPED, 16, 0 }, { STATUS, 1, 0 } } }, /* gate 4 */
		{ IN, false, { HDR, { DATA, MIB + 1, W }, { STATUS, 0, W } } },
		{ IN, false, { HDR, { STATUS, 0, W } } },	   /* gate 6 */
		{ FLUSH, true, { HDR, { DATA, 1, 0 } } },	   /* gate 7 */
		{ OUT, true, { HDR, { DATA, 513, 0 } } },	   /* gates 8, 9a */
		{ UNKNOWN, false, { HDR, { UINT64_MAX, 2, W } } }, /* gate 9c */
		{ FLUSH, true, { HDR, { STATUS, 1, 0 } } },	   /* gate 9b */
		{ OUT, false, { HDR, { DATA, 512, W }, { STATUS, 0, W } } },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(shapes); i++) {
		struct vblk_request request;

		assert_int_equal(parse(&shapes[i], &request).action, VBLK_ACTION_DROP);
	}
}

static void test_gate_3_short_header(void **state)
{
	static const struct refusal cases[] = {
		{ { IN, false, { { HEADER, 8, 0 }, STS } }, SHORT_HEADER },
		{ { IN, false, { { HEADER, 15, 0 }, STS } }, SHORT_HEADER },
		{ { IN, false, { { HEADER, 0, 0 }, STS } }, SHORT_HEADER },
		{ { IN, false, { { HEADER, 16, W }, STS } }, SHORT_HEADER },
		{ { IN, false, { { HEADER, 8, 0 }, { HEADER, 7, 0 }, STS } }, SHORT_HEADER },
		/* Readable bytes behind writable ones are not at the start. */
		{ { IN, false, { { HEADER, 8, 0 }, { DATA, 1, W }, HDR, STS } }, SHORT_HEADER },
		{ { IN, false, { { DATA, 512, W }, HDR, STS } }, SHORT_HEADER },
		/* Gate 4 comes later, gates 5, 7 and 9c too. */
		{ { IN, false, { { UNMAPPED, 15, 0 }, STS } }, SHORT_HEADER },
		{ { IN, false, { { HEADER, 15, 0 }, { DATA, MIB + 1, W }, STS } }, SHORT_HEADER },
		{ { UNKNOWN, false, { { HEADER, 15, 0 }, STS } }, SHORT_HEADER },
		{ { FLUSH, true, { { HEADER, 15, 0 }, STS } }, SHORT_HEADER },
	};

	(void)state;
	expect_refusals(cases, VBLK_ARRAY_SIZE(cases));
}

static void test_gate_4_unreadable_header(void **state)
{
	static const struct refusal cases[] = {
		{ { IN, false, { { UNMAPPED, 16, 0 }, { DATA, 512, W }, STS } }, LOST_HEADER },
		{ { IN, false, { { 0xfff1, 16, 0 }, { DATA, 512, W }, STS } }, LOST_HEADER },
		{ { IN, false, { { UINT64_MAX - 7, 16, 0 }, { DATA, 512, W }, STS } },
		  LOST_HEADER },
		/* Its last byte alone. */
		{ { IN, false, { { HEADER, 15, 0 }, { UNMAPPED, 1, 0 }, { DATA, 512, W }, STS } },
		  LOST_HEADER },
		/* Gate 5 comes later. */
		{ { IN, false, { { UNMAPPED, 16, 0 }, { DATA, MIB + 1, W }, STS } }, LOST_HEADER },
	};

	(void)state;
	expect_refusals(cases, VBLK_ARRAY_SIZE(cases));
}

/* For each type, of which the last two need no data at all. */
static void test_gate_5_size_max(void **state)
{
	static const struct {
		uint32_t type;
		uint16_t flags;
		bool read_only;
	} cases[] = {
		{ IN, W, false },    { OUT, 0, false },	    { GET_ID, W, false },
		{ FLUSH, 0, false }, { FLUSH, W, true },    { OUT, 0, true },
		{ IN, 0, false },    { UNKNOWN, W, false }, { UNKNOWN, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		struct shape shape = { cases[i].type,
				       cases[i].read_only,
				       { HDR, { DATA, MIB + 1, cases[i].flags }, STS } };
		struct vblk_request request;
		const char *reason;

		expect_verdict(i, parse(&shape, &request), VBLK_ACTION_REPLY, VIRTIO_BLK_S_IOERR,
			       TOO_LONG);
		shape.desc[1].len = UINT32_MAX;
		expect_verdict(i, parse(&shape, &request), VBLK_ACTION_REPLY, VIRTIO_BLK_S_IOERR,
			       TOO_LONG);
		/* One byte less, and whatever becomes of it is another gate's matter. */
		shape.desc[1].len = MIB;
		reason = parse(&shape, &request).reason;
		assert_true(!reason || strcmp(reason, TOO_LONG) != 0);
	}
}

static void test_gate_5_holds_for_any_data_descriptor(void **state)
{
	static const struct refusal cases[] = {
		{ { IN, false, { HDR, { DATA, 512, W }, { DATA, MIB + 1, W }, STS } }, TOO_LONG },
		{ { IN, false, { HDR, { DATA, MIB + 1, W }, { DATA, 512, W }, STS } }, TOO_LONG },
		/* Before gate 8 and gate 10. */
		{ { IN, false, { HDR, { DATA, 1, 0 }, { DATA, MIB + 1, W }, STS } }, TOO_LONG },
	};

	(void)state;
	expect_refusals(cases, VBLK_ARRAY_SIZE(cases));
}

static void test_gate_6_request_without_data(void **state)
{
	static const struct refusal cases[] = {
		{ { IN, false, { HDR, STS } }, NO_DATA },
		{ { OUT, false, { HDR, STS } }, NO_DATA },
		{ { GET_ID, false, { HDR, STS } }, NO_DATA },
		{ { IN, true, { HDR, STS } }, NO_DATA },
		{ { GET_ID, true, { HDR, STS } }, NO_DATA },
		/* Gate 9a comes later. */
		{ { OUT, true, { HDR, STS } }, NO_DATA },
	};

	(void)state;
	expect_refusals(cases, VBLK_ARRAY_SIZE(cases));
}

static void test_gate_7_flush_with_data(void **state)
{
	static const struct refusal cases[] = {
		{ { FLUSH, false, { HDR, { DATA, 1, W }, STS } }, FLUSH_DATA },
		{ { FLUSH, false, { HDR, { DATA, 512, 0 }, STS } }, FLUSH_DATA },
		/* Gate 9b comes later. */
		{ { FLUSH, true, { HDR, { DATA, 1, 0 }, STS } }, FLUSH_DATA },
		{ { FLUSH, true, { HDR, { DATA, 512, W }, STS } }, FLUSH_DATA },
	};

	(void)state;
	expect_refusals(cases, VBLK_ARRAY_SIZE(cases));
}

static void test_gate_8_parts_of_sectors(void **state)
{
	static const uint32_t lengths[] = { 1, 511, 513, 1023, MIB - 1 };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(lengths); i++) {
		const struct refusal cases[] = {
			{ { IN, false, { HDR, { DATA, lengths[i], W }, STS } }, NO_SECTOR },
			{ { OUT, false, { HDR, { DATA, lengths[i], 0 }, STS } }, NO_SECTOR },
			/* Gates 9a and 10 come later. */
			{ { OUT, true, { HDR, { DATA, lengths[i], 0 }, STS } }, NO_SECTOR },
			{ { OUT, false, { HDR, { DATA, lengths[i], W }, STS } }, NO_SECTOR },
			{ { IN, false, { HDR, { DATA, lengths[i], 0 }, STS } }, NO_SECTOR },
		};

		expect_refusals(cases, VBLK_ARRAY_SIZE(cases));
	}
}

/* The sum counts: sectors may be cut anywhere. */
static void test_gate_8_sum_of_descriptors(void **state)
{
	static const struct shape fine[] = {
		{ IN, false, { HDR, { DATA, 1, W }, { DATA, 511, W }, STS } },
		{ OUT, false, { HDR, { DATA, 1000, 0 }, { DATA, 24, 0 }, STS } },
	};
	static const struct refusal refused[] = {
		{ { IN, false, { HDR, { DATA, 512, W }, { DATA, 511, W }, STS } }, NO_SECTOR },
	};

	(void)state;
	expect_runs(fine, VBLK_ARRAY_SIZE(fine));
	expect_refusals(refused, VBLK_ARRAY_SIZE(refused));
}

static void test_gate_9_16_2_11_write_to_a_read_only_disk(void **state)
{
	static const struct refusal cases[] = {
		{ { OUT, true, { HDR, { DATA, 512, 0 }, STS } }, READ_ONLY },
		/* Gate 10 comes later. */
		{ { OUT, true, { HDR, { DATA, 512, W }, STS } }, READ_ONLY },
	};

	(void)state;
	expect_refusals(cases, VBLK_ARRAY_SIZE(cases));
}

static void test_gate_9_16_2_12_flush_of_a_read_only_disk(void **state)
{
	const struct shape shape = { FLUSH, true, { HDR, STS } };
	struct vblk_request request;

	(void)state;
	expect_verdict(0, parse(&shape, &request), VBLK_ACTION_REPLY, VIRTIO_BLK_S_OK, NULL);
	assert_int_equal(request.status_addr, STATUS);
}

/* Any shape will do, and it is no fault of the driver's. Rules: P-2 */
static void test_gate_9_16_2_14_unknown_types(void **state)
{
	static const uint32_t types[] = { 2,	      3,	  5,	 6,	  7,
					  9,	      10,	  11,	 13,	  14,
					  0xbeef,     0x01000000, 0x100, 0x10000, 0x80000000,
					  0x80000001, 0xffffffff };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(types) * 2; i++) {
		const struct shape shapes[] = {
			{ types[i / 2], i % 2, { HDR, STS } },
			{ types[i / 2], i % 2, { HDR, { DATA, 1, W }, STS } },
			{ types[i / 2], i % 2, { HDR, { DATA, 513, 0 }, STS } },
			{ types[i / 2], i % 2, { HDR, { UNMAPPED, 7, 0 }, { DATA, 0, W }, STS } },
		};

		for (size_t k = 0; k < VBLK_ARRAY_SIZE(shapes); k++) {
			struct vblk_request request;

			expect_verdict(i, parse(&shapes[k], &request), VBLK_ACTION_REPLY,
				       VIRTIO_BLK_S_UNSUPP, NULL);
			assert_int_equal(request.head, 7);
			assert_int_equal(request.status_addr, STATUS);
		}
	}
}

static void test_gate_10_direction(void **state)
{
	static const struct refusal cases[] = {
		{ { IN, false, { HDR, { DATA, 512, 0 }, STS } }, NOT_TO_FILL },
		{ { IN, true, { HDR, { DATA, 512, 0 }, STS } }, NOT_TO_FILL },
		{ { GET_ID, false, { HDR, { DATA, 20, 0 }, STS } }, NOT_TO_FILL },
		{ { GET_ID, true, { HDR, { DATA, 20, 0 }, STS } }, NOT_TO_FILL },
		{ { OUT, false, { HDR, { DATA, 512, W }, STS } }, NOT_READABLE },
		/* Any of them. */
		{ { IN, false, { HDR, { DATA, 1, 0 }, { DATA, 511, W }, STS } }, NOT_TO_FILL },
		{ { IN, false, { HDR, { DATA, 511, W }, { DATA, 1, 0 }, STS } }, NOT_TO_FILL },
		{ { GET_ID, false, { HDR, { DATA, 20, W }, { DATA, 1, 0 }, STS } }, NOT_TO_FILL },
		{ { OUT, false, { HDR, { DATA, 511, 0 }, { DATA, 1, W }, STS } }, NOT_READABLE },
	};

	(void)state;
	expect_refusals(cases, VBLK_ARRAY_SIZE(cases));
}

static void test_V5_what_runs(void **state)
{
	static const struct shape shapes[] = {
		{ IN, false, { HDR, { DATA, 512, W }, STS } },
		{ IN, true, { HDR, { DATA, 512, W }, STS } },
		{ OUT, false, { HDR, { DATA, 512, 0 }, STS } },
		{ FLUSH, false, { HDR, STS } },
		/* Gate 8 is not for get-id, nor is a read-only disk in its way. */
		{ GET_ID, false, { HDR, { DATA, 20, W }, STS } },
		{ GET_ID, true, { HDR, { DATA, 20, W }, STS } },
		{ GET_ID, true, { HDR, { DATA, 1, W }, STS } },
		/* Whether data is in guest memory is not asked here. */
		{ IN, false, { HDR, { UNMAPPED, MIB, W }, STS } },
		{ OUT, false, { HDR, { UNMAPPED, MIB, 0 }, { UNMAPPED, 1, W } } },
	};

	(void)state;
	expect_runs(shapes, VBLK_ARRAY_SIZE(shapes));
}

static void test_V1_status_is_the_last_byte(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		uint64_t status;
	} cases[] = {
		{ STATUS, 1, STATUS },		 { STATUS, 4, STATUS + 3 },
		{ STATUS, 4096, STATUS + 4095 }, { UNMAPPED, 2, UNMAPPED + 1 },
		{ UINT64_MAX, 1, UINT64_MAX },	 { UINT64_MAX - 3, 4, UINT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		const struct shape shape = {
			UNKNOWN,
			false,
			{ HDR, { cases[i].addr, cases[i].len, W } },
		};
		struct vblk_request request;

		expect_verdict(i, parse(&shape, &request), VBLK_ACTION_REPLY, VIRTIO_BLK_S_UNSUPP,
			       NULL);
		assert_true(request.status_addr == cases[i].status);
	}
}

static void test_V4_header_is_little_endian(void **state)
{
	static const uint8_t header[] = { 0x01, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff,
					  0xf8, 0xf7, 0xf6, 0xf5, 0xf4, 0xf3, 0xf2, 0xf1 };
	struct vblk_chain chain = {
		.head = 300,
		.count = 3,
		.desc = { { HEADER, 16, 0, 0 }, { DATA, 1024, 0, 0 }, { STATUS, 1, W, 0 } }
	};
	struct vblk_request request;

	(void)state;
	ram_put(&ram, HEADER, header, sizeof(header));
	expect_verdict(0, vblk_request_parse(&request, &chain, &ram.view, &anything),
		       VBLK_ACTION_RUN, 0, NULL);
	assert_int_equal(request.head, 300);
	assert_int_equal(request.type, OUT);
	assert_true(request.sector == 0xf1f2f3f4f5f6f7f8);
	assert_int_equal(request.status_addr, STATUS);
	assert_int_equal(request.data_len, 1024);
	assert_int_equal(request.segment_count, 1);
	assert_int_equal(request.segment[0].addr, DATA);
	assert_int_equal(request.segment[0].len, 1024);
}

static atomic_uint changes;
static uint32_t *fickle_type;

/* Between any two instructions of the device, however few processors there are. */
static void change_type(int signal)
{
	static const uint32_t types[] = { IN, OUT, FLUSH };
	unsigned change = atomic_fetch_add_explicit(&changes, 1, memory_order_relaxed);

	(void)signal;
	__atomic_store_n(fickle_type, htole32(types[change % 3]), __ATOMIC_RELAXED);
}

/* How often the type is to change, and after how long; it does not matter if that is late. */
#define CHANGES	  300
#define CHANGE_US 10

static void be_fickle(bool fickle)
{
	const struct sigaction action = { .sa_handler = fickle ? change_type : SIG_IGN };
	const struct timeval often = { 0, fickle ? CHANGE_US : 0 };

	fickle_type = (uint32_t *)(void *)ram_at(&ram, HEADER);
	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &(struct itimerval){ often, often }, NULL), 0);
}

static const char *fate_of_a_buffer_to_fill(uint32_t type)
{
	if (type == OUT)
		return NOT_READABLE;
	return type == FLUSH ? FLUSH_DATA : NULL;
}

/*
 * A driver that changes the header meanwhile. Whichever type the request got, it was
 * judged as that: with data to fill, a read runs, a write and a flush are refused.
 * Rules: O-11
 */
static void test_V4_D_SNAPSHOT_header_is_read_once(void **state)
{
	struct vblk_chain chain = {
		.count = 3,
		.desc = { { HEADER, 16, 0, 0 }, { DATA, 512, W, 0 }, { STATUS, 1, W, 0 } }
	};
	unsigned torn = 0;

	(void)state;
	put_header(HEADER, IN, 0);
	be_fickle(true);
	/* ThreadSanitizer hands signals on when it likes: there it ends by the second condition. */
	for (unsigned i = 0; atomic_load(&changes) < CHANGES && i < 20000000; i++) {
		struct vblk_request request;
		const char *reason =
			vblk_request_parse(&request, &chain, &ram.view, &anything).reason;
		const char *want = fate_of_a_buffer_to_fill(request.type);

		torn += want && reason ? strcmp(want, reason) != 0 : want != reason;
	}
	be_fickle(false);
	assert_int_equal(torn, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gate_1_chain_that_is_too_long_is_dropped),
		cmocka_unit_test(test_gate_2_chain_without_a_status_byte_is_dropped),
		cmocka_unit_test(test_V2_drop_precedes_every_refusal),
		cmocka_unit_test(test_gate_3_short_header),
		cmocka_unit_test(test_gate_4_unreadable_header),
		cmocka_unit_test(test_gate_5_size_max),
		cmocka_unit_test(test_gate_5_holds_for_any_data_descriptor),
		cmocka_unit_test(test_gate_6_request_without_data),
		cmocka_unit_test(test_gate_7_flush_with_data),
		cmocka_unit_test(test_gate_8_parts_of_sectors),
		cmocka_unit_test(test_gate_8_sum_of_descriptors),
		cmocka_unit_test(test_gate_9_16_2_11_write_to_a_read_only_disk),
		cmocka_unit_test(test_gate_9_16_2_12_flush_of_a_read_only_disk),
		cmocka_unit_test(test_gate_9_16_2_14_unknown_types),
		cmocka_unit_test(test_gate_10_direction),
		cmocka_unit_test(test_V5_what_runs),
		cmocka_unit_test(test_V1_status_is_the_last_byte),
		cmocka_unit_test(test_V4_header_is_little_endian),
		cmocka_unit_test(test_V4_D_SNAPSHOT_header_is_read_once),
	};

	return cmocka_run_group_tests_name("request", tests, setup, teardown);
}
