/* SPDX-License-Identifier: MIT */
/*
 * The two limits of a disk as one gate, and the check of what a user asks for.
 *
 * The gate asks both buckets before it takes from either. The time does not pass between the
 * question and the taking, and nobody else has the buckets, so what was granted is still there.
 */
#include "throttle/throttle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static bool dimension_is_fine(enum vblk_throttle_dimension dimension, uint64_t rate, uint64_t burst,
			      struct vblk_throttle_problem *problem)
{
	enum vblk_throttle_problem_kind kind = VBLK_THROTTLE_FINE;

	if (burst != 0 && rate == 0)
		kind = VBLK_THROTTLE_BURST_WITHOUT_RATE;
	else if (burst != 0 && burst < rate)
		kind = VBLK_THROTTLE_BURST_BELOW_RATE;
	*problem = (struct vblk_throttle_problem){
		.kind = kind,
		.dimension = dimension,
		.burst = burst,
		.rate = rate,
	};
	return kind == VBLK_THROTTLE_FINE;
}

int vblk_throttle_validate(const struct vblk_throttle *config,
			   struct vblk_throttle_problem *problem)
{
	if (dimension_is_fine(VBLK_THROTTLE_OPS, config->iops, config->iops_burst, problem) &&
	    dimension_is_fine(VBLK_THROTTLE_BYTES, config->bps, config->bps_burst, problem))
		return 0;
	return -EINVAL;
}

void vblk_throttle_problem_text(const struct vblk_throttle_problem *problem, char *text,
				size_t size)
{
	const char *rate = problem->dimension == VBLK_THROTTLE_OPS ? "iops" : "bps";

	switch (problem->kind) {
	case VBLK_THROTTLE_FINE:
		snprintf(text, size, "%s", "");
		break;
	case VBLK_THROTTLE_BURST_WITHOUT_RATE:
		snprintf(text, size,
			 "%s-burst=%" PRIu64 " without a rate: set %s too, "
			 "or %s-burst=0 to clear the burst",
			 rate, problem->burst, rate, rate);
		break;
	case VBLK_THROTTLE_BURST_BELOW_RATE:
		snprintf(text, size,
			 "%s-burst=%" PRIu64 " is below %s=%" PRIu64 ": give at least the rate, "
			 "or %s-burst=0 to clear the burst",
			 rate, problem->burst, rate, problem->rate, rate);
		break;
	}
}

/* A bucket holds its burst, or else what flows into it in a second. */
static uint64_t capacity(uint64_t rate, uint64_t burst)
{
	return burst != 0 ? burst : rate;
}

static void note_limits(struct vblk_throttle_state *state)
{
	state->limited = !state->ops.unlimited || !state->bytes.unlimited;
}

void vblk_throttle_init(struct vblk_throttle_state *state, const struct vblk_throttle *config,
			uint64_t now_ns)
{
	vblk_bucket_init(&state->ops, capacity(config->iops, config->iops_burst), config->iops,
			 now_ns);
	vblk_bucket_init(&state->bytes, capacity(config->bps, config->bps_burst), config->bps,
			 now_ns);
	note_limits(state);
}

void vblk_throttle_change(struct vblk_throttle_state *state, const struct vblk_throttle *config,
			  uint64_t now_ns)
{
	vblk_bucket_change(&state->ops, capacity(config->iops, config->iops_burst), config->iops,
			   now_ns);
	vblk_bucket_change(&state->bytes, capacity(config->bps, config->bps_burst), config->bps,
			   now_ns);
	note_limits(state);
}

void vblk_throttle_refill_full(struct vblk_throttle_state *state, uint64_t now_ns)
{
	vblk_bucket_init(&state->ops, state->ops.capacity, state->ops.rate, now_ns);
	vblk_bucket_init(&state->bytes, state->bytes.capacity, state->bytes.rate, now_ns);
}

bool vblk_throttle_take(struct vblk_throttle_state *state, uint64_t bytes, uint64_t now_ns,
			uint64_t *wait_ns)
{
	uint64_t ops_wait, bytes_wait;

	if (!state->limited)
		return true;

	/* A bucket that grants asks for no wait, so the larger wait is that of the refusing one. */
	ops_wait = vblk_bucket_wait_ns(&state->ops, 1, now_ns);
	bytes_wait = vblk_bucket_wait_ns(&state->bytes, bytes, now_ns);
	if (ops_wait > 0 || bytes_wait > 0) {
		*wait_ns = ops_wait > bytes_wait ? ops_wait : bytes_wait;
		return false;
	}

	(void)vblk_bucket_consume(&state->ops, 1, now_ns);
	(void)vblk_bucket_consume(&state->bytes, bytes, now_ns);
	return true;
}
