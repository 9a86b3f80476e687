/* SPDX-License-Identifier: MIT */
/*
 * The time for who asks for it with every request.
 *
 * The kernel's clock is read behind a fence: the processor first waits for all loads under way, and
 * those of a ring that a driver on another processor writes take long. So a stopwatch reads the
 * clock now and then, and tells the time in between by the processor's own counter, without a
 * fence. It reads the clock
 *
 *     - when it has not done so for VBLK_STOPWATCH_SPAN_NS,
 *     - until it knows how fast the counter goes, for which it is measured twice, and anew when
 *       that has changed,
 *     - when what the counter says makes no sense (we woke on a processor that counts apart),
 *     - always, where there is no counter to rely on, or the clock is not the kernel's.
 *
 * So what it tells is off by some ten nanoseconds, and by the span at the very worst. It never goes
 * backwards. One thread.
 */
#ifndef VBLK_BASE_STOPWATCH_H
#define VBLK_BASE_STOPWATCH_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/inline.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* How long the counter is relied on after the clock was read. */
#define VBLK_STOPWATCH_SPAN_NS 100000u

/* Between two readings that tell how fast the counter goes, at least and at most. */
#define VBLK_STOPWATCH_MEASURE_NS     1000000u
#define VBLK_STOPWATCH_MEASURE_MAX_NS VBLK_NSEC_PER_SEC

/* The clock and the counter at one moment. */
struct vblk_stopwatch_mark {
	uint64_t ns;
	uint64_t ticks;
};

struct vblk_stopwatch {
	const struct vblk_clock *clock;
	bool counts;			 /* there is a counter to rely on */
	uint64_t now_ns;		 /* what was told last */
	uint64_t span;			 /* how many ticks the counter is relied on; 0: none */
	uint64_t rate;			 /* nanoseconds in 2^32 ticks; 0: not known */
	uint64_t measured;		 /* the same by the last measurement alone */
	struct vblk_stopwatch_mark read; /* when the clock was read last */
	struct vblk_stopwatch_mark from; /* since when the counter is measured; ns 0: not yet */
};

/* The clock outlives the stopwatch. */
void vblk_stopwatch_init(struct vblk_stopwatch *watch, const struct vblk_clock *clock);

/* Reads the clock. Returns the time in nanoseconds, as vblk_clock_now. */
uint64_t vblk_stopwatch_read(struct vblk_stopwatch *watch);

/* Takes note of a reading; `spread` ticks passed while it was made. Returns as the above. */
uint64_t vblk_stopwatch_mark(struct vblk_stopwatch *watch, struct vblk_stopwatch_mark mark,
			     uint64_t spread);

/* The time by the counter alone. False: the clock has to be read. */
VBLK_ALWAYS_INLINE bool vblk_stopwatch_by_ticks(struct vblk_stopwatch *watch, uint64_t ticks)
{
	const uint64_t passed = ticks - watch->read.ticks;
	uint64_t ns;

	if (passed >= watch->span)
		return false;
	ns = watch->read.ns + (passed * watch->rate >> 32);
	if (ns > watch->now_ns)
		watch->now_ns = ns;
	return true;
}

/* The processor's counter. Only where watch->counts. */
static inline uint64_t vblk_stopwatch_ticks(void)
{
#if defined(__x86_64__)
	return __rdtsc();
#else
	return 0;
#endif
}

/* Returns the time in nanoseconds. */
VBLK_ALWAYS_INLINE uint64_t vblk_stopwatch_now(struct vblk_stopwatch *watch)
{
	if (watch->span > 0 && vblk_stopwatch_by_ticks(watch, vblk_stopwatch_ticks()))
		return watch->now_ns;
	return vblk_stopwatch_read(watch);
}

#endif
