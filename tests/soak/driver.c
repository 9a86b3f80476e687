/* SPDX-License-Identifier: MIT */
/*
 * A driver's thread: what to do next, by chance. It behaves, but it resets its device whenever it
 * likes, and now and then makes a new one.
 *
 * A reset, like a notification from a storm or another set of limits, would cover up that the
 * device has lost a notification or an interrupt. So there are sessions in which the driver is
 * patient: whoever calls, it sleeps until it is answered, or until it has waited for too long.
 */
#include <sched.h>

#include "fail.h"
#include "station.h"

#define DEPTH_MAX  REQUESTS_MAX
#define SPINS_MAX  200u
#define LIVES_MAX  60u /* resets in the life of a device */
#define STEPS_LONG 200u
#define STEPS_FAST 12u /* where resets are what is counted */

/* Whether somebody wants the driver to come to an end. */
static bool is_called(struct station *station)
{
	return gate_is_closed(&station->soak->gate) ||
	       atomic_exchange_explicit(&station->nudged, false, memory_order_relaxed);
}

static void disarm(struct station *station)
{
	for (unsigned i = 0; i < station->rings; i++)
		ring_disarm(&station->ring[i]);
}

/*
 * Asks for an interrupt of each ring that has something in flight. Returns false if one of them
 * need not come.
 */
static bool arm(struct station *station)
{
	const bool many = rng_chance(&station->rng, 4);
	bool armed = true;

	for (unsigned i = 0; i < station->rings; i++) {
		struct ring *ring = &station->ring[i];
		unsigned most = many ? ring_in_flight(ring) : 1;

		if (ring_in_flight(ring) > 0 &&
		    !ring_arm(ring, (uint16_t)rng_between(&station->rng, 1, most)))
			armed = false;
	}
	return armed;
}

/* Looks for answers without interrupts, for a while. */
static void spin(struct station *station)
{
	const unsigned spins = rng_between(&station->rng, 1, SPINS_MAX);

	disarm(station);
	for (unsigned i = 0; i < spins && station->in_flight > 0; i++) {
		if (station_harvest(station) == 0)
			sched_yield();
	}
	station_check_age(station);
}

/*
 * Sleeps until there are answers. A driver that was called returns to sleep without looking at
 * the ring: an interrupt that was lost must not be covered up. Returns false if it shall end.
 */
static bool sleep_for_answers(struct station *station)
{
	if (arm(station)) {
		while (!station_wait(station)) {
			station_attend(station);
			if (!atomic_load(&station->patient) && is_called(station))
				return false;
		}
	}
	if (rng_chance(&station->rng, 2))
		disarm(station);
	station_harvest(station);
	return true;
}

/* One step of traffic. Returns false if the driver shall end. */
static bool step(struct station *station)
{
	struct rng *rng = &station->rng;

	station_attend(station);
	if (is_called(station))
		return false;
	station_submit(station, rng_below(rng, rng_chance(rng, 4) ? DEPTH_MAX : 8));
	if (!rng_chance(rng, 8))
		station_notify(station);
	if (rng_chance(rng, 3))
		return true;
	station_notify(station);
	if (station->in_flight == 0)
		return true;
	if (rng_chance(rng, 4)) {
		spin(station);
		return true;
	}
	return sleep_for_answers(station);
}

/* Takes all answers, as a driver does that is being removed. */
static void finish(struct station *station)
{
	station_notify(station);
	while (station->in_flight > 0) {
		if (!sleep_for_answers(station))
			return;
	}
}

/* From DRIVER_OK to where the driver wants to end it. */
static void serve(struct station *station)
{
	const bool fast = station->soak->options.cycles > 0;
	struct rng *rng = &station->rng;
	unsigned steps = rng_between(rng, 0, fast ? STEPS_FAST : STEPS_LONG);

	atomic_store(&station->patient, rng_chance(rng, 2));
	station_start(station, rng_chance(rng, 2) ? rng_below(rng, 16) : 0);
	for (; steps > 0; steps--) {
		if (!step(station))
			return;
	}
	if (rng_chance(rng, 16)) {
		finish(station);
	} else if (!rng_chance(rng, 4)) {
		station_submit(station, rng_below(rng, DEPTH_MAX));
		station_notify(station);
	}
}

/* One device, until the gate closes, chance wants another one, or its worker is lost. */
static void live(struct station *station)
{
	unsigned lives = rng_between(&station->rng, 1, LIVES_MAX);

	station_create_device(station);
	for (; lives > 0 && !gate_is_closed(&station->soak->gate); lives--) {
		serve(station);
		if (lives == 1 && rng_chance(&station->rng, 2))
			break; /* destroyed while it runs */
		if (!station_reset(station))
			break;
	}
	station_destroy_device(station);
}

void *soak_driver(void *argument)
{
	struct station *station = argument;
	struct soak *soak = station->soak;

	for (;;) {
		if (gate_is_closed(&soak->gate)) {
			gate_pass(&soak->gate);
			if (atomic_load(&soak->stop))
				return NULL;
		}
		live(station);
		if (gate_is_closed(&soak->gate))
			station_verify_disk(station);
	}
}
