/* SPDX-License-Identifier: MIT */
/*
 * The device side of one split virtqueue (specification 2.7).
 *
 * Two structures, because two parties own them. `struct vblk_queue_layout` is what the driver
 * writes through registers before DRIVER_OK; it belongs to the front end. `struct vblk_queue` is
 * a queue at work: it starts from a copy of the layout, has the indices, and belongs to the one
 * thread that drains it. No lock is needed: what the two sides share afterwards is guest memory,
 * under the orderings stated at each function.
 *
 * Ring addresses are not checked when they are set (a driver may set them in any order): a bad
 * one shows as -EFAULT from the first access. No function loops on what the guest says.
 */
#ifndef VBLK_QUEUE_QUEUE_H
#define VBLK_QUEUE_QUEUE_H

#include <endian.h>
#include <linux/virtio_ring.h>

#include "base/checked.h"
#include "memory/memory.h"

/* The longest ring that can be served. What a transport offers is its own affair. */
#define VBLK_QUEUE_SIZE_MAX 1024u

struct vblk_queue_layout {
	uint16_t size; /* a power of two, at most VBLK_QUEUE_SIZE_MAX */
	bool ready;
	uint64_t desc;
	uint64_t avail;
	uint64_t used;
};

/* Which half of a 64-bit address a 32-bit register write replaces. */
enum vblk_half {
	VBLK_HALF_LOW,
	VBLK_HALF_HIGH,
};

/* The state after a reset: not ready, all addresses 0, the size that the transport offers. */
void vblk_queue_layout_reset(struct vblk_queue_layout *layout, uint16_t size);

/*
 * Each setter keeps the old value and returns -EINVAL if the new one is not legal: a size that is
 * 0, above `max` or no power of two; an address that, both halves merged, is not aligned to
 * 16 (descriptor table), 2 (available ring) or 4 (used ring).
 */
VBLK_MUST_USE int vblk_queue_layout_set_size(struct vblk_queue_layout *layout, uint16_t size,
					     uint16_t max);
VBLK_MUST_USE int vblk_queue_layout_set_desc(struct vblk_queue_layout *layout, enum vblk_half half,
					     uint32_t value);
VBLK_MUST_USE int vblk_queue_layout_set_avail(struct vblk_queue_layout *layout, enum vblk_half half,
					      uint32_t value);
VBLK_MUST_USE int vblk_queue_layout_set_used(struct vblk_queue_layout *layout, enum vblk_half half,
					     uint32_t value);

/* A descriptor in host byte order. Once read it is a snapshot: the guest cannot change it. */
struct vblk_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags; /* VRING_DESC_F_* */
	uint16_t next;
};

/* A descriptor as the two words that it is in its table, in host byte order. */
struct vblk_desc_words {
	uint64_t address;
	uint64_t rest; /* length; above it flags; above them next */
};

static inline struct vblk_desc vblk_desc_of(struct vblk_desc_words words)
{
	return (struct vblk_desc){ words.address, (uint32_t)words.rest,
				   (uint16_t)(words.rest >> 32), (uint16_t)(words.rest >> 48) };
}

/*
 * Reads descriptor `index` of the table at guest-physical `table`, by way of the map. Returns 0 or
 * -EFAULT.
 */
VBLK_MUST_USE static inline int vblk_desc_read_words(struct vblk_memory_view *view, uint64_t table,
						     uint32_t index, struct vblk_desc_words *words)
{
	uint64_t address, read[2] = { 0, 0 };
	int ret;

	if (!vblk_add_u64(table, (uint64_t)index * sizeof(struct vring_desc), &address))
		return -EFAULT;
	ret = vblk_memory_copy_in_16(view, read, address);
	*words = (struct vblk_desc_words){ le64toh(read[0]), le64toh(read[1]) };
	return ret;
}

/* The same as a descriptor; nothing is stored unless it was read. */
VBLK_MUST_USE static inline int vblk_desc_read(struct vblk_memory_view *view, uint64_t table,
					       uint32_t index, struct vblk_desc *desc)
{
	struct vblk_desc_words words;
	int ret = vblk_desc_read_words(view, table, index, &words);

	if (ret == 0)
		*desc = vblk_desc_of(words);
	return ret;
}

/*
 * The host-contiguous start of one ring area, so that the usual access is an addition. An access
 * past `length` goes through the memory map.
 */
struct vblk_queue_window {
	uint64_t address;
	uint8_t *host;
	uint64_t length;
};

/*
 * A table of descriptors. The usual one lies in one region of guest memory, and is then read
 * without a look at the map for each descriptor.
 */
struct vblk_table {
	uint64_t address;
	const uint64_t *host; /* two words for each; NULL: by way of the map */
	uint32_t size;
};

/* Finds the table in guest memory. It may lie there in part, or not at all. */
static inline void vblk_table_open(struct vblk_table *table, struct vblk_memory_view *view,
				   uint64_t address, uint32_t size)
{
	const bool is_aligned = address % sizeof(struct vring_desc) == 0;

	table->address = address;
	table->size = size;
	table->host = NULL;
	if (size > 0 && is_aligned)
		table->host = (const uint64_t *)(const void *)vblk_memory_view_whole(
			view, address, (uint64_t)size * sizeof(struct vring_desc));
}

/* Reads descriptor `index`, below the size, of a table that has a host address. */
static inline struct vblk_desc_words vblk_table_words(const struct vblk_table *table,
						      uint32_t index)
{
	const uint64_t *at = table->host + 2 * (size_t)index;
	const struct vblk_desc_words words = {
		le64toh(__atomic_load_n(&at[0], __ATOMIC_RELAXED)),
		le64toh(__atomic_load_n(&at[1], __ATOMIC_RELAXED)),
	};

	vblk_memory_fetched(table->address + index * sizeof(struct vring_desc),
			    sizeof(struct vring_desc));
	return words;
}

struct vblk_queue {
	struct vblk_queue_layout layout;
	bool event_idx; /* VIRTIO_RING_F_EVENT_IDX was negotiated */
	uint16_t next_avail;
	uint16_t next_used;
	uint16_t num_added; /* used entries since the last vblk_queue_needs_interrupt */
	struct vblk_memory_view view;
	struct vblk_queue_window avail;
	struct vblk_queue_window used;
	struct vblk_table desc;
	uint64_t in_flight[VBLK_QUEUE_SIZE_MAX / 64]; /* heads taken and not yet given back */
	uint16_t taken[VBLK_QUEUE_SIZE_MAX]; /* the last heads, by their indices modulo the size */
};

/* Puts a queue to work on guest memory, which must outlive it, with all indices 0. */
void vblk_queue_start(struct vblk_queue *queue, const struct vblk_queue_layout *layout,
		      bool event_idx, const struct vblk_memory *memory);

/* The used.idx that the ring holds, which only we write. Returns 0 or -EFAULT. */
VBLK_MUST_USE int vblk_queue_used_idx(struct vblk_queue *queue, uint16_t *used_idx);

/* The avail.idx that the ring holds, whatever it may be. Takes nothing. Returns 0 or -EFAULT. */
VBLK_MUST_USE int vblk_queue_avail_idx(struct vblk_queue *queue, uint16_t *avail_idx);

/*
 * Looks up in the available ring which heads another took, from one index to another, for
 * vblk_queue_behind. More than the queue is long are none.
 */
void vblk_queue_recall(struct vblk_queue *queue, uint16_t from, uint16_t to);

/*
 * How many of the heads that were taken last are all not given back: by so much next_avail is
 * ahead of where someone would have to go on who does not know which they are.
 */
uint16_t vblk_queue_behind(const struct vblk_queue *queue);

/* Goes on where another has stopped, before anything is taken. */
void vblk_queue_continue(struct vblk_queue *queue, uint16_t next_avail, uint16_t next_used);

/* A head (below the size) that another took from the ring and did not answer is ours now. */
void vblk_queue_adopt(struct vblk_queue *queue, uint16_t head);

/*
 * Takes the next available head.
 *
 * Returns 1 and a head, which may be out of range (>= size) and then names no chain; 0 if there
 * is none; or a negative errno after which the queue cannot go on:
 *   -ERANGE  avail.idx is further ahead than the queue is long;
 *   -EINVAL  the queue is not ready or has no available ring;
 *   -EFAULT  avail.idx or the ring's element is not in guest memory;
 *   -EEXIST  the head is already in flight.
 *
 * avail.idx and the element are read with acquire order, pairing with the driver's release of
 * avail.idx: descriptors read after this are at least as new as the head.
 * Drains have this and vblk_queue_push inline (queue/vring.h).
 */
VBLK_MUST_USE int vblk_queue_pop(struct vblk_queue *queue, uint16_t *head);

/* Whether vblk_queue_pop would find something, or fail. Changes nothing. */
bool vblk_queue_has_next(struct vblk_queue *queue);

/* Puts the head of the last vblk_queue_pop back, to be taken again. */
void vblk_queue_undo_pop(struct vblk_queue *queue, uint16_t head);

/* Forgets a head that will never be published. */
void vblk_queue_drop(struct vblk_queue *queue, uint16_t head);

/*
 * Publishes a used element. Everything the device wrote for the chain before this call is visible
 * to a driver that sees the new used.idx (release). Gives the head back in any case.
 * Returns 0; -ERANGE if head >= size; -EFAULT if the used ring is not in guest memory, or memory
 * has failed, for which the view has a guard: then used.idx stays as it is.
 */
VBLK_MUST_USE int vblk_queue_push(struct vblk_queue *queue, uint16_t head, uint32_t length);

/*
 * Asks the driver not to notify. Only has an effect without event-idx (specification 2.7.10).
 * Returns 0 or -EFAULT.
 */
VBLK_MUST_USE int vblk_queue_disable_notifications(struct vblk_queue *queue);

/*
 * Asks the driver to notify again, then looks once more: the write is ordered before the look by a
 * full fence, which pairs with the one between the driver's write of avail.idx and its look at
 * flags or avail_event, so that one of the two sides sees the other.
 * Returns 1 if there is more to take, 0 if not, -EFAULT.
 */
VBLK_MUST_USE int vblk_queue_enable_notifications(struct vblk_queue *queue);

/*
 * Whether the driver wants an interrupt for what was published since the last call. Call it once
 * per batch that published something: it forgets what it was asked about. Without event-idx
 * always 1. Returns 1, 0, or -EFAULT with nothing forgotten.
 */
VBLK_MUST_USE int vblk_queue_needs_interrupt(struct vblk_queue *queue);

#endif
