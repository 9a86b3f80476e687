/* SPDX-License-Identifier: MIT */
/* The window of host vectors over a request's data. */
#include "request/iovec.h"

#include <errno.h>

#include "base/checked.h"

/*
 * The next piece of the data that is contiguous in the host, of at most `room` bytes (and at least
 * one). NULL: it is not in guest memory.
 */
static uint8_t *next_piece(struct vblk_iovecs *iovecs, uint64_t room, uint64_t *piece)
{
	const struct vblk_segment *segment = &iovecs->request->segment[iovecs->segment];
	uint32_t left = segment->len - iovecs->offset;
	uint64_t address = segment->addr + iovecs->offset;
	uint8_t *host;

	if (left - 1 > UINT64_MAX - address)
		return NULL;
	host = vblk_memory_view_at(iovecs->view, address, vblk_min_u64(left, room), piece);
	if (!host)
		return NULL;
	if (*piece < left) {
		iovecs->offset += (uint32_t)*piece;
	} else {
		iovecs->offset = 0;
		iovecs->segment++;
	}
	return host;
}

static bool is_at_end(const struct vblk_iovecs *iovecs)
{
	return iovecs->segment == iovecs->request->segment_count;
}

static int refill(struct vblk_iovecs *iovecs)
{
	iovecs->first = 0;
	iovecs->count = 0;
	iovecs->bytes = 0;
	while (!is_at_end(iovecs) && iovecs->count < VBLK_IOVEC_MAX &&
	       iovecs->bytes < VBLK_IOVEC_BYTES_MAX) {
		uint64_t room = VBLK_IOVEC_BYTES_MAX - iovecs->bytes;
		uint64_t piece;
		uint8_t *host = next_piece(iovecs, room, &piece);

		if (!host)
			return -EFAULT;
		iovecs->vec[iovecs->count++] = (struct iovec){ host, piece };
		iovecs->bytes += piece;
	}
	return 0;
}

/* Whether what lies behind the window is in guest memory too; the cursor stays where it is. */
static int check_rest(struct vblk_iovecs *iovecs)
{
	uint16_t segment = iovecs->segment;
	uint32_t offset = iovecs->offset;
	int ret = 0;

	while (ret == 0 && !is_at_end(iovecs)) {
		uint64_t piece;

		if (!next_piece(iovecs, UINT64_MAX, &piece))
			ret = -EFAULT;
	}
	iovecs->segment = segment;
	iovecs->offset = offset;
	return ret;
}

int vblk_iovecs_start_window(struct vblk_iovecs *iovecs)
{
	int ret;

	iovecs->segment = 0;
	iovecs->offset = 0;
	ret = refill(iovecs);
	return ret < 0 ? ret : check_rest(iovecs);
}

void vblk_iovecs_advance(struct vblk_iovecs *iovecs, uint64_t done)
{
	iovecs->bytes -= done;
	if (iovecs->bytes == 0) {
		iovecs->count = 0;
		done = 0;
	}
	while (iovecs->count > 0 && done >= iovecs->vec[iovecs->first].iov_len) {
		done -= iovecs->vec[iovecs->first].iov_len;
		iovecs->first++;
		iovecs->count--;
	}
	if (done > 0) {
		struct iovec *vec = &iovecs->vec[iovecs->first];

		vec->iov_base = (uint8_t *)vec->iov_base + done;
		vec->iov_len -= done;
	}
	/* The start saw every byte mapped, and the map does not change: this cannot fail. */
	if (iovecs->count == 0 && !is_at_end(iovecs) && refill(iovecs) < 0)
		iovecs->bytes = 0;
}
