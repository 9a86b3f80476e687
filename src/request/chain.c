/* SPDX-License-Identifier: MIT */
/* Walking a descriptor chain (specification 2.7.5, indirect tables 2.7.5.3). */
#include "request/chain.h"

#include <linux/virtio_ring.h>

#include "base/inline.h"

#define DESC_SIZE	  sizeof(struct vring_desc)
#define INDIRECT_MAX_DESC 65535u

/* Where a walk is, and where it may still go. */
struct walk {
	struct vblk_table table;
	uint32_t budget;
	uint32_t index;
	bool indirect;
};

static inline void begin_table(struct walk *walk, uint32_t index)
{
	walk->budget = walk->table.size;
	walk->index = index;
}

/* The words of a descriptor, apart from the array that a call would want to see in memory. */
struct words {
	uint64_t address;
	uint64_t rest; /* length, flags, next */
};

/* Goes on in the table that a descriptor names: there is none in another, and it is whole. */
static inline bool enter_table(struct walk *walk, struct vblk_memory_view *view, struct words words)
{
	uint32_t length = (uint32_t)words.rest;

	if (walk->indirect || length % DESC_SIZE != 0 || length / DESC_SIZE > INDIRECT_MAX_DESC)
		return false;
	walk->indirect = true;
	vblk_table_open(&walk->table, view, words.address, length / (uint32_t)DESC_SIZE);
	begin_table(walk, 0);
	return true;
}

VBLK_NEVER_INLINE bool read_by_map(const struct walk *walk, struct vblk_memory_view *view,
				   struct words *words)
{
	uint64_t read[2];

	if (vblk_desc_read_words(view, walk->table.address, walk->index, read) < 0)
		return false;
	*words = (struct words){ read[0], read[1] };
	return true;
}

VBLK_ALWAYS_INLINE bool read_words(struct walk *walk, struct vblk_memory_view *view,
				   struct words *words)
{
	const uint64_t *at;

	if (walk->budget == 0 || walk->index >= walk->table.size)
		return false;
	walk->budget--;
	if (__builtin_expect(!walk->table.host, false)) {
		struct words found;

		if (!read_by_map(walk, view, &found))
			return false;
		*words = found;
		return true;
	}
	at = walk->table.host + 2 * (size_t)walk->index;
	words->address = le64toh(__atomic_load_n(&at[0], __ATOMIC_RELAXED));
	words->rest = le64toh(__atomic_load_n(&at[1], __ATOMIC_RELAXED));
	vblk_memory_fetched(walk->table.address + walk->index * DESC_SIZE, DESC_SIZE);
	return true;
}

void vblk_chain_walk(struct vblk_chain *chain, struct vblk_memory_view *view,
		     const struct vblk_table *table, uint16_t head)
{
	struct walk walk = { .table = *table };
	struct vblk_desc *desc = chain->desc;
	uint32_t room = UINT32_MAX; /* of the lengths taken together */
	struct words words;

	chain->head = head;
	begin_table(&walk, head);
	while (read_words(&walk, view, &words)) {
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
		walk.index = (uint16_t)(words.rest >> 48);
		*desc++ = (struct vblk_desc){ words.address, length, flags, (uint16_t)walk.index };
		if (!(flags & VRING_DESC_F_NEXT))
			break;
	}
	chain->count = (uint16_t)(desc - chain->desc);
}
