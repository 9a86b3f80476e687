/* SPDX-License-Identifier: MIT */
/*
 * What the ways of the program `plain` to a file share. One thread.
 */
#ifndef BENCH_PLAIN_H
#define BENCH_PLAIN_H

#include "cmd/bench_report.h"
#include "driver/order.h"

struct plain {
	const struct bench_options *options;
	int fd;
	uint64_t bytes;		 /* of the file that are used, whole blocks */
	struct vblk_order order; /* of the requests */
	uint8_t *buffers;	 /* options->depth of them, a block each, on pages */
	uint64_t start_ns;	 /* on CLOCK_MONOTONIC */
	uint64_t end_ns;
	uint64_t start_cpu_ns; /* of the process */
	struct bench_result *result;
};

/* CLOCK_MONOTONIC. */
uint64_t plain_now(void);

/* All is made ready: the time begins. Returns plain_now(). */
uint64_t plain_begin(struct plain *plain);

/* The buffer of request `slot`; of all that are in flight, each has its own. */
void *plain_buffer(const struct plain *plain, uint32_t slot);

/*
 * Carry the load out until the time is over, and count each request in the result's latency.
 * Return 0 or the negative errno of what failed.
 */
VBLK_MUST_USE int plain_run_sync(struct plain *plain);	/* preadv, pwritev, fdatasync, in turn */
VBLK_MUST_USE int plain_run_copy(struct plain *plain);	/* memcpy from and to a mapping */
VBLK_MUST_USE int plain_run_uring(struct plain *plain); /* io_uring, options->depth in flight */

#endif
