/* SPDX-License-Identifier: MIT */
/*
 * Where things are in a queue's memory: descriptors, available ring, used ring on a page of its own
 * (the device writes it, nobody else), headers and status bytes, tables of descriptors if there are
 * any, buffers on pages of their own.
 *
 * A request has a descriptor for its header, one for each segment and one for its status byte. A
 * flush leaves out the segments: the first descriptor then leads to the last.
 *
 * Who looks all the time wants no interrupts: used_event is kept half the range of an index ahead,
 * where it is not reached, and moved when half of that is used up.
 */
#include "driver/queue.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/eventfd.h"
#include "base/le.h"

#define PAGE	   4096u
#define RING_LEAST 128u /* what drivers use: a device may serve a ring's length at a time */
#define SLOT_BYTES 64u	/* header and status byte, on a cache line of their own */
#define STATUS_AT  16u
#define QUIET	   0x8000u

#define SPINS_PER_LOOK 64u  /* how often the clock is read */
#define LOOKS_ALONE    4u   /* then the processor is offered to others */
#define CHECK_EVERY_MS 100u /* whether the device is still there */

static uint32_t pages(uint64_t bytes)
{
	return (uint32_t)((bytes + PAGE - 1) / PAGE * PAGE);
}

/* `most` is a power of two, and at least `entries`. */
static uint16_t ring_for(uint32_t entries, uint32_t most)
{
	uint32_t size = RING_LEAST;

	while (size < entries)
		size *= 2;
	return (uint16_t)(size < most ? size : most);
}

/* The ring's parts, in bytes from the start of the queue's memory. */
static uint32_t avail_of(uint32_t size)
{
	return 16 * size;
}

static uint32_t used_of(uint32_t size)
{
	return pages(avail_of(size) + 6 + 2 * size);
}

static uint32_t headers_of(uint32_t size)
{
	return used_of(size) + pages(6 + 8 * size);
}

static uint32_t tables_of(uint32_t size, uint32_t depth)
{
	return headers_of(size) + pages((uint64_t)SLOT_BYTES * depth);
}

/* Descriptors of a request. */
static uint32_t links_of(const struct vblk_driver_shape *shape)
{
	return shape->segments + 2;
}

static bool has_tables(const struct vblk_driver_shape *shape)
{
	return shape->entries == 1;
}

/* A table, in whole cache lines. */
static uint32_t table_bytes(const struct vblk_driver_shape *shape)
{
	return (16 * links_of(shape) + 63) / 64 * 64;
}

static uint32_t data_of(const struct vblk_driver_shape *shape)
{
	return tables_of(shape->size, shape->depth) +
	       (has_tables(shape) ? pages((uint64_t)table_bytes(shape) * shape->depth) : 0);
}

int vblk_driver_shape(const struct vblk_driver_traits *traits, uint32_t block, uint32_t depth,
		      struct vblk_driver_shape *shape, uint32_t *most)
{
	const uint32_t segment =
		traits->size_max && traits->size_max < block ? traits->size_max : block;
	const uint32_t segments = (block + segment - 1) / segment;
	const uint32_t entries = traits->indirect ? 1 : segments + 2;

	/* A chain is no longer than the ring, with a table or without (specification 2.7.5.3.1). */
	if ((traits->seg_max && segments > traits->seg_max) || segments + 2 > traits->queue_size)
		return -E2BIG;
	*most = traits->queue_size / entries;
	if (depth > *most)
		return -ERANGE;
	shape->block = block;
	shape->depth = depth;
	shape->segment = segment;
	shape->segments = segments;
	shape->entries = entries;
	shape->size = ring_for(depth * entries, traits->queue_size);
	shape->bytes = data_of(shape) + (size_t)depth * pages(block);
	return 0;
}

static uint16_t head_of(const struct vblk_driver_queue *queue, uint32_t slot)
{
	return (uint16_t)(slot * queue->shape.entries);
}

/* What the `next` of a slot's descriptors counts from. */
static uint16_t first_link(const struct vblk_driver_queue *queue, uint32_t slot)
{
	return has_tables(&queue->shape) ? 0 : head_of(queue, slot);
}

/* Descriptor `link` of a slot. */
static uint8_t *link_of(const struct vblk_driver_queue *queue, uint32_t slot, uint32_t link)
{
	uint32_t at = 16 * head_of(queue, slot);

	if (has_tables(&queue->shape))
		at = queue->tables_at + slot * table_bytes(&queue->shape);
	return queue->memory + at + 16 * (size_t)link;
}

static uint8_t *header_of(const struct vblk_driver_queue *queue, uint32_t slot)
{
	return queue->memory + queue->headers_at + (size_t)slot * SLOT_BYTES;
}

void *vblk_driver_queue_data(const struct vblk_driver_queue *queue, uint32_t slot)
{
	return queue->memory + queue->data_at + (size_t)slot * pages(queue->shape.block);
}

static void put_descriptor(const struct vblk_driver_queue *queue, uint8_t *p, const uint8_t *at,
			   uint32_t length, uint16_t flags, uint16_t next)
{
	vblk_le64_put(p, queue->guest + (uint64_t)(at - queue->memory));
	vblk_le32_put(p + 8, length);
	vblk_le16_put(p + 12, flags);
	vblk_le16_put(p + 14, next);
}

static void lay_out_slot(struct vblk_driver_queue *queue, uint32_t slot)
{
	const struct vblk_driver_shape *shape = &queue->shape;
	const uint8_t *data = vblk_driver_queue_data(queue, slot);
	const uint16_t flags = VRING_DESC_F_NEXT | VRING_DESC_F_WRITE;
	const uint8_t *header = header_of(queue, slot);
	uint16_t next = first_link(queue, slot);
	uint32_t left = shape->block, link = 0;

	put_descriptor(queue, link_of(queue, slot, link++), header, 16, VRING_DESC_F_NEXT, ++next);
	while (left > 0) {
		uint32_t part = left < shape->segment ? left : shape->segment;

		put_descriptor(queue, link_of(queue, slot, link++), data, part, flags, ++next);
		data += part;
		left -= part;
	}
	put_descriptor(queue, link_of(queue, slot, link), header + STATUS_AT, 1, VRING_DESC_F_WRITE,
		       0);
	if (has_tables(shape))
		put_descriptor(queue, queue->memory + 16 * (size_t)head_of(queue, slot),
			       link_of(queue, slot, 0), 16 * links_of(shape), VRING_DESC_F_INDIRECT,
			       0);
}

/* Sets a slot's descriptors for another kind of request. */
static void turn_slot(struct vblk_driver_queue *queue, uint32_t slot, enum vblk_driver_kind kind)
{
	const uint32_t last = queue->shape.segments + 1;
	const uint16_t flags =
		VRING_DESC_F_NEXT | (kind == VBLK_DRIVER_READ ? VRING_DESC_F_WRITE : 0);
	const uint32_t second = kind == VBLK_DRIVER_FLUSH ? last : 1;

	vblk_le16_put(link_of(queue, slot, 0) + 14, (uint16_t)(first_link(queue, slot) + second));
	for (uint32_t link = 1; link < last; link++)
		vblk_le16_put(link_of(queue, slot, link) + 12, flags);
	queue->slots[slot].kind = kind;
}

static uint16_t *word(const struct vblk_driver_queue *queue, uint32_t at)
{
	return (uint16_t *)(void *)(queue->memory + at);
}

static uint16_t load(const struct vblk_driver_queue *queue, uint32_t at)
{
	return le16toh(__atomic_load_n(word(queue, at), __ATOMIC_ACQUIRE));
}

static void store(struct vblk_driver_queue *queue, uint32_t at, uint16_t value)
{
	__atomic_store_n(word(queue, at), htole16(value), __ATOMIC_RELEASE);
}

static void set_used_event(struct vblk_driver_queue *queue, uint16_t value)
{
	store(queue, queue->avail_at + 4 + 2u * queue->shape.size, value);
}

static void be_quiet(struct vblk_driver_queue *queue)
{
	queue->quiet_event = (uint16_t)(queue->used_idx + QUIET);
	if (queue->event_idx)
		set_used_event(queue, queue->quiet_event);
	else
		store(queue, queue->avail_at, VRING_AVAIL_F_NO_INTERRUPT);
}

int vblk_driver_queue_init(struct vblk_driver_queue *queue, struct vblk_driver_transport *transport,
			   unsigned index, const struct vblk_driver_shape *shape, void *memory,
			   uint64_t guest, struct vblk_driver_place *place)
{
	*queue = (struct vblk_driver_queue){
		.transport = transport,
		.index = index,
		.shape = *shape,
		.event_idx = transport->traits.event_idx,
		.memory = memory,
		.guest = guest,
		.avail_at = avail_of(shape->size),
		.used_at = used_of(shape->size),
		.headers_at = headers_of(shape->size),
		.tables_at = tables_of(shape->size, shape->depth),
		.data_at = data_of(shape),
	};
	queue->slots = calloc(shape->depth, sizeof(*queue->slots));
	if (!queue->slots)
		return -ENOMEM;
	for (uint32_t slot = 0; slot < shape->depth; slot++)
		lay_out_slot(queue, slot);
	be_quiet(queue);
	*place = (struct vblk_driver_place){
		.size = shape->size,
		.desc = guest,
		.avail = guest + queue->avail_at,
		.used = guest + queue->used_at,
	};
	return 0;
}

void vblk_driver_queue_destroy(struct vblk_driver_queue *queue)
{
	free(queue->slots);
	queue->slots = NULL;
}

void vblk_driver_queue_submit(struct vblk_driver_queue *queue, uint32_t slot,
			      enum vblk_driver_kind kind, uint64_t sector)
{
	static const uint32_t types[] = {
		[VBLK_DRIVER_READ] = VIRTIO_BLK_T_IN,
		[VBLK_DRIVER_WRITE] = VIRTIO_BLK_T_OUT,
		[VBLK_DRIVER_FLUSH] = VIRTIO_BLK_T_FLUSH,
	};
	const uint16_t mask = (uint16_t)(queue->shape.size - 1);
	uint8_t *header = header_of(queue, slot);

	vblk_le32_put(header, types[kind]);
	vblk_le64_put(header + 8, sector);
	header[STATUS_AT] = 0xff;
	if (queue->slots[slot].kind != kind)
		turn_slot(queue, slot, kind);
	vblk_le16_put(queue->memory + queue->avail_at + 4 + 2 * (size_t)(queue->avail_idx & mask),
		      head_of(queue, slot));
	queue->avail_idx++;
	queue->slots[slot].busy = true;
	queue->in_flight++;
	store(queue, queue->avail_at + 2, queue->avail_idx);
}

void vblk_driver_queue_notify(struct vblk_driver_queue *queue)
{
	const uint16_t old = queue->decided_idx;
	bool wanted;

	if (old == queue->avail_idx)
		return;
	queue->decided_idx = queue->avail_idx;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (queue->event_idx)
		wanted = vring_need_event(load(queue, queue->used_at + 4 + 8u * queue->shape.size),
					  queue->avail_idx, old);
	else
		wanted = !(load(queue, queue->used_at) & VRING_USED_F_NO_NOTIFY);
	if (wanted) {
		queue->notifications++;
		queue->transport->ops->notify(queue->transport, queue->index);
	}
}

static uint16_t waiting(const struct vblk_driver_queue *queue)
{
	return (uint16_t)(load(queue, queue->used_at + 2) - queue->used_idx);
}

int vblk_driver_queue_take(struct vblk_driver_queue *queue, struct vblk_driver_answer *answer)
{
	const uint32_t entries = queue->shape.entries;
	const uint16_t count = waiting(queue);
	const uint8_t *element;
	uint32_t head;

	if (count == 0)
		return 0;
	element = queue->memory + queue->used_at + 4 +
		  8 * (size_t)(queue->used_idx & (queue->shape.size - 1u));
	head = vblk_le32_get(element);
	if (count > queue->in_flight || head % entries != 0 ||
	    head / entries >= queue->shape.depth || !queue->slots[head / entries].busy)
		return -EPROTO;
	answer->slot = head / entries;
	answer->length = vblk_le32_get(element + 4);
	answer->status = header_of(queue, answer->slot)[STATUS_AT];
	queue->slots[answer->slot].busy = false;
	queue->in_flight--;
	queue->used_idx++;
	if ((uint16_t)(queue->quiet_event - queue->used_idx) < QUIET / 2)
		be_quiet(queue);
	return 1;
}

static uint64_t now(void)
{
	static const struct vblk_clock clock = { NULL, NULL };

	return vblk_clock_now(&clock);
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#else
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#endif
}

static int spin(struct vblk_driver_queue *queue, uint64_t deadline)
{
	uint64_t check = now() + CHECK_EVERY_MS * VBLK_NSEC_PER_MSEC;

	for (uint64_t looks = 0;; looks++) {
		uint64_t time;
		int ret;

		for (unsigned i = 0; i < SPINS_PER_LOOK; i++) {
			if (waiting(queue))
				return 0;
			relax();
		}
		time = now();
		ret = queue->transport->ops->idle(queue->transport, time >= check);
		if (time >= check)
			check = time + CHECK_EVERY_MS * VBLK_NSEC_PER_MSEC;
		if (ret)
			return ret;
		if (time >= deadline)
			return waiting(queue) ? 0 : -ETIMEDOUT;
		if (looks >= LOOKS_ALONE)
			sched_yield();
	}
}

static void want_interrupt(struct vblk_driver_queue *queue)
{
	if (queue->event_idx)
		set_used_event(queue, queue->used_idx);
	else
		store(queue, queue->avail_at, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void take_interrupts(struct vblk_driver_queue *queue)
{
	struct vblk_driver_transport *transport = queue->transport;
	uint64_t count = vblk_eventfd_clear(transport->ops->interrupt_fd(transport, queue->index));

	queue->interrupts += count;
	if (count > 0)
		transport->ops->acknowledge(transport, queue->index);
}

static int sleep_until(struct vblk_driver_queue *queue, uint64_t deadline)
{
	struct vblk_driver_transport *transport = queue->transport;
	struct pollfd pfd = { .fd = transport->ops->interrupt_fd(transport, queue->index),
			      .events = POLLIN };
	int ret = 0;

	for (bool thorough = false; ret == 0; thorough = true) {
		want_interrupt(queue);
		if (waiting(queue))
			break;
		ret = transport->ops->idle(transport, thorough);
		if (ret || waiting(queue))
			break;
		if (now() >= deadline)
			ret = -ETIMEDOUT;
		else if (poll(&pfd, 1, (int)CHECK_EVERY_MS) > 0)
			take_interrupts(queue);
	}
	be_quiet(queue);
	return ret;
}

int vblk_driver_queue_wait(struct vblk_driver_queue *queue, bool asleep, uint32_t timeout_ms)
{
	uint64_t deadline;

	if (waiting(queue))
		return 0;
	deadline = now() + timeout_ms * VBLK_NSEC_PER_MSEC;
	return asleep ? sleep_until(queue, deadline) : spin(queue, deadline);
}

uint64_t vblk_driver_queue_interrupts(struct vblk_driver_queue *queue)
{
	take_interrupts(queue);
	return queue->interrupts;
}
