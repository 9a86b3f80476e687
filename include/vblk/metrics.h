/* SPDX-License-Identifier: MIT */
/*
 * Counters of a device, readable at any time from any thread without slowing the device down.
 *
 * All start at 0 when the device is created and only grow (a reset of the device does not clear
 * them), except `throttled_now`, which is a gauge. Each value is exact; values read together
 * need not be of the same instant.
 */
#ifndef VBLK_METRICS_H
#define VBLK_METRICS_H

#include <vblk/types.h>

VBLK_BEGIN_DECLS

struct vblk_metrics_snapshot {
	uint64_t reads_completed;    /* VIRTIO_BLK_T_IN requests that succeeded */
	uint64_t bytes_read;	     /* bytes the backing gave for them, zero fill not counted */
	uint64_t writes_completed;   /* VIRTIO_BLK_T_OUT requests that were written in full */
	uint64_t bytes_written;	     /* bytes of those */
	uint64_t flushes_completed;  /* VIRTIO_BLK_T_FLUSH requests that succeeded */
	uint64_t discards_completed; /* VIRTIO_BLK_T_DISCARD requests that succeeded */
	uint64_t bytes_discarded;    /* bytes of their ranges */
	uint64_t write_zeroes_completed; /* VIRTIO_BLK_T_WRITE_ZEROES requests that succeeded */
	uint64_t bytes_zeroed;		 /* bytes of their ranges */
	uint64_t throttled;		 /* times that a request had to wait for tokens */
	uint64_t io_errors;	    /* events: rejected chains, failed I/O, failed publishing */
	uint64_t invalid_avail_idx; /* queues poisoned by an impossible avail.idx */
	uint64_t throttled_now;	    /* gauge: queues whose next request waits for tokens */
	uint64_t notifications;	    /* wake-ups of the engine by a driver's notification */
	uint64_t interrupts;	    /* interrupts raised towards the driver */
};

/* Reads every counter. Lock-free, any thread. */
VBLK_API void vblk_metrics_read(const struct vblk_metrics *metrics,
				struct vblk_metrics_snapshot *snapshot);

/* Takes one more reference; the counters then outlive their device. Returns its argument. */
VBLK_API struct vblk_metrics *vblk_metrics_ref(struct vblk_metrics *metrics);

/* Gives one reference back. NULL is ignored. */
VBLK_API void vblk_metrics_unref(struct vblk_metrics *metrics);

VBLK_END_DECLS

#endif
