/* SPDX-License-Identifier: MIT */
/*
 * One family after the other, each with all disks. The bounds of buckets are ends of powers of two,
 * a few of those that the device has: bounds that came and went would break every query, and 560 of
 * them every scraper.
 */
#include "cmd/openmetrics.h"

#include <inttypes.h>

#include "base/buckets.h"
#include "base/checked.h"

/* Bounds are 2^k - 1: from 1 us to 17 s, and from 511 bytes to 128 MiB, and depths up to 1023. */
struct bounds {
	unsigned first, last; /* k */
	double unit;	      /* values in it, as the family has them */
};

static const struct bounds seconds = { 10, 34, 1e9 };
static const struct bounds bytes = { 9, 27, 1.0 };
static const struct bounds chains = { 1, 10, 1.0 };

/* A label's value: backslash, quote and newline are escaped. */
static void write_label(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			fputc('\\', out);
		fputc(*value, out); /* names have no control characters (cmd/sample.h) */
	}
	fputc('"', out);
}

static void family(FILE *out, const char *name, const char *type, const char *unit,
		   const char *help)
{
	fprintf(out, "# TYPE %s %s\n", name, type);
	if (unit)
		fprintf(out, "# UNIT %s %s\n", name, unit);
	fprintf(out, "# HELP %s %s\n", name, help);
}

/* What tells one series of a family from another: the disk, and up to two more. */
struct labels {
	const char *disk;
	const char *name[2]; /* NULL: none */
	const char *value[2];
};

static void write_labels(FILE *out, const struct labels *labels)
{
	write_label(out, "disk", labels->disk);
	for (unsigned i = 0; i < 2 && labels->name[i]; i++) {
		fputc(',', out);
		write_label(out, labels->name[i], labels->value[i]);
	}
}

static void point(FILE *out, const char *name, const struct labels *labels, uint64_t value)
{
	fprintf(out, "%s{", name);
	write_labels(out, labels);
	fprintf(out, "} %" PRIu64 "\n", value);
}

static void bucket(FILE *out, const char *name, const struct labels *labels, const char *bound,
		   uint64_t value)
{
	fprintf(out, "%s_bucket{", name);
	write_labels(out, labels);
	fprintf(out, ",le=\"%s\"} %" PRIu64 "\n", bound, value);
}

/* The shortest text that is a number with a point, and this one. */
static void write_bound(char *text, size_t size, double value)
{
	snprintf(text, size, "%.12g", value);
	for (const char *c = text; *c; c++)
		if (*c == '.' || *c == 'e')
			return;
	snprintf(text, size, "%.1f", value);
}

static void histogram(FILE *out, const char *name, const struct labels *labels,
		      const struct bounds *bounds, const struct vblk_metrics_histogram *values)
{
	uint64_t passed = 0;
	unsigned i = 0;

	for (unsigned k = bounds->first; k <= bounds->last; k++) {
		const uint64_t last = (1ull << k) - 1;
		char bound[32];

		for (; i < VBLK_METRICS_BUCKETS && vblk_metrics_bucket_last(i) <= last; i++)
			passed += values->bucket[i];
		write_bound(bound, sizeof(bound), (double)last / bounds->unit);
		bucket(out, name, labels, bound, passed);
	}
	bucket(out, name, labels, "+Inf", vblk_metrics_values(values));
	fprintf(out, "%s_count{", name);
	write_labels(out, labels);
	fprintf(out, "} %" PRIu64 "\n%s_sum{", vblk_metrics_values(values), name);
	write_labels(out, labels);
	fprintf(out, "} %.9f\n", (double)values->sum / bounds->unit);
}

static uint64_t counter_at(const struct cmd_sample *disk, size_t offset)
{
	return *(const uint64_t *)((const char *)&disk->counters + offset);
}

/* A counter or gauge with one value per disk. */
static const struct {
	const char *name;
	const char *help;
	size_t offset; /* in struct vblk_metrics_snapshot */
} counters[] = {
	{ "vblk_throttle_refusals", "Times that a request was refused for lack of tokens.",
	  offsetof(struct vblk_metrics_snapshot, throttled) },
	{ "vblk_notifications", "Wake-ups by a driver's notification.",
	  offsetof(struct vblk_metrics_snapshot, notifications) },
	{ "vblk_interrupts", "Interrupts raised towards the driver.",
	  offsetof(struct vblk_metrics_snapshot, interrupts) },
};

static void write_counters(FILE *out, const struct cmd_sample *disks, size_t count)
{
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(counters); i++) {
		char name[64];

		family(out, counters[i].name, "counter", NULL, counters[i].help);
		snprintf(name, sizeof(name), "%s_total", counters[i].name);
		for (size_t disk = 0; disk < count; disk++)
			point(out, name, &(struct labels){ .disk = disks[disk].name },
			      counter_at(&disks[disk], counters[i].offset));
	}
}

static void write_gauges(FILE *out, const struct cmd_sample *disks, size_t count)
{
	family(out, "vblk_capacity_bytes", "gauge", "bytes", "Size of the disk.");
	for (size_t i = 0; i < count; i++)
		point(out, "vblk_capacity_bytes", &(struct labels){ .disk = disks[i].name },
		      disks[i].capacity_bytes);
	family(out, "vblk_connected", "gauge", NULL, "1 if a front end is there.");
	for (size_t i = 0; i < count; i++)
		point(out, "vblk_connected", &(struct labels){ .disk = disks[i].name },
		      disks[i].connected);
	family(out, "vblk_paused", "gauge", NULL, "1 if the disk is at rest on request.");
	for (size_t i = 0; i < count; i++)
		point(out, "vblk_paused", &(struct labels){ .disk = disks[i].name },
		      disks[i].paused);
	family(out, "vblk_throttled_queues", "gauge", NULL, "Queues that wait for tokens.");
	for (size_t i = 0; i < count; i++)
		point(out, "vblk_throttled_queues", &(struct labels){ .disk = disks[i].name },
		      disks[i].counters.throttled_now);
}

/* Where a counter of an operation is, in struct vblk_metrics_snapshot. */
struct op_counter {
	enum vblk_metrics_op op;
	size_t offset;
};

#define OP_COUNTER(op, member)                                     \
	{                                                          \
		op, offsetof(struct vblk_metrics_snapshot, member) \
	}

static const struct op_counter requests[] = {
	OP_COUNTER(VBLK_OP_READ, reads_completed),
	OP_COUNTER(VBLK_OP_WRITE, writes_completed),
	OP_COUNTER(VBLK_OP_FLUSH, flushes_completed),
	OP_COUNTER(VBLK_OP_DISCARD, discards_completed),
	OP_COUNTER(VBLK_OP_WRITE_ZEROES, write_zeroes_completed),
};

static const struct op_counter moved[] = {
	OP_COUNTER(VBLK_OP_READ, bytes_read),
	OP_COUNTER(VBLK_OP_WRITE, bytes_written),
	OP_COUNTER(VBLK_OP_DISCARD, bytes_discarded),
	OP_COUNTER(VBLK_OP_WRITE_ZEROES, bytes_zeroed),
};

/* The points of one family and disk, one for each operation of a table. */
static void write_ops(FILE *out, const char *name, const struct cmd_sample *disk,
		      const struct op_counter *table, size_t count)
{
	for (size_t i = 0; i < count; i++)
		point(out, name,
		      &(struct labels){
			      disk->name, { "op" }, { vblk_metrics_op_name(table[i].op) } },
		      counter_at(disk, table[i].offset));
}

static void write_requests(FILE *out, const struct cmd_sample *disks, size_t count)
{
	family(out, "vblk_requests", "counter", NULL, "Requests that succeeded.");
	for (size_t i = 0; i < count; i++)
		write_ops(out, "vblk_requests_total", &disks[i], requests,
			  VBLK_ARRAY_SIZE(requests));
	family(out, "vblk_moved_bytes", "counter", "bytes", "Bytes of requests that succeeded.");
	for (size_t i = 0; i < count; i++)
		write_ops(out, "vblk_moved_bytes_total", &disks[i], moved, VBLK_ARRAY_SIZE(moved));
}

static void write_errors(FILE *out, const struct cmd_sample *disks, size_t count)
{
	family(out, "vblk_errors", "counter", NULL, "What failed, by reason.");
	for (size_t i = 0; i < count; i++)
		for (unsigned n = 0; n < VBLK_METRICS_ERRORS; n++)
			point(out, "vblk_errors_total",
			      &(struct labels){
				      disks[i].name,
				      { "reason" },
				      { vblk_metrics_error_name((enum vblk_metrics_error)n) } },
			      disks[i].detail.errors[n]);
}

static void write_latency(FILE *out, const struct cmd_sample *disk)
{
	for (unsigned op = 0; op < VBLK_METRICS_OPS; op++) {
		for (unsigned phase = 0; phase < VBLK_METRICS_PHASES; phase++) {
			const struct labels labels = {
				disk->name,
				{ "op", "phase" },
				{ vblk_metrics_op_name((enum vblk_metrics_op)op),
				  vblk_metrics_phase_name((enum vblk_metrics_phase)phase) },
			};

			histogram(out, "vblk_request_latency_seconds", &labels, &seconds,
				  &disk->detail.latency[op][phase]);
		}
	}
}

static void write_histograms(FILE *out, const struct cmd_sample *disks, size_t count)
{
	family(out, "vblk_request_latency_seconds", "histogram", "seconds",
	       "Time of requests, by phase.");
	for (size_t i = 0; i < count; i++)
		write_latency(out, &disks[i]);
	family(out, "vblk_request_size_bytes", "histogram", "bytes", "Bytes of requests.");
	for (size_t i = 0; i < count; i++)
		for (unsigned op = 0; op < VBLK_METRICS_OPS; op++)
			histogram(out, "vblk_request_size_bytes",
				  &(struct labels){
					  disks[i].name,
					  { "op" },
					  { vblk_metrics_op_name((enum vblk_metrics_op)op) } },
				  &bytes, &disks[i].detail.request_bytes[op]);
	family(out, "vblk_depth_chains", "histogram", "chains",
	       "Chains taken in one look at a queue.");
	for (size_t i = 0; i < count; i++)
		histogram(out, "vblk_depth_chains", &(struct labels){ .disk = disks[i].name },
			  &chains, &disks[i].detail.depth);
}

void cmd_openmetrics_write(FILE *out, const struct cmd_sample *disks, size_t count)
{
	write_requests(out, disks, count);
	write_errors(out, disks, count);
	write_counters(out, disks, count);
	write_gauges(out, disks, count);
	write_histograms(out, disks, count);
	fputs("# EOF\n", out);
}
