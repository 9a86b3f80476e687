/* SPDX-License-Identifier: MIT */
#include <time.h>

#include "base/clock.h"
#include "base/eventfd.h"
#include "fail.h"
#include "station.h"

#define PATIENCE_S 60u

static void wake(struct station *station)
{
	if (vblk_eventfd_signal(station->wake_fd) < 0)
		soak_fail("a driver cannot be woken");
}

bool station_freeze(struct station *station)
{
	const uint64_t end = soak_now() + PATIENCE_S * VBLK_NSEC_PER_SEC;
	bool resting;

	pthread_mutex_lock(&station->rest_lock);
	station->rest_wanted = true;
	wake(station);
	while (!station->resting && !gate_is_closed(&station->soak->gate)) {
		struct timespec deadline = vblk_deadline_after(20);

		pthread_cond_timedwait(&station->rest_changed, &station->rest_lock, &deadline);
		if (soak_now() > end)
			soak_fail("driver %u is stuck, in a reset or destroy as it seems",
				  station->index);
	}
	resting = station->resting;
	if (!resting)
		station->rest_wanted = false;
	pthread_mutex_unlock(&station->rest_lock);
	return resting;
}

void station_thaw(struct station *station)
{
	pthread_mutex_lock(&station->rest_lock);
	station->rest_wanted = false;
	pthread_cond_broadcast(&station->rest_changed);
	pthread_mutex_unlock(&station->rest_lock);
}

void station_nudge(struct station *station)
{
	atomic_store_explicit(&station->nudged, true, memory_order_relaxed);
	wake(station);
}

/* Requests do not age while their driver rests. */
static void forgive(struct station *station, uint64_t ns)
{
	for (unsigned i = 0; i < REQUESTS_MAX; i++)
		station->request[i].born_ns += ns;
}

void station_attend(struct station *station)
{
	vblk_eventfd_clear(station->wake_fd);
	pthread_mutex_lock(&station->rest_lock);
	if (station->rest_wanted) {
		uint64_t begin = soak_now();

		station->resting = true;
		pthread_cond_broadcast(&station->rest_changed);
		while (station->rest_wanted)
			pthread_cond_wait(&station->rest_changed, &station->rest_lock);
		station->resting = false;
		forgive(station, soak_now() - begin);
	}
	pthread_mutex_unlock(&station->rest_lock);
}
