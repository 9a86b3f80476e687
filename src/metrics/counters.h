/* SPDX-License-Identifier: MIT */
/* The counters by name, for whoever shows them all. */
#ifndef VBLK_METRICS_COUNTERS_H
#define VBLK_METRICS_COUNTERS_H

#include <vblk/metrics.h>

struct vblk_metrics_counter {
	const char *name;
	size_t offset; /* of a uint64_t in struct vblk_metrics_snapshot */
};

/* In the order of the structure. */
extern const struct vblk_metrics_counter vblk_metrics_counters[];
extern const size_t vblk_metrics_counter_count;

/* The value of one of them. */
uint64_t vblk_metrics_counter_value(const struct vblk_metrics_snapshot *snapshot, size_t index);

#endif
