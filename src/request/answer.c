/* SPDX-License-Identifier: MIT */
/*
 * How a drain answers the driver: status byte and used element, the interrupt for a batch of them,
 * NEEDS_RESET when the driver has broken the queue. All of it under the lease, and all messages
 * behind it.
 */
#include <linux/virtio_mmio.h>

#include "base/inline.h"
#include "base/log.h"
#include "metrics/metrics.h"
#include "request/drain_parts.h"
#include "request/hot.h"

void vblk_drain_forget_stall(struct vblk_drain *drain)
{
	drain->stalled = false;
	vblk_timing_forget(&drain->timing);
	vblk_throttle_give_up(&drain->throttle);
	vblk_metrics_stalled_dec(drain->config.disk->metrics);
}

enum vblk_step vblk_drain_drop(struct vblk_drain *drain, const struct vblk_request *request,
			       enum vblk_metrics_error error, const char *reason)
{
	uint16_t head = request->head;

	vblk_timing_done(&drain->timing);
	vblk_queue_drop(&drain->queue, head);
	if (head < drain->queue.layout.size)
		drain->dropped[head / 64] |= 1ull << head % 64;
	vblk_metrics_add_error(drain->config.disk->metrics, error);
	if (vblk_drain_is_strict(drain)) {
		vblk_drain_warn(drain, reason, VBLK_FIELD_UINT("head", head));
		return vblk_drain_poison(drain);
	}
	vblk_drain_warn_limited(drain, reason, VBLK_FIELD_UINT("head", head));
	return VBLK_STEP_SERVED;
}

/* Who made an answer: a gate, by what it refused, or a handler. */
static const char *made_by(const struct vblk_request *request, const struct vblk_verdict *verdict)
{
	if (!verdict)
		return vblk_io_name(request);
	return verdict->reason ? verdict->reason : "classification";
}

/* A request whose answer is written and which the driver will never find in the used ring. */
static enum vblk_step unpublished(struct vblk_drain *drain, uint16_t head, int error,
				  const char *by)
{
	static const char reason[] = "cannot publish in the used ring";

	vblk_timing_done(&drain->timing);
	vblk_metrics_add_error(drain->config.disk->metrics, VBLK_ERROR_PUBLISH);
	if (vblk_drain_is_strict(drain)) {
		vblk_drain_warn(drain, reason, VBLK_FIELD_UINT("head", head),
				VBLK_FIELD_INT("error", error), VBLK_FIELD_STR("by", by));
		return vblk_drain_poison(drain);
	}
	vblk_drain_warn_limited(drain, reason, VBLK_FIELD_UINT("head", head),
				VBLK_FIELD_INT("error", error), VBLK_FIELD_STR("by", by));
	return VBLK_STEP_SERVED;
}

/* Publishes a request, between the two entries that the record of requests in flight needs. */
VBLK_ALWAYS_INLINE int push(struct vblk_drain *drain, uint16_t head, uint32_t used_len)
{
	const struct vblk_journal *journal = &drain->config.journal;
	int ret;

	if (journal->ops)
		journal->ops->prepare(journal->context, head);
	ret = vblk_hot_push(&drain->queue, head, used_len);
	if (journal->ops && ret == 0)
		journal->ops->commit(journal->context, head, drain->queue.next_used);
	return ret;
}

/* What is to be brought to the driver. */
struct delivery {
	uint8_t status;
	uint32_t used_len;
	const struct vblk_answer *answer;   /* what may have to be logged; NULL: nothing */
	const struct vblk_verdict *verdict; /* of the gate that made it; NULL: it was carried out */
};

static void log_answer(const struct vblk_drain *drain, const struct vblk_request *request,
		       const struct delivery *delivery)
{
	if (delivery->answer)
		vblk_io_log(&drain->io, request, delivery->answer);
}

VBLK_NEVER_INLINE enum vblk_step no_status(struct vblk_drain *drain,
					   const struct vblk_request *request,
					   struct delivery delivery)
{
	log_answer(drain, request, &delivery);
	return vblk_drain_drop(drain, request, VBLK_ERROR_STATUS,
			       "status byte is not in guest memory");
}

VBLK_NEVER_INLINE enum vblk_step no_element(struct vblk_drain *drain,
					    const struct vblk_request *request,
					    struct delivery delivery, int error)
{
	log_answer(drain, request, &delivery);
	if (vblk_drain_is_cut_off(drain))
		return VBLK_STEP_BROKEN;
	return unpublished(drain, request->head, error, made_by(request, delivery.verdict));
}

/*
 * Writes the status byte and the used element, and lets go of the lease, which is held. Says
 * whether the driver will find it.
 */
VBLK_ALWAYS_INLINE enum vblk_step publish(struct vblk_drain *drain,
					  const struct vblk_request *request,
					  struct delivery delivery, bool *published)
{
	int ret;

	*published = false;
	ret = vblk_memory_put_byte(&drain->queue.view, request->status_addr, delivery.status);
	if (ret < 0) {
		vblk_lease_release(&drain->lease);
		return no_status(drain, request, delivery);
	}
	ret = push(drain, request->head, delivery.used_len);
	vblk_lease_release(&drain->lease);
	if (ret < 0)
		return no_element(drain, request, delivery, ret);
	if (delivery.answer)
		vblk_io_log(&drain->io, request, delivery.answer);
	*published = true;
	drain->batch.published++;
	vblk_timing_done(&drain->timing);
	return VBLK_STEP_SERVED;
}

enum vblk_step vblk_drain_reply(struct vblk_drain *drain, const struct vblk_request *request,
				const struct vblk_verdict *verdict)
{
	bool published;

	if (verdict->reason || verdict->status == VIRTIO_BLK_S_UNSUPP)
		vblk_metrics_add_error(drain->config.disk->metrics, verdict->error);
	if (verdict->reason) {
		vblk_drain_warn_limited(drain, verdict->reason,
					VBLK_FIELD_UINT("head", request->head));
	} else if (verdict->status == VIRTIO_BLK_S_OK) {
		vblk_metrics_add_completed(drain->config.disk->metrics, drain->timing.shard,
					   VBLK_OP_FLUSH, 0);
	}
	if (!vblk_drain_hold(drain))
		return VBLK_STEP_BROKEN;
	return publish(drain, request, (struct delivery){ verdict->status, 1, NULL, verdict },
		       &published);
}

/*
 * Publishes the answer to a request that was carried out. The lease is held. What it is counted as
 * and the bytes it is about are the request's.
 */
VBLK_ALWAYS_INLINE enum vblk_step deliver(struct vblk_drain *drain,
					  const struct vblk_flight *flight,
					  struct delivery delivery, enum vblk_metrics_op op,
					  uint64_t bytes)
{
	bool published;
	enum vblk_step step = publish(drain, &flight->request, delivery, &published);

	if (published)
		vblk_timing_served(&drain->timing, &flight->request, op, bytes, flight->since_ns,
				   delivery.status);
	return step;
}

enum vblk_step vblk_drain_conclude(struct vblk_drain *drain, struct vblk_flight *flight)
{
	const struct vblk_request *request = &flight->request;
	enum vblk_step step = VBLK_STEP_BROKEN;
	struct vblk_answer answer;

	if (!drain->poisoned && vblk_drain_hold(drain)) {
		answer = vblk_io_complete(&drain->io, request, &flight->transfer);
		step = deliver(drain, flight,
			       (struct delivery){ answer.status, answer.used_len, &answer, NULL },
			       vblk_request_op(request), vblk_request_bytes(request));
	}
	vblk_label_clear(&flight->label);
	return step;
}

VBLK_ALWAYS_INLINE enum vblk_step conclude_moved(struct vblk_drain *drain,
						 struct vblk_flight *flight,
						 enum vblk_metrics_op op, uint32_t written)
{
	const uint32_t bytes = flight->request.data_len;
	enum vblk_step step = VBLK_STEP_BROKEN;

	if (vblk_drain_hold(drain)) {
		vblk_metrics_add_completed(drain->config.disk->metrics, drain->timing.shard, op,
					   bytes);
		step = deliver(drain, flight,
			       (struct delivery){ VIRTIO_BLK_S_OK, written + 1, NULL, NULL }, op,
			       bytes);
	}
	vblk_label_clear(&flight->label);
	return step;
}

enum vblk_step vblk_drain_conclude_moved(struct vblk_drain *drain, struct vblk_flight *flight)
{
	const struct vblk_request *request = &flight->request;

	return request->type == VIRTIO_BLK_T_IN
		       ? conclude_moved(drain, flight, VBLK_OP_READ, request->data_len)
		       : conclude_moved(drain, flight, VBLK_OP_WRITE, 0);
}

void vblk_drain_interrupt(struct vblk_drain *drain)
{
	int raised = 0;
	int ret;

	if (drain->batch.published == 0)
		return;
	drain->batch = (struct vblk_batch){ .published = 0 };
	if (!vblk_drain_hold(drain))
		return;
	vblk_port_set_interrupt_status(drain->config.port, VIRTIO_MMIO_INT_VRING);
	ret = vblk_queue_needs_interrupt(&drain->queue);
	if (ret != 0)
		raised = vblk_port_signal(drain->config.port);
	vblk_lease_release(&drain->lease);
	vblk_port_log(drain->config.port, raised);
	if (ret < 0)
		vblk_drain_warn_limited(
			drain, "used_event is not in guest memory: interrupting to be safe");
}
