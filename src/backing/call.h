/* SPDX-License-Identifier: MIT */
/*
 * One call to a backing as a value: what is to be done, made here and now by vblk_backing_perform,
 * or handed to somebody who makes it meanwhile (backing/aio.h).
 */
#ifndef VBLK_BACKING_CALL_H
#define VBLK_BACKING_CALL_H

#include "backing/backing.h"

/* Which operation of struct vblk_backing_ops. */
enum vblk_call_op {
	VBLK_CALL_PREADV,
	VBLK_CALL_PWRITEV,
	VBLK_CALL_SYNC,
	VBLK_CALL_DISCARD,
	VBLK_CALL_WRITE_ZEROES,
};

struct vblk_call {
	enum vblk_call_op op;
	uint32_t flags;	   /* WRITE_ZEROES: VBLK_ZEROES_* */
	uint64_t offset;   /* all but SYNC */
	struct iovec *iov; /* PREADV, PWRITEV; belongs to who makes the call, until it is over */
	int count;
	uint64_t bytes; /* DISCARD, WRITE_ZEROES; else what the vectors add up to */

	/* While somebody else makes it (backing/aio.h). */
	ssize_t result; /* when it is over; 0 before */
	/*
	 * PREADV: what was read is here, and not yet in the vectors; until the next call is
	 * started. NULL: it is where it belongs.
	 */
	const uint8_t *staged;
	struct vblk_call *next; /* for who makes it */
};

/*
 * Makes the call. Returns what the operation returned. One that came back as not made
 * (VBLK_CALL_NOT_MADE is its result) was counted when it was handed over, and is not again.
 */
VBLK_MUST_USE ssize_t vblk_backing_perform(struct vblk_backing *backing,
					   const struct vblk_call *call);

#endif
