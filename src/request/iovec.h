/* SPDX-License-Identifier: MIT */
/*
 * From guest segments to host vectors, a window at a time.
 *
 * A segment may lie in several regions of guest memory, and an embedder's regions may be small, so
 * the pieces of a legal request can exceed any fixed array. A cursor walks the segments and
 * refills the array as it empties; the usual request fits at once.
 */
#ifndef VBLK_REQUEST_IOVEC_H
#define VBLK_REQUEST_IOVEC_H

#include <sys/uio.h>

#include "request/request.h"

#define VBLK_IOVEC_MAX 256

/*
 * The most bytes of a window, and so of one call to the backing. A request may have 128 MiB, and a
 * worker that has lost its lease notices that only between calls. A multiple of every block size,
 * so that the cut does not make the rest unaligned; far above where a larger call is a faster one.
 */
#define VBLK_IOVEC_BYTES_MAX (4u << 20)

struct vblk_iovecs {
	const struct vblk_request *request;
	struct vblk_memory_view *view;
	uint16_t segment; /* where the next refill goes on ... */
	uint32_t offset;  /* ... and how far into that segment */
	unsigned first;	  /* vec[first .. first + count) is what is left of the window */
	unsigned count;
	uint64_t bytes; /* in what is left */
	struct iovec vec[VBLK_IOVEC_MAX];
};

/*
 * The usual request: one segment, in one piece, and so one window. Its host address, or NULL if it
 * is not such a one.
 */
static inline uint8_t *vblk_iovecs_find_whole(struct vblk_memory_view *view,
					      const struct vblk_request *request)
{
	const struct vblk_segment *segment = &request->segment[0];

	return request->segment_count == 1 && segment->len <= VBLK_IOVEC_BYTES_MAX
		       ? vblk_memory_view_whole(view, segment->addr, segment->len)
		       : NULL;
}

static inline bool vblk_iovecs_start_whole(struct vblk_iovecs *iovecs)
{
	const uint32_t length = iovecs->request->segment[0].len;
	uint8_t *host = vblk_iovecs_find_whole(iovecs->view, iovecs->request);

	if (!host)
		return false;
	iovecs->segment = 1;
	iovecs->offset = 0;
	iovecs->first = 0;
	iovecs->count = 1;
	iovecs->bytes = length;
	iovecs->vec[0] = (struct iovec){ host, length };
	return true;
}

/* As vblk_iovecs_start for any other. */
VBLK_MUST_USE int vblk_iovecs_start_window(struct vblk_iovecs *iovecs);

/*
 * Starts on the data of a request and fills the window. Nothing is left to fail later: returns
 * -EFAULT if any byte of the data, in the window or behind it, is not in guest memory, else 0.
 */
VBLK_MUST_USE static inline int vblk_iovecs_start(struct vblk_iovecs *iovecs,
						  const struct vblk_request *request,
						  struct vblk_memory_view *view)
{
	iovecs->request = request;
	iovecs->view = view;
	return vblk_iovecs_start_whole(iovecs) ? 0 : vblk_iovecs_start_window(iovecs);
}

/*
 * Takes `done` bytes (at most iovecs->bytes) off the front, empty vectors there included, and
 * refills the window when it is empty and there is more.
 */
void vblk_iovecs_advance(struct vblk_iovecs *iovecs, uint64_t done);

#endif
