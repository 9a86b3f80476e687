/* SPDX-License-Identifier: MIT */
/*
 * Guest memory and registers as an ELF core file, which gdb opens beside the guest kernel's
 * vmlinux:
 *
 *     gdb -ex 'x/s *(char **)&saved_command_line' vmlinux vmcore
 *
 * It has a note of type NT_PRSTATUS per vCPU (to gdb a thread each, from 1 on), VMCOREINFO if the
 * guest has one, and the guest's memory once. A PT_LOAD per mapping of the guest's kernel says at
 * which of its addresses a part of that memory is to be found, so that the kernel's variables are
 * where its symbols say and pointers can be followed; what the kernel has mapped twice is described
 * twice. Memory that it has not mapped stands at its physical address; p_paddr is right everywhere.
 *
 * Pages of zeros are holes in the file, and those that the guest never touched are not even read.
 * Nothing changes the guest meanwhile.
 */
#ifndef VMM_CORE_FILE_H
#define VMM_CORE_FILE_H

#include "vmm/pagetable.h"
#include "vmm/vmcoreinfo.h"
#include <linux/kvm.h>

struct vmm_core {
	const struct vmm_ram *ram;
	const struct vmm_mappings *mappings;
	const struct kvm_regs *regs;   /* one per vCPU */
	const struct kvm_sregs *sregs; /* likewise */
	unsigned int vcpus;
	struct vmm_vmcoreinfo info; /* of this memory, or none */
};

/* Who looks on while it is written. */
struct vmm_core_watch {
	/*
	 * Told between pieces how many bytes of guest memory are dealt with, of how many; most of
	 * what was written is on disk by then. False ends it with -ECANCELED.
	 */
	bool (*go_on)(void *context, uint64_t done, uint64_t total);
	void *context;
};

/*
 * Writes to `fd`, an empty regular file. `watch` may be NULL. Returns 0, -ECANCELED, -ENOMEM, or
 * why the file cannot be written.
 */
VBLK_MUST_USE int vmm_core_write(int fd, const struct vmm_core *core,
				 const struct vmm_core_watch *watch);

#endif
