/* SPDX-License-Identifier: MIT */
/*
 * vblk ctl CONTROL record: what a daemon's disks did in each interval, as lines of JSON
 * (docs/metrics.md). A daemon that goes away meanwhile leaves lines that say so, and is asked
 * again.
 */
#ifndef CMD_CTL_RECORD_H
#define CMD_CTL_RECORD_H

#include <stdio.h>

#include "cmd/sample.h"

struct ctl_record {
	const char *path;     /* of the control socket */
	const char *disk;     /* NULL: all */
	const char *file;     /* is made; "-": standard output */
	uint64_t interval_ns; /* 0: a second */
	uint64_t duration_ns; /* 0: until a signal */
	uint32_t timeout_ms;
};

/* Returns an exit status, after a complaint if it is not CMD_OK. SIGINT and SIGTERM are blocked. */
int ctl_record_run(const struct ctl_record *record);

/* Seconds, or a time as 500ms: 100 ms to a week. Returns an exit status likewise. */
int ctl_record_time_parse(const char *option, const char *text, uint64_t *ns);

/* The same moment on two clocks. */
struct ctl_record_start {
	uint64_t wall_ns;   /* CLOCK_REALTIME */
	uint64_t steady_ns; /* CLOCK_MONOTONIC */
};

/*
 * What a recording says of a moment on CLOCK_MONOTONIC: when it began by the wall clock, and how
 * long ago that is. So time does not go back in a recording when the wall clock is set.
 */
uint64_t ctl_record_time(const struct ctl_record_start *start, uint64_t steady_ns);

/* One line. `time_ns` is of ctl_record_time(). */
void ctl_record_write(FILE *out, uint64_t time_ns, const struct cmd_sample *sample,
		      const struct cmd_rates *rates);

#endif
