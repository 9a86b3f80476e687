/* SPDX-License-Identifier: MIT */
/*
 * A list of processors as the kernel and taskset(1) write it: numbers and ranges with commas
 * between them, 0-3,5. Pure; any thread.
 */
#ifndef CMD_CPU_LIST_H
#define CMD_CPU_LIST_H

#include <stddef.h>
#include <vblk/types.h>

#define CMD_CPU_MAX 1023 /* the last one that a placement can name (vblk/device.h) */

/*
 * Takes a list apart. Returns 0 and at least one number, in rising order and each once, in an
 * array that the caller frees; or -EINVAL (no such list), -ERANGE (a number above CMD_CPU_MAX),
 * -ENOMEM. The results are only set on success.
 */
VBLK_MUST_USE int cmd_cpu_list_parse(const char *text, uint32_t **cpus, size_t *count);

#endif
