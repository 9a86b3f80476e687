/* SPDX-License-Identifier: MIT */
/* CPUID: each vCPU's identity, and the filter that only some hosts need. */
#include "vmm/cpuid.h"

#include "base/checked.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ALL 0xffffffffu

static struct kvm_cpuid_entry2 adapt(uint32_t leaf, uint32_t index, uint32_t fill,
				     const struct vmm_cpuid_shape *shape)
{
	struct kvm_cpuid_entry2 entry = {
		.function = leaf,
		.index = index,
		.eax = fill,
		.ebx = fill,
		.ecx = fill,
		.edx = fill,
	};

	vmm_cpuid_adapt(&entry, 1, shape);
	return entry;
}

static void leaf_1_identity(void **state)
{
	const struct vmm_cpuid_shape shape = { .cpu = 3, .cpus = 4 };
	struct kvm_cpuid_entry2 entry = adapt(1, 0, 0x00111234, &shape);

	(void)state;
	assert_int_equal(entry.eax, 0x00111234);
	assert_int_equal(entry.ebx, 0x03041234); /* APIC id, number of processors, kept */
	assert_int_equal(entry.ecx, 0x00111234 | 1u << 31);
	assert_int_equal(entry.edx, 0x00111234 | 1u << 28);
}

static void leaf_1_of_a_single_processor(void **state)
{
	const struct vmm_cpuid_shape shape = { .cpu = 0, .cpus = 1 };
	struct kvm_cpuid_entry2 entry = adapt(1, 0, ALL, &shape);

	(void)state;
	assert_int_equal(entry.ebx, 0x0001ffff);
	assert_int_equal(entry.edx, ALL & ~(1u << 28));
	assert_int_equal(entry.ecx, ALL);
}

static void tsc_deadline_timer(void **state)
{
	struct vmm_cpuid_shape shape = { .cpus = 1, .tsc_deadline = true };

	(void)state;
	assert_int_equal(adapt(1, 0, 0, &shape).ecx, 1u << 31 | 1u << 24);
	shape.tsc_deadline = false;
	assert_int_equal(adapt(1, 0, 0, &shape).ecx, 1u << 31);
}

static void topology_leaves(void **state)
{
	static const struct {
		unsigned int cpus;
		uint32_t shift;
	} table[] = { { 1, 0 }, { 2, 1 }, { 3, 2 }, { 4, 2 }, { 5, 3 }, { 32, 5 } };
	static const uint32_t leaves[] = { 0xb, 0x1f };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++)
		for (size_t k = 0; k < VBLK_ARRAY_SIZE(leaves); k++) {
			const struct vmm_cpuid_shape shape = {
				.cpu = table[i].cpus - 1,
				.cpus = table[i].cpus,
			};
			struct kvm_cpuid_entry2 thread = adapt(leaves[k], 0, ALL, &shape);
			struct kvm_cpuid_entry2 core = adapt(leaves[k], 1, ALL, &shape);
			struct kvm_cpuid_entry2 end = adapt(leaves[k], 2, ALL, &shape);

			assert_int_equal(thread.eax, 0);
			assert_int_equal(thread.ebx, 1);
			assert_int_equal(thread.ecx, 0x100);
			assert_int_equal(thread.edx, shape.cpu);
			assert_int_equal(core.eax, table[i].shift);
			assert_int_equal(core.ebx, shape.cpus);
			assert_int_equal(core.ecx, 0x201);
			assert_int_equal(core.edx, shape.cpu);
			assert_int_equal(end.eax, 0);
			assert_int_equal(end.ebx, 0);
			assert_int_equal(end.ecx, 2);
		}
}

static void cache_leaves(void **state)
{
	const struct vmm_cpuid_shape shape = { .cpu = 1, .cpus = 4 };

	(void)state;
	/* Data cache, level 1: one thread; unified, level 3: all; 4 cores in both. */
	assert_int_equal(adapt(4, 0, 0xffffc021, &shape).eax, 3u << 26 | 0x21);
	assert_int_equal(adapt(4, 3, 0xffffc063, &shape).eax, 3u << 26 | 3u << 14 | 0x63);
	/* The end of the list stays what it is. */
	assert_int_equal(adapt(4, 4, 0, &shape).eax, 0);
}

static void amd_leaves(void **state)
{
	const struct vmm_cpuid_shape shape = { .cpu = 2, .cpus = 3 };
	struct kvm_cpuid_entry2 entry = adapt(0x8000001e, 0, ALL, &shape);

	(void)state;
	assert_int_equal(entry.eax, 2);
	assert_int_equal(entry.ebx, 2);
	assert_int_equal(entry.ecx, 0);
	assert_int_equal(adapt(0x80000008, 0, 0, &shape).ecx, 2u << 12 | 2);
}

static void other_leaves_are_kept(void **state)
{
	static const uint32_t leaves[] = { 0x0, 0x2, 0x7, 0xd, 0x80000000, 0x80000001, 0x40000001 };
	const struct vmm_cpuid_shape shape = { .cpus = 2 };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(leaves); i++) {
		struct kvm_cpuid_entry2 entry = adapt(leaves[i], 0, 0x5a5a5a5a, &shape);

		assert_int_equal(entry.eax, 0x5a5a5a5a);
		assert_int_equal(entry.ebx, 0x5a5a5a5a);
		assert_int_equal(entry.ecx, 0x5a5a5a5a);
		assert_int_equal(entry.edx, 0x5a5a5a5a);
	}
}

static void kvm_pvm_filter(void **state)
{
	static const struct {
		uint32_t leaf, index, eax, ebx, ecx, edx;
	} table[] = {
		/* ebx: APIC id and count; edx: no hyper-threading bit on a single processor */
		{ 0x1, 0, ALL, 0x0001ffff, 0x81fdcff7 & ~(1u << 17), ALL & ~(1u << 28) },
		{ 0x7, 0, ALL, 0x202, 0, 0 },
		{ 0x7, 1, 0, 0, 0, 0 },
		{ 0xd, 0, 0, 0, 0, 0 },
		{ 0xd, 1, 0, 0, 0, 0 },
		{ 0xd, 17, 0, 0, 0, 0 },
		{ 0x80000001, 0, ALL, ALL, 0x21, ALL },
		{ 0x80000008, 0, ALL, 0x4, ALL & ~0xf0ffu, ALL },
		{ 0x40000001, 0, ALL, ALL, ALL, ALL },
	};
	const struct vmm_cpuid_shape shape = { .cpus = 1, .kvm_pvm = true };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct kvm_cpuid_entry2 entry = adapt(table[i].leaf, table[i].index, ALL, &shape);

		print_message("leaf %#x, index %u\n", table[i].leaf, table[i].index);
		assert_int_equal(entry.eax, table[i].eax);
		assert_int_equal(entry.ebx, table[i].ebx);
		assert_int_equal(entry.ecx, table[i].ecx);
		assert_int_equal(entry.edx, table[i].edx);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaf_1_identity),
		cmocka_unit_test(leaf_1_of_a_single_processor),
		cmocka_unit_test(tsc_deadline_timer),
		cmocka_unit_test(topology_leaves),
		cmocka_unit_test(cache_leaves),
		cmocka_unit_test(amd_leaves),
		cmocka_unit_test(other_leaves_are_kept),
		cmocka_unit_test(kvm_pvm_filter),
	};

	return cmocka_run_group_tests_name("vmm_cpuid", tests, NULL, NULL);
}
