/* SPDX-License-Identifier: MIT */
/*
 * What a split virtqueue does now and then; what it does with each request is in queue/vring.h.
 */
#include "queue/vring.h"

#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"

static void window_open(struct vblk_queue_window *window, struct vblk_memory_view *view,
			uint64_t address, uint64_t length)
{
	uint64_t piece = 0;

	window->address = address;
	window->host = vblk_memory_view_at(view, address, length, &piece);
	window->length = window->host ? piece : 0;
}

void *vblk_vring_by_map(struct vblk_queue *queue, const struct vblk_queue_window *window,
			uint64_t offset, uint64_t size)
{
	uint64_t address, piece;
	void *host;

	if (!vblk_add_u64(window->address, offset, &address))
		return NULL;
	host = vblk_memory_view_at(&queue->view, address, size, &piece);
	return piece == size ? host : NULL;
}

void vblk_queue_start(struct vblk_queue *queue, const struct vblk_queue_layout *layout,
		      bool event_idx, const struct vblk_memory *memory)
{
	*queue = (struct vblk_queue){ .layout = *layout, .event_idx = event_idx };
	vblk_memory_view_init(&queue->view, memory);
	window_open(&queue->avail, &queue->view, layout->avail, vblk_used_event_offset(queue) + 2);
	window_open(&queue->used, &queue->view, layout->used, vblk_avail_event_offset(queue) + 2);
	vblk_table_open(&queue->desc, &queue->view, layout->desc, layout->size);
}

int vblk_queue_used_idx(struct vblk_queue *queue, uint16_t *used_idx)
{
	return vblk_vring_load16(queue, &queue->used, VBLK_USED_IDX, used_idx);
}

int vblk_queue_avail_idx(struct vblk_queue *queue, uint16_t *avail_idx)
{
	return vblk_vring_load16(queue, &queue->avail, VBLK_AVAIL_IDX, avail_idx);
}

void vblk_queue_continue(struct vblk_queue *queue, uint16_t next_avail, uint16_t next_used)
{
	queue->next_avail = next_avail;
	queue->next_used = next_used;
}

void vblk_queue_adopt(struct vblk_queue *queue, uint16_t head)
{
	vblk_queue_set_in_flight(queue, head, true);
}

void vblk_queue_recall(struct vblk_queue *queue, uint16_t from, uint16_t to)
{
	if ((uint16_t)(to - from) > queue->layout.size)
		return;
	for (; from != to; from++) {
		uint16_t *head = vblk_queue_taken_at(queue, from);

		if (vblk_vring_load16(queue, &queue->avail, vblk_avail_slot(queue, from), head) < 0)
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
	return vblk_vring_pop(queue, head);
}

bool vblk_queue_has_next(struct vblk_queue *queue)
{
	uint16_t avail_idx;

	return vblk_vring_load16(queue, &queue->avail, VBLK_AVAIL_IDX, &avail_idx) < 0 ||
	       avail_idx != queue->next_avail;
}

void vblk_queue_drop(struct vblk_queue *queue, uint16_t head)
{
	if (head < queue->layout.size)
		vblk_queue_set_in_flight(queue, head, false);
}

void vblk_queue_undo_pop(struct vblk_queue *queue, uint16_t head)
{
	vblk_queue_drop(queue, head);
	queue->next_avail--;
}

/* Stores a used element that does not lie in one piece, or not where the ring begins. */
int vblk_vring_store_used_by_map(struct vblk_queue *queue, uint64_t slot, uint16_t head,
				 uint32_t length)
{
	if (vblk_vring_store32(queue, &queue->used, slot, head) < 0)
		return -EFAULT;
	return vblk_vring_store32(queue, &queue->used, slot + 4, length);
}

int vblk_queue_push(struct vblk_queue *queue, uint16_t head, uint32_t length)
{
	return vblk_vring_push(queue, head, length);
}

int vblk_queue_disable_notifications(struct vblk_queue *queue)
{
	if (queue->event_idx)
		return 0;
	return vblk_vring_store16(queue, &queue->used, VBLK_USED_FLAGS, VRING_USED_F_NO_NOTIFY);
}

int vblk_queue_enable_notifications(struct vblk_queue *queue)
{
	uint16_t avail_idx;
	int ret;

	if (queue->event_idx)
		ret = vblk_vring_store16(queue, &queue->used, vblk_avail_event_offset(queue),
					 queue->next_avail);
	else
		ret = vblk_vring_store16(queue, &queue->used, VBLK_USED_FLAGS, 0);
	if (ret < 0)
		return ret;
	atomic_thread_fence(memory_order_seq_cst);
	ret = vblk_vring_load16(queue, &queue->avail, VBLK_AVAIL_IDX, &avail_idx);
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
	if (vblk_vring_load16(queue, &queue->avail, vblk_used_event_offset(queue), &used_event) < 0)
		return -EFAULT;
	old = (uint16_t)(queue->next_used - queue->num_added);
	queue->num_added = 0;
	return vring_need_event(used_event, queue->next_used, old);
}
