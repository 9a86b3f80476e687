/* SPDX-License-Identifier: MIT */
/* Where tracers count that they watch; they look for these words in a section of this name. */
#include "metrics/probes.h"

#ifdef VBLK_HAVE_SDT
#define WATCHERS(name) \
	volatile unsigned short vblk_##name##_semaphore __attribute__((section(".probes")))

WATCHERS(submit);
WATCHERS(complete);
WATCHERS(throttle);
WATCHERS(poison);
#endif
