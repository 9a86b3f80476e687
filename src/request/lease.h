/* SPDX-License-Identifier: MIT */
/*
 * The right of one worker to touch the guest.
 *
 * A worker that hangs in the host's disk cannot be stopped, only disowned. Whatever it does to the
 * guest after its I/O (zero fill, status byte, used ring, interrupt, NEEDS_RESET) therefore
 * happens between vblk_lease_hold and vblk_lease_release, a few stores long and never across a
 * blocking call. The device revokes the lease of a worker that it gives up: when
 * vblk_lease_revoke has returned 0, that worker can do nothing more to the guest.
 *
 * One worker holds, one other thread revokes.
 */
#ifndef VBLK_REQUEST_LEASE_H
#define VBLK_REQUEST_LEASE_H

#include <errno.h>
#include <stdatomic.h>
#include <time.h>
#include <vblk/types.h>

enum {
	VBLK_LEASE_HELD = 1,
	VBLK_LEASE_REVOKED = 2,
};

/* How a revocation waits for a hold to end: looks, and a sleep between two; 50 ms and more. */
#define VBLK_LEASE_LOOKS    500
#define VBLK_LEASE_PAUSE_NS 100000

struct vblk_lease {
	atomic_int state; /* VBLK_LEASE_* */
};

static inline void vblk_lease_init(struct vblk_lease *lease)
{
	atomic_init(&lease->state, 0);
}

/* Returns false if the lease was revoked: touch nothing. */
static inline bool vblk_lease_hold(struct vblk_lease *lease)
{
	int free = 0;

	return atomic_compare_exchange_strong_explicit(&lease->state, &free, VBLK_LEASE_HELD,
						       memory_order_acquire, memory_order_relaxed);
}

static inline void vblk_lease_release(struct vblk_lease *lease)
{
	atomic_fetch_and_explicit(&lease->state, ~VBLK_LEASE_HELD, memory_order_release);
}

static inline bool vblk_lease_is_revoked(const struct vblk_lease *lease)
{
	return atomic_load_explicit(&lease->state, memory_order_relaxed) & VBLK_LEASE_REVOKED;
}

/* By the thread that holds the lease or may: from here on no hold succeeds. Waits for nothing. */
static inline void vblk_lease_surrender(struct vblk_lease *lease)
{
	atomic_fetch_or_explicit(&lease->state, VBLK_LEASE_REVOKED, memory_order_acq_rel);
}

/*
 * From here on no hold succeeds. Returns 0 once the worker has let go of what it held; or -EBUSY
 * if it kept hold all the time that we looked: it hangs in a page of guest memory that the host
 * cannot provide.
 */
VBLK_MUST_USE static inline int vblk_lease_revoke(struct vblk_lease *lease)
{
	vblk_lease_surrender(lease);
	for (int looks = 0; looks < VBLK_LEASE_LOOKS; looks++) {
		const struct timespec pause = { .tv_nsec = VBLK_LEASE_PAUSE_NS };

		if (!(atomic_load_explicit(&lease->state, memory_order_acquire) & VBLK_LEASE_HELD))
			return 0;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return -EBUSY;
}

#endif
