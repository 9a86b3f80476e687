/* SPDX-License-Identifier: MIT */
/*
 * One job of vblk bench: a queue that is kept full for a while, on a share of the disk that no
 * other job touches.
 *
 * With `verify`, what is written can be told from anything else (driver/pattern.h). A block that
 * this job has written is checked whenever it is read again, and once more by bench_job_verify;
 * what was on the disk before is not judged. No two requests for the same block are in flight then.
 */
#ifndef CMD_BENCH_JOB_H
#define CMD_BENCH_JOB_H

#include "driver/histogram.h"
#include "driver/order.h"

struct bench_job {
	struct vblk_driver_queue queue;
	uint64_t first_block;	 /* of the share */
	struct vblk_order order; /* of what is asked for, on the share */
	bool asleep;		 /* between requests, instead of looking all the time */
	uint64_t end_ns;	 /* on CLOCK_MONOTONIC */
	const bool *stop;	 /* atomic */
	uint32_t *written; /* by block: the generation, 0: not written; NULL: no verification */
	struct bench_slot *slots;

	uint32_t generation;

	/* What came out of it. */
	struct vblk_histogram latency[VBLK_DRIVER_KINDS]; /* ns */
	uint64_t done;	   /* atomic: reads and writes so far, those that verify among them */
	uint64_t answers;  /* atomic: those, and flushes */
	uint64_t verified; /* blocks */
	uint64_t ended_ns;
	uint64_t cpu_ns;     /* of the job's thread */
	uint64_t unanswered; /* requests that were given up, when it was told to stop */
	char failure[160];   /* empty: none */
};

/* The queue, the share and what follows them up to `stop` are set. Returns 0 or -ENOMEM. */
VBLK_MUST_USE int bench_job_init(struct bench_job *job, bool verify, uint64_t seed);
void bench_job_destroy(struct bench_job *job);

/*
 * Runs from now to end_ns, or until *stop, or until something fails. What is in flight at the end
 * is waited for, but after *stop for a second only: a job that has requests unanswered then is of
 * no more use.
 */
void bench_job_run(struct bench_job *job);

/* Reads again what was written and checks it, or until *stop, likewise. */
void bench_job_verify(struct bench_job *job);

#endif
