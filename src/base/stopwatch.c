/* SPDX-License-Identifier: MIT */
/* The slow side of a stopwatch: reading the clock, and finding out how fast the counter goes. */
#include "base/stopwatch.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* More than this between the counter before and behind a reading: we were interrupted in it. */
#define SPREAD_MAX 4000u

/* Whether the counter goes on at one speed, whatever the processor does (Intel SDM 18.17.1). */
static bool has_counter(void)
{
#if defined(__x86_64__)
	const unsigned leaf = 0x80000007, invariant = 1u << 8;
	unsigned a, b, c, d;

	return __get_cpuid(leaf, &a, &b, &c, &d) && (d & invariant);
#else
	return false;
#endif
}

void vblk_stopwatch_init(struct vblk_stopwatch *watch, const struct vblk_clock *clock)
{
	*watch = (struct vblk_stopwatch){
		.clock = clock,
		.counts = !clock->fn && has_counter(),
	};
}

/* Nanoseconds in 2^32 ticks; 0 for what no processor counts. */
static uint64_t rate_of(uint64_t ns, uint64_t ticks)
{
	return ticks < ns >> 8 || ticks > ns << 8 ? 0 : (ns << 32) / ticks;
}

/* But for what readings that are off by SPREAD_MAX make of it: a part in 64 is enough. */
static bool agree(uint64_t rate, uint64_t other)
{
	const uint64_t apart = rate > other ? rate - other : other - rate;

	return apart <= rate >> 6;
}

/*
 * Measures the counter anew when that has gone on for long enough. One measurement says nothing: if
 * the counter has jumped meanwhile, or we are on a processor that counts apart, it is far off.
 */
static void measure(struct vblk_stopwatch *watch, struct vblk_stopwatch_mark mark)
{
	const uint64_t ns = mark.ns - watch->from.ns, ticks = mark.ticks - watch->from.ticks;

	if (watch->from.ns != 0 && ns < VBLK_STOPWATCH_MEASURE_NS)
		return;
	if (watch->from.ns != 0 && ns <= VBLK_STOPWATCH_MEASURE_MAX_NS &&
	    mark.ns >= watch->from.ns) {
		const uint64_t rate = rate_of(ns, ticks);

		watch->rate = agree(rate, watch->measured) ? rate : 0;
		watch->measured = rate;
	}
	watch->from = mark;
}

uint64_t vblk_stopwatch_mark(struct vblk_stopwatch *watch, struct vblk_stopwatch_mark mark,
			     uint64_t spread)
{
	watch->span = 0;
	if (spread <= SPREAD_MAX) {
		measure(watch, mark);
		watch->read = mark;
		if (watch->rate > 0)
			watch->span = ((uint64_t)VBLK_STOPWATCH_SPAN_NS << 32) / watch->rate;
	}
	if (mark.ns > watch->now_ns)
		watch->now_ns = mark.ns;
	return watch->now_ns;
}

uint64_t vblk_stopwatch_read(struct vblk_stopwatch *watch)
{
	struct vblk_stopwatch_mark mark;

	if (!watch->counts)
		return vblk_clock_now(watch->clock);
	mark.ticks = vblk_stopwatch_ticks();
	mark.ns = vblk_clock_now(watch->clock);
	return vblk_stopwatch_mark(watch, mark, vblk_stopwatch_ticks() - mark.ticks);
}
