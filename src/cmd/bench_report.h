/* SPDX-License-Identifier: MIT */
/* What vblk bench says at the end, for people and as JSON. */
#ifndef CMD_BENCH_REPORT_H
#define CMD_BENCH_REPORT_H

#include <stdio.h>

#include "cmd/bench_options.h"
#include "driver/histogram.h"
#include "driver/queue.h"

struct bench_result {
	double seconds;
	struct vblk_histogram latency[VBLK_DRIVER_KINDS]; /* ns */
	uint64_t notifications;
	uint64_t interrupts;
	bool serving_known;	 /* whether the device's share can be told from the generator's */
	uint64_t serving_cpu_ns; /* of the process or the threads that serve */
	uint64_t own_cpu_ns;	 /* of the jobs */
	uint64_t verified;	 /* blocks */
	bool asleep;
};

void bench_report_text(FILE *out, const struct bench_options *options,
		       const struct bench_result *result);
void bench_report_json(FILE *out, const struct bench_options *options,
		       const struct bench_result *result);

#endif
