/* SPDX-License-Identifier: MIT */
/*
 * The time that requests take, seen from the drain of one queue: which moments there are, what is
 * recorded of them (vblk/metrics.h), and the probes that tell a tracer (metrics/probes.h).
 *
 * Asking for the time (base/stopwatch.h) is what costs here, so a moment is shared wherever one
 * ends what another begins: it is asked for when a look at the queue takes its first chain, and
 * when a chain is done with. The next one is taken at that same moment. Looking at an empty queue
 * asks for nothing.
 * Where somebody else makes the calls, those that have landed together were done at one moment, and
 * those that are launched together begin at one: at most a batch of them too early.
 *
 * In the order of a request's life:
 *
 *     vblk_timing_begin                 a look at the queue begins
 *       vblk_timing_take                a chain was taken
 *       vblk_timing_refuse              no tokens: it goes back, and is taken again later
 *       vblk_timing_pass                it is handed to the disk
 *     vblk_timing_end                   the look is over
 *       vblk_timing_landed              somebody else has made its call
 *       vblk_timing_done                it has left the queue, one way or another
 *       vblk_timing_served              ... as a request that was carried out and answered
 *
 * The drain's thread only.
 */
#ifndef VBLK_REQUEST_TIMING_H
#define VBLK_REQUEST_TIMING_H

#include "base/inline.h"
#include "base/stopwatch.h"
#include "metrics/metrics.h"
#include "metrics/probes.h"
#include "request/disk.h"
#include "request/request.h"

struct vblk_timing {
	struct vblk_metrics_shard *shard; /* NULL: there was no memory for one */
	struct vblk_stopwatch watch;
	uint32_t instance; /* name the queue in probes */
	uint32_t index;
	/* Of the look. */
	unsigned taken;	   /* chains that did not go back */
	uint64_t begun_ns; /* when the first was taken */
	uint64_t edge_ns;  /* the last moment that is known */
	bool is_now;	   /* that moment is still now, as far as it matters */
	/* Of the request that waits for tokens, from look to look. */
	bool waits;
	uint64_t waits_since_ns;
};

/* The disk outlives it. Cannot fail. */
void vblk_timing_init(struct vblk_timing *timing, struct vblk_disk *disk, uint32_t index);
void vblk_timing_destroy(struct vblk_timing *timing);

static inline void vblk_timing_begin(struct vblk_timing *timing)
{
	timing->taken = 0;
}

static inline void vblk_timing_take(struct vblk_timing *timing)
{
	if (timing->taken++ == 0)
		timing->begun_ns = timing->edge_ns = vblk_stopwatch_now(&timing->watch);
}

/* The limits want `wait_ns` more. */
void vblk_timing_refuse(struct vblk_timing *timing, const struct vblk_request *request,
			uint64_t wait_ns);

/* The request that waited was not passed, and left the queue all the same. */
void vblk_timing_forget(struct vblk_timing *timing);

VBLK_ALWAYS_INLINE void vblk_timing_queued(struct vblk_timing *timing, enum vblk_metrics_op op)
{
	vblk_metrics_record(timing->shard, op, VBLK_PHASE_QUEUED,
			    timing->edge_ns - timing->begun_ns);
}

/* What a tracer is told of these moments. */
void vblk_timing_tell_pass(const struct vblk_timing *timing, const struct vblk_request *request);
void vblk_timing_tell_served(const struct vblk_timing *timing, const struct vblk_request *request,
			     uint8_t status, uint64_t ns);

/* The request that waited has its tokens. */
void vblk_timing_waited(struct vblk_timing *timing, enum vblk_metrics_op op);

/* Returns the moment, for vblk_timing_served. `op` is the request's. */
VBLK_ALWAYS_INLINE uint64_t vblk_timing_pass(struct vblk_timing *timing,
					     const struct vblk_request *request,
					     enum vblk_metrics_op op)
{
	if (timing->waits)
		vblk_timing_waited(timing, op);
	else
		vblk_timing_queued(timing, op);
	if (VBLK_PROBE_IS_WATCHED(submit))
		vblk_timing_tell_pass(timing, request);
	return timing->edge_ns;
}

VBLK_ALWAYS_INLINE void vblk_timing_done(struct vblk_timing *timing)
{
	if (!timing->is_now)
		timing->edge_ns = vblk_stopwatch_now(&timing->watch);
}

/* What was landed together was done at the moment of the first, until time passes again. */
void vblk_timing_landed(struct vblk_timing *timing);

static inline void vblk_timing_pass_time(struct vblk_timing *timing)
{
	timing->is_now = false;
}

/*
 * `since_ns` is when it was handed to the disk; `op` and `bytes` are the request's. Behind
 * vblk_timing_done.
 */
VBLK_ALWAYS_INLINE void vblk_timing_served(struct vblk_timing *timing,
					   const struct vblk_request *request,
					   enum vblk_metrics_op op, uint64_t bytes,
					   uint64_t since_ns, uint8_t status)
{
	const uint64_t ns = timing->edge_ns - since_ns;

	vblk_metrics_record(timing->shard, op, VBLK_PHASE_SERVED, ns);
	vblk_metrics_record_bytes(timing->shard, op, bytes);
	if (VBLK_PROBE_IS_WATCHED(complete))
		vblk_timing_tell_served(timing, request, status, ns);
}

static inline void vblk_timing_end(struct vblk_timing *timing)
{
	vblk_metrics_record_depth(timing->shard, timing->taken);
}

#endif
