/* SPDX-License-Identifier: MIT */
/*
 * Flights of one drain whose calls are made by somebody else: so many of them at a time, ended in
 * any order.
 *
 * A spare flight is taken for each request and given back when that is over. One whose call was
 * launched is airborne until vblk_air_land hands it out again. All by the thread that drains.
 */
#ifndef VBLK_REQUEST_AIR_H
#define VBLK_REQUEST_AIR_H

#include "backing/aio.h"
#include "request/flight.h"

/* How many requests of a queue are under way at most. */
#define VBLK_AIR_MAX 128u

/*
 * How many are launched before they are handed to the host, and their ends looked for: one system
 * call for so many, and the first of them does not wait for a whole ring.
 */
#define VBLK_AIR_BATCH 16u

/*
 * How many bytes of requests are under way before no more are taken; one request may be longer. A
 * stop waits for all of them, so they must not take a disk much longer than one long request does.
 */
#define VBLK_AIR_BYTES_MAX (16u << 20)

struct vblk_air {
	struct vblk_aio *aio; /* owned */
	unsigned airborne;
	uint64_t bytes;		   /* of all requests that have been airborne and are not over */
	unsigned unsent;	   /* launched since the last submit */
	struct vblk_flight *spare; /* given back, to be taken again */
	unsigned touched;	   /* flights behind these were never taken */
	struct vblk_flight flights[VBLK_AIR_MAX];
};

/*
 * Makes all that `count` drains of this backing will need to have their calls made by io_uring, for
 * a process that will have no right to make it (backing/uring.h). What cannot be made now will be
 * found missing then, and said.
 */
void vblk_air_prepare(struct vblk_backing *backing, unsigned count);

/* Takes over `aio`, also if it fails. Returns 0 or -ENOMEM. */
VBLK_MUST_USE int vblk_air_create(struct vblk_aio *aio, struct vblk_air **air);

/* Only while nothing is airborne. NULL is ignored. */
void vblk_air_destroy(struct vblk_air *air);

/* A flight for the next request; NULL: so many are airborne that no more should be. */
struct vblk_flight *vblk_air_take(struct vblk_air *air);

/* Whether vblk_air_take would give none. */
bool vblk_air_is_full(const struct vblk_air *air);

/* It is not needed any more. */
void vblk_air_give_back(struct vblk_air *air, struct vblk_flight *flight);

/* Has flight->call made by somebody else. False: it cannot be, make it yourself. */
VBLK_MUST_USE bool vblk_air_launch(struct vblk_air *air, struct vblk_flight *flight);

/* Hands over what was launched. */
void vblk_air_submit(struct vblk_air *air);

/*
 * A flight whose call is over; NULL: none, just now. The result may be VBLK_CALL_NOT_MADE: make it
 * yourself.
 */
VBLK_MUST_USE struct vblk_flight *vblk_air_land(struct vblk_air *air);

/* Hands over what was launched, and waits until there is one that lands. */
void vblk_air_wait(struct vblk_air *air);

#endif
