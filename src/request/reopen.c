/* SPDX-License-Identifier: MIT */
/*
 * A ring that somebody has served before: where to go on, which requests he has left behind, and
 * the interrupt that he may have owed.
 */
#include <errno.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>

#include "base/log.h"
#include "metrics/metrics.h"
#include "request/drain_parts.h"

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

	if (!vblk_drain_hold(drain))
		return -ECANCELED;
	ret = vblk_queue_used_idx(&drain->queue, &used_idx);
	if (ret == 0 && drain->config.journal.ops) {
		ret = adopt(drain, used_idx);
		if (ret == 0)
			next_avail = (uint16_t)(used_idx + drain->adopted->count);
	}
	if (ret == 0)
		vblk_queue_recall(&drain->queue, used_idx, next_avail);
	vblk_lease_release(&drain->lease);
	if (vblk_drain_is_cut_off(drain))
		return -ECANCELED;
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

	if (!vblk_drain_hold(drain))
		return;
	vblk_port_set_interrupt_status(drain->config.port, VIRTIO_MMIO_INT_VRING);
	raised = vblk_port_signal(drain->config.port);
	vblk_lease_release(&drain->lease);
	vblk_port_log(drain->config.port, raised);
}

/* A ring that nobody can go on with is as good as one that its driver has broken. */
static void cannot_open(struct vblk_drain *drain, int error)
{
	vblk_metrics_add_error(drain->config.disk->metrics, VBLK_ERROR_OPEN);
	vblk_drain_warn(
		drain,
		"queue poisoned: its used ring or the record of requests in flight is unusable",
		VBLK_FIELD_INT("error", error));
	(void)vblk_drain_poison(drain);
}

bool vblk_drain_reopen(struct vblk_drain *drain)
{
	int ret = open_ring(drain);

	if (ret == 0) {
		announce(drain);
		return true;
	}
	if (ret != -ECANCELED)
		cannot_open(drain, ret);
	return false;
}
