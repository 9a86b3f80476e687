/* SPDX-License-Identifier: MIT */
/*
 * Parking: how a freeze coordinator brings a worker to rest between two requests, and knows it.
 *
 * Being paused is a level, not an event: set by vblk_park_request, cleared by vblk_park_release
 * and vblk_park_reset, and by nothing else. A worker that finds the level set, be it at its very
 * start, parks and stays until it is cleared or the worker is told to stop; the descriptors that
 * wake it carry no meaning. So a release that comes before the worker has parked is not lost,
 * neither is a request that comes before a released worker has left, and nor is one that comes
 * before there is a worker.
 *
 * Each request that says so is acknowledged exactly once on the parked eventfd: by the worker when
 * it parks, or by whoever makes its parking moot (a release, the end of the worker).
 *
 * The flag "paused" is true while nothing can run: parked, or no worker at all. Its holder may
 * outlive the device, hence the references.
 *
 * The parks of a device's queues are parts of a whole, the park of the device. A whole is paused
 * while all its parts are, and makes one acknowledgement for theirs, when the last of these is due.
 * Nothing else is done to a whole; its lock is taken inside that of a part.
 */
#ifndef VBLK_ENGINE_PARK_H
#define VBLK_ENGINE_PARK_H

#include <pthread.h>
#include <stdatomic.h>
#include <vblk/device.h>

struct vblk_park {
	atomic_uint refs;
	atomic_bool paused;
	atomic_bool yield; /* a drain should end after the request in hand: somebody wants us */

	pthread_mutex_t lock; /* all below; paused and yield change only under it too */
	pthread_cond_t changed;
	bool live; /* something runs that can be parked */
	bool level;
	bool ack_owed;
	int parked_fd; /* a duplicate of the embedder's, or -1 */

	struct vblk_park *whole; /* that this is a part of: an owned reference, or NULL. Constant */
	unsigned awake;		 /* of a whole: parts that are not paused */
	unsigned owing;		 /* of a whole: parts that owe it their acknowledgement */
};

/* Paused, not live, level clear, one reference. Returns 0 or -ENOMEM. */
VBLK_MUST_USE int vblk_park_create(struct vblk_park **park);

/*
 * Makes `park` a part of `whole`, of which it takes a reference. Before anything else is done to
 * either.
 */
void vblk_park_join(struct vblk_park *park, struct vblk_park *whole);

/*
 * Around the requests that are made to all parts of a whole: until the second call it does not
 * acknowledge, however quick some parts are. From one thread at a time.
 */
void vblk_park_hold_ack(struct vblk_park *whole);
void vblk_park_release_ack(struct vblk_park *whole);

/* A worker is about to run: paused becomes false, unless the level says that it shall not. */
void vblk_park_begin(struct vblk_park *park);

/* No worker runs any more: what was owed is paid, paused becomes true. The level stays. */
void vblk_park_end(struct vblk_park *park);

/* As vblk_park_end, and the level is cleared. */
void vblk_park_reset(struct vblk_park *park);

/*
 * By a worker that ends of itself: as vblk_park_end, unless *stop is set, which is read under the
 * lock. Returns *stop: true means that whoever stops the worker sees to all that.
 */
VBLK_MUST_USE bool vblk_park_leave(struct vblk_park *park, const bool *stop);

/* Asks for a rest. Returns whether exactly one acknowledgement follows (or has been made). */
VBLK_MUST_USE bool vblk_park_request(struct vblk_park *park);

/* Ends the rest. Returns whether there is a worker that may have to leave its park. */
bool vblk_park_release(struct vblk_park *park);

/* Sets *stop, which belongs to the worker, and gets the worker out of its park. */
void vblk_park_stop(struct vblk_park *park, bool *stop);

/*
 * By the worker, before its first drain and between two: parks while that is asked for. Returns
 * *stop, which is read under the lock: true means that the worker shall end.
 */
VBLK_MUST_USE bool vblk_park_here(struct vblk_park *park, const bool *stop);

/*
 * By an engine without a thread, while it has nothing in hand: does what the level says, to rest
 * or to be up again. The flag then says which.
 */
void vblk_park_settle(struct vblk_park *park);

/*
 * Calls `look` under the lock if all is at rest, so that nothing gets up meanwhile; returns whether
 * it was called. It must not block.
 */
bool vblk_park_look(struct vblk_park *park, void (*look)(void *context), void *context);

/* Replaces the parked eventfd by a duplicate of `fd`; -1 for none. Returns 0 or -errno. */
VBLK_MUST_USE int vblk_park_set_fd(struct vblk_park *park, int fd);

/* Waits until paused is true. Returns 0 or -ETIMEDOUT. */
VBLK_MUST_USE int vblk_park_wait(struct vblk_park *park, uint32_t timeout_ms);

#endif
