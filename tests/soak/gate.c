/* SPDX-License-Identifier: MIT */
#include "gate.h"

#include "base/clock.h"

void gate_init(struct gate *gate, unsigned members)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&gate->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&gate->changed, &attr);
	pthread_condattr_destroy(&attr);
	atomic_init(&gate->closed, true);
	gate->members = members;
	gate->waiting = 0;
}

void gate_destroy(struct gate *gate)
{
	pthread_cond_destroy(&gate->changed);
	pthread_mutex_destroy(&gate->lock);
}

bool gate_is_closed(const struct gate *gate)
{
	return atomic_load_explicit(&gate->closed, memory_order_acquire);
}

void gate_pass(struct gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->waiting++;
	pthread_cond_broadcast(&gate->changed);
	while (gate_is_closed(gate))
		pthread_cond_wait(&gate->changed, &gate->lock);
	gate->waiting--;
	pthread_mutex_unlock(&gate->lock);
}

static void set_closed(struct gate *gate, bool closed)
{
	pthread_mutex_lock(&gate->lock);
	atomic_store_explicit(&gate->closed, closed, memory_order_release);
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->lock);
}

void gate_close(struct gate *gate)
{
	set_closed(gate, true);
}

void gate_open(struct gate *gate)
{
	set_closed(gate, false);
}

unsigned gate_wait(struct gate *gate, uint32_t seconds)
{
	struct timespec deadline = vblk_deadline_after(seconds * 1000);
	unsigned missing;
	int ret = 0;

	pthread_mutex_lock(&gate->lock);
	while (gate->waiting < gate->members && ret == 0)
		ret = pthread_cond_timedwait(&gate->changed, &gate->lock, &deadline);
	missing = gate->members - gate->waiting;
	pthread_mutex_unlock(&gate->lock);
	return missing;
}
