/* SPDX-License-Identifier: MIT */
/* How a queue is served no more: the driver has broken it, or guest memory was lost. */
#include <errno.h>

#include "metrics/metrics.h"
#include "metrics/probes.h"
#include "request/drain_parts.h"

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

enum vblk_step vblk_drain_cannot_pop(struct vblk_drain *drain, int error)
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
