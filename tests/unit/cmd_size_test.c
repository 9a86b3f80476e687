/* SPDX-License-Identifier: MIT */
/* Numbers as people write them: what is taken, and what is not. */
#include "cmd/size.h"

#include "base/checked.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct row {
	const char *text;
	int ret;
	uint64_t value;
};

#define UNTOUCHED 0xdeadu

static void sizes(void **state)
{
	static const struct row table[] = {
		{ "0", 0, 0 },
		{ "512", 0, 512 },
		{ "0512", 0, 512 }, /* decimal, not octal */
		{ "4k", 0, 4096 },
		{ "4K", 0, 4096 },
		{ "64M", 0, 64ull << 20 },
		{ "64m", 0, 64ull << 20 },
		{ "1G", 0, 1ull << 30 },
		{ "1g", 0, 1ull << 30 },
		{ "2T", 0, 2ull << 40 },
		{ "2t", 0, 2ull << 40 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "16777215T", 0, 16777215ull << 40 },
		{ "18446744073709551616", -ERANGE, UNTOUCHED },
		{ "99999999999999999999999", -ERANGE, UNTOUCHED },
		{ "16777216T", -ERANGE, UNTOUCHED },
		{ "18014398509481984k", -ERANGE, UNTOUCHED },
		{ "", -EINVAL, UNTOUCHED },
		{ "k", -EINVAL, UNTOUCHED },
		{ "4kk", -EINVAL, UNTOUCHED },
		{ "4kB", -EINVAL, UNTOUCHED },
		{ "4KiB", -EINVAL, UNTOUCHED },
		{ "4b", -EINVAL, UNTOUCHED },
		{ "4P", -EINVAL, UNTOUCHED },
		{ "4 k", -EINVAL, UNTOUCHED },
		{ " 4", -EINVAL, UNTOUCHED },
		{ "4 ", -EINVAL, UNTOUCHED },
		{ "-1", -EINVAL, UNTOUCHED },
		{ "+1", -EINVAL, UNTOUCHED },
		{ "1.5G", -EINVAL, UNTOUCHED },
		{ "0x10", -EINVAL, UNTOUCHED },
		{ "1e3", -EINVAL, UNTOUCHED },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		uint64_t value = UNTOUCHED;

		print_message("'%s'\n", table[i].text);
		assert_int_equal(cmd_size_parse(table[i].text, &value), table[i].ret);
		assert_int_equal(value, table[i].value);
	}
}

static void counts(void **state)
{
	static const struct {
		struct row row;
		uint64_t max;
	} table[] = {
		{ { "0", 0, 0 }, 32 },
		{ { "32", 0, 32 }, 32 },
		{ { "33", -ERANGE, UNTOUCHED }, 32 },
		{ { "18446744073709551615", 0, UINT64_MAX }, UINT64_MAX },
		{ { "18446744073709551616", -ERANGE, UNTOUCHED }, UINT64_MAX },
		{ { "1k", -EINVAL, UNTOUCHED }, UINT64_MAX },
		{ { "", -EINVAL, UNTOUCHED }, UINT64_MAX },
		{ { "-1", -EINVAL, UNTOUCHED }, UINT64_MAX },
		{ { "2 ", -EINVAL, UNTOUCHED }, UINT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const struct row *row = &table[i].row;
		uint64_t value = UNTOUCHED;

		print_message("'%s' up to %llu\n", row->text, (unsigned long long)table[i].max);
		assert_int_equal(cmd_count_parse(row->text, table[i].max, &value), row->ret);
		assert_int_equal(value, row->value);
	}
}

static void times(void **state)
{
	static const struct row table[] = {
		{ "0us", 0, 0 },
		{ "200us", 0, 200000 },
		{ "10ms", 0, 10000000 },
		{ "2s", 0, 2000000000 },
		{ "18446744073s", 0, 18446744073000000000u },
		{ "18446744074s", -ERANGE, UNTOUCHED },
		{ "18446744073709552us", -ERANGE, UNTOUCHED },
		{ "18446744073709551616us", -ERANGE, UNTOUCHED },
		{ "", -EINVAL, UNTOUCHED },
		{ "5", -EINVAL, UNTOUCHED },
		{ "s", -EINVAL, UNTOUCHED },
		{ "5m", -EINVAL, UNTOUCHED },
		{ "5min", -EINVAL, UNTOUCHED },
		{ "5S", -EINVAL, UNTOUCHED },
		{ "5 s", -EINVAL, UNTOUCHED },
		{ "5ss", -EINVAL, UNTOUCHED },
		{ "1.5s", -EINVAL, UNTOUCHED },
		{ "-1s", -EINVAL, UNTOUCHED },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		uint64_t ns = UNTOUCHED;

		print_message("'%s'\n", table[i].text);
		assert_int_equal(cmd_time_parse(table[i].text, &ns), table[i].ret);
		assert_int_equal(ns, table[i].value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(times),
		cmocka_unit_test(counts),
	};

	return cmocka_run_group_tests_name("cmd_size", tests, NULL, NULL);
}
