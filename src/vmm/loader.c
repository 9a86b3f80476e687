/* SPDX-License-Identifier: MIT */
/*
 * The two kernel formats.
 *
 * Structures are copied out of the file into variables of their own before they are looked at,
 * which settles alignment and makes "inside the file?" a question that is asked in one place.
 */
#include "vmm/loader.h"

#include "base/checked.h"
#include "vmm/layout.h"
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <string.h>

#define SETUP_HEADER_OFFSET 0x1f1u
#define BOOT_FLAG	    0xaa55u
#define BOOT_FLAG_OFFSET    0x1feu
#define HEADER_MAGIC	    0x53726448u /* "HdrS" */
#define HEADER_MAGIC_OFFSET 0x202u
#define JUMP_LENGTH_OFFSET  0x201u /* the header ends this many bytes after 0x202 */
#define SECTOR		    512u
#define DEFAULT_SETUP_SECTS 4u

#define PROTOCOL_2_12 0x020cu /* the first with xloadflags, and so with a 64-bit entry point */
#define ENTRY_64      0x200u  /* its distance from the start of the loaded part */

/* What a kernel that does not say otherwise can take (Linux, COMMAND_LINE_SIZE). */
#define DEFAULT_CMDLINE_MAX 2047u
#define DEFAULT_INITRD_MAX  0x7fffffffull

/* A kernel's header is copied whole, so ours must have room for the fields that are used. */
_Static_assert(offsetof(struct setup_header, init_size) + SETUP_HEADER_OFFSET == 0x260,
	       "setup header of the boot protocol");

static int refuse(const char **reason, const char *text)
{
	*reason = text;
	return -ENOEXEC;
}

static bool copy_out(const uint8_t *image, size_t size, uint64_t offset, void *to, size_t length)
{
	if (offset > size || length > size - offset)
		return false;
	memcpy(to, image + offset, length);
	return true;
}

/* Whether [address, address+length) may hold a kernel, whatever amount of memory there is. */
static bool range_is_loadable(uint64_t address, uint64_t length)
{
	return address >= VMM_HIGH_RAM && address <= VMM_HOLE_START &&
	       length <= VMM_HOLE_START - address;
}

static int add_elf_segment(struct vmm_kernel *kernel, const Elf64_Phdr *header, size_t size,
			   const char **reason)
{
	struct vmm_segment *segment;

	if (header->p_offset > size || header->p_filesz > size - header->p_offset)
		return refuse(reason, "is cut short: a segment reaches beyond the end of the file");
	if (header->p_filesz > header->p_memsz)
		return refuse(reason, "is damaged: a segment has more bytes in the file than in "
				      "memory");
	if (!range_is_loadable(header->p_paddr, header->p_memsz))
		return refuse(reason, "has a segment outside 1 MiB to 3.25 GiB, where a kernel "
				      "can be loaded");
	if (kernel->segment_count == VMM_KERNEL_MAX_SEGMENTS)
		return refuse(reason, "has more than 32 segments to load, which no kernel has");

	segment = &kernel->segments[kernel->segment_count++];
	segment->address = header->p_paddr;
	segment->memory_size = header->p_memsz;
	segment->file_offset = (size_t)header->p_offset;
	segment->file_size = (size_t)header->p_filesz;

	if (segment->address < kernel->start)
		kernel->start = segment->address;
	if (segment->address + segment->memory_size > kernel->end)
		kernel->end = segment->address + segment->memory_size;
	return 0;
}

static bool entry_is_inside(const struct vmm_kernel *kernel)
{
	for (unsigned int i = 0; i < kernel->segment_count; i++) {
		const struct vmm_segment *segment = &kernel->segments[i];

		if (kernel->entry >= segment->address &&
		    kernel->entry - segment->address < segment->file_size)
			return true;
	}
	return false;
}

static int check_elf_header(const Elf64_Ehdr *header, const char **reason)
{
	if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
	    header->e_machine != EM_X86_64)
		return refuse(reason, "is an ELF file, but not for x86-64");
	if (header->e_type != ET_EXEC)
		return refuse(reason,
			      "is an ELF file, but not an executable: a kernel is the "
			      "vmlinux that the kernel's build leaves in its top directory");
	if (header->e_phentsize != sizeof(Elf64_Phdr))
		return refuse(reason, "is damaged: its ELF program headers have an impossible "
				      "size");
	return 0;
}

static int parse_elf(const uint8_t *image, size_t size, struct vmm_kernel *kernel,
		     const char **reason)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	int ret;

	if (!copy_out(image, size, 0, &header, sizeof(header)))
		return refuse(reason, "is cut short: its ELF header is incomplete");
	ret = check_elf_header(&header, reason);
	if (ret)
		return ret;

	kernel->format = VMM_KERNEL_ELF;
	kernel->entry = header.e_entry;
	kernel->start = VMM_HOLE_START;
	kernel->initrd_max = DEFAULT_INITRD_MAX;
	kernel->cmdline_max = DEFAULT_CMDLINE_MAX;

	for (uint64_t i = 0; i < header.e_phnum; i++) {
		uint64_t offset;

		if (!vblk_add_u64(header.e_phoff, i * sizeof(segment), &offset) ||
		    !copy_out(image, size, offset, &segment, sizeof(segment)))
			return refuse(reason, "is cut short: its ELF program headers are "
					      "incomplete");
		if (segment.p_type != PT_LOAD || segment.p_memsz == 0)
			continue;
		ret = add_elf_segment(kernel, &segment, size, reason);
		if (ret)
			return ret;
	}
	if (!entry_is_inside(kernel))
		return refuse(reason, "is no kernel: its entry point is not the physical address "
				      "of anything that it loads");
	return 0;
}

/* Copies the setup header as far as the file says that it reaches, and we know it. */
static bool copy_setup_header(const uint8_t *image, size_t size, struct vmm_kernel *kernel,
			      struct setup_header *header)
{
	uint8_t jump_length;

	memset(header, 0, sizeof(*header));
	if (!copy_out(image, size, JUMP_LENGTH_OFFSET, &jump_length, 1))
		return false;
	kernel->header_size = HEADER_MAGIC_OFFSET + jump_length - SETUP_HEADER_OFFSET;
	if (kernel->header_size > sizeof(*header))
		kernel->header_size = sizeof(*header);
	return copy_out(image, size, SETUP_HEADER_OFFSET, header, kernel->header_size);
}

static int check_setup_header(const struct setup_header *header, const char **reason)
{
	if (header->version < PROTOCOL_2_12 || !(header->xloadflags & XLF_KERNEL_64))
		return refuse(reason, "is a bzImage without a 64-bit entry point: it needs a "
				      "kernel for x86-64, Linux 3.8 or later");
	if (!(header->loadflags & LOADED_HIGH))
		return refuse(reason, "is a zImage, which is loaded below 1 MiB; a bzImage is "
				      "wanted");
	if (header->kernel_alignment & (header->kernel_alignment - 1) ||
	    (header->kernel_alignment && header->pref_address & (header->kernel_alignment - 1)))
		return refuse(reason, "is damaged: its preferred load address is not aligned as "
				      "it says itself");
	if (header->cmdline_size == 0 || header->initrd_addr_max < VMM_HIGH_RAM)
		return refuse(reason, "is damaged: its limits for command line or initramfs are "
				      "impossible");
	return 0;
}

static int parse_bzimage(const uint8_t *image, size_t size, struct vmm_kernel *kernel,
			 const char **reason)
{
	struct vmm_segment *segment = &kernel->segments[0];
	struct setup_header header;
	unsigned int sectors;
	uint64_t payload;
	int ret;

	if (!copy_setup_header(image, size, kernel, &header))
		return refuse(reason, "is cut short: its setup header is incomplete");
	ret = check_setup_header(&header, reason);
	if (ret)
		return ret;

	sectors = header.setup_sects ? header.setup_sects : DEFAULT_SETUP_SECTS;
	segment->file_offset = ((size_t)sectors + 1) * SECTOR;
	payload = (uint64_t)header.syssize * 16;
	if (payload <= ENTRY_64)
		return refuse(reason, "is damaged: it has no 64-bit entry point where it says");
	/* The last 16 bytes of a payload may be missing: syssize is rounded up. */
	if (segment->file_offset > size || payload > size - segment->file_offset + 15)
		return refuse(reason, "is cut short: it is smaller than its header says");
	segment->file_size = (size_t)vblk_min_u64(payload, size - segment->file_offset);

	/*
	 * At its preferred address a kernel need not move itself, and one that cannot be
	 * relocated must be there.
	 */
	segment->address = header.pref_address;
	segment->memory_size = payload > header.init_size ? payload : header.init_size;
	if (!range_is_loadable(segment->address, segment->memory_size))
		return refuse(reason, "wants to be loaded outside 1 MiB to 3.25 GiB");

	kernel->format = VMM_KERNEL_BZIMAGE;
	kernel->segment_count = 1;
	kernel->start = segment->address;
	kernel->end = segment->address + segment->memory_size;
	kernel->entry = segment->address + ENTRY_64;
	kernel->initrd_max = header.initrd_addr_max;
	kernel->cmdline_max = header.cmdline_size;
	if (kernel->cmdline_max > VMM_CMDLINE_SIZE - 1)
		kernel->cmdline_max = VMM_CMDLINE_SIZE - 1;
	return 0;
}

static bool is_bzimage(const uint8_t *image, size_t size)
{
	uint32_t magic;
	uint16_t flag;

	return copy_out(image, size, BOOT_FLAG_OFFSET, &flag, sizeof(flag)) && flag == BOOT_FLAG &&
	       copy_out(image, size, HEADER_MAGIC_OFFSET, &magic, sizeof(magic)) &&
	       magic == HEADER_MAGIC;
}

int vmm_kernel_parse(const uint8_t *image, size_t size, struct vmm_kernel *kernel,
		     const char **reason)
{
	memset(kernel, 0, sizeof(*kernel));
	if (size >= SELFMAG && memcmp(image, ELFMAG, SELFMAG) == 0)
		return parse_elf(image, size, kernel, reason);
	if (is_bzimage(image, size))
		return parse_bzimage(image, size, kernel, reason);
	return refuse(reason, "is no kernel: an ELF vmlinux or a bzImage for x86-64 is wanted");
}

void vmm_kernel_load(const struct vmm_kernel *kernel, const uint8_t *image, uint8_t *low_ram)
{
	for (unsigned int i = 0; i < kernel->segment_count; i++) {
		const struct vmm_segment *segment = &kernel->segments[i];

		/* What follows in memory is zero already: guest memory is fresh. */
		memcpy(low_ram + segment->address, image + segment->file_offset,
		       segment->file_size);
	}
}
