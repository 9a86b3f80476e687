/* SPDX-License-Identifier: MIT */
/* All disks are asked before the first is waited for: so they come to rest side by side. */
#include "cmd/rest.h"

#include "base/clock.h"
#include "cmd/cmd.h"
#include <inttypes.h>

static uint64_t elapsed_ns(uint64_t start)
{
	return vblk_clock_now(NULL) - start;
}

/* Of the time that all disks share. */
static uint32_t left_ms(uint64_t start, uint32_t timeout_ms)
{
	const uint64_t gone = elapsed_ns(start) / VBLK_NSEC_PER_MSEC;

	return gone < timeout_ms ? timeout_ms - (uint32_t)gone : 0;
}

void cmd_rest_begin(const char *name, struct vblk_device *const *devices, unsigned int count,
		    uint32_t timeout_ms)
{
	const uint64_t start = vblk_clock_now(NULL);

	for (unsigned int i = 0; i < count; i++)
		vblk_device_pause(devices[i]);
	for (unsigned int i = 0; i < count; i++) {
		if (vblk_device_wait_paused(devices[i], left_ms(start, timeout_ms)) == 0)
			cmd_complain(name, "disk %u at rest after %" PRIu64 " us", i,
				     elapsed_ns(start) / 1000);
		else
			cmd_complain(name,
				     "disk %u is not at rest after %" PRIu32
				     " ms: a call to its file has not returned",
				     i, timeout_ms);
	}
}

void cmd_rest_end(const char *name, struct vblk_device *const *devices, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		vblk_device_resume(devices[i]);
		cmd_complain(name, "disk %u goes on", i);
	}
}
