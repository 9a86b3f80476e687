/* SPDX-License-Identifier: MIT */
/*
 * Calls that somebody else makes, as the test says: which of them, in which order, and when. No
 * thread and no clock.
 *
 *     late = late_aio_create(backing);
 *     config.air = late_aio_air(late);      the drain owns both now
 *     late->hold = true;                    from now on nothing lands by itself
 *     ...
 *     late_aio_land(late, i);               the i-th of those under way is made, and lands
 */
#ifndef TESTS_SUPPORT_LATE_AIO_H
#define TESTS_SUPPORT_LATE_AIO_H

#include "request/air.h"

#define LATE_MAX 256u

struct late_aio {
	struct vblk_aio base;
	struct vblk_backing *backing;
	bool hold;	       /* calls wait for late_aio_land; else they are made at the submit */
	unsigned refuse_after; /* so many calls are taken, and no more; 0: all */
	bool refuse;	       /* no call is taken */
	bool lose;	       /* what is submitted comes back as not made */
	unsigned submits;      /* that had something to submit */
	unsigned started;      /* calls taken, ever */
	unsigned waits;
	struct vblk_call *unsent[LATE_MAX];
	unsigned unsent_count;
	struct vblk_call *under_way[LATE_MAX];
	unsigned under_way_count;
	struct vblk_call *landed[LATE_MAX];
	unsigned landed_count;
};

struct late_aio *late_aio_create(struct vblk_backing *backing);

/* Flights around it. */
struct vblk_air *late_aio_air(struct late_aio *late);

/* Makes the call at this place of those under way. */
void late_aio_land(struct late_aio *late, unsigned index);

#endif
