/* SPDX-License-Identifier: MIT */
/*
 * Histograms as JSON. Most buckets are empty, so a histogram is written as the pairs of those that
 * are not, and one without values is left out.
 */
#include "control/detail.h"

#include "base/checked.h"
#include <stdlib.h>

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)vblk_min_u64(value, INT64_MAX));
}

/* Sets a member. False if there is no memory, also for the value. */
static bool set(json_t *object, const char *name, json_t *value)
{
	return json_object_set_new(object, name, value) == 0;
}

static json_t *buckets(const struct vblk_metrics_histogram *histogram)
{
	json_t *pairs = json_array();

	for (unsigned i = 0; i < VBLK_METRICS_BUCKETS; i++) {
		if (histogram->bucket[i] == 0)
			continue;
		if (json_array_append_new(pairs,
					  json_pack("[o,o]", number(vblk_metrics_bucket_last(i)),
						    number(histogram->bucket[i])))) {
			json_decref(pairs);
			return NULL;
		}
	}
	return pairs;
}

static bool set_histogram(json_t *object, const char *name,
			  const struct vblk_metrics_histogram *histogram)
{
	const uint64_t values = vblk_metrics_values(histogram);

	return values == 0 ||
	       set(object, name,
		   json_pack("{s:o,s:o,s:o,s:o}", "count", number(values), "sum",
			     number(histogram->sum), "highest", number(histogram->highest),
			     "buckets", buckets(histogram)));
}

static bool set_op(json_t *latency, json_t *sizes, const struct vblk_metrics_detail *detail,
		   enum vblk_metrics_op op)
{
	json_t *phases = json_object();

	if (!set(latency, vblk_metrics_op_name(op), phases))
		return false;
	for (unsigned i = 0; i < VBLK_METRICS_PHASES; i++)
		if (!set_histogram(phases, vblk_metrics_phase_name((enum vblk_metrics_phase)i),
				   &detail->latency[op][i]))
			return false;
	return set_histogram(sizes, vblk_metrics_op_name(op), &detail->request_bytes[op]);
}

static bool fill(json_t *object, const struct vblk_metrics_detail *detail)
{
	json_t *latency = json_object(), *sizes = json_object(), *errors = json_object();
	const bool owned = (int)set(object, "latency_ns", latency) &
			   (int)set(object, "request_bytes", sizes) &
			   (int)set(object, "errors", errors);

	if (!owned)
		return false;
	for (unsigned i = 0; i < VBLK_METRICS_OPS; i++)
		if (!set_op(latency, sizes, detail, (enum vblk_metrics_op)i))
			return false;
	for (unsigned i = 0; i < VBLK_METRICS_ERRORS; i++)
		if (!set(errors, vblk_metrics_error_name((enum vblk_metrics_error)i),
			 number(detail->errors[i])))
			return false;
	return set_histogram(object, "depth", &detail->depth);
}

json_t *vblk_control_detail(const struct vblk_metrics *metrics)
{
	struct vblk_metrics_detail *detail = calloc(1, sizeof(*detail));
	json_t *object = json_object();
	bool good = false;

	if (detail) {
		detail->size = sizeof(*detail);
		good = vblk_metrics_read_detail(metrics, detail) == 0 && fill(object, detail);
	}
	free(detail);
	if (good)
		return object;
	json_decref(object);
	return NULL;
}
