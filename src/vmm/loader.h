/* SPDX-License-Identifier: MIT */
/*
 * Reading a kernel file: what is to be put where, and where to jump.
 *
 * Two formats are known: an ELF executable for x86-64 (vmlinux) and the bzImage of the Linux boot
 * protocol, of which only the 64-bit entry point is used (Documentation/arch/x86/boot.rst in the
 * kernel). The file is not trusted: every offset in it is checked against its length before it is
 * followed, and every address against the address space. Pure functions over a byte buffer; any
 * thread.
 */
#ifndef VMM_LOADER_H
#define VMM_LOADER_H

#include <vblk/types.h>

#define VMM_KERNEL_MAX_SEGMENTS 32

enum vmm_kernel_format {
	VMM_KERNEL_ELF,
	VMM_KERNEL_BZIMAGE,
};

/* `file_size` bytes of the file go to guest-physical `address`, then zeros up to `memory_size`. */
struct vmm_segment {
	uint64_t address;
	uint64_t memory_size;
	size_t file_offset;
	size_t file_size;
};

struct vmm_kernel {
	enum vmm_kernel_format format;
	uint64_t entry;	     /* guest-physical address of the first instruction */
	uint64_t start;	     /* lowest address that the kernel needs; at least VMM_HIGH_RAM */
	uint64_t end;	     /* first address after it; at most VMM_HOLE_START */
	uint64_t initrd_max; /* highest address that a byte of the initramfs may have */
	size_t cmdline_max;  /* longest command line in bytes, without the NUL */
	size_t header_size;  /* length of the setup header at 0x1f1 of the file; 0 for ELF */
	unsigned int segment_count;
	struct vmm_segment segments[VMM_KERNEL_MAX_SEGMENTS];
};

/*
 * Understands `size` bytes of a kernel file. Returns 0, or -ENOEXEC with `*reason` set to a
 * constant text that continues a sentence which begins with the file's name ("is neither ...").
 */
VBLK_MUST_USE int vmm_kernel_parse(const uint8_t *image, size_t size, struct vmm_kernel *kernel,
				   const char **reason);

/*
 * Puts a kernel that vmm_kernel_parse has accepted into guest memory. `low_ram` is the host's
 * view of guest-physical 0 and reaches at least to kernel->end.
 */
void vmm_kernel_load(const struct vmm_kernel *kernel, const uint8_t *image, uint8_t *low_ram);

#endif
