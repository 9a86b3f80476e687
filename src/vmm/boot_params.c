/* SPDX-License-Identifier: MIT */
/*
 * Building the zero page.
 *
 * The memory map has at most four entries: low memory, the EBDA with what the firmware of a PC
 * keeps below 1 MiB, memory from 1 MiB to the hole, and memory from 4 GiB on. The hole itself is
 * left out, so that the kernel puts no memory there and lets drivers claim it.
 */
#include "vmm/boot_params.h"

#include "base/checked.h"
#include "vmm/layout.h"
#include <string.h>

#define SETUP_HEADER_OFFSET 0x1f1
#define BOOT_FLAG	    0xaa55
#define HEADER_MAGIC	    0x53726448
#define PROTOCOL	    0x020f
#define LOADER_UNDEFINED    0xff
#define ELF_ALIGNMENT	    0x1000000

enum e820_type {
	E820_RAM = 1,
	E820_RESERVED = 2,
};

static void add_range(struct boot_params *params, uint64_t start, uint64_t end, enum e820_type type)
{
	struct boot_e820_entry *entry = &params->e820_table[params->e820_entries];

	entry->addr = start;
	entry->size = end - start;
	entry->type = type;
	params->e820_entries++;
}

static void describe_memory(struct boot_params *params, uint64_t memory_bytes)
{
	uint64_t low_end = vblk_min_u64(memory_bytes, VMM_HOLE_START);

	add_range(params, 0, VMM_LOW_RAM_END, E820_RAM);
	add_range(params, VMM_LOW_RAM_END, VMM_HIGH_RAM, E820_RESERVED);
	add_range(params, VMM_HIGH_RAM, low_end, E820_RAM);
	if (memory_bytes > low_end)
		add_range(params, VMM_HOLE_END, VMM_HOLE_END + (memory_bytes - low_end), E820_RAM);
}

static void write_header(const struct vmm_kernel *kernel, const uint8_t *image,
			 struct setup_header *header)
{
	if (kernel->format == VMM_KERNEL_BZIMAGE) {
		memcpy(header, image + SETUP_HEADER_OFFSET, kernel->header_size);
	} else {
		header->boot_flag = BOOT_FLAG;
		header->header = HEADER_MAGIC;
		header->version = PROTOCOL;
		header->kernel_alignment = ELF_ALIGNMENT;
		header->loadflags = LOADED_HIGH;
	}
	header->type_of_loader = LOADER_UNDEFINED;
	/* There is no heap for the setup code, which does not run; data of the file's choice in
	 * place of a list of ours would be followed by the kernel. */
	header->loadflags &= (__u8)~CAN_USE_HEAP;
	header->setup_data = 0;
}

void vmm_boot_params_build(const struct vmm_kernel *kernel, const uint8_t *image,
			   const struct vmm_boot_info *info, struct boot_params *params)
{
	memset(params, 0, sizeof(*params));
	write_header(kernel, image, &params->hdr);
	params->hdr.cmd_line_ptr = (__u32)info->cmdline;
	if (info->initrd_size) {
		params->hdr.ramdisk_image = (__u32)info->initrd;
		params->hdr.ramdisk_size = (__u32)info->initrd_size;
	} else {
		params->hdr.ramdisk_image = 0;
		params->hdr.ramdisk_size = 0;
	}
	describe_memory(params, info->memory_bytes);
}
