/* SPDX-License-Identifier: MIT */
/*
 * Running a formatter (mkfs.ext4 and its like) on a file: as a process of its own, without a shell,
 * with an environment that is always the same. It is looked for in PATH and then where
 * distributions keep programs for root. Any thread; a call waits until the formatter has ended,
 * which is ended after VBLK_IMAGE_FORMATTER_TIMEOUT_MS, and when the calling thread dies.
 */
#ifndef IMAGE_FORMATTER_H
#define IMAGE_FORMATTER_H

#include "image/fs.h"
#include "image/progress.h"

#define VBLK_IMAGE_FORMATTER_TIMEOUT_MS 300000u

/*
 * Finds the formatter: a regular file that may be executed. `path` is the value of PATH, which may
 * be NULL. The caller frees `*found`. -EINVAL with a line that names the package if there is none.
 */
VBLK_MUST_USE int vblk_image_formatter_find(const struct vblk_image_fs *fs, const char *path,
					    char **found, struct vblk_image_failure *failure);

/*
 * What identifies its version and our way of calling it. How it ends when it is asked does not
 * matter, as long as it says something.
 */
VBLK_MUST_USE int vblk_image_formatter_fingerprint(const struct vblk_image_fs *fs,
						   const char *program, uint64_t *fingerprint,
						   struct vblk_image_failure *failure);

/*
 * Makes the file system in `file`, which has its size already. `key` decides its identifier, where
 * it has one that can be set. What the formatter says is in the line if it fails.
 */
VBLK_MUST_USE int vblk_image_formatter_run(const struct vblk_image_fs *fs, const char *program,
					   const char *key, const char *file,
					   struct vblk_image_progress *progress,
					   struct vblk_image_failure *failure);

#endif
