/* SPDX-License-Identifier: MIT */
/*
 * Reading a guest memory map.
 *
 * The map (include/vblk/memory.h) is a sorted array of regions that never changes once it is
 * sealed. Whoever reads it keeps a view: the map plus the region found last, because the next
 * address nearly always lies in the same one. A view belongs to one thread and borrows the map.
 *
 * The guest may change its memory at any moment, so nothing read here is ever read twice: the
 * copy functions use relaxed atomic accesses, which the compiler may neither repeat nor invent,
 * and callers work on the copy. Regions are aligned to VBLK_MEMORY_ALIGN on both sides, so a
 * naturally aligned value of up to 16 bytes lies in one region and is aligned in the host too.
 *
 * Memory that is somebody else's file can be cut short under us, and then reads as zeros that were
 * never written (base/sigbus.h). Who knows of such a file guards the view: whoever is about to act
 * on what was read asks first whether it can be true.
 */
#ifndef VBLK_MEMORY_MEMORY_H
#define VBLK_MEMORY_MEMORY_H

#include <errno.h>
#include <vblk/memory.h>

#include "base/inline.h"
#include "base/sigbus.h"
#include "memory/dirty.h"

struct vblk_memory_region {
	uint64_t start; /* first guest-physical address */
	uint64_t last;	/* last guest-physical address, inclusive: a region may end at 2^64 */
	uint64_t length;
	uint8_t *host;
};

/* Says whether a page was lost, of guest memory or of whatever else is shared along with it. */
struct vblk_memory_guard {
	bool (*has_failed)(void *context); /* stays true; by the flags of base/sigbus.h */
	void *context;
};

struct vblk_memory_view {
	const struct vblk_memory *memory;
	const struct vblk_memory_region *recent; /* NULL: none yet */
	const struct vblk_dirty_log *dirty;	 /* where writes are recorded; NULL: nowhere */
	const struct vblk_memory_guard *guard;	 /* NULL: the memory is ours, and cannot be lost */
	unsigned failures; /* of any memory, when the guard last had nothing to say */
};

/* From here on vblk_memory_add_region answers -EBUSY. Any thread. */
void vblk_memory_seal(struct vblk_memory *memory);

/* What the map was created with. */
void *vblk_memory_context(const struct vblk_memory *memory);

/* Starts a view of a sealed map, without a log or a guard. The map must outlive the view. */
void vblk_memory_view_init(struct vblk_memory_view *view, const struct vblk_memory *memory);

/* From here on the guard is asked; it outlives the view. NULL: there is none. */
void vblk_memory_view_set_guard(struct vblk_memory_view *view,
				const struct vblk_memory_guard *guard);

/* As vblk_memory_view_has_failed, after a failure of some memory or other. */
bool vblk_memory_view_ask_guard(struct vblk_memory_view *view);

/*
 * Whether what was read of this memory so far may be zeros that stand for nothing. Once true it
 * stays so. In the usual case this is one load of a word that nobody writes.
 */
VBLK_ALWAYS_INLINE bool vblk_memory_view_has_failed(struct vblk_memory_view *view)
{
	if (!view->guard)
		return false;
	/* What was read before is read before the count is; see vblk_sigbus_failures. */
	atomic_thread_fence(memory_order_acquire);
	return vblk_sigbus_failures() != view->failures && vblk_memory_view_ask_guard(view);
}

/* The region that holds `address`, or NULL; moves view->recent. */
const struct vblk_memory_region *vblk_memory_view_find(struct vblk_memory_view *view,
						       uint64_t address);

/*
 * The host address of guest-physical `address`, and in *piece how many of the `length` bytes
 * (at least 1) from there on lie in the same region. NULL and 0: `address` is not mapped.
 */
static inline uint8_t *vblk_memory_view_at(struct vblk_memory_view *view, uint64_t address,
					   uint64_t length, uint64_t *piece)
{
	const struct vblk_memory_region *region = view->recent;
	uint64_t room;

	if (!region || address < region->start || address > region->last) {
		region = vblk_memory_view_find(view, address);
		if (!region) {
			*piece = 0;
			return NULL;
		}
	}
	room = region->last - address; /* one less than the bytes to the end */
	*piece = length - 1 <= room ? length : room + 1;
	return region->host + (address - region->start);
}

/*
 * The host address of all the `length` bytes (at least 1) from `address` on. NULL: they are not in
 * one region, or not mapped. They nearly always are where the last ones were.
 */
VBLK_ALWAYS_INLINE uint8_t *vblk_memory_view_whole(struct vblk_memory_view *view, uint64_t address,
						   uint64_t length)
{
	const struct vblk_memory_region *region = view->recent;
	uint64_t piece, offset;
	uint8_t *host;

	if (__builtin_expect(region != NULL, true)) {
		offset = address - region->start;
		if (offset < region->length && length <= region->length - offset)
			return region->host + offset;
	}
	host = vblk_memory_view_at(view, address, length, &piece);
	return piece == length ? host : NULL;
}

/*
 * Copies `length` bytes between guest memory at `address` and a host buffer, over any number of
 * regions. Returns 0, or -EFAULT if any byte is not mapped; the part before it was copied. What
 * goes out is recorded in the view's log.
 * These are for the small structures of the protocol, not for data.
 */
VBLK_MUST_USE int vblk_memory_copy_in(struct vblk_memory_view *view, void *to, uint64_t address,
				      uint64_t length);
VBLK_MUST_USE int vblk_memory_copy_out(struct vblk_memory_view *view, uint64_t address,
				       const void *from, uint64_t length);

/*
 * Fuzzers play a guest that changes a byte as soon as it was read: where they are built, they are
 * told of each read that does not go through vblk_memory_copy_in.
 */
#ifdef VBLK_WATCHED
void vblk_memory_fetched(uint64_t address, uint64_t length);
#else
static inline void vblk_memory_fetched(uint64_t address, uint64_t length)
{
	(void)address;
	(void)length;
}
#endif

/*
 * As vblk_memory_copy_in for 16 bytes, in the order in which they lie there. The usual structure of
 * the protocol is aligned and lies where the last one did: two loads.
 */
VBLK_MUST_USE static inline int vblk_memory_copy_in_16(struct vblk_memory_view *view,
						       uint64_t to[2], uint64_t address)
{
	const struct vblk_memory_region *region = view->recent;
	const uint64_t *words;

	if (!region || address < region->start || address > region->last || address % 16 != 0)
		return vblk_memory_copy_in(view, to, address, 16);
	words = (const uint64_t *)(const void *)(region->host + (address - region->start));
	to[0] = __atomic_load_n(&words[0], __ATOMIC_RELAXED);
	to[1] = __atomic_load_n(&words[1], __ATOMIC_RELAXED);
	vblk_memory_fetched(address, 16);
	return 0;
}

/* As vblk_memory_copy_out for one byte. */
VBLK_MUST_USE VBLK_ALWAYS_INLINE int vblk_memory_put_byte(struct vblk_memory_view *view,
							  uint64_t address, uint8_t value)
{
	uint8_t *guest = vblk_memory_view_whole(view, address, 1);

	if (!guest)
		return -EFAULT;
	__atomic_store_n(guest, value, __ATOMIC_RELAXED);
	vblk_dirty_mark(view->dirty, address, 1);
	return 0;
}

/* Stores `length` zero bytes at `address`. Returns 0 or -EFAULT, as above. */
VBLK_MUST_USE int vblk_memory_zero(struct vblk_memory_view *view, uint64_t address,
				   uint64_t length);

#endif
