/* SPDX-License-Identifier: MIT */
/* Walking a descriptor chain (specification 2.7.5, indirect tables 2.7.5.3). */
#include "request/chain.h"

#include <linux/virtio_ring.h>

#include "base/checked.h"
#include "base/inline.h"

#define DESC_SIZE	  sizeof(struct vring_desc)
#define INDIRECT_MAX_DESC 65535u

/*
 * The host address of a table. The usual table lies in one region of guest memory, and is then read
 * without a look at the map for each descriptor. NULL: it does not.
 */
static inline const uint64_t *table_at(struct vblk_memory_view *view, uint64_t address,
				       uint32_t size)
{
	uint64_t length = (uint64_t)size * DESC_SIZE;
	uint64_t piece;
	const void *host;

	if (size == 0 || address % DESC_SIZE != 0 || length - 1 > UINT64_MAX - address)
		return NULL;
	host = vblk_memory_view_at(view, address, length, &piece);
	return piece == length ? host : NULL;
}

/* Where a walk is, and where it may still go. */
struct walk {
	struct vblk_memory_view *view;
	uint64_t table;
	const uint64_t *host; /* of the table; NULL: by way of the map */
	uint32_t size;
	uint32_t budget;
	uint32_t index;
	bool indirect;
};

static inline void begin_table(struct walk *walk, uint64_t table, uint32_t size, uint32_t index)
{
	walk->table = table;
	walk->host = table_at(walk->view, table, size);
	walk->size = size;
	walk->budget = size;
	walk->index = index;
}

/* Goes on in the table that a descriptor names: there is none in another, and it is whole. */
static bool enter_table(struct walk *walk, uint64_t address, uint32_t length)
{
	if (walk->indirect || length % DESC_SIZE != 0 || length / DESC_SIZE > INDIRECT_MAX_DESC)
		return false;
	walk->indirect = true;
	begin_table(walk, address, length / (uint32_t)DESC_SIZE, 0);
	return true;
}

VBLK_ALWAYS_INLINE bool read_words(struct walk *walk, uint64_t words[2])
{
	const uint64_t *at;

	if (walk->budget == 0 || walk->index >= walk->size)
		return false;
	walk->budget--;
	if (!walk->host)
		return vblk_desc_read_words(walk->view, walk->table, walk->index, words) == 0;
	at = walk->host + 2 * (size_t)walk->index;
	words[0] = le64toh(__atomic_load_n(&at[0], __ATOMIC_RELAXED));
	words[1] = le64toh(__atomic_load_n(&at[1], __ATOMIC_RELAXED));
	vblk_memory_fetched(walk->table + walk->index * DESC_SIZE, DESC_SIZE);
	return true;
}

void vblk_chain_walk(struct vblk_chain *chain, struct vblk_memory_view *view, uint64_t table,
		     uint16_t size, uint16_t head)
{
	struct walk walk = { .view = view };
	uint32_t total_length = 0;
	uint16_t count = 0;
	uint64_t words[2];

	begin_table(&walk, table, size, head);
	while (read_words(&walk, words)) {
		uint32_t length = (uint32_t)words[1];
		uint16_t flags = (uint16_t)(words[1] >> 32);

		if (flags & VRING_DESC_F_INDIRECT) {
			if (!enter_table(&walk, words[0], length))
				break;
			continue;
		}
		if (__builtin_add_overflow(total_length, length, &total_length))
			break;
		if (count == VBLK_CHAIN_MAX) {
			count++;
			break;
		}
		vblk_desc_unpack(words, &chain->desc[count++]);
		if (!(flags & VRING_DESC_F_NEXT))
			break;
		walk.index = (uint16_t)(words[1] >> 48);
	}
	chain->head = head;
	chain->count = count;
}
