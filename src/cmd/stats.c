/* SPDX-License-Identifier: MIT */
/* The names are those of struct vblk_metrics_snapshot, which says what they mean. */
#include "cmd/stats.h"

#include <inttypes.h>
#include <stdio.h>

void cmd_stats_print(unsigned int index, const struct vblk_metrics *metrics)
{
	struct vblk_metrics_snapshot s;

	vblk_metrics_read(metrics, &s);
	fprintf(stderr,
		"disk=%u reads_completed=%" PRIu64 " bytes_read=%" PRIu64
		" writes_completed=%" PRIu64 " bytes_written=%" PRIu64 " flushes_completed=%" PRIu64
		" discards_completed=%" PRIu64 " bytes_discarded=%" PRIu64
		" write_zeroes_completed=%" PRIu64 " bytes_zeroed=%" PRIu64 " throttled=%" PRIu64
		" io_errors=%" PRIu64 " invalid_avail_idx=%" PRIu64 " throttled_now=%" PRIu64
		" notifications=%" PRIu64 " interrupts=%" PRIu64 "\n",
		index, s.reads_completed, s.bytes_read, s.writes_completed, s.bytes_written,
		s.flushes_completed, s.discards_completed, s.bytes_discarded,
		s.write_zeroes_completed, s.bytes_zeroed, s.throttled, s.io_errors,
		s.invalid_avail_idx, s.throttled_now, s.notifications, s.interrupts);
}
