/* SPDX-License-Identifier: MIT */
#include "ring.h"

#include <inttypes.h>
#include <linux/virtio_ring.h>

#include "base/le.h"
#include "fail.h"

#define FLAGS	   0u
#define IDX	   2u
#define ENTRIES	   4u
#define USED_BYTES 8u

static uint64_t used_event(const struct ring *ring)
{
	return ring->avail + ENTRIES + 2u * ring->size;
}

static uint64_t avail_event(const struct ring *ring)
{
	return ring->used + ENTRIES + (uint64_t)USED_BYTES * ring->size;
}

void ring_init(struct ring *ring, struct ram *ram, unsigned index, struct rng *rng, bool event_idx)
{
	const uint64_t room = ram->rings + (uint64_t)index * RAM_RING_SIZE;

	*ring = (struct ring){ .ram = ram, .event_idx = event_idx };
	ring->size = (uint16_t)(2u << rng_between(rng, rng_chance(rng, 4) ? 0 : 4, 7));
	ring->desc = room + (uint64_t)16 * rng_below(rng, 1024);
	ring->avail = room + 0x6000 + (uint64_t)2 * rng_below(rng, 4096);
	ring->used = room + 0xa000 + (uint64_t)4 * rng_below(rng, 4096);
	ring->free_count = ring->size;
	for (uint16_t i = 0; i < ring->size; i++)
		ring->next[i] = (uint16_t)(i + 1);
	ram_set(ram, ring->avail, 0, (size_t)(used_event(ring) + 2 - ring->avail));
	ram_set(ram, ring->used, 0, (size_t)(avail_event(ring) + 2 - ring->used));
}

static void put_desc(struct ring *ring, uint16_t index, const struct ring_piece *piece, bool last)
{
	uint8_t raw[sizeof(struct vring_desc)];
	uint16_t flags = piece->writable ? VRING_DESC_F_WRITE : 0;

	if (!last)
		flags |= VRING_DESC_F_NEXT;
	vblk_le64_put(raw + offsetof(struct vring_desc, addr), piece->address);
	vblk_le32_put(raw + offsetof(struct vring_desc, len), piece->length);
	vblk_le16_put(raw + offsetof(struct vring_desc, flags), flags);
	vblk_le16_put(raw + offsetof(struct vring_desc, next), last ? 0 : ring->next[index]);
	ram_write(ring->ram, ring->desc + index * sizeof(raw), raw, sizeof(raw));
}

uint16_t ring_add(struct ring *ring, const struct ring_piece *piece, unsigned count)
{
	const uint16_t head = ring->free_head;
	uint16_t index = head;

	if (count > ring->free_count)
		soak_fail("the driver makes a chain of %u of %u free descriptors", count,
			  ring->free_count);
	for (unsigned i = 0; i < count; i++) {
		put_desc(ring, index, &piece[i], i == count - 1);
		if (i < count - 1)
			index = ring->next[index];
	}
	ring->free_head = ring->next[index];
	ring->next[index] = RING_SIZE_MAX;
	ring->in_flight[head] = true;
	ring->free_count = (uint16_t)(ring->free_count - count);
	ram_store16(ring->ram, ring->avail + ENTRIES + 2u * (ring->avail_idx % ring->size), head);
	ring->avail_idx++;
	return head;
}

void ring_publish(struct ring *ring)
{
	ring->published = ring->avail_idx;
	ram_store16(ring->ram, ring->avail + IDX, ring->published);
}

bool ring_wants_notification(struct ring *ring)
{
	uint16_t old = ring->notified;

	/* What was published must be visible before the device's wish is read. */
	atomic_thread_fence(memory_order_seq_cst);
	ring->notified = ring->published;
	if (ring->published == old)
		return false;
	if (ring->event_idx)
		return vring_need_event(ram_load16(ring->ram, avail_event(ring)), ring->published,
					old);
	return !(ram_load16(ring->ram, ring->used + FLAGS) & VRING_USED_F_NO_NOTIFY);
}

static void free_chain(struct ring *ring, uint16_t head)
{
	uint16_t last = head;

	ring->in_flight[head] = false;
	ring->free_count++;
	while (ring->next[last] != RING_SIZE_MAX) {
		last = ring->next[last];
		ring->free_count++;
	}
	ring->next[last] = ring->free_head;
	ring->free_head = head;
}

bool ring_take(struct ring *ring, uint16_t *head, uint32_t *length)
{
	uint16_t used_idx = ring_used_idx(ring);
	uint64_t element;
	uint32_t id;

	if (used_idx == ring->last_used)
		return false;
	if ((uint16_t)(ring->published - ring->last_used) < (uint16_t)(used_idx - ring->last_used))
		soak_fail("used.idx is %u, but only %u chains were made available", used_idx,
			  ring->published);
	element = ring->used + ENTRIES + (uint64_t)USED_BYTES * (ring->last_used % ring->size);
	id = ram_load32(ring->ram, element);
	if (id >= ring->size || !ring->in_flight[id])
		soak_fail("used element %u has head %" PRIu32 ", which is not in flight",
			  ring->last_used, id);
	*head = (uint16_t)id;
	*length = ram_load32(ring->ram, element + 4);
	ring->last_used++;
	free_chain(ring, *head);
	return true;
}

void ring_disarm(struct ring *ring)
{
	if (ring->event_idx)
		ram_store16(ring->ram, used_event(ring), (uint16_t)(ring->last_used - 1));
	else
		ram_store16(ring->ram, ring->avail + FLAGS, VRING_AVAIL_F_NO_INTERRUPT);
}

bool ring_arm(struct ring *ring, uint16_t more)
{
	if (!ring->event_idx)
		more = 1;
	if (ring->event_idx)
		ram_store16(ring->ram, used_event(ring), (uint16_t)(ring->last_used + more - 1));
	else
		ram_store16(ring->ram, ring->avail + FLAGS, 0);
	atomic_thread_fence(memory_order_seq_cst);
	return (uint16_t)(ring_used_idx(ring) - ring->last_used) < more;
}

uint16_t ring_used_idx(const struct ring *ring)
{
	return ram_load16(ring->ram, ring->used + IDX);
}
