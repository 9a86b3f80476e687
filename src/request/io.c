/* SPDX-License-Identifier: MIT */
/* Reads, writes, flushes and the serial number. */
#include "request/io.h"

#include <errno.h>

#include "backing/backing.h"
#include "base/checked.h"
#include "base/log.h"
#include "metrics/metrics.h"
#include "request/attempt.h"
#include "request/ranges.h"

static struct vblk_transfer failed(int error, const char *what)
{
	return (struct vblk_transfer){ .error = error, .what = what };
}

/* Finds the request's place on the disk and maps its data. */
static int prepare(struct vblk_io *io, const struct vblk_request *request, uint64_t *offset,
		   const char **what)
{
	uint64_t end;

	if (!vblk_mul_u64(request->sector, VBLK_SECTOR_SIZE, offset) ||
	    !vblk_add_u64(*offset, request->data_len, &end) || end > vblk_disk_capacity(io->disk)) {
		*what = "request is past the end of the disk";
		return -ERANGE;
	}
	if (vblk_iovecs_start(&io->iovecs, request, io->view) < 0) {
		*what = "data is not in guest memory";
		return -EFAULT;
	}
	return 0;
}

typedef ssize_t (*vector_fn)(struct vblk_backing *backing, const struct iovec *iov, int count,
			     uint64_t offset);

/*
 * Calls `move` until all data has moved, it makes no progress (a return of 0), or it fails. Short
 * results are continued. Returns 0 and the bytes moved in *done, or a negative errno.
 */
static int move_all(struct vblk_io *io, const struct vblk_request *request, vector_fn move,
		    uint64_t offset, uint32_t *done)
{
	struct vblk_iovecs *iovecs = &io->iovecs;

	*done = 0;
	while (*done < request->data_len) {
		ssize_t ret;

		if (vblk_lease_is_revoked(io->lease))
			return -ECANCELED;
		ret = move(io->disk->backing, &iovecs->vec[iovecs->first], (int)iovecs->count,
			   offset + *done);
		if (vblk_io_is_interrupted(io, ret))
			continue;
		if (ret < 0)
			return vblk_io_errno(ret);
		if (ret == 0)
			return 0;
		/* More than was asked for: the backing is broken, and so is what it counted. */
		if ((uint64_t)ret > iovecs->bytes)
			return -EIO;
		vblk_iovecs_advance(iovecs, (uint64_t)ret);
		*done += (uint32_t)ret;
	}
	return 0;
}

static int sync_backing(struct vblk_io *io)
{
	int ret;

	do {
		if (vblk_lease_is_revoked(io->lease))
			return -ECANCELED;
		ret = vblk_backing_sync(io->disk->backing);
	} while (vblk_io_is_interrupted(io, ret));
	return vblk_io_result(ret);
}

/* Stores zeros, giving whoever wants the lease back a chance after each step. */
static int zero_range(struct vblk_io *io, uint64_t address, uint32_t length)
{
	int ret = 0;

	while (length > 0 && ret == 0) {
		uint32_t step = (uint32_t)vblk_min_u64(length, VBLK_ZERO_STEP_MAX);

		if (!vblk_lease_hold(io->lease))
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
		ret = zero_range(io, segment->addr + from, segment->len - from);
		from = 0;
	}
	return ret;
}

/* The host's calls wrote to guest memory behind the view's back; a call that failed may have. */
static void record_writes(struct vblk_io *io, const struct vblk_request *request)
{
	if (!io->view->dirty)
		return;
	for (uint16_t i = 0; i < request->segment_count; i++)
		vblk_dirty_mark(io->view->dirty, request->segment[i].addr, request->segment[i].len);
}

static struct vblk_transfer transfer_in(struct vblk_io *io, const struct vblk_request *request)
{
	struct vblk_transfer transfer = { .what = "read failed" };
	uint64_t offset;

	transfer.error = prepare(io, request, &offset, &transfer.what);
	if (transfer.error < 0)
		return transfer;
	transfer.error = move_all(io, request, vblk_backing_preadv, offset, &transfer.done);
	record_writes(io, request);
	if (transfer.error < 0)
		return transfer;
	transfer.what = "cannot fill with zeros";
	transfer.error = zero_from(io, request, transfer.done);
	return transfer;
}

/* What comes after the bytes of a change, if the driver cannot flush. */
static void make_stable(struct vblk_io *io, struct vblk_transfer *transfer)
{
	if (transfer->error < 0 ||
	    !(io->stable_writes ||
	      atomic_load_explicit(&io->disk->write_through, memory_order_relaxed)))
		return;
	transfer->what = "write could not be made stable";
	transfer->error = sync_backing(io);
}

static struct vblk_transfer transfer_ranges(struct vblk_io *io, const struct vblk_request *request)
{
	struct vblk_transfer transfer = vblk_ranges_transfer(io, request);

	make_stable(io, &transfer);
	return transfer;
}

static struct vblk_transfer transfer_out(struct vblk_io *io, const struct vblk_request *request)
{
	struct vblk_transfer transfer = { .what = "write failed" };
	uint64_t offset;

	transfer.error = prepare(io, request, &offset, &transfer.what);
	if (transfer.error < 0)
		return transfer;
	transfer.error = move_all(io, request, vblk_backing_pwritev, offset, &transfer.done);
	if (transfer.error < 0)
		return transfer;
	if (transfer.done < request->data_len)
		return failed(-EIO, "write made no progress");
	make_stable(io, &transfer);
	return transfer;
}

struct vblk_transfer vblk_io_transfer(struct vblk_io *io, const struct vblk_request *request)
{
	io->interrupts = 0;
	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		return transfer_in(io, request);
	case VIRTIO_BLK_T_OUT:
		return transfer_out(io, request);
	case VIRTIO_BLK_T_FLUSH:
		return (struct vblk_transfer){ .error = sync_backing(io), .what = "flush failed" };
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return transfer_ranges(io, request);
	default: /* GET_ID has all it needs */
		return (struct vblk_transfer){ .error = 0 };
	}
}

const char *vblk_io_name(const struct vblk_request *request)
{
	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		return "read";
	case VIRTIO_BLK_T_OUT:
		return "write";
	case VIRTIO_BLK_T_FLUSH:
		return "flush";
	case VIRTIO_BLK_T_DISCARD:
		return "discard";
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return "write zeroes";
	default:
		return "get-id";
	}
}

/* Writes the serial number into the data, which may be cut into any number of segments. */
static int write_serial(struct vblk_io *io, const struct vblk_request *request)
{
	const uint8_t *serial = io->disk->serial;
	uint32_t left = VIRTIO_BLK_ID_BYTES;

	if (request->data_len < VIRTIO_BLK_ID_BYTES)
		return -ENOSPC;
	for (uint16_t i = 0; left > 0; i++) {
		const struct vblk_segment *segment = &request->segment[i];
		uint32_t part = (uint32_t)vblk_min_u64(segment->len, left);

		if (vblk_memory_copy_out(io->view, segment->addr, serial, part) < 0)
			return -EFAULT;
		serial += part;
		left -= part;
	}
	return 0;
}

static struct vblk_answer answer_error(struct vblk_io *io, int error, const char *what)
{
	vblk_metrics_add_io_error(io->metrics);
	return (struct vblk_answer){ VIRTIO_BLK_S_IOERR, 1, error, what };
}

void vblk_io_log(const struct vblk_io *io, const struct vblk_request *request,
		 const struct vblk_answer *answer)
{
	if (answer->error == 0)
		return;
	vblk_log_emit_limited(
		io->log, io->log_limit, vblk_clock_now(io->clock), VBLK_LOG_WARN, answer->what,
		VBLK_FIELD_UINT("instance", io->instance), VBLK_FIELD_UINT("queue", io->index),
		VBLK_FIELD_UINT("head", request->head), VBLK_FIELD_UINT("type", request->type),
		VBLK_FIELD_UINT("sector", request->sector),
		VBLK_FIELD_UINT("bytes", request->data_len),
		VBLK_FIELD_INT("error", answer->error));
}

struct vblk_answer vblk_io_complete(struct vblk_io *io, const struct vblk_request *request,
				    const struct vblk_transfer *transfer)
{
	uint32_t used_len = 1;
	int ret;

	if (transfer->error < 0)
		return answer_error(io, transfer->error, transfer->what);
	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		vblk_metrics_add_read(io->metrics, transfer->done);
		used_len += request->data_len;
		break;
	case VIRTIO_BLK_T_OUT:
		vblk_metrics_add_write(io->metrics, request->data_len);
		break;
	case VIRTIO_BLK_T_FLUSH:
		vblk_metrics_add_flush(io->metrics);
		break;
	case VIRTIO_BLK_T_DISCARD:
		vblk_metrics_add_discard(io->metrics, vblk_request_range_bytes(request));
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		vblk_metrics_add_write_zeroes(io->metrics, vblk_request_range_bytes(request));
		break;
	default:
		ret = write_serial(io, request);
		if (ret < 0)
			return answer_error(io, ret, "cannot write the serial number");
		used_len += VIRTIO_BLK_ID_BYTES;
		break;
	}
	return (struct vblk_answer){ .status = VIRTIO_BLK_S_OK, .used_len = used_len };
}
