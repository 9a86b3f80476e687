/* SPDX-License-Identifier: MIT */
/* The zero page: the memory map around the hole, and the setup header of either kernel format. */
#include "vmm/boot_params.h"

#include "base/checked.h"
#include "vmm/layout.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static const struct vmm_kernel elf_kernel = { .format = VMM_KERNEL_ELF };

static void build(const struct vmm_boot_info *info, struct boot_params *params)
{
	memset(params, 0xa5, sizeof(*params));
	vmm_boot_params_build(&elf_kernel, NULL, info, params);
}

static void memory_map(void **state)
{
	static const struct {
		uint64_t memory;
		unsigned int count;
		struct boot_e820_entry tail[2]; /* what follows the first MiB */
	} table[] = {
		{ 32 * MIB, 3, { { MIB, 31 * MIB, 1 } } },
		{ VMM_HOLE_START - 4096, 3, { { MIB, VMM_HOLE_START - 4096 - MIB, 1 } } },
		{ VMM_HOLE_START, 3, { { MIB, VMM_HOLE_START - MIB, 1 } } },
		{ VMM_HOLE_START + 4096,
		  4,
		  { { MIB, VMM_HOLE_START - MIB, 1 }, { 4 * GIB, 4096, 1 } } },
		{ 8 * GIB,
		  4,
		  { { MIB, VMM_HOLE_START - MIB, 1 }, { 4 * GIB, 8 * GIB - VMM_HOLE_START, 1 } } },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const struct vmm_boot_info info = { .memory_bytes = table[i].memory };
		struct boot_params params;

		print_message("%llu bytes\n", (unsigned long long)table[i].memory);
		build(&info, &params);
		assert_int_equal(params.e820_entries, table[i].count);
		assert_int_equal(params.e820_table[0].addr, 0);
		assert_int_equal(params.e820_table[0].size, 0x9f000);
		assert_int_equal(params.e820_table[0].type, 1);
		assert_int_equal(params.e820_table[1].addr, 0x9f000);
		assert_int_equal(params.e820_table[1].size, MIB - 0x9f000);
		assert_int_equal(params.e820_table[1].type, 2);
		assert_memory_equal(&params.e820_table[2], table[i].tail,
				    (table[i].count - 2) * sizeof(table[i].tail[0]));
	}
}

static void elf_gets_a_header_of_ours(void **state)
{
	const struct vmm_boot_info info = {
		.memory_bytes = 64 * MIB,
		.cmdline = VMM_CMDLINE,
		.initrd = 0x3f00000,
		.initrd_size = 12345,
	};
	struct boot_params params;

	(void)state;
	build(&info, &params);
	assert_int_equal(params.sentinel, 0);
	assert_int_equal(params.hdr.boot_flag, 0xaa55);
	assert_int_equal(params.hdr.header, 0x53726448);
	assert_int_equal(params.hdr.type_of_loader, 0xff);
	assert_int_equal(params.hdr.loadflags, LOADED_HIGH);
	assert_int_equal(params.hdr.cmd_line_ptr, VMM_CMDLINE);
	assert_int_equal(params.hdr.ramdisk_image, 0x3f00000);
	assert_int_equal(params.hdr.ramdisk_size, 12345);
}

static void without_initramfs(void **state)
{
	const struct vmm_boot_info info = { .memory_bytes = 64 * MIB, .initrd = 0x1234 };
	struct boot_params params;

	(void)state;
	build(&info, &params);
	assert_int_equal(params.hdr.ramdisk_image, 0);
	assert_int_equal(params.hdr.ramdisk_size, 0);
}

static void bzimage_gets_its_own_header(void **state)
{
	const struct vmm_boot_info info = { .memory_bytes = 64 * MIB, .cmdline = VMM_CMDLINE };
	const struct vmm_kernel kernel = { .format = VMM_KERNEL_BZIMAGE, .header_size = 0x7b };
	struct boot_params params;
	struct setup_header header = {
		.setup_sects = 27,
		.version = 0x020f,
		.loadflags = LOADED_HIGH | CAN_USE_HEAP | QUIET_FLAG,
		.ramdisk_image = 0xdead,
		.ramdisk_size = 0xbeef,
		.setup_data = 0x1122334455667788,
		.init_size = 0x800000,
		.kernel_info_offset = 0x77777777,
	};
	uint8_t image[0x300];

	(void)state;
	memset(image, 0xee, sizeof(image));
	memcpy(image + 0x1f1, &header, sizeof(header));
	vmm_boot_params_build(&kernel, image, &info, &params);

	assert_int_equal(params.hdr.setup_sects, 27);
	assert_int_equal(params.hdr.version, 0x020f);
	assert_int_equal(params.hdr.init_size, 0x800000);
	assert_int_equal(params.hdr.type_of_loader, 0xff);
	assert_int_equal(params.hdr.loadflags, LOADED_HIGH | QUIET_FLAG);
	assert_int_equal(params.hdr.cmd_line_ptr, VMM_CMDLINE);
	/* What would lead the kernel to memory of the file's choice is gone. */
	assert_int_equal(params.hdr.ramdisk_image, 0);
	assert_int_equal(params.hdr.ramdisk_size, 0);
	assert_int_equal(params.hdr.setup_data, 0);
}

/* Only as much of the file as its header is long: the rest of the page is ours and zero. */
static void bzimage_header_ends_where_it_says(void **state)
{
	const struct vmm_boot_info info = { .memory_bytes = 64 * MIB };
	const size_t size = offsetof(struct setup_header, handover_offset);
	const struct vmm_kernel kernel = { .format = VMM_KERNEL_BZIMAGE, .header_size = size };
	struct boot_params params;
	uint8_t image[0x300];

	(void)state;
	memset(image, 0xee, sizeof(image));
	vmm_boot_params_build(&kernel, image, &info, &params);
	assert_int_equal(params.hdr.init_size, 0xeeeeeeee);
	assert_int_equal(params.hdr.handover_offset, 0);
	assert_int_equal(params.hdr.kernel_info_offset, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_map),
		cmocka_unit_test(elf_gets_a_header_of_ours),
		cmocka_unit_test(without_initramfs),
		cmocka_unit_test(bzimage_gets_its_own_header),
		cmocka_unit_test(bzimage_header_ends_where_it_says),
	};

	return cmocka_run_group_tests_name("vmm_boot_params", tests, NULL, NULL);
}
