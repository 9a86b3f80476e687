/* SPDX-License-Identifier: MIT */
/*
 * Processes that use the disk at once. They are forks of /init: what they are to share with it,
 * but for their report, has to be in memory from workers_memory().
 */
#ifndef GUEST_WORKERS_H
#define GUEST_WORKERS_H

#include "guest.h"

#include <sys/types.h>

#define WORKERS_MAX 16u

/* What a worker does; its result and its report are those of the process. */
typedef bool worker_fn(unsigned int number, void *context, struct report *report);

struct workers {
	unsigned int count;
	pid_t pids[WORKERS_MAX];
	struct report *reports; /* shared */
};

/* Zeroed memory that forks share; NULL and errno. Lives as long as /init. */
void *workers_memory(size_t size);

/*
 * Starts workers 0 to count - 1, each on a processor of its own as far as there are as many.
 * False and a failed report if that is not possible; then none is left.
 */
bool workers_start(struct workers *workers, unsigned int count, worker_fn *run, void *context,
		   struct report *report);

/* True if a worker has ended; the others may have to be told to. */
bool workers_ended(const struct workers *workers);

/* Waits for all. False and the report of the first that failed. */
bool workers_join(struct workers *workers, struct report *report);

#endif
