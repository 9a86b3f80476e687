/* SPDX-License-Identifier: MIT */
/*
 * Steps that the programs of several fuzzers have, with arguments a[0..6] that mean the same in all
 * of them.
 */
#ifndef TESTS_FUZZ_STEPS_H
#define TESTS_FUZZ_STEPS_H

#include <vblk/device.h>

#include "driver.h"

/* The driver asks for an interrupt from `ahead` elements after what it sees in the used ring. */
void step_used_event(const struct driver *driver, int ahead);

/* a[0..1] iops, a[2..3] bps, a[4] and a[5] bursts. They may be illegal. */
struct vblk_throttle step_limits(const uint8_t a[7]);

/* a[0] index, a[1..3] address, a[4..5] length, a[6] 0-2 flags, 3-7 next */
void step_desc(const struct driver *driver, const uint8_t a[7]);

/*
 * A rule for the disk: a[0] operation, a[1] action, a[2] value, a[3] first, a[4] every, a[5] count,
 * a[6] odd: instead of what there was
 */
void step_fault(const uint8_t a[7]);

/*
 * A hook of the disk: a[0] from which call on, a[1] how many times, a[2..4] address, a[5] bits that
 * change there, a[6] step of avail.idx
 */
void step_hook(const struct driver *driver, const uint8_t a[7]);

#endif
