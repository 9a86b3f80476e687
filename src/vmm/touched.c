/* SPDX-License-Identifier: MIT */
/*
 * /proc/self/pagemap has 8 bytes for each page of the address space (Documentation/admin-guide/mm/
 * pagemap.rst). A page of anonymous memory that is neither in memory nor on its way to or from a
 * swap device has never been written.
 */
#include "vmm/touched.h"

#include "base/checked.h"
#include <fcntl.h>
#include <unistd.h>

#define PRESENT (UINT64_C(1) << 63)
#define SWAPPED (UINT64_C(1) << 62)
#define ENTRIES 256u /* that are read at once */

void vmm_touched_open(struct vmm_touched *touched)
{
	touched->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

void vmm_touched_close(struct vmm_touched *touched)
{
	if (touched->pagemap >= 0)
		close(touched->pagemap);
	touched->pagemap = -1;
}

bool vmm_touched_any(const struct vmm_touched *touched, const void *start, size_t bytes)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	const uint64_t end = ((uintptr_t)start + bytes + page - 1) / page;
	uint64_t entries[ENTRIES];
	uint64_t count;

	for (uint64_t at = (uintptr_t)start / page; at < end; at += count) {
		size_t size;

		count = vblk_min_u64(end - at, ENTRIES);
		size = count * sizeof(entries[0]);
		if (pread(touched->pagemap, entries, size, (off_t)(at * sizeof(entries[0]))) !=
		    (ssize_t)size)
			return true;
		for (uint64_t i = 0; i < count; i++)
			if (entries[i] & (PRESENT | SWAPPED))
				return true;
	}
	return false;
}
