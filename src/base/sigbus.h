/* SPDX-License-Identifier: MIT */
/*
 * Mappings whose file somebody else can cut short, or whose disk can fail.
 *
 * Touching a page of a shared mapping that is behind the end of its file raises SIGBUS, and so
 * does a page that the host's disk cannot read. Where the file is not ours (guest memory that came
 * over a socket) that must not end the process. In a range that is watched, the page that fails is
 * replaced by zeros: whoever touched it goes on, on memory that nobody else sees, and the owner of
 * the range is told, by an eventfd and a flag. The other pages stay what they are. If a page cannot
 * be replaced by itself (the process has all the mappings that it may have), the whole range is.
 *
 * Zeros that stand for somebody's bytes are a lie, and must not be acted on. So a failure is on
 * record before its zeros can be read, by whatever thread: who has read something out of a watched
 * range compares vblk_sigbus_failures() with what it was, and only if that has moved asks for the
 * flag of each range that concerns him. What he read before a count that has not moved is true.
 *
 * The system calls on such memory (preadv, recvmsg) need none of this: on a page that is gone they
 * return -EFAULT. On one that was replaced they do as they are told.
 *
 * There is one table for the process, because there is one handler, which looks through it from its
 * start to the last entry that was ever used: some 20 us when all are. A thread that touches
 * watched memory must not block SIGBUS. All functions may be called from any thread.
 */
#ifndef VBLK_BASE_SIGBUS_H
#define VBLK_BASE_SIGBUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <vblk/types.h>

/*
 * Ranges that can be watched at a time. Whoever watches for others keeps each of them to a part of
 * it, or one could use it up for all.
 */
#define VBLK_SIGBUS_RANGES 20480

/*
 * Installs the handler, unless it is installed. A SIGBUS elsewhere goes to the handler that was
 * there before. Returns 0 or -errno.
 */
VBLK_MUST_USE int vblk_sigbus_install(void);

/*
 * Watches a whole mapping, whose pages have `page` bytes (those of huge pages are larger): `start`
 * and `length` are multiples of it. `event_fd` is written when a page has failed (-1: nobody is
 * told) and stays open until the range is muted or forgotten. Returns a number from 0 on that names
 * the range; -EINVAL if a page is no power of two; or -ENOSPC.
 */
VBLK_MUST_USE int vblk_sigbus_watch(void *start, size_t length, size_t page, int event_fd);

/* Whether a page of it has failed. */
bool vblk_sigbus_has_failed(int range);

/* For vblk_sigbus_failures alone. */
extern atomic_uint vblk_sigbus_failure_count;

/*
 * How many failures there were, of any range: a number that moves, and wraps. Put an acquire fence
 * between what was read of a range and this.
 */
static inline unsigned vblk_sigbus_failures(void)
{
	return atomic_load_explicit(&vblk_sigbus_failure_count, memory_order_relaxed);
}

/*
 * Copies, and survives a page that fails: returns 0, or -EIO when some of the bytes were not
 * copied. For memory where zeros would be a lie, such as the mapping of a disk. A page of a watched
 * range that fails here is on record and told of, but not replaced. The handler has to be
 * installed.
 */
VBLK_MUST_USE int vblk_sigbus_copy(void *to, const void *from, size_t length);

/*
 * Nobody is told of this range any more; it goes on being watched. When this returns, nobody writes
 * to its event descriptor, which may be closed then.
 */
void vblk_sigbus_mute(int range);

/* Before the range is unmapped, and when nobody touches it any more. */
void vblk_sigbus_forget(int range);

#endif
