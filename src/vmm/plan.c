/* SPDX-License-Identifier: MIT */
/*
 * Making the plan: every mistake in what was asked for is found here, while there is nothing yet
 * that would have to be taken back.
 */
#include "vmm/plan.h"

#include "base/checked.h"
#include "vmm/layout.h"
#include "vmm/quirks.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* KVM counts the pages of a slot in 31 bits; this is well below, and beyond any test's need. */
#define MAX_MEMORY (UINT64_C(1) << 40)

#define MIB (UINT64_C(1) << 20)

/*
 * The legacy interrupt lines that are free on a machine with a timer (0), a keyboard controller
 * (1), a cascade (2), serial ports (3, 4), a clock (8) and a coprocessor (13). Each disk has one
 * to itself: with edge-triggered lines a shared one could lose an interrupt.
 */
static const uint8_t disk_irqs[VMM_MAX_DISKS] = { 5, 6, 7, 9, 10, 11, 12, 14 };

unsigned int vmm_disk_irq(unsigned int index)
{
	return disk_irqs[index];
}

int vmm_plan_place_initrd(const struct vmm_kernel *kernel, uint64_t size, uint64_t memory_bytes,
			  uint64_t *address, uint64_t *needed)
{
	uint64_t first = vmm_page_align(kernel->end);
	uint64_t top = vblk_min_u64(memory_bytes, VMM_HOLE_START);
	uint64_t limit = vblk_min_u64(kernel->initrd_max + 1, VMM_HOLE_START);

	*needed = 0;
	if (size > limit || first + vmm_page_align(size) > limit)
		return -ENOMEM;
	*needed = first + vmm_page_align(size);
	top = vblk_min_u64(top, limit) & ~(VMM_PAGE_SIZE - 1);
	if (top < first || top - first < vmm_page_align(size))
		return -ENOMEM;
	*address = top - vmm_page_align(size);
	return 0;
}

/* snprintf at the end of what is there already, which may be longer than the buffer. */
__attribute__((format(printf, 4, 5))) static void append_text(char *line, size_t size,
							      size_t *length, const char *format,
							      ...)
{
	size_t room = *length < size ? size - *length : 0;
	va_list args;
	int added;

	va_start(args, format);
	added = vsnprintf(room ? line + *length : NULL, room, format, args);
	va_end(args);
	if (added > 0)
		*length += (size_t)added;
}

size_t vmm_plan_cmdline(char *line, size_t size, unsigned int disks, bool kvm_pvm,
			const char *append)
{
	size_t length = 0;

	/* A guest that panics or reboots does so at once and by the keyboard controller. */
	append_text(line, size, &length, "console=ttyS0 panic=-1 reboot=k");
	for (size_t i = 0; kvm_pvm && vmm_quirk_words[i]; i++)
		append_text(line, size, &length, " %s", vmm_quirk_words[i]);
	for (unsigned int i = 0; i < disks; i++)
		append_text(line, size, &length, " virtio_mmio.device=%lluK@0x%llx:%u",
			    VMM_DISK_STRIDE / 1024, VMM_DISK_BASE + i * VMM_DISK_STRIDE,
			    vmm_disk_irq(i));
	if (append && *append)
		append_text(line, size, &length, " %s", append);
	return length;
}

static int check_numbers(const struct vmm_options *options, struct vmm_error *error)
{
	if (options->cpus < 1 || options->cpus > VMM_MAX_CPUS)
		return vmm_error_input(error, "--cpus %u: 1 to %u are possible", options->cpus,
				       VMM_MAX_CPUS);
	if (options->disks > VMM_MAX_DISKS)
		return vmm_error_input(error, "--disk: %u disks given, at most %u are possible",
				       options->disks, VMM_MAX_DISKS);
	if (options->memory_bytes % VMM_PAGE_SIZE)
		return vmm_error_input(error,
				       "--memory: %" PRIu64 " bytes is not a multiple of 4k; "
				       "write for example 256M",
				       options->memory_bytes);
	if (options->memory_bytes > MAX_MEMORY)
		return vmm_error_input(error,
				       "--memory: %" PRIu64 "M is more than the most that "
				       "is possible, 1024G",
				       options->memory_bytes / MIB);
	return 0;
}

static int too_small(const struct vmm_options *options, uint64_t needed, const char *option,
		     const char *path, struct vmm_error *error)
{
	return vmm_error_input(error,
			       "--memory: %" PRIu64 "k is too small for %s '%s', which takes "
			       "%" PRIu64 "M to load and more to run",
			       options->memory_bytes / 1024, option, path,
			       (needed + MIB - 1) / MIB);
}

static int plan_kernel(struct vmm_plan *plan, const struct vmm_options *options,
		       struct vmm_error *error)
{
	const char *reason;
	int ret = vmm_file_read(options->kernel, VMM_HOLE_START, "--kernel",
				"the path of a vmlinux or a bzImage", &plan->kernel_file, error);

	if (ret)
		return ret;
	ret = vmm_kernel_parse(plan->kernel_file.data, plan->kernel_file.size, &plan->kernel,
			       &reason);
	if (ret)
		return vmm_error_input(error, "--kernel '%s' %s", options->kernel, reason);
	if (plan->kernel.end > options->memory_bytes)
		return too_small(options, plan->kernel.end, "--kernel", options->kernel, error);
	return 0;
}

static int plan_initrd(struct vmm_plan *plan, const struct vmm_options *options,
		       struct vmm_error *error)
{
	uint64_t needed;
	int ret;

	if (!options->initrd)
		return 0;
	ret = vmm_file_read(options->initrd, VMM_HOLE_START, "--initrd", "the path of an initramfs",
			    &plan->initrd_file, error);
	if (ret)
		return ret;
	ret = vmm_plan_place_initrd(&plan->kernel, plan->initrd_file.size, options->memory_bytes,
				    &plan->initrd, &needed);
	if (ret && needed)
		return too_small(options, needed, "--initrd", options->initrd, error);
	if (ret)
		return vmm_error_input(error,
				       "--initrd '%s' is too large: this kernel takes one that "
				       "ends below %" PRIu64 "M",
				       options->initrd,
				       vblk_min_u64(plan->kernel.initrd_max + 1, VMM_HOLE_START) /
					       MIB);
	return 0;
}

static int plan_cmdline(struct vmm_plan *plan, const struct vmm_options *options,
			struct vmm_error *error)
{
	size_t length = vmm_plan_cmdline(NULL, 0, plan->disks, plan->kvm_pvm, options->append);

	if (length > plan->kernel.cmdline_max)
		return vmm_error_input(error,
				       "--append: the kernel command line would be %zu bytes "
				       "long, this kernel takes %zu",
				       length, plan->kernel.cmdline_max);
	plan->cmdline = malloc(length + 1);
	if (!plan->cmdline)
		return vmm_error_host(error, -ENOMEM, "cannot prepare the command line");
	vmm_plan_cmdline(plan->cmdline, length + 1, plan->disks, plan->kvm_pvm, options->append);
	return 0;
}

int vmm_plan_create(const struct vmm_options *options, struct vmm_plan **result,
		    struct vmm_error *error)
{
	struct vmm_plan *plan;
	int ret = check_numbers(options, error);

	if (ret)
		return ret;
	plan = calloc(1, sizeof(*plan));
	if (!plan)
		return vmm_error_host(error, -ENOMEM, "cannot plan the machine");
	plan->memory_bytes = options->memory_bytes;
	plan->cpus = options->cpus;
	plan->disks = options->disks;
	plan->kvm_pvm = vmm_host_is_kvm_pvm();

	ret = plan_kernel(plan, options, error);
	if (!ret)
		ret = plan_initrd(plan, options, error);
	if (!ret)
		ret = plan_cmdline(plan, options, error);
	if (ret) {
		vmm_plan_destroy(plan);
		return ret;
	}
	*result = plan;
	return 0;
}

void vmm_plan_destroy(struct vmm_plan *plan)
{
	if (!plan)
		return;
	vmm_file_free(&plan->kernel_file);
	vmm_file_free(&plan->initrd_file);
	free(plan->cmdline);
	free(plan);
}
