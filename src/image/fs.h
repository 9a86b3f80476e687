/* SPDX-License-Identifier: MIT */
/*
 * The file systems that templates can have, and the signatures by which an image's file system is
 * known. Pure functions; any thread.
 */
#ifndef IMAGE_FS_H
#define IMAGE_FS_H

#include "image/failure.h"
#include <stddef.h>

#define VBLK_IMAGE_UUID_SIZE	   37	  /* with its NUL */
#define VBLK_IMAGE_HEAD_SIZE	   69632u /* bytes from the start, in which all signatures lie */
#define VBLK_IMAGE_FORMATTER_WORDS 12

struct vblk_image_fs {
	const char *name;
	const char *formatter;	    /* NULL: raw, nothing is made */
	const char *package;	    /* Debian's, that has the formatter */
	const char *version_option; /* makes the formatter say its version */
	uint64_t min_bytes;
	/*
	 * The formatter's options, up to a NULL; "@" stands for an identifier. They are such that
	 * the same template comes out as the same bytes where the formatter can do that.
	 */
	const char *options[VBLK_IMAGE_FORMATTER_WORDS - 3];
};

/* The one of that name, or NULL. */
const struct vblk_image_fs *vblk_image_fs_find(const char *name);

/* The name of each, from 0 on; NULL behind the last. */
const char *vblk_image_fs_name(size_t index);

/* 0, or -EINVAL for a size that is no multiple of 512, too large, or less than `fs` needs. */
VBLK_MUST_USE int vblk_image_fs_check_size(const struct vblk_image_fs *fs, uint64_t bytes,
					   struct vblk_image_failure *failure);

/* What stands for a size in messages and names: "256M", or "1000" where no suffix fits. */
#define VBLK_IMAGE_SIZE_TEXT 24
void vblk_image_size_text(uint64_t bytes, char text[VBLK_IMAGE_SIZE_TEXT]);

/*
 * The formatter's command line: `argv` gets pointers to `path`, `file`, the table, and to `words`,
 * which holds what had to be composed; up to a NULL.
 */
struct vblk_image_words {
	char *argv[VBLK_IMAGE_FORMATTER_WORDS];
	char text[160];
};
void vblk_image_fs_command(const struct vblk_image_fs *fs, const char *path, const char *file,
			   const char *uuid, struct vblk_image_words *words);

/*
 * The name of the file system that an image begins with: "ext2", "ext3", "ext4", "xfs", "btrfs";
 * NULL: none of these. `length` may be less than VBLK_IMAGE_HEAD_SIZE.
 */
const char *vblk_image_probe(const uint8_t *head, size_t length);

#endif
