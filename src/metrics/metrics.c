/* SPDX-License-Identifier: MIT */
/*
 * Life and reading of a device's counters.
 *
 * The object is shared by the device, by its workers (one that was abandoned may outlive the
 * device) and by whoever the embedder lets watch, so it is reference counted. Nobody ever needs a
 * lock: each counter stands for itself.
 */
#include "metrics/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int vblk_metrics_create(struct vblk_metrics **metrics)
{
	struct vblk_metrics *made = aligned_alloc(VBLK_METRICS_ALIGN, sizeof(*made));

	if (!made)
		return -ENOMEM;
	memset(made, 0, sizeof(*made));
	atomic_init(&made->refs, 1);
	*metrics = made;
	return 0;
}

struct vblk_metrics *vblk_metrics_ref(struct vblk_metrics *metrics)
{
	atomic_fetch_add_explicit(&metrics->refs, 1, memory_order_relaxed);
	return metrics;
}

void vblk_metrics_unref(struct vblk_metrics *metrics)
{
	/* Release our accesses to the thread that frees, acquire theirs if that is us. */
	if (metrics && atomic_fetch_sub_explicit(&metrics->refs, 1, memory_order_acq_rel) == 1)
		free(metrics);
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void vblk_metrics_read(const struct vblk_metrics *metrics, struct vblk_metrics_snapshot *snapshot)
{
	*snapshot = (struct vblk_metrics_snapshot){
		.reads_completed = read_counter(&metrics->reads_completed),
		.bytes_read = read_counter(&metrics->bytes_read),
		.writes_completed = read_counter(&metrics->writes_completed),
		.bytes_written = read_counter(&metrics->bytes_written),
		.flushes_completed = read_counter(&metrics->flushes_completed),
		.discards_completed = read_counter(&metrics->discards_completed),
		.bytes_discarded = read_counter(&metrics->bytes_discarded),
		.write_zeroes_completed = read_counter(&metrics->write_zeroes_completed),
		.bytes_zeroed = read_counter(&metrics->bytes_zeroed),
		.throttled = read_counter(&metrics->throttled),
		.io_errors = read_counter(&metrics->io_errors),
		.invalid_avail_idx = read_counter(&metrics->invalid_avail_idx),
		.throttled_now = read_counter(&metrics->throttled_now),
		.notifications = read_counter(&metrics->notifications),
		.interrupts = read_counter(&metrics->interrupts),
	};
}
