/* SPDX-License-Identifier: MIT */
/* Mapping guest memory, and unmapping it when nobody can touch it any more. */
#include "vmm/ram.h"

#include "base/checked.h"
#include "vmm/layout.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <vblk/memory.h>

/* What the release callback needs; it may run long after the machine has gone. */
struct mapping {
	void *host;
	size_t bytes;
};

static void release(void *context)
{
	struct mapping *mapping = context;

	if (mapping->host != MAP_FAILED)
		munmap(mapping->host, mapping->bytes);
	free(mapping);
}

static int add_regions(const struct vmm_ram *ram, struct vblk_memory *memory)
{
	int ret = vblk_memory_add_region(memory, 0, ram->low_bytes, ram->host);

	if (!ret && ram->high_bytes)
		ret = vblk_memory_add_region(memory, VMM_HOLE_END, ram->high_bytes,
					     ram->host + ram->low_bytes);
	return ret;
}

int vmm_ram_create(uint64_t bytes, struct vmm_ram *ram, struct vblk_memory **memory,
		   struct vmm_error *error)
{
	struct mapping *mapping = malloc(sizeof(*mapping));
	int ret = -ENOMEM;

	*memory = NULL;
	if (!mapping)
		goto failed;
	mapping->bytes = (size_t)bytes;
	mapping->host = MAP_FAILED;
	ret = vblk_memory_create(release, mapping, memory);
	if (ret) {
		free(mapping);
		goto failed;
	}

	mapping->host = mmap(NULL, mapping->bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mapping->host == MAP_FAILED) {
		ret = -errno;
		goto failed;
	}
	ram->host = mapping->host;
	ram->low_bytes = vblk_min_u64(bytes, VMM_HOLE_START);
	ram->high_bytes = bytes - ram->low_bytes;
	ret = add_regions(ram, *memory);
	if (!ret)
		return 0;

failed:
	vblk_memory_unref(*memory);
	*memory = NULL;
	return vmm_error_host(error, ret, "cannot reserve %" PRIu64 "M of guest memory",
			      bytes >> 20);
}

struct vmm_ram_region vmm_ram_region(const struct vmm_ram *ram, unsigned int index)
{
	if (index == 0)
		return (struct vmm_ram_region){ 0, ram->low_bytes, ram->host };
	return (struct vmm_ram_region){ VMM_HOLE_END, ram->high_bytes, ram->host + ram->low_bytes };
}

const uint8_t *vmm_ram_at(const struct vmm_ram *ram, uint64_t address, uint64_t bytes)
{
	for (unsigned int i = 0; i < VMM_RAM_REGIONS; i++) {
		const struct vmm_ram_region region = vmm_ram_region(ram, i);

		if (address >= region.address && address - region.address < region.bytes &&
		    bytes <= region.bytes - (address - region.address))
			return region.host + (address - region.address);
	}
	return NULL;
}
