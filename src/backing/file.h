/* SPDX-License-Identifier: MIT */
/* What others in this part need to know of a disk in a file. */
#ifndef VBLK_BACKING_FILE_H
#define VBLK_BACKING_FILE_H

#include "backing/call.h"

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

/*
 * For who makes a DISCARD or WRITE_ZEROES on the descriptor (vblk_backing_async_fd): the mode of
 * fallocate(2) with which to try it, and whether an error of that, a positive errno, means that it
 * does not work so with this file. Then vblk_backing_perform knows other ways, and takes note.
 */
int vblk_file_range_mode(const struct vblk_call *call);
bool vblk_file_is_unsupported(int error);

#endif
