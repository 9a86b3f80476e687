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

#include "backing/spares.h"

struct vblk_call;

struct vblk_backing {
	atomic_uint refs;
	const struct vblk_backing_ops *ops;
	void *context;
	struct vblk_backing_info info; /* constant once the backing has been handed out */
	/* As vblk_backing_async_fd; NULL: every call is made by its operation. */
	int (*async_fd)(void *context, const struct vblk_call *call);
	/*
	 * Borrowed: makes the calls that `async_fd` let go and that come back as not made, since
	 * they have counted. NULL: nothing counts here.
	 */
	struct vblk_backing *counted;
	struct vblk_spares spares; /* who makes such calls */
};

/*
 * The descriptor on which somebody else may make this call, as an operation of the same name on a
 * file with the same offset would; it counts as made. The descriptor stays open as long as the
 * backing. Negative: the operation has to make it. With NULL for the call: the descriptor of calls
 * in general, if there is one.
 */
static inline int vblk_backing_async_fd(const struct vblk_backing *backing,
					const struct vblk_call *call)
{
	return backing->async_fd ? backing->async_fd(backing->context, call) : -1;
}

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

static inline bool vblk_backing_can_discard(const struct vblk_backing *backing)
{
	return backing->ops->discard && !(backing->info.flags & VBLK_BACKING_READ_ONLY);
}

/* These two: -EROFS on a read-only backing, -EOPNOTSUPP where there is no operation. */
VBLK_MUST_USE static inline int vblk_backing_discard(struct vblk_backing *backing, uint64_t offset,
						     uint64_t bytes)
{
	if (backing->info.flags & VBLK_BACKING_READ_ONLY)
		return -EROFS;
	if (!backing->ops->discard)
		return -EOPNOTSUPP;
	return backing->ops->discard(backing->context, offset, bytes);
}

VBLK_MUST_USE static inline int vblk_backing_write_zeroes(struct vblk_backing *backing,
							  uint64_t offset, uint64_t bytes,
							  uint32_t flags)
{
	if (backing->info.flags & VBLK_BACKING_READ_ONLY)
		return -EROFS;
	if (!backing->ops->write_zeroes)
		return -EOPNOTSUPP;
	return backing->ops->write_zeroes(backing->context, offset, bytes, flags);
}

/* 0 if there are that many bytes already, -EOPNOTSUPP if there are not and cannot be. */
VBLK_MUST_USE static inline int vblk_backing_grow(struct vblk_backing *backing, uint64_t bytes)
{
	if (backing->ops->grow)
		return backing->ops->grow(backing->context, bytes);
	return bytes <= backing->info.size_bytes ? 0 : -EOPNOTSUPP;
}

/* The descriptor of a backing that vblk_backing_open_file made. */
int vblk_backing_file_fd(const struct vblk_backing *backing);

#endif
