/* SPDX-License-Identifier: MIT */
/*
 * The state of the boot processor when it enters the kernel by the 64-bit boot protocol: long
 * mode, flat segments, the first 4 GiB mapped one to one, interrupts off, the address of the
 * zero page in RSI. The other processors wait for the guest to start them.
 */
#ifndef VMM_CPU_STATE_H
#define VMM_CPU_STATE_H

#include "vmm/error.h"

/* Writes descriptor and page tables to guest memory, seen by the host at `low_ram`. */
void vmm_cpu_state_tables(uint8_t *low_ram);

/*
 * Sets the registers of the vCPU with descriptor `vcpu` so that it runs from guest-physical
 * `entry`. Returns 0, or a negative errno with `error` filled in.
 */
VBLK_MUST_USE int vmm_cpu_state_enter(int vcpu, uint64_t entry, struct vmm_error *error);

/* What a vCPU needs whether it boots or waits: FPU control words, memory types. As above. */
VBLK_MUST_USE int vmm_cpu_state_common(int vcpu, struct vmm_error *error);

#endif
