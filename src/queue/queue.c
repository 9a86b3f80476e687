/* SPDX-License-Identifier: MIT */
/*
 * A split virtqueue at work.
 *
 * Available ring: u16 flags, u16 idx, u16 ring[size], u16 used_event.
 * Used ring:      u16 flags, u16 idx, { u32 id, u32 len } ring[size], u16 avail_event.
 * All little-endian; indices run freely and wrap at 2^16.
 */
#include "queue/queue.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "base/inline.h"
#include "base/le.h"

#define AVAIL_IDX  2u
#define AVAIL_RING 4u
#define USED_FLAGS 0u
#define USED_IDX   2u
#define USED_RING  4u
#define USED_ELEM  8u

static uint64_t avail_slot(const struct vblk_queue *queue, uint16_t index)
{
	return AVAIL_RING + 2u * (index & (queue->layout.size - 1u));
}

static uint64_t used_slot(const struct vblk_queue *queue, uint16_t index)
{
	return USED_RING + USED_ELEM * (index & (queue->layout.size - 1u));
}

/* used_event stands behind the available ring, avail_event behind the used ring. */
static uint64_t used_event_offset(const struct vblk_queue *queue)
{
	return AVAIL_RING + 2u * queue->layout.size;
}

static uint64_t avail_event_offset(const struct vblk_queue *queue)
{
	return USED_RING + USED_ELEM * queue->layout.size;
}

static void window_open(struct vblk_queue_window *window, struct vblk_memory_view *view,
			uint64_t address, uint64_t length)
{
	uint64_t piece = 0;

	window->address = address;
	window->host = vblk_memory_view_at(view, address, length, &piece);
	window->length = window->host ? piece : 0;
}

VBLK_NEVER_INLINE void *ring_by_map(struct vblk_queue *queue,
				    const struct vblk_queue_window *window, uint64_t offset,
				    uint64_t size)
{
	uint64_t address, piece;
	void *host;

	if (!vblk_add_u64(window->address, offset, &address))
		return NULL;
	host = vblk_memory_view_at(&queue->view, address, size, &piece);
	return piece == size ? host : NULL;
}

/*
 * The host address of `size` bytes (2 or 4, naturally aligned) at `offset` in a ring area. Aligned
 * values never straddle regions, so one region holds them or nothing does.
 */
VBLK_ALWAYS_INLINE void *ring_at(struct vblk_queue *queue, const struct vblk_queue_window *window,
				 uint64_t offset, uint64_t size)
{
	if (__builtin_expect(offset + size <= window->length, true))
		return window->host + offset;
	return ring_by_map(queue, window, offset, size);
}

VBLK_ALWAYS_INLINE int load16(struct vblk_queue *queue, const struct vblk_queue_window *window,
			      uint64_t offset, uint16_t *value)
{
	const uint16_t *at = ring_at(queue, window, offset, sizeof(*at));

	if (!at)
		return -EFAULT;
	*value = le16toh(__atomic_load_n(at, __ATOMIC_ACQUIRE));
	return 0;
}

VBLK_ALWAYS_INLINE int store16(struct vblk_queue *queue, const struct vblk_queue_window *window,
			       uint64_t offset, uint16_t value)
{
	uint16_t *at = ring_at(queue, window, offset, sizeof(*at));

	if (!at)
		return -EFAULT;
	__atomic_store_n(at, htole16(value), __ATOMIC_RELEASE);
	vblk_dirty_mark(queue->view.dirty, window->address + offset, sizeof(*at));
	return 0;
}

VBLK_ALWAYS_INLINE int store32(struct vblk_queue *queue, const struct vblk_queue_window *window,
			       uint64_t offset, uint32_t value)
{
	uint32_t *at = ring_at(queue, window, offset, sizeof(*at));

	if (!at)
		return -EFAULT;
	__atomic_store_n(at, htole32(value), __ATOMIC_RELAXED);
	vblk_dirty_mark(queue->view.dirty, window->address + offset, sizeof(*at));
	return 0;
}

void vblk_queue_start(struct vblk_queue *queue, const struct vblk_queue_layout *layout,
		      bool event_idx, const struct vblk_memory *memory)
{
	*queue = (struct vblk_queue){ .layout = *layout, .event_idx = event_idx };
	vblk_memory_view_init(&queue->view, memory);
	window_open(&queue->avail, &queue->view, layout->avail, used_event_offset(queue) + 2);
	window_open(&queue->used, &queue->view, layout->used, avail_event_offset(queue) + 2);
	vblk_table_open(&queue->desc, &queue->view, layout->desc, layout->size);
}

int vblk_queue_used_idx(struct vblk_queue *queue, uint16_t *used_idx)
{
	return load16(queue, &queue->used, USED_IDX, used_idx);
}

int vblk_queue_avail_idx(struct vblk_queue *queue, uint16_t *avail_idx)
{
	return load16(queue, &queue->avail, AVAIL_IDX, avail_idx);
}

void vblk_queue_continue(struct vblk_queue *queue, uint16_t next_avail, uint16_t next_used)
{
	queue->next_avail = next_avail;
	queue->next_used = next_used;
}

/* Heads are below the queue's size wherever these two are called. */
static bool is_in_flight(const struct vblk_queue *queue, uint16_t head)
{
	return queue->in_flight[head / 64] >> head % 64 & 1;
}

static void set_in_flight(struct vblk_queue *queue, uint16_t head, bool in_flight)
{
	uint64_t bit = (uint64_t)1 << head % 64;

	if (in_flight)
		queue->in_flight[head / 64] |= bit;
	else
		queue->in_flight[head / 64] &= ~bit;
}

void vblk_queue_adopt(struct vblk_queue *queue, uint16_t head)
{
	set_in_flight(queue, head, true);
}

static uint16_t *taken_at(struct vblk_queue *queue, uint16_t index)
{
	return &queue->taken[index & (queue->layout.size - 1u)];
}

void vblk_queue_recall(struct vblk_queue *queue, uint16_t from, uint16_t to)
{
	if ((uint16_t)(to - from) > queue->layout.size)
		return;
	for (; from != to; from++) {
		uint16_t *head = taken_at(queue, from);

		if (load16(queue, &queue->avail, avail_slot(queue, from), head) < 0)
			*head = UINT16_MAX;
	}
}

uint16_t vblk_queue_behind(const struct vblk_queue *queue)
{
	uint64_t open[VBLK_QUEUE_SIZE_MAX / 64];
	uint16_t count = 0;

	/* A head may have been taken twice, and stands for the last time only. */
	memcpy(open, queue->in_flight, sizeof(open));
	while (count < queue->layout.size) {
		uint16_t index = (uint16_t)(queue->next_avail - 1 - count);
		uint16_t head = queue->taken[index & (queue->layout.size - 1u)];

		if (head >= queue->layout.size || !(open[head / 64] >> head % 64 & 1))
			break;
		open[head / 64] &= ~(1ull << head % 64);
		count++;
	}
	return count;
}

int vblk_queue_pop(struct vblk_queue *queue, uint16_t *head)
{
	uint16_t avail_idx;

	if (!queue->layout.ready || queue->layout.avail == 0)
		return -EINVAL;
	if (load16(queue, &queue->avail, AVAIL_IDX, &avail_idx) < 0)
		return -EFAULT;
	if ((uint16_t)(avail_idx - queue->next_avail) > queue->layout.size)
		return -ERANGE;
	if (avail_idx == queue->next_avail)
		return 0;
	if (load16(queue, &queue->avail, avail_slot(queue, queue->next_avail), head) < 0)
		return -EFAULT;
	if (*head < queue->layout.size) {
		if (is_in_flight(queue, *head))
			return -EEXIST;
		set_in_flight(queue, *head, true);
	}
	*taken_at(queue, queue->next_avail++) = *head;
	return 1;
}

bool vblk_queue_has_next(struct vblk_queue *queue)
{
	uint16_t avail_idx;

	return load16(queue, &queue->avail, AVAIL_IDX, &avail_idx) < 0 ||
	       avail_idx != queue->next_avail;
}

void vblk_queue_drop(struct vblk_queue *queue, uint16_t head)
{
	if (head < queue->layout.size)
		set_in_flight(queue, head, false);
}

void vblk_queue_undo_pop(struct vblk_queue *queue, uint16_t head)
{
	vblk_queue_drop(queue, head);
	queue->next_avail--;
}

/* Stores a used element that does not lie in one piece, or not where the ring begins. */
VBLK_NEVER_INLINE int store_used_by_map(struct vblk_queue *queue, uint64_t slot, uint16_t head,
					uint32_t length)
{
	if (store32(queue, &queue->used, slot, head) < 0)
		return -EFAULT;
	return store32(queue, &queue->used, slot + 4, length);
}

VBLK_ALWAYS_INLINE int store_used(struct vblk_queue *queue, uint16_t head, uint32_t length)
{
	uint64_t slot = used_slot(queue, queue->next_used);
	uint32_t *at;

	if (__builtin_expect(slot + USED_ELEM > queue->used.length, false))
		return store_used_by_map(queue, slot, head, length);
	at = (uint32_t *)(void *)(queue->used.host + slot);
	__atomic_store_n(&at[0], htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&at[1], htole32(length), __ATOMIC_RELAXED);
	vblk_dirty_mark(queue->view.dirty, queue->used.address + slot, USED_ELEM);
	return 0;
}

int vblk_queue_push(struct vblk_queue *queue, uint16_t head, uint32_t length)
{
	if (head >= queue->layout.size)
		return -ERANGE;
	set_in_flight(queue, head, false);
	if (store_used(queue, head, length) < 0 || vblk_memory_view_has_failed(&queue->view) ||
	    store16(queue, &queue->used, USED_IDX, (uint16_t)(queue->next_used + 1)) < 0)
		return -EFAULT;
	queue->next_used++;
	queue->num_added++;
	return 0;
}

int vblk_queue_disable_notifications(struct vblk_queue *queue)
{
	if (queue->event_idx)
		return 0;
	return store16(queue, &queue->used, USED_FLAGS, VRING_USED_F_NO_NOTIFY);
}

int vblk_queue_enable_notifications(struct vblk_queue *queue)
{
	uint16_t avail_idx;
	int ret;

	if (queue->event_idx)
		ret = store16(queue, &queue->used, avail_event_offset(queue), queue->next_avail);
	else
		ret = store16(queue, &queue->used, USED_FLAGS, 0);
	if (ret < 0)
		return ret;
	atomic_thread_fence(memory_order_seq_cst);
	ret = load16(queue, &queue->avail, AVAIL_IDX, &avail_idx);
	if (ret < 0)
		return ret;
	return avail_idx != queue->next_avail;
}

int vblk_queue_needs_interrupt(struct vblk_queue *queue)
{
	uint16_t used_event, old;

	/* The new used.idx must be visible before the driver's wish is read, or both sides wait. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!queue->event_idx)
		return 1;
	if (load16(queue, &queue->avail, used_event_offset(queue), &used_event) < 0)
		return -EFAULT;
	old = (uint16_t)(queue->next_used - queue->num_added);
	queue->num_added = 0;
	return vring_need_event(used_event, queue->next_used, old);
}
