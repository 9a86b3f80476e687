/* SPDX-License-Identifier: MIT */
/* The words of vblk ctl CONTROL throttle. */
#ifndef CMD_CTL_THROTTLE_H
#define CMD_CTL_THROTTLE_H

struct json_t;

/*
 * The members of a throttle request that `count` words stand for, such as "iops=100" and
 * "bps=none", or "none" alone. A new reference; NULL after a complaint.
 */
struct json_t *ctl_throttle_make(char *const *words, int count);

/*
 * What a server says of a throttle request names its members ("iops_burst=5"): here they are called
 * as the words, in place.
 */
void ctl_throttle_spell(char *text);

#endif
