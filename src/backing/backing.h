/* SPDX-License-Identifier: MIT */
/*
 * The seam between a request and the bytes of the disk, as seen from inside the library. What the
 * operations promise is said in vblk/backing.h.
 *
 * These wrappers only pick the operation. What a result means (a short transfer, an end of file,
 * EINTR, a result larger than was asked for) is decided by the caller alone. They may be called
 * from any thread that holds a reference.
 */
#ifndef VBLK_BACKING_BACKING_H
#define VBLK_BACKING_BACKING_H

#include <vblk/backing.h>

#include <errno.h>
#include <stdatomic.h>

struct vblk_backing {
	atomic_uint refs;
	const struct vblk_backing_ops *ops;
	void *context;
	struct vblk_backing_info info; /* constant once the backing has been handed out */
};

VBLK_MUST_USE static inline ssize_t vblk_backing_preadv(struct vblk_backing *backing,
							const struct iovec *iov, int count,
							uint64_t offset)
{
	return backing->ops->preadv(backing->context, iov, count, offset);
}

/* -EROFS on a read-only backing, whether or not it has an operation for writing. */
VBLK_MUST_USE static inline ssize_t vblk_backing_pwritev(struct vblk_backing *backing,
							 const struct iovec *iov, int count,
							 uint64_t offset)
{
	if (backing->info.flags & VBLK_BACKING_READ_ONLY)
		return -EROFS;
	return backing->ops->pwritev(backing->context, iov, count, offset);
}

VBLK_MUST_USE static inline int vblk_backing_sync(struct vblk_backing *backing)
{
	return backing->ops->sync ? backing->ops->sync(backing->context) : 0;
}

#endif
