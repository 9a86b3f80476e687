/* SPDX-License-Identifier: MIT */
/*
 * A disk at one moment, as a control socket tells of it, and what lies between two such moments.
 * Pure: text is taken apart and numbers are divided. What the other end sends is not trusted: what
 * is missing or of a wrong type counts as 0.
 */
#ifndef CMD_SAMPLE_H
#define CMD_SAMPLE_H

#include <vblk/metrics.h>

/* A file's name, and the number that tells it from others (cmd/disk_names.h). */
#define CMD_SAMPLE_NAME_SIZE 272

struct cmd_sample {
	char name[CMD_SAMPLE_NAME_SIZE]; /* control characters are '?' */
	uint64_t capacity_bytes;
	bool connected;
	bool paused;
	uint64_t at_ns; /* CLOCK_MONOTONIC; set by who asked */
	struct vblk_metrics_snapshot counters;
	struct vblk_metrics_detail detail; /* zeros, if the server did not tell */
};

struct json_t;

/* Reads an element of "disks" of a stats reply. */
void cmd_sample_read(const struct json_t *disk, struct cmd_sample *sample);

/* Of one operation. */
struct cmd_rate {
	double per_second; /* requests */
	uint64_t p50_ns;   /* served; 0 without requests */
	uint64_t p99_ns;
	uint64_t highest_ns;
};

struct cmd_rates {
	double seconds; /* between the two; above 0 */
	/* The disk began anew between the two: everything is since then. */
	bool restarted;
	struct cmd_rate op[VBLK_METRICS_OPS];
	struct cmd_rate all;
	double bytes_read;    /* per second */
	double bytes_written; /* per second */
	double waits;	      /* requests that had waited for tokens and passed, per second */
	uint64_t wait_p99_ns; /* how long, from the first refusal on */
	double depth;	      /* chains taken in one look, on average */
	double errors;	      /* per second */
	uint64_t error_count; /* in the interval */
};

/* What happened from `before` to `now`, of the same disk. */
void cmd_rates_between(const struct cmd_sample *before, const struct cmd_sample *now,
		       struct cmd_rates *rates);

#endif
