/* SPDX-License-Identifier: MIT */
/* A tick a second is all that is looked at while jobs run: what is measured is not disturbed. */
#include "cmd/bench_crew.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/eventfd.h"
#include "cmd/cmd.h"
#include "cmd/progress.h"
#include "driver/transport.h"

#define NAME	  "bench"
#define TICK_MS	  1000
#define LINE_SIZE 128

struct task {
	struct bench_crew *crew;
	const struct bench_work *work;
	struct bench_job *job;
	pthread_t thread;
};

static void set_signals(int how, sigset_t *wanted)
{
	sigemptyset(wanted);
	sigaddset(wanted, SIGTERM);
	sigaddset(wanted, SIGINT);
	pthread_sigmask(how, wanted, NULL);
}

int bench_crew_open(struct bench_crew *crew)
{
	sigset_t wanted;

	set_signals(SIG_BLOCK, &wanted);
	crew->signal_fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
	return crew->signal_fd < 0 ? -errno : vblk_eventfd_create(&crew->done_fd);
}

void bench_crew_close(struct bench_crew *crew)
{
	sigset_t wanted;

	set_signals(SIG_UNBLOCK, &wanted);
	if (crew->done_fd >= 0)
		close(crew->done_fd);
	if (crew->signal_fd >= 0)
		close(crew->signal_fd);
}

uint64_t bench_crew_unanswered(const struct bench_crew *crew)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < crew->count; i++)
		sum += crew->jobs[i].unanswered;
	return sum;
}

bool bench_stall_look(struct bench_stall *stall, uint64_t answers, uint64_t now_ns)
{
	if (answers != stall->answers) {
		*stall = (struct bench_stall){ .since_ns = now_ns, .answers = answers };
		return false;
	}
	if (stall->told || now_ns - stall->since_ns < BENCH_STALL_NS)
		return false;
	stall->told = true;
	return true;
}

static void *run_job(void *argument)
{
	struct task *task = argument;

	task->work->run(task->job);
	/* A job that failed ends the others. */
	if (task->job->failure[0])
		__atomic_store_n(&task->crew->stop, true, __ATOMIC_RELAXED);
	if (vblk_eventfd_signal(task->crew->done_fd))
		abort();
	return NULL;
}

static uint64_t requests_done(const struct bench_crew *crew)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < crew->count; i++)
		sum += __atomic_load_n(&crew->jobs[i].done, __ATOMIC_RELAXED);
	return sum;
}

static uint64_t answers(const struct bench_crew *crew)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < crew->count; i++)
		sum += __atomic_load_n(&crew->jobs[i].answers, __ATOMIC_RELAXED);
	return sum;
}

/* What the thread that waits remembers from tick to tick. */
struct watch {
	const struct bench_work *work;
	struct bench_stall stall;
	uint64_t last_done, last_ns;
};

static void tick(const struct bench_crew *crew, struct watch *watch)
{
	const uint64_t now_ns = vblk_clock_now(NULL), done = requests_done(crew);
	const struct bench_pace pace = {
		.seconds = (double)(now_ns - crew->start_ns) / 1e9,
		.per_second =
			(double)(done - watch->last_done) * 1e9 / (double)(now_ns - watch->last_ns),
	};
	char line[LINE_SIZE];

	if (bench_stall_look(&watch->stall, answers(crew), now_ns)) {
		cmd_progress_show(NULL);
		cmd_complain(NAME,
			     "no request completed for %u s; is the disk paused or throttled?",
			     (unsigned int)(BENCH_STALL_NS / VBLK_NSEC_PER_SEC));
	}
	watch->work->tell(watch->work->context, &pace, line, sizeof(line));
	cmd_progress_show(line);
	watch->last_done = done;
	watch->last_ns = now_ns;
}

static void take_signal(struct bench_crew *crew)
{
	struct signalfd_siginfo info;

	if (read(crew->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (!crew->signal)
		crew->signal = (int)info.ssi_signo;
	__atomic_store_n(&crew->stop, true, __ATOMIC_RELAXED);
}

/* Waits until `running` jobs have ended. */
static void wait_for_jobs(struct bench_crew *crew, const struct bench_work *work, uint64_t running)
{
	struct pollfd pfds[] = { { .fd = crew->done_fd, .events = POLLIN },
				 { .fd = crew->signal_fd, .events = POLLIN } };
	struct watch watch = {
		.work = work,
		.stall = { .since_ns = crew->start_ns, .answers = answers(crew) },
		.last_done = requests_done(crew),
		.last_ns = crew->start_ns,
	};

	while (running > 0) {
		if (poll(pfds, 2, TICK_MS) == 0)
			tick(crew, &watch);
		take_signal(crew);
		running -= vblk_eventfd_clear(crew->done_fd);
	}
	cmd_progress_show(NULL);
}

int bench_crew_work(struct bench_crew *crew, const struct bench_work *work)
{
	struct task tasks[VBLK_DRIVER_QUEUES_MAX];
	uint32_t started = 0;
	int ret = 0;

	__atomic_store_n(&crew->stop, false, __ATOMIC_RELAXED);
	crew->start_ns = vblk_clock_now(NULL);
	for (; started < crew->count && ret == 0; started += ret == 0) {
		tasks[started] = (struct task){ crew, work, &crew->jobs[started], 0 };
		ret = pthread_create(&tasks[started].thread, NULL, run_job, &tasks[started]);
	}
	if (ret)
		__atomic_store_n(&crew->stop, true, __ATOMIC_RELAXED);
	wait_for_jobs(crew, work, started);
	for (uint32_t i = 0; i < started; i++)
		pthread_join(tasks[i].thread, NULL);
	return -ret;
}
