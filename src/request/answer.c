/* SPDX-License-Identifier: MIT */
/*
 * How a drain answers the driver: what is to be told, what becomes of it when that cannot be
 * written, and the interrupt for a batch. All of it under the lease, and all messages behind it.
 */
#include <linux/virtio_mmio.h>

#include "base/log.h"
#include "request/publish.h"

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

static void log_answer(const struct vblk_drain *drain, const struct vblk_request *request,
		       const struct vblk_delivery *delivery)
{
	if (delivery->answer)
		vblk_io_log(&drain->io, request, delivery->answer);
}

enum vblk_step vblk_drain_no_status(struct vblk_drain *drain, const struct vblk_request *request,
				    struct vblk_delivery delivery)
{
	log_answer(drain, request, &delivery);
	return vblk_drain_drop(drain, request, VBLK_ERROR_STATUS,
			       "status byte is not in guest memory");
}

enum vblk_step vblk_drain_no_element(struct vblk_drain *drain, const struct vblk_request *request,
				     struct vblk_delivery delivery, int error)
{
	log_answer(drain, request, &delivery);
	if (vblk_drain_is_cut_off(drain))
		return VBLK_STEP_BROKEN;
	return unpublished(drain, request->head, error, made_by(request, delivery.verdict));
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
	return vblk_drain_publish(drain, request,
				  (struct vblk_delivery){ verdict->status, 1, NULL, verdict },
				  &published);
}

enum vblk_step vblk_drain_conclude(struct vblk_drain *drain, struct vblk_flight *flight)
{
	const struct vblk_request *request = &flight->request;
	enum vblk_step step = VBLK_STEP_BROKEN;
	struct vblk_answer answer;

	if (!drain->poisoned && vblk_drain_hold(drain)) {
		answer = vblk_io_complete(&drain->io, request, &flight->transfer);
		step = vblk_drain_deliver(
			drain, flight,
			(struct vblk_delivery){ answer.status, answer.used_len, &answer, NULL },
			vblk_request_op(request), vblk_request_bytes(request));
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
