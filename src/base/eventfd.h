/* SPDX-License-Identifier: MIT */
/* Event descriptors in counter mode, non-blocking and closed on exec. */
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

#endif
