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
#include <stdlib.h>

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
#define warn(drain, message, ...)                                                  \
	vblk_log_emit(&(drain)->config.disk->log, VBLK_LOG_WARN, (message),        \
		      VBLK_FIELD_UINT("instance", (drain)->config.disk->instance), \
		      VBLK_FIELD_UINT("queue", (drain)->config.index), ##__VA_ARGS__)
#define warn_limited(drain, message, ...)                                                   \
	vblk_log_emit_limited(&(drain)->config.disk->log, &(drain)->config.port->log_limit, \
			      vblk_clock_now(&(drain)->config.disk->clock), VBLK_LOG_WARN,  \
			      (message),                                                    \
			      VBLK_FIELD_UINT("instance", (drain)->config.disk->instance),  \
			      VBLK_FIELD_UINT("queue", (drain)->config.index), ##__VA_ARGS__)

/* Where a request was taken from. */
enum origin {
	FROM_RING,
	FROM_JOURNAL, /* it was in flight already when this drain began */
};

/* How one step of a drain ended. */
enum step {
	STEP_SERVED,  /* one chain has left the queue */
	STEP_EMPTY,   /* no chain was there */
	STEP_STALLED, /* the chain went back to wait for tokens */
	STEP_BROKEN,  /* the queue is poisoned, or this worker may not touch the guest any more */
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
	vblk_throttle_join(&drain->throttle, disk->throttle, config->retry, config->retry_context);
	drain->poisoned = false;
	drain->stalled = false;
	drain->opened = !config->continues;
	drain->adopted = NULL;
	drain->adopted_next = 0;
	drain->io.disk = disk;
	drain->io.stable_writes = config->stable_writes;
	drain->io.view = &drain->queue.view;
	drain->io.lease = &drain->lease;
	drain->io.log_limit = &config->port->log_limit;
	drain->io.index = config->index;
}

/* The request that waited has left the queue, one way or another. */
static void clear_stall(struct vblk_drain *drain)
{
	if (!drain->stalled)
		return;
	drain->stalled = false;
	vblk_throttle_give_up(&drain->throttle);
	vblk_metrics_stalled_dec(drain->config.disk->metrics);
}

void vblk_drain_destroy(struct vblk_drain *drain)
{
	clear_stall(drain);
	vblk_throttle_leave(&drain->throttle);
	if (drain->config.ended)
		drain->config.ended(drain->config.ended_context, drain);
	free(drain->adopted);
	vblk_port_unref(drain->config.port);
	vblk_memory_unref(drain->config.memory);
	vblk_disk_unref(drain->config.disk);
}

void vblk_drain_discard(const struct vblk_drain_config *config)
{
	if (config->ended)
		config->ended(config->ended_context, NULL);
}

uint16_t vblk_drain_next_avail(const struct vblk_drain *drain)
{
	return drain->opened ? drain->queue.next_avail : drain->config.next_avail;
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
	return drain->config.disk->on_undeliverable == VBLK_UNDELIVERABLE_NEEDS_RESET;
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
		vblk_metrics_add_invalid_avail_idx(drain->config.disk->metrics);
	else
		vblk_metrics_add_io_error(drain->config.disk->metrics);
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
	uint16_t head = drain->flight.request.head;

	vblk_queue_drop(&drain->queue, head);
	vblk_metrics_add_io_error(drain->config.disk->metrics);
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

	vblk_metrics_add_io_error(drain->config.disk->metrics);
	if (is_strict(drain)) {
		warn(drain, reason, VBLK_FIELD_UINT("head", drain->flight.request.head),
		     VBLK_FIELD_INT("error", error), VBLK_FIELD_STR("by", by));
		return poison(drain);
	}
	warn_limited(drain, reason, VBLK_FIELD_UINT("head", drain->flight.request.head),
		     VBLK_FIELD_INT("error", error), VBLK_FIELD_STR("by", by));
	return STEP_SERVED;
}

/* Publishes the request, between the two entries that the record of requests in flight needs. */
static int push(struct vblk_drain *drain, uint32_t used_len)
{
	const struct vblk_journal *journal = &drain->config.journal;
	uint16_t head = drain->flight.request.head;
	int ret;

	if (journal->ops)
		journal->ops->prepare(journal->context, head);
	ret = vblk_queue_push(&drain->queue, head, used_len);
	if (journal->ops && ret == 0)
		journal->ops->commit(journal->context, head, drain->queue.next_used);
	return ret;
}

/*
 * Writes the status byte and the used element. The lease is held. `by` says who made the answer:
 * a gate, by what it refused, or a handler.
 */
static enum step publish(struct vblk_drain *drain, struct vblk_answer answer, const char *by,
			 struct batch *batch)
{
	const struct vblk_request *request = &drain->flight.request;
	int ret;

	ret = vblk_memory_copy_out(&drain->queue.view, request->status_addr, &answer.status, 1);
	if (ret < 0) {
		vblk_lease_release(&drain->lease);
		vblk_io_log(&drain->io, request, &answer);
		return undeliverable(drain, "status byte is not in guest memory");
	}
	ret = push(drain, answer.used_len);
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
		vblk_metrics_add_io_error(drain->config.disk->metrics);
		warn_limited(drain, verdict->reason,
			     VBLK_FIELD_UINT("head", drain->flight.request.head));
	} else if (verdict->status == VIRTIO_BLK_S_OK) {
		vblk_metrics_add_flush(drain->config.disk->metrics);
	}
	if (!vblk_lease_hold(&drain->lease))
		return STEP_BROKEN;
	return publish(drain, (struct vblk_answer){ .status = verdict->status, .used_len = 1 },
		       verdict->reason ? verdict->reason : "classification", batch);
}

/* Whether the limits let the request pass; pays for it if so. */
static bool may_pass(struct vblk_drain *drain, uint64_t *wait_ns)
{
	return vblk_throttle_pass(&drain->throttle, vblk_request_cost(&drain->flight.request),
				  wait_ns);
}

static bool has_adopted(const struct vblk_drain *drain)
{
	return drain->adopted && drain->adopted_next < drain->adopted->count;
}

/* Takes the next head: one that another has left behind, or one from the ring. */
static int take_head(struct vblk_drain *drain, uint16_t *head)
{
	if (!has_adopted(drain))
		return vblk_queue_pop(&drain->queue, head);
	*head = drain->adopted->head[drain->adopted_next++];
	return 1;
}

/* As if it had not been taken. */
static void put_back(struct vblk_drain *drain, enum origin origin)
{
	if (origin == FROM_RING)
		vblk_queue_undo_pop(&drain->queue, drain->flight.request.head);
	else
		drain->adopted_next--;
}

static enum step stall(struct vblk_drain *drain, enum origin origin)
{
	vblk_metrics_add_throttled(drain->config.disk->metrics);
	if (!drain->stalled) {
		drain->stalled = true;
		vblk_metrics_stalled_inc(drain->config.disk->metrics);
	}
	put_back(drain, origin);
	return STEP_STALLED;
}

/* Notes that the request is in our hands. False if we may not touch the guest any more. */
static bool claim(struct vblk_drain *drain, enum origin origin)
{
	const struct vblk_journal *journal = &drain->config.journal;

	if (!journal->ops || origin == FROM_JOURNAL ||
	    drain->flight.request.head >= drain->queue.layout.size)
		return true;
	if (!vblk_lease_hold(&drain->lease))
		return false;
	journal->ops->claim(journal->context, drain->flight.request.head);
	vblk_lease_release(&drain->lease);
	return true;
}

static enum step carry_out(struct vblk_drain *drain, struct batch *batch)
{
	struct vblk_flight *flight = &drain->flight;
	struct vblk_answer answer;

	vblk_flight_carry_out(&drain->io, flight);
	if (!vblk_lease_hold(&drain->lease))
		return STEP_BROKEN;
	answer = vblk_io_complete(&drain->io, &flight->request, &flight->transfer);
	return publish(drain, answer, vblk_io_name(&flight->request), batch);
}

/* Takes one chain from the ring to the ring. */
static enum step serve_one(struct vblk_drain *drain, struct batch *batch, uint64_t *wait_ns)
{
	enum origin origin = has_adopted(drain) ? FROM_JOURNAL : FROM_RING;
	struct vblk_queue *queue = &drain->queue;
	struct vblk_verdict verdict;
	uint16_t head;
	int ret;

	ret = take_head(drain, &head);
	if (ret < 0)
		return cannot_pop(drain, ret);
	if (ret == 0) {
		clear_stall(drain); /* a driver may take back what it made available */
		return STEP_EMPTY;
	}
	vblk_chain_walk(&drain->chain, &queue->view, queue->layout.desc, queue->layout.size, head);
	verdict = vblk_request_parse(&drain->flight.request, &drain->chain, &queue->view,
				     &drain->config.rules);
	if (verdict.action == VBLK_ACTION_RUN && !may_pass(drain, wait_ns))
		return stall(drain, origin);
	clear_stall(drain);
	if (!claim(drain, origin))
		return STEP_BROKEN;
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
		vblk_metrics_add_io_error(drain->config.disk->metrics);
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
	now_ns = vblk_clock_now(&drain->config.disk->clock);
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

/* The heads that another has left behind. Returns 0, -EFAULT, or what the record said. */
static int adopt(struct vblk_drain *drain, uint16_t used_idx)
{
	const struct vblk_journal *journal = &drain->config.journal;
	int ret;

	drain->adopted = calloc(1, sizeof(*drain->adopted));
	if (!drain->adopted)
		return -ENOMEM;
	ret = journal->ops->open(journal->context, used_idx, drain->adopted);
	if (ret < 0)
		return ret;
	for (uint16_t i = 0; i < drain->adopted->count; i++)
		vblk_queue_adopt(&drain->queue, drain->adopted->head[i]);
	return 0;
}

/*
 * Finds out where to go on. With a record of requests in flight, what was taken from the ring is
 * what was answered and what is on record, and the index that we were told counts for nothing.
 */
static int open_ring(struct vblk_drain *drain)
{
	uint16_t next_avail = drain->config.next_avail;
	uint16_t used_idx = 0;
	int ret;

	if (!vblk_lease_hold(&drain->lease))
		return -ECANCELED;
	ret = vblk_queue_used_idx(&drain->queue, &used_idx);
	if (ret == 0 && drain->config.journal.ops) {
		ret = adopt(drain, used_idx);
		if (ret == 0)
			next_avail = (uint16_t)(used_idx + drain->adopted->count);
	}
	vblk_lease_release(&drain->lease);
	if (ret < 0)
		return ret;
	if (drain->adopted && drain->adopted->count > 0)
		vblk_log_emit(&drain->config.disk->log, VBLK_LOG_INFO,
			      "requests that were in flight are served again",
			      VBLK_FIELD_UINT("instance", drain->config.disk->instance),
			      VBLK_FIELD_UINT("queue", drain->config.index),
			      VBLK_FIELD_UINT("count", drain->adopted->count),
			      VBLK_FIELD_UINT("used_idx", used_idx));
	vblk_queue_continue(&drain->queue, next_avail, used_idx);
	drain->opened = true;
	return 0;
}

/*
 * Whoever was before us may have been ended between an answer and its interrupt, and by the indices
 * alone that cannot be told. One interrupt too many does no harm; one that is missing is waited for
 * for ever.
 */
static void announce(struct vblk_drain *drain)
{
	int raised;

	if (!vblk_lease_hold(&drain->lease))
		return;
	vblk_port_set_interrupt_status(drain->config.port, VIRTIO_MMIO_INT_VRING);
	raised = vblk_port_signal(drain->config.port);
	vblk_lease_release(&drain->lease);
	vblk_port_log(drain->config.port, raised);
}

/* A ring that nobody can go on with is as good as one that its driver has broken. */
static void cannot_open(struct vblk_drain *drain, int error)
{
	vblk_metrics_add_io_error(drain->config.disk->metrics);
	warn(drain, "queue poisoned: its used ring or the record of requests in flight is unusable",
	     VBLK_FIELD_INT("error", error));
	(void)poison(drain);
}

enum vblk_drain_result vblk_drain_run(struct vblk_drain *drain, uint64_t *wait_ns)
{
	struct batch batch = { .published = 0 };
	enum vblk_drain_result result;

	if (!drain->queue.layout.ready || drain->poisoned)
		return VBLK_DRAIN_DONE;
	if (!drain->opened) {
		int ret = open_ring(drain);

		if (ret < 0) {
			if (ret != -ECANCELED)
				cannot_open(drain, ret);
			return VBLK_DRAIN_DONE;
		}
		announce(drain);
	}
	result = serve(drain, &batch, wait_ns);
	if (batch.published > 0)
		interrupt_driver(drain);
	return result;
}
