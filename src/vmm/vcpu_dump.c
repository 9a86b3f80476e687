/* SPDX-License-Identifier: MIT */
/* What a person wants to see when a guest has died: registers, and the bytes that would have
 * been executed next. */
#include "vmm/vcpu.h"

#include "base/checked.h"
#include <linux/kvm.h>
#include <sys/ioctl.h>

static void dump_general(const struct kvm_regs *regs, FILE *out)
{
	const struct {
		const char *name;
		__u64 value;
	} list[] = {
		{ "rip", regs->rip }, { "rsp", regs->rsp }, { "rflags", regs->rflags },
		{ "rax", regs->rax }, { "rbx", regs->rbx }, { "rcx", regs->rcx },
		{ "rdx", regs->rdx }, { "rsi", regs->rsi }, { "rdi", regs->rdi },
		{ "rbp", regs->rbp }, { "r8", regs->r8 },   { "r9", regs->r9 },
		{ "r10", regs->r10 }, { "r11", regs->r11 }, { "r12", regs->r12 },
		{ "r13", regs->r13 }, { "r14", regs->r14 }, { "r15", regs->r15 },
	};

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(list); i++)
		fprintf(out, "%-6s 0x%016llx%s", list[i].name, (unsigned long long)list[i].value,
			i % 3 == 2 ? "\n" : "  ");
}

static void dump_control(const struct kvm_sregs *sregs, FILE *out)
{
	fprintf(out, "cr0    0x%016llx  cr2    0x%016llx  cr3    0x%016llx\n",
		(unsigned long long)sregs->cr0, (unsigned long long)sregs->cr2,
		(unsigned long long)sregs->cr3);
	fprintf(out, "cr4    0x%016llx  efer   0x%016llx  cs     0x%04x (%s, level %u)\n",
		(unsigned long long)sregs->cr4, (unsigned long long)sregs->efer, sregs->cs.selector,
		sregs->cs.l ? "64 bits" : "16 or 32 bits", sregs->cs.dpl);
}

/* KVM hands over the instruction that it could not emulate. */
static void dump_instruction(const struct kvm_run *run, FILE *out)
{
	const __u64 flag = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	unsigned int size;

	if (run->exit_reason != KVM_EXIT_INTERNAL_ERROR ||
	    run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION ||
	    run->emulation_failure.ndata < 1 || !(run->emulation_failure.flags & flag))
		return;
	size = run->emulation_failure.insn_size;
	if (size > sizeof(run->emulation_failure.insn_bytes))
		size = sizeof(run->emulation_failure.insn_bytes);
	fputs("code  ", out);
	for (unsigned int i = 0; i < size; i++)
		fprintf(out, " %02x", run->emulation_failure.insn_bytes[i]);
	fputc('\n', out);
}

void vmm_vcpu_dump(const struct vmm_vcpu *vcpu, FILE *out)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	if (!out)
		return;
	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) == 0)
		dump_general(&regs, out);
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) == 0)
		dump_control(&sregs, out);
	dump_instruction(vcpu->run, out);
	fflush(out);
}
