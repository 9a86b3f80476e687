/* SPDX-License-Identifier: MIT */
/* The rendezvous between a freeze coordinator and a worker. */
#include "engine/park.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/eventfd.h"

int vblk_park_create(struct vblk_park **park)
{
	struct vblk_park *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;

	if (!p)
		return -ENOMEM;
	atomic_init(&p->refs, 1);
	atomic_init(&p->paused, true);
	atomic_init(&p->yield, false);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attr);
	pthread_condattr_destroy(&attr);
	p->parked_fd = -1;
	*park = p;
	return 0;
}

struct vblk_park *vblk_park_ref(struct vblk_park *park)
{
	atomic_fetch_add_explicit(&park->refs, 1, memory_order_relaxed);
	return park;
}

static void free_park(struct vblk_park *park)
{
	if (park->parked_fd >= 0)
		close(park->parked_fd);
	pthread_cond_destroy(&park->changed);
	pthread_mutex_destroy(&park->lock);
	free(park);
}

/* With the last reference to a part goes one to the whole. */
void vblk_park_unref(struct vblk_park *park)
{
	while (park && atomic_fetch_sub_explicit(&park->refs, 1, memory_order_acq_rel) == 1) {
		struct vblk_park *whole = park->whole;

		free_park(park);
		park = whole;
	}
}

bool vblk_park_is_paused(const struct vblk_park *park)
{
	return atomic_load_explicit(&park->paused, memory_order_acquire);
}

/* Under the lock: changes the flag and wakes those who wait for a change. */
static void store_paused(struct vblk_park *park, bool paused)
{
	atomic_store_explicit(&park->paused, paused, memory_order_release);
	pthread_cond_broadcast(&park->changed);
}

/* Under the lock: the same, and the whole is told of a part that fell asleep or woke up. */
static void set_paused(struct vblk_park *park, bool paused)
{
	struct vblk_park *whole = park->whole;
	bool changes = vblk_park_is_paused(park) != paused;

	store_paused(park, paused);
	if (!whole || !changes)
		return;
	pthread_mutex_lock(&whole->lock);
	whole->awake += paused ? -1u : 1u;
	store_paused(whole, whole->awake == 0);
	pthread_mutex_unlock(&whole->lock);
}

/* Under the lock. A counter that is full is as readable as it gets, and there is nobody to tell. */
static void acknowledge(struct vblk_park *park)
{
	park->ack_owed = false;
	if (park->parked_fd >= 0 && vblk_eventfd_signal(park->parked_fd) < 0)
		return;
}

void vblk_park_hold_ack(struct vblk_park *whole)
{
	pthread_mutex_lock(&whole->lock);
	whole->owing++;
	pthread_mutex_unlock(&whole->lock);
}

void vblk_park_release_ack(struct vblk_park *whole)
{
	pthread_mutex_lock(&whole->lock);
	whole->owing--;
	if (whole->owing == 0 && whole->ack_owed)
		acknowledge(whole);
	pthread_mutex_unlock(&whole->lock);
}

/* Under the lock: a request was made that is to be acknowledged. */
static void owe_ack(struct vblk_park *park)
{
	struct vblk_park *whole = park->whole;

	park->ack_owed = true;
	if (!whole)
		return;
	pthread_mutex_lock(&whole->lock);
	whole->owing++;
	whole->ack_owed = true;
	pthread_mutex_unlock(&whole->lock);
}

/* Under the lock: makes the one acknowledgement that a request promised. */
static void pay_ack(struct vblk_park *park)
{
	if (!park->ack_owed)
		return;
	if (!park->whole) {
		acknowledge(park);
		return;
	}
	park->ack_owed = false;
	vblk_park_release_ack(park->whole);
}

void vblk_park_join(struct vblk_park *park, struct vblk_park *whole)
{
	park->whole = vblk_park_ref(whole);
}

void vblk_park_begin(struct vblk_park *park)
{
	pthread_mutex_lock(&park->lock);
	park->live = true;
	atomic_store_explicit(&park->yield, false, memory_order_relaxed);
	set_paused(park, park->level);
	pthread_mutex_unlock(&park->lock);
}

/* Under the lock. */
static void end(struct vblk_park *park)
{
	park->live = false;
	set_paused(park, true);
	pay_ack(park);
}

void vblk_park_end(struct vblk_park *park)
{
	pthread_mutex_lock(&park->lock);
	end(park);
	pthread_mutex_unlock(&park->lock);
}

void vblk_park_reset(struct vblk_park *park)
{
	pthread_mutex_lock(&park->lock);
	park->level = false;
	end(park);
	pthread_mutex_unlock(&park->lock);
}

bool vblk_park_leave(struct vblk_park *park, const bool *stop)
{
	bool stopped;

	pthread_mutex_lock(&park->lock);
	stopped = *stop;
	if (!stopped)
		end(park);
	pthread_mutex_unlock(&park->lock);
	return stopped;
}

bool vblk_park_request(struct vblk_park *park)
{
	bool follows;

	pthread_mutex_lock(&park->lock);
	follows = park->live && !park->level;
	park->level = true;
	if (follows) {
		owe_ack(park);
		atomic_store_explicit(&park->yield, true, memory_order_relaxed);
	}
	pthread_mutex_unlock(&park->lock);
	return follows;
}

bool vblk_park_release(struct vblk_park *park)
{
	bool live;

	pthread_mutex_lock(&park->lock);
	live = park->live;
	park->level = false;
	pay_ack(park);
	pthread_cond_broadcast(&park->changed);
	pthread_mutex_unlock(&park->lock);
	return live;
}

void vblk_park_stop(struct vblk_park *park, bool *stop)
{
	pthread_mutex_lock(&park->lock);
	*stop = true;
	park->level = false;
	atomic_store_explicit(&park->yield, true, memory_order_relaxed);
	pthread_cond_broadcast(&park->changed);
	pthread_mutex_unlock(&park->lock);
}

bool vblk_park_here(struct vblk_park *park, const bool *stop)
{
	bool stopped;

	pthread_mutex_lock(&park->lock);
	while (park->level && !*stop) {
		set_paused(park, true);
		pay_ack(park);
		pthread_cond_wait(&park->changed, &park->lock);
	}
	stopped = *stop;
	/*
	 * A worker that was stopped changes nothing here any more: it may have been given up, and
	 * the flag speaks of what has come after it.
	 */
	if (!stopped) {
		atomic_store_explicit(&park->yield, false, memory_order_relaxed);
		if (vblk_park_is_paused(park))
			set_paused(park, false);
	}
	pthread_mutex_unlock(&park->lock);
	return stopped;
}

void vblk_park_settle(struct vblk_park *park)
{
	pthread_mutex_lock(&park->lock);
	if (park->live) {
		atomic_store_explicit(&park->yield, false, memory_order_relaxed);
		set_paused(park, park->level);
		if (park->level)
			pay_ack(park);
	}
	pthread_mutex_unlock(&park->lock);
}

bool vblk_park_look(struct vblk_park *park, void (*look)(void *context), void *context)
{
	bool paused;

	pthread_mutex_lock(&park->lock);
	paused = vblk_park_is_paused(park);
	if (paused)
		look(context);
	pthread_mutex_unlock(&park->lock);
	return paused;
}

int vblk_park_set_fd(struct vblk_park *park, int fd)
{
	int own = -1;

	if (fd >= 0) {
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (own < 0)
			return -errno;
	}
	pthread_mutex_lock(&park->lock);
	if (park->parked_fd >= 0)
		close(park->parked_fd);
	park->parked_fd = own;
	pthread_mutex_unlock(&park->lock);
	return 0;
}

int vblk_park_wait(struct vblk_park *park, uint32_t timeout_ms)
{
	struct timespec deadline = vblk_deadline_after(timeout_ms);
	bool paused;
	int ret = 0;

	pthread_mutex_lock(&park->lock);
	while (!vblk_park_is_paused(park) && ret == 0)
		ret = pthread_cond_timedwait(&park->changed, &park->lock, &deadline);
	paused = vblk_park_is_paused(park);
	pthread_mutex_unlock(&park->lock);
	return paused ? 0 : -ETIMEDOUT;
}
