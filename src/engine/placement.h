/* SPDX-License-Identifier: MIT */
/* On which processors a worker runs: a copy of struct vblk_placement that owns its list. */
#ifndef VBLK_ENGINE_PLACEMENT_H
#define VBLK_ENGINE_PLACEMENT_H

#include <sched.h>
#include <vblk/device.h>

struct vblk_cpus {
	bool restricted; /* false: the worker runs where its creator may */
	cpu_set_t set;	 /* those asked for that a cpu_set_t can hold */
};

/* Returns 0 or -EINVAL (a count without a list). */
VBLK_MUST_USE int vblk_cpus_from_placement(const struct vblk_placement *placement,
					   struct vblk_cpus *cpus);

/* Applies it to the calling thread, as well as can be; what came of it is logged. */
void vblk_cpus_apply(const struct vblk_cpus *cpus, const struct vblk_log *log, uint32_t instance);

#endif
