/* SPDX-License-Identifier: MIT */
/* Memory by mmap. */
#include "base/pages.h"

#include <sys/mman.h>

void *vblk_pages_alloc(size_t size)
{
	void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return pages == MAP_FAILED ? NULL : pages;
}

void vblk_pages_free(void *pages, size_t size)
{
	if (pages)
		munmap(pages, size);
}
