/* SPDX-License-Identifier: MIT */
/*
 * A record of requests in flight that outlives whoever serves them. A drain tells it of each
 * request's way; who keeps it, and where, is the transport's affair.
 *
 * All calls come from the thread that drains, while it holds its lease on the guest.
 */
#ifndef VBLK_REQUEST_JOURNAL_H
#define VBLK_REQUEST_JOURNAL_H

#include "queue/queue.h"

/* Heads that another drain took and did not answer, in the order in which they were taken. */
struct vblk_journal_heads {
	uint16_t count;
	uint16_t head[VBLK_QUEUE_SIZE_MAX];
};

struct vblk_journal_ops {
	/*
	 * First of all, with the used.idx of the ring: which heads are to be served again. They are
	 * below the ring's size, and no two are the same. Returns 0, or a negative errno if the
	 * record cannot be used.
	 */
	int (*open)(void *context, uint16_t used_idx, struct vblk_journal_heads *heads);

	/* A head (below the ring's size) was taken from the ring and will now be served. */
	void (*claim)(void *context, uint16_t head);

	/* It is about to be published; it was, and the ring's used.idx is what is told. */
	void (*prepare)(void *context, uint16_t head);
	void (*commit)(void *context, uint16_t head, uint16_t used_idx);
};

struct vblk_journal {
	const struct vblk_journal_ops *ops; /* NULL: there is no record */
	void *context;
};

#endif
