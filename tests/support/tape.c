/* SPDX-License-Identifier: MIT */
#include "tape.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "backing/backing.h"

static void record(struct tape *tape, enum tape_op op, const struct iovec *iov, int count,
		   uint64_t offset)
{
	struct tape_call call = { .op = op, .count = count, .offset = offset };

	for (int i = 0; i < count; i++)
		call.bytes += iov[i].iov_len;
	if (tape->calls < TAPE_CALLS_MAX)
		tape->call[tape->calls] = call;
	tape->calls++;
	if (count > tape->count_max)
		tape->count_max = count;
	if (tape->hook)
		tape->hook(tape->context);
}

static ssize_t tape_preadv(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	struct tape *tape = context;

	record(tape, TAPE_READ, iov, count, offset);
	return vblk_backing_preadv(tape->base, iov, count, offset);
}

static ssize_t tape_pwritev(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	struct tape *tape = context;

	record(tape, TAPE_WRITE, iov, count, offset);
	return vblk_backing_pwritev(tape->base, iov, count, offset);
}

static int tape_sync(void *context)
{
	struct tape *tape = context;

	record(tape, TAPE_SYNC, NULL, 0, 0);
	return vblk_backing_sync(tape->base);
}

static void tape_close(void *context)
{
	struct tape *tape = context;

	vblk_backing_unref(tape->base);
}

struct vblk_backing *tape_create(struct tape *tape, struct vblk_backing *base)
{
	static const struct vblk_backing_ops ops = {
		.preadv = tape_preadv,
		.pwritev = tape_pwritev,
		.sync = tape_sync,
		.close = tape_close,
	};
	struct vblk_backing_info info;
	struct vblk_backing *backing;

	*tape = (struct tape){ .base = base };
	vblk_backing_get_info(base, &info);
	assert_int_equal(vblk_backing_create(&ops, tape, &info, &backing), 0);
	return backing;
}

void tape_rewind(struct tape *tape)
{
	tape->calls = 0;
	tape->count_max = 0;
}
