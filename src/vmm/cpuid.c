/* SPDX-License-Identifier: MIT */
/*
 * Adapting CPUID.
 *
 * Topology first: KVM answers with the numbers of whichever host processor was asked, and a guest
 * that believes them sees vCPUs with the same APIC id. Then the filter for KVM-PVM, a table of
 * registers and the bits in them that may stay.
 */
#include "vmm/cpuid.h"

#include "base/checked.h"

#define BIT(n) (1u << (n))

/* Leaf 1, ECX */
#define TSC_DEADLINE BIT(24)
#define HYPERVISOR   BIT(31)

/* Leaf 1, EDX */
#define HTT BIT(28)

/* Leaf 4, EAX */
#define CACHE_TYPE_MASK	  0x1fu
#define CACHE_THREADS	  (0xfffu << 14) /* threads that share it, less one */
#define CACHE_THREADS_AT  14u
#define CACHE_CORES	  (0x3fu << 26) /* cores of the package, less one */
#define CACHE_CORES_AT	  26u
#define CACHE_LEVEL_AT	  5u
#define CACHE_LEVEL_MASK  0x7u
#define LAST_SHARED_LEVEL 3u

/* Leaves 0xb and 0x1f, ECX */
#define LEVEL_TYPE_AT	  8u
#define LEVEL_TYPE_SMT	  1u
#define LEVEL_TYPE_CORE	  2u
#define LEVEL_NUMBER_MASK 0xffu

#define ANY_INDEX UINT32_MAX

/* Bits that a guest on KVM-PVM may see; all others of the register are cleared. */
struct filter {
	uint32_t leaf;
	uint32_t index;
	uint32_t eax, ebx, ecx, edx;
};

static const struct filter kvm_pvm_filters[] = {
	/*
	 * ECX without MONITOR (3), FMA (12), CX16 (13), PCID (17), AES (25), XSAVE (26),
	 * OSXSAVE (27), AVX (28), F16C (29), RDRAND (30): not emulated, or of no use without
	 * their neighbours.
	 */
	{ 0x1, ANY_INDEX, ~0u, ~0u,
	  ~(BIT(3) | BIT(12) | BIT(13) | BIT(17) | BIT(25) | BIT(26) | BIT(27) | BIT(28) | BIT(29) |
	    BIT(30)),
	  ~0u },
	/* EBX: TSC_ADJUST (1) and ERMS (9). */
	{ 0x7, 0, ~0u, BIT(1) | BIT(9), 0, 0 },
	{ 0x7, 1, 0, 0, 0, 0 },
	{ 0x7, 2, 0, 0, 0, 0 },
	/* No extended state, in any of the subleaves. */
	{ 0xd, ANY_INDEX, 0, 0, 0, 0 },
	/* ECX: LAHF (0) and LZCNT (5). */
	{ 0x80000001, ANY_INDEX, ~0u, ~0u, BIT(0) | BIT(5), ~0u },
	/* EBX: bit 2, error pointers of FXSAVE. */
	{ 0x80000008, ANY_INDEX, ~0u, BIT(2), ~0u, ~0u },
};

static void filter_for_kvm_pvm(struct kvm_cpuid_entry2 *entry)
{
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(kvm_pvm_filters); i++) {
		const struct filter *filter = &kvm_pvm_filters[i];

		if (entry->function != filter->leaf ||
		    (filter->index != ANY_INDEX && filter->index != entry->index))
			continue;
		entry->eax &= filter->eax;
		entry->ebx &= filter->ebx;
		entry->ecx &= filter->ecx;
		entry->edx &= filter->edx;
	}
}

/* The number of bits of an APIC id that tell `cpus` processors apart. */
static uint32_t id_bits(unsigned int cpus)
{
	uint32_t bits = 0;

	while ((1u << bits) < cpus)
		bits++;
	return bits;
}

static void set_basics(struct kvm_cpuid_entry2 *entry, const struct vmm_cpuid_shape *shape)
{
	entry->ebx = (entry->ebx & 0xffffu) | (shape->cpus << 16) | (shape->cpu << 24);
	entry->edx = shape->cpus > 1 ? entry->edx | HTT : entry->edx & ~HTT;
	entry->ecx |= HYPERVISOR;
	if (shape->tsc_deadline)
		entry->ecx |= TSC_DEADLINE;
}

static void set_cache(struct kvm_cpuid_entry2 *entry, const struct vmm_cpuid_shape *shape)
{
	uint32_t level = (entry->eax >> CACHE_LEVEL_AT) & CACHE_LEVEL_MASK;
	uint32_t last_id = (1u << id_bits(shape->cpus)) - 1;

	if ((entry->eax & CACHE_TYPE_MASK) == 0)
		return; /* the end of the list */
	entry->eax &= ~(CACHE_THREADS | CACHE_CORES);
	entry->eax |= last_id << CACHE_CORES_AT;
	if (level >= LAST_SHARED_LEVEL)
		entry->eax |= last_id << CACHE_THREADS_AT;
}

static void set_topology(struct kvm_cpuid_entry2 *entry, const struct vmm_cpuid_shape *shape)
{
	entry->edx = shape->cpu;
	entry->ecx = entry->index & LEVEL_NUMBER_MASK;
	switch (entry->index) {
	case 0:
		entry->eax = 0;
		entry->ebx = 1;
		entry->ecx |= LEVEL_TYPE_SMT << LEVEL_TYPE_AT;
		break;
	case 1:
		entry->eax = id_bits(shape->cpus);
		entry->ebx = shape->cpus;
		entry->ecx |= LEVEL_TYPE_CORE << LEVEL_TYPE_AT;
		break;
	default:
		entry->eax = 0;
		entry->ebx = 0;
		break;
	}
}

/* Leaf 0x80000008, ECX: cores less one, and the bits of an APIC id that number them (AMD). */
static void set_core_count(struct kvm_cpuid_entry2 *entry, const struct vmm_cpuid_shape *shape)
{
	entry->ecx = (entry->ecx & ~0xf0ffu) | (shape->cpus - 1) | (id_bits(shape->cpus) << 12);
}

/* Leaf 0x8000001e: APIC id, core with one thread, node 0 (AMD). */
static void set_extended_topology(struct kvm_cpuid_entry2 *entry,
				  const struct vmm_cpuid_shape *shape)
{
	entry->eax = shape->cpu;
	entry->ebx = shape->cpu;
	entry->ecx = 0;
	entry->edx = 0;
}

void vmm_cpuid_adapt(struct kvm_cpuid_entry2 *entries, size_t count,
		     const struct vmm_cpuid_shape *shape)
{
	for (size_t i = 0; i < count; i++) {
		struct kvm_cpuid_entry2 *entry = &entries[i];

		if (shape->kvm_pvm)
			filter_for_kvm_pvm(entry);
		switch (entry->function) {
		case 0x1:
			set_basics(entry, shape);
			break;
		case 0x4:
		case 0x8000001d:
			set_cache(entry, shape);
			break;
		case 0xb:
		case 0x1f:
			set_topology(entry, shape);
			break;
		case 0x80000008:
			set_core_count(entry, shape);
			break;
		case 0x8000001e:
			set_extended_topology(entry, shape);
			break;
		default:
			break;
		}
	}
}
