/* SPDX-License-Identifier: MIT */
/* What can be said of an image by looking at it. Any thread. */
#ifndef IMAGE_INFO_H
#define IMAGE_INFO_H

#include <sys/types.h>
#include <vblk/types.h>

struct vblk_image_info {
	uint64_t bytes;
	uint64_t allocated; /* bytes that it takes on the disk */
	const char *fs;	    /* as vblk_image_probe */
};

/*
 * Of an open regular file or block device. Returns 0, -ENODEV if it is neither, or another negative
 * errno.
 */
VBLK_MUST_USE int vblk_image_info_take(int fd, struct vblk_image_info *info);

/* Reads the first VBLK_IMAGE_HEAD_SIZE bytes. Returns how many there are, or a negative errno. */
VBLK_MUST_USE ssize_t vblk_image_read_head(int fd, uint8_t *head);

#endif
