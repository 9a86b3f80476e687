/* SPDX-License-Identifier: MIT */
/*
 * Files that are opened with O_DIRECT, past the page cache of the host: the kernel wants offsets,
 * lengths and addresses aligned, and guests need not know.
 *
 * What is aligned goes to the file as it is. What is not goes through a buffer, a piece at a time,
 * and shows as a short result. A write of less than a block reads the block, changes it and writes
 * it back; while it does, no other write is under way, or one of the two would be lost.
 */
#ifndef VBLK_BACKING_DIRECT_H
#define VBLK_BACKING_DIRECT_H

#include "backing/call.h"

struct vblk_direct;

/* What a file wants of who reads and writes it; powers of two. */
struct vblk_alignment {
	uint32_t memory; /* of addresses */
	uint32_t offset; /* of offsets and lengths */
};

/*
 * Asks the kernel about an open file (STATX_DIOALIGN), or falls back on the block size of the
 * device, or on 4096.
 */
void vblk_direct_ask(int fd, struct vblk_alignment *alignment);

/* `fd` stays the caller's and has to outlive it. Returns 0 or -ENOMEM. */
VBLK_MUST_USE int vblk_direct_create(int fd, const struct vblk_alignment *alignment,
				     struct vblk_direct **direct);
void vblk_direct_destroy(struct vblk_direct *direct);

/* As the operations of struct vblk_backing_ops. Any thread. */
VBLK_MUST_USE ssize_t vblk_direct_preadv(struct vblk_direct *direct, const struct iovec *iov,
					 int count, uint64_t offset);
VBLK_MUST_USE ssize_t vblk_direct_pwritev(struct vblk_direct *direct, const struct iovec *iov,
					  int count, uint64_t offset);

/*
 * Around anything else that changes so many bytes (at least 1) of the file, or its length: it does
 * not happen while a block that it concerns in part is read, changed and written back. NULL: there
 * is nothing to mind.
 */
void vblk_direct_begin(struct vblk_direct *direct, uint64_t offset, uint64_t bytes);
void vblk_direct_end(struct vblk_direct *direct);

/* Whether a call may be made on the file by somebody who knows nothing of all this. */
bool vblk_direct_is_free(const struct vblk_direct *direct, const struct vblk_call *call);

#endif
