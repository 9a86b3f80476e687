/* SPDX-License-Identifier: MIT */
/* The report of vblk bench. */
#include "cmd/bench_report.h"

#include <inttypes.h>

#define MIB 1048576.0

static uint64_t requests(const struct bench_result *result)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < VBLK_DRIVER_KINDS; i++)
		sum += result->latency[i].count;
	return sum;
}

static double per_request(const struct bench_result *result, uint64_t value)
{
	return requests(result) ? (double)value / (double)requests(result) : 0.0;
}

static double per_second(const struct bench_result *result, double value)
{
	return result->seconds > 0 ? value / result->seconds : 0.0;
}

static const char *const kinds[VBLK_DRIVER_KINDS] = { "read", "write", "flush" };

/* What a request moves. */
static double bytes_of(const struct bench_options *options, unsigned kind)
{
	return kind == VBLK_DRIVER_FLUSH ? 0.0 : options->block;
}

static double us(uint64_t ns)
{
	return (double)ns / 1e3;
}

static void text_kind(FILE *out, const struct bench_options *options,
		      const struct bench_result *result, unsigned kind)
{
	const struct vblk_histogram *latency = &result->latency[kind];
	const double iops = per_second(result, (double)latency->count);

	if (latency->count == 0)
		return;
	fprintf(out, "  %s: IOPS=%.0f, BW=%.1fMiB/s (%" PRIu64 " in %.2f s)\n", kinds[kind], iops,
		iops * bytes_of(options, kind) / MIB, latency->count, result->seconds);
	fprintf(out,
		"    lat (usec): min=%.1f, mean=%.1f, p50=%.1f, p99=%.1f, p99.9=%.1f, max=%.1f\n",
		us(latency->lowest), vblk_histogram_mean(latency) / 1e3,
		us(vblk_histogram_quantile(latency, 0.5)),
		us(vblk_histogram_quantile(latency, 0.99)),
		us(vblk_histogram_quantile(latency, 0.999)), us(latency->highest));
}

void bench_report_text(FILE *out, const struct bench_options *options,
		       const struct bench_result *result)
{
	fprintf(out, "%s: bs=%" PRIu32 ", iodepth=%" PRIu32 ", numjobs=%" PRIu32 ", wait=%s\n",
		options->rw, options->block, options->depth, options->jobs,
		result->asleep ? "event" : "poll");
	for (unsigned kind = 0; kind < VBLK_DRIVER_KINDS; kind++)
		text_kind(out, options, result, kind);
	fputs("  cpu per request (usec): ", out);
	if (result->serving_known)
		fprintf(out, "serving=%.3f, ", per_request(result, result->serving_cpu_ns) / 1e3);
	else
		fputs("serving=unknown, ", out);
	fprintf(out, "driver=%.3f%s\n", per_request(result, result->own_cpu_ns) / 1e3,
		options->has_disk && options->engine == VBLK_ENGINE_INLINE
			? " (the device included)"
			: "");
	fprintf(out, "  per request: notifications=%.4f, interrupts=%.4f\n",
		per_request(result, result->notifications),
		per_request(result, result->interrupts));
	if (options->verify)
		fprintf(out, "  verified: %" PRIu64 " blocks\n", result->verified);
}

static void json_kind(FILE *out, const struct bench_options *options,
		      const struct bench_result *result, unsigned kind)
{
	const struct vblk_histogram *latency = &result->latency[kind];
	const double iops = per_second(result, (double)latency->count);

	fprintf(out,
		"  \"%s\": {\"total_ios\": %" PRIu64 ", \"iops\": %.3f, \"bw_bytes\": %.0f,\n"
		"    \"lat_ns\": {\"min\": %" PRIu64 ", \"mean\": %.1f, \"p50\": %" PRIu64
		", \"p99\": %" PRIu64 ", \"p99.9\": %" PRIu64 ", \"max\": %" PRIu64 "}},\n",
		kinds[kind], latency->count, iops, iops * bytes_of(options, kind), latency->lowest,
		vblk_histogram_mean(latency), vblk_histogram_quantile(latency, 0.5),
		vblk_histogram_quantile(latency, 0.99), vblk_histogram_quantile(latency, 0.999),
		latency->highest);
}

void bench_report_json(FILE *out, const struct bench_options *options,
		       const struct bench_result *result)
{
	fprintf(out,
		"{\n  \"rw\": \"%s\", \"bs\": %" PRIu32 ", \"iodepth\": %" PRIu32
		", \"numjobs\": %" PRIu32 ", \"wait\": \"%s\", \"seconds\": %.6f,\n",
		options->rw, options->block, options->depth, options->jobs,
		result->asleep ? "event" : "poll", result->seconds);
	for (unsigned kind = 0; kind < VBLK_DRIVER_KINDS; kind++)
		json_kind(out, options, result, kind);
	if (result->serving_known)
		fprintf(out, "  \"serving_cpu_ns_per_request\": %.1f,\n",
			per_request(result, result->serving_cpu_ns));
	else
		fputs("  \"serving_cpu_ns_per_request\": null,\n", out);
	fprintf(out,
		"  \"driver_cpu_ns_per_request\": %.1f,\n"
		"  \"notifications\": %" PRIu64 ", \"interrupts\": %" PRIu64
		", \"verified_blocks\": %" PRIu64 "\n}\n",
		per_request(result, result->own_cpu_ns), result->notifications, result->interrupts,
		result->verified);
}
