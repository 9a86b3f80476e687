/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <time.h>

uint64_t vblk_clock_now(const struct vblk_clock *clock)
{
	struct timespec ts;

	if (clock && clock->fn)
		return clock->fn(clock->context);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * VBLK_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}
