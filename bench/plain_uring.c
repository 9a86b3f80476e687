/* SPDX-License-Identifier: MIT */
/*
 * io_uring with the file and the buffers registered. What has completed is taken, as many requests
 * are made, and all of them go to the kernel in one call, which waits for one answer at least.
 */
#include "plain.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/uio.h>

struct request {
	uint64_t started_ns;
	enum vblk_driver_kind kind;
};

struct load {
	struct plain *plain;
	struct io_uring ring;
	struct request *requests; /* by slot */
	uint32_t in_flight;
};

static void submit(struct load *load, uint32_t slot, uint64_t time)
{
	struct plain *plain = load->plain;
	const uint32_t block = plain->options->block;
	const enum vblk_driver_kind kind = vblk_order_kind(&plain->order);
	/* There are as many entries as slots. */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&load->ring);
	void *buffer = plain_buffer(plain, slot);

	if (kind == VBLK_DRIVER_FLUSH)
		io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
	else if (kind == VBLK_DRIVER_READ)
		io_uring_prep_read_fixed(sqe, 0, buffer, block,
					 vblk_order_block(&plain->order) * block, (int)slot);
	else
		io_uring_prep_write_fixed(sqe, 0, buffer, block,
					  vblk_order_block(&plain->order) * block, (int)slot);
	sqe->flags |= IOSQE_FIXED_FILE;
	sqe->user_data = slot;
	load->requests[slot] = (struct request){ time, kind };
	load->in_flight++;
}

static int take(struct load *load, const struct io_uring_cqe *cqe)
{
	struct plain *plain = load->plain;
	const uint32_t slot = (uint32_t)cqe->user_data;
	const struct request *request = &load->requests[slot];
	const uint64_t time = plain_now();

	if (cqe->res < 0)
		return cqe->res;
	if (request->kind != VBLK_DRIVER_FLUSH && (uint32_t)cqe->res != plain->options->block)
		return -EIO;
	vblk_histogram_add(&plain->result->latency[request->kind], time - request->started_ns);
	load->in_flight--;
	if (time < plain->end_ns)
		submit(load, slot, time);
	return 0;
}

static int take_all(struct load *load)
{
	struct io_uring_cqe *cqe;
	unsigned head, count = 0;
	int ret = 0;

	io_uring_for_each_cqe(&load->ring, head, cqe)
	{
		count++;
		ret = take(load, cqe);
		if (ret)
			break;
	}
	io_uring_cq_advance(&load->ring, count);
	return ret;
}

static int run(struct load *load)
{
	const uint32_t depth = load->plain->options->depth;
	const uint64_t start = plain_begin(load->plain);
	int ret = 0;

	for (uint32_t slot = 0; slot < depth; slot++)
		submit(load, slot, start);
	while (load->in_flight > 0 && ret >= 0) {
		ret = io_uring_submit_and_wait(&load->ring, 1);
		if (ret == -EINTR)
			ret = 0;
		if (ret >= 0)
			ret = take_all(load);
	}
	return ret < 0 ? ret : 0;
}

/* Older kernels know neither flag. */
static int make_ring(struct load *load)
{
	const unsigned flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN;
	const uint32_t depth = load->plain->options->depth;
	int ret = io_uring_queue_init(depth, &load->ring, flags);

	return ret == -EINVAL ? io_uring_queue_init(depth, &load->ring, 0) : ret;
}

static int register_all(struct load *load)
{
	const struct plain *plain = load->plain;
	const uint32_t depth = plain->options->depth;
	struct iovec *iovs = calloc(depth, sizeof(*iovs));
	int ret = iovs ? io_uring_register_files(&load->ring, &plain->fd, 1) : -ENOMEM;

	for (uint32_t i = 0; i < depth && !ret; i++)
		iovs[i] = (struct iovec){ plain_buffer(plain, i), plain->options->block };
	if (!ret)
		ret = io_uring_register_buffers(&load->ring, iovs, depth);
	free(iovs);
	return ret;
}

int plain_run_uring(struct plain *plain)
{
	struct load load = { .plain = plain };
	int ret = make_ring(&load);

	if (ret)
		return ret;
	load.requests = calloc(plain->options->depth, sizeof(*load.requests));
	ret = load.requests ? register_all(&load) : -ENOMEM;
	if (!ret)
		ret = run(&load);
	io_uring_queue_exit(&load.ring);
	free(load.requests);
	return ret;
}
