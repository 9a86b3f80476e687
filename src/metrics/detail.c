/* SPDX-License-Identifier: MIT */
/*
 * Reading histograms: the sum over all shards, and what can be told from it.
 *
 * Shards are walked while their owners record. Each cell stands for itself, as counters do, so a
 * sum may be of another instant than the buckets beside it.
 */
#include "metrics/metrics.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/checked.h"

static_assert(VBLK_METRICS_BUCKETS == VBLK_BUCKETS(VBLK_METRICS_BUCKET_BITS, 38u),
	      "the public header says how far the buckets reach");

/* What the first version had. Fields are appended behind it and never change. */
#define SIZE_FIRST sizeof(struct vblk_metrics_detail)

static void collect(const struct vblk_metrics_cells *cells,
		    struct vblk_metrics_histogram *histogram)
{
	const uint64_t highest = atomic_load_explicit(&cells->highest, memory_order_relaxed);

	histogram->sum += atomic_load_explicit(&cells->sum, memory_order_relaxed);
	if (highest > histogram->highest)
		histogram->highest = highest;
	for (unsigned i = 0; i < VBLK_METRICS_BUCKETS; i++)
		histogram->bucket[i] +=
			atomic_load_explicit(&cells->bucket[i], memory_order_relaxed);
}

static void collect_shard(const struct vblk_metrics_shard *shard,
			  struct vblk_metrics_detail *detail)
{
	for (unsigned op = 0; op < VBLK_METRICS_OPS; op++) {
		for (unsigned phase = 0; phase < VBLK_METRICS_PHASES; phase++)
			collect(&shard->latency[op][phase], &detail->latency[op][phase]);
		collect(&shard->request_bytes[op], &detail->request_bytes[op]);
	}
	collect(&shard->depth, &detail->depth);
}

int vblk_metrics_read_detail(const struct vblk_metrics *metrics, struct vblk_metrics_detail *detail)
{
	const uint64_t size = detail->size;
	const struct vblk_metrics_shard *shard;

	if (size < SIZE_FIRST || size > SIZE_MAX)
		return -EINVAL;
	memset(detail, 0, (size_t)size);
	detail->size = sizeof(*detail);
	for (shard = atomic_load(&metrics->shards); shard; shard = shard->next)
		collect_shard(shard, detail);
	for (unsigned i = 0; i < VBLK_METRICS_ERRORS; i++)
		detail->errors[i] = atomic_load_explicit(&metrics->errors[i], memory_order_relaxed);
	return 0;
}

uint64_t vblk_metrics_bucket_last(unsigned bucket)
{
	return bucket >= VBLK_METRICS_BUCKETS - 1
		       ? UINT64_MAX
		       : vblk_bucket_last(bucket, VBLK_METRICS_BUCKET_BITS);
}

uint64_t vblk_metrics_quantile(const struct vblk_metrics_histogram *histogram, double share)
{
	const unsigned bucket =
		vblk_buckets_quantile(histogram->bucket, VBLK_METRICS_BUCKETS, share);

	if (bucket == VBLK_METRICS_BUCKETS && vblk_metrics_values(histogram) == 0)
		return 0;
	return vblk_min_u64(vblk_metrics_bucket_last(bucket), histogram->highest);
}

uint64_t vblk_metrics_values(const struct vblk_metrics_histogram *histogram)
{
	uint64_t values = 0;

	for (unsigned i = 0; i < VBLK_METRICS_BUCKETS; i++)
		values += histogram->bucket[i];
	return values;
}

const char *vblk_metrics_op_name(enum vblk_metrics_op op)
{
	static const char *const names[VBLK_METRICS_OPS] = {
		[VBLK_OP_READ] = "read",
		[VBLK_OP_WRITE] = "write",
		[VBLK_OP_FLUSH] = "flush",
		[VBLK_OP_DISCARD] = "discard",
		[VBLK_OP_WRITE_ZEROES] = "write_zeroes",
		[VBLK_OP_GET_ID] = "get_id",
	};

	return (unsigned)op < VBLK_METRICS_OPS ? names[op] : "unknown";
}

const char *vblk_metrics_phase_name(enum vblk_metrics_phase phase)
{
	static const char *const names[VBLK_METRICS_PHASES] = {
		[VBLK_PHASE_QUEUED] = "queued",
		[VBLK_PHASE_THROTTLED] = "throttled",
		[VBLK_PHASE_SERVED] = "served",
	};

	return (unsigned)phase < VBLK_METRICS_PHASES ? names[phase] : "unknown";
}

const char *vblk_metrics_error_name(enum vblk_metrics_error error)
{
	static const char *const names[VBLK_METRICS_ERRORS] = {
		[VBLK_ERROR_CHAIN] = "chain",
		[VBLK_ERROR_STATUS] = "status",
		[VBLK_ERROR_HEADER] = "header",
		[VBLK_ERROR_DATA] = "data",
		[VBLK_ERROR_LENGTH] = "length",
		[VBLK_ERROR_DIRECTION] = "direction",
		[VBLK_ERROR_READ_ONLY] = "read_only",
		[VBLK_ERROR_RANGES] = "ranges",
		[VBLK_ERROR_BEYOND_END] = "beyond_end",
		[VBLK_ERROR_MEMORY] = "memory",
		[VBLK_ERROR_IO] = "io",
		[VBLK_ERROR_SPACE] = "space",
		[VBLK_ERROR_ACCESS] = "access",
		[VBLK_ERROR_OTHER] = "other",
		[VBLK_ERROR_PUBLISH] = "publish",
		[VBLK_ERROR_INTERRUPT] = "interrupt",
		[VBLK_ERROR_AVAIL_INDEX] = "avail_index",
		[VBLK_ERROR_AVAIL_RING] = "avail_ring",
		[VBLK_ERROR_HEAD] = "head",
		[VBLK_ERROR_NOTIFY] = "notify",
		[VBLK_ERROR_OPEN] = "open",
		[VBLK_ERROR_UNSUPPORTED] = "unsupported",
	};

	return (unsigned)error < VBLK_METRICS_ERRORS ? names[error] : "unknown";
}
