/* SPDX-License-Identifier: MIT */
/* Lists of processors: what is taken, and what is not. */
#include "cmd/cpu_list.h"

#include "base/checked.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void good_lists(void **state)
{
	static const struct {
		const char *text;
		size_t count;
		uint32_t cpus[8]; /* as far as there are so many */
	} table[] = {
		{ "0", 1, { 0 } },
		{ "7", 1, { 7 } },
		{ "0-3", 4, { 0, 1, 2, 3 } },
		{ "0-3,5", 5, { 0, 1, 2, 3, 5 } },
		{ "5,0-3", 5, { 0, 1, 2, 3, 5 } },
		{ "2-2", 1, { 2 } },
		{ "1,1,0-1", 2, { 0, 1 } },
		{ "1023", 1, { 1023 } },
		{ "007", 1, { 7 } },
		{ "0-1023", 1024, { 0, 1, 2, 3, 4, 5, 6, 7 } },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		uint32_t *cpus = NULL;
		size_t count = 0;

		print_message("'%s'\n", table[i].text);
		assert_int_equal(cmd_cpu_list_parse(table[i].text, &cpus, &count), 0);
		assert_int_equal(count, table[i].count);
		for (size_t k = 0; k < count; k++)
			assert_int_equal(cpus[k], k < 8 ? table[i].cpus[k] : k);
		free(cpus);
	}
}

static void bad_lists(void **state)
{
	static const struct {
		const char *text;
		int ret;
	} table[] = {
		{ "", -EINVAL },
		{ ",", -EINVAL },
		{ "1,", -EINVAL },
		{ ",1", -EINVAL },
		{ "1,,2", -EINVAL },
		{ "-", -EINVAL },
		{ "1-", -EINVAL },
		{ "-1", -EINVAL },
		{ "3-1", -EINVAL },
		{ "1-2-3", -EINVAL },
		{ "0-6:2", -EINVAL },
		{ "all", -EINVAL },
		{ " 1", -EINVAL },
		{ "0x1", -EINVAL },
		{ "1 2", -EINVAL },
		{ "000000000000000000000000000000000000000000001", -EINVAL },
		{ "1024", -ERANGE },
		{ "0-1024", -ERANGE },
		{ "99999999999999999999999", -ERANGE },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		uint32_t *cpus = NULL;
		size_t count = 0;

		print_message("'%s'\n", table[i].text);
		assert_int_equal(cmd_cpu_list_parse(table[i].text, &cpus, &count), table[i].ret);
		assert_null(cpus);
		assert_int_equal(count, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_lists),
		cmocka_unit_test(bad_lists),
	};

	return cmocka_run_group_tests_name("cmd_cpu_list", tests, NULL, NULL);
}
