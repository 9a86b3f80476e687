/* SPDX-License-Identifier: MIT */
/*
 * A gate at which all threads of a run come to rest, so that what they have left behind can be
 * counted. It is closed at first.
 */
#ifndef TESTS_SOAK_GATE_H
#define TESTS_SOAK_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	atomic_bool closed; /* changes under the lock */
	unsigned members;
	unsigned waiting;
};

void gate_init(struct gate *gate, unsigned members);
void gate_destroy(struct gate *gate);

/* Whether a thread should come to the gate. */
bool gate_is_closed(const struct gate *gate);

/* By a thread, when it is at rest: waits until the gate is open. */
void gate_pass(struct gate *gate);

void gate_close(struct gate *gate);
void gate_open(struct gate *gate);

/* By main: waits until all are there. Returns how many are missing after `seconds`. */
unsigned gate_wait(struct gate *gate, uint32_t seconds);

#endif
