/* SPDX-License-Identifier: MIT */
/*
 * How long to look at an empty ring before going to sleep.
 *
 * Waking a thread costs more than a small request, so a drain that expects the next one soon does
 * better to wait for it awake. It expects what it saw: after a sleep that was so short that we
 * should have looked longer, the time grows; after a longer one it shrinks, in the end to nothing.
 * A queue that falls idle costs a few looks, once, and then no processor at all.
 *
 * A pure part: it is told what happened and when.
 */
#ifndef VBLK_REQUEST_LINGER_H
#define VBLK_REQUEST_LINGER_H

#include <vblk/types.h>

/* The shortest time worth looking, and what the time starts from when it grows. */
#define VBLK_LINGER_MIN_NS 4000u

struct vblk_linger {
	uint64_t max_ns; /* 0: never */
	uint64_t now_ns; /* how long to look next time; 0: not at all */
	bool asleep;	 /* the drain has ended with an empty ring ... */
	uint64_t asleep_since_ns;
};

static inline void vblk_linger_init(struct vblk_linger *linger, uint64_t max_ns)
{
	*linger = (struct vblk_linger){ .max_ns = max_ns };
}

/* The drain ends, at this time, because the ring is empty. */
void vblk_linger_sleep(struct vblk_linger *linger, uint64_t now_ns);

/* The drain begins again. */
void vblk_linger_wake(struct vblk_linger *linger, uint64_t now_ns);

#endif
