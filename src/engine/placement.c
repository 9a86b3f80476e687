/* SPDX-License-Identifier: MIT */
/* Where a worker runs. A wish, not a condition: a device serves its guest from anywhere. */
#include "engine/placement.h"

#include <errno.h>

void vblk_cpus_set_home(struct vblk_cpus *cpus)
{
	cpus->home_known = sched_getaffinity(0, sizeof(cpus->home), &cpus->home) == 0;
}

int vblk_cpus_from_placement(const struct vblk_placement *placement, struct vblk_cpus *cpus)
{
	if (placement->cpu_count > 0 && !placement->pinned && !placement->cpus)
		return -EINVAL;
	CPU_ZERO(&cpus->set);
	cpus->restricted = placement->pinned || placement->cpu_count > 0;
	if (placement->pinned) {
		if (placement->cpu < CPU_SETSIZE)
			CPU_SET(placement->cpu, &cpus->set);
		return 0;
	}
	for (size_t i = 0; i < placement->cpu_count; i++) {
		if (placement->cpus[i] < CPU_SETSIZE)
			CPU_SET(placement->cpus[i], &cpus->set);
	}
	return 0;
}

void vblk_cpus_deal(const struct vblk_cpus *cpus, unsigned index, unsigned count,
		    struct vblk_cpus *share)
{
	unsigned total = (unsigned)CPU_COUNT(&cpus->set);
	unsigned hands = total < count ? total : count;
	unsigned turn = 0;

	*share = *cpus;
	if (!cpus->restricted || hands == 0)
		return;
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &cpus->set) && turn++ % hands != index % hands)
			CPU_CLR(cpu, &share->set);
	}
}

void vblk_cpus_apply(const struct vblk_cpus *cpus, struct vblk_port *port)
{
	int ret;

	if (!cpus->restricted)
		return;
	/* The kernel leaves out what does not exist, and refuses if that leaves nothing. */
	ret = sched_setaffinity(0, sizeof(cpus->set), &cpus->set) < 0 ? -errno : 0;
	if (ret < 0)
		vblk_log_emit_limited(&port->log, &port->log_limit, vblk_clock_now(&port->clock),
				      VBLK_LOG_WARN, "worker cannot be placed on its processors",
				      VBLK_FIELD_UINT("instance", port->instance),
				      VBLK_FIELD_INT("error", ret));
	else
		vblk_log_emit_limited(&port->log, &port->log_limit, vblk_clock_now(&port->clock),
				      VBLK_LOG_INFO, "worker placed on its processors",
				      VBLK_FIELD_UINT("instance", port->instance),
				      VBLK_FIELD_INT("count", CPU_COUNT(&cpus->set)));
}

/*
 * Both are set before the thread's first step: one that had to leave a real-time vCPU's processor
 * by itself might not get to run there at all.
 */
static int set_own_ways(const struct vblk_cpus *cpus, pthread_attr_t *attr)
{
	const struct sched_param usual = { .sched_priority = 0 };
	int ret = pthread_attr_setinheritsched(attr, PTHREAD_EXPLICIT_SCHED);

	if (ret == 0)
		ret = pthread_attr_setschedpolicy(attr, SCHED_OTHER);
	if (ret == 0)
		ret = pthread_attr_setschedparam(attr, &usual);
	if (ret == 0 && cpus->home_known)
		ret = pthread_attr_setaffinity_np(attr, sizeof(cpus->home), &cpus->home);
	return ret;
}

int vblk_cpus_create_thread(const struct vblk_cpus *cpus, void *(*main)(void *), void *argument,
			    pthread_t *thread)
{
	pthread_attr_t attr;
	int ret = pthread_attr_init(&attr);

	if (ret == 0) {
		ret = set_own_ways(cpus, &attr);
		if (ret == 0)
			ret = pthread_create(thread, &attr, main, argument);
		pthread_attr_destroy(&attr);
	}
	/* EAGAIN is about threads as such. Anything else is about the processors or the policy. */
	if (ret != 0 && ret != EAGAIN)
		ret = pthread_create(thread, NULL, main, argument);
	return -ret;
}
