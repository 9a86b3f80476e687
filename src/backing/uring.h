/* SPDX-License-Identifier: MIT */
/*
 * Calls to a backing through io_uring(7): many under way, one system call for a batch of them, and
 * none to learn that they are over.
 */
#ifndef VBLK_BACKING_URING_H
#define VBLK_BACKING_URING_H

#include "backing/aio.h"

/*
 * Makes a ring for up to `entries` calls at a time to `backing`, which must outlive it. Reads,
 * writes and syncs go through it, as far as the backing has a descriptor for them; -EAGAIN from
 * vblk_aio_start for all others.
 *
 * Returns 0; -EOPNOTSUPP, the backing is no file, or the library was built without liburing;
 * -ENOSYS, -EPERM or -EACCES where io_uring is not to be had; -ENOMEM, -EMFILE, -ENFILE; behind
 * vblk_uring_prepare, -EBUSY: all are in use, or what that returned.
 */
VBLK_MUST_USE int vblk_uring_create(struct vblk_backing *backing, unsigned entries,
				    struct vblk_aio **aio);

/*
 * Makes rings for `count` callers of vblk_uring_create, for a process that will have no right to
 * make more: from then on it makes none, and one that is destroyed is there for the next caller.
 * They go with the backing. Returns 0 or as vblk_uring_create; then there are as many as could be
 * made.
 */
VBLK_MUST_USE int vblk_uring_prepare(struct vblk_backing *backing, unsigned entries,
				     unsigned count);

#endif
