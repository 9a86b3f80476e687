/* SPDX-License-Identifier: MIT */
/*
 * A disk in a file that is mapped: reads and writes are copies, without a system call. Meant for
 * files in memory (tmpfs) and files that are warm.
 *
 * It stands on a file backing, which has the lock and does what a mapping cannot: what lies behind
 * the end that the file had when it was opened, discards, zeros, growing, and making it stable. The
 * kernel keeps the two views of the file in step.
 *
 * A page that cannot be had (the file was cut short behind our back, the disk fails, the file
 * system is full) is a SIGBUS in the middle of a copy. It fails the request with EIO, and nothing
 * else (base/sigbus.h).
 */
#include "backing/backing.h"

#include "base/checked.h"
#include "base/sigbus.h"

#include <stdlib.h>
#include <sys/mman.h>

struct mapped {
	struct vblk_backing *file; /* owned */
	uint8_t *bytes;
	uint64_t size; /* of the mapping */
};

enum direction {
	TO_VECTORS,
	FROM_VECTORS
};

/* Copies as far as the mapping goes. Returns bytes, or -EIO if a page failed at the very start. */
static ssize_t copy(const struct mapped *mapped, const struct iovec *iov, int count,
		    uint64_t offset, enum direction direction)
{
	uint64_t left = mapped->size - offset;
	uint64_t done = 0;

	for (int i = 0; i < count && left > 0; i++) {
		uint64_t n = vblk_min_u64(iov[i].iov_len, left);
		uint8_t *at = mapped->bytes + offset + done;
		int err;

		if (n == 0)
			continue;
		if (direction == TO_VECTORS)
			err = vblk_sigbus_copy(iov[i].iov_base, at, n);
		else
			err = vblk_sigbus_copy(at, iov[i].iov_base, n);
		if (err < 0) /* what was copied before is a short result, and the rest fails then */
			return done > 0 ? (ssize_t)done : err;
		done += n;
		left -= n;
	}
	return (ssize_t)done;
}

static ssize_t mapped_preadv(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	const struct mapped *mapped = context;

	ssize_t done, read;

	if (offset >= mapped->size)
		return vblk_backing_preadv(mapped->file, iov, count, offset);
	done = copy(mapped, iov, count, offset, TO_VECTORS);
	if (done >= 0)
		return done;
	/* A hole needs a page to be mapped, which a full file system does not have; to be read it
	 * needs none. A file that was cut short has nothing here. */
	read = vblk_backing_preadv(mapped->file, iov, count, offset);
	return read > 0 ? read : done;
}

static ssize_t mapped_pwritev(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	const struct mapped *mapped = context;

	if (offset >= mapped->size)
		return vblk_backing_pwritev(mapped->file, iov, count, offset);
	return copy(mapped, iov, count, offset, FROM_VECTORS);
}

/* Both views: msync(2) promises it for what was written through the mapping. */
static int mapped_sync(void *context)
{
	const struct mapped *mapped = context;

	if (msync(mapped->bytes, mapped->size, MS_SYNC) < 0)
		return -errno;
	return vblk_backing_sync(mapped->file);
}

static int mapped_discard(void *context, uint64_t offset, uint64_t bytes)
{
	return vblk_backing_discard(((struct mapped *)context)->file, offset, bytes);
}

static int mapped_write_zeroes(void *context, uint64_t offset, uint64_t bytes, uint32_t flags)
{
	return vblk_backing_write_zeroes(((struct mapped *)context)->file, offset, bytes, flags);
}

static int mapped_grow(void *context, uint64_t bytes)
{
	return vblk_backing_grow(((struct mapped *)context)->file, bytes);
}

static void mapped_close(void *context)
{
	struct mapped *mapped = context;

	munmap(mapped->bytes, mapped->size);
	vblk_backing_unref(mapped->file);
	free(mapped);
}

static const struct vblk_backing_ops mapped_ops = {
	.preadv = mapped_preadv,
	.pwritev = mapped_pwritev,
	.sync = mapped_sync,
	.discard = mapped_discard,
	.write_zeroes = mapped_write_zeroes,
	.grow = mapped_grow,
	.close = mapped_close,
};

int vblk_backing_map_file(const char *path, uint32_t flags, struct vblk_backing **backing)
{
	struct vblk_backing_info info;
	struct mapped *mapped;
	int access = PROT_READ;
	int ret;

	if (flags & VBLK_FILE_DIRECT)
		return -EINVAL;
	ret = vblk_sigbus_install();
	if (ret < 0)
		return ret;
	mapped = calloc(1, sizeof(*mapped));
	if (!mapped)
		return -ENOMEM;
	ret = vblk_backing_open_file(path, flags, &mapped->file);
	if (ret < 0)
		goto free_mapped;
	vblk_backing_get_info(mapped->file, &info);
	mapped->size = info.size_bytes;
	if (!(info.flags & VBLK_BACKING_READ_ONLY))
		access |= PROT_WRITE;
	ret = -EINVAL;
	if (mapped->size == 0 || mapped->size > SIZE_MAX)
		goto close_file;
	mapped->bytes = mmap(NULL, mapped->size, access, MAP_SHARED | MAP_NORESERVE,
			     vblk_backing_file_fd(mapped->file), 0);
	ret = -errno;
	if (mapped->bytes == MAP_FAILED)
		goto close_file;
	return vblk_backing_create(&mapped_ops, mapped, &info, backing);

close_file:
	vblk_backing_unref(mapped->file);
free_mapped:
	free(mapped);
	return ret;
}
