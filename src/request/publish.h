/* SPDX-License-Identifier: MIT */
/*
 * How an answer gets to the driver. Inline, because it is what each request ends with: for drain.c
 * and answer.c.
 */
#ifndef VBLK_REQUEST_PUBLISH_H
#define VBLK_REQUEST_PUBLISH_H

#include "base/inline.h"
#include "metrics/metrics.h"
#include "request/drain_parts.h"
#include "request/hot.h"

/* Publishes a request, between the two entries that the record of requests in flight needs. */
VBLK_ALWAYS_INLINE int vblk_drain_push(struct vblk_drain *drain, uint16_t head, uint32_t used_len)
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
struct vblk_delivery {
	uint8_t status;
	uint32_t used_len;
	const struct vblk_answer *answer;   /* what may have to be logged; NULL: nothing */
	const struct vblk_verdict *verdict; /* of the gate that made it; NULL: it was carried out */
};

/* What is left to be done where the status byte, or the used element, could not be written. */
enum vblk_step vblk_drain_no_status(struct vblk_drain *drain, const struct vblk_request *request,
				    struct vblk_delivery delivery);
enum vblk_step vblk_drain_no_element(struct vblk_drain *drain, const struct vblk_request *request,
				     struct vblk_delivery delivery, int error);

/*
 * Writes the status byte and the used element, and lets go of the lease, which is held. Says
 * whether the driver will find it.
 */
VBLK_ALWAYS_INLINE enum vblk_step vblk_drain_publish(struct vblk_drain *drain,
						     const struct vblk_request *request,
						     struct vblk_delivery delivery, bool *published)
{
	int ret;

	*published = false;
	ret = vblk_memory_put_byte(&drain->queue.view, request->status_addr, delivery.status);
	if (ret < 0) {
		vblk_lease_release(&drain->lease);
		return vblk_drain_no_status(drain, request, delivery);
	}
	ret = vblk_drain_push(drain, request->head, delivery.used_len);
	vblk_lease_release(&drain->lease);
	if (ret < 0)
		return vblk_drain_no_element(drain, request, delivery, ret);
	if (delivery.answer)
		vblk_io_log(&drain->io, request, delivery.answer);
	*published = true;
	drain->batch.published++;
	vblk_timing_done(&drain->timing);
	return VBLK_STEP_SERVED;
}

/*
 * Publishes the answer to a request that was carried out. The lease is held. What it is counted as
 * and the bytes it is about are the request's.
 */
VBLK_ALWAYS_INLINE enum vblk_step vblk_drain_deliver(struct vblk_drain *drain,
						     const struct vblk_flight *flight,
						     struct vblk_delivery delivery,
						     enum vblk_metrics_op op, uint64_t bytes)
{
	bool published;
	enum vblk_step step = vblk_drain_publish(drain, &flight->request, delivery, &published);

	if (published)
		vblk_timing_served(&drain->timing, &flight->request, op, bytes, flight->since_ns,
				   delivery.status);
	return step;
}

/* `to_guest` is how many bytes of data the guest was given. */
VBLK_ALWAYS_INLINE enum vblk_step vblk_drain_conclude_as(struct vblk_drain *drain,
							 struct vblk_flight *flight,
							 enum vblk_metrics_op op, uint32_t to_guest)
{
	const uint32_t bytes = flight->request.data_len;
	enum vblk_step step = VBLK_STEP_BROKEN;

	if (vblk_drain_hold(drain)) {
		vblk_metrics_add_completed(drain->config.disk->metrics, drain->timing.shard, op,
					   bytes);
		step = vblk_drain_deliver(
			drain, flight,
			(struct vblk_delivery){ VIRTIO_BLK_S_OK, to_guest + 1, NULL, NULL }, op,
			bytes);
	}
	vblk_label_clear(&flight->label);
	return step;
}

/*
 * As vblk_drain_conclude, of a read or write that moved all its data, with nothing left to be done,
 * of a queue that is not poisoned.
 */
VBLK_ALWAYS_INLINE enum vblk_step vblk_drain_conclude_moved(struct vblk_drain *drain,
							    struct vblk_flight *flight)
{
	const struct vblk_request *request = &flight->request;

	return request->type == VIRTIO_BLK_T_IN
		       ? vblk_drain_conclude_as(drain, flight, VBLK_OP_READ, request->data_len)
		       : vblk_drain_conclude_as(drain, flight, VBLK_OP_WRITE, 0);
}

#endif
