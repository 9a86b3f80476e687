/* SPDX-License-Identifier: MIT */
/*
 * The limits of a disk: operations per second and bytes per second, each a token bucket of its
 * own. A request passes when both buckets let it, and then pays both; otherwise it pays neither,
 * so nothing ever has to be given back.
 *
 * Like the bucket, this never sleeps, takes no lock and is handed the time. It belongs to one
 * thread at a time; vblk_throttle_validate and vblk_throttle_problem_text are for any thread.
 */
#ifndef VBLK_THROTTLE_THROTTLE_H
#define VBLK_THROTTLE_THROTTLE_H

#include "throttle/bucket.h"

#include <vblk/device.h>

enum vblk_throttle_problem_kind {
	VBLK_THROTTLE_FINE,
	VBLK_THROTTLE_BURST_WITHOUT_RATE,
	VBLK_THROTTLE_BURST_BELOW_RATE,
};

enum vblk_throttle_dimension {
	VBLK_THROTTLE_OPS,
	VBLK_THROTTLE_BYTES,
};

/* What is wrong with a struct vblk_throttle. Of burst and rate, those that were given. */
struct vblk_throttle_problem {
	enum vblk_throttle_problem_kind kind;
	enum vblk_throttle_dimension dimension;
	uint64_t burst;
	uint64_t rate;
};

/*
 * Whether the limits make sense: no burst without its rate, and none below it. Operations are
 * looked at before bytes, and the first problem is reported. Returns 0 and VBLK_THROTTLE_FINE, or
 * -EINVAL and the problem.
 */
VBLK_MUST_USE int vblk_throttle_validate(const struct vblk_throttle *config,
					 struct vblk_throttle_problem *problem);

/*
 * One sentence for the user, without a newline: what was given, what is wrong, what would be
 * right. Fields are called as in a disk description: iops, iops-burst, bps, bps-burst. Empty if
 * nothing is wrong; cut to `size` bytes with the final NUL.
 */
void vblk_throttle_problem_text(const struct vblk_throttle_problem *problem, char *text,
				size_t size);

struct vblk_throttle_state {
	bool limited; /* whether either bucket has a limit */
	struct vblk_bucket ops;
	struct vblk_bucket bytes;
};

/*
 * Full buckets for a configuration. No rate: no limit, whatever the burst says. No burst: the
 * bucket holds one second of its rate.
 */
void vblk_throttle_init(struct vblk_throttle_state *state, const struct vblk_throttle *config,
			uint64_t now_ns);

/* Other limits from now on; what is in the buckets stays as vblk_bucket_change says. */
void vblk_throttle_change(struct vblk_throttle_state *state, const struct vblk_throttle *config,
			  uint64_t now_ns);

/* Fills both buckets to the brim, as a reset of the device does. */
void vblk_throttle_refill_full(struct vblk_throttle_state *state, uint64_t now_ns);

/* True if every request passes: the caller need not ask the clock, nor anything else. */
static inline bool vblk_throttle_is_unlimited(const struct vblk_throttle_state *state)
{
	return !state->limited;
}

/*
 * Pays for one operation and `bytes` bytes and returns true; or, if either bucket refuses, pays
 * nothing, returns false and sets *wait_ns to the time from now_ns on after which both will
 * grant it, at least 1. *wait_ns is not touched otherwise.
 */
VBLK_MUST_USE bool vblk_throttle_take(struct vblk_throttle_state *state, uint64_t bytes,
				      uint64_t now_ns, uint64_t *wait_ns);

#endif
