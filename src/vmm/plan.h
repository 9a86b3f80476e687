/* SPDX-License-Identifier: MIT */
/*
 * What a machine will look like, decided before any of it exists: the files in host memory, the
 * places in guest memory, and the command line. Immutable once made.
 */
#ifndef VMM_PLAN_H
#define VMM_PLAN_H

#include "vmm/file.h"
#include "vmm/loader.h"
#include "vmm/vmm.h"

struct vmm_plan {
	struct vmm_file kernel_file;
	struct vmm_file initrd_file; /* no bytes: no initramfs */
	struct vmm_kernel kernel;
	uint64_t initrd; /* guest-physical address */
	uint64_t memory_bytes;
	unsigned int cpus;
	unsigned int disks;
	bool kvm_pvm;  /* the host is KVM-PVM, see vmm/quirks.h */
	char *cmdline; /* complete */
};

/*
 * Finds the place of an initramfs: as high as memory and the kernel's limit allow. Pure.
 * Returns 0, or -ENOMEM with `*needed` set to the bytes of guest memory that would be enough, or
 * to 0 if no amount would.
 */
VBLK_MUST_USE int vmm_plan_place_initrd(const struct vmm_kernel *kernel, uint64_t size,
					uint64_t memory_bytes, uint64_t *address, uint64_t *needed);

/*
 * Writes the command line: what every guest on this machine needs, one device for each disk,
 * then `append`. Pure. Returns its length without the NUL; like snprintf, it may exceed `size`,
 * and then the line was cut.
 */
size_t vmm_plan_cmdline(char *line, size_t size, unsigned int disks, bool kvm_pvm,
			const char *append);

/* The interrupt line of disk `index`, which is below VMM_MAX_DISKS. */
unsigned int vmm_disk_irq(unsigned int index);

#endif
