/* SPDX-License-Identifier: MIT */
/* Forks that use the disk at once, see workers.h. */
#include "workers.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

void *workers_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* A processor that cannot be had is not worth a failure: the disk is used all the same. */
static void pin(unsigned int number)
{
	const long processors = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processors > 0 ? number % (size_t)processors : 0, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

bool workers_start(struct workers *workers, unsigned int count, worker_fn *run, void *context,
		   struct report *report)
{
	*workers = (struct workers){ .count = 0 };
	if (!count || count > WORKERS_MAX)
		return fail(report, "%u workers, 1 to %u are possible", count, WORKERS_MAX);
	workers->reports = workers_memory(count * sizeof(*workers->reports));
	if (!workers->reports)
		return fail_errno(report, "shared memory");
	for (unsigned int i = 0; i < count; i++) {
		const pid_t pid = fork();

		if (!pid) {
			pin(i);
			_exit(run(i, context, &workers->reports[i]) ? 0 : 1);
		}
		if (pid < 0) {
			const int error = errno;

			for (unsigned int k = 0; k < i; k++)
				kill(workers->pids[k], SIGKILL);
			while (wait(NULL) > 0)
				;
			return fail(report, "fork: %s", strerror(error));
		}
		workers->pids[i] = pid;
		workers->count++;
	}
	return true;
}

bool workers_ended(const struct workers *workers)
{
	siginfo_t info = { .si_pid = 0 };

	for (unsigned int i = 0; i < workers->count; i++)
		if (!waitid(P_PID, (id_t)workers->pids[i], &info, WEXITED | WNOHANG | WNOWAIT) &&
		    info.si_pid)
			return true;
	return false;
}

bool workers_join(struct workers *workers, struct report *report)
{
	bool good = true;

	for (unsigned int i = 0; i < workers->count; i++) {
		int status;

		while (waitpid(workers->pids[i], &status, 0) < 0)
			if (errno != EINTR)
				return fail_errno(report, "wait");
		if (!good)
			continue;
		if (WIFSIGNALED(status))
			good = fail(report, "worker %u: ended by signal %d", i, WTERMSIG(status));
		else if (WEXITSTATUS(status))
			good = fail(report, "worker %u: %s", i, workers->reports[i].text);
	}
	munmap(workers->reports, workers->count * sizeof(*workers->reports));
	return good;
}
