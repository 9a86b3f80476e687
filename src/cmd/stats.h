/* SPDX-License-Identifier: MIT */
/* A disk's counters for people, at the end of a run. */
#ifndef CMD_STATS_H
#define CMD_STATS_H

#include <vblk/metrics.h>

/* One line on standard error: "disk=INDEX reads_completed=... bytes_read=... ..." */
void cmd_stats_print(unsigned int index, const struct vblk_metrics *metrics);

#endif
