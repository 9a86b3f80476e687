/* SPDX-License-Identifier: MIT */
/*
 * The steps that each usual request takes, inline. Fuzzers put functions of theirs around those
 * that a linker sees: where they are built, it is these that are called.
 */
#ifndef VBLK_REQUEST_HOT_H
#define VBLK_REQUEST_HOT_H

#include "backing/call.h"
#include "queue/vring.h"
#include "request/plain.h"
#include "request/request.h"

#ifdef VBLK_WATCHED

#define vblk_hot_pop  vblk_queue_pop
#define vblk_hot_push vblk_queue_push
#define vblk_hot_walk vblk_chain_walk_plain

/* A read or write of what one vector takes. */
static inline ssize_t vblk_hot_move(struct vblk_backing *backing, enum vblk_call_op op,
				    struct iovec vec, uint64_t offset)
{
	const struct vblk_call call = {
		.op = op, .iov = &vec, .count = 1, .bytes = vec.iov_len, .offset = offset
	};

	return vblk_backing_perform(backing, &call);
}

#else

#define vblk_hot_pop  vblk_vring_pop
#define vblk_hot_push vblk_vring_push
#define vblk_hot_walk vblk_plain_walk

static inline ssize_t vblk_hot_move(struct vblk_backing *backing, enum vblk_call_op op,
				    struct iovec vec, uint64_t offset)
{
	return op == VBLK_CALL_PREADV ? vblk_backing_preadv(backing, &vec, 1, offset)
				      : vblk_backing_pwritev(backing, &vec, 1, offset);
}

#endif

/*
 * Reads the chain that begins at `head`, and the request in it. Returns whether it is a plain one
 * that may run; of any other the verdict says what it is.
 */
VBLK_ALWAYS_INLINE bool vblk_hot_read(struct vblk_request *request, struct vblk_chain *chain,
				      struct vblk_memory_view *view, const struct vblk_table *table,
				      const struct vblk_request_rules *rules, uint16_t head,
				      struct vblk_verdict *verdict)
{
	uint64_t header[2];

	if (!vblk_hot_walk(chain, view, table, head) ||
	    vblk_memory_copy_in_16(view, header, chain->desc[0].addr) < 0) {
		*verdict = vblk_request_parse(request, chain, view, rules);
		return false;
	}
	if (vblk_request_take_plain(request, chain, header, rules))
		return true;
	*verdict = vblk_request_parse_plain(request, chain, header, view, rules);
	return false;
}

#endif
