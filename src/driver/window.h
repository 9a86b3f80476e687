/* SPDX-License-Identifier: MIT */
/* A driver's way to a device in this process, through its register window. One queue. */
#ifndef DRIVER_WINDOW_H
#define DRIVER_WINDOW_H

#include <vblk/device.h>

#include "driver/transport.h"

/*
 * Resets the device, takes the features that the driver knows, and reads what the device is. The
 * device, whose engine is `engine` and which has no memory yet, is borrowed until the transport is
 * closed, and is reset then.
 *
 * Returns 0 and a transport; -ENODEV (it is no block device that this driver can use), -ENOMEM.
 */
VBLK_MUST_USE int vblk_window_open(struct vblk_device *device, enum vblk_engine_kind engine,
				   struct vblk_driver_transport **transport);

#endif
