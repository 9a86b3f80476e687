/* SPDX-License-Identifier: MIT */
/*
 * The rings of a queue at work, and what every request does to them: it is taken, and published.
 * Both are part of the one function that most requests are served in.
 *
 * Available ring: u16 flags, u16 idx, u16 ring[size], u16 used_event.
 * Used ring:      u16 flags, u16 idx, { u32 id, u32 len } ring[size], u16 avail_event.
 * All little-endian; indices run freely and wrap at 2^16.
 */
#ifndef VBLK_QUEUE_VRING_H
#define VBLK_QUEUE_VRING_H

#include <endian.h>
#include <errno.h>

#include "base/inline.h"
#include "queue/queue.h"

#define VBLK_AVAIL_IDX	2u
#define VBLK_AVAIL_RING 4u
#define VBLK_USED_FLAGS 0u
#define VBLK_USED_IDX	2u
#define VBLK_USED_RING	4u
#define VBLK_USED_ELEM	8u

static inline uint64_t vblk_avail_slot(const struct vblk_queue *queue, uint16_t index)
{
	return VBLK_AVAIL_RING + 2u * (index & (queue->layout.size - 1u));
}

static inline uint64_t vblk_used_slot(const struct vblk_queue *queue, uint16_t index)
{
	return VBLK_USED_RING + VBLK_USED_ELEM * (index & (queue->layout.size - 1u));
}

/* used_event stands behind the available ring, avail_event behind the used ring. */
static inline uint64_t vblk_used_event_offset(const struct vblk_queue *queue)
{
	return VBLK_AVAIL_RING + 2u * queue->layout.size;
}

static inline uint64_t vblk_avail_event_offset(const struct vblk_queue *queue)
{
	return VBLK_USED_RING + VBLK_USED_ELEM * queue->layout.size;
}

/* By way of the map, where a window does not reach: a ring that is not in one piece, or nowhere. */
void *vblk_vring_by_map(struct vblk_queue *queue, const struct vblk_queue_window *window,
			uint64_t offset, uint64_t size);
int vblk_vring_store_used_by_map(struct vblk_queue *queue, uint64_t slot, uint16_t head,
				 uint32_t length);

/*
 * The host address of `size` bytes (2 or 4, naturally aligned) at `offset` in a ring area. Aligned
 * values never straddle regions, so one region holds them or nothing does.
 */
VBLK_ALWAYS_INLINE void *vblk_vring_at(struct vblk_queue *queue,
				       const struct vblk_queue_window *window, uint64_t offset,
				       uint64_t size)
{
	if (__builtin_expect(offset + size <= window->length, true))
		return window->host + offset;
	return vblk_vring_by_map(queue, window, offset, size);
}

VBLK_ALWAYS_INLINE int vblk_vring_load16(struct vblk_queue *queue,
					 const struct vblk_queue_window *window, uint64_t offset,
					 uint16_t *value)
{
	const uint16_t *at = vblk_vring_at(queue, window, offset, sizeof(*at));

	if (!at)
		return -EFAULT;
	*value = le16toh(__atomic_load_n(at, __ATOMIC_ACQUIRE));
	return 0;
}

VBLK_ALWAYS_INLINE int vblk_vring_store16(struct vblk_queue *queue,
					  const struct vblk_queue_window *window, uint64_t offset,
					  uint16_t value)
{
	uint16_t *at = vblk_vring_at(queue, window, offset, sizeof(*at));

	if (!at)
		return -EFAULT;
	__atomic_store_n(at, htole16(value), __ATOMIC_RELEASE);
	vblk_dirty_mark(queue->view.dirty, window->address + offset, sizeof(*at));
	return 0;
}

VBLK_ALWAYS_INLINE int vblk_vring_store32(struct vblk_queue *queue,
					  const struct vblk_queue_window *window, uint64_t offset,
					  uint32_t value)
{
	uint32_t *at = vblk_vring_at(queue, window, offset, sizeof(*at));

	if (!at)
		return -EFAULT;
	__atomic_store_n(at, htole32(value), __ATOMIC_RELAXED);
	vblk_dirty_mark(queue->view.dirty, window->address + offset, sizeof(*at));
	return 0;
}

/* Heads are below the queue's size wherever these two are called. */
static inline bool vblk_queue_is_in_flight(const struct vblk_queue *queue, uint16_t head)
{
	return queue->in_flight[head / 64] >> head % 64 & 1;
}

static inline void vblk_queue_set_in_flight(struct vblk_queue *queue, uint16_t head, bool in_flight)
{
	uint64_t bit = (uint64_t)1 << head % 64;

	if (in_flight)
		queue->in_flight[head / 64] |= bit;
	else
		queue->in_flight[head / 64] &= ~bit;
}

static inline uint16_t *vblk_queue_taken_at(struct vblk_queue *queue, uint16_t index)
{
	return &queue->taken[index & (queue->layout.size - 1u)];
}

/* vblk_queue_pop, inline. */
VBLK_MUST_USE VBLK_ALWAYS_INLINE int vblk_vring_pop(struct vblk_queue *queue, uint16_t *head)
{
	uint16_t avail_idx;

	if (!queue->layout.ready || queue->layout.avail == 0)
		return -EINVAL;
	if (vblk_vring_load16(queue, &queue->avail, VBLK_AVAIL_IDX, &avail_idx) < 0)
		return -EFAULT;
	if ((uint16_t)(avail_idx - queue->next_avail) > queue->layout.size)
		return -ERANGE;
	if (avail_idx == queue->next_avail)
		return 0;
	if (vblk_vring_load16(queue, &queue->avail, vblk_avail_slot(queue, queue->next_avail),
			      head) < 0)
		return -EFAULT;
	if (*head < queue->layout.size) {
		if (vblk_queue_is_in_flight(queue, *head))
			return -EEXIST;
		vblk_queue_set_in_flight(queue, *head, true);
	}
	*vblk_queue_taken_at(queue, queue->next_avail++) = *head;
	return 1;
}

VBLK_ALWAYS_INLINE int vblk_vring_store_used(struct vblk_queue *queue, uint16_t head,
					     uint32_t length)
{
	uint64_t slot = vblk_used_slot(queue, queue->next_used);
	uint32_t *at;

	if (__builtin_expect(slot + VBLK_USED_ELEM > queue->used.length, false))
		return vblk_vring_store_used_by_map(queue, slot, head, length);
	at = (uint32_t *)(void *)(queue->used.host + slot);
	__atomic_store_n(&at[0], htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&at[1], htole32(length), __ATOMIC_RELAXED);
	vblk_dirty_mark(queue->view.dirty, queue->used.address + slot, VBLK_USED_ELEM);
	return 0;
}

/* vblk_queue_push, inline. */
VBLK_MUST_USE VBLK_ALWAYS_INLINE int vblk_vring_push(struct vblk_queue *queue, uint16_t head,
						     uint32_t length)
{
	if (head >= queue->layout.size)
		return -ERANGE;
	vblk_queue_set_in_flight(queue, head, false);
	if (vblk_vring_store_used(queue, head, length) < 0 ||
	    vblk_memory_view_has_failed(&queue->view) ||
	    vblk_vring_store16(queue, &queue->used, VBLK_USED_IDX,
			       (uint16_t)(queue->next_used + 1)) < 0)
		return -EFAULT;
	queue->next_used++;
	queue->num_added++;
	return 0;
}

#endif
