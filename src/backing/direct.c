/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes past the page cache, aligned by hand where the guest did not.
 *
 * Where blocks are no larger than a sector, no write is ever less than a block, and the lock is
 * taken shared by all. Where they are larger, changes that others make (io_uring) would not know of
 * the lock: there, none is given away.
 */
#include "backing/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/checked.h"

/* How much goes through the buffer in one call. */
#define BOUNCE_MAX (256u << 10)

#define ALIGNMENT_MAX (64u << 10)

struct vblk_direct {
	int fd;
	struct vblk_alignment alignment;
	pthread_rwlock_t lock; /* exclusive: blocks are being changed in part */
};

static bool is_power_of_two(uint32_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

static bool is_sane(uint32_t value)
{
	return is_power_of_two(value) && value <= ALIGNMENT_MAX;
}

void vblk_direct_ask(int fd, struct vblk_alignment *alignment)
{
	int block = 0;
#ifdef STATX_DIOALIGN
	struct statx info;

	memset(&info, 0, sizeof(info));
	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 &&
	    (info.stx_mask & STATX_DIOALIGN) && is_sane(info.stx_dio_mem_align) &&
	    is_sane(info.stx_dio_offset_align)) {
		*alignment = (struct vblk_alignment){ info.stx_dio_mem_align,
						      info.stx_dio_offset_align };
		return;
	}
#endif
	if (ioctl(fd, BLKSSZGET, &block) < 0 || block < 0 || !is_sane((uint32_t)block))
		block = 4096;
	*alignment = (struct vblk_alignment){ (uint32_t)block, (uint32_t)block };
}

int vblk_direct_create(int fd, const struct vblk_alignment *alignment, struct vblk_direct **direct)
{
	struct vblk_direct *made = calloc(1, sizeof(*made));

	if (!made)
		return -ENOMEM;
	made->fd = fd;
	made->alignment = *alignment;
	pthread_rwlock_init(&made->lock, NULL);
	*direct = made;
	return 0;
}

void vblk_direct_destroy(struct vblk_direct *direct)
{
	if (!direct)
		return;
	pthread_rwlock_destroy(&direct->lock);
	free(direct);
}

static bool is_multiple(uint64_t value, uint32_t of)
{
	return (value & (of - 1)) == 0;
}

static bool is_memory_aligned(const struct vblk_direct *direct, const struct iovec *iov, int count)
{
	for (int i = 0; i < count; i++) {
		if (!is_multiple((uintptr_t)iov[i].iov_base, direct->alignment.memory) ||
		    !is_multiple(iov[i].iov_len, direct->alignment.offset))
			return false;
	}
	return true;
}

static uint64_t total_length(const struct iovec *iov, int count)
{
	uint64_t total = 0;

	for (int i = 0; i < count; i++)
		total += iov[i].iov_len;
	return total;
}

bool vblk_direct_is_free(const struct vblk_direct *direct, const struct vblk_call *call)
{
	const uint32_t block = direct->alignment.offset;

	switch (call->op) {
	case VBLK_CALL_SYNC:
		return true;
	case VBLK_CALL_DISCARD:
	case VBLK_CALL_WRITE_ZEROES:
		return block <= VBLK_SECTOR_SIZE && is_multiple(call->offset, block) &&
		       is_multiple(call->bytes, block);
	case VBLK_CALL_PWRITEV:
		if (block > VBLK_SECTOR_SIZE)
			return false;
		break;
	case VBLK_CALL_PREADV:
		break;
	}
	return is_multiple(call->offset, block) &&
	       is_memory_aligned(direct, call->iov, call->count);
}

/* A piece of the file in whole blocks, and the bytes of it that are asked for. */
struct bounce {
	uint8_t *bytes;
	uint64_t start; /* in the file; whole blocks */
	size_t length;
	size_t skip; /* what is asked for begins here ... */
	size_t want; /* ... and has so many bytes */
};

static int bounce_init(struct bounce *bounce, const struct vblk_direct *direct, uint64_t offset,
		       uint64_t total)
{
	uint64_t block = direct->alignment.offset;
	size_t alignment = direct->alignment.memory < sizeof(void *) ? sizeof(void *)
								     : direct->alignment.memory;
	void *bytes;

	bounce->skip = (size_t)(offset & (block - 1));
	bounce->start = offset - bounce->skip;
	bounce->want = (size_t)vblk_min_u64(total, BOUNCE_MAX - bounce->skip);
	bounce->length = (size_t)((bounce->skip + bounce->want + block - 1) & ~(block - 1));
	if (bounce->start + bounce->length > INT64_MAX)
		return -EINVAL;
	if (posix_memalign(&bytes, alignment, bounce->length) != 0)
		return -ENOMEM;
	bounce->bytes = bytes;
	return 0;
}

static void scatter(const struct iovec *iov, const uint8_t *bytes, size_t length)
{
	for (; length > 0; iov++) {
		size_t part = (size_t)vblk_min_u64(iov->iov_len, length);

		memcpy(iov->iov_base, bytes, part);
		bytes += part;
		length -= part;
	}
}

static void gather(uint8_t *bytes, const struct iovec *iov, size_t length)
{
	for (; length > 0; iov++) {
		size_t part = (size_t)vblk_min_u64(iov->iov_len, length);

		memcpy(bytes, iov->iov_base, part);
		bytes += part;
		length -= part;
	}
}

static ssize_t read_blocks(const struct vblk_direct *direct, const struct bounce *bounce)
{
	ssize_t n = pread(direct->fd, bounce->bytes, bounce->length, (off_t)bounce->start);

	return n < 0 ? -errno : n;
}

static ssize_t read_through(struct vblk_direct *direct, const struct iovec *iov, uint64_t offset,
			    uint64_t total)
{
	struct bounce bounce;
	ssize_t n = bounce_init(&bounce, direct, offset, total);

	if (n < 0)
		return n;
	n = read_blocks(direct, &bounce);
	if (n >= 0) {
		n = n > (ssize_t)bounce.skip ? n - (ssize_t)bounce.skip : 0;
		n = (ssize_t)vblk_min_u64((uint64_t)n, bounce.want);
		scatter(iov, bounce.bytes + bounce.skip, (size_t)n);
	}
	free(bounce.bytes);
	return n;
}

ssize_t vblk_direct_preadv(struct vblk_direct *direct, const struct iovec *iov, int count,
			   uint64_t offset)
{
	ssize_t n;

	if (!is_multiple(offset, direct->alignment.offset) ||
	    !is_memory_aligned(direct, iov, count))
		return read_through(direct, iov, offset, total_length(iov, count));
	n = preadv(direct->fd, iov, count, (off_t)offset);
	return n < 0 ? -errno : n;
}

/* What is in the file now; behind its end there are zeros. */
static ssize_t fill_from_file(const struct vblk_direct *direct, struct bounce *bounce)
{
	ssize_t n = read_blocks(direct, bounce);

	if (n >= 0)
		memset(bounce->bytes + n, 0, bounce->length - (size_t)n);
	return n;
}

/* A write of whole blocks may have made the file longer than the bytes that were written. */
static int cut_back(const struct vblk_direct *direct, const struct bounce *bounce, off_t old_end)
{
	off_t end = (off_t)(bounce->start + bounce->skip + bounce->want);
	off_t written_to = (off_t)(bounce->start + bounce->length);

	if (written_to == end || old_end >= written_to)
		return 0;
	return ftruncate(direct->fd, end > old_end ? end : old_end) < 0 ? -errno : 0;
}

static ssize_t write_blocks(const struct vblk_direct *direct, const struct bounce *bounce)
{
	off_t old_end = lseek(direct->fd, 0, SEEK_END);
	ssize_t n = pwrite(direct->fd, bounce->bytes, bounce->length, (off_t)bounce->start);
	int ret;

	if (n < 0)
		return -errno;
	ret = cut_back(direct, bounce, old_end);
	if (ret < 0)
		return ret;
	if (n <= (ssize_t)bounce->skip)
		return 0;
	return (ssize_t)vblk_min_u64((uint64_t)n - bounce->skip, bounce->want);
}

/* The lock is held, exclusively if blocks are changed in part. */
static ssize_t write_through(struct vblk_direct *direct, const struct iovec *iov, uint64_t offset,
			     uint64_t total, bool whole)
{
	struct bounce bounce;
	ssize_t n = bounce_init(&bounce, direct, offset, total);

	if (n < 0)
		return n;
	if (!whole)
		n = fill_from_file(direct, &bounce);
	if (n >= 0) {
		gather(bounce.bytes + bounce.skip, iov, bounce.want);
		n = write_blocks(direct, &bounce);
	}
	free(bounce.bytes);
	return n;
}

/* Whole blocks beside whole blocks; a block in part beside nobody. */
static void lock_range(struct vblk_direct *direct, uint64_t offset, uint64_t bytes)
{
	uint32_t block = direct->alignment.offset;

	if (is_multiple(offset, block) && is_multiple(bytes, block))
		pthread_rwlock_rdlock(&direct->lock);
	else
		pthread_rwlock_wrlock(&direct->lock);
}

void vblk_direct_begin(struct vblk_direct *direct, uint64_t offset, uint64_t bytes)
{
	if (direct)
		lock_range(direct, offset, bytes);
}

void vblk_direct_end(struct vblk_direct *direct)
{
	if (direct)
		pthread_rwlock_unlock(&direct->lock);
}

ssize_t vblk_direct_pwritev(struct vblk_direct *direct, const struct iovec *iov, int count,
			    uint64_t offset)
{
	uint32_t block = direct->alignment.offset;
	uint64_t total = total_length(iov, count);
	bool whole = is_multiple(offset, block) && is_multiple(total, block);
	ssize_t n;

	lock_range(direct, offset, total);
	if (whole && is_memory_aligned(direct, iov, count)) {
		n = pwritev(direct->fd, iov, count, (off_t)offset);
		n = n < 0 ? -errno : n;
	} else {
		n = write_through(direct, iov, offset, total, whole);
	}
	pthread_rwlock_unlock(&direct->lock);
	return n;
}
