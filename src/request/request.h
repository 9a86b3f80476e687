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

#include "request/chain.h"

/* The most data bytes that one descriptor may carry, offered to the driver as size_max. */
#define VBLK_SIZE_MAX (1u << 20)

/* A piece of the data as one descriptor gives it; never empty. */
struct vblk_segment {
	uint64_t addr;
	uint32_t len;
};

struct vblk_request {
	uint16_t head;
	uint32_t type; /* VIRTIO_BLK_T_* */
	uint64_t sector;
	uint64_t status_addr;
	uint32_t data_len; /* sum over the segments: at most 130 MiB */
	uint16_t segment_count;
	struct vblk_segment segment[VBLK_CHAIN_MAX];
};

enum vblk_action {
	VBLK_ACTION_DROP,  /* there is nowhere to write a status: publish nothing */
	VBLK_ACTION_REPLY, /* answered without touching the disk: publish `status` */
	VBLK_ACTION_RUN,   /* carry it out */
};

struct vblk_verdict {
	enum vblk_action action;
	uint8_t status;	    /* VIRTIO_BLK_S_*, for VBLK_ACTION_REPLY */
	const char *reason; /* what the driver did wrong, for the log; NULL: nothing */
};

/*
 * Reads the request out of a chain and judges it. The header is read from guest memory exactly
 * once. On VBLK_ACTION_REPLY and _RUN, head and status_addr are set; on _RUN all of it, and the
 * data has the direction and the size that the type wants.
 */
struct vblk_verdict vblk_request_parse(struct vblk_request *request, const struct vblk_chain *chain,
				       struct vblk_memory_view *view, bool read_only);

#endif
