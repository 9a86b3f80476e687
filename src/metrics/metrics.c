/* SPDX-License-Identifier: MIT */
/*
 * Life and reading of a device's counters.
 *
 * The object is shared by the device, by its workers (one that was abandoned may outlive the
 * device) and by whoever the embedder lets watch, so it is reference counted. Nobody ever needs a
 * lock: each counter stands for itself.
 */
#include "metrics/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/pages.h"

int vblk_metrics_create(struct vblk_metrics **metrics)
{
	struct vblk_metrics *made = aligned_alloc(VBLK_METRICS_ALIGN, sizeof(*made));

	if (!made)
		return -ENOMEM;
	memset(made, 0, sizeof(*made));
	atomic_init(&made->refs, 1);
	atomic_init(&made->shards, NULL);
	*metrics = made;
	return 0;
}

struct vblk_metrics *vblk_metrics_ref(struct vblk_metrics *metrics)
{
	atomic_fetch_add_explicit(&metrics->refs, 1, memory_order_relaxed);
	return metrics;
}

void vblk_metrics_unref(struct vblk_metrics *metrics)
{
	struct vblk_metrics_shard *shard, *next;

	/* Release our accesses to the thread that frees, acquire theirs if that is us. */
	if (!metrics || atomic_fetch_sub_explicit(&metrics->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (shard = atomic_load(&metrics->shards); shard; shard = next) {
		next = shard->next;
		vblk_pages_free(shard, sizeof(*shard));
	}
	free(metrics);
}

/* A shard that its owner has left; what the owner has stored there is acquired with it. */
static struct vblk_metrics_shard *take_over(struct vblk_metrics *metrics)
{
	struct vblk_metrics_shard *shard = atomic_load(&metrics->shards);

	for (; shard; shard = shard->next) {
		bool joined = false;

		if (atomic_compare_exchange_strong(&shard->joined, &joined, true))
			return shard;
	}
	return NULL;
}

struct vblk_metrics_shard *vblk_metrics_join(struct vblk_metrics *metrics)
{
	struct vblk_metrics_shard *shard = take_over(metrics);

	if (shard)
		return shard;
	shard = vblk_pages_alloc(sizeof(*shard));
	if (!shard)
		return NULL;
	atomic_init(&shard->joined, true);
	shard->next = atomic_load(&metrics->shards);
	while (!atomic_compare_exchange_weak(&metrics->shards, &shard->next, shard))
		;
	return shard;
}

void vblk_metrics_leave(struct vblk_metrics_shard *shard)
{
	if (shard)
		atomic_store_explicit(&shard->joined, false, memory_order_release);
}

void vblk_metrics_add_error(struct vblk_metrics *metrics, enum vblk_metrics_error reason)
{
	vblk_metrics_count(&metrics->errors[reason], 1);
	if (reason == VBLK_ERROR_AVAIL_INDEX)
		vblk_metrics_count(&metrics->invalid_avail_idx, 1);
	else if (reason != VBLK_ERROR_UNSUPPORTED)
		vblk_metrics_count(&metrics->io_errors, 1);
}

enum vblk_metrics_error vblk_metrics_error_of(int error)
{
	switch (-error) {
	case ERANGE:
		return VBLK_ERROR_BEYOND_END;
	case EFAULT:
		return VBLK_ERROR_MEMORY;
	case EIO:
		return VBLK_ERROR_IO;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return VBLK_ERROR_SPACE;
	case EPERM:
	case EACCES:
	case EROFS:
	case EBADF:
		return VBLK_ERROR_ACCESS;
	default:
		return VBLK_ERROR_OTHER;
	}
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* What was completed, by all that ever had a shard and by those without. */
struct completed {
	uint64_t requests[VBLK_METRICS_OPS];
	uint64_t bytes[VBLK_METRICS_OPS];
};

static void add_up(struct completed *sum, const struct vblk_metrics_completed *completed)
{
	for (unsigned op = 0; op < VBLK_METRICS_OPS; op++) {
		sum->requests[op] += read_counter(&completed->requests[op]);
		sum->bytes[op] += read_counter(&completed->bytes[op]);
	}
}

void vblk_metrics_read(const struct vblk_metrics *metrics, struct vblk_metrics_snapshot *snapshot)
{
	const struct vblk_metrics_shard *shard = atomic_load(&metrics->shards);
	struct completed sum = { .requests = { 0 } };

	add_up(&sum, &metrics->completed);
	for (; shard; shard = shard->next)
		add_up(&sum, &shard->completed);
	*snapshot = (struct vblk_metrics_snapshot){
		.reads_completed = sum.requests[VBLK_OP_READ],
		.bytes_read = sum.bytes[VBLK_OP_READ],
		.writes_completed = sum.requests[VBLK_OP_WRITE],
		.bytes_written = sum.bytes[VBLK_OP_WRITE],
		.flushes_completed = sum.requests[VBLK_OP_FLUSH],
		.discards_completed = sum.requests[VBLK_OP_DISCARD],
		.bytes_discarded = sum.bytes[VBLK_OP_DISCARD],
		.write_zeroes_completed = sum.requests[VBLK_OP_WRITE_ZEROES],
		.bytes_zeroed = sum.bytes[VBLK_OP_WRITE_ZEROES],
		.throttled = read_counter(&metrics->throttled),
		.io_errors = read_counter(&metrics->io_errors),
		.invalid_avail_idx = read_counter(&metrics->invalid_avail_idx),
		.throttled_now = read_counter(&metrics->throttled_now),
		.notifications = read_counter(&metrics->notifications),
		.interrupts = read_counter(&metrics->interrupts),
	};
}
