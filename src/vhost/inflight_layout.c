/* SPDX-License-Identifier: MIT */
/*
 * The record of requests in flight. What is shared is read and written by the functions at the top
 * and by nothing else.
 *
 * A process that is killed leaves its stores behind in the order in which it made them, so it is
 * the compiler that has to be held, not the processor. A release store is enough: no store before
 * it, the caller's used.idx included, may come after it.
 */
#include "vhost/inflight_layout.h"

#include <errno.h>
#include <string.h>

/* A test stops the world here, as if the process had been killed. */
#ifndef VBLK_VHOST_INFLIGHT_STORED
#define VBLK_VHOST_INFLIGHT_STORED() ((void)0)
#endif

static void put8(uint8_t *at, uint8_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
	VBLK_VHOST_INFLIGHT_STORED();
}

static void put16(uint16_t *at, uint16_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
	VBLK_VHOST_INFLIGHT_STORED();
}

static void put64(uint64_t *at, uint64_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
	VBLK_VHOST_INFLIGHT_STORED();
}

static uint8_t get8(const uint8_t *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static uint16_t get16(const uint16_t *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static uint64_t get64(const uint64_t *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

uint64_t vblk_vhost_inflight_stride(uint16_t desc_num)
{
	uint64_t bytes = sizeof(struct vblk_vhost_inflight_queue) +
			 (uint64_t)desc_num * sizeof(struct vblk_vhost_inflight_desc);

	return (bytes + VBLK_VHOST_INFLIGHT_ALIGN - 1) & ~(uint64_t)(VBLK_VHOST_INFLIGHT_ALIGN - 1);
}

/* The version goes first and comes last: an area that is half done counts as empty. */
void vblk_vhost_inflight_format(struct vblk_vhost_inflight_queue *queue, uint16_t desc_num,
				uint16_t used_idx)
{
	put16(&queue->version, 0);
	for (uint32_t i = 0; i < desc_num; i++) {
		put8(&queue->desc[i].inflight, 0);
		put16(&queue->desc[i].next, 0);
		put64(&queue->desc[i].counter, 0);
	}
	put64(&queue->features, 0);
	put16(&queue->desc_num, desc_num);
	put16(&queue->last_batch_head, 0);
	put16(&queue->used_idx, used_idx);
	put16(&queue->version, VBLK_VHOST_INFLIGHT_VERSION);
}

/* What an area says, read once. */
struct snapshot {
	uint16_t count;
	struct mark {
		uint64_t counter;
		uint16_t head;
	} marks[VBLK_QUEUE_SIZE_MAX];
	uint64_t batch[VBLK_QUEUE_SIZE_MAX / 64]; /* heads of the last batch, a bit each */
	uint16_t batch_size;
	uint16_t batch_heads[VBLK_QUEUE_SIZE_MAX];
};

static bool is_in_batch(const struct snapshot *s, uint16_t head)
{
	return s->batch[head / 64] >> head % 64 & 1;
}

static int read_marks(struct snapshot *s, const struct vblk_vhost_inflight_queue *queue,
		      uint16_t size)
{
	for (uint16_t i = 0; i < size; i++) {
		uint8_t inflight = get8(&queue->desc[i].inflight);
		uint64_t counter = get64(&queue->desc[i].counter);

		if (inflight == 0)
			continue;
		/* So that the counters that follow do not wrap; nobody counts that far. */
		if (inflight != 1 || counter > INT64_MAX)
			return -EBADMSG;
		s->marks[s->count++] = (struct mark){ counter, i };
	}
	return 0;
}

/*
 * The batch that may not be cleared. If nothing is marked there is nothing to clear, and any
 * difference is right: a driver that resets the device begins its ring at 0.
 */
static int read_batch(struct snapshot *s, const struct vblk_vhost_inflight_queue *queue,
		      uint16_t size, uint16_t used_idx)
{
	uint16_t count = (uint16_t)(used_idx - get16(&queue->used_idx));
	uint16_t head = get16(&queue->last_batch_head);

	if (s->count == 0)
		return 0;
	if (count > size)
		return -EBADMSG;
	for (uint16_t i = 0; i < count; i++) {
		if (head >= size || is_in_batch(s, head))
			return -EBADMSG;
		s->batch[head / 64] |= 1ull << head % 64;
		s->batch_heads[s->batch_size++] = head;
		head = get16(&queue->desc[head].next);
	}
	return 0;
}

/* The marks that hold, sorted into the recovery. There are few, and it is done once. */
static uint64_t recover(struct vblk_vhost_recovery *recovery, struct snapshot *s)
{
	uint64_t counter = 0;
	uint16_t kept = 0;

	for (uint16_t i = 0; i < s->count; i++) {
		struct mark mark = s->marks[i];
		uint16_t at = kept;

		if (is_in_batch(s, mark.head))
			continue;
		for (; at > 0 && s->marks[at - 1].counter > mark.counter; at--)
			s->marks[at] = s->marks[at - 1];
		s->marks[at] = mark;
		kept++;
	}
	for (uint16_t i = 0; i < kept; i++) {
		recovery->heads[i] = s->marks[i].head;
		counter = s->marks[i].counter + 1;
	}
	recovery->count = kept;
	return counter;
}

static int check_area(const struct vblk_vhost_inflight_queue *queue, uint16_t desc_num)
{
	if (get16(&queue->version) != VBLK_VHOST_INFLIGHT_VERSION || get64(&queue->features) != 0 ||
	    get16(&queue->desc_num) != desc_num)
		return -ENOTSUP;
	return 0;
}

int vblk_vhost_inflight_open(struct vblk_vhost_inflight *log,
			     struct vblk_vhost_inflight_queue *queue, uint16_t desc_num,
			     uint16_t size, uint16_t used_idx, struct vblk_vhost_recovery *recovery)
{
	struct snapshot s = { .count = 0 };
	int ret;

	recovery->count = 0;
	if ((uintptr_t)queue % VBLK_VHOST_INFLIGHT_ALIGN != 0 || size == 0 || size > desc_num ||
	    size > VBLK_QUEUE_SIZE_MAX)
		return -EINVAL;
	*log = (struct vblk_vhost_inflight){ .queue = queue, .size = size };
	if (get16(&queue->version) == 0) {
		vblk_vhost_inflight_format(queue, desc_num, used_idx);
		return 0;
	}
	ret = check_area(queue, desc_num);
	if (ret == 0)
		ret = read_marks(&s, queue, size);
	if (ret == 0)
		ret = read_batch(&s, queue, size, used_idx);
	if (ret < 0)
		return ret;
	vblk_vhost_inflight_commit(log, s.batch_heads, s.batch_size, used_idx);
	log->counter = recover(recovery, &s);
	return 0;
}

void vblk_vhost_inflight_claim(struct vblk_vhost_inflight *log, uint16_t head)
{
	struct vblk_vhost_inflight_desc *desc = &log->queue->desc[head];

	put64(&desc->counter, log->counter++);
	put8(&desc->inflight, 1);
}

void vblk_vhost_inflight_prepare(struct vblk_vhost_inflight *log, uint16_t head)
{
	put16(&log->queue->desc[head].next, get16(&log->queue->last_batch_head));
	put16(&log->queue->last_batch_head, head);
}

void vblk_vhost_inflight_commit(struct vblk_vhost_inflight *log, const uint16_t *heads,
				uint16_t count, uint16_t used_idx)
{
	for (uint16_t i = 0; i < count; i++)
		put8(&log->queue->desc[heads[i]].inflight, 0);
	put16(&log->queue->used_idx, used_idx);
}
