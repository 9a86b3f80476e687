/* SPDX-License-Identifier: MIT */
/* The answer to a request: its status, its length, its place in the counters and the log. */
#include "request/io.h"

#include <errno.h>

#include "base/checked.h"
#include "metrics/metrics.h"

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

static struct vblk_answer answer_error(struct vblk_io *io, enum vblk_metrics_error reason,
				       int error, const char *what)
{
	vblk_metrics_add_error(io->disk->metrics, reason);
	return (struct vblk_answer){ VIRTIO_BLK_S_IOERR, 1, error, what };
}

void vblk_io_log_error(const struct vblk_io *io, const struct vblk_request *request,
		       const struct vblk_answer *answer)
{
	vblk_log_emit_limited(
		&io->disk->log, io->log_limit, vblk_clock_now(&io->disk->clock), VBLK_LOG_WARN,
		answer->what, VBLK_FIELD_UINT("instance", io->disk->instance),
		VBLK_FIELD_UINT("queue", io->index), VBLK_FIELD_UINT("head", request->head),
		VBLK_FIELD_UINT("type", request->type), VBLK_FIELD_UINT("sector", request->sector),
		VBLK_FIELD_UINT("bytes", request->data_len),
		VBLK_FIELD_INT("error", answer->error));
}

static void add_completed(const struct vblk_io *io, enum vblk_metrics_op op, uint64_t bytes)
{
	vblk_metrics_add_completed(io->disk->metrics, io->shard, op, bytes);
}

struct vblk_answer vblk_io_complete(struct vblk_io *io, const struct vblk_request *request,
				    const struct vblk_transfer *transfer)
{
	uint32_t used_len = 1;
	int ret;

	if (transfer->error < 0)
		return answer_error(io, vblk_metrics_error_of(transfer->error), transfer->error,
				    transfer->what);
	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		add_completed(io, VBLK_OP_READ, transfer->done);
		used_len += request->data_len;
		break;
	case VIRTIO_BLK_T_OUT:
		add_completed(io, VBLK_OP_WRITE, request->data_len);
		break;
	case VIRTIO_BLK_T_FLUSH:
		add_completed(io, VBLK_OP_FLUSH, 0);
		break;
	case VIRTIO_BLK_T_DISCARD:
		add_completed(io, VBLK_OP_DISCARD, vblk_request_range_bytes(request));
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		add_completed(io, VBLK_OP_WRITE_ZEROES, vblk_request_range_bytes(request));
		break;
	default:
		ret = write_serial(io, request);
		if (ret < 0)
			return answer_error(io,
					    ret == -ENOSPC ? VBLK_ERROR_LENGTH : VBLK_ERROR_MEMORY,
					    ret, "cannot write the serial number");
		used_len += VIRTIO_BLK_ID_BYTES;
		break;
	}
	return (struct vblk_answer){ .status = VIRTIO_BLK_S_OK, .used_len = used_len };
}
