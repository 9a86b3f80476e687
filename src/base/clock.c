/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

uint64_t vblk_clock_now(const struct vblk_clock *clock)
{
	struct timespec ts;

	if (clock && clock->fn)
		return clock->fn(clock->context);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * VBLK_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

struct timespec vblk_deadline_after(uint32_t timeout_ms)
{
	struct timespec when;

	clock_gettime(CLOCK_MONOTONIC, &when);
	when.tv_sec += (time_t)(timeout_ms / 1000);
	when.tv_nsec += (long)((timeout_ms % 1000) * VBLK_NSEC_PER_MSEC);
	if (when.tv_nsec >= (long)VBLK_NSEC_PER_SEC) {
		when.tv_sec++;
		when.tv_nsec -= (long)VBLK_NSEC_PER_SEC;
	}
	return when;
}

uint64_t vblk_clock_in_ms(uint32_t timeout_ms)
{
	return vblk_clock_now(NULL) + timeout_ms * VBLK_NSEC_PER_MSEC;
}

uint32_t vblk_clock_ms_until(uint64_t moment_ns)
{
	uint64_t now_ns = vblk_clock_now(NULL);

	if (now_ns >= moment_ns)
		return 0;
	return (uint32_t)((moment_ns - now_ns + VBLK_NSEC_PER_MSEC - 1) / VBLK_NSEC_PER_MSEC);
}
