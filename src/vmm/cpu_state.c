/* SPDX-License-Identifier: MIT */
/* Registers, descriptors and page tables for the first instruction of a guest. */
#include "vmm/cpu_state.h"

#include "base/le.h"
#include "vmm/layout.h"
#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

/* Selectors that the boot protocol fixes, in a table whose first two entries are unused. */
#define SELECTOR_CODE 0x10u
#define SELECTOR_DATA 0x18u
#define SELECTOR_TASK 0x20u
#define GDT_ENTRIES   6u /* the task's descriptor takes two */

#define CR0_PE 0x1u
#define CR0_ET 0x10u
#define CR0_NE 0x20u
#define CR0_WP 0x10000u
#define CR0_PG 0x80000000u

#define CR4_PAE 0x20u

#define EFER_LME 0x100u
#define EFER_LMA 0x400u

#define PAGE_PRESENT 0x1u
#define PAGE_WRITE   0x2u
#define PAGE_LARGE   0x80u /* 2 MiB in the third level */
#define LARGE_SIZE   0x200000ull
#define TABLE_SLOTS  512u

#define RFLAGS_FIXED 0x2u

#define MSR_MISC_ENABLE	      0x1a0u
#define MISC_FAST_STRING      0x1u
#define MSR_MTRR_DEFAULT      0x2ffu
#define MTRR_ENABLE	      0x800u
#define MTRR_WRITE_BACK	      0x6u
#define FPU_CONTROL_DEFAULT   0x37fu
#define SSE_CONTROL_DEFAULT   0x1f80u
#define SEGMENT_CODE_ACCESSED 11u /* execute, read, accessed */
#define SEGMENT_DATA_ACCESSED 3u  /* read, write, accessed */
#define SEGMENT_TASK_BUSY     11u /* as a system segment: 64-bit TSS, busy */

static struct kvm_segment code_segment(void)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = SELECTOR_CODE,
		.type = SEGMENT_CODE_ACCESSED,
		.present = 1,
		.s = 1,
		.l = 1,
		.g = 1,
	};
}

static struct kvm_segment data_segment(void)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = SELECTOR_DATA,
		.type = SEGMENT_DATA_ACCESSED,
		.present = 1,
		.s = 1,
		.db = 1,
		.g = 1,
	};
}

static struct kvm_segment task_segment(void)
{
	return (struct kvm_segment){
		.limit = 0x67,
		.selector = SELECTOR_TASK,
		.type = SEGMENT_TASK_BUSY,
		.present = 1,
	};
}

/* The descriptor from which a processor would load such a segment; all have base 0. */
static uint64_t descriptor(const struct kvm_segment *segment)
{
	uint64_t limit = segment->g ? segment->limit >> 12 : segment->limit;

	return (limit & 0xffff) | (uint64_t)segment->type << 40 | (uint64_t)segment->s << 44 |
	       (uint64_t)segment->dpl << 45 | (uint64_t)segment->present << 47 |
	       (limit >> 16 & 0xf) << 48 | (uint64_t)segment->l << 53 |
	       (uint64_t)segment->db << 54 | (uint64_t)segment->g << 55;
}

void vmm_cpu_state_tables(uint8_t *low_ram)
{
	const struct kvm_segment code = code_segment();
	const struct kvm_segment data = data_segment();
	const struct kvm_segment task = task_segment();
	const uint32_t table = PAGE_PRESENT | PAGE_WRITE;

	vblk_le64_put(low_ram + VMM_GDT + SELECTOR_CODE, descriptor(&code));
	vblk_le64_put(low_ram + VMM_GDT + SELECTOR_DATA, descriptor(&data));
	vblk_le64_put(low_ram + VMM_GDT + SELECTOR_TASK, descriptor(&task));

	vblk_le64_put(low_ram + VMM_PML4, VMM_PDPT | table);
	for (uint64_t i = 0; i < VMM_PD_COUNT; i++)
		vblk_le64_put(low_ram + VMM_PDPT + i * 8, (VMM_PD + i * VMM_PAGE_SIZE) | table);
	for (uint64_t i = 0; i < VMM_PD_COUNT * TABLE_SLOTS; i++)
		vblk_le64_put(low_ram + VMM_PD + i * 8, i * LARGE_SIZE | table | PAGE_LARGE);
}

/* KVM's structure for lists of MSRs, with room for one. */
union single_msr {
	struct kvm_msrs list;
	uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

/* Sets the bits `bits` of an MSR; the others stay as KVM has them. */
static int set_msr_bits(int vcpu, uint32_t index, uint64_t bits, struct vmm_error *error)
{
	union single_msr msr = { .list.nmsrs = 1 };
	int done;

	msr.list.entries[0].index = index;
	done = ioctl(vcpu, KVM_GET_MSRS, &msr);
	if (done == 1) {
		msr.list.entries[0].data |= bits;
		done = ioctl(vcpu, KVM_SET_MSRS, &msr);
	}
	if (done != 1)
		return vmm_error_host(error, done < 0 ? -errno : -ENOTSUP,
				      "cannot set register 0x%x of a vCPU", index);
	return 0;
}

int vmm_cpu_state_common(int vcpu, struct vmm_error *error)
{
	const struct kvm_fpu fpu = { .fcw = FPU_CONTROL_DEFAULT, .mxcsr = SSE_CONTROL_DEFAULT };
	int ret = set_msr_bits(vcpu, MSR_MISC_ENABLE, MISC_FAST_STRING, error);

	if (!ret)
		ret = set_msr_bits(vcpu, MSR_MTRR_DEFAULT, MTRR_ENABLE | MTRR_WRITE_BACK, error);
	if (!ret && ioctl(vcpu, KVM_SET_FPU, &fpu) < 0)
		ret = vmm_error_host(error, -errno, "cannot set the FPU of a vCPU");
	return ret;
}

int vmm_cpu_state_enter(int vcpu, uint64_t entry, struct vmm_error *error)
{
	const struct kvm_regs regs = {
		.rip = entry,
		.rsi = VMM_ZERO_PAGE,
		.rsp = VMM_BOOT_STACK,
		.rflags = RFLAGS_FIXED,
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return vmm_error_host(error, -errno, "cannot read the registers of a vCPU");
	sregs.cs = code_segment();
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data_segment();
	sregs.tr = task_segment();
	sregs.gdt.base = VMM_GDT;
	sregs.gdt.limit = GDT_ENTRIES * 8 - 1;
	sregs.idt.base = 0;
	sregs.idt.limit = 0;
	sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	sregs.cr3 = VMM_PML4;
	sregs.cr4 = CR4_PAE;
	sregs.efer = EFER_LME | EFER_LMA;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		return vmm_error_host(error, -errno, "cannot set the registers of a vCPU");
	return 0;
}
