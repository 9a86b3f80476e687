/* SPDX-License-Identifier: MIT */
/*
 * What the tests of page tables and core files share: a guest whose memory is written by hand, 64
 * pages from 0, and 16 from 4 GiB on.
 */
#ifndef VBLK_TESTS_VMM_GUEST_FIXTURE_H
#define VBLK_TESTS_VMM_GUEST_FIXTURE_H

#include "vmm/core_file.h"

#include "base/checked.h"
#include "base/le.h"
#include "vmm/layout.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LOW_PAGES  64u
#define HIGH_PAGES 16u
#define PAGE	   VMM_PAGE_SIZE
#define TABLES	   0x1000u /* the top table */
#define PRESENT	   1u
#define LARGE	   0x80u
#define DIRECT_MAP UINT64_C(0xffff888000000000)
#define TEXT_MAP   UINT64_C(0xffffffff80000000)

struct guest {
	struct vmm_ram ram;
	uint8_t *host;
	uint32_t next_table; /* the next page that becomes one */
};

static inline int set_up(void **state)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	assert_non_null(guest);
	guest->host = aligned_alloc(PAGE, (LOW_PAGES + HIGH_PAGES) * PAGE);
	assert_non_null(guest->host);
	memset(guest->host, 0, (LOW_PAGES + HIGH_PAGES) * PAGE);
	guest->ram = (struct vmm_ram){ guest->host, LOW_PAGES * PAGE, HIGH_PAGES * PAGE };
	guest->next_table = TABLES + PAGE;
	*state = guest;
	return 0;
}

static inline int tear_down(void **state)
{
	struct guest *guest = *state;

	free(guest->host);
	free(guest);
	return 0;
}

static inline uint8_t *entry_of(struct guest *guest, uint64_t linear, unsigned int level,
				uint64_t table)
{
	return guest->host + table + 8 * (linear >> (12 + 9 * (level - 1)) & 511);
}

/* Maps a page of the size of `level`, making the tables above it. */
static inline void map(struct guest *guest, unsigned int levels, uint64_t linear, uint64_t physical,
		       unsigned int level)
{
	uint64_t table = TABLES;

	for (unsigned int at = levels; at > level; at--) {
		uint8_t *entry = entry_of(guest, linear, at, table);

		if (!vblk_le64_get(entry)) {
			vblk_le64_put(entry, guest->next_table | PRESENT);
			guest->next_table += PAGE;
		}
		table = vblk_le64_get(entry) & ~(PAGE - 1);
	}
	vblk_le64_put(entry_of(guest, linear, level, table),
		      physical | PRESENT | (level > 1 ? LARGE : 0));
}

static inline struct vmm_mappings list(struct guest *guest, unsigned int levels)
{
	struct vmm_walk_limits limits = { .tables = vmm_pagetable_enough(&guest->ram) };
	struct vmm_mappings mappings;

	assert_int_equal(vmm_pagetable_list(&guest->ram, TABLES, levels, &limits, &mappings), 0);
	return mappings;
}

static inline bool stop_the_walk(void *context)
{
	(*(unsigned int *)context)++;
	return false;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
