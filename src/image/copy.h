/* SPDX-License-Identifier: MIT */
/*
 * Copies of images: the same blocks once more by name (a reflink) where the file system can do
 * that, and else the bytes, with holes where the original has them. Any thread; the files belong to
 * the caller, and nobody changes the original meanwhile.
 */
#ifndef IMAGE_COPY_H
#define IMAGE_COPY_H

#include "image/failure.h"
#include "image/progress.h"

enum vblk_image_copied {
	VBLK_IMAGE_REFLINKED,
	VBLK_IMAGE_COPIED,	  /* the file system knows no reflinks */
	VBLK_IMAGE_COPIED_ACROSS, /* the files are on different ones */
};

/*
 * Makes `to_fd`, which is empty and open to read and write, the same as `from_fd`. Returns 0, and
 * in `*how` how it was done.
 */
VBLK_MUST_USE int vblk_image_copy(int from_fd, int to_fd, const struct vblk_image_events *events,
				  enum vblk_image_copied *how, struct vblk_image_failure *failure);

/*
 * The part of it that copies bytes, for files that have the same size already. `to_fd` is all
 * holes. Zeros are not written where they have to be looked at; where the kernel copies by itself
 * they are.
 */
VBLK_MUST_USE int vblk_image_copy_bytes(int from_fd, int to_fd, uint64_t size,
					struct vblk_image_progress *progress);

/* Gives back the space of pages that hold nothing but zeros. -EOPNOTSUPP where that cannot be. */
VBLK_MUST_USE int vblk_image_dig_holes(int fd);

/* The name of the kind of file system that a file is on, or "this file system". */
const char *vblk_image_host_fs(int fd);

#endif
