/* SPDX-License-Identifier: MIT */
/*
 * How a template is known to be the one that was published: a few lines of text in a file beside
 * it, with its size, the moment of its last change, and a hash of the bytes that it begins with,
 * where its superblock is. Whoever writes to it, cuts it short, or copies another file over it,
 * leaves a template that its stamp does not fit, and it is made anew.
 *
 * Pure but for vblk_image_stamp_take; any thread.
 */
#ifndef IMAGE_STAMP_H
#define IMAGE_STAMP_H

#include <stddef.h>
#include <vblk/types.h>

#define VBLK_IMAGE_STAMP_TEXT 160

struct vblk_image_stamp {
	uint64_t bytes;
	int64_t seconds; /* of the last change */
	uint32_t nanoseconds;
	uint64_t head; /* hash */
	char fs[8];    /* what vblk_image_probe says; "none" */
};

/* FNV-1a, 64 bits; `hash` is VBLK_IMAGE_HASH_START or what another piece has left. */
#define VBLK_IMAGE_HASH_START UINT64_C(0xcbf29ce484222325)
uint64_t vblk_image_hash(uint64_t hash, const void *data, size_t size);

/* From an open file. Returns 0, or a negative errno. */
VBLK_MUST_USE int vblk_image_stamp_take(int fd, struct vblk_image_stamp *stamp);

void vblk_image_stamp_format(const struct vblk_image_stamp *stamp,
			     char text[VBLK_IMAGE_STAMP_TEXT]);

/* Whether `text`, of `length` bytes, is this stamp's. */
bool vblk_image_stamp_matches(const struct vblk_image_stamp *stamp, const char *text,
			      size_t length);

#endif
