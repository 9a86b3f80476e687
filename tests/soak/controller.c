/* SPDX-License-Identifier: MIT */
/*
 * The threads that make life hard for devices and drivers, a random act at a time.
 *
 * Faults come in periods: a device's disk misbehaves from the moment its rules are set to the
 * moment they are cleared, and only requests of that time may fail. A disk that hangs does so for
 * longer than the device waits for its worker, if the driver happens to reset it meanwhile; the
 * hang ends by itself, always.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backing/faulty.h"
#include "base/clock.h"
#include "fail.h"
#include "pause.h"

#define FAULT_RULES_MAX 3u
#define HANG_MAX_US	120000u
#define STORM_MAX_MS	40u
#define CALM_MAX_MS	400u
#define PERIOD_MAX_MS	200u

struct controller {
	struct soak *soak;
	struct rng rng;
	uint8_t *copy;			      /* of a guest's memory */
	uint64_t fault_end[SOAK_DEVICES_MAX]; /* 0: the disk is well */
	uint64_t storm_end;		      /* of a storm, or of the calm between two */
};

static struct station *any_station(struct soak *soak, struct rng *rng)
{
	return &soak->station[rng_below(rng, soak->options.devices)];
}

static struct vblk_faulty_rule random_rule(struct rng *rng)
{
	static const struct vblk_faulty_rule rules[] = {
		{ VBLK_FAULTY_PREADV, VBLK_FAULTY_ERROR, EIO, 0, 0, 0 },
		{ VBLK_FAULTY_PWRITEV, VBLK_FAULTY_ERROR, EIO, 0, 0, 0 },
		{ VBLK_FAULTY_PWRITEV, VBLK_FAULTY_ERROR, ENOSPC, 0, 0, 0 },
		{ VBLK_FAULTY_SYNC, VBLK_FAULTY_ERROR, EIO, 0, 0, 0 },
		{ VBLK_FAULTY_PREADV, VBLK_FAULTY_ERROR, EINTR, 0, 0, 0 },
		{ VBLK_FAULTY_PWRITEV, VBLK_FAULTY_ERROR, EINTR, 0, 0, 0 },
		{ VBLK_FAULTY_SYNC, VBLK_FAULTY_ERROR, EINTR, 0, 0, 0 },
		{ VBLK_FAULTY_PREADV, VBLK_FAULTY_SHORT, 0, 0, 0, 0 },
		{ VBLK_FAULTY_PWRITEV, VBLK_FAULTY_SHORT, 0, 0, 0, 0 },
		{ VBLK_FAULTY_PWRITEV, VBLK_FAULTY_ZERO, 0, 0, 0, 0 },
		{ VBLK_FAULTY_PREADV, VBLK_FAULTY_EXCESS, 1, 0, 0, 0 },
		{ VBLK_FAULTY_PREADV, VBLK_FAULTY_DELAY, 0, 0, 0, 0 },
		{ VBLK_FAULTY_PWRITEV, VBLK_FAULTY_DELAY, 0, 0, 0, 0 },
		{ VBLK_FAULTY_SYNC, VBLK_FAULTY_DELAY, 0, 0, 0, 0 },
	};
	struct vblk_faulty_rule rule = rules[rng_below(rng, sizeof(rules) / sizeof(rules[0]))];

	rule.first = rng_between(rng, 1, 4);
	rule.every = rng_between(rng, 1, 8);
	if (rule.action == VBLK_FAULTY_SHORT)
		rule.value = rng_between(rng, 1, 5000);
	if (rule.action == VBLK_FAULTY_DELAY)
		rule.value = rng_between(rng, 1000, 2000000);
	return rule;
}

static void set_rules(struct vblk_backing *faulty, const struct vblk_faulty_rule *rules,
		      size_t count)
{
	int ret = vblk_faulty_set_rules(faulty, rules, count);

	if (ret < 0)
		soak_fail("fault rules were refused: %s", strerror(-ret));
}

static void begin_faults(struct controller *controller, struct station *station)
{
	struct rng *rng = &controller->rng;
	struct vblk_faulty_rule rules[FAULT_RULES_MAX];
	unsigned count = rng_between(rng, 1, FAULT_RULES_MAX);

	if (controller->fault_end[station->index])
		return;
	for (unsigned i = 0; i < count; i++)
		rules[i] = random_rule(rng);
	pthread_rwlock_rdlock(&station->alive);
	if (station->device) {
		atomic_fetch_add(&station->fault_period, 1);
		set_rules(station->faulty, rules, count);
		controller->fault_end[station->index] =
			soak_now() + rng_between(rng, 1, PERIOD_MAX_MS) * VBLK_NSEC_PER_MSEC;
	}
	pthread_rwlock_unlock(&station->alive);
}

/* The device may be another one by now; then it has no rules. */
static void end_faults(struct controller *controller, bool all)
{
	const uint64_t now = soak_now();

	for (unsigned i = 0; i < controller->soak->options.devices; i++) {
		struct station *station = &controller->soak->station[i];

		if (controller->fault_end[i] == 0 || (!all && now < controller->fault_end[i]))
			continue;
		pthread_rwlock_rdlock(&station->alive);
		if (station->device)
			set_rules(station->faulty, NULL, 0);
		atomic_fetch_add(&station->fault_period, 1);
		pthread_rwlock_unlock(&station->alive);
		controller->fault_end[i] = 0;
	}
}

/* Waits for a call that hangs, and then for longer than the device waits for it, perhaps. */
static void hold(struct vblk_backing *faulty, enum vblk_faulty_op op, struct station *station,
		 struct rng *rng)
{
	for (unsigned tries = 0; vblk_faulty_calls(faulty, op) == 0 && tries < 100; tries++)
		soak_sleep_us(200);
	if (!rng_chance(rng, 4))
		station_nudge(station);
	soak_sleep_us(rng_below(rng, HANG_MAX_US));
}

/* Makes a disk hang. Its faults, if it has any, pause meanwhile. */
static void hang(struct controller *controller, struct station *station)
{
	struct rng *rng = &controller->rng;
	struct vblk_backing *faulty = NULL;
	struct vblk_faulty_rule rule = {
		.op = rng_below(rng, VBLK_FAULTY_OPS),
		.action = VBLK_FAULTY_HANG,
		.count = 1,
	};

	if (controller->fault_end[station->index])
		return;
	pthread_rwlock_rdlock(&station->alive);
	if (station->device && station->may_hang) {
		faulty = vblk_backing_ref(station->faulty);
		set_rules(faulty, &rule, 1);
	}
	pthread_rwlock_unlock(&station->alive);
	if (!faulty)
		return;
	hold(faulty, rule.op, station, rng);
	set_rules(faulty, NULL, 0);
	vblk_faulty_release(faulty);
	vblk_backing_unref(faulty);
}

/* Limits that slow a device down without making a full queue wait for long. */
static void change_limits(struct station *station, struct rng *rng)
{
	struct vblk_throttle limits = { 0 };

	if (rng_chance(rng, 3))
		limits.iops = rng_between(rng, 100, 5000);
	if (rng_chance(rng, 3))
		limits.bps = (uint64_t)rng_between(rng, 2, 64) << 20;
	if (limits.iops && rng_chance(rng, 2))
		limits.iops_burst = limits.iops + rng_below(rng, 1000);
	pthread_rwlock_rdlock(&station->alive);
	if (station->device && station->fickle) {
		if (vblk_device_set_throttle(station->device, &limits) < 0)
			soak_fail("limits were refused");
		soak_count(&station->soak->counts.limits, 1);
	}
	pthread_rwlock_unlock(&station->alive);
}

/* Storms and the calm between them. */
static void change_weather(struct controller *controller)
{
	struct soak *soak = controller->soak;
	uint32_t limit;

	if (soak_now() < controller->storm_end)
		return;
	atomic_store(&soak->storm, !atomic_load(&soak->storm));
	limit = atomic_load(&soak->storm) ? STORM_MAX_MS : CALM_MAX_MS;
	controller->storm_end =
		soak_now() + rng_between(&controller->rng, 1, limit) * VBLK_NSEC_PER_MSEC;
}

static void act(struct controller *controller)
{
	struct rng *rng = &controller->rng;
	struct station *station = any_station(controller->soak, rng);
	uint32_t dice = rng_below(rng, 256);

	end_faults(controller, false);
	change_weather(controller);
	if (dice < 120)
		pause_loosely(station, rng);
	else if (dice < 170)
		pause_and_look(station, rng, controller->copy);
	else if (dice < 200)
		pause_machine(controller->soak, rng);
	else if (dice < 206)
		pause_through_reset(station);
	else if (dice < 230)
		change_limits(station, rng);
	else if (dice < 252)
		begin_faults(controller, station);
	else
		hang(controller, station);
	if (rng_chance(rng, 2))
		soak_sleep_us(rng_below(rng, 1500));
}

void *soak_controller(void *argument)
{
	struct controller controller = { .soak = argument };
	struct soak *soak = controller.soak;

	rng_init(&controller.rng, soak->options.seed, 2000);
	controller.copy = malloc(REQUESTS_SIZE + RAM_RINGS_SIZE);
	if (!controller.copy)
		soak_fail("no memory for a copy of a guest's");
	for (;;) {
		if (gate_is_closed(&soak->gate)) {
			end_faults(&controller, true);
			gate_pass(&soak->gate);
			if (atomic_load(&soak->stop))
				break;
		}
		act(&controller);
	}
	free(controller.copy);
	return NULL;
}

void *soak_meddler(void *argument)
{
	struct soak *soak = argument;
	struct rng rng;

	rng_init(&rng, soak->options.seed, 3000);
	for (;;) {
		if (gate_is_closed(&soak->gate)) {
			gate_pass(&soak->gate);
			if (atomic_load(&soak->stop))
				return NULL;
		}
		pause_loosely(any_station(soak, &rng), &rng);
		soak_sleep_us(rng_below(&rng, soak->options.cycles ? 100 : 2000));
	}
}
