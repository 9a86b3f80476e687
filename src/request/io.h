/* SPDX-License-Identifier: MIT */
/*
 * What a request needs to be carried out, and what its outcome means.
 *
 * The bytes are moved by request/flight.h, which may take as long as the host's disk likes. Here is
 * the rest: vblk_io_complete does the little that is left (serial number), counts, and says what to
 * publish. It never blocks, and runs only while the worker holds its lease.
 */
#ifndef VBLK_REQUEST_IO_H
#define VBLK_REQUEST_IO_H

#include "base/log.h"
#include "request/disk.h"
#include "request/lease.h"
#include "request/request.h"

/* How many times one request may be interrupted (-EINTR) before that is an error. */
#define VBLK_EINTR_MAX 16u

/* How many zero bytes are stored in one hold of the lease: some ten microseconds' worth. */
#define VBLK_ZERO_STEP_MAX (64u << 10)

struct vblk_metrics_shard;

struct vblk_io {
	const struct vblk_disk *disk;
	struct vblk_metrics_shard *shard; /* of its counters; NULL: none */
	/*
	 * The driver has no way to make its writes stable, so each of them is before it is answered
	 * (specification 5.2.6.2).
	 */
	bool stable_writes;
	struct vblk_memory_view *view;
	struct vblk_lease *lease;
	struct vblk_log_limit *log_limit;
	uint32_t index; /* which queue of the disk, for messages */
};

/* Whether what was written has to be made stable before it is answered. */
static inline bool vblk_io_makes_stable(const struct vblk_io *io)
{
	return io->stable_writes ||
	       atomic_load_explicit(&io->disk->write_through, memory_order_relaxed);
}

/* How the data of a request has fared. */
struct vblk_transfer {
	int error;	  /* 0 or a negative errno */
	const char *what; /* with an error: what failed, for the log */
	uint32_t done;	  /* bytes that the backing moved; behind them a read has zeros */
};

/* What a request that is carried out is called in messages. */
const char *vblk_io_name(const struct vblk_request *request);

/* What to publish. */
struct vblk_answer {
	uint8_t status;	   /* VIRTIO_BLK_S_* */
	uint32_t used_len; /* bytes written to the guest, the status byte included */
	int error;	   /* what went wrong, for vblk_io_log; 0: nothing */
	const char *what;
};

struct vblk_answer vblk_io_complete(struct vblk_io *io, const struct vblk_request *request,
				    const struct vblk_transfer *transfer);

/* As vblk_io_log, where something went wrong. */
void vblk_io_log_error(const struct vblk_io *io, const struct vblk_request *request,
		       const struct vblk_answer *answer);

/*
 * Logs what went wrong, if anything did and the limit lets it. Not while the lease is held: a log
 * callback may take its time.
 */
static inline void vblk_io_log(const struct vblk_io *io, const struct vblk_request *request,
			       const struct vblk_answer *answer)
{
	if (answer->error != 0)
		vblk_io_log_error(io, request, answer);
}

#endif
