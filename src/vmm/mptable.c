/* SPDX-License-Identifier: MIT */
/*
 * Writing the MP table, entry after entry, in the order that the specification demands:
 * processors, buses, IOAPICs, interrupts of the IOAPIC, interrupts of the local APICs. Numbers in
 * comments are its chapters.
 */
#include "vmm/mptable.h"

#include "base/le.h"
#include "vmm/layout.h"
#include <string.h>

enum entry_type {
	ENTRY_PROCESSOR = 0,
	ENTRY_BUS = 1,
	ENTRY_IOAPIC = 2,
	ENTRY_IO_INTERRUPT = 3,
	ENTRY_LOCAL_INTERRUPT = 4,
};

enum interrupt_type {
	INTERRUPT_VECTORED = 0,
	INTERRUPT_NMI = 1,
	INTERRUPT_EXTINT = 3,
};

#define POINTER_SIZE	16u
#define HEADER_SIZE	44u
#define PROCESSOR_SIZE	20u
#define SHORT_SIZE	8u /* every other entry */
#define SPEC_REVISION	4u /* 1.4 */
#define LAPIC_VERSION	0x14u
#define IOAPIC_VERSION	0x11u
#define ISA_BUS		0u
#define ALL_LOCAL_APICS 0xffu

#define PROCESSOR_ENABLED 0x1u
#define PROCESSOR_BOOT	  0x2u

/* What CPUID would say; systems without the instruction would look here. */
#define SIGNATURE     0x600u
#define FEATURE_FPU   0x1u
#define FEATURE_APIC  0x200u
#define APIC_ID_FIRST 0u

/* A value that makes the sum of all bytes 0 modulo 256. */
static uint8_t checksum(const uint8_t *bytes, size_t length)
{
	unsigned int sum = 0;

	for (size_t i = 0; i < length; i++)
		sum += bytes[i];
	return (uint8_t)(0u - sum);
}

/* 4.3.1 */
static uint8_t *put_processor(uint8_t *at, unsigned int cpu)
{
	at[0] = ENTRY_PROCESSOR;
	at[1] = (uint8_t)(APIC_ID_FIRST + cpu);
	at[2] = LAPIC_VERSION;
	at[3] = (uint8_t)(PROCESSOR_ENABLED | (cpu == 0 ? PROCESSOR_BOOT : 0));
	vblk_le32_put(at + 4, SIGNATURE);
	vblk_le32_put(at + 8, FEATURE_FPU | FEATURE_APIC);
	return at + PROCESSOR_SIZE;
}

/* 4.3.2 */
static uint8_t *put_isa_bus(uint8_t *at)
{
	at[0] = ENTRY_BUS;
	at[1] = ISA_BUS;
	memcpy(at + 2, "ISA   ", 6);
	return at + SHORT_SIZE;
}

/* 4.3.3 */
static uint8_t *put_ioapic(uint8_t *at, uint8_t id)
{
	at[0] = ENTRY_IOAPIC;
	at[1] = id;
	at[2] = IOAPIC_VERSION;
	at[3] = 1; /* usable */
	vblk_le32_put(at + 4, (uint32_t)VMM_IOAPIC);
	return at + SHORT_SIZE;
}

/* 4.3.4 and 4.3.5; polarity and trigger mode 0: as the bus has them, which is edge for ISA. */
static uint8_t *put_interrupt(uint8_t *at, enum entry_type entry, enum interrupt_type type,
			      uint8_t irq, uint8_t target, uint8_t pin)
{
	at[0] = (uint8_t)entry;
	at[1] = (uint8_t)type;
	vblk_le16_put(at + 2, 0);
	at[4] = ISA_BUS;
	at[5] = irq;
	at[6] = target;
	at[7] = pin;
	return at + SHORT_SIZE;
}

/* 4.2 */
static void put_header(uint8_t *at, size_t length, unsigned int entries)
{
	memcpy(at, "PCMP", 4);
	vblk_le16_put(at + 4, (uint16_t)length);
	at[6] = SPEC_REVISION;
	memcpy(at + 8, "VBLK    ", 8);
	memcpy(at + 16, "MICROVM     ", 12);
	vblk_le16_put(at + 34, (uint16_t)entries);
	vblk_le32_put(at + 36, (uint32_t)VMM_LAPIC);
	at[7] = checksum(at, length);
}

/* 4.1 */
static void put_pointer(uint8_t *at, uint64_t table)
{
	memcpy(at, "_MP_", 4);
	vblk_le32_put(at + 4, (uint32_t)table);
	at[8] = POINTER_SIZE / 16;
	at[9] = SPEC_REVISION;
	at[10] = checksum(at, POINTER_SIZE);
}

size_t vmm_mptable_build(uint8_t *buffer, size_t capacity, uint64_t address, unsigned int cpus)
{
	const unsigned int short_entries = 1 + 1 + VMM_ISA_IRQS + 2;
	size_t length = HEADER_SIZE + cpus * PROCESSOR_SIZE + short_entries * SHORT_SIZE;
	uint8_t ioapic_id = (uint8_t)(APIC_ID_FIRST + cpus);
	uint8_t *table = buffer + POINTER_SIZE;
	uint8_t *at = table + HEADER_SIZE;

	if (POINTER_SIZE + length > capacity)
		return 0;
	memset(buffer, 0, POINTER_SIZE + length);

	for (unsigned int cpu = 0; cpu < cpus; cpu++)
		at = put_processor(at, cpu);
	at = put_isa_bus(at);
	at = put_ioapic(at, ioapic_id);
	for (uint8_t irq = 0; irq < VMM_ISA_IRQS; irq++)
		at = put_interrupt(at, ENTRY_IO_INTERRUPT, INTERRUPT_VECTORED, irq, ioapic_id, irq);
	at = put_interrupt(at, ENTRY_LOCAL_INTERRUPT, INTERRUPT_EXTINT, 0, ALL_LOCAL_APICS, 0);
	put_interrupt(at, ENTRY_LOCAL_INTERRUPT, INTERRUPT_NMI, 0, ALL_LOCAL_APICS, 1);

	put_header(table, length, cpus + short_entries);
	put_pointer(buffer, address + POINTER_SIZE);
	return POINTER_SIZE + length;
}
