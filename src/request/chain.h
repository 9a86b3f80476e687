/* SPDX-License-Identifier: MIT */
/*
 * Descriptor chains: from a head to a snapshot of its descriptors.
 *
 * Walking reads every descriptor once and stops at whatever the guest got wrong: a cycle ends by
 * the budget, an index outside its table, an unreadable descriptor, a nested or misshapen indirect
 * table and a total length above 2^32-1 end the walk where they stand. A chain that was cut short
 * is not marked as such: it is what its descriptors say, and validation looks at these.
 */
#ifndef VBLK_REQUEST_CHAIN_H
#define VBLK_REQUEST_CHAIN_H

#include "queue/queue.h"

/* The most data bytes that one descriptor may carry, offered to the driver as size_max. */
#define VBLK_SIZE_MAX (1u << 20)

/* The most data descriptors per request, offered to the driver as seg_max. */
#define VBLK_SEG_MAX 128u
/* One for the header and one for the status byte on top. */
#define VBLK_CHAIN_MAX (VBLK_SEG_MAX + 2)

/* The most descriptors of an indirect table: 16 bits number them, and one is left over. */
#define VBLK_INDIRECT_MAX 65535u

struct vblk_chain {
	uint16_t head;
	uint16_t count; /* VBLK_CHAIN_MAX + 1 stands for "more than that" */
	struct vblk_desc desc[VBLK_CHAIN_MAX];
};

/*
 * Reads the chain that starts at `head` in a table. A head outside the table gives a chain of no
 * descriptors.
 */
void vblk_chain_walk(struct vblk_chain *chain, struct vblk_memory_view *view,
		     const struct vblk_table *table, uint16_t head);

/*
 * Most requests are plain: header, data and status byte are a descriptor each, in this order, of 16
 * bytes, any number up to VBLK_SIZE_MAX, and one, and have no flags but those that say so. Does the
 * same as vblk_chain_walk, and returns whether it was such a chain, all in one table, in tables
 * that have a host address; then it costs half as much. No descriptor is read twice. Drains have it
 * inline (request/plain.h).
 */
bool vblk_chain_walk_plain(struct vblk_chain *chain, struct vblk_memory_view *view,
			   const struct vblk_table *table, uint16_t head);

/* Opens the table that a descriptor names. False: it is cut, or too long. */
VBLK_MUST_USE static inline bool vblk_table_enter(struct vblk_table *table,
						  struct vblk_memory_view *view,
						  struct vblk_desc_words words)
{
	const uint32_t size = (uint32_t)sizeof(struct vring_desc);
	const uint32_t length = (uint32_t)words.rest;

	if (length % size != 0 || length / size > VBLK_INDIRECT_MAX)
		return false;
	vblk_table_open(table, view, words.address, length / size);
	return true;
}

/* Where a walk is, a descriptor of the table having been read. */
struct vblk_walk {
	struct vblk_table table;
	uint32_t budget; /* descriptors that may still be read of it */
	uint32_t index;	 /* which is to be read next; set when that is known */
	bool indirect;	 /* it is a table that a descriptor has named */
};

/*
 * Goes on with a walk that has read `words`, and put into the chain what came before, which is not
 * more than two descriptors.
 */
void vblk_chain_walk_on(struct vblk_chain *chain, struct vblk_memory_view *view,
			struct vblk_walk walk, struct vblk_desc_words words);

#endif
