/* SPDX-License-Identifier: MIT */
/* Walking a descriptor chain (specification 2.7.5, indirect tables 2.7.5.3). */
#include "request/chain.h"

#include <linux/virtio_ring.h>

#include "base/checked.h"

#define DESC_SIZE	  sizeof(struct vring_desc)
#define INDIRECT_MAX_DESC 65535u

/* Where the walk is: a table, and how many more descriptors of it may be read. */
struct walk {
	struct vblk_memory_view *view;
	uint64_t table;
	uint32_t table_size;
	uint32_t budget;
	uint32_t index;
	uint32_t total_length;
	bool indirect;
};

/* Switches to the indirect table that `desc` names. Returns false if it is not a legal one. */
static bool enter_indirect(struct walk *walk, const struct vblk_desc *desc)
{
	uint32_t entries = desc->len / DESC_SIZE;

	if (walk->indirect || desc->len % DESC_SIZE != 0 || entries > INDIRECT_MAX_DESC)
		return false;
	walk->indirect = true;
	walk->table = desc->addr;
	walk->table_size = entries;
	walk->budget = entries;
	walk->index = 0;
	return true;
}

/* Reads the next descriptor that carries bytes. Returns false where the walk ends. */
static bool next_desc(struct walk *walk, struct vblk_desc *desc)
{
	for (;;) {
		if (walk->budget == 0 || walk->index >= walk->table_size)
			return false;
		if (vblk_desc_read(walk->view, walk->table, walk->index, desc) < 0)
			return false;
		walk->budget--;
		if (!(desc->flags & VRING_DESC_F_INDIRECT))
			break;
		if (!enter_indirect(walk, desc))
			return false;
	}
	if (__builtin_add_overflow(walk->total_length, desc->len, &walk->total_length))
		return false;
	/* The end of a chain is a link to nowhere: the next call stops on it. */
	walk->index = desc->flags & VRING_DESC_F_NEXT ? desc->next : UINT32_MAX;
	return true;
}

void vblk_chain_walk(struct vblk_chain *chain, struct vblk_memory_view *view, uint64_t table,
		     uint16_t size, uint16_t head)
{
	struct walk walk = {
		.view = view,
		.table = table,
		.table_size = size,
		.budget = size,
		.index = head,
	};
	struct vblk_desc beyond;

	chain->head = head;
	chain->count = 0;
	while (chain->count < VBLK_CHAIN_MAX) {
		if (!next_desc(&walk, &chain->desc[chain->count]))
			return;
		chain->count++;
	}
	if (next_desc(&walk, &beyond))
		chain->count++;
}
