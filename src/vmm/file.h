/* SPDX-License-Identifier: MIT */
/* Files that go into guest memory whole: the kernel and the initramfs. */
#ifndef VMM_FILE_H
#define VMM_FILE_H

#include "vmm/error.h"

struct vmm_file {
	uint8_t *data;
	size_t size;
};

/*
 * Reads a regular file that is neither empty nor larger than `limit` bytes. `option` and
 * `wanted` are words for the message: "--kernel" and "the path of a vmlinux or a bzImage".
 * Returns 0, or a negative errno with `error` filled in.
 */
VBLK_MUST_USE int vmm_file_read(const char *path, uint64_t limit, const char *option,
				const char *wanted, struct vmm_file *file, struct vmm_error *error);

/* Frees the bytes; may be called more than once and on a file of zeros. */
void vmm_file_free(struct vmm_file *file);

#endif
