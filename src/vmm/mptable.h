/* SPDX-License-Identifier: MIT */
/*
 * The MP table (Intel MultiProcessor Specification 1.4): which processors there are and which
 * interrupt line reaches which pin of the IOAPIC. A kernel without ACPI finds its interrupts by
 * it. Pure; any thread.
 */
#ifndef VMM_MPTABLE_H
#define VMM_MPTABLE_H

#include <vblk/types.h>

/*
 * Writes the floating pointer and, right behind it, the table for `cpus` processors into
 * `buffer`, which the guest will see at `address` (a multiple of 16). Returns the bytes used, or
 * 0 if `capacity` is too small; then nothing was written.
 */
VBLK_MUST_USE size_t vmm_mptable_build(uint8_t *buffer, size_t capacity, uint64_t address,
				       unsigned int cpus);

#endif
