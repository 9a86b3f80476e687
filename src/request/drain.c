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

/* What one run of a drain has published, and since when the driver should hear of it. */
struct batch {
	unsigned published;
	bool timed;	   /* since_ns is set */
	uint64_t since_ns; /* when the first was there */
};

/*
 * A message about the queue, and one that the guest can cause again and again. The fields that say
 * which queue it is come first.
 */
#define warn(drain, message, ...)                                            \
	vblk_log_emit(&(drain)->config.log, VBLK_LOG_WARN, (message),        \
		      VBLK_FIELD_UINT("instance", (drain)->config.instance), \
		      VBLK_FIELD_UINT("queue", (drain)->config.index), ##__VA_ARGS__)
#define warn_limited(drain, message, ...)                                                       \
	vblk_log_emit_limited(&(drain)->config.log, &(drain)->config.port->log_limit,           \
			      vblk_clock_now(&(drain)->config.clock), VBLK_LOG_WARN, (message), \
			      VBLK_FIELD_UINT("instance", (drain)->config.instance),            \
			      VBLK_FIELD_UINT("queue", (drain)->config.index), ##__VA_ARGS__)

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
	drain->io.log_limit = &config->port->log_limit;
	drain->io.clock = &drain->config.clock;
	drain->io.instance = config->instance;
	drain->io.index = config->index;
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

/*
 * Stops serving the queue and tells the driver, if we may still speak to it. The caller has counted
 * and logged why.
 */
static enum step poison(struct vblk_drain *drain)
{
	int ret = 0;

	drain->poisoned = true;
	clear_stall(drain);
	if (vblk_lease_hold(&drain->lease)) {
		ret = vblk_port_signal_needs_reset(drain->config.port);
		vblk_lease_release(&drain->lease);
	}
	vblk_port_log(drain->config.port, ret);
	return STEP_BROKEN;
}

static bool is_strict(const struct vblk_drain *drain)
{
	return drain->config.on_undeliverable == VBLK_UNDELIVERABLE_NEEDS_RESET;
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

static enum step cannot_pop(struct vblk_drain *drain, int error)
{
	if (error == -ERANGE)
		vblk_metrics_add_invalid_avail_idx(drain->config.metrics);
	else
		vblk_metrics_add_io_error(drain->config.metrics);
	warn(drain, pop_failure(error), VBLK_FIELD_UINT("next_avail", drain->queue.next_avail),
	     VBLK_FIELD_INT("error", error));
	return poison(drain);
}

/*
 * A chain that cannot be answered. Publishing it all the same would let the driver take an old
 * byte in its memory for our status.
 */
static enum step undeliverable(struct vblk_drain *drain, const char *reason)
{
	uint16_t head = drain->request.head;

	vblk_queue_drop(&drain->queue, head);
	vblk_metrics_add_io_error(drain->config.metrics);
	if (is_strict(drain)) {
		warn(drain, reason, VBLK_FIELD_UINT("head", head));
		return poison(drain);
	}
	warn_limited(drain, reason, VBLK_FIELD_UINT("head", head));
	return STEP_SERVED;
}

/* A request whose answer is written and which the driver will never find in the used ring. */
static enum step unpublished(struct vblk_drain *drain, int error, const char *by)
{
	static const char reason[] = "cannot publish in the used ring";

	vblk_metrics_add_io_error(drain->config.metrics);
	if (is_strict(drain)) {
		warn(drain, reason, VBLK_FIELD_UINT("head", drain->request.head),
		     VBLK_FIELD_INT("error", error), VBLK_FIELD_STR("by", by));
		return poison(drain);
	}
	warn_limited(drain, reason, VBLK_FIELD_UINT("head", drain->request.head),
		     VBLK_FIELD_INT("error", error), VBLK_FIELD_STR("by", by));
	return STEP_SERVED;
}

/*
 * Writes the status byte and the used element. The lease is held. `by` says who made the answer:
 * a gate, by what it refused, or a handler.
 */
static enum step publish(struct vblk_drain *drain, struct vblk_answer answer, const char *by,
			 struct batch *batch)
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
	batch->published++;
	return STEP_SERVED;
}

static enum step reply(struct vblk_drain *drain, const struct vblk_verdict *verdict,
		       struct batch *batch)
{
	if (verdict->reason) {
		vblk_metrics_add_io_error(drain->config.metrics);
		warn_limited(drain, verdict->reason, VBLK_FIELD_UINT("head", drain->request.head));
	} else if (verdict->status == VIRTIO_BLK_S_OK) {
		vblk_metrics_add_flush(drain->config.metrics);
	}
	if (!vblk_lease_hold(&drain->lease))
		return STEP_BROKEN;
	return publish(drain, (struct vblk_answer){ .status = verdict->status, .used_len = 1 },
		       verdict->reason ? verdict->reason : "classification", batch);
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

static enum step carry_out(struct vblk_drain *drain, struct batch *batch)
{
	struct vblk_transfer transfer = vblk_io_transfer(&drain->io, &drain->request);
	struct vblk_answer answer;

	if (!vblk_lease_hold(&drain->lease))
		return STEP_BROKEN;
	answer = vblk_io_complete(&drain->io, &drain->request, &transfer);
	return publish(drain, answer, vblk_io_name(&drain->request), batch);
}

/* Takes one chain from the ring to the ring. */
static enum step serve_one(struct vblk_drain *drain, struct batch *batch, uint64_t *wait_ns)
{
	struct vblk_queue *queue = &drain->queue;
	struct vblk_verdict verdict;
	uint16_t head;
	int ret;

	ret = vblk_queue_pop(queue, &head);
	if (ret < 0)
		return cannot_pop(drain, ret);
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
		return reply(drain, &verdict, batch);
	case VBLK_ACTION_RUN:
		break;
	}
	return carry_out(drain, batch);
}

/* One interrupt decision for all that was published (specification 2.7.7.2). */
static void interrupt_driver(struct vblk_drain *drain)
{
	int raised = 0;
	int ret;

	if (!vblk_lease_hold(&drain->lease))
		return;
	vblk_port_set_interrupt_status(drain->config.port, VIRTIO_MMIO_INT_VRING);
	ret = vblk_queue_needs_interrupt(&drain->queue);
	if (ret != 0)
		raised = vblk_port_signal(drain->config.port);
	vblk_lease_release(&drain->lease);
	vblk_port_log(drain->config.port, raised);
	if (ret < 0)
		warn_limited(drain, "used_event is not in guest memory: interrupting to be safe");
}

static const char no_control[] = "cannot control notifications: used ring is not in guest memory";

/* Closes the bracket. What fails here fails at its end too, and matters there. */
static void disable_notifications(struct vblk_drain *drain)
{
	int ret;

	if (!vblk_lease_hold(&drain->lease))
		return;
	ret = vblk_queue_disable_notifications(&drain->queue);
	vblk_lease_release(&drain->lease);
	if (ret < 0)
		warn_limited(drain, no_control);
}

/*
 * Opens the bracket. Returns whether there is more to take: 1, 0, or an error, after which nobody
 * will say when there is.
 */
static int enable_notifications(struct vblk_drain *drain)
{
	int ret;

	if (!vblk_lease_hold(&drain->lease))
		return -ECANCELED;
	ret = vblk_queue_enable_notifications(&drain->queue);
	vblk_lease_release(&drain->lease);
	if (ret < 0)
		warn_limited(drain, no_control);
	return ret;
}

/*
 * The last look, with which a drain ends. A driver whose requests must not be left without an
 * answer is told if it was the last for ever.
 */
static enum vblk_drain_result look_again(struct vblk_drain *drain)
{
	int ret = enable_notifications(drain);

	if (ret == -EFAULT && is_strict(drain)) {
		vblk_metrics_add_io_error(drain->config.metrics);
		warn(drain, "queue poisoned: the driver cannot be asked to notify",
		     VBLK_FIELD_INT("error", ret));
		(void)poison(drain);
	}
	return ret > 0 ? VBLK_DRAIN_MORE : VBLK_DRAIN_DONE;
}

static bool must_yield(const struct vblk_drain *drain)
{
	return drain->config.yield &&
	       atomic_load_explicit(drain->config.yield, memory_order_relaxed);
}

/*
 * Whether the driver has waited long enough for the interrupt. Asked behind each chain; the clock
 * is read only if there is a bound, and something to tell.
 */
static bool is_overdue(struct vblk_drain *drain, struct batch *batch)
{
	uint64_t now_ns;

	if (drain->config.batch_ns == 0 || batch->published == 0)
		return false;
	now_ns = vblk_clock_now(&drain->config.clock);
	if (!batch->timed) {
		batch->timed = true;
		batch->since_ns = now_ns;
	}
	return now_ns - batch->since_ns >= drain->config.batch_ns;
}

/* Whether to end behind the chain that was just served, although there may be more. */
static bool must_end(struct vblk_drain *drain, struct batch *batch)
{
	return must_yield(drain) || is_overdue(drain, batch);
}

/*
 * Serves chains until one of the ends is reached. Finding the queue empty costs budget too: a
 * driver that announces a chain and takes it back, over and over, must not keep us here.
 */
static enum vblk_drain_result serve(struct vblk_drain *drain, struct batch *batch,
				    uint64_t *wait_ns)
{
	unsigned budget = drain->queue.layout.size;
	enum step step;

	for (; budget > 0; budget--) {
		disable_notifications(drain);
		do {
			step = serve_one(drain, batch, wait_ns);
		} while (step == STEP_SERVED && --budget > 0 && !must_end(drain, batch));
		switch (step) {
		case STEP_SERVED: /* a bound, which may be just the end of the queue too */
			return look_again(drain);
		case STEP_BROKEN:
			return VBLK_DRAIN_DONE;
		case STEP_STALLED: /* a timer brings us back, whatever becomes of this */
			(void)enable_notifications(drain);
			return VBLK_DRAIN_STALLED;
		case STEP_EMPTY:
			if (look_again(drain) == VBLK_DRAIN_DONE)
				return VBLK_DRAIN_DONE;
			break;
		}
	}
	return VBLK_DRAIN_MORE;
}

void vblk_drain_set_throttle(struct vblk_drain *drain, const struct vblk_throttle *throttle)
{
	vblk_throttle_change(&drain->throttle, throttle, vblk_clock_now(&drain->config.clock));
}

enum vblk_drain_result vblk_drain_run(struct vblk_drain *drain, uint64_t *wait_ns)
{
	struct batch batch = { .published = 0 };
	enum vblk_drain_result result;

	if (!drain->queue.layout.ready || drain->poisoned)
		return VBLK_DRAIN_DONE;
	result = serve(drain, &batch, wait_ns);
	if (batch.published > 0)
		interrupt_driver(drain);
	return result;
}
