/* SPDX-License-Identifier: MIT */
/*
 * The zero page: what the boot loader tells a Linux kernel (Documentation/arch/x86/boot.rst and
 * zero-page.rst). Pure; any thread.
 */
#ifndef VMM_BOOT_PARAMS_H
#define VMM_BOOT_PARAMS_H

#include "vmm/loader.h"
#include <asm/bootparam.h>

struct vmm_boot_info {
	uint64_t memory_bytes; /* all of it, below and above the hole */
	uint64_t cmdline;      /* guest-physical address of the command line, below 4 GiB */
	uint64_t initrd;       /* guest-physical address, below 4 GiB; unused without a size */
	uint64_t initrd_size;  /* bytes; 0 if there is none */
};

/*
 * Fills in `*params`, all of it. `image` is the file that `kernel` was parsed from: a bzImage
 * gets its own setup header back, with the fields set that are the loader's.
 */
void vmm_boot_params_build(const struct vmm_kernel *kernel, const uint8_t *image,
			   const struct vmm_boot_info *info, struct boot_params *params);

#endif
