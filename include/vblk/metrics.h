/* SPDX-License-Identifier: MIT */
/*
 * What a device has done: counters (struct vblk_metrics_snapshot), and in struct
 * vblk_metrics_detail how long requests took, how large they were, and why some of them failed.
 * Readable at any time from any thread without slowing the device down.
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

/* What requests ask for. Types that nobody knows are none of these: VBLK_ERROR_UNSUPPORTED. */
enum vblk_metrics_op {
	VBLK_OP_READ,
	VBLK_OP_WRITE,
	VBLK_OP_FLUSH,
	VBLK_OP_DISCARD,
	VBLK_OP_WRITE_ZEROES,
	VBLK_OP_GET_ID,
	VBLK_METRICS_OPS, /* how many there are */
};

/*
 * Where the time of a request goes. When the driver made it available cannot be seen by a device;
 * the first thing that can is the moment at which the device began to look at the queue.
 */
enum vblk_metrics_phase {
	/* From the moment the device began to look until this request was taken from the ring. */
	VBLK_PHASE_QUEUED,
	/* From the first refusal for lack of tokens until it passed. Who never waited is not here.
	 */
	VBLK_PHASE_THROTTLED,
	/*
	 * From the moment it was taken, or passed, until its answer was in the used ring. Also
	 * requests that were carried out and failed; not those that a gate refused.
	 */
	VBLK_PHASE_SERVED,
	VBLK_METRICS_PHASES, /* how many there are */
};

/* Why. Those up to VBLK_ERROR_OPEN are counted by io_errors, or by invalid_avail_idx, too. */
enum vblk_metrics_error {
	/* What the driver asked for is no request. */
	VBLK_ERROR_CHAIN,     /* there is nowhere to write a status, or it is too long: dropped */
	VBLK_ERROR_STATUS,    /* the status byte is not in guest memory: dropped */
	VBLK_ERROR_HEADER,    /* no 16 readable bytes in guest memory */
	VBLK_ERROR_DATA,      /* longer than size_max, or past the end of the address space */
	VBLK_ERROR_LENGTH,    /* none, no whole sectors, or too little room for the serial number */
	VBLK_ERROR_DIRECTION, /* readable where writable is wanted, or the other way round */
	VBLK_ERROR_READ_ONLY, /* a change of a disk that cannot be changed */
	VBLK_ERROR_RANGES,    /* of a discard or write-zeroes: none, too many, too long */
	/* It is one, and could not be carried out. */
	VBLK_ERROR_BEYOND_END, /* of the disk */
	VBLK_ERROR_MEMORY,     /* its data are not in guest memory */
	VBLK_ERROR_IO,	       /* the host: EIO, or a backing that contradicts itself */
	VBLK_ERROR_SPACE,      /* the host: no space, quota or file size left */
	VBLK_ERROR_ACCESS,     /* the host: not permitted, read-only, a descriptor that is none */
	VBLK_ERROR_OTHER,      /* the host: any other errno */
	VBLK_ERROR_PUBLISH,    /* the answer could not be written to the used ring */
	VBLK_ERROR_INTERRUPT,  /* the interrupt could not be raised */
	/* The queue is broken, and is not served any more. */
	VBLK_ERROR_AVAIL_INDEX, /* an impossible avail.idx; in invalid_avail_idx, not io_errors */
	VBLK_ERROR_AVAIL_RING,	/* none, or not in guest memory */
	VBLK_ERROR_HEAD,	/* a head that is in flight was made available again */
	VBLK_ERROR_NOTIFY,	/* the driver cannot be asked to notify */
	VBLK_ERROR_OPEN,	/* the used ring or the record of requests in flight is unusable */
	/* Answered with VIRTIO_BLK_S_UNSUPP. */
	VBLK_ERROR_UNSUPPORTED,
	VBLK_METRICS_ERRORS, /* how many there are */
};

/*
 * How often which value was seen. Buckets are log-linear, 16 per power of two: bucket i < 16 holds
 * the value i; bucket i >= 16 holds, with s = i / 16 - 1, the 2^s values that end with
 * (16 + i % 16) * 2^s + 2^s - 1 (vblk_metrics_bucket_last). The last bucket holds everything above
 * 2^38 - 1 too, which are 274 seconds of nanoseconds, or 256 GiB. So what is read from the buckets
 * is too high by at most 1/16 (6.25 %) of the value, and exact below 32.
 *
 * The number of values is the sum over the buckets. `sum` and `highest` are exact.
 */
#define VBLK_METRICS_BUCKET_BITS 4u
#define VBLK_METRICS_BUCKETS	 560u

struct vblk_metrics_histogram {
	uint64_t sum; /* modulo 2^64 */
	uint64_t highest;
	uint64_t bucket[VBLK_METRICS_BUCKETS];
};

/* Some 112 KiB: keep it on the heap. Later versions may be longer, and begin with this. */
struct vblk_metrics_detail {
	/*
	 * In: sizeof(struct vblk_metrics_detail) of whoever calls. Out: how many bytes of it are
	 * known to the library; those behind them are 0.
	 */
	uint64_t size;
	struct vblk_metrics_histogram latency[VBLK_METRICS_OPS][VBLK_METRICS_PHASES]; /* ns */
	/*
	 * Bytes of the requests in latency[][VBLK_PHASE_SERVED]: those of the data, or of the
	 * ranges of a discard or write-zeroes; 0 for a flush.
	 */
	struct vblk_metrics_histogram request_bytes[VBLK_METRICS_OPS];
	/* Chains that the device took when it looked at a queue; looks that found none are not
	 * here. */
	struct vblk_metrics_histogram depth;
	uint64_t errors[VBLK_METRICS_ERRORS];
};

/*
 * Reads all of it, summed over the device's queues. Lock-free, any thread. Returns 0, or -EINVAL
 * for a size that no version of the structure has.
 */
VBLK_API VBLK_MUST_USE int vblk_metrics_read_detail(const struct vblk_metrics *metrics,
						    struct vblk_metrics_detail *detail);

/* The highest value of a bucket; UINT64_MAX for the last, and for what is none. */
VBLK_API uint64_t vblk_metrics_bucket_last(unsigned bucket);

/*
 * The value that at least `share` of all values do not exceed, 0.5 for the median: the end of its
 * bucket, but never above the highest. 0 if there are no values.
 */
VBLK_API uint64_t vblk_metrics_quantile(const struct vblk_metrics_histogram *histogram,
					double share);

/* How many values there are. */
VBLK_API uint64_t vblk_metrics_values(const struct vblk_metrics_histogram *histogram);

/* "write_zeroes", "throttled", "beyond_end": words of [a-z_]; "unknown" for what is none. */
VBLK_API const char *vblk_metrics_op_name(enum vblk_metrics_op op);
VBLK_API const char *vblk_metrics_phase_name(enum vblk_metrics_phase phase);
VBLK_API const char *vblk_metrics_error_name(enum vblk_metrics_error error);

/* Takes one more reference; the counters then outlive their device. Returns its argument. */
VBLK_API struct vblk_metrics *vblk_metrics_ref(struct vblk_metrics *metrics);

/* Gives one reference back. NULL is ignored. */
VBLK_API void vblk_metrics_unref(struct vblk_metrics *metrics);

VBLK_END_DECLS

#endif
