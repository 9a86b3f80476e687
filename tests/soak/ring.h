/* SPDX-License-Identifier: MIT */
/*
 * The driver's half of a split virtqueue (specification 2.7), for one thread.
 *
 * It does what the specification asks of a driver and no more: it notifies only if the device
 * wants to be notified, and after ring_arm has returned true it may rely on an interrupt.
 */
#ifndef TESTS_SOAK_RING_H
#define TESTS_SOAK_RING_H

#include "ram.h"

#define RING_SIZE_MAX 256u

struct ring_piece {
	uint64_t address;
	uint32_t length;
	bool writable; /* by the device */
};

struct ring {
	struct ram *ram;
	bool event_idx;
	uint16_t size;
	uint64_t desc;
	uint64_t avail;
	uint64_t used;
	uint16_t free_count;
	uint16_t free_head;
	bool in_flight[RING_SIZE_MAX]; /* heads that the device has */
	uint16_t next[RING_SIZE_MAX];  /* of a chain, or of the free descriptors */
	uint16_t avail_idx;	       /* heads in the ring, whether published or not */
	uint16_t published;
	uint16_t notified; /* published when ring_wants_notification last answered */
	uint16_t last_used;
};

/* Chooses places in room `index` and a size for an empty ring, and clears its memory. */
void ring_init(struct ring *ring, struct ram *ram, unsigned index, struct rng *rng, bool event_idx);

/* Puts a chain into the ring; it is the device's only after ring_publish. Returns its head. */
uint16_t ring_add(struct ring *ring, const struct ring_piece *piece, unsigned count);
void ring_publish(struct ring *ring);

/* Whether the device wants to be told of what was published since the last question. */
bool ring_wants_notification(struct ring *ring);

/* Takes the next used element. False: there is none. */
bool ring_take(struct ring *ring, uint16_t *head, uint32_t *length);

/* Asks for no interrupts; a device may raise them all the same. */
void ring_disarm(struct ring *ring);

/*
 * Asks for an interrupt when `more` elements are used beside those that have been taken (at least
 * 1; without event-idx always the first). False: they are there, and no interrupt may come.
 */
bool ring_arm(struct ring *ring, uint16_t more);

uint16_t ring_used_idx(const struct ring *ring);

/* Chains that have been published and not taken. */
static inline uint16_t ring_in_flight(const struct ring *ring)
{
	return (uint16_t)(ring->published - ring->last_used);
}

#endif
