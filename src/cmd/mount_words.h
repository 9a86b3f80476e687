/* SPDX-License-Identifier: MIT */
/*
 * What a guest is told of disks that have a file system for it: words of the kernel's command line,
 * which Linux gives to init as variables of its environment. For disk 0, and so on:
 *
 *     VBLK_DISK0_FS=ext4           the file system
 *     VBLK_DISK0_MOUNT=/mnt/NAME   where to mount it; the disk's serial, if that can be part of a
 *                                  path without more ado, or disk0
 *     VBLK_DISK0_RO=1              it is read-only
 *
 * Nothing is said of other disks, nor of one with no-mount. Pure; any thread.
 */
#ifndef CMD_MOUNT_WORDS_H
#define CMD_MOUNT_WORDS_H

#include "cmd/disk_spec.h"

/*
 * Makes a line of the words for these disks, with `append`, which may be NULL, at its end. The
 * caller frees it. Returns 0 or -ENOMEM.
 */
VBLK_MUST_USE int cmd_mount_words(const struct cmd_disk_spec *specs, unsigned int count,
				  const char *append, char **line);

#endif
