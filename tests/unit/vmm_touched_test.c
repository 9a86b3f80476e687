/* SPDX-License-Identifier: MIT */
/* Which memory was touched, as the kernel says it. */
#include "vmm/touched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGES 600u /* more than are asked for at once */

struct fixture {
	struct vmm_touched touched;
	uint8_t *memory;
	size_t page;
	size_t bytes;
};

static int set_up(void **state)
{
	static struct fixture fixture;

	fixture.page = (size_t)sysconf(_SC_PAGESIZE);
	fixture.bytes = PAGES * fixture.page;
	fixture.memory = mmap(NULL, fixture.bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (fixture.memory == MAP_FAILED)
		return -1;
	/* A large page is touched as a whole. */
	(void)madvise(fixture.memory, fixture.bytes, MADV_NOHUGEPAGE);
	vmm_touched_open(&fixture.touched);
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	vmm_touched_close(&fixture->touched);
	return munmap(fixture->memory, fixture->bytes);
}

static bool any(const struct fixture *fixture, size_t first, size_t pages)
{
	return vmm_touched_any(&fixture->touched, fixture->memory + first * fixture->page,
			       pages * fixture->page);
}

static void only_what_was_written_is_touched(void **state)
{
	struct fixture *fixture = *state;

	if (fixture->touched.pagemap < 0)
		skip();
	assert_false(any(fixture, 0, PAGES));
	fixture->memory[fixture->bytes - 1] = 1;
	assert_true(any(fixture, 0, PAGES));
	assert_true(any(fixture, PAGES - 1, 1));
	assert_false(any(fixture, 0, PAGES - 1));
	fixture->memory[300 * fixture->page] = 1;
	assert_true(any(fixture, 0, PAGES - 1));
	assert_true(any(fixture, 300, 1));
	assert_false(any(fixture, 301, PAGES - 302));
	/* Part of a page is all of it. */
	assert_true(vmm_touched_any(&fixture->touched, fixture->memory + 299 * fixture->page,
				    fixture->page + 1));
}

static void where_it_is_not_known_all_is_touched(void **state)
{
	struct fixture *fixture = *state;

	vmm_touched_close(&fixture->touched);
	assert_true(any(fixture, 0, 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(only_what_was_written_is_touched),
		TEST(where_it_is_not_known_all_is_touched),
	};

	return cmocka_run_group_tests_name("vmm_touched", tests, NULL, NULL);
}
