/* SPDX-License-Identifier: MIT */
/*
 * Which of a process's anonymous memory was ever touched. A guest has mostly far more memory than
 * it uses, and what it has not used need not be read to be known: it is zeros, and reading it costs
 * a page fault for each page.
 *
 * The kernel says it of whoever may read /proc/self/pagemap; where that is not to be had, all of it
 * counts as touched. One thread at a time.
 */
#ifndef VMM_TOUCHED_H
#define VMM_TOUCHED_H

#include <stddef.h>
#include <vblk/types.h>

struct vmm_touched {
	int pagemap; /* -1: not known */
};

/* Close it in the end. */
void vmm_touched_open(struct vmm_touched *touched);
void vmm_touched_close(struct vmm_touched *touched);

/*
 * Whether any byte of private anonymous memory may be other than zero: false only if none can.
 * `start` is aligned to a page, and nobody writes there meanwhile.
 */
bool vmm_touched_any(const struct vmm_touched *touched, const void *start, size_t bytes);

#endif
