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
#include <stdlib.h>
#include <string.h>

#include "base/inline.h"
#include "base/log.h"
#include "base/relax.h"
#include "metrics/metrics.h"
#include "request/drain_parts.h"

/* Where a request was taken from. */
enum origin {
	FROM_RING,
	FROM_JOURNAL, /* it was in flight already when this drain began */
};

void vblk_drain_init(struct vblk_drain *drain, const struct vblk_drain_config *config)
{
	struct vblk_disk *disk = vblk_disk_ref(config->disk);

	drain->config = *config;
	vblk_memory_ref(config->memory);
	vblk_port_ref(config->port);
	vblk_lease_init(&drain->lease);
	vblk_queue_start(&drain->queue, &config->layout, config->event_idx, config->memory);
	drain->queue.view.dirty = config->dirty;
	vblk_memory_view_set_guard(&drain->queue.view, config->guard);
	vblk_throttle_join(&drain->throttle, disk->throttle, config->retry, config->retry_context);
	drain->poisoned = false;
	drain->cut_off = false;
	drain->stalled = false;
	drain->batch = (struct vblk_batch){ .published = 0 };
	vblk_timing_init(&drain->timing, disk, config->index);
	vblk_linger_init(&drain->linger, config->poll_ns);
	vblk_label_init(&drain->flight.label);
	drain->opened = !config->continues;
	drain->adopted = NULL;
	drain->adopted_next = 0;
	memset(drain->dropped, 0, sizeof(drain->dropped));
	drain->io.disk = disk;
	drain->io.shard = drain->timing.shard;
	drain->io.stable_writes = config->stable_writes;
	drain->io.view = &drain->queue.view;
	drain->io.lease = &drain->lease;
	drain->io.log_limit = &config->port->log_limit;
	drain->io.index = config->index;
}

void vblk_drain_destroy(struct vblk_drain *drain)
{
	vblk_drain_clear_stall(drain);
	vblk_throttle_leave(&drain->throttle);
	vblk_timing_destroy(&drain->timing);
	/* Who is told of the end may start another drain, which needs what this one gives back. */
	vblk_air_destroy(drain->config.air);
	if (drain->config.ended)
		drain->config.ended(drain->config.ended_context, drain);
	free(drain->adopted);
	vblk_port_unref(drain->config.port);
	vblk_memory_unref(drain->config.memory);
	vblk_disk_unref(drain->config.disk);
}

void vblk_drain_discard(const struct vblk_drain_config *config)
{
	vblk_air_destroy(config->air);
	if (config->ended)
		config->ended(config->ended_context, NULL);
}

uint16_t vblk_drain_next_avail(const struct vblk_drain *drain)
{
	if (!drain->opened)
		return drain->config.next_avail;
	return (uint16_t)(drain->queue.next_avail - vblk_queue_behind(&drain->queue));
}

static const char *pop_failure(int error)
{
	switch (error) {
	case -ERANGE:
		return "queue poisoned: avail.idx is further ahead than the queue is long";
	case -EEXIST:
		return "queue poisoned: the driver made a head available that is in flight";
	case -EINVAL:
		return "queue poisoned: it has no available ring";
	case -ECHRNG:
		return "queue poisoned: the record of requests in flight has no place for the head";
	default:
		return "queue poisoned: available ring is not in guest memory";
	}
}

static enum vblk_metrics_error pop_reason(int error)
{
	switch (error) {
	case -ERANGE:
		return VBLK_ERROR_AVAIL_INDEX;
	case -EEXIST:
		return VBLK_ERROR_HEAD;
	default:
		return VBLK_ERROR_AVAIL_RING;
	}
}

static enum vblk_step cannot_pop(struct vblk_drain *drain, int error)
{
	if (vblk_drain_is_cut_off(drain))
		return VBLK_STEP_BROKEN;
	/* What was taken before the driver broke the queue is answered before it is told. */
	(void)vblk_drain_settle(drain);
	if (drain->poisoned)
		return VBLK_STEP_BROKEN;
	vblk_metrics_add_error(drain->config.disk->metrics, pop_reason(error));
	vblk_drain_warn(drain, pop_failure(error),
			VBLK_FIELD_UINT("next_avail", drain->queue.next_avail),
			VBLK_FIELD_INT("error", error));
	return vblk_drain_poison(drain);
}

/* Whether the limits let the request pass; pays for it if so. */
static bool may_pass(struct vblk_drain *drain, const struct vblk_request *request,
		     uint64_t *wait_ns)
{
	return vblk_throttle_pass(&drain->throttle, vblk_request_cost(request), wait_ns);
}

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
		int ret = vblk_queue_pop(&drain->queue, head);
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

static enum vblk_step stall(struct vblk_drain *drain, const struct vblk_request *request,
			    uint16_t head, enum origin origin)
{
	vblk_metrics_add_throttled(drain->config.disk->metrics);
	if (!drain->stalled) {
		drain->stalled = true;
		drain->stall = (struct vblk_stall){
			.head = head,
			.type = request->type,
			.sector = request->sector,
			.bytes = vblk_request_cost(request),
			.since_ns = vblk_clock_now(&drain->config.disk->clock),
		};
		vblk_metrics_stalled_inc(drain->config.disk->metrics);
	}
	put_back(drain, head, origin);
	return VBLK_STEP_STALLED;
}

/* Notes that a request is in our hands. False if we may not touch the guest any more. */
static bool claim(struct vblk_drain *drain, uint16_t head, enum origin origin)
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

VBLK_ALWAYS_INLINE enum vblk_step carry_out(struct vblk_drain *drain, struct vblk_flight *flight)
{
	const struct vblk_request *request = &flight->request;

	vblk_label_set(&flight->label, request->head, request->type, request->sector,
		       vblk_request_bytes(request), flight->since_ns);
	if (vblk_flight_start(&drain->io, flight))
		return fly(drain, flight);
	return vblk_drain_conclude(drain, flight);
}

/* Serves one chain, whose head is out of the ring: to the ring, if nobody else brings it there. */
static enum vblk_step serve_head(struct vblk_drain *drain, struct vblk_flight *flight,
				 uint16_t head, enum origin origin, uint64_t *wait_ns)
{
	struct vblk_queue *queue = &drain->queue;
	struct vblk_verdict verdict;

	vblk_timing_take(&drain->timing);
	vblk_chain_walk(&drain->chain, &queue->view, &queue->desc, head);
	verdict = vblk_request_parse(&flight->request, &drain->chain, &queue->view,
				     &drain->config.rules);
	if (vblk_drain_is_cut_off(drain))
		return VBLK_STEP_BROKEN;
	if (verdict.action == VBLK_ACTION_RUN) {
		if (!may_pass(drain, &flight->request, wait_ns)) {
			vblk_timing_refuse(&drain->timing, &flight->request, *wait_ns);
			return stall(drain, &flight->request, head, origin);
		}
		flight->since_ns = vblk_timing_pass(&drain->timing, &flight->request);
	}
	vblk_drain_clear_stall(drain);
	if (!claim(drain, head, origin))
		return VBLK_STEP_BROKEN;
	switch (verdict.action) {
	case VBLK_ACTION_DROP:
		return vblk_drain_drop(drain, &flight->request, verdict.error, verdict.reason);
	case VBLK_ACTION_REPLY:
		return vblk_drain_reply(drain, &flight->request, &verdict);
	case VBLK_ACTION_RUN:
		break;
	}
	return carry_out(drain, flight);
}

/* Takes one chain from the ring. */
static enum vblk_step serve_with(struct vblk_drain *drain, struct vblk_flight *flight,
				 uint64_t *wait_ns)
{
	enum origin origin = has_adopted(drain) ? FROM_JOURNAL : FROM_RING;
	enum vblk_step step;
	uint16_t head;
	int ret;

	ret = take_head(drain, &head);
	if (ret < 0)
		return cannot_pop(drain, ret);
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
static enum vblk_step serve_one(struct vblk_drain *drain, uint64_t *wait_ns)
{
	struct vblk_air *air = drain->config.air;
	struct vblk_flight *flight;
	enum vblk_step step;

	if (!air)
		return serve_with(drain, &drain->flight, wait_ns);
	flight = vblk_air_take(air);
	if (!flight)
		return VBLK_STEP_FULL;
	step = serve_with(drain, flight, wait_ns);
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
