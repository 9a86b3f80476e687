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

/* The most data descriptors per request, offered to the driver as seg_max. */
#define VBLK_SEG_MAX 128u
/* One for the header and one for the status byte on top. */
#define VBLK_CHAIN_MAX (VBLK_SEG_MAX + 2)

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

#endif
