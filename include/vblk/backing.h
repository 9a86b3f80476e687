/* SPDX-License-Identifier: MIT */
/*
 * Where a disk's bytes live.
 *
 * A backing is a table of operations and a context. The library comes with files and anonymous
 * memory; an embedder may bring its own.
 *
 * Offsets are in bytes from the start of the disk, never negative, and the device has checked
 * them against its capacity. The operations may be called from worker threads, at most one at a
 * time per queue of each device that uses the backing. They may block: a vCPU never waits for
 * them. All signals are blocked in worker threads.
 */
#ifndef VBLK_BACKING_H
#define VBLK_BACKING_H

#include <vblk/types.h>

#include <sys/types.h>
#include <sys/uio.h>

VBLK_BEGIN_DECLS

struct vblk_backing_ops {
	/*
	 * Fill the vectors from `offset`. Returns the number of bytes read, which may be short;
	 * 0 at the end of what there is (the device then fills with zeros); a negative errno.
	 * -EINTR is retried by the device up to 16 times per request. Required.
	 */
	ssize_t (*preadv)(void *context, const struct iovec *iov, int count, uint64_t offset);

	/*
	 * Store the vectors at `offset`. Returns the number of bytes written, which may be short
	 * and is then continued; 0 or a negative errno is an error. -EINTR as in preadv.
	 * NULL: the backing cannot be written, and a device on it must be read-only.
	 */
	ssize_t (*pwritev)(void *context, const struct iovec *iov, int count, uint64_t offset);

	/*
	 * Make every write that has returned stable: it survives a crash of the host. Returns 0
	 * or a negative errno; -EINTR as in preadv. NULL: nothing to do.
	 */
	int (*sync)(void *context);

	/*
	 * The driver does not need these bytes any more: give their space back if that is cheap.
	 * What they read as afterwards is up to the backing. Returns 0 or a negative errno; -EINTR
	 * as in preadv; -EOPNOTSUPP: not here, which the driver never learns, for it was a hint.
	 * NULL: VIRTIO_BLK_F_DISCARD is not offered.
	 */
	int (*discard)(void *context, uint64_t offset, uint64_t bytes);

	/*
	 * Make these bytes read as zeros. With VBLK_ZEROES_UNMAP in `flags` their space may be
	 * given back, without it it must stay theirs. Returns as discard; after -EOPNOTSUPP, or if
	 * this is NULL, the device writes zeros with pwritev.
	 */
	int (*write_zeroes)(void *context, uint64_t offset, uint64_t bytes, uint32_t flags);

	/*
	 * See to it that there are at least `bytes` bytes; the new ones are zeros. Never makes the
	 * backing smaller. Returns 0 or a negative errno. May be called while the other operations
	 * run. NULL: the backing has the size that it has.
	 */
	int (*grow)(void *context, uint64_t bytes);

	/* Free the context; called once, when the last reference goes, by that thread. */
	void (*close)(void *context);
};

/* Bits of the flags of write_zeroes. */
#define VBLK_ZEROES_UNMAP (1u << 0)

/* Bits of struct vblk_backing_info.flags. */
#define VBLK_BACKING_READ_ONLY (1u << 0) /* pwritev is never called, even if there is one */

struct vblk_backing_info {
	uint64_t size_bytes; /* bytes there are now */
	uint32_t flags;	     /* VBLK_BACKING_* */
};

/*
 * Wraps operations of the embedder's own. `ops` must outlive the backing; `context` is owned by
 * the backing from here on and is closed also when this call fails.
 *
 * Returns 0; -EINVAL (no preadv, or no pwritev without VBLK_BACKING_READ_ONLY); -ENOMEM.
 */
VBLK_API VBLK_MUST_USE int vblk_backing_create(const struct vblk_backing_ops *ops, void *context,
					       const struct vblk_backing_info *info,
					       struct vblk_backing **backing);

/* Bits of the flags of vblk_backing_open_file. */
#define VBLK_FILE_READ_ONLY (1u << 0) /* open for reading; a shared lock */
#define VBLK_FILE_NO_LOCK   (1u << 1) /* take no lock */
/*
 * Past the host's page cache (O_DIRECT). What the host wants aligned and the guest has not is
 * aligned on the way, through a buffer; the guest's block size does not depend on it.
 */
#define VBLK_FILE_DIRECT (1u << 2)

/*
 * Opens a regular file or a block device; it is never created. The whole file is locked with an
 * open-file-description lock (F_OFD_SETLK): exclusive, or shared for VBLK_FILE_READ_ONLY. The
 * lock goes with the backing, also when the process dies. Where the file is the caller's, its time
 * of access stays as it is (O_NOATIME). VBLK_ENGINE_URING opens the file once more and closes that
 * again, by which POSIX takes away whatever locks the process has on it by F_SETLK (not by
 * F_OFD_SETLK).
 *
 * Returns 0 or a negative errno, among them:
 *   -ENOENT, -EACCES, -EROFS, -EPERM as open(2);
 *   -EISDIR   it is a directory;
 *   -EAGAIN   another opener holds a lock that excludes ours;
 *   -ENODEV   it is neither a regular file nor a block device;
 *   -EOPNOTSUPP   VBLK_FILE_DIRECT, on a file system that cannot do that;
 *   -EINVAL   an unknown flag.
 */
VBLK_API VBLK_MUST_USE int vblk_backing_open_file(const char *path, uint32_t flags,
						  struct vblk_backing **backing);

/*
 * As vblk_backing_open_file, from a descriptor that is already open; VBLK_FILE_READ_ONLY if it
 * was opened so. The descriptor is duplicated, the caller keeps its own. The lock belongs to the
 * open file description and so is shared by both. Beside the errors above:
 *   -EBADF    not an open descriptor, or one that names a file without opening it (O_PATH);
 *   -EACCES   its access mode does not fit the flags;
 *   -EINVAL   O_APPEND (every write would go to the end); O_DIRECT without VBLK_FILE_DIRECT, or
 *             the other way round.
 */
VBLK_API VBLK_MUST_USE int vblk_backing_open_fd(int fd, uint32_t flags,
						struct vblk_backing **backing);

/*
 * As vblk_backing_open_file, but the file is mapped into memory, and reads and writes are copies
 * without a system call: for files in memory and warm ones. A page that cannot be had (the file was
 * cut short, its disk fails) fails the request with EIO. For that a handler of SIGBUS is installed
 * in the process; one that was there before gets what is not ours.
 *
 * Beside the errors above: -EINVAL, a size of 0, or VBLK_FILE_DIRECT; what mmap(2) failed with.
 */
VBLK_API VBLK_MUST_USE int vblk_backing_map_file(const char *path, uint32_t flags,
						 struct vblk_backing **backing);

/*
 * A disk of `size_bytes` zero bytes in anonymous memory, gone with its last reference.
 * Returns 0; -EINVAL (a size of 0 or above 2^63-1); -ENOMEM.
 */
VBLK_API VBLK_MUST_USE int vblk_backing_create_memory(uint64_t size_bytes,
						      struct vblk_backing **backing);

/* What the backing said of itself when it was created. Any thread. */
VBLK_API void vblk_backing_get_info(const struct vblk_backing *backing,
				    struct vblk_backing_info *info);

/* Takes one more reference. Any thread. Returns its argument. */
VBLK_API struct vblk_backing *vblk_backing_ref(struct vblk_backing *backing);

/* Gives one reference back; the last one closes the backing. NULL is ignored. Any thread. */
VBLK_API void vblk_backing_unref(struct vblk_backing *backing);

VBLK_END_DECLS

#endif
