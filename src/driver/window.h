/* SPDX-License-Identifier: MIT */
/* A driver's way to a device in this process, through its register window. */
#ifndef DRIVER_WINDOW_H
#define DRIVER_WINDOW_H

#include <vblk/device.h>

#include "driver/transport.h"

/*
 * The interrupt line of a device with several queues, each of which has a thread that may sleep
 * until it is raised. The device has one line, so an interrupt wakes them all: what none of them
 * waited for is known only after they looked.
 */
struct vblk_window_line {
	unsigned queues;
	int fds[VBLK_DRIVER_QUEUES_MAX]; /* an eventfd for each */
};

/* Returns 0; or -EMFILE, -ENFILE or -ENOMEM, with nothing to destroy. */
VBLK_MUST_USE int vblk_window_line_create(struct vblk_window_line *line, unsigned queues);
void vblk_window_line_destroy(struct vblk_window_line *line);

/* The `interrupt` of a device's options, whose context is the line. */
void vblk_window_line_raise(void *line);

/*
 * Resets the device, takes the features that the driver knows, and reads what the device is. The
 * device, whose engine is `engine` and which has no memory yet, is borrowed until the transport is
 * closed, and is reset then. So is the line that it was created with; NULL: it has none, and the
 * driver uses one queue.
 *
 * Returns 0 and a transport; -ENODEV (it is no block device that this driver can use), -ENOMEM.
 */
VBLK_MUST_USE int vblk_window_open(struct vblk_device *device, enum vblk_engine_kind engine,
				   const struct vblk_window_line *line,
				   struct vblk_driver_transport **transport);

#endif
