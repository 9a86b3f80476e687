/* SPDX-License-Identifier: MIT */
/*
 * The drain: the bracket of notification control around single requests.
 *
 * The bracket closes a race. While we look, the driver need not notify. When we find nothing, we
 * ask for notifications again and look once more: whatever was made available in between is either
 * seen now, or the driver saw our wish and notifies.
 */
#include <errno.h>
#include <sched.h>

#include "base/inline.h"
#include "base/log.h"
#include "base/relax.h"
#include "metrics/metrics.h"
#include "request/publish.h"

/* Where a request was taken from. */
enum origin {
	FROM_RING,
	FROM_JOURNAL, /* it was in flight already when this drain began */
};

static bool has_adopted(const struct vblk_drain *drain)
{
	return drain->adopted && drain->adopted_next < drain->adopted->count;
}

/*
 * With a journal, another drain finds out where to go on by the number of heads on record. So none
 * may be taken that has no place there, or that is there already.
 */
static int check_head(const struct vblk_drain *drain, uint16_t head)
{
	if (!drain->config.journal.ops)
		return 0;
	if (head >= drain->queue.layout.size)
		return -ECHRNG;
	return drain->dropped[head / 64] >> head % 64 & 1 ? -EEXIST : 0;
}

/* Takes the next head: one that another has left behind, or one from the ring. */
static int take_head(struct vblk_drain *drain, uint16_t *head)
{
	if (!has_adopted(drain)) {
		int ret = vblk_hot_pop(&drain->queue, head);
		int error = ret > 0 ? check_head(drain, *head) : 0;

		if (error < 0)
			vblk_queue_undo_pop(&drain->queue, *head);
		return error < 0 ? error : ret;
	}
	*head = drain->adopted->head[drain->adopted_next++];
	return 1;
}

/* As if it had not been taken. */
static void put_back(struct vblk_drain *drain, uint16_t head, enum origin origin)
{
	if (origin == FROM_RING)
		vblk_queue_undo_pop(&drain->queue, head);
	else
		drain->adopted_next--;
}

static void stall(struct vblk_drain *drain, const struct vblk_request *request, enum origin origin)
{
	vblk_metrics_add_throttled(drain->config.disk->metrics);
	if (!drain->stalled) {
		drain->stalled = true;
		drain->stall = (struct vblk_stall){
			.head = request->head,
			.type = request->type,
			.sector = request->sector,
			.bytes = vblk_request_cost(request),
			.since_ns = vblk_clock_now(&drain->config.disk->clock),
		};
		vblk_metrics_stalled_inc(drain->config.disk->metrics);
	}
	put_back(drain, request->head, origin);
}

/* Notes that a request is in our hands. False if we may not touch the guest any more. */
VBLK_ALWAYS_INLINE bool claim(struct vblk_drain *drain, uint16_t head, enum origin origin)
{
	const struct vblk_journal *journal = &drain->config.journal;

	if (!journal->ops || origin == FROM_JOURNAL)
		return true;
	if (!vblk_drain_hold(drain))
		return false;
	journal->ops->claim(journal->context, head);
	vblk_lease_release(&drain->lease);
	return true;
}

/*
 * Makes a call that somebody else would not make. What was launched before must not wait for it;
 * and handing that over may take so long that it is too late for this one.
 */
VBLK_ALWAYS_INLINE ssize_t make_here(struct vblk_drain *drain, const struct vblk_flight *flight)
{
	ssize_t result;

	if (drain->config.air) {
		vblk_air_submit(drain->config.air);
		if (vblk_lease_is_revoked(&drain->lease) ||
		    vblk_memory_view_has_failed(&drain->queue.view))
			return -ECANCELED;
	}
	result = vblk_backing_perform(drain->config.disk->backing, &flight->call);
	vblk_timing_pass_time(&drain->timing);
	return result;
}

/* Makes the flight's call and those behind it, or has them made. */
VBLK_ALWAYS_INLINE enum vblk_step fly(struct vblk_drain *drain, struct vblk_flight *flight)
{
	struct vblk_air *air = drain->config.air;
	ssize_t result;

	do {
		if (air && vblk_air_launch(air, flight))
			return VBLK_STEP_SERVED;
		result = make_here(drain, flight);
	} while (vblk_flight_next(&drain->io, flight, result));
	return vblk_drain_conclude(drain, flight);
}

VBLK_ALWAYS_INLINE void put_label(struct vblk_flight *flight, uint64_t bytes)
{
	const struct vblk_request *request = &flight->request;

	vblk_label_set(&flight->label, request->head, request->type, request->sector, bytes,
		       flight->since_ns);
}

static enum vblk_step carry_out(struct vblk_drain *drain, struct vblk_flight *flight)
{
	put_label(flight, vblk_request_bytes(&flight->request));
	if (vblk_flight_start(&drain->io, flight))
		return fly(drain, flight);
	return vblk_drain_conclude(drain, flight);
}

/* A plain request that has its place on the disk, but whose call is not the usual one. */
VBLK_NEVER_INLINE enum vblk_step move_by_flight(struct vblk_drain *drain,
						struct vblk_flight *flight)
{
	if (vblk_flight_map(&drain->io, flight) && vblk_flight_go(&drain->io, flight))
		return fly(drain, flight);
	return vblk_drain_conclude(drain, flight);
}

/* One whose call did not end as it usually does: goes on as if the flight had wanted it. */
VBLK_NEVER_INLINE enum vblk_step go_on_by_flight(struct vblk_drain *drain,
						 struct vblk_flight *flight, ssize_t result)
{
	if (vblk_flight_map(&drain->io, flight) && vblk_flight_next(&drain->io, flight, result))
		return fly(drain, flight);
	return vblk_drain_conclude(drain, flight);
}

/* Whether all was moved, and nothing else is left to be done. */
VBLK_ALWAYS_INLINE bool has_moved(const struct vblk_drain *drain,
				  const struct vblk_request *request, ssize_t result)
{
	return result == request->data_len && !drain->queue.view.dirty &&
	       (request->type == VIRTIO_BLK_T_IN || !vblk_io_makes_stable(&drain->io));
}

/*
 * As carry_out, of a request that vblk_request_take_plain took. The flight is told of the call only
 * where there is more to do than one that moves all of the data.
 */
VBLK_ALWAYS_INLINE enum vblk_step carry_out_plain(struct vblk_drain *drain,
						  struct vblk_flight *flight)
{
	struct vblk_backing *backing = drain->config.disk->backing;
	const struct vblk_request *request = &flight->request;
	struct iovec vec = { .iov_len = request->data_len };
	ssize_t result;

	put_label(flight, request->data_len);
	vblk_flight_begin(flight);
	if (!vblk_flight_place(&drain->io, flight))
		return vblk_drain_conclude(drain, flight);
	if (drain->config.air)
		return move_by_flight(drain, flight);
	vec.iov_base = vblk_iovecs_find_whole(&drain->queue.view, request);
	if (!vec.iov_base || vblk_flight_must_stop(&drain->io))
		return move_by_flight(drain, flight);
	result = vblk_hot_move(
		backing, request->type == VIRTIO_BLK_T_IN ? VBLK_CALL_PREADV : VBLK_CALL_PWRITEV,
		vec, flight->offset);
	return has_moved(drain, request, result) ? vblk_drain_conclude_moved(drain, flight)
						 : go_on_by_flight(drain, flight, result);
}

/*
 * Pays for a request of so many bytes, or puts it back to wait for tokens. What it is counted as
 * and what it costs are the request's.
 */
VBLK_ALWAYS_INLINE bool admit(struct vblk_drain *drain, struct vblk_flight *flight,
			      enum vblk_metrics_op op, uint64_t cost, enum origin origin,
			      uint64_t *wait_ns)
{
	if (!vblk_throttle_pass(&drain->throttle, cost, wait_ns)) {
		vblk_timing_refuse(&drain->timing, &flight->request, *wait_ns);
		stall(drain, &flight->request, origin);
		return false;
	}
	flight->since_ns = vblk_timing_pass(&drain->timing, &flight->request, op);
	return true;
}

/* Serves a chain that is none of the usual. */
VBLK_NEVER_INLINE enum vblk_step serve_other(struct vblk_drain *drain, struct vblk_flight *flight,
					     const struct vblk_verdict *verdict, enum origin origin,
					     uint64_t *wait_ns)
{
	const struct vblk_request *request = &flight->request;

	if (verdict->action == VBLK_ACTION_RUN &&
	    !admit(drain, flight, vblk_request_op(request), vblk_request_cost(request), origin,
		   wait_ns))
		return VBLK_STEP_STALLED;
	vblk_drain_clear_stall(drain);
	if (!claim(drain, request->head, origin))
		return VBLK_STEP_BROKEN;
	switch (verdict->action) {
	case VBLK_ACTION_DROP:
		return vblk_drain_drop(drain, request, verdict->error, verdict->reason);
	case VBLK_ACTION_REPLY:
		return vblk_drain_reply(drain, request, verdict);
	case VBLK_ACTION_RUN:
		break;
	}
	return carry_out(drain, flight);
}

/* Serves one chain, whose head is out of the ring: to the ring, if nobody else brings it there. */
VBLK_ALWAYS_INLINE enum vblk_step serve_head(struct vblk_drain *drain, struct vblk_flight *flight,
					     uint16_t head, enum origin origin, uint64_t *wait_ns)
{
	const struct vblk_request *request = &flight->request;
	struct vblk_queue *queue = &drain->queue;
	struct vblk_verdict verdict;
	bool is_plain;

	vblk_timing_take(&drain->timing);
	is_plain = vblk_hot_read(&flight->request, &drain->chain, &queue->view, &queue->desc,
				 &drain->config.rules, head, &verdict);
	if (vblk_drain_is_cut_off(drain))
		return VBLK_STEP_BROKEN;
	if (!is_plain)
		return serve_other(drain, flight, &verdict, origin, wait_ns);
	if (!admit(drain, flight, vblk_request_op_plain(request), request->data_len, origin,
		   wait_ns))
		return VBLK_STEP_STALLED;
	vblk_drain_clear_stall(drain);
	return claim(drain, head, origin) ? carry_out_plain(drain, flight) : VBLK_STEP_BROKEN;
}

/* Takes one chain from the ring. */
VBLK_ALWAYS_INLINE enum vblk_step serve_with(struct vblk_drain *drain, struct vblk_flight *flight,
					     uint64_t *wait_ns)
{
	enum origin origin = has_adopted(drain) ? FROM_JOURNAL : FROM_RING;
	enum vblk_step step;
	uint16_t head;
	int ret;

	ret = take_head(drain, &head);
	if (ret < 0)
		return vblk_drain_cannot_pop(drain, ret);
	if (ret == 0) {
		vblk_drain_clear_stall(drain); /* a driver may take back what it made available */
		return VBLK_STEP_EMPTY;
	}
	step = serve_head(drain, flight, head, origin, wait_ns);
	if (drain->cut_off && step == VBLK_STEP_BROKEN)
		put_back(drain, head, origin); /* no answer: who goes on here begins with it */
	return step;
}

/* Brings to the driver what has landed, and goes on with what has another call before it. */
static void land(struct vblk_drain *drain)
{
	struct vblk_air *air = drain->config.air;
	struct vblk_flight *flight;

	while ((flight = vblk_air_land(air)) != NULL) {
		ssize_t result = flight->call.result;

		vblk_timing_landed(&drain->timing);
		if (result == VBLK_CALL_NOT_MADE) {
			vblk_drain_warn_limited(
				drain, "io_uring did not take a call: it is made by the worker");
			result = make_here(drain, flight);
		}
		if (vblk_flight_next(&drain->io, flight, result) && !drain->poisoned)
			(void)fly(drain, flight);
		else
			(void)vblk_drain_conclude(drain, flight);
		if (!flight->airborne)
			vblk_air_give_back(air, flight);
	}
	vblk_timing_pass_time(&drain->timing);
}

/* Hands over what was launched, and brings to the driver what has landed. */
static void submit_and_land(struct vblk_drain *drain)
{
	struct vblk_air *air = drain->config.air;

	if (!air)
		return;
	do {
		vblk_air_submit(air);
		land(drain);
	} while (air->unsent > 0);
}

/* The same with a flight of its own, if calls are made by somebody else. */
VBLK_ALWAYS_INLINE enum vblk_step serve_one(struct vblk_drain *drain, uint64_t *wait_ns)
{
	struct vblk_air *air = drain->config.air;
	struct vblk_flight *flight = air ? vblk_air_take(air) : &drain->flight;
	enum vblk_step step;

	if (!flight)
		return VBLK_STEP_FULL;
	step = serve_with(drain, flight, wait_ns);
	if (!air)
		return step;
	if (!flight->airborne)
		vblk_air_give_back(air, flight);
	if (air->unsent >= VBLK_AIR_BATCH)
		submit_and_land(drain);
	/* What has landed may have broken the queue. */
	return drain->poisoned ? VBLK_STEP_BROKEN : step;
}

static const char no_control[] = "cannot control notifications: used ring is not in guest memory";

/* Closes the bracket. What fails here fails at its end too, and matters there. */
static void disable_notifications(struct vblk_drain *drain)
{
	int ret;

	if (!vblk_drain_hold(drain))
		return;
	ret = vblk_queue_disable_notifications(&drain->queue);
	vblk_lease_release(&drain->lease);
	if (ret < 0)
		vblk_drain_warn_limited(drain, no_control);
}

/*
 * Opens the bracket. Returns whether there is more to take: 1, 0, or an error, after which nobody
 * will say when there is.
 */
static int enable_notifications(struct vblk_drain *drain)
{
	int ret;

	if (!vblk_drain_hold(drain))
		return -ECANCELED;
	ret = vblk_queue_enable_notifications(&drain->queue);
	vblk_lease_release(&drain->lease);
	if (ret < 0)
		vblk_drain_warn_limited(drain, no_control);
	return ret;
}

/*
 * The last look, with which a drain ends. A driver whose requests must not be left without an
 * answer is told if it was the last for ever.
 */
static enum vblk_drain_result look_again(struct vblk_drain *drain)
{
	int ret = enable_notifications(drain);

	if (ret == -ECANCELED)
		return VBLK_DRAIN_DONE;
	if (ret == -EFAULT && vblk_drain_is_strict(drain)) {
		vblk_metrics_add_error(drain->config.disk->metrics, VBLK_ERROR_NOTIFY);
		vblk_drain_warn(drain, "queue poisoned: the driver cannot be asked to notify",
				VBLK_FIELD_INT("error", ret));
		(void)vblk_drain_poison(drain);
		return VBLK_DRAIN_DONE;
	}
	/* The ring does not know of heads that another has left behind. */
	return ret > 0 || has_adopted(drain) ? VBLK_DRAIN_MORE : VBLK_DRAIN_DONE;
}

static bool must_yield(const struct vblk_drain *drain)
{
	return drain->config.yield &&
	       atomic_load_explicit(drain->config.yield, memory_order_relaxed);
}

/*
 * Whether the driver has waited long enough for the interrupt. Asked behind each chain. That one
 * was done with a moment ago, unless its call is made by somebody else.
 */
static bool is_overdue(struct vblk_drain *drain)
{
	struct vblk_batch *batch = &drain->batch;
	uint64_t now_ns;

	if (drain->config.batch_ns == 0 || batch->published == 0)
		return false;
	if (drain->config.air)
		vblk_timing_done(&drain->timing);
	now_ns = drain->timing.edge_ns;
	if (!batch->timed) {
		batch->timed = true;
		batch->since_ns = now_ns;
	}
	return now_ns - batch->since_ns >= drain->config.batch_ns;
}

/* Whether to end behind the chain that was just served, although there may be more. */
static bool must_end(struct vblk_drain *drain)
{
	return must_yield(drain) || is_overdue(drain);
}

static bool is_airborne(const struct vblk_drain *drain)
{
	return drain->config.air && drain->config.air->airborne > 0;
}

/* How many looks at the ring there are between two at the clock. */
#define LOOKS 32

/*
 * Looks at an empty ring for a while before we ask for notifications, which cost both sides dearly.
 * Returns whether there is something. Not while requests are airborne: their ends would wake us,
 * and here nobody would see them. A look takes a nanosecond at least, so that a clock that stands
 * still does not keep us for ever.
 */
static bool linger(struct vblk_drain *drain)
{
	const struct vblk_clock *clock = &drain->config.disk->clock;
	uint64_t time_ns = drain->linger.now_ns;
	uint64_t end_ns;

	if (time_ns == 0 || is_airborne(drain))
		return false;
	vblk_drain_interrupt(drain);
	end_ns = vblk_clock_now(clock) + time_ns;
	for (uint64_t look = 0; look < time_ns; look++) {
		if (vblk_queue_has_next(&drain->queue))
			return true;
		vblk_relax();
		if (look % LOOKS != LOOKS - 1)
			continue;
		if (must_yield(drain) || vblk_clock_now(clock) >= end_ns)
			break;
		/* The driver may be waiting for this very processor. */
		sched_yield();
	}
	return false;
}

/*
 * Serves chains until one of the ends is reached. Finding the queue empty costs budget too: a
 * driver that announces a chain and takes it back, over and over, must not keep us here.
 */
static enum vblk_drain_result serve(struct vblk_drain *drain, uint64_t *wait_ns)
{
	unsigned budget = drain->queue.layout.size;
	enum vblk_step step;

	for (; budget > 0; budget--) {
		disable_notifications(drain);
		vblk_timing_begin(&drain->timing);
		do {
			step = serve_one(drain, wait_ns);
		} while (step == VBLK_STEP_SERVED && --budget > 0 && !must_end(drain));
		vblk_timing_end(&drain->timing);
		submit_and_land(drain);
		if (drain->poisoned)
			return VBLK_DRAIN_DONE;
		switch (step) {
		case VBLK_STEP_SERVED: /* a bound, which may be just the end of the queue too */
			return look_again(drain);
		case VBLK_STEP_BROKEN:
			return VBLK_DRAIN_DONE;
		case VBLK_STEP_STALLED: /* a timer brings us back, whatever becomes of this */
			(void)enable_notifications(drain);
			return VBLK_DRAIN_STALLED;
		case VBLK_STEP_FULL: /* the next that lands brings us back */
			if (vblk_air_is_full(drain->config.air))
				return VBLK_DRAIN_DONE;
			break;
		case VBLK_STEP_EMPTY:
			if (!linger(drain) && look_again(drain) == VBLK_DRAIN_DONE)
				return VBLK_DRAIN_DONE;
			break;
		}
	}
	return VBLK_DRAIN_MORE;
}

/* With a limit on how long to look at an empty ring, notes when we sleep and wake. */
static void note_wake(struct vblk_drain *drain)
{
	if (drain->linger.asleep)
		vblk_linger_wake(&drain->linger, vblk_clock_now(&drain->config.disk->clock));
}

static void note_sleep(struct vblk_drain *drain)
{
	if (drain->linger.max_ns > 0)
		vblk_linger_sleep(&drain->linger, vblk_clock_now(&drain->config.disk->clock));
}

enum vblk_drain_result vblk_drain_run(struct vblk_drain *drain, uint64_t *wait_ns)
{
	enum vblk_drain_result result;

	if (drain->config.air)
		land(drain);
	if (!drain->queue.layout.ready || drain->poisoned) {
		vblk_drain_interrupt(drain); /* for what landed before that broke the queue */
		return VBLK_DRAIN_DONE;
	}
	if (!drain->opened && !vblk_drain_reopen(drain))
		return VBLK_DRAIN_DONE;
	note_wake(drain);
	result = serve(drain, wait_ns);
	vblk_drain_interrupt(drain);
	if (result == VBLK_DRAIN_DONE && !is_airborne(drain) &&
	    !vblk_lease_is_revoked(&drain->lease))
		note_sleep(drain);
	return result;
}

void vblk_drain_land(struct vblk_drain *drain)
{
	submit_and_land(drain);
	vblk_drain_interrupt(drain);
}

bool vblk_drain_settle(struct vblk_drain *drain)
{
	struct vblk_air *air = drain->config.air;
	bool waited = false;

	while (air && air->airborne > 0) {
		waited = true;
		vblk_air_wait(air);
		vblk_drain_land(drain);
	}
	return waited;
}
