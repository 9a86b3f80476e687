/* SPDX-License-Identifier: MIT */
/* The clock as a value that is handed around, so that tests can turn its hands. */
#ifndef VBLK_BASE_CLOCK_H
#define VBLK_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define VBLK_NSEC_PER_SEC  1000000000ull
#define VBLK_NSEC_PER_MSEC 1000000ull

struct vblk_clock {
	uint64_t (*fn)(void *context); /* NULL: CLOCK_MONOTONIC */
	void *context;
};

/* Nanoseconds since some fixed moment; never goes backwards. */
uint64_t vblk_clock_now(const struct vblk_clock *clock);

/*
 * For waits that share one deadline: a moment that many milliseconds from now, and how many are
 * left until it, rounded up; 0 when it has passed. CLOCK_MONOTONIC.
 */
uint64_t vblk_clock_in_ms(uint32_t timeout_ms);
uint32_t vblk_clock_ms_until(uint64_t moment_ns);

/* The moment on CLOCK_MONOTONIC that is `timeout_ms` from now. */
struct timespec vblk_deadline_after(uint32_t timeout_ms);

#endif
