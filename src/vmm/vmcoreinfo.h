/* SPDX-License-Identifier: MIT */
/*
 * What a Linux guest says of itself to those who read its memory: its release, where it has moved
 * itself to (KASLR), and how its main structures are laid out. crash and makedumpfile look for that
 * in a note of a core file.
 *
 * A kernel with CONFIG_CRASH_CORE (kexec, or /proc/kcore) has that note ready in its memory, at the
 * start of a page, and tells nobody on a machine like this one where. So it is looked for. Whatever
 * else looks like it is the guest's own lie, and nothing here believes it: it is copied.
 */
#ifndef VMM_VMCOREINFO_H
#define VMM_VMCOREINFO_H

#include "vmm/ram.h"

#define VMM_VMCOREINFO_NAME "VMCOREINFO"

struct vmm_vmcoreinfo {
	const uint8_t *text; /* in guest memory, without a NUL; NULL: there is none */
	size_t size;
};

/*
 * The first one in memory. Nothing changes memory meanwhile. `go_on` is asked now and then whether
 * to; it may be NULL. Returns 0, also if there is none, or -ECANCELED.
 */
VBLK_MUST_USE int vmm_vmcoreinfo_find(const struct vmm_ram *ram, bool (*go_on)(void *context),
				      void *context, struct vmm_vmcoreinfo *info);

#endif
