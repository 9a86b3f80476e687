/* SPDX-License-Identifier: MIT */
#include "metrics/counters.h"

#include <assert.h>
#include <string.h>

#include "base/checked.h"

#define COUNTER(name)                                               \
	{                                                           \
#name, offsetof(struct vblk_metrics_snapshot, name) \
	}

const struct vblk_metrics_counter vblk_metrics_counters[] = {
	COUNTER(reads_completed),   COUNTER(bytes_read),
	COUNTER(writes_completed),  COUNTER(bytes_written),
	COUNTER(flushes_completed), COUNTER(discards_completed),
	COUNTER(bytes_discarded),   COUNTER(write_zeroes_completed),
	COUNTER(bytes_zeroed),	    COUNTER(throttled),
	COUNTER(io_errors),	    COUNTER(invalid_avail_idx),
	COUNTER(throttled_now),	    COUNTER(notifications),
	COUNTER(interrupts),
};
const size_t vblk_metrics_counter_count = VBLK_ARRAY_SIZE(vblk_metrics_counters);

static_assert(sizeof(vblk_metrics_counters) / sizeof(vblk_metrics_counters[0]) ==
		      sizeof(struct vblk_metrics_snapshot) / sizeof(uint64_t),
	      "every counter is told");

uint64_t vblk_metrics_counter_value(const struct vblk_metrics_snapshot *snapshot, size_t index)
{
	uint64_t value;

	memcpy(&value, (const char *)snapshot + vblk_metrics_counters[index].offset, sizeof(value));
	return value;
}
