/* SPDX-License-Identifier: MIT */
/*
 * Where things are in a queue's memory: descriptors, available ring, used ring on a page of its own
 * (the device writes it, nobody else), headers and status bytes, buffers on pages of their own.
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
#define SLOT_BYTES 64u /* header and status byte, on a cache line of their own */
#define STATUS_AT  16u
#define QUIET	   0x8000u

#define SPINS_PER_LOOK 64u  /* how often the clock is read */
#define LOOKS_ALONE    4u   /* then the processor is offered to others */
#define CHECK_EVERY_MS 100u /* whether the device is still there */

static uint32_t pages(uint64_t bytes)
{
	return (uint32_t)((bytes + PAGE - 1) / PAGE * PAGE);
}

static uint16_t ring_for(uint32_t entries)
{
	uint32_t size = 1;

	while (size < entries)
		size *= 2;
	return (uint16_t)size;
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

static uint32_t data_of(uint32_t size, uint32_t depth)
{
	return headers_of(size) + pages((uint64_t)SLOT_BYTES * depth);
}

int vblk_driver_shape(const struct vblk_driver_traits *traits, uint32_t block, uint32_t depth,
		      struct vblk_driver_shape *shape, uint32_t *most)
{
	const uint32_t segment =
		traits->size_max && traits->size_max < block ? traits->size_max : block;
	const uint32_t segments = (block + segment - 1) / segment;

	if (traits->seg_max && segments > traits->seg_max)
		return -E2BIG;
	*most = traits->queue_size / (segments + 2);
	if (depth > *most)
		return *most ? -ERANGE : -E2BIG;
	shape->block = block;
	shape->depth = depth;
	shape->segment = segment;
	shape->segments = segments;
	shape->size = ring_for(depth * (segments + 2));
	shape->bytes = data_of(shape->size, depth) + (size_t)depth * pages(block);
	return 0;
}

static uint16_t head_of(const struct vblk_driver_queue *queue, uint32_t slot)
{
	return (uint16_t)(slot * (queue->shape.segments + 2));
}

static uint8_t *header_of(const struct vblk_driver_queue *queue, uint32_t slot)
{
	return queue->memory + queue->headers_at + (size_t)slot * SLOT_BYTES;
}

void *vblk_driver_queue_data(const struct vblk_driver_queue *queue, uint32_t slot)
{
	return queue->memory + queue->data_at + (size_t)slot * pages(queue->shape.block);
}

static void put_descriptor(struct vblk_driver_queue *queue, uint16_t index, const uint8_t *at,
			   uint32_t length, uint16_t flags)
{
	uint8_t *p = queue->memory + (size_t)index * 16;

	vblk_le64_put(p, queue->guest + (uint64_t)(at - queue->memory));
	vblk_le32_put(p + 8, length);
	vblk_le16_put(p + 12, flags);
	vblk_le16_put(p + 14, (uint16_t)(index + 1));
}

static void lay_out_slot(struct vblk_driver_queue *queue, uint32_t slot)
{
	const uint8_t *data = vblk_driver_queue_data(queue, slot);
	uint8_t *header = header_of(queue, slot);
	uint16_t index = head_of(queue, slot);
	uint32_t left = queue->shape.block;

	put_descriptor(queue, index++, header, 16, VRING_DESC_F_NEXT);
	while (left > 0) {
		uint32_t part = left < queue->shape.segment ? left : queue->shape.segment;

		put_descriptor(queue, index++, data, part, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE);
		data += part;
		left -= part;
	}
	put_descriptor(queue, index, header + STATUS_AT, 1, VRING_DESC_F_WRITE);
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
		.data_at = data_of(shape->size, shape->depth),
	};
	queue->busy = calloc(shape->depth, sizeof(*queue->busy));
	if (!queue->busy)
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
	free(queue->busy);
	queue->busy = NULL;
}

void vblk_driver_queue_submit(struct vblk_driver_queue *queue, uint32_t slot, bool write,
			      uint64_t sector)
{
	const uint16_t mask = (uint16_t)(queue->shape.size - 1);
	const uint16_t flags = VRING_DESC_F_NEXT | (write ? 0 : VRING_DESC_F_WRITE);
	const uint16_t head = head_of(queue, slot);
	uint8_t *header = header_of(queue, slot);

	vblk_le32_put(header, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN);
	vblk_le64_put(header + 8, sector);
	header[STATUS_AT] = 0xff;
	for (uint32_t i = 1; i <= queue->shape.segments; i++)
		vblk_le16_put(queue->memory + 16 * ((size_t)head + i) + 12, flags);
	vblk_le16_put(queue->memory + queue->avail_at + 4 + 2 * (size_t)(queue->avail_idx & mask),
		      head);
	queue->avail_idx++;
	queue->busy[slot] = true;
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
	const uint32_t chain = queue->shape.segments + 2;
	const uint16_t count = waiting(queue);
	const uint8_t *element;
	uint32_t head;

	if (count == 0)
		return 0;
	element = queue->memory + queue->used_at + 4 +
		  8 * (size_t)(queue->used_idx & (queue->shape.size - 1u));
	head = vblk_le32_get(element);
	if (count > queue->in_flight || head % chain != 0 || head / chain >= queue->shape.depth ||
	    !queue->busy[head / chain])
		return -EPROTO;
	answer->slot = head / chain;
	answer->length = vblk_le32_get(element + 4);
	answer->status = header_of(queue, answer->slot)[STATUS_AT];
	queue->busy[answer->slot] = false;
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
