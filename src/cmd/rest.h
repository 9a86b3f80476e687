/* SPDX-License-Identifier: MIT */
/*
 * Bringing the disks of a running guest to rest, and letting them go on. Each disk's answer is a
 * line on standard error (cmd_complain, with the sub-command's name):
 *
 *     vblk boot: disk 0 at rest after 84 us
 *     vblk boot: disk 0 is not at rest after 1000 ms: ...
 *     vblk boot: disk 0 goes on
 *
 * A disk at rest has no request in hand, changes nothing in guest memory or in its file and raises
 * no interrupt. A disk that the guest does not use rests as it is; if the guest starts it, or
 * resets and starts it again, then it is served without waiting for cmd_rest_end.
 *
 * Both are called by one thread.
 */
#ifndef CMD_REST_H
#define CMD_REST_H

#include <vblk/device.h>

/*
 * Asks all disks, of which there are at most 63, to rest, then waits for them, for `timeout_ms` in
 * all. One that is still busy then rests once its request is done.
 */
void cmd_rest_begin(const char *name, struct vblk_device *const *devices, unsigned int count,
		    uint32_t timeout_ms);

/* Harmless where no rest has begun. */
void cmd_rest_end(const char *name, struct vblk_device *const *devices, unsigned int count);

#endif
