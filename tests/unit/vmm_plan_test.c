/* SPDX-License-Identifier: MIT */
/* Where the initramfs goes, and what the command line says. */
#include "vmm/plan.h"

#include "base/checked.h"
#include "vmm/layout.h"
#include "vmm/quirks.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MIB (1ull << 20)

static void initrd_placement(void **state)
{
	static const struct {
		const char *name;
		uint64_t kernel_end, initrd_max, size, memory;
		int ret;
		uint64_t address, needed;
	} table[] = {
		{ "at the top", 30 * MIB, 0x7fffffff, 2 * MIB, 64 * MIB, 0, 62 * MIB, 32 * MIB },
		{ "on a page", 30 * MIB, 0x7fffffff, 1, 64 * MIB, 0, 64 * MIB - 4096,
		  30 * MIB + 4096 },
		{ "just fits", 30 * MIB, 0x7fffffff, 2 * MIB, 32 * MIB, 0, 30 * MIB, 32 * MIB },
		{ "a page too little", 30 * MIB, 0x7fffffff, 2 * MIB + 1, 32 * MIB, -ENOMEM, 0,
		  32 * MIB + 4096 },
		{ "kernel ends in a page", 30 * MIB + 1, 0x7fffffff, 2 * MIB, 32 * MIB, -ENOMEM, 0,
		  32 * MIB + 4096 },
		{ "below the kernel's limit", 30 * MIB, 0x3fffffff, 2 * MIB, 2048 * MIB, 0,
		  1022 * MIB, 32 * MIB },
		{ "odd limit", 30 * MIB, 0x37ffffef, 2 * MIB, 2048 * MIB, 0, 894 * MIB - 4096,
		  32 * MIB },
		{ "below the hole", 30 * MIB, 0xffffffff, 2 * MIB, 8192 * MIB, 0,
		  VMM_HOLE_START - 2 * MIB, 32 * MIB },
		{ "no memory would do", 30 * MIB, 0x3fffffff, 995 * MIB, 8192 * MIB, -ENOMEM, 0,
		  0 },
		{ "size that wraps", 30 * MIB, 0x7fffffff, UINT64_MAX - 4096, 64 * MIB, -ENOMEM, 0,
		  0 },
		{ "no memory left", 30 * MIB, 0x7fffffff, 4096, 30 * MIB, -ENOMEM, 0,
		  30 * MIB + 4096 },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const struct vmm_kernel kernel = {
			.end = table[i].kernel_end,
			.initrd_max = table[i].initrd_max,
		};
		uint64_t address = 0, needed = 0;

		print_message("%s\n", table[i].name);
		assert_int_equal(vmm_plan_place_initrd(&kernel, table[i].size, table[i].memory,
						       &address, &needed),
				 table[i].ret);
		assert_int_equal(address, table[i].address);
		assert_int_equal(needed, table[i].needed);
	}
}

static void command_line(void **state)
{
	static const struct {
		unsigned int disks;
		const char *append;
		const char *line;
	} table[] = {
		{ 0, NULL, "console=ttyS0 panic=-1 reboot=k" },
		{ 0, "", "console=ttyS0 panic=-1 reboot=k" },
		{ 0, "quiet -- x", "console=ttyS0 panic=-1 reboot=k quiet -- x" },
		{ 1, NULL, "console=ttyS0 panic=-1 reboot=k virtio_mmio.device=4K@0xd0000000:5" },
		{ 2, "root=/dev/vda",
		  "console=ttyS0 panic=-1 reboot=k virtio_mmio.device=4K@0xd0000000:5 "
		  "virtio_mmio.device=4K@0xd0001000:6 root=/dev/vda" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		char line[256];

		assert_int_equal(vmm_plan_cmdline(line, sizeof(line), table[i].disks, false,
						  table[i].append),
				 strlen(table[i].line));
		assert_string_equal(line, table[i].line);
	}
}

static void command_line_that_is_cut(void **state)
{
	char line[12];

	(void)state;
	memset(line, 'x', sizeof(line));
	assert_int_equal(vmm_plan_cmdline(line, sizeof(line) - 1, 0, false, "quiet"), 37);
	assert_string_equal(line, "console=tt");
	assert_int_equal(line[11], 'x');
	assert_int_equal(vmm_plan_cmdline(NULL, 0, 0, false, "quiet"), 37);
}

static void quirks_only_where_needed(void **state)
{
	char line[1024];

	(void)state;
	assert_true(vmm_plan_cmdline(line, sizeof(line), 1, true, "quiet") < sizeof(line));
	for (size_t i = 0; vmm_quirk_words[i]; i++)
		assert_non_null(strstr(line, vmm_quirk_words[i]));
	assert_string_equal(line + strlen(line) - 6, " quiet"); /* the user has the last word */

	vmm_plan_cmdline(line, sizeof(line), 1, false, "quiet");
	for (size_t i = 0; vmm_quirk_words[i]; i++)
		assert_null(strstr(line, vmm_quirk_words[i]));
}

/* No two disks share a line, and none has one that belongs to the machine. */
static void interrupt_lines(void **state)
{
	uint32_t used = 1u << 0 | 1u << 1 | 1u << 2 | 1u << VMM_SERIAL_IRQ | 1u << 8 | 1u << 13;

	(void)state;
	for (unsigned int i = 0; i < VMM_MAX_DISKS; i++) {
		unsigned int irq = vmm_disk_irq(i);

		assert_true(irq < VMM_ISA_IRQS);
		assert_false(used & 1u << irq);
		used |= 1u << irq;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(initrd_placement),
		cmocka_unit_test(command_line),
		cmocka_unit_test(command_line_that_is_cut),
		cmocka_unit_test(quirks_only_where_needed),
		cmocka_unit_test(interrupt_lines),
	};

	return cmocka_run_group_tests_name("vmm_plan", tests, NULL, NULL);
}
