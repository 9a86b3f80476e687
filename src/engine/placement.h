/* SPDX-License-Identifier: MIT */
/* On which processors a worker runs: a copy of struct vblk_placement that owns its list. */
#ifndef VBLK_ENGINE_PLACEMENT_H
#define VBLK_ENGINE_PLACEMENT_H

#include <pthread.h>
#include <sched.h>
#include <vblk/device.h>

#include "request/port.h"

struct vblk_cpus {
	bool restricted; /* false: the worker runs where the device's creator could */
	cpu_set_t set;	 /* those asked for that a cpu_set_t can hold */
	bool home_known; /* false: the worker runs where the thread may that starts it */
	cpu_set_t home;	 /* the processors of the device's creator */
};

/* Notes the processors that the calling thread may use. Best effort: there may be too many. */
void vblk_cpus_set_home(struct vblk_cpus *cpus);

/* Takes the placement over; the home stays. Returns 0 or -EINVAL (a count without a list). */
VBLK_MUST_USE int vblk_cpus_from_placement(const struct vblk_placement *placement,
					   struct vblk_cpus *cpus);

/*
 * What one of `count` workers gets, the `index`-th from 0: the processors are dealt out in turn,
 * and where there are fewer of them than workers, in turn again. A worker that is alone, and one
 * that is not restricted, gets all. Pure.
 */
void vblk_cpus_deal(const struct vblk_cpus *cpus, unsigned index, unsigned count,
		    struct vblk_cpus *share);

/*
 * Applies it to the calling thread, as well as can be. What came of it is logged in the name of
 * `port` and within its limit: a guest may start a device over and over.
 */
void vblk_cpus_apply(const struct vblk_cpus *cpus, struct vblk_port *port);

/*
 * Creates a worker's thread: on the home's processors and under the usual scheduling policy,
 * whatever the calling thread's are, which may be a vCPU, pinned and with real-time priority. A
 * kernel that refuses that gets a thread that inherits. Returns 0 or -EAGAIN.
 */
VBLK_MUST_USE int vblk_cpus_create_thread(const struct vblk_cpus *cpus, void *(*main)(void *),
					  void *argument, pthread_t *thread);

#endif
