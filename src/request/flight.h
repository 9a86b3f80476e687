/* SPDX-License-Identifier: MIT */
/*
 * A request on its way through the disk: which calls to the backing it takes, one behind the other,
 * and what their results mean.
 *
 * A flight makes no call itself. It says which one is next, and is told how it ended, so the same
 * rules (short results, end of file, EINTR, the order of a write and what makes it stable, ranges
 * cut into steps) hold for who makes each call at once and for who has many of them under way.
 *
 *     for (more = vblk_flight_start(io, flight); more; more = vblk_flight_next(io, flight, ret))
 *             ret = the result of flight->call;
 *     flight->transfer says how it went
 *
 * Neither rings nor counters are touched. Zeros behind the end of a file are stored under a hold of
 * the lease for a piece at a time; otherwise the lease is only looked at, before each call: a
 * worker that has lost it starts nothing any more, and neither does one whose guest memory was
 * lost (memory/memory.h), which may hold zeros in the place of what was to be written.
 */
#ifndef VBLK_REQUEST_FLIGHT_H
#define VBLK_REQUEST_FLIGHT_H

#include <errno.h>

#include "backing/call.h"
#include "base/checked.h"
#include "base/inline.h"
#include "request/io.h"
#include "request/iovec.h"
#include "request/label.h"

/* One call concerns at most so many bytes of a range of DISCARD or WRITE_ZEROES. */
#define VBLK_RANGE_STEP_MAX (64u << 20)

/* What the call in hand is for. */
enum vblk_leg {
	VBLK_LEG_READ,
	VBLK_LEG_WRITE,
	VBLK_LEG_DISCARD,
	VBLK_LEG_ZERO,
	VBLK_LEG_WRITE_ZEROS, /* a step of WRITE_ZEROES that the backing cannot do by itself */
	VBLK_LEG_SYNC,
};

struct vblk_flight {
	enum vblk_leg leg;
	unsigned interrupts; /* -EINTR seen so far */
	struct vblk_call call;
	struct vblk_transfer transfer;
	uint64_t offset; /* of the data on the disk */

	/* For who has many of them (request/air.h). */
	bool airborne;	  /* somebody else makes the call */
	uint32_t charged; /* bytes of the request, once it has been airborne */
	struct vblk_flight *next_spare;

	/* DISCARD and WRITE_ZEROES: what is left of the range in hand. */
	uint16_t ranges_begun;
	uint64_t range_offset;
	uint64_t range_left;
	uint64_t step_left; /* of the step in hand */

	uint64_t since_ns;	     /* for the owner: when it was handed to the disk */
	struct vblk_label label;     /* for the owner: all zeros is clear */
	struct vblk_request request; /* set by the owner before the start */
	struct vblk_iovecs iovecs;
};

static inline bool vblk_flight_fail(struct vblk_flight *flight, int error)
{
	flight->transfer.error = error;
	return false;
}

static inline bool vblk_flight_fail_with(struct vblk_flight *flight, int error, const char *what)
{
	flight->transfer.what = what;
	return vblk_flight_fail(flight, error);
}

/*
 * Whether there is no going on: this worker was given up, or memory was lost, and with it what the
 * request is about, or the data that it would write.
 */
VBLK_ALWAYS_INLINE bool vblk_flight_must_stop(const struct vblk_io *io)
{
	return vblk_lease_is_revoked(io->lease) || vblk_memory_view_has_failed(io->view);
}

/* The call that was prepared may be made, unless it is too late for it. */
VBLK_ALWAYS_INLINE bool vblk_flight_go(const struct vblk_io *io, struct vblk_flight *flight)
{
	return vblk_flight_must_stop(io) ? vblk_flight_fail(flight, -ECANCELED) : true;
}

/* What every start begins with. */
static inline void vblk_flight_begin(struct vblk_flight *flight)
{
	flight->interrupts = 0;
	flight->transfer = (struct vblk_transfer){ .error = 0 };
}

/* The first step of a read or write: finds its place on the disk. False: it has none. */
VBLK_MUST_USE VBLK_ALWAYS_INLINE bool vblk_flight_place(const struct vblk_io *io,
							struct vblk_flight *flight)
{
	const struct vblk_request *request = &flight->request;
	uint64_t end;

	if (vblk_mul_u64(request->sector, VBLK_SECTOR_SIZE, &flight->offset) &&
	    vblk_add_u64(flight->offset, request->data_len, &end) &&
	    end <= vblk_disk_capacity(io->disk))
		return true;
	return vblk_flight_fail_with(flight, -ERANGE, "request is past the end of the disk");
}

/* The second: maps its data, and prepares the call for it. False: it is not in guest memory. */
VBLK_MUST_USE bool vblk_flight_map(struct vblk_io *io, struct vblk_flight *flight);

/*
 * Starts on flight->request, which parsed to VBLK_ACTION_RUN. Not while the lease is held. Returns
 * true: make flight->call. False: it is over, flight->transfer says how it went.
 */
VBLK_MUST_USE bool vblk_flight_start(struct vblk_io *io, struct vblk_flight *flight);

/* Goes on behind the call, which returned `result`. Returns as vblk_flight_start. */
VBLK_MUST_USE bool vblk_flight_next(struct vblk_io *io, struct vblk_flight *flight, ssize_t result);

/* Makes call after call, this one first. */
void vblk_flight_finish(struct vblk_io *io, struct vblk_flight *flight);

/* From start to end, on this thread. */
static inline void vblk_flight_carry_out(struct vblk_io *io, struct vblk_flight *flight)
{
	if (vblk_flight_start(io, flight))
		vblk_flight_finish(io, flight);
}

#endif
