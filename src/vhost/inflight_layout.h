/* SPDX-License-Identifier: MIT */
/*
 * The shared record of requests in flight, which outlives the back end.
 *
 * When a back end dies, the driver's rings no longer say which requests it had taken and not
 * answered. So it keeps a record in memory that the front end holds on to and hands to its
 * successor: for each queue an area of this layout (vhost-user's for split queues, native byte
 * order), the areas one behind the other.
 *
 * The back end may be killed between any two of its stores. The order of stores is what makes the
 * record right at every moment, and each store here is ordered behind all stores before it:
 *
 *   claim     a head was taken from the available ring: its counter, then its mark
 *   prepare   its answer is about to be published: linked into the list of the last batch
 *   (the caller publishes: used elements, then used.idx)
 *   commit    the marks of the batch are cleared, then used_idx follows the ring's
 *
 * If used_idx is behind the ring's used.idx, the difference is the size of a batch that was
 * published and perhaps not cleared: it is the front of the list. Otherwise the marks are exact.
 * Each head that was taken is answered or marked, so the next one to take from the available ring
 * is the ring's used.idx plus the number of marks.
 *
 * The front end can write the record at any time. It can lie about its own driver's requests and
 * nothing else: every value is read once, and every index is checked.
 *
 * A log belongs to the thread that serves the queue.
 */
#ifndef VBLK_VHOST_INFLIGHT_LAYOUT_H
#define VBLK_VHOST_INFLIGHT_LAYOUT_H

#include <assert.h>
#include <vblk/types.h>

#include "queue/queue.h"

#define VBLK_VHOST_INFLIGHT_VERSION 1u

/* Areas begin at multiples of this, and the first at one of the mapping. */
#define VBLK_VHOST_INFLIGHT_ALIGN 64u

struct vblk_vhost_inflight_desc {
	uint8_t inflight; /* 1: taken and not answered; of heads only */
	uint8_t padding[5];
	uint16_t next;	  /* of the list of the last batch */
	uint64_t counter; /* the order in which heads were taken */
};

struct vblk_vhost_inflight_queue {
	uint64_t features; /* 0 */
	uint16_t version;  /* 0 as long as the rest means nothing */
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct vblk_vhost_inflight_desc desc[];
};

static_assert(sizeof(struct vblk_vhost_inflight_desc) == 16, "descriptor state");
static_assert(sizeof(struct vblk_vhost_inflight_queue) == 16, "queue area without descriptors");

/* Bytes from the area of one queue of `desc_num` entries to that of the next. */
uint64_t vblk_vhost_inflight_stride(uint16_t desc_num);

/* One queue's record, in use. The members are the functions'. */
struct vblk_vhost_inflight {
	struct vblk_vhost_inflight_queue *queue;
	uint16_t size;	  /* of the ring; at most desc_num */
	uint64_t counter; /* the next claim's */
};

/*
 * Empties an area for a queue whose used.idx is `used_idx`. For a new area, and whenever the driver
 * has reset the device: what was in flight then is forgotten. `queue` is aligned to
 * VBLK_VHOST_INFLIGHT_ALIGN, as the areas of one mapping are.
 */
void vblk_vhost_inflight_format(struct vblk_vhost_inflight_queue *queue, uint16_t desc_num,
				uint16_t used_idx);

/* What a predecessor left behind. */
struct vblk_vhost_recovery {
	uint16_t count;
	uint16_t heads[VBLK_QUEUE_SIZE_MAX]; /* to be served again, in the order of their claims */
};

/*
 * Opens the area of a ring of `size` entries with used.idx `used_idx`, and finishes the commit that
 * a predecessor may not have come to. An area with version 0 is formatted. Heads in the recovery
 * are marked already and are not to be claimed again.
 *
 * Returns 0;
 *   -EINVAL   `queue` is not aligned, or `size` is 0, above desc_num or VBLK_QUEUE_SIZE_MAX;
 *   -ENOTSUP  the area has a version, features or a number of descriptors that are not ours;
 *   -EBADMSG  it contradicts itself: there are marks, and which of them hold cannot be said.
 * An error changes nothing in the area.
 */
VBLK_MUST_USE int vblk_vhost_inflight_open(struct vblk_vhost_inflight *log,
					   struct vblk_vhost_inflight_queue *queue,
					   uint16_t desc_num, uint16_t size, uint16_t used_idx,
					   struct vblk_vhost_recovery *recovery);

/*
 * The three steps of a request; heads are below the ring's size. A batch is any number of prepared
 * heads that are published by one change of used.idx; `used_idx` is what it was changed to. A head
 * that was claimed and will never be answered stays marked.
 */
void vblk_vhost_inflight_claim(struct vblk_vhost_inflight *log, uint16_t head);
void vblk_vhost_inflight_prepare(struct vblk_vhost_inflight *log, uint16_t head);
void vblk_vhost_inflight_commit(struct vblk_vhost_inflight *log, const uint16_t *heads,
				uint16_t count, uint16_t used_idx);

#endif
