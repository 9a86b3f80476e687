/* SPDX-License-Identifier: MIT */
/* DISCARD and WRITE_ZEROES. */
#include "request/ranges.h"

#include <errno.h>

#include "backing/backing.h"
#include "base/checked.h"
#include "request/attempt.h"

/* Zeros for a backing that cannot make them: the same page in every vector of a write. */
#define ZERO_BYTES   4096u
#define ZERO_VECTORS 256
#define ZERO_STEP    ((uint64_t)ZERO_BYTES * ZERO_VECTORS)

static const uint8_t zeros[ZERO_BYTES];

typedef int (*step_fn)(struct vblk_io *io, const struct vblk_range *range, uint64_t offset,
		       uint64_t bytes);

static bool is_on_disk(const struct vblk_range *range, uint64_t capacity_bytes)
{
	uint64_t capacity = capacity_bytes / VBLK_SECTOR_SIZE;

	return range->sector <= capacity && range->sectors <= capacity - range->sector;
}

static int discard_step(struct vblk_io *io, const struct vblk_range *range, uint64_t offset,
			uint64_t bytes)
{
	int ret;

	(void)range;
	do {
		if (vblk_lease_is_revoked(io->lease))
			return -ECANCELED;
		ret = vblk_backing_discard(io->disk->backing, offset, bytes);
	} while (vblk_io_is_interrupted(io, ret));
	return ret == -EOPNOTSUPP ? 0 : vblk_io_result(ret);
}

/* Vectors that all name the same zeros, for up to ZERO_STEP bytes. Returns how many. */
static int aim_at_zeros(struct iovec vectors[ZERO_VECTORS], uint64_t bytes)
{
	int count = 0;

	for (bytes = vblk_min_u64(bytes, ZERO_STEP); bytes > 0; count++) {
		vectors[count].iov_base = (void *)(uintptr_t)zeros;
		vectors[count].iov_len = vblk_min_u64(bytes, ZERO_BYTES);
		bytes -= vectors[count].iov_len;
	}
	return count;
}

static int write_zeros(struct vblk_io *io, uint64_t offset, uint64_t bytes)
{
	struct iovec vectors[ZERO_VECTORS];

	while (bytes > 0) {
		int count = aim_at_zeros(vectors, bytes);
		ssize_t ret;

		if (vblk_lease_is_revoked(io->lease))
			return -ECANCELED;
		ret = vblk_backing_pwritev(io->disk->backing, vectors, count, offset);
		if (vblk_io_is_interrupted(io, ret))
			continue;
		if (ret < 0)
			return vblk_io_errno(ret);
		/* No progress, or more than was asked for. */
		if (ret == 0 || (uint64_t)ret > vblk_min_u64(bytes, ZERO_STEP))
			return -EIO;
		offset += (uint64_t)ret;
		bytes -= (uint64_t)ret;
	}
	return 0;
}

static int zero_step(struct vblk_io *io, const struct vblk_range *range, uint64_t offset,
		     uint64_t bytes)
{
	int ret;

	do {
		if (vblk_lease_is_revoked(io->lease))
			return -ECANCELED;
		ret = vblk_backing_write_zeroes(io->disk->backing, offset, bytes,
						range->unmap ? VBLK_ZEROES_UNMAP : 0);
	} while (vblk_io_is_interrupted(io, ret));
	return ret == -EOPNOTSUPP ? write_zeros(io, offset, bytes) : vblk_io_result(ret);
}

static int step_through(struct vblk_io *io, const struct vblk_range *range, step_fn step)
{
	uint64_t offset = range->sector * VBLK_SECTOR_SIZE;
	uint64_t left = (uint64_t)range->sectors * VBLK_SECTOR_SIZE;
	int ret = 0;

	while (left > 0 && ret == 0) {
		uint64_t bytes = vblk_min_u64(left, VBLK_RANGE_STEP_MAX);

		ret = step(io, range, offset, bytes);
		offset += bytes;
		left -= bytes;
	}
	return ret;
}

struct vblk_transfer vblk_ranges_transfer(struct vblk_io *io, const struct vblk_request *request)
{
	bool discard = request->type == VIRTIO_BLK_T_DISCARD;
	uint64_t capacity = vblk_disk_capacity(io->disk);
	struct vblk_transfer transfer = { .what = discard ? "discard failed"
							  : "write zeroes failed" };

	for (uint16_t i = 0; i < request->range_count; i++) {
		if (!is_on_disk(&request->range[i], capacity)) {
			transfer.error = -ERANGE;
			transfer.what = "range is past the end of the disk";
			return transfer;
		}
	}
	for (uint16_t i = 0; i < request->range_count && transfer.error == 0; i++)
		transfer.error =
			step_through(io, &request->range[i], discard ? discard_step : zero_step);
	return transfer;
}
