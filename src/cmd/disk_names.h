/* SPDX-License-Identifier: MIT */
/*
 * What the disks of a program are called. By themselves they may be of one name: files of several
 * folders, or copies of one template. Whoever asks for a disk, or keeps books of it, needs one that
 * is its own. Pure; any thread.
 */
#ifndef CMD_DISK_NAMES_H
#define CMD_DISK_NAMES_H

#include "cmd/disk_spec.h"

/*
 * The names of all disks, no two the same: that of cmd_disk_name(), and for those that have it
 * after the first one, NAME#1, NAME#2 and so on, in the order of the disks; numbers that would make
 * the name of another disk are left out. Independent of `specs`; the caller's, all in one, to be
 * freed with free(). Returns 0 or -ENOMEM.
 */
VBLK_MUST_USE int cmd_disk_names(const struct cmd_disk_spec *specs, unsigned int count,
				 const char ***names);

#endif
