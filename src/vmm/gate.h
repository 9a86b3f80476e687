/* SPDX-License-Identifier: MIT */
/*
 * The gate in front of the guest: while it is closed, vCPUs wait here instead of running.
 *
 * A vCPU that comes to a closed gate sets its flag, adds one to the parked descriptor and sleeps
 * until the gate opens or the machine ends; then it clears its flag. It sleeps on descriptors, so
 * it goes on at once.
 *
 * Any thread may close it, a vCPU too that has seen something after which the guest must not go
 * on. One opens it, the one that also runs the coordinator.
 */
#ifndef VMM_GATE_H
#define VMM_GATE_H

#include "vmm/stop.h"

struct vmm_gate {
	atomic_bool closed;
	int parked_fd; /* eventfd: one for each rest that has begun; shared with the devices */
	int open_fd;   /* eventfd: readable while the gate is open again */
	const struct vmm_stop *stop;
	pthread_mutex_t lock; /* held while closed and open_fd change together */
};

/* An open gate. Returns 0, or a negative errno with `error` filled in. */
VBLK_MUST_USE int vmm_gate_init(struct vmm_gate *gate, const struct vmm_stop *stop,
				struct vmm_error *error);

/* Nobody is in it. */
void vmm_gate_destroy(struct vmm_gate *gate);

/* Forgets who has acknowledged a rest. */
void vmm_gate_clear(struct vmm_gate *gate);

/* Harmless if it is closed already. */
void vmm_gate_close(struct vmm_gate *gate);
void vmm_gate_open(struct vmm_gate *gate);

bool vmm_gate_is_closed(const struct vmm_gate *gate);

/* By a vCPU that is out of the guest: waits as long as the gate is closed. */
void vmm_gate_pass(struct vmm_gate *gate, atomic_bool *parked);

#endif
