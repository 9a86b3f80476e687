/* SPDX-License-Identifier: MIT */
/*
 * Which pages of guest memory we have written, for a front end that copies them to another host
 * while the guest runs.
 *
 * The log is a bitmap in memory shared with that front end: bit 0 of byte 0 is the guest page at
 * address 0, and so on. A page is marked after it was written, with release order: whoever takes
 * the mark away and then copies the page has what was written before the mark. Pages behind the
 * end of the bitmap are not recorded.
 *
 * Marking may be done by any number of threads at once.
 */
#ifndef VBLK_MEMORY_DIRTY_H
#define VBLK_MEMORY_DIRTY_H

#include <vblk/types.h>

#define VBLK_DIRTY_PAGE 4096u

struct vblk_dirty_log {
	uint8_t *bits;
	uint64_t bytes;
};

/* As vblk_dirty_mark, where there is a log. */
void vblk_dirty_mark_pages(const struct vblk_dirty_log *log, uint64_t address, uint64_t length);

/* Marks the pages of `length` bytes from guest-physical `address` on; none if `log` is NULL. */
static inline void vblk_dirty_mark(const struct vblk_dirty_log *log, uint64_t address,
				   uint64_t length)
{
	if (log)
		vblk_dirty_mark_pages(log, address, length);
}

#endif
