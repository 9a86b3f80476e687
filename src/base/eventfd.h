/* SPDX-License-Identifier: MIT */
/*
 * Event descriptors in counter mode, non-blocking and closed on exec.
 *
 * One that somebody else has made and keeps is not to be trusted with that: O_NONBLOCK belongs to
 * the open file, so whoever shares it can take it away at any time. The functions for foreign ones
 * do not rely on it.
 */
#ifndef VBLK_BASE_EVENTFD_H
#define VBLK_BASE_EVENTFD_H

#include <vblk/types.h>

/* Returns 0 and a descriptor, or a negative errno (-EMFILE, -ENFILE, -ENOMEM). */
VBLK_MUST_USE int vblk_eventfd_create(int *fd);

/*
 * Adds one. Returns 0 or a negative errno. A counter that is full is as readable as it can be, so
 * that is no error.
 */
VBLK_MUST_USE int vblk_eventfd_signal(int fd);

/* Sets the counter to 0 and returns what it was. */
uint64_t vblk_eventfd_clear(int fd);

/*
 * The same, for one of somebody else's that vblk_eventfd_check was content with. Never waits, but
 * on a host that cannot read an eventfd without (Linux before 5.8, and emulators): there, who reads
 * it at the same moment can make it wait.
 */
uint64_t vblk_eventfd_clear_foreign(int fd);

/*
 * Whether vblk_eventfd_clear_foreign can clear it. Returns 0; -EINVAL for what is no eventfd; or
 * what fstat says. Changes nothing.
 */
VBLK_MUST_USE int vblk_eventfd_check(int fd);

/*
 * Gets a thread that waits in vblk_eventfd_signal of a foreign eventfd or socket on its way, by
 * making room: an eventfd that is full is emptied, a socket that is full is shut down. One that has
 * room stays as it is, but for O_NONBLOCK, which is set. Never waits.
 */
void vblk_eventfd_make_room(int fd);

#endif
