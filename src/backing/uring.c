/* SPDX-License-Identifier: MIT */
/*
 * The ring. What was started and not submitted yet is also kept in a list of our own, in order: if
 * the kernel refuses to take it, its entries are taken back, and whoever started the calls is told
 * that they were not made. Without a thread of the kernel's own (SQPOLL) that looks at the ring, it
 * does so only while we are in a submission.
 */
#include "backing/uring.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "backing/file.h"
#include "backing/ring.h"

struct uring {
	struct vblk_aio base;
	struct vblk_backing *backing;
	struct vblk_ring ring;

	struct vblk_call *unsent; /* started, oldest first */
	struct vblk_call **unsent_end;
	int unsent_count;
	struct vblk_call *refused; /* to be told that they were not made */

	/* Stages that are free; the last that was given back is in the cache and goes first. */
	uint8_t *stage[VBLK_RING_STAGES];
	unsigned stages;
};

static struct uring *from_base(struct vblk_aio *aio)
{
	return (struct uring *)aio;
}

static void prepare_read(const struct vblk_ring *ring, struct io_uring_sqe *sqe,
			 const struct vblk_call *call)
{
	const struct iovec *iov = call->iov;
	const int fd = vblk_ring_read_fd(ring);

	if (call->staged)
		io_uring_prep_read_fixed(sqe, fd, (void *)(uintptr_t)call->staged,
					 (unsigned)call->bytes, call->offset, 0);
	else if (call->count == 1)
		io_uring_prep_read(sqe, fd, iov->iov_base, (unsigned)iov->iov_len, call->offset);
	else
		io_uring_prep_readv(sqe, fd, iov, (unsigned)call->count, call->offset);
	vblk_ring_mark_read(ring, sqe);
}

static void prepare_write(const struct vblk_ring *ring, struct io_uring_sqe *sqe,
			  const struct vblk_call *call)
{
	const struct iovec *iov = call->iov;

	if (call->count == 1)
		io_uring_prep_write(sqe, ring->fd, iov->iov_base, (unsigned)iov->iov_len,
				    call->offset);
	else
		io_uring_prep_writev(sqe, ring->fd, iov, (unsigned)call->count, call->offset);
}

static void prepare(const struct vblk_ring *ring, struct io_uring_sqe *sqe,
		    const struct vblk_call *call)
{
	switch (call->op) {
	case VBLK_CALL_PREADV:
		prepare_read(ring, sqe, call);
		break;
	case VBLK_CALL_PWRITEV:
		prepare_write(ring, sqe, call);
		break;
	case VBLK_CALL_DISCARD:
	case VBLK_CALL_WRITE_ZEROES:
		io_uring_prep_fallocate(sqe, ring->fd, vblk_file_range_mode(call),
					(off_t)call->offset, (off_t)call->bytes);
		break;
	case VBLK_CALL_SYNC:
		io_uring_prep_fsync(sqe, ring->fd, IORING_FSYNC_DATASYNC);
		break;
	}
}

/* Whether an entry has room for it. */
static bool fits(const struct vblk_call *call)
{
	const bool moves = call->op == VBLK_CALL_PREADV || call->op == VBLK_CALL_PWRITEV;

	return !moves || (call->offset <= INT64_MAX && call->bytes <= INT32_MAX);
}

/* Changes of a read-only disk are refused in one place, which is not here (backing.h). */
static bool may_change(const struct vblk_backing *backing, const struct vblk_call *call)
{
	return call->op == VBLK_CALL_PREADV || call->op == VBLK_CALL_SYNC ||
	       !(backing->info.flags & VBLK_BACKING_READ_ONLY);
}

/* Where a read may go first; NULL: nowhere. */
static const uint8_t *take_stage(struct uring *uring, const struct vblk_call *call)
{
	if (call->op != VBLK_CALL_PREADV || call->bytes > VBLK_RING_STAGE_BYTES ||
	    uring->stages == 0)
		return NULL;
	return uring->stage[--uring->stages];
}

/* The call is over; what is in its stage stays there until the next call is started. */
static void finish(struct uring *uring, struct vblk_call *call, ssize_t result)
{
	if (call->staged)
		uring->stage[uring->stages++] = (uint8_t *)(uintptr_t)call->staged;
	if (result == VBLK_CALL_NOT_MADE)
		call->staged = NULL;
	call->result = result;
}

static int uring_start(struct vblk_aio *aio, struct vblk_call *call)
{
	struct uring *uring = from_base(aio);
	struct io_uring_sqe *sqe;

	/* The ring's file is that of all the backing's calls. Who asks for it makes the call. */
	if (!fits(call) || !may_change(uring->backing, call) ||
	    io_uring_sq_space_left(&uring->ring.ring) == 0 ||
	    vblk_backing_async_fd(uring->backing, call) < 0)
		return -EAGAIN;
	sqe = io_uring_get_sqe(&uring->ring.ring);
	call->staged = take_stage(uring, call);
	prepare(&uring->ring, sqe, call);
	io_uring_sqe_set_data(sqe, call);
	call->next = NULL;
	*uring->unsent_end = call;
	uring->unsent_end = &call->next;
	uring->unsent_count++;
	return 0;
}

static void forget_unsent(struct uring *uring)
{
	uring->unsent = NULL;
	uring->unsent_end = &uring->unsent;
	uring->unsent_count = 0;
}

static struct vblk_call *pop_unsent(struct uring *uring)
{
	struct vblk_call *call = uring->unsent;

	uring->unsent = call->next;
	uring->unsent_count--;
	if (!uring->unsent)
		forget_unsent(uring);
	return call;
}

/* The entries that the kernel has not taken are those of the calls in our list. */
static void refuse_unsent(struct uring *uring)
{
	struct io_uring_sq *sq = &uring->ring.ring.sq;
	unsigned taken = __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE);

	sq->sqe_head = taken;
	sq->sqe_tail = taken;
	__atomic_store_n(sq->ktail, taken, __ATOMIC_RELEASE);
	while (uring->unsent) {
		struct vblk_call *call = pop_unsent(uring);

		finish(uring, call, VBLK_CALL_NOT_MADE);
		call->next = uring->refused;
		uring->refused = call;
	}
}

/* What a submission returned: so many entries were taken, or why none was. */
static void note_sent(struct uring *uring, int ret)
{
	if (ret >= uring->unsent_count) {
		forget_unsent(uring);
		return;
	}
	for (; ret > 0 && uring->unsent; ret--)
		(void)pop_unsent(uring);
	if (ret < 0 && ret != -EINTR)
		refuse_unsent(uring);
}

static void uring_submit(struct vblk_aio *aio)
{
	struct uring *uring = from_base(aio);

	while (uring->unsent) {
		int ret = io_uring_submit(&uring->ring.ring);

		note_sent(uring, ret == 0 ? -EAGAIN : ret);
	}
}

/*
 * Whether the result of a call means that it was not made and is to be made here: the kernel should
 * have waited itself where it says "again"; and if it cannot change a range of this file in this
 * way, the operation knows others.
 */
static bool is_ours(const struct vblk_call *call, int result)
{
	switch (call->op) {
	case VBLK_CALL_DISCARD:
	case VBLK_CALL_WRITE_ZEROES:
		return result == -EAGAIN || vblk_file_is_unsupported(-result);
	default:
		return result == -EAGAIN;
	}
}

static struct vblk_call *uring_reap(struct vblk_aio *aio)
{
	struct uring *uring = from_base(aio);
	struct vblk_call *call = uring->refused;
	struct io_uring_cqe *cqe;

	if (call) {
		uring->refused = call->next;
		return call;
	}
	if (io_uring_peek_cqe(&uring->ring.ring, &cqe) != 0)
		return NULL;
	call = io_uring_cqe_get_data(cqe);
	finish(uring, call, is_ours(call, cqe->res) ? VBLK_CALL_NOT_MADE : cqe->res);
	io_uring_cqe_seen(&uring->ring.ring, cqe);
	return call;
}

static void uring_wait(struct vblk_aio *aio)
{
	struct uring *uring = from_base(aio);

	uring_submit(aio);
	while (!uring->refused && io_uring_cq_ready(&uring->ring.ring) == 0) {
		int ret = io_uring_submit_and_wait(&uring->ring.ring, 1);

		if (ret < 0 && ret != -EINTR) {
			struct pollfd readable = { .fd = uring->ring.ring.ring_fd,
						   .events = POLLIN };

			(void)poll(&readable, 1, -1);
		}
	}
}

static void uring_destroy(struct vblk_aio *aio)
{
	struct uring *uring = from_base(aio);

	if (vblk_spares_put(&uring->backing->spares, aio))
		return;
	vblk_ring_close(&uring->ring);
	free(uring);
}

static const struct vblk_aio_ops uring_ops = {
	.start = uring_start,
	.submit = uring_submit,
	.reap = uring_reap,
	.wait = uring_wait,
	.destroy = uring_destroy,
};

static int make(struct vblk_backing *backing, unsigned entries, struct vblk_aio **aio)
{
	const int fd = vblk_backing_async_fd(backing, NULL);
	struct uring *uring;
	int ret;

	if (fd < 0)
		return -EOPNOTSUPP;
	uring = calloc(1, sizeof(*uring));
	if (!uring)
		return -ENOMEM;
	ret = vblk_ring_open(&uring->ring, fd, entries);
	if (ret < 0) {
		free(uring);
		return ret;
	}
	uring->base.ops = &uring_ops;
	uring->base.fd = uring->ring.ring.ring_fd;
	uring->backing = backing;
	uring->unsent_end = &uring->unsent;
	for (uint8_t *stage = uring->ring.stages; stage && uring->stages < VBLK_RING_STAGES;
	     stage += VBLK_RING_STAGE_BYTES)
		uring->stage[uring->stages++] = stage;
	*aio = &uring->base;
	return 0;
}

int vblk_uring_create(struct vblk_backing *backing, unsigned entries, struct vblk_aio **aio)
{
	const int ret = vblk_spares_take(&backing->spares, aio);

	return ret == -ENOENT ? make(backing, entries, aio) : ret;
}

int vblk_uring_prepare(struct vblk_backing *backing, unsigned entries, unsigned count)
{
	struct vblk_aio *aio;
	int ret = 0;

	vblk_spares_keep(&backing->spares, -EBUSY);
	for (unsigned i = 0; i < count && ret == 0; i++) {
		ret = make(backing, entries, &aio);
		if (ret == 0 && !vblk_spares_put(&backing->spares, aio))
			vblk_aio_destroy(aio);
	}
	if (ret < 0)
		vblk_spares_keep(&backing->spares, ret);
	return ret;
}
