/* SPDX-License-Identifier: MIT */
/* What every call to a backing has in common: interruptions, and results that are no errno. */
#ifndef VBLK_REQUEST_ATTEMPT_H
#define VBLK_REQUEST_ATTEMPT_H

#include <errno.h>

#include "request/io.h"

/* Whether a call that returned `ret` should be made again; counts up to the limit. */
static inline bool vblk_io_is_interrupted(struct vblk_io *io, ssize_t ret)
{
	return ret == -EINTR && ++io->interrupts <= VBLK_EINTR_MAX;
}

/* A negative result as an errno; one that is none would not survive the narrower type. */
static inline int vblk_io_errno(ssize_t ret)
{
	const ssize_t errno_max = 4095;

	return ret < -errno_max ? -EIO : (int)ret;
}

/* The result of a call that has nothing to count, and so may not be positive. */
static inline int vblk_io_result(int ret)
{
	return ret > 0 ? -EIO : vblk_io_errno(ret);
}

#endif
