/* SPDX-License-Identifier: MIT */
/* How long a disk's requests took, in the words of docs/control.md: members, and their shape. */
#include "vmm/dump.h"

#include <stdlib.h>
#include <vblk/metrics.h>

/* As pairs of the buckets that are not empty. */
static void write_buckets(struct vmm_json *json, const struct vblk_metrics_histogram *histogram)
{
	vmm_json_open_array(json, "buckets");
	for (unsigned i = 0; i < VBLK_METRICS_BUCKETS; i++) {
		if (histogram->bucket[i] == 0)
			continue;
		vmm_json_open_array(json, NULL);
		vmm_json_number(json, NULL, vblk_metrics_bucket_last(i));
		vmm_json_number(json, NULL, histogram->bucket[i]);
		vmm_json_close_array(json);
	}
	vmm_json_close_array(json);
}

/* One without values is left out. */
static void write_histogram(struct vmm_json *json, const char *name,
			    const struct vblk_metrics_histogram *histogram)
{
	const uint64_t values = vblk_metrics_values(histogram);

	if (values == 0)
		return;
	vmm_json_open_object(json, name);
	vmm_json_number(json, "count", values);
	vmm_json_number(json, "sum", histogram->sum);
	vmm_json_number(json, "highest", histogram->highest);
	vmm_json_number(json, "median", vblk_metrics_quantile(histogram, 0.5));
	vmm_json_number(json, "p99", vblk_metrics_quantile(histogram, 0.99));
	write_buckets(json, histogram);
	vmm_json_close_object(json);
}

static void write_latency(struct vmm_json *json, const struct vblk_metrics_detail *detail)
{
	vmm_json_open_object(json, "latency_ns");
	for (unsigned op = 0; op < VBLK_METRICS_OPS; op++) {
		vmm_json_open_object(json, vblk_metrics_op_name((enum vblk_metrics_op)op));
		for (unsigned i = 0; i < VBLK_METRICS_PHASES; i++)
			write_histogram(json, vblk_metrics_phase_name((enum vblk_metrics_phase)i),
					&detail->latency[op][i]);
		vmm_json_close_object(json);
	}
	vmm_json_close_object(json);
}

static void write_sizes(struct vmm_json *json, const struct vblk_metrics_detail *detail)
{
	vmm_json_open_object(json, "request_bytes");
	for (unsigned op = 0; op < VBLK_METRICS_OPS; op++)
		write_histogram(json, vblk_metrics_op_name((enum vblk_metrics_op)op),
				&detail->request_bytes[op]);
	vmm_json_close_object(json);
}

static void write_errors(struct vmm_json *json, const struct vblk_metrics_detail *detail)
{
	vmm_json_open_object(json, "errors");
	for (unsigned i = 0; i < VBLK_METRICS_ERRORS; i++)
		vmm_json_number(json, vblk_metrics_error_name((enum vblk_metrics_error)i),
				detail->errors[i]);
	vmm_json_close_object(json);
}

void vmm_dump_detail(const struct vblk_metrics *metrics, struct vmm_json *json)
{
	struct vblk_metrics_detail *detail = calloc(1, sizeof(*detail));

	/* A dump without it is better than none. */
	if (!detail)
		return;
	detail->size = sizeof(*detail);
	if (vblk_metrics_read_detail(metrics, detail) == 0) {
		write_latency(json, detail);
		write_sizes(json, detail);
		write_errors(json, detail);
		write_histogram(json, "depth", &detail->depth);
	}
	free(detail);
}
