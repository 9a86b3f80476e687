/* SPDX-License-Identifier: MIT */
/* From a call as a value to the operation that it names. */
#include "backing/call.h"

#include "backing/aio.h"

ssize_t vblk_backing_perform(struct vblk_backing *backing, const struct vblk_call *call)
{
	while (call->result == VBLK_CALL_NOT_MADE && backing->counted)
		backing = backing->counted;
	switch (call->op) {
	case VBLK_CALL_PREADV:
		return vblk_backing_preadv(backing, call->iov, call->count, call->offset);
	case VBLK_CALL_PWRITEV:
		return vblk_backing_pwritev(backing, call->iov, call->count, call->offset);
	case VBLK_CALL_SYNC:
		return vblk_backing_sync(backing);
	case VBLK_CALL_DISCARD:
		return vblk_backing_discard(backing, call->offset, call->bytes);
	case VBLK_CALL_WRITE_ZEROES:
		return vblk_backing_write_zeroes(backing, call->offset, call->bytes, call->flags);
	}
	return -EINVAL;
}
