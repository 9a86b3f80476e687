/* SPDX-License-Identifier: MIT */
/*
 * A look at the first bytes of each page that the guest has touched. The kernel fills its page in
 * when it starts, and anew when it crashes.
 */
#include "vmm/vmcoreinfo.h"

#include "base/checked.h"
#include "vmm/layout.h"
#include "vmm/touched.h"
#include <elf.h>
#include <errno.h>
#include <string.h>

#define PIECE_SIZE  (UINT64_C(1) << 20)
#define FIRST_WORDS "OSRELEASE="
#define TEXT_MAX    65536u /* the kernel's is a page */

/* As it lies in memory; the name is filled up to a multiple of 4. */
struct note {
	Elf64_Nhdr header;
	char name[12];
	char first_words[sizeof(FIRST_WORDS) - 1];
};

/* Whether there is one at `address`, a page of `region`. */
static bool is_here(const struct vmm_ram_region *region, uint64_t address,
		    struct vmm_vmcoreinfo *info)
{
	const uint8_t *page = region->host + (address - region->address);
	const uint64_t room = region->address + region->bytes - address;
	const size_t text_at = offsetof(struct note, first_words);
	struct note note;

	memcpy(&note, page, sizeof(note));
	if (note.header.n_namesz != sizeof(VMM_VMCOREINFO_NAME) || note.header.n_type != 0 ||
	    memcmp(note.name, VMM_VMCOREINFO_NAME, sizeof(VMM_VMCOREINFO_NAME)) != 0 ||
	    memcmp(note.first_words, FIRST_WORDS, sizeof(note.first_words)) != 0)
		return false;
	if (note.header.n_descsz < sizeof(note.first_words) || note.header.n_descsz > TEXT_MAX ||
	    note.header.n_descsz > room - text_at)
		return false;
	*info = (struct vmm_vmcoreinfo){ page + text_at, note.header.n_descsz };
	return true;
}

static bool is_in(const struct vmm_ram_region *region, uint64_t start, uint64_t end,
		  struct vmm_vmcoreinfo *info)
{
	for (uint64_t at = start; at < end; at += VMM_PAGE_SIZE)
		if (is_here(region, at, info))
			return true;
	return false;
}

int vmm_vmcoreinfo_find(const struct vmm_ram *ram, bool (*go_on)(void *context), void *context,
			struct vmm_vmcoreinfo *info)
{
	struct vmm_touched touched;
	bool found = false;
	int ret = 0;

	*info = (struct vmm_vmcoreinfo){ NULL, 0 };
	vmm_touched_open(&touched);
	for (unsigned int i = 0; !ret && !found && i < VMM_RAM_REGIONS; i++) {
		const struct vmm_ram_region region = vmm_ram_region(ram, i);
		const uint64_t end = region.address + region.bytes;

		for (uint64_t at = region.address; !ret && !found && at < end; at += PIECE_SIZE) {
			const uint64_t next = vblk_min_u64(at + PIECE_SIZE, end);

			if (go_on && !go_on(context))
				ret = -ECANCELED;
			else if (vmm_touched_any(&touched, region.host + (at - region.address),
						 next - at))
				found = is_in(&region, at, next, info);
		}
	}
	vmm_touched_close(&touched);
	return ret;
}
