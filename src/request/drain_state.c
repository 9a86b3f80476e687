/* SPDX-License-Identifier: MIT */
/* What a drain tells of itself (vblk/inspect.h): all of it at rest, and its flights at work. */
#include "request/drain.h"

#include <vblk/inspect.h>

/* What the rings say to both sides. */
static void look_at_rings(const struct vblk_drain *drain, struct vblk_queue_state *state)
{
	/* A look of our own: the drain's is its owner's, and remembers where it was. */
	struct vblk_queue queue = drain->queue;

	state->ring_readable = vblk_queue_avail_idx(&queue, &state->avail_idx) == 0 &&
			       vblk_queue_used_idx(&queue, &state->used_idx) == 0;
}

static void add_request(struct vblk_queue_state *state, const struct vblk_request_state *request)
{
	if (state->requests && state->request_count < state->request_room)
		state->requests[state->request_count] = *request;
	state->request_count++;
}

/* Requests are answered before the drain rests, so that only one can be left: that which waits. */
static void list_requests(const struct vblk_drain *drain, struct vblk_queue_state *state)
{
	const struct vblk_stall *stall = &drain->stall;

	if (!drain->stalled)
		return;
	add_request(state,
		    &(struct vblk_request_state){
			    .head = stall->head,
			    .waits = true,
			    .type = stall->type,
			    .sector = stall->sector,
			    .bytes = stall->bytes,
			    .age_ns = vblk_clock_now(&drain->config.disk->clock) - stall->since_ns,
		    });
}

void vblk_drain_inspect(const struct vblk_drain *drain, struct vblk_queue_state *state)
{
	state->at_rest = true;
	state->poisoned = drain->poisoned;
	state->next_avail = drain->queue.next_avail;
	state->next_used = drain->queue.next_used;
	look_at_rings(drain, state);
	list_requests(drain, state);
}

static void add_flight(const struct vblk_flight *flight, uint64_t now_ns,
		       struct vblk_queue_state *state)
{
	struct vblk_request_state request;

	if (vblk_label_read(&flight->label, now_ns, &request))
		add_request(state, &request);
}

void vblk_drain_inspect_running(const struct vblk_drain *drain, struct vblk_queue_state *state)
{
	const uint64_t now_ns = vblk_clock_now(&drain->config.disk->clock);
	const struct vblk_air *air = drain->config.air;

	add_flight(&drain->flight, now_ns, state);
	/* How many of them were ever taken is the drain's to know. Memory of others is zeros. */
	for (size_t i = 0; air && i < VBLK_AIR_MAX; i++)
		add_flight(&air->flights[i], now_ns, state);
}
