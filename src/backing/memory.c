/* SPDX-License-Identifier: MIT */
/*
 * A disk in anonymous memory.
 *
 * The mapping is as large as the disk, but a page costs memory only once it has been touched, and
 * none is reserved ahead (MAP_NORESERVE): a disk may be larger than the machine's memory as long as
 * what is written to it is not.
 *
 * The end is hard. A read across it is short, a read behind it gives 0, a write across it is
 * short and one behind it fails with -ENOSPC, as on a block device.
 */
#include "backing/backing.h"

#include "base/checked.h"
#include "base/inline.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct memory {
	uint8_t *bytes;
	uint64_t size;
};

enum direction {
	TO_VECTORS,
	FROM_VECTORS
};

/* One vector, of which something is to be moved, and nothing behind the end. */
static inline bool is_usual(const struct memory *memory, const struct iovec *iov, int count,
			    uint64_t offset)
{
	return count == 1 && offset < memory->size && iov->iov_len > 0 &&
	       iov->iov_len <= memory->size - offset;
}

/* Copies between the vectors and the disk as far as both go. */
VBLK_NEVER_INLINE ssize_t copy(const struct memory *memory, const struct iovec *iov, int count,
			       uint64_t offset, enum direction direction)
{
	uint64_t left = offset < memory->size ? memory->size - offset : 0;
	uint64_t done = 0;

	for (int i = 0; i < count && left > 0; i++) {
		uint64_t n = vblk_min_u64(iov[i].iov_len, left);
		uint8_t *at = memory->bytes + offset + done;

		if (n == 0)
			continue;
		if (direction == TO_VECTORS)
			memcpy(iov[i].iov_base, at, n);
		else
			memcpy(at, iov[i].iov_base, n);
		done += n;
		left -= n;
	}
	return (ssize_t)done;
}

static bool wants_bytes(const struct iovec *iov, int count)
{
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > 0)
			return true;
	}
	return false;
}

static ssize_t memory_preadv(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	const struct memory *memory = context;

	if (is_usual(memory, iov, count, offset)) {
		memcpy(iov->iov_base, memory->bytes + offset, iov->iov_len);
		return (ssize_t)iov->iov_len;
	}
	return copy(context, iov, count, offset, TO_VECTORS);
}

static ssize_t memory_pwritev(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	const struct memory *memory = context;
	ssize_t n;

	if (is_usual(memory, iov, count, offset)) {
		memcpy(memory->bytes + offset, iov->iov_base, iov->iov_len);
		return (ssize_t)iov->iov_len;
	}
	n = copy(memory, iov, count, offset, FROM_VECTORS);
	return n == 0 && wants_bytes(iov, count) ? -ENOSPC : n;
}

/*
 * Whole pages go back to the kernel, which gives zeros for them when they are touched again; what
 * sticks out at either end is cleared by hand.
 */
static int forget(const struct memory *memory, uint64_t from, uint64_t to)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t first = (from + page - 1) / page * page;
	uint64_t last = to / page * page;

	if (first >= last) {
		memset(memory->bytes + from, 0, to - from);
		return 0;
	}
	memset(memory->bytes + from, 0, first - from);
	memset(memory->bytes + last, 0, to - last);
	return madvise(memory->bytes + first, last - first, MADV_DONTNEED) < 0 ? -errno : 0;
}

static int memory_discard(void *context, uint64_t offset, uint64_t bytes)
{
	const struct memory *memory = context;
	uint64_t from = vblk_min_u64(offset, memory->size);

	return forget(memory, from, from + vblk_min_u64(bytes, memory->size - from));
}

static int memory_write_zeroes(void *context, uint64_t offset, uint64_t bytes, uint32_t flags)
{
	const struct memory *memory = context;

	if (offset > memory->size || bytes > memory->size - offset)
		return -ENOSPC;
	if (flags & VBLK_ZEROES_UNMAP)
		return forget(memory, offset, offset + bytes);
	memset(memory->bytes + offset, 0, bytes);
	return 0;
}

static void memory_close(void *context)
{
	struct memory *memory = context;

	munmap(memory->bytes, memory->size);
	free(memory);
}

static const struct vblk_backing_ops memory_ops = {
	.preadv = memory_preadv,
	.pwritev = memory_pwritev,
	.discard = memory_discard,
	.write_zeroes = memory_write_zeroes,
	.close = memory_close,
};

int vblk_backing_create_memory(uint64_t size_bytes, struct vblk_backing **backing)
{
	struct vblk_backing_info info = { .size_bytes = size_bytes };
	struct memory *memory;

	if (size_bytes == 0 || size_bytes > INT64_MAX)
		return -EINVAL;
	memory = malloc(sizeof(*memory));
	if (!memory)
		return -ENOMEM;
	memory->size = size_bytes;
	memory->bytes = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory->bytes == MAP_FAILED) {
		free(memory);
		return -ENOMEM;
	}
	return vblk_backing_create(&memory_ops, memory, &info, backing);
}
