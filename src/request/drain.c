/* SPDX-License-Identifier: MIT */
/*
 * The drain: the bracket of notification control around single requests, and what happens when
 * the driver breaks the queue.
 *
 * The bracket closes a race. While we look, the driver need not notify. When we find nothing, we
 * ask for notifications again and look once more: whatever was made available in between is either
 * seen now, or the driver saw our wish and notifies.
 */
#include "request/drain.h"

#include <errno.h>
#include <linux/virtio_mmio.h>

#include "backing/backing.h"
#include "base/log.h"
#include "metrics/metrics.h"

/* How one step of a drain ended. */
enum step {
	STEP_SERVED,  /* one chain has left the queue */
	STEP_EMPTY,   /* no chain was there */
	STEP_STALLED, /* the chain went back to wait for tokens */
	STEP_BROKEN,  /* the queue is poisoned, or this worker may not touch the guest any more */
};

void vblk_drain_init(struct vblk_drain *drain, const struct vblk_drain_config *config)
{
	drain->config = *config;
	vblk_backing_ref(config->disk.backing);
	vblk_memory_ref(config->memory);
	vblk_port_ref(config->port);
	vblk_metrics_ref(config->metrics);
	vblk_lease_init(&drain->lease);
	vblk_queue_start(&drain->queue, &config->layout, config->event_idx, config->memory);
	vblk_throttle_init(&drain->throttle, &config->throttle, vblk_clock_now(&config->clock));
	drain->poisoned = false;
	drain->stalled = false;
	drain->io.disk = &drain->config.disk;
	drain->io.view = &drain->queue.view;
	drain->io.lease = &drain->lease;
	drain->io.metrics = config->metrics;
	drain->io.log = &drain->config.log;
}

/* The request that waited has left the queue, one way or another. */
static void clear_stall(struct vblk_drain *drain)
{
	if (!drain->stalled)
		return;
	drain->stalled = false;
	vblk_metrics_stalled_dec(drain->config.metrics);
}

void vblk_drain_destroy(struct vblk_drain *drain)
{
	clear_stall(drain);
	vblk_metrics_unref(drain->config.metrics);
	vblk_port_unref(drain->config.port);
	vblk_memory_unref(drain->config.memory);
	vblk_backing_unref(drain->config.disk.backing);
}

/* Stops serving the queue and tells the driver, if we may still speak to it. */
static enum step poison(struct vblk_drain *drain, int error, const char *reason)
{
	drain->poisoned = true;
	clear_stall(drain);
	if (error == -ERANGE)
		vblk_metrics_add_invalid_avail_idx(drain->config.metrics);
	else
		vblk_metrics_add_io_error(drain->config.metrics);
	vblk_log_emit(&drain->config.log, VBLK_LOG_WARN, reason,
		      VBLK_FIELD_UINT("instance", drain->config.instance),
		      VBLK_FIELD_UINT("queue", drain->config.index),
		      VBLK_FIELD_UINT("next_avail", drain->queue.next_avail),
		      VBLK_FIELD_INT("error", error));
	if (vblk_lease_hold(&drain->lease)) {
		vblk_port_set_needs_reset(drain->config.port);
		vblk_lease_release(&drain->lease);
	}
	return STEP_BROKEN;
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
	default:
		return "queue poisoned: available ring is not in guest memory";
	}
}

/*
 * A chain that cannot be answered. Publishing it all the same would let the driver take an old
 * byte in its memory for our status.
 */
static enum step undeliverable(struct vblk_drain *drain, const char *reason)
{
	uint16_t head = drain->request.head;

	vblk_queue_drop(&drain->queue, head);
	if (drain->config.on_undeliverable == VBLK_UNDELIVERABLE_NEEDS_RESET)
		return poison(drain, -EBADMSG, reason);
	vblk_metrics_add_io_error(drain->config.metrics);
	vblk_log_emit(&drain->config.log, VBLK_LOG_WARN, reason, VBLK_FIELD_UINT("head", head));
	return STEP_SERVED;
}

/* A request whose answer is written and which the driver will never find in the used ring. */
static enum step unpublished(struct vblk_drain *drain, int error, const char *by)
{
	static const char reason[] = "cannot publish in the used ring";

	if (drain->config.on_undeliverable == VBLK_UNDELIVERABLE_NEEDS_RESET)
		return poison(drain, error, reason);
	vblk_metrics_add_io_error(drain->config.metrics);
	vblk_log_emit(&drain->config.log, VBLK_LOG_WARN, reason,
		      VBLK_FIELD_UINT("head", drain->request.head), VBLK_FIELD_INT("error", error),
		      VBLK_FIELD_STR("by", by));
	return STEP_SERVED;
}

/*
 * Writes the status byte and the used element. The lease is held. `by` says who made the answer:
 * a gate, by what it refused, or a handler.
 */
static enum step publish(struct vblk_drain *drain, struct vblk_answer answer, const char *by,
			 unsigned *published)
{
	const struct vblk_request *request = &drain->request;
	int ret;

	ret = vblk_memory_copy_out(&drain->queue.view, request->status_addr, &answer.status, 1);
	if (ret < 0) {
		vblk_lease_release(&drain->lease);
		vblk_io_log(&drain->io, request, &answer);
		return undeliverable(drain, "status byte is not in guest memory");
	}
	ret = vblk_queue_push(&drain->queue, request->head, answer.used_len);
	vblk_lease_release(&drain->lease);
	vblk_io_log(&drain->io, request, &answer);
	if (ret < 0)
		return unpublished(drain, ret, by);
	(*published)++;
	return STEP_SERVED;
}

static enum step reply(struct vblk_drain *drain, const struct vblk_verdict *verdict,
		       unsigned *published)
{
	if (verdict->reason) {
		vblk_metrics_add_io_error(drain->config.metrics);
		vblk_log_emit(&drain->config.log, VBLK_LOG_WARN, verdict->reason,
			      VBLK_FIELD_UINT("head", drain->request.head));
	} else if (verdict->status == VIRTIO_BLK_S_OK) {
		vblk_metrics_add_flush(drain->config.metrics);
	}
	if (!vblk_lease_hold(&drain->lease))
		return STEP_BROKEN;
	return publish(drain, (struct vblk_answer){ .status = verdict->status, .used_len = 1 },
		       verdict->reason ? verdict->reason : "classification", published);
}

/* Whether the limits let the request pass; pays for it if so. */
static bool may_pass(struct vblk_drain *drain, uint64_t *wait_ns)
{
	if (vblk_throttle_is_unlimited(&drain->throttle))
		return true;
	return vblk_throttle_take(&drain->throttle, vblk_request_cost(&drain->request),
				  vblk_clock_now(&drain->config.clock), wait_ns);
}

static enum step stall(struct vblk_drain *drain)
{
	vblk_metrics_add_throttled(drain->config.metrics);
	if (!drain->stalled) {
		drain->stalled = true;
		vblk_metrics_stalled_inc(drain->config.metrics);
	}
	vblk_queue_undo_pop(&drain->queue, drain->request.head);
	return STEP_STALLED;
}

static enum step carry_out(struct vblk_drain *drain, unsigned *published)
{
	struct vblk_transfer transfer = vblk_io_transfer(&drain->io, &drain->request);
	struct vblk_answer answer;

	if (!vblk_lease_hold(&drain->lease))
		return STEP_BROKEN;
	answer = vblk_io_complete(&drain->io, &drain->request, &transfer);
	return publish(drain, answer, vblk_io_name(&drain->request), published);
}

/* Takes one chain from the ring to the ring. */
static enum step serve_one(struct vblk_drain *drain, unsigned *published, uint64_t *wait_ns)
{
	struct vblk_queue *queue = &drain->queue;
	struct vblk_verdict verdict;
	uint16_t head;
	int ret;

	ret = vblk_queue_pop(queue, &head);
	if (ret < 0)
		return poison(drain, ret, pop_failure(ret));
	if (ret == 0) {
		clear_stall(drain); /* a driver may take back what it made available */
		return STEP_EMPTY;
	}
	vblk_chain_walk(&drain->chain, &queue->view, queue->layout.desc, queue->layout.size, head);
	verdict = vblk_request_parse(&drain->request, &drain->chain, &queue->view,
				     &drain->config.disk.rules);
	if (verdict.action == VBLK_ACTION_RUN && !may_pass(drain, wait_ns))
		return stall(drain);
	clear_stall(drain);
	switch (verdict.action) {
	case VBLK_ACTION_DROP:
		return undeliverable(drain, verdict.reason);
	case VBLK_ACTION_REPLY:
		return reply(drain, &verdict, published);
	case VBLK_ACTION_RUN:
		break;
	}
	return carry_out(drain, published);
}

/* One interrupt decision for all that was published (specification 2.7.7.2). */
static void interrupt_driver(struct vblk_drain *drain)
{
	int ret;

	if (!vblk_lease_hold(&drain->lease))
		return;
	vblk_port_set_interrupt_status(drain->config.port, VIRTIO_MMIO_INT_VRING);
	ret = vblk_queue_needs_interrupt(&drain->queue);
	if (ret != 0)
		vblk_port_raise(drain->config.port);
	vblk_lease_release(&drain->lease);
	if (ret < 0)
		vblk_log_emit(&drain->config.log, VBLK_LOG_WARN,
			      "used_event is not in guest memory: interrupting to be safe",
			      VBLK_FIELD_UINT("instance", drain->config.instance));
}

/* Opens or closes the bracket. Returns whether there is more to take; after an error, false. */
static bool set_notifications(struct vblk_drain *drain, bool enable)
{
	int ret = -ECANCELED;

	if (vblk_lease_hold(&drain->lease)) {
		ret = enable ? vblk_queue_enable_notifications(&drain->queue)
			     : vblk_queue_disable_notifications(&drain->queue);
		vblk_lease_release(&drain->lease);
	}
	if (ret == -EFAULT)
		vblk_log_emit(&drain->config.log, VBLK_LOG_WARN,
			      "cannot control notifications: used ring is not in guest memory",
			      VBLK_FIELD_UINT("instance", drain->config.instance));
	return ret > 0;
}

static bool must_yield(const struct vblk_drain *drain)
{
	return drain->config.yield &&
	       atomic_load_explicit(drain->config.yield, memory_order_relaxed);
}

/*
 * Serves chains until one of the ends is reached. Finding the queue empty costs budget too: a
 * driver that announces a chain and takes it back, over and over, must not keep us here.
 */
static enum vblk_drain_result serve(struct vblk_drain *drain, unsigned *published,
				    uint64_t *wait_ns)
{
	unsigned budget = drain->queue.layout.size;
	enum step step;

	for (; budget > 0; budget--) {
		(void)set_notifications(drain, false);
		do {
			step = serve_one(drain, published, wait_ns);
		} while (step == STEP_SERVED && --budget > 0 && !must_yield(drain));
		if (step == STEP_SERVED) /* the bound, which may be just the end of the queue too */
			return set_notifications(drain, true) ? VBLK_DRAIN_MORE : VBLK_DRAIN_DONE;
		if (step == STEP_BROKEN)
			return VBLK_DRAIN_DONE;
		if (!set_notifications(drain, true) && step == STEP_EMPTY)
			return VBLK_DRAIN_DONE;
		if (step == STEP_STALLED)
			return VBLK_DRAIN_STALLED;
	}
	return VBLK_DRAIN_MORE;
}

void vblk_drain_set_throttle(struct vblk_drain *drain, const struct vblk_throttle *throttle)
{
	vblk_throttle_change(&drain->throttle, throttle, vblk_clock_now(&drain->config.clock));
}

enum vblk_drain_result vblk_drain_run(struct vblk_drain *drain, uint64_t *wait_ns)
{
	enum vblk_drain_result result;
	unsigned published = 0;

	if (!drain->queue.layout.ready || drain->poisoned)
		return VBLK_DRAIN_DONE;
	result = serve(drain, &published, wait_ns);
	if (published > 0)
		interrupt_driver(drain);
	return result;
}
