/* SPDX-License-Identifier: MIT */
/*
 * Reading a stats reply, and the difference of two. Histograms only grow, so the difference of two
 * is the histogram of what happened between them.
 */
#include "cmd/sample.h"

#ifdef VBLK_HAVE_JANSSON

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/buckets.h"
#include "base/clock.h"
#include "control/protocol.h"
#include "metrics/counters.h"

static uint64_t read_number(const json_t *object, const char *name)
{
	const json_int_t value = json_integer_value(json_object_get(object, name));

	return value > 0 ? (uint64_t)value : 0;
}

/* The server tells the highest value of a bucket, which says which one it is. */
static void read_histogram(const json_t *object, struct vblk_metrics_histogram *histogram)
{
	const json_t *pairs = json_object_get(object, "buckets");

	histogram->sum = read_number(object, "sum");
	histogram->highest = read_number(object, "highest");
	for (size_t i = 0; i < json_array_size(pairs); i++) {
		const json_t *pair = json_array_get(pairs, i);
		const json_int_t last = json_integer_value(json_array_get(pair, 0));
		const json_int_t count = json_integer_value(json_array_get(pair, 1));
		unsigned bucket;

		if (last < 0 || count < 0)
			continue;
		bucket = vblk_bucket_of((uint64_t)last, VBLK_METRICS_BUCKET_BITS);
		if (bucket >= VBLK_METRICS_BUCKETS)
			bucket = VBLK_METRICS_BUCKETS - 1;
		histogram->bucket[bucket] += (uint64_t)count;
	}
}

static void read_detail(const json_t *object, struct vblk_metrics_detail *detail)
{
	const json_t *latency = json_object_get(object, "latency_ns");
	const json_t *sizes = json_object_get(object, "request_bytes");
	const json_t *errors = json_object_get(object, "errors");

	for (unsigned op = 0; op < VBLK_METRICS_OPS; op++) {
		const char *name = vblk_metrics_op_name((enum vblk_metrics_op)op);
		const json_t *phases = json_object_get(latency, name);

		for (unsigned i = 0; i < VBLK_METRICS_PHASES; i++)
			read_histogram(json_object_get(phases, vblk_metrics_phase_name(
								       (enum vblk_metrics_phase)i)),
				       &detail->latency[op][i]);
		read_histogram(json_object_get(sizes, name), &detail->request_bytes[op]);
	}
	read_histogram(json_object_get(object, "depth"), &detail->depth);
	for (unsigned i = 0; i < VBLK_METRICS_ERRORS; i++)
		detail->errors[i] =
			read_number(errors, vblk_metrics_error_name((enum vblk_metrics_error)i));
}

void cmd_sample_read(const struct json_t *disk, struct cmd_sample *sample)
{
	const char *name = json_string_value(json_object_get(disk, "name"));
	const json_t *counters = json_object_get(disk, "counters");

	memset(sample, 0, sizeof(*sample));
	snprintf(sample->name, sizeof(sample->name), "%s", name ? name : "?");
	for (char *c = sample->name; *c; c++)
		if ((unsigned char)*c < ' ' || *c == '\x7f')
			*c = '?';
	sample->capacity_bytes = read_number(disk, "capacity");
	sample->connected = json_is_true(json_object_get(disk, "connected"));
	sample->paused = json_is_true(json_object_get(disk, "paused"));
	for (size_t i = 0; i < vblk_metrics_counter_count; i++) {
		const uint64_t value = read_number(counters, vblk_metrics_counters[i].name);

		memcpy((char *)&sample->counters + vblk_metrics_counters[i].offset, &value,
		       sizeof(value));
	}
	sample->detail.size = sizeof(sample->detail);
	read_detail(json_object_get(disk, "detail"), &sample->detail);
}

/* `now` less `before`. The highest value of the interval is only known by its bucket. */
static void subtract(const struct vblk_metrics_histogram *now,
		     const struct vblk_metrics_histogram *before,
		     struct vblk_metrics_histogram *difference)
{
	difference->highest = 0;
	for (unsigned i = 0; i < VBLK_METRICS_BUCKETS; i++) {
		difference->bucket[i] =
			now->bucket[i] > before->bucket[i] ? now->bucket[i] - before->bucket[i] : 0;
		if (difference->bucket[i] > 0)
			difference->highest = vblk_metrics_bucket_last(i);
	}
	if (difference->highest > now->highest)
		difference->highest = now->highest;
	difference->sum = now->sum - before->sum;
}

static void add(struct vblk_metrics_histogram *sum, const struct vblk_metrics_histogram *other)
{
	for (unsigned i = 0; i < VBLK_METRICS_BUCKETS; i++)
		sum->bucket[i] += other->bucket[i];
	if (other->highest > sum->highest)
		sum->highest = other->highest;
}

static void rate_of(const struct vblk_metrics_histogram *difference, double seconds,
		    struct cmd_rate *rate)
{
	rate->per_second = (double)vblk_metrics_values(difference) / seconds;
	rate->p50_ns = vblk_metrics_quantile(difference, 0.5);
	rate->p99_ns = vblk_metrics_quantile(difference, 0.99);
	rate->highest_ns = difference->highest;
}

static double per_second(uint64_t now, uint64_t before, double seconds)
{
	return (double)(now - before) / seconds;
}

static uint64_t failures(const struct cmd_sample *sample)
{
	return sample->counters.io_errors + sample->counters.invalid_avail_idx;
}

/* No counter ever falls while a disk lives. */
static bool is_older(const struct cmd_sample *before, const struct cmd_sample *now)
{
	for (size_t i = 0; i < vblk_metrics_counter_count; i++) {
		const size_t offset = vblk_metrics_counters[i].offset;
		uint64_t a, b;

		if (offset == offsetof(struct vblk_metrics_snapshot, throttled_now))
			continue;
		memcpy(&a, (const char *)&before->counters + offset, sizeof(a));
		memcpy(&b, (const char *)&now->counters + offset, sizeof(b));
		if (b < a)
			return false;
	}
	return true;
}

void cmd_rates_between(const struct cmd_sample *before, const struct cmd_sample *now,
		       struct cmd_rates *rates)
{
	static const struct cmd_sample nothing;
	struct vblk_metrics_histogram one, all = { 0 }, waits = { 0 };
	uint64_t looks;

	memset(rates, 0, sizeof(*rates));
	rates->seconds = now->at_ns > before->at_ns
				 ? (double)(now->at_ns - before->at_ns) / (double)VBLK_NSEC_PER_SEC
				 : 1.0 / (double)VBLK_NSEC_PER_SEC;
	rates->restarted = !is_older(before, now);
	if (rates->restarted)
		before = &nothing;
	for (unsigned op = 0; op < VBLK_METRICS_OPS; op++) {
		subtract(&now->detail.latency[op][VBLK_PHASE_SERVED],
			 &before->detail.latency[op][VBLK_PHASE_SERVED], &one);
		rate_of(&one, rates->seconds, &rates->op[op]);
		add(&all, &one);
		subtract(&now->detail.latency[op][VBLK_PHASE_THROTTLED],
			 &before->detail.latency[op][VBLK_PHASE_THROTTLED], &one);
		add(&waits, &one);
	}
	rate_of(&all, rates->seconds, &rates->all);
	rates->waits = (double)vblk_metrics_values(&waits) / rates->seconds;
	rates->wait_p99_ns = vblk_metrics_quantile(&waits, 0.99);
	subtract(&now->detail.depth, &before->detail.depth, &one);
	looks = vblk_metrics_values(&one);
	rates->depth = looks ? (double)one.sum / (double)looks : 0.0;
	rates->bytes_read =
		per_second(now->counters.bytes_read, before->counters.bytes_read, rates->seconds);
	rates->bytes_written = per_second(now->counters.bytes_written,
					  before->counters.bytes_written, rates->seconds);
	rates->error_count = failures(now) - failures(before);
	rates->errors = (double)rates->error_count / rates->seconds;
}

#endif
