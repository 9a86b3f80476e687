/* SPDX-License-Identifier: MIT */
/*
 * Kernel files, good and hostile. Each row of the tables starts from a file that is accepted and
 * spoils one thing, so a row that fails names what was not checked.
 */
#include "vmm/loader.h"

#include "base/checked.h"
#include "base/le.h"
#include "vmm/layout.h"
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- an ELF file with two segments ---- */

#define ELF_SIZE    0x3000u
#define ELF_SEGMENT 0x1000u
#define ELF_ADDRESS 0x1000000u

struct elf_image {
	Elf64_Ehdr header;
	Elf64_Phdr segments[3];
	uint8_t rest[ELF_SIZE - sizeof(Elf64_Ehdr) - 3 * sizeof(Elf64_Phdr)];
};

_Static_assert(sizeof(struct elf_image) == ELF_SIZE, "no padding");

static void make_elf(struct elf_image *elf)
{
	memset(elf, 0xc5, sizeof(*elf));
	memset(&elf->header, 0, sizeof(elf->header));
	memcpy(elf->header.e_ident, ELFMAG, SELFMAG);
	elf->header.e_ident[EI_CLASS] = ELFCLASS64;
	elf->header.e_ident[EI_DATA] = ELFDATA2LSB;
	elf->header.e_type = ET_EXEC;
	elf->header.e_machine = EM_X86_64;
	elf->header.e_entry = ELF_ADDRESS + 0x40;
	elf->header.e_phoff = offsetof(struct elf_image, segments);
	elf->header.e_phentsize = sizeof(Elf64_Phdr);
	elf->header.e_phnum = 3;

	memset(elf->segments, 0, sizeof(elf->segments));
	elf->segments[0].p_type = PT_LOAD;
	elf->segments[0].p_offset = ELF_SEGMENT;
	elf->segments[0].p_paddr = ELF_ADDRESS;
	elf->segments[0].p_filesz = 0x1000;
	elf->segments[0].p_memsz = 0x1000;
	elf->segments[1].p_type = PT_NOTE;
	elf->segments[1].p_offset = UINT64_MAX; /* not loaded, so not looked at */
	elf->segments[2].p_type = PT_LOAD;
	elf->segments[2].p_offset = ELF_SEGMENT + 0x1000;
	elf->segments[2].p_paddr = ELF_ADDRESS + 0x200000;
	elf->segments[2].p_filesz = 0x1000;
	elf->segments[2].p_memsz = 0x5000;
}

static void elf_is_understood(void **state)
{
	struct vmm_kernel kernel;
	struct elf_image elf;
	const char *reason;

	(void)state;
	make_elf(&elf);
	assert_int_equal(vmm_kernel_parse((uint8_t *)&elf, sizeof(elf), &kernel, &reason), 0);
	assert_int_equal(kernel.format, VMM_KERNEL_ELF);
	assert_int_equal(kernel.entry, ELF_ADDRESS + 0x40);
	assert_int_equal(kernel.start, ELF_ADDRESS);
	assert_int_equal(kernel.end, ELF_ADDRESS + 0x205000);
	assert_int_equal(kernel.cmdline_max, 2047);
	assert_int_equal(kernel.initrd_max, 0x7fffffff);
	assert_int_equal(kernel.segment_count, 2);
	assert_int_equal(kernel.segments[1].address, ELF_ADDRESS + 0x200000);
	assert_int_equal(kernel.segments[1].memory_size, 0x5000);
	assert_int_equal(kernel.segments[1].file_offset, 0x2000);
	assert_int_equal(kernel.segments[1].file_size, 0x1000);
}

static void elf_is_loaded(void **state)
{
	struct vmm_kernel kernel;
	struct elf_image elf;
	const char *reason;
	uint8_t *ram;

	(void)state;
	make_elf(&elf);
	elf.segments[0].p_paddr = VMM_HIGH_RAM;
	elf.segments[2].p_paddr = VMM_HIGH_RAM + 0x2000;
	elf.segments[2].p_filesz = 1;
	elf.header.e_entry = VMM_HIGH_RAM;
	((uint8_t *)&elf)[ELF_SEGMENT] = 0x11;
	((uint8_t *)&elf)[ELF_SEGMENT + 0x1000] = 0x22;
	assert_int_equal(vmm_kernel_parse((uint8_t *)&elf, sizeof(elf), &kernel, &reason), 0);

	ram = calloc(1, kernel.end);
	assert_non_null(ram);
	vmm_kernel_load(&kernel, (uint8_t *)&elf, ram);
	assert_int_equal(ram[VMM_HIGH_RAM - 1], 0);
	assert_int_equal(ram[VMM_HIGH_RAM], 0x11);
	assert_int_equal(ram[VMM_HIGH_RAM + 0xfff], 0xc5);
	assert_int_equal(ram[VMM_HIGH_RAM + 0x1000], 0);
	assert_int_equal(ram[VMM_HIGH_RAM + 0x2000], 0x22);
	assert_int_equal(ram[VMM_HIGH_RAM + 0x2001], 0);
	free(ram);
}

#define HEADER(field) offsetof(Elf64_Ehdr, field), sizeof(((Elf64_Ehdr *)0)->field)
#define SEGMENT(n, field) \
	offsetof(struct elf_image, segments[n].field), sizeof(((Elf64_Phdr *)0)->field)

/* Little-endian fields of 1 to 8 bytes. */
static void set_field(void *image, size_t offset, size_t width, uint64_t value)
{
	for (size_t i = 0; i < width; i++)
		((uint8_t *)image)[offset + i] = (uint8_t)(value >> 8 * i);
}

static void bad_elf(void **state)
{
	static const struct {
		const char *name;
		size_t offset, width;
		uint64_t value;
		const char *reason;
	} table[] = {
		{ "32 bits", EI_CLASS, 1, ELFCLASS32, "is an ELF file, but not for x86-64" },
		{ "big endian", EI_DATA, 1, ELFDATA2MSB, "is an ELF file, but not for x86-64" },
		{ "other machine", HEADER(e_machine), EM_AARCH64,
		  "is an ELF file, but not for x86-64" },
		{ "shared object", HEADER(e_type), ET_DYN,
		  "is an ELF file, but not an executable: a kernel is the vmlinux that the "
		  "kernel's build leaves in its top directory" },
		{ "header size", HEADER(e_phentsize), 32,
		  "is damaged: its ELF program headers have an impossible size" },
		{ "headers outside", HEADER(e_phoff), ELF_SIZE - 1,
		  "is cut short: its ELF program headers are incomplete" },
		{ "headers wrap", HEADER(e_phoff), UINT64_MAX - sizeof(Elf64_Phdr),
		  "is cut short: its ELF program headers are incomplete" },
		{ "first header wraps", HEADER(e_phoff), UINT64_MAX - 7,
		  "is cut short: its ELF program headers are incomplete" },
		{ "too many headers", HEADER(e_phnum), UINT16_MAX,
		  "is cut short: its ELF program headers are incomplete" },
		{ "no headers", HEADER(e_phnum), 0,
		  "is no kernel: its entry point is not the physical address of anything that it "
		  "loads" },
		{ "entry before", HEADER(e_entry), ELF_ADDRESS - 1,
		  "is no kernel: its entry point is not the physical address of anything that it "
		  "loads" },
		{ "entry behind", HEADER(e_entry), ELF_ADDRESS + 0x1000,
		  "is no kernel: its entry point is not the physical address of anything that it "
		  "loads" },
		{ "entry in zeros", HEADER(e_entry), ELF_ADDRESS + 0x201000,
		  "is no kernel: its entry point is not the physical address of anything that it "
		  "loads" },
		{ "virtual entry", HEADER(e_entry), 0xffffffff81000000,
		  "is no kernel: its entry point is not the physical address of anything that it "
		  "loads" },
		{ "offset outside", SEGMENT(2, p_offset), ELF_SIZE + 1,
		  "is cut short: a segment reaches beyond the end of the file" },
		{ "offset wraps", SEGMENT(2, p_offset), UINT64_MAX,
		  "is cut short: a segment reaches beyond the end of the file" },
		{ "one byte too long", SEGMENT(2, p_filesz), 0x1001,
		  "is cut short: a segment reaches beyond the end of the file" },
		{ "file size wraps", SEGMENT(2, p_filesz), UINT64_MAX - 0x1000,
		  "is cut short: a segment reaches beyond the end of the file" },
		{ "more in file", SEGMENT(2, p_memsz), 0xfff,
		  "is damaged: a segment has more bytes in the file than in memory" },
		{ "below 1 MiB", SEGMENT(2, p_paddr), VMM_HIGH_RAM - 1,
		  "has a segment outside 1 MiB to 3.25 GiB, where a kernel can be loaded" },
		{ "into the hole", SEGMENT(2, p_paddr), VMM_HOLE_START - 0x4fff,
		  "has a segment outside 1 MiB to 3.25 GiB, where a kernel can be loaded" },
		{ "above the hole", SEGMENT(2, p_paddr), VMM_HOLE_END,
		  "has a segment outside 1 MiB to 3.25 GiB, where a kernel can be loaded" },
		{ "address wraps", SEGMENT(2, p_paddr), UINT64_MAX,
		  "has a segment outside 1 MiB to 3.25 GiB, where a kernel can be loaded" },
		{ "memory size wraps", SEGMENT(2, p_memsz), UINT64_MAX,
		  "has a segment outside 1 MiB to 3.25 GiB, where a kernel can be loaded" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct vmm_kernel kernel;
		struct elf_image elf;
		const char *reason = "";

		print_message("%s\n", table[i].name);
		make_elf(&elf);
		set_field(&elf, table[i].offset, table[i].width, table[i].value);
		assert_int_equal(vmm_kernel_parse((uint8_t *)&elf, sizeof(elf), &kernel, &reason),
				 -ENOEXEC);
		assert_string_equal(reason, table[i].reason);
	}
}

static void elf_with_too_many_segments(void **state)
{
	const size_t count = VMM_KERNEL_MAX_SEGMENTS + 1;
	struct vmm_kernel kernel;
	struct elf_image elf;
	Elf64_Phdr segment;
	const char *reason = "";

	(void)state;
	make_elf(&elf);
	segment = elf.segments[0];
	assert_true(sizeof(Elf64_Ehdr) + count * sizeof(segment) < ELF_SEGMENT);
	for (size_t i = 0; i < count; i++)
		memcpy((uint8_t *)&elf + sizeof(Elf64_Ehdr) + i * sizeof(segment), &segment,
		       sizeof(segment));
	elf.header.e_phnum = VMM_KERNEL_MAX_SEGMENTS;
	assert_int_equal(vmm_kernel_parse((uint8_t *)&elf, sizeof(elf), &kernel, &reason), 0);
	elf.header.e_phnum = (Elf64_Half)count;
	assert_int_equal(vmm_kernel_parse((uint8_t *)&elf, sizeof(elf), &kernel, &reason),
			 -ENOEXEC);
	assert_string_equal(reason, "has more than 32 segments to load, which no kernel has");
}

/* ---- a bzImage ---- */

#define BZ_SETUP_SECTORS 2u
#define BZ_PAYLOAD	 0x1000u
#define BZ_SIZE		 ((BZ_SETUP_SECTORS + 1) * 512u + BZ_PAYLOAD)
#define BZ_ADDRESS	 0x1000000u
#define BZ_INIT_SIZE	 0x800000u

static const struct setup_header bz_header = {
	.setup_sects = BZ_SETUP_SECTORS,
	.syssize = BZ_PAYLOAD / 16,
	.boot_flag = 0xaa55,
	.jump = 0x6aeb, /* the header ends at 0x202 + 0x6a = 0x26c */
	.header = 0x53726448,
	.version = 0x020f,
	.loadflags = LOADED_HIGH,
	.initrd_addr_max = 0x7fffffff,
	.kernel_alignment = 0x200000,
	.relocatable_kernel = 1,
	.xloadflags = XLF_KERNEL_64,
	.cmdline_size = 2047,
	.pref_address = BZ_ADDRESS,
	.init_size = BZ_INIT_SIZE,
};

static void make_bzimage(uint8_t *image)
{
	memset(image, 0xc5, BZ_SIZE);
	memcpy(image + 0x1f1, &bz_header, sizeof(bz_header));
}

static void bzimage_is_understood(void **state)
{
	struct vmm_kernel kernel;
	uint8_t image[BZ_SIZE];
	const char *reason;

	(void)state;
	make_bzimage(image);
	assert_int_equal(vmm_kernel_parse(image, sizeof(image), &kernel, &reason), 0);
	assert_int_equal(kernel.format, VMM_KERNEL_BZIMAGE);
	assert_int_equal(kernel.entry, BZ_ADDRESS + 0x200);
	assert_int_equal(kernel.start, BZ_ADDRESS);
	assert_int_equal(kernel.end, BZ_ADDRESS + BZ_INIT_SIZE);
	assert_int_equal(kernel.initrd_max, 0x7fffffff);
	assert_int_equal(kernel.cmdline_max, 2047);
	assert_int_equal(kernel.header_size, 0x26c - 0x1f1);
	assert_int_equal(kernel.segment_count, 1);
	assert_int_equal(kernel.segments[0].address, BZ_ADDRESS);
	assert_int_equal(kernel.segments[0].file_offset, (BZ_SETUP_SECTORS + 1) * 512);
	assert_int_equal(kernel.segments[0].file_size, BZ_PAYLOAD);
}

/* syssize counts in units of 16 bytes, and the file may end before the last one does. */
static void bzimage_may_end_in_its_last_16_bytes(void **state)
{
	struct vmm_kernel kernel;
	uint8_t image[BZ_SIZE];
	const char *reason;

	(void)state;
	make_bzimage(image);
	assert_int_equal(vmm_kernel_parse(image, BZ_SIZE - 15, &kernel, &reason), 0);
	assert_int_equal(kernel.segments[0].file_size, BZ_PAYLOAD - 15);
	assert_int_equal(vmm_kernel_parse(image, BZ_SIZE - 16, &kernel, &reason), -ENOEXEC);
}

static void bzimage_with_0_setup_sectors_has_4(void **state)
{
	struct vmm_kernel kernel;
	uint8_t image[5 * 512 + BZ_PAYLOAD];
	const char *reason;

	(void)state;
	memset(image, 0, sizeof(image));
	make_bzimage(image);
	image[0x1f1] = 0;
	assert_int_equal(vmm_kernel_parse(image, sizeof(image), &kernel, &reason), 0);
	assert_int_equal(kernel.segments[0].file_offset, 5 * 512);
}

static void bzimage_payload_larger_than_init_size(void **state)
{
	struct vmm_kernel kernel;
	uint8_t image[BZ_SIZE];
	const char *reason;

	(void)state;
	make_bzimage(image);
	vblk_le32_put(image + 0x260, 1);
	assert_int_equal(vmm_kernel_parse(image, sizeof(image), &kernel, &reason), 0);
	assert_int_equal(kernel.end, BZ_ADDRESS + BZ_PAYLOAD);
}

static void bzimage_command_line_is_limited_to_our_room(void **state)
{
	struct vmm_kernel kernel;
	uint8_t image[BZ_SIZE];
	const char *reason;

	(void)state;
	make_bzimage(image);
	vblk_le32_put(image + 0x238, UINT32_MAX);
	assert_int_equal(vmm_kernel_parse(image, sizeof(image), &kernel, &reason), 0);
	assert_int_equal(kernel.cmdline_max, VMM_CMDLINE_SIZE - 1);
}

static void bad_bzimage(void **state)
{
	static const struct {
		const char *name;
		size_t offset, width;
		uint64_t value;
		const char *reason;
	} table[] = {
		{ "old protocol", 0x206, 2, 0x020b,
		  "is a bzImage without a 64-bit entry point: it needs a kernel for x86-64, Linux "
		  "3.8 or later" },
		{ "32-bit kernel", 0x236, 2, 0,
		  "is a bzImage without a 64-bit entry point: it needs a kernel for x86-64, Linux "
		  "3.8 or later" },
		{ "zImage", 0x211, 1, 0,
		  "is a zImage, which is loaded below 1 MiB; a bzImage is wanted" },
		{ "alignment", 0x230, 4, 0x300000,
		  "is damaged: its preferred load address is not aligned as it says itself" },
		{ "unaligned", 0x258, 8, BZ_ADDRESS + 0x1000,
		  "is damaged: its preferred load address is not aligned as it says itself" },
		{ "no command line", 0x238, 4, 0,
		  "is damaged: its limits for command line or initramfs are impossible" },
		{ "initramfs limit", 0x22c, 4, 0xfffff,
		  "is damaged: its limits for command line or initramfs are impossible" },
		{ "no payload", 0x1f4, 4, 0,
		  "is damaged: it has no 64-bit entry point where it says" },
		{ "payload ends at the entry", 0x1f4, 4, 0x20,
		  "is damaged: it has no 64-bit entry point where it says" },
		{ "payload too long", 0x1f4, 4, BZ_PAYLOAD / 16 + 1,
		  "is cut short: it is smaller than its header says" },
		{ "payload very long", 0x1f4, 4, UINT32_MAX,
		  "is cut short: it is smaller than its header says" },
		{ "setup too long", 0x1f1, 1, 255,
		  "is cut short: it is smaller than its header says" },
		{ "load address 0", 0x258, 8, 0, "wants to be loaded outside 1 MiB to 3.25 GiB" },
		{ "load address high", 0x258, 8, VMM_HOLE_END,
		  "wants to be loaded outside 1 MiB to 3.25 GiB" },
		{ "load address wraps", 0x258, 8, 0xffffffffffe00000,
		  "wants to be loaded outside 1 MiB to 3.25 GiB" },
		{ "needs too much", 0x260, 4, UINT32_MAX,
		  "wants to be loaded outside 1 MiB to 3.25 GiB" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct vmm_kernel kernel;
		uint8_t image[BZ_SIZE];
		const char *reason = "";

		print_message("%s\n", table[i].name);
		make_bzimage(image);
		set_field(image, table[i].offset, table[i].width, table[i].value);
		assert_int_equal(vmm_kernel_parse(image, sizeof(image), &kernel, &reason),
				 -ENOEXEC);
		assert_string_equal(reason, table[i].reason);
	}
}

/* ---- neither ---- */

static void no_kernel(void **state)
{
	static const struct {
		const char *bytes;
		size_t size;
		const char *reason;
	} table[] = {
		{ "", 0, "is no kernel: an ELF vmlinux or a bzImage for x86-64 is wanted" },
		{ "\x7f"
		  "EL",
		  3, "is no kernel: an ELF vmlinux or a bzImage for x86-64 is wanted" },
		{ "\x7f"
		  "ELF",
		  4, "is cut short: its ELF header is incomplete" },
		{ "\x1f\x8b\x08", 3,
		  "is no kernel: an ELF vmlinux or a bzImage for x86-64 is wanted" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct vmm_kernel kernel;
		const char *reason = "";

		assert_int_equal(vmm_kernel_parse((const uint8_t *)table[i].bytes, table[i].size,
						  &kernel, &reason),
				 -ENOEXEC);
		assert_string_equal(reason, table[i].reason);
	}
}

/*
 * Every length of either file: refused, or what is accepted lies inside. Each prefix is a heap
 * block of its own, so that a sanitizer sees a read beyond it.
 */
static void check_prefixes(const uint8_t *image, size_t size)
{
	for (size_t length = 0; length < size; length++) {
		struct vmm_kernel kernel;
		const char *reason = NULL;
		uint8_t *prefix = malloc(length ? length : 1);

		assert_non_null(prefix);
		memcpy(prefix, image, length);
		if (vmm_kernel_parse(prefix, length, &kernel, &reason))
			assert_non_null(reason);
		else
			for (unsigned int i = 0; i < kernel.segment_count; i++)
				assert_true(kernel.segments[i].file_offset +
						    kernel.segments[i].file_size <=
					    length);
		free(prefix);
	}
}

static void every_prefix(void **state)
{
	uint8_t image[BZ_SIZE];
	struct elf_image elf;

	(void)state;
	make_elf(&elf);
	check_prefixes((uint8_t *)&elf, sizeof(elf));
	make_bzimage(image);
	check_prefixes(image, sizeof(image));
}

/* What is promised of a kernel that was accepted, whatever the file said. */
static void check_promises(const struct vmm_kernel *kernel, size_t size)
{
	assert_in_range(kernel->segment_count, 1, VMM_KERNEL_MAX_SEGMENTS);
	assert_true(kernel->start >= VMM_HIGH_RAM);
	assert_true(kernel->end <= VMM_HOLE_START);
	assert_true(kernel->entry >= kernel->start && kernel->entry < kernel->end);
	for (unsigned int i = 0; i < kernel->segment_count; i++) {
		const struct vmm_segment *segment = &kernel->segments[i];

		assert_true(segment->file_size <= size &&
			    segment->file_offset <= size - segment->file_size);
		assert_true(segment->file_size <= segment->memory_size);
		assert_true(segment->address >= kernel->start);
		assert_true(segment->address + segment->memory_size <= kernel->end);
	}
}

/* Random bytes in the headers, from a fixed seed. */
static void check_noise(const uint8_t *image, size_t size, size_t first, size_t span)
{
	uint8_t *copy = malloc(size);
	uint64_t seed = 1;

	assert_non_null(copy);
	for (unsigned int round = 0; round < 20000; round++) {
		struct vmm_kernel kernel;
		const char *reason;

		memcpy(copy, image, size);
		for (unsigned int i = 0; i <= round % 4; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			copy[first + (seed >> 33) % span] = (uint8_t)(seed >> 56);
		}
		if (vmm_kernel_parse(copy, size, &kernel, &reason) == 0)
			check_promises(&kernel, size);
	}
	free(copy);
}

static void noise_in_the_headers(void **state)
{
	uint8_t image[BZ_SIZE];
	struct elf_image elf;

	(void)state;
	make_elf(&elf);
	check_noise((uint8_t *)&elf, sizeof(elf), 4, sizeof(Elf64_Ehdr) + sizeof(elf.segments) - 4);
	make_bzimage(image);
	check_noise(image, sizeof(image), 0x1f1, sizeof(struct setup_header));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elf_is_understood),
		cmocka_unit_test(elf_is_loaded),
		cmocka_unit_test(bad_elf),
		cmocka_unit_test(elf_with_too_many_segments),
		cmocka_unit_test(bzimage_is_understood),
		cmocka_unit_test(bzimage_may_end_in_its_last_16_bytes),
		cmocka_unit_test(bzimage_with_0_setup_sectors_has_4),
		cmocka_unit_test(bzimage_payload_larger_than_init_size),
		cmocka_unit_test(bzimage_command_line_is_limited_to_our_room),
		cmocka_unit_test(bad_bzimage),
		cmocka_unit_test(no_kernel),
		cmocka_unit_test(every_prefix),
		cmocka_unit_test(noise_in_the_headers),
	};

	return cmocka_run_group_tests_name("vmm_loader", tests, NULL, NULL);
}
