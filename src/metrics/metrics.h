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
 */
#ifndef VBLK_METRICS_METRICS_H
#define VBLK_METRICS_METRICS_H

#include <vblk/metrics.h>

#include <stdalign.h>
#include <stdatomic.h>

#define VBLK_METRICS_ALIGN 64

struct vblk_metrics {
	/* On a line of its own: taking references must not disturb the recording thread. */
	alignas(VBLK_METRICS_ALIGN) atomic_uint refs;

	/* Private names are those of struct vblk_metrics_snapshot, which says what they mean. */
	alignas(VBLK_METRICS_ALIGN) _Atomic uint64_t reads_completed;
	_Atomic uint64_t bytes_read;
	_Atomic uint64_t writes_completed;
	_Atomic uint64_t bytes_written;
	_Atomic uint64_t flushes_completed;
	_Atomic uint64_t discards_completed;
	_Atomic uint64_t bytes_discarded;
	_Atomic uint64_t write_zeroes_completed;
	_Atomic uint64_t bytes_zeroed;
	_Atomic uint64_t throttled;
	_Atomic uint64_t io_errors;
	_Atomic uint64_t invalid_avail_idx;
	_Atomic uint64_t throttled_now;
	_Atomic uint64_t notifications;
	_Atomic uint64_t interrupts;
};

/* All counters 0, one reference. Returns 0 or -ENOMEM. */
VBLK_MUST_USE int vblk_metrics_create(struct vblk_metrics **metrics);

static inline void vblk_metrics_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* An IN request succeeded; `bytes` came from the backing, which may be none. */
static inline void vblk_metrics_add_read(struct vblk_metrics *metrics, uint64_t bytes)
{
	vblk_metrics_count(&metrics->reads_completed, 1);
	vblk_metrics_count(&metrics->bytes_read, bytes);
}

/* An OUT request was written in full, all of its `bytes`, which may be none. */
static inline void vblk_metrics_add_write(struct vblk_metrics *metrics, uint64_t bytes)
{
	vblk_metrics_count(&metrics->writes_completed, 1);
	vblk_metrics_count(&metrics->bytes_written, bytes);
}

static inline void vblk_metrics_add_flush(struct vblk_metrics *metrics)
{
	vblk_metrics_count(&metrics->flushes_completed, 1);
}

static inline void vblk_metrics_add_discard(struct vblk_metrics *metrics, uint64_t bytes)
{
	vblk_metrics_count(&metrics->discards_completed, 1);
	vblk_metrics_count(&metrics->bytes_discarded, bytes);
}

static inline void vblk_metrics_add_write_zeroes(struct vblk_metrics *metrics, uint64_t bytes)
{
	vblk_metrics_count(&metrics->write_zeroes_completed, 1);
	vblk_metrics_count(&metrics->bytes_zeroed, bytes);
}

/* A request was refused for lack of tokens, for the first time or again. */
static inline void vblk_metrics_add_throttled(struct vblk_metrics *metrics)
{
	vblk_metrics_count(&metrics->throttled, 1);
}

static inline void vblk_metrics_add_io_error(struct vblk_metrics *metrics)
{
	vblk_metrics_count(&metrics->io_errors, 1);
}

static inline void vblk_metrics_add_invalid_avail_idx(struct vblk_metrics *metrics)
{
	vblk_metrics_count(&metrics->invalid_avail_idx, 1);
}

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

#endif
