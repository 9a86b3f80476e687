/* SPDX-License-Identifier: MIT */
/*
 * Recording side of a device's counters; the reading side is vblk/metrics.h.
 *
 * Every recorder may be called from any thread and never blocks. All accesses are relaxed: the
 * counters order nothing, and a reader that sees one of them move may not conclude anything about
 * memory or about the others. Several threads may record at once (the worker, vCPU threads, and a
 * worker that was abandoned beside its successor), so each step is an atomic read-modify-write.
 *
 * The caller holds a reference for as long as it records.
 *
 * What each request moves is different (histograms, what was completed): who records joins first
 * and has a shard of its own, in which a step is a load and a store that nobody contends for. A
 * worker that was abandoned keeps its shard and its successor joins anew, so nothing is lost.
 * Readers sum the shards up. A shard that was left keeps its numbers and goes to the next who
 * joins.
 */
#ifndef VBLK_METRICS_METRICS_H
#define VBLK_METRICS_METRICS_H

#include <vblk/metrics.h>

#include <stdalign.h>
#include <stdatomic.h>

#include "base/buckets.h"
#include "base/inline.h"

#define VBLK_METRICS_ALIGN 64

struct vblk_metrics_shard;

/* Requests that succeeded, by operation, and the bytes that they moved or were about. */
struct vblk_metrics_completed {
	_Atomic uint64_t requests[VBLK_METRICS_OPS];
	_Atomic uint64_t bytes[VBLK_METRICS_OPS];
};

struct vblk_metrics {
	/* On a line of its own: taking references must not disturb the recording thread. */
	alignas(VBLK_METRICS_ALIGN) atomic_uint refs;

	/* Private names are those of struct vblk_metrics_snapshot, which says what they mean. */
	alignas(VBLK_METRICS_ALIGN) struct vblk_metrics_completed completed; /* without a shard */
	_Atomic uint64_t throttled;
	_Atomic uint64_t io_errors;
	_Atomic uint64_t invalid_avail_idx;
	_Atomic uint64_t throttled_now;
	_Atomic uint64_t notifications;
	_Atomic uint64_t interrupts;
	_Atomic uint64_t errors[VBLK_METRICS_ERRORS];

	/* A list that only grows, at its front. */
	_Atomic(struct vblk_metrics_shard *) shards;
};

/* The cells of a struct vblk_metrics_histogram. One writer. */
struct vblk_metrics_cells {
	_Atomic uint64_t sum;
	_Atomic uint64_t highest;
	_Atomic uint64_t bucket[VBLK_METRICS_BUCKETS];
};

/* What one queue records. */
struct vblk_metrics_shard {
	struct vblk_metrics_shard *next; /* constant */
	atomic_bool joined;
	struct vblk_metrics_completed completed;
	struct vblk_metrics_cells latency[VBLK_METRICS_OPS][VBLK_METRICS_PHASES];
	struct vblk_metrics_cells request_bytes[VBLK_METRICS_OPS];
	struct vblk_metrics_cells depth;
};

/* All counters 0, one reference. Returns 0 or -ENOMEM. */
VBLK_MUST_USE int vblk_metrics_create(struct vblk_metrics **metrics);

static inline void vblk_metrics_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* A request was refused for lack of tokens, for the first time or again. */
static inline void vblk_metrics_add_throttled(struct vblk_metrics *metrics)
{
	vblk_metrics_count(&metrics->throttled, 1);
}

/* Something failed: counted by its reason, and by the counter that the reason belongs to. */
void vblk_metrics_add_error(struct vblk_metrics *metrics, enum vblk_metrics_error reason);

/* The reason of a request that could not be carried out, by its negative errno. */
enum vblk_metrics_error vblk_metrics_error_of(int error);

static inline void vblk_metrics_add_notification(struct vblk_metrics *metrics)
{
	vblk_metrics_count(&metrics->notifications, 1);
}

static inline void vblk_metrics_add_interrupt(struct vblk_metrics *metrics)
{
	vblk_metrics_count(&metrics->interrupts, 1);
}

/* A queue's next request has begun to wait for tokens. Once per queue, not once per retry. */
static inline void vblk_metrics_stalled_inc(struct vblk_metrics *metrics)
{
	vblk_metrics_count(&metrics->throttled_now, 1);
}

/*
 * That request has left the queue, for whatever reason. At 0 nothing happens: a gauge that
 * wrapped would read as 2^64-1 waiting queues for the rest of the device's life.
 */
static inline void vblk_metrics_stalled_dec(struct vblk_metrics *metrics)
{
	uint64_t now = atomic_load_explicit(&metrics->throttled_now, memory_order_relaxed);

	while (now > 0 &&
	       !atomic_compare_exchange_weak_explicit(&metrics->throttled_now, &now, now - 1,
						      memory_order_relaxed, memory_order_relaxed))
		;
}

/*
 * A shard for one thread at a time, until vblk_metrics_leave. NULL if there is no memory for one:
 * then the device works, and its histograms stay as they are. Any thread.
 */
struct vblk_metrics_shard *vblk_metrics_join(struct vblk_metrics *metrics);

/* The last of the owner's accesses. NULL is ignored. */
void vblk_metrics_leave(struct vblk_metrics_shard *shard);

VBLK_ALWAYS_INLINE void vblk_metrics_step(_Atomic uint64_t *cell, uint64_t n)
{
	atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/*
 * A request succeeded. `bytes` are those that came from the backing (they may be none), that were
 * written, or that the ranges have; of a flush, none. Without a shard any thread may.
 */
VBLK_ALWAYS_INLINE void vblk_metrics_add_completed(struct vblk_metrics *metrics,
						   struct vblk_metrics_shard *shard,
						   enum vblk_metrics_op op, uint64_t bytes)
{
	if (shard) {
		vblk_metrics_step(&shard->completed.requests[op], 1);
		vblk_metrics_step(&shard->completed.bytes[op], bytes);
	} else {
		vblk_metrics_count(&metrics->completed.requests[op], 1);
		vblk_metrics_count(&metrics->completed.bytes[op], bytes);
	}
}

VBLK_ALWAYS_INLINE void vblk_metrics_cells_add(struct vblk_metrics_cells *cells, uint64_t value)
{
	unsigned bucket = vblk_bucket_of(value, VBLK_METRICS_BUCKET_BITS);

	if (bucket >= VBLK_METRICS_BUCKETS)
		bucket = VBLK_METRICS_BUCKETS - 1;
	vblk_metrics_step(&cells->bucket[bucket], 1);
	vblk_metrics_step(&cells->sum, value);
	if (value > atomic_load_explicit(&cells->highest, memory_order_relaxed))
		atomic_store_explicit(&cells->highest, value, memory_order_relaxed);
}

/* A request has spent `ns` in a phase. The owner of the shard, which may be NULL. */
VBLK_ALWAYS_INLINE void vblk_metrics_record(struct vblk_metrics_shard *shard,
					    enum vblk_metrics_op op, enum vblk_metrics_phase phase,
					    uint64_t ns)
{
	if (shard)
		vblk_metrics_cells_add(&shard->latency[op][phase], ns);
}

/* The bytes of a request whose VBLK_PHASE_SERVED is recorded. */
VBLK_ALWAYS_INLINE void vblk_metrics_record_bytes(struct vblk_metrics_shard *shard,
						  enum vblk_metrics_op op, uint64_t bytes)
{
	if (shard)
		vblk_metrics_cells_add(&shard->request_bytes[op], bytes);
}

/* So many chains were taken in one look at the queue; none is not recorded. */
static inline void vblk_metrics_record_depth(struct vblk_metrics_shard *shard, uint64_t chains)
{
	if (shard && chains > 0)
		vblk_metrics_cells_add(&shard->depth, chains);
}

#endif
