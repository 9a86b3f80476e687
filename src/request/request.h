/* SPDX-License-Identifier: MIT */
/*
 * One request: what a chain asks for, and whether it may (specification 5.2.6).
 *
 * A request is a run of bytes, not a list of descriptors: 16 readable bytes of header, the data,
 * one writable status byte at the very end. Drivers may cut it into descriptors wherever they
 * like (specification 2.7.4.2), so everything here counts bytes after the header and before the
 * status byte.
 */
#ifndef VBLK_REQUEST_REQUEST_H
#define VBLK_REQUEST_REQUEST_H

#include <endian.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <vblk/metrics.h>

#include "request/chain.h"

/* A piece of the data as one descriptor gives it; never empty. */
struct vblk_segment {
	uint64_t addr;
	uint32_t len;
};

/* The most ranges and sectors of a DISCARD or WRITE_ZEROES, offered as max_*_seg, max_*_sectors. */
#define VBLK_RANGES_MAX 16u
#define VBLK_RANGE_SECTORS_MAX                                            \
	(1u << 22) /* 2 GiB: what zeros cost by hand has to end some time \
		    */

/* One of its ranges. */
struct vblk_range {
	uint64_t sector;
	uint32_t sectors;
	bool unmap; /* WRITE_ZEROES: the space may be given back */
};

struct vblk_request {
	uint16_t head;
	uint32_t type; /* VIRTIO_BLK_T_* */
	uint64_t sector;
	uint64_t status_addr;
	uint32_t data_len; /* sum over the segments: at most 130 MiB */
	uint16_t segment_count;
	struct vblk_segment segment[VBLK_CHAIN_MAX];

	/* DISCARD and WRITE_ZEROES: what the data says, read once and checked but for the end of
	 * the disk. Otherwise none. */
	uint16_t range_count;
	struct vblk_range range[VBLK_RANGES_MAX];
};

/* What a request may be, by what the disk is and by the features that the driver took. */
struct vblk_request_rules {
	bool read_only;
	bool discard;	   /* VIRTIO_BLK_F_DISCARD */
	bool write_zeroes; /* VIRTIO_BLK_F_WRITE_ZEROES */
};

enum vblk_action {
	VBLK_ACTION_DROP,  /* there is nowhere to write a status: publish nothing */
	VBLK_ACTION_REPLY, /* answered without touching the disk: publish `status` */
	VBLK_ACTION_RUN,   /* carry it out */
};

struct vblk_verdict {
	enum vblk_action action;
	uint8_t status;		       /* VIRTIO_BLK_S_*, for VBLK_ACTION_REPLY */
	const char *reason;	       /* what the driver did wrong, for the log; NULL: nothing */
	enum vblk_metrics_error error; /* the same for the counters; with a reason, or S_UNSUPP */
};

/*
 * Reads the request out of a chain and judges it. Header and ranges are read from guest memory
 * exactly once, unless they are not all there. On VBLK_ACTION_REPLY and _RUN, head and status_addr
 * are set; on _RUN all of it, and the data has the direction and the size that the type wants.
 */
struct vblk_verdict vblk_request_parse(struct vblk_request *request, const struct vblk_chain *chain,
				       struct vblk_memory_view *view,
				       const struct vblk_request_rules *rules);

/*
 * A header as the two words that it is: the type, 32 bits that nobody uses any more, the sector;
 * all little-endian.
 */
static inline uint32_t vblk_header_type(const uint64_t header[2])
{
	return (uint32_t)le64toh(header[0]);
}

static inline uint64_t vblk_header_sector(const uint64_t header[2])
{
	return le64toh(header[1]);
}

/* As vblk_request_parse of a plain chain, whose header was read already. */
struct vblk_verdict vblk_request_parse_plain(struct vblk_request *request,
					     const struct vblk_chain *chain,
					     const uint64_t header[2],
					     struct vblk_memory_view *view,
					     const struct vblk_request_rules *rules);

/*
 * The same for a read or write that passes all gates, which nearly all do. False: it is another
 * request, or does not pass; nothing is said of it.
 */
VBLK_MUST_USE static inline bool vblk_request_take_plain(struct vblk_request *request,
							 const struct vblk_chain *chain,
							 const uint64_t header[2],
							 const struct vblk_request_rules *rules)
{
	const struct vblk_desc *data = &chain->desc[1];
	const uint32_t type = vblk_header_type(header);

	if (data->flags & VRING_DESC_F_WRITE) {
		if (type != VIRTIO_BLK_T_IN)
			return false;
	} else if (type != VIRTIO_BLK_T_OUT || rules->read_only) {
		return false;
	}
	if (data->len == 0 || data->len % VBLK_SECTOR_SIZE != 0)
		return false;
	request->head = chain->head;
	request->type = type;
	request->sector = vblk_header_sector(header);
	request->status_addr = chain->desc[2].addr;
	request->data_len = data->len;
	request->segment_count = 1;
	request->segment[0] = (struct vblk_segment){ data->addr, data->len };
	request->range_count = 0;
	return true;
}

/* The bytes of all ranges of a DISCARD or WRITE_ZEROES. */
uint64_t vblk_request_range_bytes(const struct vblk_request *request);

/* What a request of a type that somebody knows is counted as. */
static inline enum vblk_metrics_op vblk_request_op(const struct vblk_request *request)
{
	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		return VBLK_OP_READ;
	case VIRTIO_BLK_T_OUT:
		return VBLK_OP_WRITE;
	case VIRTIO_BLK_T_FLUSH:
		return VBLK_OP_FLUSH;
	case VIRTIO_BLK_T_DISCARD:
		return VBLK_OP_DISCARD;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return VBLK_OP_WRITE_ZEROES;
	default:
		return VBLK_OP_GET_ID;
	}
}

/* The same of a read or write. */
static inline enum vblk_metrics_op vblk_request_op_plain(const struct vblk_request *request)
{
	return request->type == VIRTIO_BLK_T_IN ? VBLK_OP_READ : VBLK_OP_WRITE;
}

/* The bytes that a request is about: its ranges, or its data. */
static inline uint64_t vblk_request_bytes(const struct vblk_request *request)
{
	return request->range_count ? vblk_request_range_bytes(request) : request->data_len;
}

/* The bytes that a request costs: those it moves, and those it makes zero. */
static inline uint64_t vblk_request_cost(const struct vblk_request *request)
{
	/* The data of a discard names what costs nothing. */
	return request->type == VIRTIO_BLK_T_DISCARD ? 0 : vblk_request_bytes(request);
}

#endif
