/* SPDX-License-Identifier: MIT */
/*
 * The jobs of a bench at work: a thread for each, and the one that started them, which waits for
 * them and for signals, shows on a terminal how it goes, and says so when nothing is answered.
 *
 *     bench_crew_open(&crew);
 *     ... jobs are made: their `stop` is &crew.stop ...
 *     bench_crew_work(&crew, &work);
 *     bench_crew_close(&crew);
 *
 * The first signal ends the work, and bench_crew_work returns; it is taken note of and the next
 * work can begin. One thread.
 */
#ifndef CMD_BENCH_CREW_H
#define CMD_BENCH_CREW_H

#include <vblk/types.h>

#include "cmd/bench_job.h"

struct bench_crew {
	struct bench_job *jobs;
	uint32_t count;
	int done_fd; /* counts jobs that ended; -1: none */
	int signal_fd;
	bool stop;  /* atomic */
	int signal; /* the first that came; 0: none */
	uint64_t start_ns;
};

/* How long it has taken so far, and how fast all jobs were since that was last told. */
struct bench_pace {
	double seconds;
	double per_second; /* reads and writes */
};

struct bench_work {
	void (*run)(struct bench_job *job);
	/* Writes a line that says how it goes. */
	void (*tell)(const void *context, const struct bench_pace *pace, char *line, size_t size);
	const void *context;
};

/*
 * Starts with descriptors that are -1. Returns 0 or a negative errno; close it in any case. SIGINT
 * and SIGTERM wait for the crew in between, in this thread and those that it starts.
 */
VBLK_MUST_USE int bench_crew_open(struct bench_crew *crew);
void bench_crew_close(struct bench_crew *crew);

/* Has all jobs do the work, and returns when they have. 0, or a negative errno. */
VBLK_MUST_USE int bench_crew_work(struct bench_crew *crew, const struct bench_work *work);

/* Requests that nobody waits for any more, of all jobs. */
uint64_t bench_crew_unanswered(const struct bench_crew *crew);

/*
 * Whether it is time to say that nothing is answered: once when nothing came for
 * BENCH_STALL_NS, and not again until something was. Starts with the first moment and zeros. Pure.
 */
#define BENCH_STALL_NS 5000000000ull

struct bench_stall {
	uint64_t since_ns;
	uint64_t answers;
	bool told;
};

bool bench_stall_look(struct bench_stall *stall, uint64_t answers, uint64_t now_ns);

#endif
