/* SPDX-License-Identifier: MIT */
/*
 * Mappings whose file somebody else can cut short, or whose disk can fail.
 *
 * Touching a page of a shared mapping that is behind the end of its file raises SIGBUS, and so
 * does a page that the host's disk cannot read. Where the file is not ours (guest memory that came
 * over a socket) that must not end the process. A range that is watched is replaced by zeros as
 * soon as one of its pages fails: whoever touched it goes on, on memory that nobody else sees, and
 * the owner of the range is told, by an eventfd and a flag.
 *
 * The system calls on such memory (preadv, recvmsg) need none of this: they return -EFAULT.
 *
 * There is one table for the process, because there is one handler. A thread that touches watched
 * memory must not block SIGBUS. All functions may be called from any thread.
 */
#ifndef VBLK_BASE_SIGBUS_H
#define VBLK_BASE_SIGBUS_H

#include <stdbool.h>
#include <stddef.h>
#include <vblk/types.h>

/* Ranges that can be watched at a time. */
#define VBLK_SIGBUS_RANGES 4096

/*
 * Installs the handler, unless it is installed. A SIGBUS elsewhere goes to the handler that was
 * there before. Returns 0 or -errno.
 */
VBLK_MUST_USE int vblk_sigbus_install(void);

/*
 * Watches a whole mapping: `start` and `length` are multiples of its page size. `event_fd` is
 * written when a page has failed (-1: nobody is told) and stays open until the range is muted or
 * forgotten. Returns a number from 0 on that names the range, or -ENOSPC.
 */
VBLK_MUST_USE int vblk_sigbus_watch(void *start, size_t length, int event_fd);

/* Whether a page of it has failed: it holds zeros now. */
bool vblk_sigbus_has_failed(int range);

/*
 * Copies, and survives a page that fails: returns 0, or -EIO when some of the bytes were not
 * copied. For memory where zeros would be a lie, such as the mapping of a disk. The handler has to
 * be installed.
 */
VBLK_MUST_USE int vblk_sigbus_copy(void *to, const void *from, size_t length);

/* Nobody is told of this range any more; it goes on being watched. */
void vblk_sigbus_mute(int range);

/* Before the range is unmapped, and when nobody touches it any more. */
void vblk_sigbus_forget(int range);

#endif
