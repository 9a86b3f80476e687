/* SPDX-License-Identifier: MIT */
/*
 * A ring of io_uring(7) for one file, which can do what a disk needs and nothing else: the kernel
 * refuses other operations (EACCES), also for who has broken into the process.
 *
 * Only for who is built with liburing. A ring belongs to nobody: any thread may use it, one at a
 * time.
 */
#ifndef VBLK_BACKING_RING_H
#define VBLK_BACKING_RING_H

#include <liburing.h>
#include <vblk/types.h>

/*
 * A stage is a buffer that the kernel knows (a registered one), for small reads: it is written
 * without a look at the process's page tables, and what was read is then copied to where it
 * belongs, out of the cache. That is faster than having the kernel write there.
 */
#define VBLK_RING_STAGE_BYTES 4096u
#define VBLK_RING_STAGES      32u

struct vblk_ring {
	struct io_uring ring;
	int fd;		 /* of the file, for all that changes it */
	bool registered; /* for reads it is file 0 */
	uint8_t *stages; /* VBLK_RING_STAGES of them, registered as buffer 0; NULL: none */
};

/*
 * Makes a ring of so many entries for what is open at `fd`, which stays the caller's and outlives
 * it. Returns 0; -ENOSYS, -EPERM or -EACCES where io_uring is not to be had; -ENOMEM, -EMFILE,
 * -ENFILE.
 */
VBLK_MUST_USE int vblk_ring_open(struct vblk_ring *ring, int fd, unsigned entries);
void vblk_ring_close(struct vblk_ring *ring);

/* What an entry that reads names; behind io_uring_prep_* it takes vblk_ring_mark_read. */
static inline int vblk_ring_read_fd(const struct vblk_ring *ring)
{
	return ring->registered ? 0 : ring->fd;
}

static inline void vblk_ring_mark_read(const struct vblk_ring *ring, struct io_uring_sqe *sqe)
{
	if (ring->registered)
		sqe->flags |= IOSQE_FIXED_FILE;
}

#endif
