/* SPDX-License-Identifier: MIT */
/*
 * Locks between processes: a file that is held by flock(2). The kernel gives the lock back when
 * the process ends, in whatever way. The file stays, and has in it who holds it, or held it last.
 */
#ifndef IMAGE_LOCK_H
#define IMAGE_LOCK_H

#include <sys/types.h>
#include <vblk/types.h>

/*
 * Takes the lock `name` in the folder `folder_fd`, without waiting; the file is made if need be.
 * Returns 0 and a descriptor, whose closing gives the lock back; -EWOULDBLOCK, and in `*holder`
 * (which may be NULL) the process that has it, 0 if that cannot be told; or another negative errno.
 */
VBLK_MUST_USE int vblk_image_lock_try(int folder_fd, const char *name, int *lock_fd, pid_t *holder);

#endif
