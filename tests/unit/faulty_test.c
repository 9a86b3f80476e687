/* SPDX-License-Identifier: MIT */
/*
 * The fault injector. It wraps a second injector without rules, which counts what is passed on,
 * around memory in which each byte says where it is.
 */
#include "backing/faulty.h"

#include "backing/backing.h"
#include "base/checked.h"
#include "base/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define READ  VBLK_FAULTY_PREADV
#define WRITE VBLK_FAULTY_PWRITEV
#define SYNC  VBLK_FAULTY_SYNC
#define FREE  VBLK_FAULTY_DISCARD
#define ZERO  VBLK_FAULTY_WRITE_ZEROES

#define DISK_SIZE 4096u
/* Requests are of two buffers. */
#define FIRST	6u
#define SECOND	4u
#define REQUEST (FIRST + SECOND)

static uint8_t disk_byte(size_t at)
{
	return (uint8_t)(at * 7 + 3);
}

static int setup(void **state)
{
	struct vblk_backing *memory, *counter;
	uint8_t bytes[DISK_SIZE];
	struct iovec iov = { bytes, sizeof(bytes) };

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = disk_byte(i);
	if (vblk_backing_create_memory(DISK_SIZE, &memory) != 0 ||
	    vblk_backing_pwritev(memory, &iov, 1, 0) != DISK_SIZE ||
	    vblk_faulty_create(memory, NULL, 0, NULL, &counter) != 0)
		return -1;
	vblk_backing_unref(memory);
	*state = counter;
	return 0;
}

static int teardown(void **state)
{
	vblk_backing_unref(*state);
	return 0;
}

static struct vblk_backing *wrap(void **state, const struct vblk_faulty_rule *rules, size_t count)
{
	struct vblk_backing *faulty = NULL;

	assert_int_equal(vblk_faulty_create(*state, rules, count, NULL, &faulty), 0);
	return faulty;
}

static ssize_t call(struct vblk_backing *backing, enum vblk_faulty_op op)
{
	uint8_t bytes[REQUEST] = { 0 };
	const struct iovec iov[] = { { bytes, FIRST }, { bytes + FIRST, SECOND } };

	if (op == READ)
		return vblk_backing_preadv(backing, iov, 2, 100);
	if (op == WRITE)
		return vblk_backing_pwritev(backing, iov, 2, 100);
	if (op == FREE)
		return vblk_backing_discard(backing, 100, REQUEST);
	if (op == ZERO)
		return vblk_backing_write_zeroes(backing, 100, REQUEST, 0);
	return vblk_backing_sync(backing);
}

/* ---- what comes back ---- */

#define CALLS 6

struct sequence {
	const char *name;
	struct vblk_faulty_rule rules[3];
	enum vblk_faulty_op op;
	ssize_t results[CALLS]; /* of as many calls */
	uint64_t passed;	/* calls that reached the wrapped backing */
};

static const struct sequence sequences[] = {
	{ "no rule: read", { { 0 } }, READ, { 10, 10, 10, 10, 10, 10 }, 6 },
	{ "no rule: write", { { 0 } }, WRITE, { 10, 10, 10, 10, 10, 10 }, 6 },
	{ "no rule: sync", { { 0 } }, SYNC, { 0, 0, 0, 0, 0, 0 }, 6 },
	{ "no rule: discard", { { 0 } }, FREE, { 0, 0, 0, 0, 0, 0 }, 6 },
	{ "no rule: write zeroes", { { 0 } }, ZERO, { 0, 0, 0, 0, 0, 0 }, 6 },
	{ "discard fails once",
	  { { .op = FREE, .action = VBLK_FAULTY_ERROR, .value = EIO, .first = 2, .count = 1 } },
	  FREE,
	  { 0, -EIO, 0, 0, 0, 0 },
	  5 },
	{ "discard lies",
	  { { .op = FREE, .action = VBLK_FAULTY_ZERO, .count = 2 } },
	  FREE,
	  { 0, 0, 0, 0, 0, 0 },
	  4 },
	{ "discard with a positive result",
	  { { .op = FREE, .action = VBLK_FAULTY_EXCESS, .value = 3, .count = 1 } },
	  FREE,
	  { 3, 0, 0, 0, 0, 0 },
	  6 },
	{ "write zeroes is not supported",
	  { { .op = ZERO, .action = VBLK_FAULTY_ERROR, .value = EOPNOTSUPP, .count = 1 } },
	  ZERO,
	  { -EOPNOTSUPP, 0, 0, 0, 0, 0 },
	  5 },
	{ "write zeroes with a positive result",
	  { { .op = ZERO, .action = VBLK_FAULTY_EXCESS, .value = 512, .count = 1 } },
	  ZERO,
	  { 512, 0, 0, 0, 0, 0 },
	  6 },
	{ "every read fails",
	  { { .op = READ, .action = VBLK_FAULTY_ERROR, .value = EIO } },
	  READ,
	  { -EIO, -EIO, -EIO, -EIO, -EIO, -EIO },
	  0 },
	{ "a rule for reads leaves writes alone",
	  { { .op = READ, .action = VBLK_FAULTY_ERROR, .value = EIO } },
	  WRITE,
	  { 10, 10, 10, 10, 10, 10 },
	  6 },
	{ "third write fails",
	  { { .op = WRITE, .action = VBLK_FAULTY_ERROR, .value = ENOSPC, .first = 3, .count = 1 } },
	  WRITE,
	  { 10, 10, -ENOSPC, 10, 10, 10 },
	  5 },
	{ "from the third write on",
	  { { .op = WRITE, .action = VBLK_FAULTY_ERROR, .value = EIO, .first = 3 } },
	  WRITE,
	  { 10, 10, -EIO, -EIO, -EIO, -EIO },
	  2 },
	{ "three reads are interrupted",
	  { { .op = READ, .action = VBLK_FAULTY_ERROR, .value = EINTR, .count = 3 } },
	  READ,
	  { -EINTR, -EINTR, -EINTR, 10, 10, 10 },
	  3 },
	{ "every second sync, from the second on",
	  { { .op = SYNC, .action = VBLK_FAULTY_ERROR, .value = EIO, .first = 2, .every = 2 } },
	  SYNC,
	  { 0, -EIO, 0, -EIO, 0, -EIO },
	  3 },
	{ "every second read, twice in all",
	  { { .op = READ, .action = VBLK_FAULTY_ERROR, .value = EIO, .every = 2, .count = 2 } },
	  READ,
	  { -EIO, 10, -EIO, 10, 10, 10 },
	  4 },
	{ "largest errno",
	  { { .op = READ, .action = VBLK_FAULTY_ERROR, .value = 4095, .count = 1 } },
	  READ,
	  { -4095, 10, 10, 10, 10, 10 },
	  5 },
	{ "short read",
	  { { .op = READ, .action = VBLK_FAULTY_SHORT, .value = 7, .count = 1 } },
	  READ,
	  { 7, 10, 10, 10, 10, 10 },
	  6 },
	{ "short write",
	  { { .op = WRITE, .action = VBLK_FAULTY_SHORT, .value = 1, .first = 2 } },
	  WRITE,
	  { 10, 1, 1, 1, 1, 1 },
	  6 },
	{ "short by nothing",
	  { { .op = READ, .action = VBLK_FAULTY_SHORT, .value = 0, .count = 1 },
	    { .op = READ, .action = VBLK_FAULTY_SHORT, .value = 10, .count = 2 },
	    { .op = READ, .action = VBLK_FAULTY_SHORT, .value = UINT64_MAX } },
	  READ,
	  { 0, 10, 10, 10, 10, 10 },
	  5 },
	{ "read gives nothing",
	  { { .op = READ, .action = VBLK_FAULTY_ZERO, .first = 2, .count = 1 } },
	  READ,
	  { 10, 0, 10, 10, 10, 10 },
	  5 },
	{ "write makes no progress",
	  { { .op = WRITE, .action = VBLK_FAULTY_ZERO, .count = 2 } },
	  WRITE,
	  { 0, 0, 10, 10, 10, 10 },
	  4 },
	{ "sync lies",
	  { { .op = SYNC, .action = VBLK_FAULTY_ZERO } },
	  SYNC,
	  { 0, 0, 0, 0, 0, 0 },
	  0 },
	{ "read of more than was asked",
	  { { .op = READ, .action = VBLK_FAULTY_EXCESS, .value = 1, .count = 1 } },
	  READ,
	  { 11, 10, 10, 10, 10, 10 },
	  6 },
	{ "write of more than was asked",
	  { { .op = WRITE, .action = VBLK_FAULTY_EXCESS, .value = 512, .count = 1 } },
	  WRITE,
	  { 522, 10, 10, 10, 10, 10 },
	  6 },
	{ "sync with a positive result",
	  { { .op = SYNC, .action = VBLK_FAULTY_EXCESS, .value = 5, .count = 1 } },
	  SYNC,
	  { 5, 0, 0, 0, 0, 0 },
	  6 },
	{ "the first rule that matches decides",
	  { { .op = READ, .action = VBLK_FAULTY_ERROR, .value = EIO, .first = 2, .count = 2 },
	    { .op = READ, .action = VBLK_FAULTY_ERROR, .value = EINTR, .count = 4 } },
	  READ,
	  { -EINTR, -EIO, -EIO, -EINTR, 10, 10 },
	  2 },
};

static size_t rules_of(const struct sequence *sequence)
{
	size_t count = 0;

	while (count < VBLK_ARRAY_SIZE(sequence->rules) &&
	       (sequence->rules[count].value || sequence->rules[count].action))
		count++;
	return count;
}

static void results_by_table(void **state)
{
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(sequences); i++) {
		const struct sequence *s = &sequences[i];
		struct vblk_backing *faulty = wrap(state, s->rules, rules_of(s));
		uint64_t before = vblk_faulty_calls(*state, s->op), passed;

		for (size_t n = 0; n < CALLS; n++) {
			ssize_t result = call(faulty, s->op);

			if (result != s->results[n])
				fail_msg("%s: call %zu gave %zd", s->name, n + 1, result);
		}
		passed = vblk_faulty_calls(*state, s->op) - before;
		if (passed != s->passed)
			fail_msg("%s: %llu calls passed on", s->name, (unsigned long long)passed);
		assert_int_equal(vblk_faulty_calls(faulty, s->op), CALLS);
		vblk_backing_unref(faulty);
	}
}

/* Every cut from none to all of a request of three buffers, one of them empty. */
static void short_transfers_move_exactly_so_many_bytes(void **state)
{
	for (size_t most = 0; most <= REQUEST; most++) {
		const struct vblk_faulty_rule rules[] = {
			{ .op = READ, .action = VBLK_FAULTY_SHORT, .value = most },
			{ .op = WRITE, .action = VBLK_FAULTY_SHORT, .value = most },
		};
		struct vblk_backing *faulty = wrap(state, rules, 2);
		uint8_t bytes[REQUEST], seen[REQUEST];
		const struct iovec iov[] = { { bytes, FIRST },
					     { NULL, 0 },
					     { bytes + FIRST, SECOND } };
		const struct iovec whole = { seen, REQUEST };

		memset(bytes, 0xee, sizeof(bytes));
		assert_int_equal(vblk_backing_preadv(faulty, iov, 3, 200), most);
		for (size_t i = 0; i < REQUEST; i++)
			assert_int_equal(bytes[i], i < most ? disk_byte(200 + i) : 0xee);

		for (size_t i = 0; i < REQUEST; i++)
			bytes[i] = (uint8_t)~disk_byte(200 + i);
		assert_int_equal(vblk_backing_pwritev(faulty, iov, 3, 200), most);
		assert_int_equal(vblk_backing_preadv(*state, &whole, 1, 200), REQUEST);
		for (size_t i = 0; i < REQUEST; i++) {
			uint8_t old = disk_byte(200 + i);

			assert_int_equal(seen[i], i < most ? (uint8_t)~old : old);
			seen[i] = old;
		}
		assert_int_equal(vblk_backing_pwritev(*state, &whole, 1, 200), REQUEST);
		vblk_backing_unref(faulty);
	}
}

/* The excess is of what was asked, also where less was there; an error stays what it is. */
static void excess_needs_success(void **state)
{
	const struct vblk_faulty_rule rules[] = {
		{ .op = READ, .action = VBLK_FAULTY_EXCESS, .value = 1 },
		{ .op = WRITE, .action = VBLK_FAULTY_EXCESS, .value = 1 },
	};
	struct vblk_backing *faulty = wrap(state, rules, 2);
	uint8_t byte[8];
	const struct iovec iov = { byte, sizeof(byte) };

	assert_int_equal(vblk_backing_preadv(faulty, &iov, 1, DISK_SIZE - 2), 9);
	assert_int_equal(vblk_backing_preadv(faulty, &iov, 1, DISK_SIZE), 9);
	assert_int_equal(vblk_backing_pwritev(faulty, &iov, 1, DISK_SIZE), -ENOSPC);
	vblk_backing_unref(faulty);
}

static void size_and_flags_are_those_of_the_base(void **state)
{
	static const struct vblk_backing_ops ops = { 0 };
	struct vblk_backing base = {
		.refs = 1,
		.ops = &ops,
		.info = { .size_bytes = 77, .flags = VBLK_BACKING_READ_ONLY },
	};
	struct vblk_backing *faulty;
	struct vblk_backing_info info;

	(void)state;
	assert_int_equal(vblk_faulty_create(&base, NULL, 0, NULL, &faulty), 0);
	assert_int_equal(base.refs, 2);
	vblk_backing_get_info(faulty, &info);
	assert_int_equal(info.size_bytes, 77);
	assert_int_equal(info.flags, VBLK_BACKING_READ_ONLY);
	assert_int_equal(call(faulty, WRITE), -EROFS);
	vblk_backing_unref(faulty);
	assert_int_equal(base.refs, 1);
}

/* ---- rules ---- */

static void rules_out_of_range_are_refused(void **state)
{
	static const struct vblk_faulty_rule bad[] = {
		{ .op = VBLK_FAULTY_OPS, .action = VBLK_FAULTY_ZERO },
		{ .op = (enum vblk_faulty_op) - 1, .action = VBLK_FAULTY_ZERO },
		{ .op = READ, .action = (enum vblk_faulty_action)99 },
		{ .op = READ, .action = VBLK_FAULTY_ERROR, .value = 0 },
		{ .op = READ, .action = VBLK_FAULTY_ERROR, .value = 4096 },
		{ .op = SYNC, .action = VBLK_FAULTY_SHORT, .value = 1 },
		{ .op = FREE, .action = VBLK_FAULTY_SHORT, .value = 1 },
		{ .op = ZERO, .action = VBLK_FAULTY_SHORT, .value = 1 },
		{ .op = READ, .action = VBLK_FAULTY_EXCESS, .value = 0 },
		{ .op = READ, .action = VBLK_FAULTY_EXCESS, .value = 1ull << 31 },
	};
	const struct vblk_faulty_rule good = {
		.op = READ, .action = VBLK_FAULTY_ERROR, .value = EIO, .first = 2
	};

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(bad); i++) {
		const struct vblk_faulty_rule rules[] = {
			{ .op = READ, .action = VBLK_FAULTY_ZERO }, bad[i]
		};
		struct vblk_backing *faulty = NULL;

		assert_int_equal(vblk_faulty_create(*state, rules, 2, NULL, &faulty), -EINVAL);
		assert_null(faulty);

		/* Neither rules nor counts have changed. */
		faulty = wrap(state, &good, 1);
		assert_int_equal(call(faulty, READ), REQUEST);
		assert_int_equal(vblk_faulty_set_rules(faulty, rules, 2), -EINVAL);
		assert_int_equal(call(faulty, READ), -EIO);
		vblk_backing_unref(faulty);
	}
}

static void new_rules_count_from_one(void **state)
{
	const struct vblk_faulty_rule second = {
		.op = READ, .action = VBLK_FAULTY_ERROR, .value = EIO, .first = 2, .count = 1
	};
	struct vblk_backing *faulty = wrap(state, NULL, 0);

	for (int i = 0; i < 5; i++)
		assert_int_equal(call(faulty, READ), REQUEST);
	assert_int_equal(vblk_faulty_set_rules(faulty, &second, 1), 0);
	assert_int_equal(vblk_faulty_calls(faulty, READ), 0);
	assert_int_equal(call(faulty, READ), REQUEST);
	assert_int_equal(call(faulty, READ), -EIO);
	assert_int_equal(vblk_faulty_set_rules(faulty, NULL, 0), 0);
	assert_int_equal(call(faulty, READ), REQUEST);
	assert_int_equal(call(faulty, READ), REQUEST);
	vblk_backing_unref(faulty);
}

static void operations_are_counted_apart(void **state)
{
	struct vblk_backing *faulty = wrap(state, NULL, 0);

	for (int i = 0; i < 6; i++)
		assert_int_equal(call(faulty, i < 3 ? READ : i < 5 ? WRITE : SYNC), i < 5 ? 10 : 0);
	assert_int_equal(vblk_faulty_calls(faulty, READ), 3);
	assert_int_equal(vblk_faulty_calls(faulty, WRITE), 2);
	assert_int_equal(vblk_faulty_calls(faulty, SYNC), 1);
	vblk_backing_unref(faulty);
}

/* ---- delays ---- */

struct slept {
	struct vblk_backing *base;
	uint64_t ns;
	int times;
	uint64_t passed_before; /* calls that had reached the base by then */
};

static void remember_sleep(void *context, uint64_t ns)
{
	struct slept *slept = context;

	slept->ns = ns;
	slept->times++;
	slept->passed_before = vblk_faulty_calls(slept->base, READ);
}

static void delay_comes_before_the_call(void **state)
{
	const struct vblk_faulty_rule rules[] = {
		{ .op = READ, .action = VBLK_FAULTY_DELAY, .value = 3 * VBLK_NSEC_PER_SEC },
		{ .op = READ, .action = VBLK_FAULTY_ERROR, .value = EIO, .first = 2, .count = 1 },
		{ .op = READ, .action = VBLK_FAULTY_DELAY, .value = 5, .first = 2, .count = 1 },
		{ .op = READ, .action = VBLK_FAULTY_DELAY, .value = UINT64_MAX, .first = 3 },
	};
	struct slept slept = { .base = *state };
	const struct vblk_faulty_sleep sleep = { .fn = remember_sleep, .context = &slept };
	struct vblk_backing *faulty;

	assert_int_equal(vblk_faulty_create(*state, rules, 4, &sleep, &faulty), 0);
	assert_int_equal(call(faulty, WRITE), REQUEST);
	assert_int_equal(slept.times, 0);

	assert_int_equal(call(faulty, READ), REQUEST);
	assert_int_equal(slept.times, 1);
	assert_int_equal(slept.ns, 3 * VBLK_NSEC_PER_SEC);
	assert_int_equal(slept.passed_before, 0);
	assert_int_equal(vblk_faulty_calls(*state, READ), 1);

	/* Delays add up, and a call that is going to fail is late as well. */
	assert_int_equal(call(faulty, READ), -EIO);
	assert_int_equal(slept.times, 2);
	assert_int_equal(slept.ns, 3 * VBLK_NSEC_PER_SEC + 5);

	assert_int_equal(call(faulty, READ), REQUEST);
	assert_true(slept.ns == UINT64_MAX);
	vblk_backing_unref(faulty);
}

/* The one test that lets time pass, a millisecond of it: this is about the real sleep. */
static void delay_without_an_injected_sleep(void **state)
{
	const struct vblk_faulty_rule rule = { .op = READ,
					       .action = VBLK_FAULTY_DELAY,
					       .value = VBLK_NSEC_PER_MSEC };
	struct vblk_backing *faulty = wrap(state, &rule, 1);
	uint64_t before = vblk_clock_now(NULL);

	assert_int_equal(call(faulty, READ), REQUEST);
	assert_true(vblk_clock_now(NULL) - before >= VBLK_NSEC_PER_MSEC);
	vblk_backing_unref(faulty);
}

/* ---- hanging ---- */

struct caller {
	pthread_t thread;
	struct vblk_backing *backing;
	enum vblk_faulty_op op;
	ssize_t result;
};

static void *run_caller(void *arg)
{
	struct caller *caller = arg;

	caller->result = call(caller->backing, caller->op);
	return NULL;
}

static void start(struct caller *caller, struct vblk_backing *backing, enum vblk_faulty_op op)
{
	*caller = (struct caller){ .backing = backing, .op = op };
	assert_int_equal(pthread_create(&caller->thread, NULL, run_caller, caller), 0);
}

static ssize_t finish(struct caller *caller)
{
	assert_int_equal(pthread_join(caller->thread, NULL), 0);
	return caller->result;
}

static void call_hangs_until_released(void **state)
{
	const struct vblk_faulty_rule rules[] = {
		{ .op = WRITE, .action = VBLK_FAULTY_HANG, .count = 1 },
		{ .op = SYNC, .action = VBLK_FAULTY_HANG, .count = 1 },
		{ .op = SYNC, .action = VBLK_FAULTY_ERROR, .value = EIO, .count = 1 },
	};
	struct vblk_backing *faulty = wrap(state, rules, 3);
	struct caller caller;

	start(&caller, faulty, WRITE);
	vblk_faulty_wait_hanging(faulty, 1);
	assert_int_equal(vblk_faulty_calls(faulty, WRITE), 1);
	assert_int_equal(vblk_faulty_calls(*state, WRITE), 0);
	/* It holds up nobody else. */
	assert_int_equal(call(faulty, READ), REQUEST);
	assert_int_equal(call(faulty, WRITE), REQUEST);
	vblk_faulty_release(faulty);
	assert_int_equal(finish(&caller), REQUEST);
	assert_int_equal(vblk_faulty_calls(*state, WRITE), 2);

	/* Hang, and fail in the end. */
	start(&caller, faulty, SYNC);
	vblk_faulty_wait_hanging(faulty, 1);
	vblk_faulty_release(faulty);
	assert_int_equal(finish(&caller), -EIO);
	assert_int_equal(vblk_faulty_calls(*state, SYNC), 0);
	vblk_backing_unref(faulty);
}

static void release_frees_all_that_hang_and_no_later_one(void **state)
{
	const struct vblk_faulty_rule rule = { .op = READ, .action = VBLK_FAULTY_HANG };
	struct vblk_backing *faulty = wrap(state, &rule, 1);
	struct caller callers[3];

	vblk_faulty_release(faulty);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < VBLK_ARRAY_SIZE(callers); i++)
			start(&callers[i], faulty, READ);
		/* Returns only if none was freed by a release that came before it hung. */
		vblk_faulty_wait_hanging(faulty, 3);
		assert_int_equal(vblk_faulty_calls(*state, READ), 3 * round);
		vblk_faulty_release(faulty);
		for (size_t i = 0; i < VBLK_ARRAY_SIZE(callers); i++)
			assert_int_equal(finish(&callers[i]), REQUEST);
	}
	vblk_backing_unref(faulty);
}

static void new_rules_do_not_free_what_hangs(void **state)
{
	const struct vblk_faulty_rule rule = { .op = READ, .action = VBLK_FAULTY_HANG };
	struct vblk_backing *faulty = wrap(state, &rule, 1);
	struct caller caller;

	start(&caller, faulty, READ);
	vblk_faulty_wait_hanging(faulty, 1);
	assert_int_equal(vblk_faulty_set_rules(faulty, NULL, 0), 0);
	assert_int_equal(call(faulty, READ), REQUEST);
	vblk_faulty_wait_hanging(faulty, 1);
	vblk_faulty_release(faulty);
	assert_int_equal(finish(&caller), REQUEST);
	vblk_backing_unref(faulty);
}

#define ROUNDS 2000

static void *call_rounds(void *arg)
{
	struct caller *caller = arg;

	for (int i = 0; i < ROUNDS; i++) {
		if (call(caller->backing, caller->op) < 0)
			caller->result++;
	}
	return NULL;
}

/* Under ThreadSanitizer above all. Whoever calls, half of the calls fail. */
static void many_threads_share_the_counts(void **state)
{
	const struct vblk_faulty_rule rule = {
		.op = SYNC, .action = VBLK_FAULTY_ERROR, .value = EIO, .every = 2
	};
	struct vblk_backing *faulty = wrap(state, &rule, 1);
	struct caller callers[4];
	ssize_t failed = 0;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(callers); i++) {
		callers[i] = (struct caller){ .backing = faulty, .op = SYNC };
		assert_int_equal(pthread_create(&callers[i].thread, NULL, call_rounds, &callers[i]),
				 0);
	}
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(callers); i++)
		failed += finish(&callers[i]);
	assert_int_equal(vblk_faulty_calls(faulty, SYNC), 4 * ROUNDS);
	assert_int_equal(failed, 2 * ROUNDS);
	vblk_backing_unref(faulty);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(results_by_table),
		TEST(short_transfers_move_exactly_so_many_bytes),
		TEST(excess_needs_success),
		cmocka_unit_test(size_and_flags_are_those_of_the_base),
		TEST(rules_out_of_range_are_refused),
		TEST(new_rules_count_from_one),
		TEST(operations_are_counted_apart),
		TEST(delay_comes_before_the_call),
		TEST(delay_without_an_injected_sleep),
		TEST(call_hangs_until_released),
		TEST(release_frees_all_that_hang_and_no_later_one),
		TEST(new_rules_do_not_free_what_hangs),
		TEST(many_threads_share_the_counts),
	};

	return cmocka_run_group_tests_name("faulty", tests, NULL, NULL);
}
