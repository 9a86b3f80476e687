/* SPDX-License-Identifier: MIT */
/*
 * The walk of a plain chain. It is a part of the one function that most requests are served in, and
 * reads three descriptors by way of the table's host address; whatever it meets that is not plain
 * it leaves to the walk that knows all chains (request/chain.h), at the descriptor where that
 * shows.
 */
#ifndef VBLK_REQUEST_PLAIN_H
#define VBLK_REQUEST_PLAIN_H

#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>

#include "base/inline.h"
#include "request/chain.h"

/* What descriptors of a plain chain say but for their addresses: length, flags, next. */
#define VBLK_PLAIN_HEADER ((uint64_t)VRING_DESC_F_NEXT << 32 | sizeof(struct virtio_blk_outhdr))
#define VBLK_PLAIN_STATUS ((uint64_t)VRING_DESC_F_WRITE << 32 | 1u)

/* The same of one that was read, without the next. */
static inline uint64_t vblk_plain_rest(struct vblk_desc_words words)
{
	return words.rest & 0xffffffffffffu;
}

/* Whether one may be the data: there is another behind it, and it is no table. */
static inline bool vblk_plain_is_data(struct vblk_desc_words words)
{
	return (uint16_t)(words.rest >> 32 & ~(uint64_t)VRING_DESC_F_WRITE) == VRING_DESC_F_NEXT &&
	       (uint32_t)words.rest <= VBLK_SIZE_MAX;
}

/*
 * Where such a walk is: at a descriptor that was read, and is not in the chain yet. The table's
 * fields are apart, because compilers keep those in registers.
 */
struct vblk_plain {
	const uint64_t *host;
	uint32_t size;
	uint64_t address;
	uint32_t count; /* of the chain */
	bool indirect;
	struct vblk_desc_words words;
};

VBLK_ALWAYS_INLINE void vblk_plain_read(struct vblk_plain *walk, uint32_t index)
{
	const struct vblk_table table = { walk->address, walk->host, walk->size };

	walk->words = vblk_table_words(&table, index);
}

VBLK_ALWAYS_INLINE void vblk_plain_open(struct vblk_plain *walk, const struct vblk_table *table,
					uint32_t index)
{
	walk->host = table->host;
	walk->size = table->size;
	walk->address = table->address;
	vblk_plain_read(walk, index);
}

/* Takes the descriptor in hand, and reads the next. False, with nothing done: it is not there. */
VBLK_ALWAYS_INLINE bool vblk_plain_step(struct vblk_plain *walk, struct vblk_chain *chain)
{
	const uint32_t next = (uint32_t)(walk->words.rest >> 48);

	if (next >= walk->size)
		return false;
	chain->desc[walk->count++] = vblk_desc_of(walk->words);
	vblk_plain_read(walk, next);
	return true;
}

/* Takes all three, or as many as are plain: the one in hand is then the first that is not. */
VBLK_ALWAYS_INLINE bool vblk_plain_take(struct vblk_plain *walk, struct vblk_chain *chain)
{
	if (walk->size < 3 || vblk_plain_rest(walk->words) != VBLK_PLAIN_HEADER ||
	    !vblk_plain_step(walk, chain) || !vblk_plain_is_data(walk->words) ||
	    !vblk_plain_step(walk, chain) || vblk_plain_rest(walk->words) != VBLK_PLAIN_STATUS)
		return false;
	chain->desc[walk->count++] = vblk_desc_of(walk->words);
	return true;
}

/* Leaves the rest to the other walk. */
VBLK_ALWAYS_INLINE bool vblk_plain_leave(const struct vblk_plain *walk, struct vblk_chain *chain,
					 struct vblk_memory_view *view)
{
	chain->count = (uint16_t)walk->count;
	vblk_chain_walk_on(chain, view,
			   (struct vblk_walk){
				   .table = { walk->address, walk->host, walk->size },
				   .budget = walk->size - 1 - walk->count,
				   .indirect = walk->indirect,
			   },
			   walk->words);
	return false;
}

/* vblk_chain_walk_plain, inline. */
VBLK_ALWAYS_INLINE bool vblk_plain_walk(struct vblk_chain *chain, struct vblk_memory_view *view,
					const struct vblk_table *ring, uint16_t head)
{
	struct vblk_plain walk;
	struct vblk_table table;

	if (!ring->host || head >= ring->size) {
		vblk_chain_walk(chain, view, ring, head);
		return false;
	}
	chain->head = head;
	walk.count = 0;
	walk.indirect = false;
	vblk_plain_open(&walk, ring, head);
	if (walk.words.rest >> 32 & VRING_DESC_F_INDIRECT) {
		if (!vblk_table_enter(&table, view, walk.words) || !table.host)
			return vblk_plain_leave(&walk, chain, view);
		walk.indirect = true;
		vblk_plain_open(&walk, &table, 0);
	}
	if (!vblk_plain_take(&walk, chain))
		return vblk_plain_leave(&walk, chain, view);
	chain->count = 3;
	return true;
}

#endif
