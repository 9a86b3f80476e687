/* SPDX-License-Identifier: MIT */
/* Moments of requests, on their way into histograms and probes. */
#include "request/timing.h"

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

void vblk_timing_refuse(struct vblk_timing *timing, const struct vblk_request *request,
			uint64_t wait_ns)
{
	timing->taken--;
	if (!timing->waits) {
		timing->waits = true;
		timing->waits_since_ns = timing->edge_ns;
		vblk_timing_queued(timing, vblk_request_op(request));
	}
	VBLK_PROBE_THROTTLE(timing->instance, timing->index, request->head, wait_ns);
}

void vblk_timing_forget(struct vblk_timing *timing)
{
	timing->waits = false;
}

void vblk_timing_waited(struct vblk_timing *timing, enum vblk_metrics_op op)
{
	timing->waits = false;
	vblk_metrics_record(timing->shard, op, VBLK_PHASE_THROTTLED,
			    timing->edge_ns - timing->waits_since_ns);
}

void vblk_timing_landed(struct vblk_timing *timing)
{
	vblk_timing_done(timing);
	timing->is_now = true;
}

void vblk_timing_tell_pass(const struct vblk_timing *timing, const struct vblk_request *request)
{
	VBLK_PROBE_SUBMIT(timing->instance, timing->index, request->head, request->type,
			  request->sector, request->data_len);
}

void vblk_timing_tell_served(const struct vblk_timing *timing, const struct vblk_request *request,
			     uint8_t status, uint64_t ns)
{
	VBLK_PROBE_COMPLETE(timing->instance, timing->index, request->head, request->type, status,
			    ns);
}
