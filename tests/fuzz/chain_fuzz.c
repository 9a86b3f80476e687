/* SPDX-License-Identifier: MIT */
/*
 * One descriptor chain: walked, judged, and cut into host vectors, against the contract said a
 * second time (oracle.h).
 *
 * A program lays out memory; then the chain that its SETUP names is taken apart. The walk finds
 * the same descriptors, the gates come to the same verdict, the data are the same stretches. The
 * vectors lie in guest memory, each in one region, in the order of the data and without a gap,
 * however they are taken: in large steps or small.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "driver.h"
#include "oracle.h"
#include "records.h"
#include "request/hot.h"
#include "request/iovec.h"

#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))
#define DESC_BUDGET 400u

/*
 * What a step does and what its arguments a[0..6] mean.
 *
 * SETUP     a[0] size, from 9 on with DISCARD, from 18 with WRITE_ZEROES, from 27 with both; all
 *           again from 36 on, by parts; a[1..3] table; a[6] 0 read-only, 1 head is a[4..5], 2-7
 *           how vectors are taken
 * REQUEST   a[0..5] as of driver_request; its head is the chain's
 * DESC      a[0] index, a[1..3] address, a[4..5] length, a[6] 0-2 flags, 3-7 next
 * INDIRECT  the same in a table elsewhere
 * HEADER    a[0..2] address, a[3] type, a[4] sector
 * POKE      a[0..2] address, a[3] how many, a[4..6] bytes
 * TRAP      a[0..2] address, a[3] bits
 * RANGES    a[0..5] as of driver_ranges; its head is the chain's
 */
enum op {
	OP_SETUP,
	OP_REQUEST,
	OP_DESC,
	OP_INDIRECT,
	OP_HEADER,
	OP_POKE,
	OP_TRAP,
	OP_RANGES,
	OPS,
};

const uint8_t fuzz_phrases[][RECORD_SIZE] = {
	{ OP_SETUP },
	{ OP_SETUP, 1 },
	{ OP_SETUP, 0, 0, 0, 0, 0, 0, 1 },
	{ OP_SETUP, 1, 6, 32 },
	{ OP_SETUP, 3, 2 },
	{ OP_REQUEST },
	{ OP_REQUEST, 1 },
	{ OP_REQUEST, 2 },
	{ OP_REQUEST, 3 },
	{ OP_REQUEST, 6, 0, 0, 0, 0, 3 },
	{ OP_REQUEST, 0x08, 0, 5, 0x30 },
	{ OP_REQUEST, 0x11, 0, 7, 0x13, 1 },
	{ OP_REQUEST, 0, 0, 0, 0xf8, 0, 0 },
	{ OP_REQUEST, 0, 0, 0, 0xf7, 0, 3 },
	{ OP_REQUEST, 0, 0, 5, 0x30, 2 },
	{ OP_REQUEST, 0, 0, 3, 0x43, 0x30 },
	{ OP_REQUEST, 1, 0, 9, 0x02, 0x38, 64 },
	{ OP_DESC, 0, 0, 0, 0x22, 0, 0, 0x29 },
	{ OP_DESC, 1, 1, 0, 0, 0, 0, 0x2a },
	{ OP_INDIRECT, 0, 0, 0, 0x22, 14, 1, 1 },
	{ OP_HEADER, 12 },
	{ OP_TRAP, 12, 0, 0, 1 },
	{ OP_TRAP, 9, 0, 0, 1 },
	{ OP_SETUP, 27 },
	{ OP_SETUP, 36 },
	{ OP_SETUP, 27, 0, 0, 0, 0, 0, 1 },
	{ OP_SETUP, 9 },
	{ OP_RANGES },
	{ OP_RANGES, 1, 0, 2, 11, 0, 1 },
	{ OP_RANGES, 9, 0, 9, 3 },
	{ OP_RANGES, 1, 0, 10, 0x38 },
	{ OP_TRAP, 1, 0, 2, 1 },
};
const size_t fuzz_phrase_count = COUNT(fuzz_phrases);

static struct {
	struct driver driver;
	uint16_t head;
	uint8_t step;
	bool by_parts; /* the chain is walked, and then judged */
	struct oracle_rules rules;
	struct vblk_memory_view view;
	/* Each in a block of its own: AddressSanitizer watches where they end. */
	struct vblk_chain *chain;
	struct vblk_request *request;
	struct vblk_iovecs *iovecs;
	struct oracle_chain want_chain;
	struct oracle_request want;
} run;

static void setup(const uint8_t a[7])
{
	static const uint16_t sizes[] = { 256, 8, 1, 2, 4, 16, 32, 64, 128 };

	run.driver.size = sizes[a[0] % COUNT(sizes)];
	run.driver.desc = driver_address(&run.driver, a[1], record_u16(a + 2)) & ~15ull;
	run.rules.read_only = a[6] & 1;
	run.rules.discard = a[0] / COUNT(sizes) & 1;
	run.rules.write_zeroes = a[0] / COUNT(sizes) & 2;
	run.by_parts = a[0] / COUNT(sizes) & 4;
	run.step = a[6] >> 2;
	if (a[6] & 2)
		run.head = record_u16(a + 4);
}

static void put_desc(uint64_t table, const uint8_t a[7])
{
	uint16_t next = (uint16_t)(a[6] >> 3 < 30 ? a[0] - 4 + (a[6] >> 3) : a[6] << 4);

	driver_put_desc(table, a[0], driver_address(&run.driver, a[1], record_u16(a + 2)),
			driver_length(a[4], a[5]), a[6] & 7, next);
}

static void step(enum op op, const uint8_t a[7])
{
	bool made;
	uint16_t head;

	switch (op) {
	case OP_SETUP:
		setup(a);
		break;
	case OP_REQUEST:
		head = driver_request(&run.driver, a, &made);
		if (made)
			run.head = head;
		break;
	case OP_RANGES:
		head = driver_ranges(&run.driver, a, &made);
		if (made)
			run.head = head;
		break;
	case OP_DESC:
		put_desc(run.driver.desc, a);
		break;
	case OP_INDIRECT:
		put_desc(ARENA_NEXT + 0x1800, a);
		break;
	case OP_HEADER:
		driver_put_header(driver_address(&run.driver, a[0], record_u16(a + 1)), a[3], a[4]);
		break;
	case OP_POKE:
		arena_put(driver_address(&run.driver, a[0], record_u16(a + 1)), a + 4,
			  1 + a[3] % 3u);
		break;
	default:
		arena_set_trap(driver_address(&run.driver, a[0], record_u16(a + 1)), a[3]);
		break;
	}
}

static void expect_chain(void)
{
	FUZZ_CHECK(run.chain->head == run.head, "the head is %u", run.chain->head);
	FUZZ_CHECK(run.chain->count == run.want_chain.count, "%u descriptors, should be %u",
		   run.chain->count, run.want_chain.count);
	for (unsigned i = 0; i < run.chain->count && i < VBLK_CHAIN_MAX; i++) {
		const struct vblk_desc *got = &run.chain->desc[i];
		const struct oracle_desc *want = &run.want_chain.desc[i];

		FUZZ_CHECK(got->addr == want->addr && got->len == want->len &&
				   got->flags == want->flags && got->next == want->next,
			   "descriptor %u is another", i);
	}
}

static void expect_ranges(void)
{
	FUZZ_CHECK(run.request->range_count == run.want.ranges, "%u ranges, should be %u",
		   run.request->range_count, run.want.ranges);
	for (unsigned i = 0; i < run.want.ranges; i++) {
		const struct vblk_range *got = &run.request->range[i];
		const struct oracle_range *want = &run.want.range[i];

		FUZZ_CHECK(got->sector == want->sector && got->sectors == want->sectors &&
				   got->unmap == want->unmap,
			   "range %u is another", i);
	}
	FUZZ_CHECK(vblk_request_cost(run.request) == oracle_cost(&run.want), "the cost is %llu",
		   (unsigned long long)vblk_request_cost(run.request));
}

static void expect_data(void)
{
	uint64_t total = 0;

	FUZZ_CHECK(run.request->type == run.want.type && run.request->sector == run.want.sector,
		   "type %u, should be %u, or another sector", run.request->type, run.want.type);
	FUZZ_CHECK(run.request->segment_count == run.want.spans, "%u segments, should be %u",
		   run.request->segment_count, run.want.spans);
	for (unsigned i = 0; i < run.request->segment_count; i++) {
		const struct vblk_segment *got = &run.request->segment[i];

		FUZZ_CHECK(got->addr == run.want.span[i].addr && got->len == run.want.span[i].len,
			   "segment %u is another", i);
		FUZZ_CHECK(got->len > 0 && got->len <= VBLK_SIZE_MAX, "segment %u has %u bytes", i,
			   got->len);
		total += got->len;
	}
	FUZZ_CHECK(run.request->data_len == total, "data_len is %u, the segments have %llu",
		   run.request->data_len, (unsigned long long)total);
	FUZZ_CHECK(run.request->data_len == run.want.data_len, "data_len is %u",
		   run.request->data_len);
	expect_ranges();
}

static void expect_verdict(const struct vblk_verdict *verdict)
{
	static const enum vblk_action actions[] = {
		[ORACLE_DROP] = VBLK_ACTION_DROP,
		[ORACLE_REPLY] = VBLK_ACTION_REPLY,
		[ORACLE_RUN] = VBLK_ACTION_RUN,
	};
	bool has_reason = run.want.kind == ORACLE_DROP || run.want.is_error;

	FUZZ_CHECK(verdict->action == actions[run.want.kind],
		   "the action is %d, should be %d (gate %u)", (int)verdict->action,
		   (int)actions[run.want.kind], run.want.gate);
	FUZZ_CHECK((verdict->reason != NULL) == has_reason, "the reason is '%s' (gate %u)",
		   verdict->reason ? verdict->reason : "none", run.want.gate);
	FUZZ_CHECK(run.request->head == run.head, "the request's head is %u", run.request->head);
	if (verdict->action == VBLK_ACTION_DROP)
		return;
	FUZZ_CHECK(run.request->status_addr == run.want.status_addr, "the status is elsewhere");
	if (verdict->action == VBLK_ACTION_REPLY)
		FUZZ_CHECK(verdict->status == run.want.status, "answered with %u (gate %u)",
			   verdict->status, run.want.gate);
	else
		expect_data();
}

/* Where data byte `*position` of the current span is in the host, and how much from there on. */
static uint8_t *data_at(unsigned *span, uint64_t *position, uint64_t *run_length)
{
	while (*position >= run.want.span[*span].len) {
		*position -= run.want.span[*span].len;
		(*span)++;
	}
	return arena_at(REAL, run.want.span[*span].addr + *position,
			run.want.span[*span].len - *position, run_length);
}

/* The whole window against the data that follow byte `position` of span `span`. */
static void expect_window(unsigned span, uint64_t position)
{
	uint64_t bytes = 0;

	FUZZ_CHECK(run.iovecs->first + run.iovecs->count <= VBLK_IOVEC_MAX, "%u vectors from %u on",
		   run.iovecs->count, run.iovecs->first);
	for (unsigned i = 0; i < run.iovecs->count; i++) {
		const struct iovec *got = &run.iovecs->vec[run.iovecs->first + i];
		uint64_t length;
		const uint8_t *want = data_at(&span, &position, &length);

		FUZZ_CHECK(arena_holds(got->iov_base, got->iov_len),
			   "vector %u is not in guest memory", i);
		FUZZ_CHECK(got->iov_base == want, "vector %u is not where its data are", i);
		FUZZ_CHECK(got->iov_len > 0 && got->iov_len <= length,
			   "vector %u has %zu bytes, and %llu are there", i, got->iov_len,
			   (unsigned long long)length);
		position += got->iov_len;
		bytes += got->iov_len;
	}
	FUZZ_CHECK(run.iovecs->bytes == bytes, "the window has %llu bytes, and says %llu",
		   (unsigned long long)bytes, (unsigned long long)run.iovecs->bytes);
}

/* How much of a window a backing takes this time. */
static uint64_t next_step(uint64_t bytes, unsigned turn)
{
	uint64_t some;

	switch (run.step & 3) {
	case 1:
		some = 1 + (uint64_t)(run.step >> 2) * 37 + turn % 5u;
		break;
	case 2:
		some = run.iovecs->vec[run.iovecs->first].iov_len;
		break;
	case 3:
		some = bytes / 2 + 1;
		break;
	default:
		some = bytes;
		break;
	}
	/* Small steps through a megabyte take long: after some the rest goes at once. */
	return some < bytes && turn < 300 ? some : bytes;
}

static void expect_vectors(void)
{
	bool mapped = true;
	uint64_t done = 0, position = 0;
	unsigned span = 0;
	int ret;

	for (unsigned i = 0; i < run.want.spans; i++)
		mapped = mapped && arena_is_mapped(run.want.span[i].addr, run.want.span[i].len);
	ret = vblk_iovecs_start(run.iovecs, run.request, &run.view);
	FUZZ_CHECK((ret == 0) == mapped, "the vectors begin with %d", ret);
	if (ret < 0)
		return;
	for (unsigned turn = 0; run.iovecs->count > 0; turn++) {
		uint64_t some = next_step(run.iovecs->bytes, turn), length;

		expect_window(span, position);
		vblk_iovecs_advance(run.iovecs, some);
		done += some;
		position += some;
		if (done < run.want.data_len)
			(void)data_at(&span, &position, &length);
	}
	FUZZ_CHECK(done == run.want.data_len, "%llu bytes of data came, should be %llu",
		   (unsigned long long)done, (unsigned long long)run.want.data_len);
}

static struct vblk_verdict read_by_parts(const struct vblk_table *table,
					 const struct vblk_request_rules *rules)
{
	vblk_chain_walk(run.chain, &run.view, table, run.head);
	return vblk_request_parse(run.request, run.chain, &run.view, rules);
}

/* As a drain does it. */
static struct vblk_verdict read_whole(const struct vblk_table *table,
				      const struct vblk_request_rules *rules)
{
	struct vblk_verdict verdict = { .action = VBLK_ACTION_RUN };

	(void)vblk_hot_read(run.request, run.chain, &run.view, table, rules, run.head, &verdict);
	return verdict;
}

static void take_apart(void)
{
	const struct vblk_request_rules rules = {
		.read_only = run.rules.read_only,
		.discard = run.rules.discard,
		.write_zeroes = run.rules.write_zeroes,
	};
	struct vblk_verdict verdict;
	struct vblk_table table;

	vblk_memory_view_init(&run.view, arena_memory());
	/* What the parts leave unset must not look as if it had been set. */
	memset(run.chain, 0xa5, sizeof(*run.chain));
	memset(run.request, 0xa5, sizeof(*run.request));
	vblk_table_open(&table, &run.view, run.driver.desc, run.driver.size);
	verdict = run.by_parts ? read_by_parts(&table, &rules) : read_whole(&table, &rules);
	oracle_walk(&run.want_chain, MODEL, run.driver.desc, run.driver.size, run.head);
	expect_chain();
	oracle_judge(&run.want, &run.want_chain, MODEL, &run.rules);
	FUZZ_TRACE("     %u descriptors, gate %u, action %d", run.chain->count, run.want.gate,
		   (int)verdict.action);
	expect_verdict(&verdict);
	if (verdict.action == VBLK_ACTION_RUN)
		expect_vectors();
	arena_expect_same();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_start_tracing();
	arena_init(true);
	run.chain = malloc(sizeof(*run.chain));
	run.request = malloc(sizeof(*run.request));
	run.iovecs = malloc(sizeof(*run.iovecs));
	return !run.chain || !run.request || !run.iovecs;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *record;

	arena_reset();
	driver_init(&run.driver, 16, DESC_BUDGET);
	run.head = 0;
	run.step = 0;
	run.by_parts = false;
	run.rules = (struct oracle_rules){ .read_only = false };
	for (size_t i = 0; (record = record_at(data, size, i)); i++) {
		enum op op = (enum op)(record[0] % OPS);

		FUZZ_TRACE("%3zu: op %2d  %02x %02x %02x %02x %02x %02x %02x", i, op, record[1],
			   record[2], record[3], record[4], record[5], record[6], record[7]);
		step(op, record + 1);
	}
	take_apart();
	return 0;
}
