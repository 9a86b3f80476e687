/* SPDX-License-Identifier: MIT */
/* What others in this part need to know of a disk in a file. */
#ifndef VBLK_BACKING_FILE_H
#define VBLK_BACKING_FILE_H

#include "backing/backing.h"

/*
 * Opens what is open at `fd` once more, to be read only: a second open file description, which has
 * none of the first one's locks, and whose reads leave the time of the last access alone where that
 * may be. A file in memory is open without blocking there, as io_uring wants it (file.c). The
 * caller closes it.
 *
 * Returns a descriptor, or a negative errno: this may need a right that who has a descriptor does
 * not have, and it needs /proc.
 */
VBLK_MUST_USE int vblk_file_open_to_read(int fd);

#endif
