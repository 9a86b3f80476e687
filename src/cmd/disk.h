/* SPDX-License-Identifier: MIT */
/* From the description of a disk to a device: opening the file and saying what is wrong with it. */
#ifndef CMD_DISK_H
#define CMD_DISK_H

#include "cmd/disk_spec.h"

/*
 * Opens and locks the file of a disk and creates a device on it, whose messages of level warning
 * and above go to standard error. Nothing on disk is changed.
 *
 * Returns 0 and a device; or a negative errno with one line of text in `message`, -EINVAL if and
 * only if what was asked for is wrong.
 */
VBLK_MUST_USE int cmd_disk_open(const struct cmd_disk_spec *spec, struct vblk_device **device,
				char *message, size_t message_size);

#endif
