/* SPDX-License-Identifier: MIT */
/*
 * How a drain answers the driver: status byte and used element, the interrupt for a batch of them,
 * NEEDS_RESET when the driver has broken the queue. All of it under the lease, and all messages
 * behind it.
 */
#include <errno.h>
#include <linux/virtio_mmio.h>

#include "base/log.h"
#include "metrics/metrics.h"
#include "metrics/probes.h"
#include "request/drain_parts.h"

void vblk_drain_clear_stall(struct vblk_drain *drain)
{
	if (!drain->stalled)
		return;
	drain->stalled = false;
	vblk_timing_forget(&drain->timing);
	vblk_throttle_give_up(&drain->throttle);
	vblk_metrics_stalled_dec(drain->config.disk->metrics);
}

enum vblk_step vblk_drain_poison(struct vblk_drain *drain)
{
	int ret = 0;

	drain->poisoned = true;
	VBLK_PROBE_POISON(drain->config.disk->instance, drain->config.index);
	vblk_drain_clear_stall(drain);
	if (vblk_drain_hold(drain)) {
		ret = vblk_port_signal_needs_reset(drain->config.port);
		vblk_lease_release(&drain->lease);
	}
	vblk_port_log(drain->config.port, ret);
	return VBLK_STEP_BROKEN;
}

/* There is one line, and a limit for those who come again and again to have it. */
void vblk_drain_cut_off(struct vblk_drain *drain)
{
	if (drain->cut_off)
		return;
	drain->cut_off = true;
	drain->poisoned = true;
	vblk_lease_surrender(&drain->lease);
	vblk_drain_clear_stall(drain);
	vblk_drain_warn_limited(drain, "guest memory was cut short: the queue is served no more");
}

bool vblk_drain_is_strict(const struct vblk_drain *drain)
{
	return drain->config.disk->on_undeliverable == VBLK_UNDELIVERABLE_NEEDS_RESET;
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
static int push(struct vblk_drain *drain, uint16_t head, uint32_t used_len)
{
	const struct vblk_journal *journal = &drain->config.journal;
	int ret;

	if (journal->ops)
		journal->ops->prepare(journal->context, head);
	ret = vblk_queue_push(&drain->queue, head, used_len);
	if (journal->ops && ret == 0)
		journal->ops->commit(journal->context, head, drain->queue.next_used);
	return ret;
}

/*
 * Writes the status byte and the used element. The lease is held. The verdict is that of a gate;
 * NULL: the request was carried out.
 */
static inline enum vblk_step publish(struct vblk_drain *drain, const struct vblk_request *request,
				     const struct vblk_answer *answer,
				     const struct vblk_verdict *verdict)
{
	int ret;

	ret = vblk_memory_put_byte(&drain->queue.view, request->status_addr, answer->status);
	if (ret < 0) {
		vblk_lease_release(&drain->lease);
		vblk_io_log(&drain->io, request, answer);
		return vblk_drain_drop(drain, request, VBLK_ERROR_STATUS,
				       "status byte is not in guest memory");
	}
	ret = push(drain, request->head, answer->used_len);
	vblk_lease_release(&drain->lease);
	vblk_io_log(&drain->io, request, answer);
	if (ret < 0 && vblk_drain_is_cut_off(drain))
		return VBLK_STEP_BROKEN;
	if (ret < 0)
		return unpublished(drain, request->head, ret, made_by(request, verdict));
	drain->batch.published++;
	vblk_timing_done(&drain->timing);
	return VBLK_STEP_SERVED;
}

enum vblk_step vblk_drain_reply(struct vblk_drain *drain, const struct vblk_request *request,
				const struct vblk_verdict *verdict)
{
	const struct vblk_answer answer = { .status = verdict->status, .used_len = 1 };

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
	return publish(drain, request, &answer, verdict);
}

enum vblk_step vblk_drain_conclude(struct vblk_drain *drain, struct vblk_flight *flight)
{
	const struct vblk_request *request = &flight->request;
	const unsigned before = drain->batch.published;
	enum vblk_step step = VBLK_STEP_BROKEN;
	struct vblk_answer answer;

	if (!drain->poisoned && vblk_drain_hold(drain)) {
		answer = vblk_io_complete(&drain->io, request, &flight->transfer);
		step = publish(drain, request, &answer, NULL);
		if (drain->batch.published != before)
			vblk_timing_served(&drain->timing, request, flight->since_ns,
					   answer.status);
	}
	vblk_label_clear(&flight->label);
	return step;
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
