/* SPDX-License-Identifier: MIT */
/*
 * A backing that misbehaves on command.
 *
 * It wraps another backing and passes every call on, unless a rule says what else to do with it.
 * A rule names an operation and the calls of that operation that it is for, counted from 1:
 *
 *     the 3rd write fails with EIO        { PWRITEV, .first = 3, .count = 1, ERROR, EIO }
 *     five reads are interrupted          { PREADV, .count = 5, ERROR, EINTR }
 *     every 2nd read gives 512 bytes      { PREADV, .first = 2, .every = 2, SHORT, 512 }
 *     each sync takes 3 s                 { SYNC, DELAY, 3000000000 }
 *     the 1st write hangs, and then fails { PWRITEV, .count = 1, HANG },
 *                                         { PWRITEV, .count = 1, ERROR, EIO }
 *
 * (names shortened). The table is searched from its start. Delays and hangs of all rules that
 * match are carried out, delays first; of the other actions the first that matches decides the
 * result.
 *
 * Any thread may call any function here while it holds a reference to the backing, also while
 * calls on the backing are hanging. All of them take a backing that vblk_faulty_create made.
 */
#ifndef VBLK_BACKING_FAULTY_H
#define VBLK_BACKING_FAULTY_H

#include <vblk/backing.h>

enum vblk_faulty_op {
	VBLK_FAULTY_PREADV,
	VBLK_FAULTY_PWRITEV,
	VBLK_FAULTY_SYNC,
	VBLK_FAULTY_DISCARD,
	VBLK_FAULTY_WRITE_ZEROES,
	VBLK_FAULTY_OPS, /* how many there are */
};

enum vblk_faulty_action {
	/* Fail with -value (1 to 4095) without passing the call on. */
	VBLK_FAULTY_ERROR,
	/*
	 * Transfer at most `value` bytes; 0: none, and the call is not passed on. For reads and
	 * writes only.
	 */
	VBLK_FAULTY_SHORT,
	/*
	 * Return 0 without passing the call on: end of file, no progress, or one of the others
	 * that lies.
	 */
	VBLK_FAULTY_ZERO,
	/*
	 * Pass the call on, and if it succeeds return `value` (at least 1) more than was asked for;
	 * the calls that transfer nothing were asked for 0.
	 */
	VBLK_FAULTY_EXCESS,
	/* First sleep for `value` nanoseconds. */
	VBLK_FAULTY_DELAY,
	/* First wait for vblk_faulty_release. */
	VBLK_FAULTY_HANG,
};

struct vblk_faulty_rule {
	enum vblk_faulty_op op;
	enum vblk_faulty_action action;
	uint64_t value;
	uint64_t first; /* the first call it is for; 0 means 1 */
	uint64_t every; /* from there on, each how manieth; 0 means 1 */
	uint64_t count; /* for how many calls in all; 0 means no end */
};

/* How to sleep. The function may be called from several threads at once. */
struct vblk_faulty_sleep {
	void (*fn)(void *context, uint64_t ns); /* NULL: clock_nanosleep(2) */
	void *context;
};

/*
 * Wraps `base`, of which it takes a reference, with a copy of `count` rules. Size and flags are
 * those of `base`. `sleep` is copied and may be NULL.
 *
 * Returns 0; -EINVAL (a rule whose operation, action or value is out of range); -ENOMEM.
 */
VBLK_MUST_USE int vblk_faulty_create(struct vblk_backing *base,
				     const struct vblk_faulty_rule *rules, size_t count,
				     const struct vblk_faulty_sleep *sleep,
				     struct vblk_backing **backing);

/*
 * Replaces all rules. Calls are counted from 1 again; those that hang or sleep go on doing so.
 * On -EINVAL or -ENOMEM nothing has changed.
 */
VBLK_MUST_USE int vblk_faulty_set_rules(struct vblk_backing *backing,
					const struct vblk_faulty_rule *rules, size_t count);

/* How often `op` was called since the rules were set. A call counts when it begins. */
uint64_t vblk_faulty_calls(struct vblk_backing *backing, enum vblk_faulty_op op);

/* Waits until at least `count` calls hang. There is no time limit. */
void vblk_faulty_wait_hanging(struct vblk_backing *backing, unsigned int count);

/* Lets those calls go on that hang now. One that comes later hangs anew if a rule says so. */
void vblk_faulty_release(struct vblk_backing *backing);

#endif
