/* SPDX-License-Identifier: MIT */
/*
 * The worker thread. It sleeps in epoll on three descriptors: the kick (the driver has something),
 * the timer (tokens are there again) and the stop. All of them, and the epoll instance, are made
 * before the thread, so once it runs it has nothing left that can fail.
 *
 * A request that must wait for tokens blocks the queue: kicks are then taken note of, but only the
 * timer drains. The kick is read before a drain, so one that comes during a drain causes another.
 */
#include "engine/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "base/log.h"
#include "engine/engine.h"
#include "metrics/metrics.h"

enum token {
	TOKEN_KICK = 1,
	TOKEN_STOP = 2,
	TOKEN_THROTTLE = 3,
};

#define EVENTS_MAX 4

struct vblk_worker {
	struct vblk_drain drain;
	pthread_t thread;
	int kick_fd;
	int stop_fd;
	int timer_fd;
	int epoll_fd;
	bool blocked; /* the next request waits for the timer */
	bool more;    /* the last drain reached its bound: go on after a look at the events */

	/* How it ends: under the lock, the thread and whoever stops it agree who frees. */
	pthread_mutex_t lock;
	pthread_cond_t ended_cond;
	bool ended;
	bool detached;
};

/* What one batch of events asks for. */
struct wakeup {
	bool stop;
	bool kick;
	bool timer;
};

static void worker_free(struct vblk_worker *worker)
{
	vblk_drain_destroy(&worker->drain);
	pthread_cond_destroy(&worker->ended_cond);
	pthread_mutex_destroy(&worker->lock);
	close(worker->epoll_fd);
	close(worker->timer_fd);
	close(worker->stop_fd);
	close(worker->kick_fd);
	free(worker);
}

static void log_failure(struct vblk_worker *worker, enum vblk_log_level level, const char *message,
			int error)
{
	vblk_log_emit(&worker->drain.config.log, level, message,
		      VBLK_FIELD_UINT("instance", worker->drain.config.instance),
		      VBLK_FIELD_UINT("queue", worker->drain.config.index),
		      VBLK_FIELD_INT("error", error));
}

static struct wakeup wait_for_events(struct vblk_worker *worker)
{
	struct epoll_event events[EVENTS_MAX];
	struct wakeup wakeup = { false, false, false };
	int count;

	do {
		count = epoll_wait(worker->epoll_fd, events, EVENTS_MAX, worker->more ? 0 : -1);
	} while (count < 0 && errno == EINTR);
	if (count < 0) {
		log_failure(worker, VBLK_LOG_ERROR, "worker cannot wait for events", -errno);
		wakeup.stop = true;
	}
	for (int i = 0; i < count; i++) {
		switch (events[i].data.u32) {
		case TOKEN_STOP:
			wakeup.stop = true;
			break;
		case TOKEN_KICK:
			wakeup.kick = true;
			break;
		case TOKEN_THROTTLE:
			wakeup.timer = true;
			break;
		}
	}
	return wakeup;
}

/* Wakes the worker again after `wait_ns`. Without a timer the next kick has to do. */
static void sleep_until_tokens(struct vblk_worker *worker, uint64_t wait_ns)
{
	struct itimerspec when = { 0 };

	wait_ns = vblk_retry_clamp(wait_ns);
	when.it_value.tv_sec = (time_t)(wait_ns / VBLK_NSEC_PER_SEC);
	when.it_value.tv_nsec = (long)(wait_ns % VBLK_NSEC_PER_SEC);
	worker->blocked = timerfd_settime(worker->timer_fd, 0, &when, NULL) == 0;
	if (!worker->blocked)
		log_failure(worker, VBLK_LOG_WARN, "worker cannot set its timer", -errno);
}

static void drain_once(struct vblk_worker *worker)
{
	uint64_t wait_ns = 0;

	worker->blocked = false;
	worker->more = false;
	switch (vblk_drain_run(&worker->drain, &wait_ns)) {
	case VBLK_DRAIN_DONE:
		break;
	case VBLK_DRAIN_MORE:
		worker->more = true;
		break;
	case VBLK_DRAIN_STALLED:
		sleep_until_tokens(worker, wait_ns);
		break;
	}
}

static void serve(struct vblk_worker *worker)
{
	for (;;) {
		struct wakeup wakeup = wait_for_events(worker);

		if (wakeup.stop)
			return;
		if (wakeup.kick) {
			vblk_eventfd_clear(worker->kick_fd);
			vblk_metrics_add_notification(worker->drain.config.metrics);
		}
		if (wakeup.timer) {
			vblk_eventfd_clear(worker->timer_fd);
			worker->blocked = false;
		}
		if (!worker->blocked)
			drain_once(worker);
	}
}

static void *worker_main(void *argument)
{
	struct vblk_worker *worker = argument;
	bool detached;

	drain_once(worker);
	serve(worker);
	pthread_mutex_lock(&worker->lock);
	worker->ended = true;
	detached = worker->detached;
	pthread_cond_signal(&worker->ended_cond);
	pthread_mutex_unlock(&worker->lock);
	if (detached)
		worker_free(worker);
	return NULL;
}

static int watch(int epoll_fd, int fd, enum token token)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = token };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* Makes the worker's descriptors; those that could not be made are -1. */
static int open_descriptors(struct vblk_worker *worker, int kick_fd)
{
	int ret;

	worker->stop_fd = -1;
	worker->timer_fd = -1;
	worker->epoll_fd = -1;
	worker->kick_fd = fcntl(kick_fd, F_DUPFD_CLOEXEC, 0);
	if (worker->kick_fd < 0)
		return -errno;
	ret = vblk_eventfd_create(&worker->stop_fd);
	if (ret < 0)
		return ret;
	worker->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (worker->timer_fd < 0)
		return -errno;
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (worker->epoll_fd < 0)
		return -errno;
	ret = watch(worker->epoll_fd, worker->stop_fd, TOKEN_STOP);
	if (ret == 0)
		ret = watch(worker->epoll_fd, worker->kick_fd, TOKEN_KICK);
	if (ret == 0)
		ret = watch(worker->epoll_fd, worker->timer_fd, TOKEN_THROTTLE);
	return ret;
}

static void close_descriptors(struct vblk_worker *worker)
{
	const int fds[] = { worker->epoll_fd, worker->timer_fd, worker->stop_fd, worker->kick_fd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

/* The thread inherits a mask in which every signal is blocked: they are the embedder's. */
static int create_thread(struct vblk_worker *worker)
{
	sigset_t all, before;
	char name[16];
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = pthread_create(&worker->thread, NULL, worker_main, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret != 0)
		return -ret;
	snprintf(name, sizeof(name), "vblk%u/%u", worker->drain.config.instance,
		 worker->drain.config.index);
	pthread_setname_np(worker->thread, name);
	return 0;
}

static void init_end(struct vblk_worker *worker)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&worker->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&worker->ended_cond, &attr);
	pthread_condattr_destroy(&attr);
}

int vblk_worker_start(const struct vblk_drain_config *config, int kick_fd,
		      struct vblk_worker **worker)
{
	struct vblk_worker *w = calloc(1, sizeof(*w));
	int ret;

	if (!w)
		return -ENOMEM;
	ret = open_descriptors(w, kick_fd);
	if (ret < 0) {
		close_descriptors(w);
		free(w);
		return ret;
	}
	vblk_drain_init(&w->drain, config);
	init_end(w);
	ret = create_thread(w);
	if (ret < 0) {
		worker_free(w);
		return ret;
	}
	*worker = w;
	return 0;
}

static struct timespec deadline_after(uint32_t timeout_ms)
{
	struct timespec when;

	clock_gettime(CLOCK_MONOTONIC, &when);
	when.tv_sec += timeout_ms / 1000;
	when.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (when.tv_nsec >= (long)VBLK_NSEC_PER_SEC) {
		when.tv_sec++;
		when.tv_nsec -= (long)VBLK_NSEC_PER_SEC;
	}
	return when;
}

/*
 * Cuts off a worker that has not ended. Returns true if it ended after all while we did so. The
 * lock decides: the thread looks at `detached` when it sets `ended`.
 */
static bool cut_off(struct vblk_worker *worker)
{
	bool ended;

	if (vblk_lease_revoke(&worker->drain.lease) < 0)
		log_failure(worker, VBLK_LOG_ERROR,
			    "stuck worker is in guest memory and cannot be cut off", -EBUSY);
	log_failure(worker, VBLK_LOG_ERROR,
		    "worker did not stop in time and was abandoned: see "
		    "/proc/<pid>/task/*/stack for where it hangs",
		    -ETIMEDOUT);
	pthread_mutex_lock(&worker->lock);
	ended = worker->ended;
	if (!ended) {
		worker->detached = true;
		pthread_detach(worker->thread);
	}
	pthread_mutex_unlock(&worker->lock);
	return ended;
}

int vblk_worker_stop(struct vblk_worker *worker, uint32_t timeout_ms)
{
	struct timespec deadline = deadline_after(timeout_ms);
	bool ended;
	int ret = 0;

	if (vblk_eventfd_signal(worker->stop_fd) < 0)
		log_failure(worker, VBLK_LOG_ERROR, "cannot signal the worker to stop", -errno);
	pthread_mutex_lock(&worker->lock);
	while (!worker->ended && ret == 0)
		ret = pthread_cond_timedwait(&worker->ended_cond, &worker->lock, &deadline);
	ended = worker->ended;
	pthread_mutex_unlock(&worker->lock);
	if (!ended && !cut_off(worker))
		return -ETIMEDOUT;
	pthread_join(worker->thread, NULL);
	worker_free(worker);
	return 0;
}
