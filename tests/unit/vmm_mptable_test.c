/* SPDX-License-Identifier: MIT */
/* The MP table, read back the way a kernel reads it. */
#include "vmm/mptable.h"

#include "base/checked.h"
#include "base/le.h"
#include "vmm/layout.h"
#include "vmm/vmm.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define POINTER 16u
#define HEADER	44u
#define ADDRESS 0x9fc00u

static uint8_t sum(const uint8_t *bytes, size_t length)
{
	uint8_t total = 0;

	for (size_t i = 0; i < length; i++)
		total = (uint8_t)(total + bytes[i]);
	return total;
}

static const unsigned int cpu_counts[] = { 1, 2, 3, 8, VMM_MAX_CPUS };

static void floating_pointer(void **state)
{
	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cpu_counts); i++) {
		uint8_t buffer[VMM_EBDA_SIZE];

		assert_true(vmm_mptable_build(buffer, sizeof(buffer), ADDRESS, cpu_counts[i]) > 0);
		assert_memory_equal(buffer, "_MP_", 4);
		assert_int_equal(vblk_le32_get(buffer + 4), ADDRESS + POINTER);
		assert_int_equal(buffer[8], 1);	 /* length in units of 16 bytes */
		assert_int_equal(buffer[9], 4);	 /* specification 1.4 */
		assert_int_equal(buffer[11], 0); /* there is a table */
		assert_int_equal(sum(buffer, POINTER), 0);
	}
}

static void header_and_checksum(void **state)
{
	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cpu_counts); i++) {
		uint8_t buffer[VMM_EBDA_SIZE];
		size_t used = vmm_mptable_build(buffer, sizeof(buffer), ADDRESS, cpu_counts[i]);
		const uint8_t *table = buffer + POINTER;

		assert_memory_equal(table, "PCMP", 4);
		assert_int_equal(vblk_le16_get(table + 4), used - POINTER);
		assert_int_equal(table[6], 4);
		assert_int_equal(sum(table, used - POINTER), 0);
		assert_int_equal(vblk_le32_get(table + 36), 0xfee00000);
	}
}

struct found {
	unsigned int processors, boot_processors, buses, ioapics, interrupts, locals;
	uint8_t ioapic_id;
	uint32_t apic_ids; /* one bit each */
	uint32_t pins;	   /* reached by the ISA interrupt of the same number */
};

static void read_interrupt(const uint8_t *at, struct found *found)
{
	assert_int_equal(at[1], 0);		    /* vectored */
	assert_int_equal(vblk_le16_get(at + 2), 0); /* as the bus has them: high, edge */
	assert_int_equal(at[4], 0);		    /* the ISA bus */
	assert_int_equal(at[6], found->ioapic_id);
	assert_int_equal(at[5], at[7]);
	found->pins |= 1u << at[7];
	found->interrupts++;
}

static size_t read_entry(const uint8_t *at, struct found *found)
{
	switch (at[0]) {
	case 0:
		assert_true(at[3] & 1);
		found->boot_processors += at[3] >> 1 & 1;
		found->apic_ids |= 1u << at[1];
		found->processors++;
		return 20;
	case 1:
		assert_memory_equal(at + 2, "ISA   ", 6);
		found->buses++;
		return 8;
	case 2:
		assert_int_equal(at[3], 1);
		assert_int_equal(vblk_le32_get(at + 4), 0xfec00000);
		found->ioapic_id = at[1];
		found->ioapics++;
		return 8;
	case 3:
		read_interrupt(at, found);
		return 8;
	case 4:
		assert_int_equal(at[6], 0xff);
		found->locals++;
		return 8;
	default:
		fail_msg("entry of type %u", at[0]);
		return 0;
	}
}

static void entries(void **state)
{
	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cpu_counts); i++) {
		unsigned int cpus = cpu_counts[i];
		uint8_t buffer[VMM_EBDA_SIZE];
		size_t used = vmm_mptable_build(buffer, sizeof(buffer), ADDRESS, cpus);
		const uint8_t *at = buffer + POINTER + HEADER;
		struct found found = { 0 };
		unsigned int count = 0;
		uint8_t last = 0;

		while (at < buffer + used) {
			assert_true(at[0] >= last); /* in the order of the types */
			last = at[0];
			at += read_entry(at, &found);
			count++;
		}
		assert_ptr_equal(at, buffer + used);
		assert_int_equal(vblk_le16_get(buffer + POINTER + 34), count);
		assert_int_equal(found.processors, cpus);
		assert_int_equal(found.boot_processors, 1);
		assert_int_equal(found.apic_ids, (uint32_t)((1ull << cpus) - 1));
		assert_int_equal(found.buses, 1);
		assert_int_equal(found.ioapics, 1);
		assert_int_equal(found.ioapic_id, cpus); /* no processor has it */
		assert_int_equal(found.interrupts, 16);
		assert_int_equal(found.pins, 0xffff);
		assert_int_equal(found.locals, 2);
	}
}

static void too_little_room(void **state)
{
	uint8_t buffer[VMM_EBDA_SIZE], untouched[VMM_EBDA_SIZE];
	size_t used = vmm_mptable_build(buffer, sizeof(buffer), ADDRESS, 1);

	(void)state;
	memset(buffer, 0xa5, sizeof(buffer));
	memset(untouched, 0xa5, sizeof(untouched));
	assert_int_equal(vmm_mptable_build(buffer, used - 1, ADDRESS, 1), 0);
	assert_memory_equal(buffer, untouched, sizeof(buffer));
	assert_int_equal(vmm_mptable_build(buffer, used, ADDRESS, 1), used);
	assert_memory_equal(buffer + used, untouched + used, sizeof(buffer) - used);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(floating_pointer),
		cmocka_unit_test(header_and_checksum),
		cmocka_unit_test(entries),
		cmocka_unit_test(too_little_room),
	};

	return cmocka_run_group_tests_name("vmm_mptable", tests, NULL, NULL);
}
