/* SPDX-License-Identifier: MIT */
/*
 * Calls to a backing that are made by somebody else, many at a time, and end in any order.
 *
 * A struct vblk_aio belongs to one drain and to the thread that runs it; it is made before that
 * thread. A call that was started belongs to it, with its vectors and their memory, until it is
 * reaped. What is started reaches the host with the next submit or wait.
 */
#ifndef VBLK_BACKING_AIO_H
#define VBLK_BACKING_AIO_H

#include "backing/call.h"

/* The result of a call that could not be handed over after all: it was not made, and is yours. */
#define VBLK_CALL_NOT_MADE ((ssize_t)INT64_MIN)

struct vblk_aio;

struct vblk_aio_ops {
	int (*start)(struct vblk_aio *aio, struct vblk_call *call);
	void (*submit)(struct vblk_aio *aio);
	struct vblk_call *(*reap)(struct vblk_aio *aio);
	void (*wait)(struct vblk_aio *aio);
	void (*destroy)(struct vblk_aio *aio);
};

struct vblk_aio {
	const struct vblk_aio_ops *ops;
	int fd; /* readable when there is something to reap; -1: nothing ends by itself */
	struct vblk_aio *next; /* while it is a spare (backing/spares.h) */
};

/*
 * Takes a call in hand. Returns 0; or -EAGAIN: there is no room, or this is not a call that can be
 * made by anybody else. Then it is not taken, and vblk_backing_perform makes it.
 */
VBLK_MUST_USE static inline int vblk_aio_start(struct vblk_aio *aio, struct vblk_call *call)
{
	call->result = 0; /* of the last time it was taken */
	return aio->ops->start(aio, call);
}

/* Hands over what was started. Calls that the host can make at once are over when it returns. */
static inline void vblk_aio_submit(struct vblk_aio *aio)
{
	aio->ops->submit(aio);
}

/* A call that is over, with its result; NULL: none is, just now. */
VBLK_MUST_USE static inline struct vblk_call *vblk_aio_reap(struct vblk_aio *aio)
{
	return aio->ops->reap(aio);
}

/* Submits, and waits until there is something to reap. Only while something is under way. */
static inline void vblk_aio_wait(struct vblk_aio *aio)
{
	aio->ops->wait(aio);
}

/* Only while nothing is under way. NULL is ignored. */
static inline void vblk_aio_destroy(struct vblk_aio *aio)
{
	if (aio)
		aio->ops->destroy(aio);
}

#endif
