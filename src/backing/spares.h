/* SPDX-License-Identifier: MIT */
/*
 * Those who make calls to a backing (backing/aio.h), made in advance and kept for who needs one: a
 * process that is to give up the right to make them has to have them by then.
 *
 * Any thread.
 */
#ifndef VBLK_BACKING_SPARES_H
#define VBLK_BACKING_SPARES_H

#include <pthread.h>
#include <vblk/types.h>

struct vblk_aio;

struct vblk_spares {
	pthread_mutex_t lock;
	bool kept; /* from now on none is made */
	int error; /* what who finds none is told */
	struct vblk_aio *first;
};

void vblk_spares_init(struct vblk_spares *spares);

/* From now on there are none but those that are put here: who finds none is told `error`. */
void vblk_spares_keep(struct vblk_spares *spares, int error);

/*
 * Takes one. Returns 0; -ENOENT: none are kept here, make one; or the error, as above.
 */
VBLK_MUST_USE int vblk_spares_take(struct vblk_spares *spares, struct vblk_aio **aio);

/* Puts one there, which nobody uses. False: none are kept here, it stays yours. */
VBLK_MUST_USE bool vblk_spares_put(struct vblk_spares *spares, struct vblk_aio *aio);

/* Destroys those that are there. */
void vblk_spares_destroy(struct vblk_spares *spares);

#endif
