/* SPDX-License-Identifier: MIT */
/*
 * What a flight carries for those who look at it from another thread while it is under way: which
 * request it is, and since when. A call that hangs in the host is seen by nothing else.
 *
 * One thread sets and clears, a few stores each; any number of others read, without ever making it
 * wait. The turn is odd while the rest means something. Whoever finds the same odd turn before and
 * behind the rest has read the label of one flight: a store of the rest releases the even turn
 * before it, so that who acquires something of the next flight finds that the turn has moved.
 */
#ifndef VBLK_REQUEST_LABEL_H
#define VBLK_REQUEST_LABEL_H

#include <stdatomic.h>
#include <vblk/inspect.h>

#include "base/inline.h"

struct vblk_label {
	atomic_uint turn;
	_Atomic uint16_t head;
	_Atomic uint32_t type;
	_Atomic uint64_t sector;
	_Atomic uint64_t bytes;
	_Atomic uint64_t since_ns;
};

/* How often a reader tries that meets flight after flight. */
#define VBLK_LABEL_TRIES 8

static inline void vblk_label_init(struct vblk_label *label)
{
	atomic_init(&label->turn, 0);
}

/* Only when it is clear. */
VBLK_ALWAYS_INLINE void vblk_label_set(struct vblk_label *label, uint16_t head, uint32_t type,
				       uint64_t sector, uint64_t bytes, uint64_t since_ns)
{
	const unsigned turn = atomic_load_explicit(&label->turn, memory_order_relaxed);

	atomic_store_explicit(&label->head, head, memory_order_release);
	atomic_store_explicit(&label->type, type, memory_order_release);
	atomic_store_explicit(&label->sector, sector, memory_order_release);
	atomic_store_explicit(&label->bytes, bytes, memory_order_release);
	atomic_store_explicit(&label->since_ns, since_ns, memory_order_release);
	atomic_store_explicit(&label->turn, turn + 1, memory_order_release);
}

/* Of one that is clear already nothing changes. */
VBLK_ALWAYS_INLINE void vblk_label_clear(struct vblk_label *label)
{
	const unsigned turn = atomic_load_explicit(&label->turn, memory_order_relaxed);

	atomic_store_explicit(&label->turn, (turn + 1) & ~1u, memory_order_relaxed);
}

/*
 * Reads the label at the moment `now_ns` of the clock. False: there is no flight, or so many of
 * them, one behind the other, that none is long under way.
 */
VBLK_MUST_USE static inline bool vblk_label_read(const struct vblk_label *label, uint64_t now_ns,
						 struct vblk_request_state *request)
{
	for (unsigned tries = 0; tries < VBLK_LABEL_TRIES; tries++) {
		const unsigned turn = atomic_load_explicit(&label->turn, memory_order_acquire);
		uint64_t since_ns;

		if (turn % 2 == 0)
			return false;
		request->head = atomic_load_explicit(&label->head, memory_order_acquire);
		request->waits = false;
		request->type = atomic_load_explicit(&label->type, memory_order_acquire);
		request->sector = atomic_load_explicit(&label->sector, memory_order_acquire);
		request->bytes = atomic_load_explicit(&label->bytes, memory_order_acquire);
		since_ns = atomic_load_explicit(&label->since_ns, memory_order_acquire);
		request->age_ns = now_ns > since_ns ? now_ns - since_ns : 0;
		if (atomic_load_explicit(&label->turn, memory_order_relaxed) == turn)
			return true;
	}
	return false;
}

#endif
