/* SPDX-License-Identifier: MIT */
/*
 * All disks are asked before the first is waited for, so that they come to rest side by side. Only
 * one can be waited for at a time, and it may be the one that hangs: so they take turns, which are
 * short at first and grow.
 */
#include "cmd/rest.h"

#include "base/checked.h"
#include "base/clock.h"
#include "cmd/cmd.h"
#include <inttypes.h>

/* One call of cmd_rest_begin. */
struct wait {
	const char *name;
	struct vblk_device *const *devices;
	uint64_t start_ns;
	uint32_t timeout_ms; /* for all disks together */
};

static uint64_t elapsed_ns(const struct wait *wait)
{
	return vblk_clock_now(NULL) - wait->start_ns;
}

static uint64_t left_ms(const struct wait *wait)
{
	const uint64_t gone_ms = elapsed_ns(wait) / VBLK_NSEC_PER_MSEC;

	return gone_ms < wait->timeout_ms ? wait->timeout_ms - gone_ms : 0;
}

/* Waits for one disk, for `turn_ms` at most. */
static bool is_at_rest(const struct wait *wait, unsigned int disk, uint64_t turn_ms)
{
	const uint32_t ms = (uint32_t)vblk_min_u64(turn_ms, left_ms(wait));

	if (vblk_device_wait_paused(wait->devices[disk], ms))
		return false;
	cmd_complain(wait->name, "disk %u at rest after %" PRIu64 " us", disk,
		     elapsed_ns(wait) / 1000);
	return true;
}

void cmd_rest_begin(const char *name, struct vblk_device *const *devices, unsigned int count,
		    uint32_t timeout_ms)
{
	const struct wait wait = { name, devices, vblk_clock_now(NULL), timeout_ms };
	uint64_t busy = (UINT64_C(1) << count) - 1; /* a bit for each disk */
	bool last = false;

	for (unsigned int i = 0; i < count; i++)
		vblk_device_pause(devices[i]);
	for (uint64_t turn_ms = 1; busy && !last; turn_ms *= 2) {
		last = left_ms(&wait) == 0;
		for (unsigned int i = 0; i < count; i++)
			if (busy >> i & 1 && is_at_rest(&wait, i, turn_ms))
				busy &= ~(UINT64_C(1) << i);
	}
	for (unsigned int i = 0; i < count; i++)
		if (busy >> i & 1)
			cmd_complain(name,
				     "disk %u is not at rest after %" PRIu32
				     " ms: a call to its file has not returned",
				     i, timeout_ms);
}

void cmd_rest_end(const char *name, struct vblk_device *const *devices, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		vblk_device_resume(devices[i]);
		cmd_complain(name, "disk %u goes on", i);
	}
}
