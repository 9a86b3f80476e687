/* SPDX-License-Identifier: MIT */
/* Where a worker runs. A wish, not a condition: a device serves its guest from anywhere. */
#include "engine/placement.h"

#include <errno.h>

#include "base/log.h"

int vblk_cpus_from_placement(const struct vblk_placement *placement, struct vblk_cpus *cpus)
{
	CPU_ZERO(&cpus->set);
	cpus->restricted = placement->pinned || placement->cpu_count > 0;
	if (placement->pinned) {
		if (placement->cpu < CPU_SETSIZE)
			CPU_SET(placement->cpu, &cpus->set);
		return 0;
	}
	if (placement->cpu_count > 0 && !placement->cpus)
		return -EINVAL;
	for (size_t i = 0; i < placement->cpu_count; i++) {
		if (placement->cpus[i] < CPU_SETSIZE)
			CPU_SET(placement->cpus[i], &cpus->set);
	}
	return 0;
}

void vblk_cpus_apply(const struct vblk_cpus *cpus, const struct vblk_log *log, uint32_t instance)
{
	int ret;

	if (!cpus->restricted)
		return;
	/* The kernel leaves out what does not exist, and refuses if that leaves nothing. */
	ret = sched_setaffinity(0, sizeof(cpus->set), &cpus->set) < 0 ? -errno : 0;
	if (ret < 0)
		vblk_log_emit(log, VBLK_LOG_WARN, "worker cannot be placed on its processors",
			      VBLK_FIELD_UINT("instance", instance), VBLK_FIELD_INT("error", ret));
	else
		vblk_log_emit(log, VBLK_LOG_INFO, "worker placed on its processors",
			      VBLK_FIELD_UINT("instance", instance),
			      VBLK_FIELD_INT("count", CPU_COUNT(&cpus->set)));
}
