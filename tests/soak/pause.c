/* SPDX-License-Identifier: MIT */
/*
 * What a pause promises, put to the test from outside.
 *
 * A device whose driver rests as well is as silent as a machine that is frozen: not one byte of
 * guest memory, counter or interrupt changes, whatever notifications arrive. And of all pauses,
 * in order or in disorder, with resets in between: as many acknowledgements arrive as were
 * promised.
 */
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "base/eventfd.h"
#include "fail.h"
#include "pause.h"

/* A disk of a device that is paused may be told to hang for a while. */
#define PATIENCE_MS 20000u

/* A driver that was nudged and does not reset by then is doing something else. */
#define RESET_MS 100u

static bool ask_for_rest(struct station *station)
{
	bool promised = vblk_device_pause(station->device);

	if (promised) {
		atomic_fetch_add(&station->soak->promised, 1);
		soak_count(&station->soak->counts.pauses, 1);
	}
	return promised;
}

/* Whether a reset or destroy has come between. */
static bool has_moved(struct station *station, unsigned epoch)
{
	return atomic_load(&station->epoch) != epoch;
}

static void disturb(struct station *station, struct rng *rng)
{
	unsigned kicks = station->stormy ? rng_below(rng, 20) : 0;

	for (; kicks > 0; kicks--) {
		if (vblk_eventfd_signal(
			    vblk_device_kick_fd(station->device, kicks % station->queues)) < 0)
			soak_fail("the kick of device %u cannot be signalled", station->index);
	}
	if (rng_chance(rng, 2))
		soak_sleep_us(rng_below(rng, 1000));
}

/* The device is paused and its driver rests. */
static void look(struct station *station, struct rng *rng, uint8_t *copy)
{
	const bool whole = rng_chance(rng, 4);
	struct vblk_metrics_snapshot before, after;
	uint16_t used_idx[RAM_RINGS_MAX] = { 0 };

	for (unsigned i = 0; i < station->rings; i++)
		used_idx[i] = ring_used_idx(&station->ring[i]);
	vblk_metrics_read(vblk_device_metrics(station->device), &before);
	if (whole)
		ram_copy_all(station->ram, copy);
	disturb(station, rng);
	if (!vblk_device_is_paused(station->device))
		soak_fail("device %u leaves its rest by itself", station->index);
	for (unsigned i = 0; i < station->rings; i++) {
		if (ring_used_idx(&station->ring[i]) != used_idx[i])
			soak_fail("device %u answers in queue %u while it is paused",
				  station->index, i);
	}
	if (whole && !ram_equals(station->ram, copy))
		soak_fail("device %u changes guest memory while it is paused", station->index);
	vblk_metrics_read(vblk_device_metrics(station->device), &after);
	if (memcmp(&before, &after, sizeof(before)) != 0)
		soak_fail("device %u works while it is paused", station->index);
}

/* A device that was resumed while its driver rests has to leave its rest. */
static void expect_awake(struct station *station)
{
	const uint64_t end = soak_now() + PATIENCE_MS * VBLK_NSEC_PER_MSEC;

	while (vblk_device_is_paused(station->device)) {
		if (soak_now() > end)
			soak_fail("device %u was resumed and goes on resting", station->index);
		sched_yield();
	}
}

/* The driver rests, so the device runs and nobody resets it. */
static void pause_at_rest(struct station *station, struct rng *rng, bool already, uint8_t *copy)
{
	if (!ask_for_rest(station) && !already)
		soak_fail("device %u runs and cannot be paused", station->index);
	if (ask_for_rest(station))
		soak_fail("device %u promises an acknowledgement for a second pause",
			  station->index);
	if (vblk_device_wait_paused(station->device, PATIENCE_MS) != 0)
		soak_fail("device %u does not come to rest", station->index);
	look(station, rng, copy);
	if (!vblk_device_resume(station->device))
		soak_fail("device %u runs and cannot be resumed", station->index);
	expect_awake(station);
	if (rng_chance(rng, 2) && vblk_device_resume(station->device) &&
	    vblk_device_is_paused(station->device))
		soak_fail("device %u rests after a second resume", station->index);
	soak_count(&station->soak->counts.freezes, 1);
}

/*
 * Pauses a device whose driver goes on: it fills the queue, and notices nothing but time. Nobody
 * acknowledges the pause of a device that does not run, but it will be at rest when it starts.
 */
static bool pause_first(struct station *station, struct rng *rng)
{
	bool paused = false;

	pthread_rwlock_rdlock(&station->alive);
	if (station->device) {
		ask_for_rest(station);
		paused = true;
		soak_sleep_us(rng_below(rng, 500));
	}
	pthread_rwlock_unlock(&station->alive);
	return paused;
}

/* Ends what pause_first has begun, if no reset has. */
static void resume(struct station *station)
{
	pthread_rwlock_rdlock(&station->alive);
	if (station->device)
		vblk_device_resume(station->device);
	pthread_rwlock_unlock(&station->alive);
}

void pause_and_look(struct station *station, struct rng *rng, uint8_t *copy)
{
	bool first;

	pthread_rwlock_wrlock(&station->pauses);
	first = rng_chance(rng, 2) && pause_first(station, rng);
	if (station_freeze(station)) {
		if (station->running && !atomic_load(&station->lost))
			pause_at_rest(station, rng, first, copy);
		station_thaw(station);
	} else if (first) {
		resume(station);
	}
	pthread_rwlock_unlock(&station->pauses);
}

void soak_take_acks(struct soak *soak)
{
	soak->received += vblk_eventfd_clear(soak->parked_fd);
	if (soak->received > atomic_load(&soak->promised))
		soak_fail("%" PRIu64 " pauses were acknowledged, %" PRIu64 " promised",
			  soak->received, atomic_load(&soak->promised));
}

/* Waits until all is acknowledged that has been promised; nobody else pauses meanwhile. */
static void wait_for_acks(struct soak *soak)
{
	const uint64_t end = soak_now() + PATIENCE_MS * VBLK_NSEC_PER_MSEC;
	struct pollfd pfd = { .fd = soak->parked_fd, .events = POLLIN };

	for (;;) {
		soak_take_acks(soak);
		if (soak->received == atomic_load(&soak->promised))
			return;
		if (soak_now() > end)
			soak_fail("%" PRIu64 " pauses were promised, %" PRIu64 " acknowledged",
				  atomic_load(&soak->promised), soak->received);
		poll(&pfd, 1, 100);
	}
}

/* A device that was paused rests, unless its driver has reset it and so ended the pause. */
static void expect_rest(struct station *station, unsigned epoch)
{
	bool paused = vblk_device_is_paused(station->device);

	if (!paused && !has_moved(station, epoch))
		soak_fail("device %u has acknowledged a pause and does not rest", station->index);
}

void pause_machine(struct soak *soak, struct rng *rng)
{
	const unsigned count = soak->options.devices;
	unsigned epoch[SOAK_DEVICES_MAX];
	bool promised[SOAK_DEVICES_MAX];

	for (unsigned i = 0; i < count; i++)
		pthread_rwlock_wrlock(&soak->station[i].pauses);
	wait_for_acks(soak);
	for (unsigned i = 0; i < count; i++) {
		struct station *station = &soak->station[i];

		pthread_rwlock_rdlock(&station->alive);
		epoch[i] = atomic_load(&station->epoch);
		promised[i] = station->device && ask_for_rest(station);
	}
	wait_for_acks(soak);
	for (unsigned i = 0; i < count; i++) {
		if (promised[i])
			expect_rest(&soak->station[i], epoch[i]);
	}
	if (rng_chance(rng, 2))
		soak_sleep_us(rng_below(rng, 1000));
	for (unsigned i = 0; i < count; i++) {
		if (soak->station[i].device)
			vblk_device_resume(soak->station[i].device);
		pthread_rwlock_unlock(&soak->station[i].alive);
	}
	soak_take_acks(soak);
	for (unsigned i = 0; i < count; i++)
		pthread_rwlock_unlock(&soak->station[i].pauses);
	soak_count(&soak->counts.freezes, 1);
}

/* The driver is told to reset its device, which ends the pause. */
static void let_reset_end_it(struct station *station, unsigned epoch)
{
	const uint64_t end = soak_now() + RESET_MS * VBLK_NSEC_PER_MSEC;

	station_nudge(station);
	while (!has_moved(station, epoch) && !atomic_load(&station->patient) && soak_now() < end)
		soak_sleep_us(50);
}

void pause_loosely(struct station *station, struct rng *rng)
{
	unsigned epoch;

	pthread_rwlock_rdlock(&station->pauses);
	pthread_rwlock_rdlock(&station->alive);
	if (station->device) {
		epoch = atomic_load(&station->epoch);
		if (rng_chance(rng, 8) &&
		    vblk_device_set_parked_fd(station->device, station->soak->parked_fd) < 0)
			soak_fail("no descriptors are left");
		ask_for_rest(station);
		if (rng_chance(rng, 2))
			soak_sleep_us(rng_below(rng, 300));
		/* It may be reset and start again meanwhile, and so be missed at rest. */
		if (rng_chance(rng, 4) && vblk_device_wait_paused(station->device, 5) < 0)
			sched_yield();
		if (rng_chance(rng, 16))
			let_reset_end_it(station, epoch);
		vblk_device_resume(station->device);
	}
	pthread_rwlock_unlock(&station->alive);
	pthread_rwlock_unlock(&station->pauses);
}

/* Watches a device that rests until its driver has reset it: it must not stir meanwhile. */
static void watch_reset(struct station *station, unsigned epoch)
{
	const uint64_t end = soak_now() + RESET_MS * VBLK_NSEC_PER_MSEC;

	station_nudge(station);
	while (!atomic_load(&station->patient) && soak_now() < end) {
		bool paused = vblk_device_is_paused(station->device);
		unsigned moved = atomic_load(&station->epoch) - epoch;

		if (moved >= 2)
			return;
		if (!paused)
			soak_fail("device %u stirs while it rests and is being reset",
				  station->index);
		sched_yield();
	}
}

void pause_through_reset(struct station *station)
{
	unsigned epoch;

	pthread_rwlock_wrlock(&station->pauses);
	pthread_rwlock_rdlock(&station->alive);
	epoch = atomic_load(&station->epoch);
	if (station->device && epoch % 2 == 0) {
		/* A reset that was faster than we has to be waited for in vain. */
		if (ask_for_rest(station) && vblk_device_wait_paused(station->device, 20) == 0 &&
		    !has_moved(station, epoch))
			watch_reset(station, epoch);
		vblk_device_resume(station->device);
	}
	pthread_rwlock_unlock(&station->alive);
	pthread_rwlock_unlock(&station->pauses);
}
