/* SPDX-License-Identifier: MIT */
/*
 * The worker thread. It sleeps in epoll on three descriptors: the kick (the driver has something),
 * the timer (tokens are there again) and the control (somebody of our own wants it to stop, park
 * or take other limits; which of them, memory says). All of them, and the epoll instance, are made
 * before the thread, so once it runs it has nothing left that can fail. Only a stranger in the
 * process who closes what is ours can end it then; the driver and the embedder are told.
 *
 * Control comes first in a batch of events, and within it the stop.
 *
 * A request that must wait for tokens blocks the queue: kicks are then taken note of, but only the
 * timer drains. The kick is read before a drain, so one that comes during a drain causes another.
 */
#include "engine/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "backing/uring.h"
#include "base/checked.h"
#include "base/eventfd.h"
#include "base/log.h"
#include "base/signals.h"
#include "engine/engine.h"
#include "metrics/metrics.h"

enum token {
	TOKEN_KICK = 1,
	TOKEN_CONTROL = 2,
	TOKEN_THROTTLE = 3,
	TOKEN_LANDED = 4,
};

#define EVENTS_MAX 4

struct vblk_worker {
	struct vblk_drain drain;
	struct vblk_engine_host host;
	struct vblk_park *park; /* owned reference */
	pthread_t thread;
	int kick_fd;
	int control_fd;
	int timer_fd;
	int epoll_fd;
	bool blocked; /* the next request waits for the timer */
	bool timed;   /* the timer has been set, and was not heard since */
	bool more;    /* the last drain reached its bound: go on after a look at the events */

	bool stop; /* under the park's lock */

	atomic_bool retry; /* there are other limits, or it is this queue's turn */

	/* How it ends: under the lock, the thread and whoever stops it agree who frees. */
	pthread_mutex_t lock;
	pthread_cond_t ended_cond;
	bool ended;
	bool detached;
};

/* What one batch of events asks for. */
struct wakeup {
	int error; /* there is no waiting any more: a negative errno */
	bool control;
	bool kick;
	bool timer;
	bool landed;
};

static void worker_free(struct vblk_worker *worker)
{
	vblk_drain_destroy(&worker->drain);
	vblk_park_unref(worker->park);
	pthread_cond_destroy(&worker->ended_cond);
	pthread_mutex_destroy(&worker->lock);
	close(worker->epoll_fd);
	close(worker->timer_fd);
	close(worker->control_fd);
	close(worker->kick_fd);
	free(worker);
}

/* Of the host's doing, but a guest may make it happen again and again. */
static void log_failure(struct vblk_worker *worker, enum vblk_log_level level, const char *message,
			int error)
{
	const struct vblk_drain_config *config = &worker->drain.config;

	vblk_log_emit_limited(
		&config->disk->log, &config->port->log_limit, vblk_clock_now(&config->disk->clock),
		level, message, VBLK_FIELD_UINT("instance", config->disk->instance),
		VBLK_FIELD_UINT("queue", config->index), VBLK_FIELD_INT("error", error));
}

static struct wakeup wait_for_events(struct vblk_worker *worker)
{
	struct epoll_event events[EVENTS_MAX];
	struct wakeup wakeup = { .error = 0 };
	int count;

	do {
		count = epoll_wait(worker->epoll_fd, events, EVENTS_MAX, worker->more ? 0 : -1);
	} while (count < 0 && errno == EINTR);
	if (count < 0)
		wakeup.error = -errno;
	for (int i = 0; i < count; i++) {
		switch (events[i].data.u32) {
		case TOKEN_CONTROL:
			wakeup.control = true;
			break;
		case TOKEN_KICK:
			wakeup.kick = true;
			/* No eventfd hangs up: what does would wake us for ever. */
			if (events[i].events & (EPOLLHUP | EPOLLERR))
				(void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, worker->kick_fd,
						NULL);
			break;
		case TOKEN_THROTTLE:
			wakeup.timer = true;
			break;
		case TOKEN_LANDED:
			wakeup.landed = true;
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
	if (worker->blocked)
		worker->timed = true;
	else
		log_failure(worker, VBLK_LOG_WARN, "worker cannot set its timer", -errno);
}

/* The request that it was set for has passed, or is gone: nobody need be woken for it. */
static void forget_timer(struct vblk_worker *worker)
{
	static const struct itimerspec never = { 0 };

	if (!worker->timed)
		return;
	worker->timed = false;
	(void)timerfd_settime(worker->timer_fd, 0, &never, NULL);
}

static void drain_once(struct vblk_worker *worker)
{
	uint64_t wait_ns = 0;

	worker->blocked = false;
	worker->more = false;
	switch (vblk_drain_run(&worker->drain, &wait_ns)) {
	case VBLK_DRAIN_DONE:
		forget_timer(worker);
		break;
	case VBLK_DRAIN_MORE:
		forget_timer(worker);
		worker->more = true;
		break;
	case VBLK_DRAIN_STALLED:
		sleep_until_tokens(worker, wait_ns);
		break;
	}
}

/* A request that waits for tokens is looked at again, also one that has no timer. */
static void take_retry(struct vblk_worker *worker)
{
	if (!atomic_exchange(&worker->retry, false))
		return;
	worker->more = worker->more || worker->drain.stalled;
	worker->blocked = false;
}

/* Serves what there is, as far as limits let it; what has landed in any case. */
static void drain_if_due(struct vblk_worker *worker, const struct wakeup *wakeup)
{
	if (!worker->blocked && (wakeup->kick || wakeup->timer || wakeup->landed || worker->more))
		drain_once(worker);
	else if (wakeup->landed)
		vblk_drain_land(&worker->drain);
}

/*
 * Does what the control asks for, if it asks for a rest or the end; both are said under the lock
 * that also sets `yield`, before we are woken. Everything has to land first. What that made room
 * for nobody else will announce. Returns whether to end.
 */
static bool obey(struct vblk_worker *worker)
{
	if (!atomic_load(&worker->park->yield))
		return false;
	worker->more = vblk_drain_settle(&worker->drain) || worker->more;
	return vblk_park_here(worker->park, &worker->stop);
}

/* Returns 0 when it was told to stop, or why there is no going on. */
static int serve(struct vblk_worker *worker)
{
	/* Nothing is under way yet. */
	if (vblk_park_here(worker->park, &worker->stop))
		return 0;
	for (;;) {
		struct wakeup wakeup = wait_for_events(worker);

		if (wakeup.error < 0)
			return wakeup.error;
		if (wakeup.control) {
			vblk_eventfd_clear(worker->control_fd);
			if (obey(worker))
				return 0;
			take_retry(worker);
		}
		if (wakeup.kick) {
			vblk_eventfd_clear_foreign(worker->kick_fd);
			vblk_metrics_add_notification(worker->drain.config.disk->metrics);
		}
		if (wakeup.timer) {
			vblk_eventfd_clear(worker->timer_fd);
			worker->timed = false;
			worker->blocked = false;
		}
		drain_if_due(worker, &wakeup);
	}
}

/*
 * Ends without having been told to. The driver hears of it first: once the worker is at rest, it
 * must not touch the guest. Whoever is stopping it just now will clear that again.
 */
static void give_up(struct vblk_worker *worker, int error)
{
	const struct vblk_drain_config *config = &worker->drain.config;
	int ret = 0;

	(void)vblk_drain_settle(&worker->drain);
	vblk_log_emit(&config->disk->log, VBLK_LOG_ERROR, "worker cannot wait for events and ends",
		      VBLK_FIELD_UINT("instance", config->disk->instance),
		      VBLK_FIELD_UINT("queue", config->index), VBLK_FIELD_INT("error", error));
	if (vblk_lease_hold(&worker->drain.lease)) {
		ret = vblk_port_signal_needs_reset(config->port);
		vblk_lease_release(&worker->drain.lease);
	}
	vblk_port_log(config->port, ret);
	if (vblk_park_leave(worker->park, &worker->stop))
		return;
	if (worker->host.lost)
		worker->host.lost(worker->host.lost_context, error);
}

struct worker_look {
	const struct vblk_worker *worker;
	struct vblk_queue_state *state;
};

static void look_at_drain(void *context)
{
	const struct worker_look *look = context;

	vblk_drain_inspect(&look->worker->drain, look->state);
}

/* What a worker has changed is there for who finds the park's flag set. */
void vblk_worker_inspect(struct vblk_worker *worker, struct vblk_queue_state *state)
{
	struct worker_look look = { worker, state };

	if (!vblk_park_look(worker->park, look_at_drain, &look))
		vblk_drain_inspect_running(&worker->drain, state);
}

/* At most 16 bytes with the NUL; the kernel cuts off what is more. */
static void name_thread(const struct vblk_drain_config *config)
{
	char name[32];

	snprintf(name, sizeof(name), "vblk%u/%u", config->disk->instance, config->index);
	prctl(PR_SET_NAME, name);
}

static void *worker_main(void *argument)
{
	struct vblk_worker *worker = argument;
	bool detached;
	int ret;

	name_thread(&worker->drain.config);
	vblk_cpus_apply(&worker->host.cpus, worker->drain.config.port);
	ret = serve(worker);
	if (ret < 0)
		give_up(worker, ret);
	pthread_mutex_lock(&worker->lock);
	worker->ended = true;
	detached = worker->detached;
	pthread_cond_signal(&worker->ended_cond);
	pthread_mutex_unlock(&worker->lock);
	if (detached) {
		/* Its last call has returned; the drain tells of its end behind this. */
		atomic_fetch_sub_explicit(&worker->drain.config.disk->abandoned, 1,
					  memory_order_release);
		worker_free(worker);
	}
	return NULL;
}

static int watch(int epoll_fd, int fd, enum token token)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = token };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int watch_landings(struct vblk_worker *worker)
{
	int fd = vblk_drain_fd(&worker->drain);

	return fd < 0 ? 0 : watch(worker->epoll_fd, fd, TOKEN_LANDED);
}

/* Makes the worker's descriptors; those that could not be made are -1. */
static int open_descriptors(struct vblk_worker *worker, int kick_fd)
{
	int ret;

	worker->control_fd = -1;
	worker->timer_fd = -1;
	worker->epoll_fd = -1;
	worker->kick_fd = fcntl(kick_fd, F_DUPFD_CLOEXEC, 0);
	if (worker->kick_fd < 0)
		return -errno;
	ret = vblk_eventfd_create(&worker->control_fd);
	if (ret < 0)
		return ret;
	worker->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (worker->timer_fd < 0)
		return -errno;
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (worker->epoll_fd < 0)
		return -errno;
	ret = watch(worker->epoll_fd, worker->control_fd, TOKEN_CONTROL);
	if (ret == 0)
		ret = watch(worker->epoll_fd, worker->kick_fd, TOKEN_KICK);
	if (ret == 0)
		ret = watch(worker->epoll_fd, worker->timer_fd, TOKEN_THROTTLE);
	return ret;
}

static void close_descriptors(struct vblk_worker *worker)
{
	const int fds[] = { worker->epoll_fd, worker->timer_fd, worker->control_fd,
			    worker->kick_fd };

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(fds); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

static int create_thread(struct vblk_worker *worker)
{
	sigset_t before;
	int ret;

	vblk_signals_block(&before);
	ret = vblk_cpus_create_thread(&worker->host.cpus, worker_main, worker, &worker->thread);
	vblk_signals_restore(&before);
	return ret;
}

static void init_locks(struct vblk_worker *worker)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&worker->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&worker->ended_cond, &attr);
	pthread_condattr_destroy(&attr);
}

void vblk_worker_wake(struct vblk_worker *worker)
{
	int ret = vblk_eventfd_signal(worker->control_fd);

	if (ret < 0)
		log_failure(worker, VBLK_LOG_ERROR, "cannot signal the worker", ret);
}

void vblk_worker_retry(struct vblk_worker *worker)
{
	atomic_store(&worker->retry, true);
	vblk_worker_wake(worker);
}

/* Called under the lock of the limits: a store and a write that does not block. */
static void retry_worker(void *context)
{
	vblk_worker_retry(context);
}

/*
 * Has io_uring make the calls, if the disk wants that and it is to be had. If not, nothing is lost
 * but speed, and it is said once.
 */
static struct vblk_air *take_off(struct vblk_disk *disk)
{
	struct vblk_air *air = NULL;
	struct vblk_aio *aio;
	int ret;

	if (!disk->io_uring)
		return NULL;
	ret = vblk_uring_create(disk->backing, VBLK_AIR_MAX, &aio);
	if (ret == 0)
		ret = vblk_air_create(aio, &air);
	if (ret < 0 && !atomic_exchange(&disk->uring_missed, true))
		vblk_log_emit(&disk->log, VBLK_LOG_WARN,
			      "io_uring is not to be had: calls are made one by one",
			      VBLK_FIELD_UINT("instance", disk->instance),
			      VBLK_FIELD_INT("error", ret));
	return air;
}

int vblk_worker_start(const struct vblk_drain_config *config, const struct vblk_engine_host *host,
		      struct vblk_park *park, int kick_fd, struct vblk_worker **worker)
{
	struct vblk_drain_config own = *config;
	struct vblk_worker *w = calloc(1, sizeof(*w));
	int ret;

	if (!w) {
		vblk_drain_discard(config);
		return -ENOMEM;
	}
	ret = open_descriptors(w, kick_fd);
	if (ret < 0) {
		close_descriptors(w);
		vblk_drain_discard(config);
		free(w);
		return ret;
	}
	own.yield = &park->yield;
	own.retry = retry_worker;
	own.retry_context = w;
	own.batch_ns = VBLK_DRAIN_BATCH_NS;
	own.poll_ns = config->disk->poll_ns;
	own.air = take_off(config->disk);
	vblk_drain_init(&w->drain, &own);
	w->host = *host;
	w->park = vblk_park_ref(park);
	w->more = true; /* what was made available before there was a worker */
	init_locks(w);
	ret = watch_landings(w);
	if (ret == 0) {
		vblk_park_begin(park);
		ret = create_thread(w);
		if (ret < 0)
			vblk_park_end(park);
	}
	if (ret < 0) {
		worker_free(w);
		return ret;
	}
	*worker = w;
	return 0;
}

/*
 * Cuts off a worker that has not ended. Returns true if it ended after all while we did so. The
 * lock decides: the thread looks at `detached` when it sets `ended`. Once it is detached it may be
 * gone at any moment, and what is said of it must have been copied before.
 */
static bool cut_off(struct vblk_worker *worker)
{
	const struct vblk_drain_config *config = &worker->drain.config;
	const struct vblk_log log = config->disk->log;
	const struct vblk_log_field about[] = {
		VBLK_FIELD_UINT("instance", config->disk->instance),
		VBLK_FIELD_UINT("queue", config->index),
		VBLK_FIELD_UINT("capacity", vblk_disk_capacity(config->disk)),
		VBLK_FIELD_INT("stop_fd", worker->control_fd),
	};
	int ret = vblk_lease_revoke(&worker->drain.lease);
	bool ended;

	pthread_mutex_lock(&worker->lock);
	ended = worker->ended;
	if (!ended) {
		worker->detached = true;
		atomic_fetch_add_explicit(&config->disk->abandoned, 1, memory_order_relaxed);
		pthread_detach(worker->thread);
	}
	pthread_mutex_unlock(&worker->lock);
	if (ended)
		return true;
	if (ret < 0)
		vblk_log_emit(&log, VBLK_LOG_ERROR,
			      "stuck worker is in guest memory and cannot be cut off", about[0],
			      about[1], VBLK_FIELD_INT("error", ret));
	vblk_log_emit(&log, VBLK_LOG_ERROR,
		      "worker did not stop in time and was abandoned: /proc/<pid>/task/*/stack "
		      "tells where it hangs",
		      about[0], about[1], about[2], about[3]);
	return false;
}

void vblk_worker_ask_to_stop(struct vblk_worker *worker)
{
	vblk_park_stop(worker->park, &worker->stop);
	vblk_worker_wake(worker);
}

bool vblk_worker_wait(struct vblk_worker *worker, uint32_t timeout_ms)
{
	struct timespec deadline = vblk_deadline_after(timeout_ms);
	bool ended;
	int ret = 0;

	pthread_mutex_lock(&worker->lock);
	while (!worker->ended && ret == 0)
		ret = pthread_cond_timedwait(&worker->ended_cond, &worker->lock, &deadline);
	ended = worker->ended;
	pthread_mutex_unlock(&worker->lock);
	return ended;
}

int vblk_worker_stop(struct vblk_worker *worker, uint32_t timeout_ms)
{
	struct vblk_park *park = vblk_park_ref(worker->park);
	bool ended;

	vblk_worker_ask_to_stop(worker);
	ended = vblk_worker_wait(worker, timeout_ms);
	if (!ended)
		ended = cut_off(worker);
	if (ended) {
		pthread_join(worker->thread, NULL);
		worker_free(worker);
	}
	vblk_park_end(park);
	vblk_park_unref(park);
	return ended ? 0 : -ETIMEDOUT;
}
