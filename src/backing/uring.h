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
 * -ENOSYS, -EPERM or -EACCES where io_uring is not to be had; -ENOMEM, -EMFILE, -ENFILE.
 */
VBLK_MUST_USE int vblk_uring_create(struct vblk_backing *backing, unsigned entries,
				    struct vblk_aio **aio);

#endif
