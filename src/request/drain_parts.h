/* SPDX-License-Identifier: MIT */
/*
 * What the parts of a drain have in common: drain.c takes requests and has them carried out,
 * answer.c and publish.h bring what came of them to the driver, poison.c gives up, drain_life.c
 * begins and ends, reopen.c finds out where to go on. Nobody else includes this.
 */
#ifndef VBLK_REQUEST_DRAIN_PARTS_H
#define VBLK_REQUEST_DRAIN_PARTS_H

#include "base/inline.h"
#include "request/drain.h"

/*
 * A message about the queue, and one that the guest can cause again and again. The fields that say
 * which queue it is come first.
 */
#define vblk_drain_warn(drain, message, ...)                                       \
	vblk_log_emit(&(drain)->config.disk->log, VBLK_LOG_WARN, (message),        \
		      VBLK_FIELD_UINT("instance", (drain)->config.disk->instance), \
		      VBLK_FIELD_UINT("queue", (drain)->config.index), ##__VA_ARGS__)
#define vblk_drain_warn_limited(drain, message, ...)                                        \
	vblk_log_emit_limited(&(drain)->config.disk->log, &(drain)->config.port->log_limit, \
			      vblk_clock_now(&(drain)->config.disk->clock), VBLK_LOG_WARN,  \
			      (message),                                                    \
			      VBLK_FIELD_UINT("instance", (drain)->config.disk->instance),  \
			      VBLK_FIELD_UINT("queue", (drain)->config.index), ##__VA_ARGS__)

/* How one step of a drain ended. */
enum vblk_step {
	VBLK_STEP_SERVED,  /* one chain has left the queue, or is on its way */
	VBLK_STEP_EMPTY,   /* no chain was there */
	VBLK_STEP_STALLED, /* the chain went back to wait for tokens */
	VBLK_STEP_FULL,	   /* as many are on their way as can be */
	VBLK_STEP_BROKEN,  /* the queue is poisoned, or this worker may not touch the guest any more
			    */
};

/*
 * Stops serving the queue and tells the driver, if we may still speak to it. The caller has counted
 * and logged why.
 */
enum vblk_step vblk_drain_poison(struct vblk_drain *drain);

/* The same where a head could not be taken, for this reason. */
enum vblk_step vblk_drain_cannot_pop(struct vblk_drain *drain, int error);

/* The same as a part of an answer: whether a driver whose request gets none is to be told so. */
bool vblk_drain_is_strict(const struct vblk_drain *drain);

/* The request that waited for tokens has left the queue, one way or another. */
void vblk_drain_forget_stall(struct vblk_drain *drain);

/* The same if there was one. */
static inline void vblk_drain_clear_stall(struct vblk_drain *drain)
{
	if (drain->stalled)
		vblk_drain_forget_stall(drain);
}

/*
 * Guest memory was lost: from here on nothing is done to the guest. Says so, so not while the lease
 * is held. For vblk_drain_is_cut_off.
 */
void vblk_drain_cut_off(struct vblk_drain *drain);

/*
 * Whether memory was lost: then what was read of it since the last look means nothing, and the
 * queue is served no more. Not while the lease is held.
 */
VBLK_ALWAYS_INLINE bool vblk_drain_is_cut_off(struct vblk_drain *drain)
{
	if (vblk_memory_view_has_failed(&drain->queue.view))
		vblk_drain_cut_off(drain);
	return drain->cut_off;
}

/* Takes the lease. False if the guest is not to be touched: we were given up, or cut off. */
VBLK_ALWAYS_INLINE bool vblk_drain_hold(struct vblk_drain *drain)
{
	return !vblk_drain_is_cut_off(drain) && vblk_lease_hold(&drain->lease);
}

/*
 * Three ends of a request. A chain that cannot be answered is dropped: publishing it all the same
 * would let the driver take an old byte in its memory for our status. One that needs no disk is
 * replied to. One that was carried out is concluded, unless the queue has been poisoned meanwhile.
 */
enum vblk_step vblk_drain_drop(struct vblk_drain *drain, const struct vblk_request *request,
			       enum vblk_metrics_error error, const char *reason);
enum vblk_step vblk_drain_reply(struct vblk_drain *drain, const struct vblk_request *request,
				const struct vblk_verdict *verdict);
enum vblk_step vblk_drain_conclude(struct vblk_drain *drain, struct vblk_flight *flight);

/*
 * One interrupt decision for all that was published since the last (specification 2.7.7.2); none if
 * nothing was.
 */
void vblk_drain_interrupt(struct vblk_drain *drain);

/*
 * Finds out where to go on where another has stopped, and interrupts the driver. Returns whether
 * there is a ring to be served.
 */
VBLK_MUST_USE bool vblk_drain_reopen(struct vblk_drain *drain);

#endif
