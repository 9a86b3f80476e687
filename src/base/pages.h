/* SPDX-License-Identifier: MIT */
/*
 * Large zeroed memory that takes no room until it is touched, whatever was allocated and freed
 * before: straight from the kernel.
 */
#ifndef VBLK_BASE_PAGES_H
#define VBLK_BASE_PAGES_H

#include <vblk/types.h>

/* NULL if there is none. Free it with the same size. */
void *vblk_pages_alloc(size_t size);

/* NULL is ignored. */
void vblk_pages_free(void *pages, size_t size);

#endif
