/* SPDX-License-Identifier: MIT */
/*
 * The way of a request, leg by leg.
 *
 *     IN             READ until all is there or the file ends; zeros behind its end
 *     OUT            WRITE until all is stored; SYNC if the driver cannot flush
 *     FLUSH          SYNC
 *     DISCARD        DISCARD, step by step through each range; SYNC as OUT
 *     WRITE_ZEROES   ZERO, likewise; a step that the backing cannot do is written: WRITE_ZEROS
 *     GET_ID         nothing: it has all it needs
 *
 * All ranges of a request are held against the end of the disk before the first of them is touched.
 * A discard that the backing cannot do has succeeded: it was a hint (specification 5.2.6.2 promises
 * nothing about the content afterwards).
 */
#include "request/flight.h"

#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/inline.h"

/* Zeros for a backing that cannot make them: the same page in every vector of a write. */
#define ZERO_BYTES 4096u
#define ZERO_STEP  ((uint64_t)ZERO_BYTES * VBLK_IOVEC_MAX)

static const _Alignas(ZERO_BYTES) uint8_t zeros[ZERO_BYTES];

/* A negative result as an errno; one that is none would not survive the narrower type. */
static int as_errno(ssize_t result)
{
	const ssize_t errno_max = 4095;

	return result < -errno_max ? -EIO : (int)result;
}

/* The result of a call that has nothing to count, and so may not be positive. */
static int as_result(ssize_t result)
{
	return result > 0 ? -EIO : as_errno(result);
}

/* Whether the call should be made again; counts up to the limit. */
static bool is_interrupted(struct vblk_flight *flight, ssize_t result)
{
	return result == -EINTR && ++flight->interrupts <= VBLK_EINTR_MAX;
}

/* ---- making a change stable ---- */

static bool start_sync(const struct vblk_io *io, struct vblk_flight *flight, const char *what)
{
	flight->leg = VBLK_LEG_SYNC;
	flight->transfer.what = what;
	flight->call = (struct vblk_call){ .op = VBLK_CALL_SYNC };
	return vblk_flight_go(io, flight);
}

/* What comes after the bytes of a change, if the driver cannot flush. */
static bool make_stable(const struct vblk_io *io, struct vblk_flight *flight)
{
	if (!vblk_io_makes_stable(io))
		return false;
	return start_sync(io, flight, "write could not be made stable");
}

/* ---- reading and writing ---- */

static void prepare_window(struct vblk_flight *flight)
{
	struct vblk_iovecs *iovecs = &flight->iovecs;

	flight->call.iov = &iovecs->vec[iovecs->first];
	flight->call.count = (int)iovecs->count;
	flight->call.bytes = iovecs->bytes;
	flight->call.offset = flight->offset + flight->transfer.done;
}

static bool move_window(const struct vblk_io *io, struct vblk_flight *flight)
{
	prepare_window(flight);
	return vblk_flight_go(io, flight);
}

bool vblk_flight_map(struct vblk_io *io, struct vblk_flight *flight)
{
	const struct vblk_request *request = &flight->request;
	const bool reads = request->type == VIRTIO_BLK_T_IN;

	if (vblk_iovecs_start(&flight->iovecs, request, io->view) < 0)
		return vblk_flight_fail_with(flight, -EFAULT, "data is not in guest memory");
	flight->leg = reads ? VBLK_LEG_READ : VBLK_LEG_WRITE;
	flight->transfer.what = reads ? "read failed" : "write failed";
	flight->call.op = reads ? VBLK_CALL_PREADV : VBLK_CALL_PWRITEV;
	flight->call.result = 0;
	flight->call.staged = NULL;
	prepare_window(flight);
	return true;
}

static bool start_moving(struct vblk_io *io, struct vblk_flight *flight)
{
	return vblk_flight_place(io, flight) && vblk_flight_map(io, flight) &&
	       flight->request.data_len > 0 && vblk_flight_go(io, flight);
}

/* How a call of a read or write has ended. */
enum moved {
	MOVED_ALL,
	MOVED_SOME, /* the next window is prepared */
	MOVED_NONE, /* it made no progress */
	MOVED_FAILED,
};

VBLK_ALWAYS_INLINE enum moved take_move(struct vblk_flight *flight, ssize_t result)
{
	struct vblk_iovecs *iovecs = &flight->iovecs;

	/* The usual call: all that is left, at once. */
	if (result == flight->request.data_len - flight->transfer.done &&
	    (uint64_t)result == iovecs->bytes) {
		flight->transfer.done = flight->request.data_len;
		return MOVED_ALL;
	}
	if (is_interrupted(flight, result))
		return MOVED_SOME;
	if (result == 0)
		return MOVED_NONE;
	/* More than was asked for: the backing is broken, and so is what it counted. */
	if (result < 0 || (uint64_t)result > iovecs->bytes) {
		(void)vblk_flight_fail(flight, result < 0 ? as_errno(result) : -EIO);
		return MOVED_FAILED;
	}
	vblk_iovecs_advance(iovecs, (uint64_t)result);
	flight->transfer.done += (uint32_t)result;
	return flight->transfer.done < flight->request.data_len ? MOVED_SOME : MOVED_ALL;
}

/* Stores zeros, giving whoever wants the lease back a chance after each step. */
static int zero_segment(struct vblk_io *io, uint64_t address, uint32_t length)
{
	int ret = 0;

	while (length > 0 && ret == 0) {
		uint32_t step = (uint32_t)vblk_min_u64(length, VBLK_ZERO_STEP_MAX);

		if (vblk_flight_must_stop(io) || !vblk_lease_hold(io->lease))
			return -ECANCELED;
		ret = vblk_memory_zero(io->view, address, step);
		vblk_lease_release(io->lease);
		address += step;
		length -= step;
	}
	return ret;
}

/* Fills the data from byte `from` on with zeros: the disk goes on where its file has ended. */
static int zero_from(struct vblk_io *io, const struct vblk_request *request, uint32_t from)
{
	int ret = 0;

	for (uint16_t i = 0; i < request->segment_count && ret == 0; i++) {
		const struct vblk_segment *segment = &request->segment[i];

		if (from >= segment->len) {
			from -= segment->len;
			continue;
		}
		ret = zero_segment(io, segment->addr + from, segment->len - from);
		from = 0;
	}
	return ret;
}

/* The host's calls wrote to guest memory behind the view's back; a call that failed may have. */
static void record_writes(const struct vblk_io *io, const struct vblk_request *request)
{
	if (!io->view->dirty)
		return;
	for (uint16_t i = 0; i < request->segment_count; i++)
		vblk_dirty_mark(io->view->dirty, request->segment[i].addr, request->segment[i].len);
}

/*
 * Brings what was read to where it belongs, if it is elsewhere yet (backing/call.h). A few hundred
 * nanoseconds, of which the guest sees nothing if this worker was given up.
 */
static ssize_t fetch(const struct vblk_io *io, struct vblk_call *call, ssize_t result)
{
	const uint8_t *from = call->staged;
	uint64_t left;

	call->staged = NULL;
	if (!from || result <= 0 || (uint64_t)result > call->bytes)
		return result;
	if (!vblk_lease_hold(io->lease))
		return -ECANCELED;
	left = (uint64_t)result;
	for (const struct iovec *vec = call->iov; left > 0; vec++) {
		const uint64_t part = vblk_min_u64(vec->iov_len, left);

		memcpy(vec->iov_base, from, part);
		from += part;
		left -= part;
	}
	vblk_lease_release(io->lease);
	return result;
}

static bool next_read(struct vblk_io *io, struct vblk_flight *flight, ssize_t result)
{
	enum moved moved = take_move(flight, fetch(io, &flight->call, result));

	if (moved == MOVED_SOME && move_window(io, flight))
		return true;
	record_writes(io, &flight->request);
	if (moved != MOVED_NONE)
		return false;
	flight->transfer.what = "cannot fill with zeros";
	flight->transfer.error = zero_from(io, &flight->request, flight->transfer.done);
	return false;
}

static bool next_write(struct vblk_io *io, struct vblk_flight *flight, ssize_t result)
{
	switch (take_move(flight, result)) {
	case MOVED_SOME:
		return move_window(io, flight);
	case MOVED_ALL:
		return make_stable(io, flight);
	case MOVED_NONE:
		return vblk_flight_fail_with(flight, -EIO, "write made no progress");
	case MOVED_FAILED:
		break;
	}
	return false;
}

/* ---- ranges ---- */

static bool is_on_disk(const struct vblk_range *range, uint64_t capacity_bytes)
{
	uint64_t capacity = capacity_bytes / VBLK_SECTOR_SIZE;

	return range->sector <= capacity && range->sectors <= capacity - range->sector;
}

/* The next step of the range in hand; that of the next range if there is none. */
static bool step_on(const struct vblk_io *io, struct vblk_flight *flight)
{
	const struct vblk_request *request = &flight->request;
	const struct vblk_range *range;

	while (flight->range_left == 0) {
		if (flight->ranges_begun == request->range_count)
			return make_stable(io, flight);
		range = &request->range[flight->ranges_begun++];
		flight->range_offset = range->sector * VBLK_SECTOR_SIZE;
		flight->range_left = (uint64_t)range->sectors * VBLK_SECTOR_SIZE;
	}
	range = &request->range[flight->ranges_begun - 1];
	flight->step_left = vblk_min_u64(flight->range_left, VBLK_RANGE_STEP_MAX);
	flight->call = (struct vblk_call){
		.op = flight->leg == VBLK_LEG_DISCARD ? VBLK_CALL_DISCARD : VBLK_CALL_WRITE_ZEROES,
		.flags = range->unmap ? VBLK_ZEROES_UNMAP : 0,
		.offset = flight->range_offset,
		.bytes = flight->step_left,
	};
	return vblk_flight_go(io, flight);
}

static bool start_ranges(const struct vblk_io *io, struct vblk_flight *flight, enum vblk_leg leg,
			 const char *what)
{
	const struct vblk_request *request = &flight->request;
	uint64_t capacity = vblk_disk_capacity(io->disk);

	for (uint16_t i = 0; i < request->range_count; i++) {
		if (!is_on_disk(&request->range[i], capacity))
			return vblk_flight_fail_with(flight, -ERANGE,
						     "range is past the end of the disk");
	}
	flight->leg = leg;
	flight->transfer.what = what;
	flight->ranges_begun = 0;
	flight->range_left = 0;
	return step_on(io, flight);
}

static void step_done(struct vblk_flight *flight, uint64_t bytes)
{
	flight->range_offset += bytes;
	flight->range_left -= bytes;
	flight->step_left -= bytes;
}

static bool next_discard(const struct vblk_io *io, struct vblk_flight *flight, ssize_t result)
{
	if (is_interrupted(flight, result))
		return vblk_flight_go(io, flight);
	if (result != 0 && result != -EOPNOTSUPP)
		return vblk_flight_fail(flight, as_result(result));
	step_done(flight, flight->call.bytes);
	return step_on(io, flight);
}

/* Vectors that all name the same zeros, for what is left of the step in hand. */
static bool write_zeros(const struct vblk_io *io, struct vblk_flight *flight)
{
	uint64_t bytes = vblk_min_u64(flight->step_left, ZERO_STEP);
	struct iovec *vec = flight->iovecs.vec;
	int count = 0;

	for (uint64_t left = bytes; left > 0; count++) {
		vec[count].iov_base = (void *)(uintptr_t)zeros;
		vec[count].iov_len = vblk_min_u64(left, ZERO_BYTES);
		left -= vec[count].iov_len;
	}
	flight->leg = VBLK_LEG_WRITE_ZEROS;
	flight->call = (struct vblk_call){
		.op = VBLK_CALL_PWRITEV,
		.iov = vec,
		.count = count,
		.offset = flight->range_offset,
		.bytes = bytes,
	};
	return vblk_flight_go(io, flight);
}

static bool next_zero(const struct vblk_io *io, struct vblk_flight *flight, ssize_t result)
{
	if (is_interrupted(flight, result))
		return vblk_flight_go(io, flight);
	if (result == -EOPNOTSUPP)
		return write_zeros(io, flight);
	if (result != 0)
		return vblk_flight_fail(flight, as_result(result));
	step_done(flight, flight->call.bytes);
	return step_on(io, flight);
}

/* The backing is asked anew at each step: it may make the zeros of the next one by itself. */
static bool next_write_zeros(const struct vblk_io *io, struct vblk_flight *flight, ssize_t result)
{
	if (is_interrupted(flight, result))
		return vblk_flight_go(io, flight);
	if (result < 0)
		return vblk_flight_fail(flight, as_errno(result));
	/* No progress, or more than was asked for. */
	if (result == 0 || (uint64_t)result > flight->call.bytes)
		return vblk_flight_fail(flight, -EIO);
	step_done(flight, (uint64_t)result);
	if (flight->step_left > 0)
		return write_zeros(io, flight);
	flight->leg = VBLK_LEG_ZERO;
	return step_on(io, flight);
}

/* ---- all of them ---- */

bool vblk_flight_start(struct vblk_io *io, struct vblk_flight *flight)
{
	vblk_flight_begin(flight);
	switch (flight->request.type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		return start_moving(io, flight);
	case VIRTIO_BLK_T_FLUSH:
		return start_sync(io, flight, "flush failed");
	case VIRTIO_BLK_T_DISCARD:
		return start_ranges(io, flight, VBLK_LEG_DISCARD, "discard failed");
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return start_ranges(io, flight, VBLK_LEG_ZERO, "write zeroes failed");
	default: /* GET_ID has all it needs */
		return false;
	}
}

bool vblk_flight_next(struct vblk_io *io, struct vblk_flight *flight, ssize_t result)
{
	switch (flight->leg) {
	case VBLK_LEG_READ:
		return next_read(io, flight, result);
	case VBLK_LEG_WRITE:
		return next_write(io, flight, result);
	case VBLK_LEG_DISCARD:
		return next_discard(io, flight, result);
	case VBLK_LEG_ZERO:
		return next_zero(io, flight, result);
	case VBLK_LEG_WRITE_ZEROS:
		return next_write_zeros(io, flight, result);
	case VBLK_LEG_SYNC:
		break;
	}
	if (is_interrupted(flight, result))
		return vblk_flight_go(io, flight);
	flight->transfer.error = as_result(result);
	return false;
}

void vblk_flight_finish(struct vblk_io *io, struct vblk_flight *flight)
{
	struct vblk_backing *backing = io->disk->backing;
	ssize_t result;

	do {
		result = vblk_backing_perform(backing, &flight->call);
	} while (vblk_flight_next(io, flight, result));
}
