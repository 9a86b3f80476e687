/* SPDX-License-Identifier: MIT */
/*
 * Where things are in the guest-physical address space.
 *
 *     0x00000400   BIOS data area: two words that say where the EBDA is
 *     0x00000500   global descriptor table for the first instruction
 *     0x00007000   zero page (struct boot_params)
 *     0x00009000   page tables: identity map of the first 4 GiB
 *     0x00020000   kernel command line
 *     0x0009f000   end of the low memory that the guest may use
 *     0x0009fc00   EBDA with the MP table
 *     0x00100000   memory again: the kernel where it wants to be, the initramfs at the top
 *     0xd0000000   one page of virtio-mmio registers per disk
 *     0xfec00000   IOAPIC, 0xfee00000 local APIC (both in the host kernel)
 *     0xfffbc000   pages that KVM needs on Intel processors without unrestricted guests
 *     0x100000000  the memory that did not fit below 0xd0000000
 *
 * All lengths and addresses are bytes.
 */
#ifndef VMM_LAYOUT_H
#define VMM_LAYOUT_H

#include <stdint.h>

#define VMM_PAGE_SIZE 0x1000ull

#define VMM_BDA_EBDA_SEGMENT 0x40eull /* u16: segment of the EBDA */
#define VMM_BDA_LOW_KIB	     0x413ull /* u16: KiB of memory below it */

#define VMM_GDT	       0x500ull
#define VMM_ZERO_PAGE  0x7000ull
#define VMM_BOOT_STACK 0x8ff0ull
#define VMM_PML4       0x9000ull
#define VMM_PDPT       0xa000ull
#define VMM_PD	       0xb000ull /* four pages */
#define VMM_PD_COUNT   4ull

#define VMM_CMDLINE	 0x20000ull
#define VMM_CMDLINE_SIZE 0x10000ull /* room there, with the NUL */

#define VMM_LOW_RAM_END 0x9f000ull
#define VMM_EBDA	0x9fc00ull
#define VMM_EBDA_SIZE	0x400ull

#define VMM_HIGH_RAM 0x100000ull

/* Devices live between these two; memory that would be here continues at the end. */
#define VMM_HOLE_START 0xd0000000ull
#define VMM_HOLE_END   0x100000000ull

#define VMM_DISK_BASE	0xd0000000ull
#define VMM_DISK_STRIDE 0x1000ull

#define VMM_IOAPIC	 0xfec00000ull
#define VMM_LAPIC	 0xfee00000ull
#define VMM_IDENTITY_MAP 0xfffbc000ull
#define VMM_TSS		 0xfffbd000ull

#define VMM_SERIAL_PORT	    0x3f8u
#define VMM_SERIAL_PORT_END 0x400u
#define VMM_SERIAL_IRQ	    4u

/* Interrupt lines of an AT bus, which IOAPIC pins 0 to 15 carry one to one. */
#define VMM_ISA_IRQS 16u

static inline uint64_t vmm_page_align(uint64_t value)
{
	return (value + VMM_PAGE_SIZE - 1) & ~(VMM_PAGE_SIZE - 1);
}

#endif
