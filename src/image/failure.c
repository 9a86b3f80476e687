/* SPDX-License-Identifier: MIT */
/* One line of text, and whose fault it was. */
#include "image/failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int vblk_image_refuse(struct vblk_image_failure *failure, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(failure->text, sizeof(failure->text), format, args);
	va_end(args);
	return -EINVAL;
}

static void add_reason(struct vblk_image_failure *failure, int code)
{
	const size_t length = strlen(failure->text);

	snprintf(failure->text + length, sizeof(failure->text) - length, ": %s", strerror(-code));
}

int vblk_image_fail(struct vblk_image_failure *failure, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(failure->text, sizeof(failure->text), format, args);
	va_end(args);
	add_reason(failure, code);
	return code == -EINVAL ? -EIO : code;
}

static bool blames_path(int code)
{
	switch (code) {
	case -EACCES:
	case -EEXIST:
	case -EFBIG:
	case -EISDIR:
	case -ELOOP:
	case -ENAMETOOLONG:
	case -ENOENT:
	case -ENOTDIR:
	case -EPERM:
	case -EROFS:
		return true;
	default:
		return false;
	}
}

int vblk_image_path_fail(struct vblk_image_failure *failure, int code, const char *verb,
			 const char *path)
{
	int ret = vblk_image_fail(failure, code, "cannot %s '%s'", verb, path);

	return blames_path(code) ? -EINVAL : ret;
}
