/* SPDX-License-Identifier: MIT */
/*
 * A look over the shoulder of one drain: the linker puts functions of drain_watch.c around those by
 * which a drain takes heads, touches the guest and calls the disk, and they hold each step against
 * what was promised.
 *
 *   - A head is taken while nobody has it, from a queue that is not poisoned, and given back once:
 *     published, dropped, or put back. What is published stands in the used ring as it should.
 *   - The answer is the one that the chain asks for, as the oracle understands it, and its status
 *     was stored where the chain says, just before.
 *   - Guest memory, registers and interrupts are touched while the lease is held, and only then;
 *     used.idx does not move once memory was lost.
 *   - No call to the disk begins when the lease is gone or memory was lost.
 *   - The record of requests in flight hears of each step in its turn.
 */
#ifndef TESTS_FUZZ_DRAIN_WATCH_H
#define TESTS_FUZZ_DRAIN_WATCH_H

#include "request/drain.h"

/* Where something may happen at the same time. */
enum moment {
	MOMENT_RECORD, /* the record of requests in flight is told of something */
	MOMENT_CALL,   /* a call to the disk is made, whoever makes it */
	MOMENT_OTHER,  /* a call is handed over or taken back, the clock is read */
};

struct watch {
	struct vblk_drain *drain; /* NULL: nobody is looked at */
	void (*happens)(enum moment moment);
	bool lost;    /* memory of this guest */
	bool landing; /* a call is made by somebody else, which may be late */
	bool quiet;   /* the driver cannot be asked to notify, as it turned out */

	/* Since watch_begin. */
	uint64_t published;
	uint64_t dropped;
	uint64_t failed; /* written, and not published, and no memory was lost */
	uint64_t errors; /* published as IOERR */

	/* Since whoever looks set them to 0. */
	unsigned popped;    /* and not put back */
	unsigned announced; /* used buffer notifications, if the driver wants them */
	unsigned answered;
};

extern struct watch watch;

/* The counts begin anew. */
void watch_reset(void (*happens)(enum moment moment));

/* From here on it is this drain, which has taken nothing. */
void watch_begin(struct vblk_drain *drain);

/* What has been taken is what the queue thinks is in flight; returns how many heads that are. */
unsigned watch_in_flight(void);

void watch_moment(enum moment moment);

/* What a drain's record hears of. */
extern const struct vblk_journal_ops watch_journal;

/* Which heads the record has: of the last drain, or others that are set by whoever looks. */
extern bool watch_record[VBLK_QUEUE_SIZE_MAX];
extern int watch_record_error; /* of the record when it is opened */

#endif
