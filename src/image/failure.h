/* SPDX-License-Identifier: MIT */
/*
 * What went wrong with an image, in one line that names the thing and says what would be right.
 *
 * Functions of this part return 0 or a negative errno with such a line. -EINVAL is returned if and
 * only if what was asked for is wrong: a name, a size, a folder that may not be written. Everything
 * else happened while it was done. Any thread.
 */
#ifndef IMAGE_FAILURE_H
#define IMAGE_FAILURE_H

#include <vblk/types.h>

struct vblk_image_failure {
	char text[2048]; /* room for a path and more; what does not fit is cut */
};

/* What was asked for is wrong. Like printf. Returns -EINVAL. */
__attribute__((format(printf, 2, 3))) int vblk_image_refuse(struct vblk_image_failure *failure,
							    const char *format, ...);

/*
 * Doing it failed with `code`, a negative errno, whose text is added behind a colon. Returns the
 * code, or -EIO in place of -EINVAL.
 */
__attribute__((format(printf, 3, 4))) int vblk_image_fail(struct vblk_image_failure *failure,
							  int code, const char *format, ...);

/*
 * The same for a call on a path: "cannot VERB 'PATH': ...". The path is to blame for codes that
 * say that it does not exist or may not be used, and -EINVAL is returned then.
 */
int vblk_image_path_fail(struct vblk_image_failure *failure, int code, const char *verb,
			 const char *path);

#endif
