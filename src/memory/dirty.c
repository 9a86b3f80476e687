/* SPDX-License-Identifier: MIT */
/* Marking pages. A bit that is set already is not written again: the line stays shared. */
#include "memory/dirty.h"

static void mark_page(const struct vblk_dirty_log *log, uint64_t page)
{
	uint8_t bit = (uint8_t)(1u << page % 8);
	uint8_t *byte = log->bits + page / 8;

	/*
	 * The page's bytes are stored before the bit is looked at: a bit that is found set may be
	 * one that the front end is about to take away, and it copies the page after that.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(__atomic_load_n(byte, __ATOMIC_RELAXED) & bit))
		__atomic_fetch_or(byte, bit, __ATOMIC_RELEASE);
}

void vblk_dirty_mark_pages(const struct vblk_dirty_log *log, uint64_t address, uint64_t length)
{
	uint64_t last;

	if (length == 0)
		return;
	if (__builtin_add_overflow(address, length - 1, &last))
		last = UINT64_MAX;
	for (uint64_t page = address / VBLK_DIRTY_PAGE; page <= last / VBLK_DIRTY_PAGE; page++) {
		if (page / 8 >= log->bytes)
			break;
		mark_page(log, page);
	}
}
