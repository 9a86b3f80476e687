/* SPDX-License-Identifier: MIT */
/* What vblk ctl CONTROL stats prints. Each returns an exit status, after a complaint if not 0. */
#ifndef CMD_CTL_STATS_H
#define CMD_CTL_STATS_H

#include <vblk/types.h>

#include <jansson.h>

enum ctl_stats_format {
	CTL_STATS_TEXT, /* counters alone */
	CTL_STATS_JSON,
	CTL_STATS_OPENMETRICS,
};

int ctl_stats_format_parse(const char *text, enum ctl_stats_format *format);

/* The result of a stats request as a table, with a column per disk. */
int ctl_stats_print(const json_t *result);

/* Asks and prints, histograms included; `disk` may be NULL for all. Not for CTL_STATS_TEXT. */
int ctl_stats_detail(const char *path, const char *disk, uint32_t timeout_ms,
		     enum ctl_stats_format format);

#endif
