/* SPDX-License-Identifier: MIT */
/*
 * Files that appear whole or not at all: made without a name, and given it at the end. So nothing
 * is left behind by a failure, nor by a process that dies. Where the file system cannot make files
 * without names, they have one beside their own meanwhile, PATH.RANDOM~, which a process that dies
 * leaves behind.
 *
 * Any thread; a file belongs to one.
 */
#ifndef IMAGE_NEW_FILE_H
#define IMAGE_NEW_FILE_H

#include "image/failure.h"

enum vblk_image_existing {
	VBLK_IMAGE_KEEP,    /* a file of that name is a mistake */
	VBLK_IMAGE_REPLACE, /* a regular file that nobody uses is replaced, at the end */
};

struct vblk_image_new_file {
	int fd; /* to read and write, close-on-exec */
	/* The rest is for the functions below. */
	char *path;
	char *temporary; /* NULL: the file has no name */
	enum vblk_image_existing existing;
};

/*
 * Begins a file. -EINVAL if there is one that is to stay, that is not a regular file, or that
 * another vblk has open; or if there is no folder for it that may be written to.
 */
VBLK_MUST_USE int vblk_image_new_file_open(const char *path, enum vblk_image_existing existing,
					   struct vblk_image_new_file *file,
					   struct vblk_image_failure *failure);

/*
 * Gives the file its name and closes it; it is gone if that fails. With VBLK_IMAGE_REPLACE it is on
 * the disk then, so that also a power cut leaves the old file or the new one.
 */
VBLK_MUST_USE int vblk_image_new_file_commit(struct vblk_image_new_file *file,
					     struct vblk_image_failure *failure);

/* Closes the file, which is gone then. */
void vblk_image_new_file_abandon(struct vblk_image_new_file *file);

/*
 * Opens a file without a name in a folder, to read and write, which is gone when it is closed, also
 * by the death of the process. `prefix` is what its name begins with where it has to have one for a
 * moment. Returns 0 or a negative errno.
 */
VBLK_MUST_USE int vblk_image_open_nameless(const char *folder, const char *prefix, int *fd);

#endif
