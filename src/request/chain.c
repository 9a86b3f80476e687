/* SPDX-License-Identifier: MIT */
/* Walking a descriptor chain (specification 2.7.5, indirect tables 2.7.5.3). */
#include "request/plain.h"

#include <linux/virtio_ring.h>

#include "base/inline.h"

/* Goes on in the table that a descriptor names: there is none in another, and it is whole. */
static inline bool enter_table(struct vblk_walk *walk, struct vblk_memory_view *view,
			       struct vblk_desc_words words)
{
	if (walk->indirect || !vblk_table_enter(&walk->table, view, words))
		return false;
	walk->indirect = true;
	walk->budget = walk->table.size;
	walk->index = 0;
	return true;
}

VBLK_NEVER_INLINE bool read_by_map(const struct vblk_walk *walk, struct vblk_memory_view *view,
				   struct vblk_desc_words *words)
{
	return vblk_desc_read_words(view, walk->table.address, walk->index, words) == 0;
}

VBLK_ALWAYS_INLINE bool read_words(struct vblk_walk *walk, struct vblk_memory_view *view,
				   struct vblk_desc_words *words)
{
	if (walk->budget == 0 || walk->index >= walk->table.size)
		return false;
	walk->budget--;
	if (__builtin_expect(!walk->table.host, false))
		return read_by_map(walk, view, words);
	*words = vblk_table_words(&walk->table, walk->index);
	return true;
}

/* Of the lengths taken together. */
static uint32_t room_behind(const struct vblk_chain *chain)
{
	uint32_t room = UINT32_MAX;

	for (uint16_t i = 0; i < chain->count; i++)
		room -= chain->desc[i].len;
	return room;
}

void vblk_chain_walk_on(struct vblk_chain *chain, struct vblk_memory_view *view,
			struct vblk_walk walk, struct vblk_desc_words words)
{
	struct vblk_desc *desc = chain->desc + chain->count;
	uint32_t room = room_behind(chain);

	do {
		uint32_t length = (uint32_t)words.rest;
		uint16_t flags = (uint16_t)(words.rest >> 32);

		if (__builtin_expect(flags & VRING_DESC_F_INDIRECT, false)) {
			if (!enter_table(&walk, view, words))
				break;
			continue;
		}
		if (length > room)
			break;
		room -= length;
		if (desc == chain->desc + VBLK_CHAIN_MAX) {
			chain->count = VBLK_CHAIN_MAX + 1;
			return;
		}
		*desc++ = vblk_desc_of(words);
		if (!(flags & VRING_DESC_F_NEXT))
			break;
		walk.index = (uint16_t)(words.rest >> 48);
	} while (read_words(&walk, view, &words));
	chain->count = (uint16_t)(desc - chain->desc);
}

void vblk_chain_walk(struct vblk_chain *chain, struct vblk_memory_view *view,
		     const struct vblk_table *table, uint16_t head)
{
	struct vblk_walk walk = { *table, table->size, head, false };
	struct vblk_desc_words words;

	chain->head = head;
	chain->count = 0;
	if (read_words(&walk, view, &words))
		vblk_chain_walk_on(chain, view, walk, words);
}

bool vblk_chain_walk_plain(struct vblk_chain *chain, struct vblk_memory_view *view,
			   const struct vblk_table *table, uint16_t head)
{
	return vblk_plain_walk(chain, view, table, head);
}
