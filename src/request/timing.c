/* SPDX-License-Identifier: MIT */
/* Moments of requests, on their way into histograms and probes. */
#include "request/timing.h"

#include "metrics/probes.h"

void vblk_timing_init(struct vblk_timing *timing, struct vblk_disk *disk, uint32_t index)
{
	*timing = (struct vblk_timing){
		.shard = vblk_metrics_join(disk->metrics),
		.instance = disk->instance,
		.index = index,
	};
	vblk_stopwatch_init(&timing->watch, &disk->clock);
}

void vblk_timing_destroy(struct vblk_timing *timing)
{
	vblk_metrics_leave(timing->shard);
	timing->shard = NULL;
}

static void record_queued(struct vblk_timing *timing, const struct vblk_request *request)
{
	vblk_metrics_record(timing->shard, vblk_request_op(request), VBLK_PHASE_QUEUED,
			    timing->edge_ns - timing->begun_ns);
}

void vblk_timing_refuse(struct vblk_timing *timing, const struct vblk_request *request,
			uint64_t wait_ns)
{
	timing->taken--;
	if (!timing->waits) {
		timing->waits = true;
		timing->waits_since_ns = timing->edge_ns;
		record_queued(timing, request);
	}
	VBLK_PROBE_THROTTLE(timing->instance, timing->index, request->head, wait_ns);
}

void vblk_timing_forget(struct vblk_timing *timing)
{
	timing->waits = false;
}

uint64_t vblk_timing_pass(struct vblk_timing *timing, const struct vblk_request *request)
{
	if (timing->waits)
		vblk_metrics_record(timing->shard, vblk_request_op(request), VBLK_PHASE_THROTTLED,
				    timing->edge_ns - timing->waits_since_ns);
	else
		record_queued(timing, request);
	timing->waits = false;
	VBLK_PROBE_SUBMIT(timing->instance, timing->index, request->head, request->type,
			  request->sector, request->data_len);
	return timing->edge_ns;
}

void vblk_timing_landed(struct vblk_timing *timing)
{
	vblk_timing_done(timing);
	timing->is_now = true;
}

void vblk_timing_served(struct vblk_timing *timing, const struct vblk_request *request,
			uint64_t since_ns, uint8_t status)
{
	const enum vblk_metrics_op op = vblk_request_op(request);
	const uint64_t ns = timing->edge_ns - since_ns;

	vblk_metrics_record(timing->shard, op, VBLK_PHASE_SERVED, ns);
	vblk_metrics_record_bytes(timing->shard, op, vblk_request_bytes(request));
	VBLK_PROBE_COMPLETE(timing->instance, timing->index, request->head, request->type, status,
			    ns);
}
