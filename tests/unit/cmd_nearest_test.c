/* SPDX-License-Identifier: MIT */
/* What somebody may have meant. */
#include "cmd/nearest.h"

#include "base/checked.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char *const words[] = { "iodepth", "iops", "iops-burst", "bps",  "bps-burst",
				     "runtime", "ro",	"read",	      "reads" };

static const char *nearest_to(const char *word)
{
	struct cmd_nearest nearest;

	cmd_nearest_begin(&nearest, word);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(words); i++)
		cmd_nearest_offer(&nearest, words[i]);
	return nearest.name ? nearest.name : "(none)";
}

static void test_what_is_near(void **state)
{
	static const struct {
		const char *word;
		const char *name;
	} table[] = {
		{ "iodept", "iodepth" },   /* one missing */
		{ "iodeepth", "iodepth" }, /* one too many */
		{ "iodeqth", "iodepth" },  /* one wrong */
		{ "iodpeth", "iodepth" },  /* two that changed places */
		{ "oidpeth", "iodepth" },  /* and two more */
		{ "odpeth", "iodepth" },   /* one missing, and two that changed places */
		{ "jpdptth", "(none)" },   /* three of seven */
		{ "iops-brst", "iops-burst" },
		{ "ips", "iops" }, /* one of four; so far from bps too, which comes later */
		{ "bqs", "bps" },
		{ "rw", "(none)" }, /* one of two */
		{ "r", "(none)" },  /* the beginning of several */
		{ "ru", "runtime" },
		{ "rea", "read" }, /* before reads, which is farther */
		{ "reads", "reads" },
		{ "RUNTIME", "(none)" },
		{ "", "(none)" },
		{ "colour", "(none)" },
		{ "iodepthiodepthiodepthiodepthiodepthiodepthiodepthiodepth", "(none)" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++)
		assert_string_equal(nearest_to(table[i].word), table[i].name);
}

/* Of those that are equally far the first that was offered, whichever that is. */
static void test_the_first_of_equals(void **state)
{
	struct cmd_nearest nearest;

	(void)state;
	cmd_nearest_begin(&nearest, "cat");
	cmd_nearest_offer(&nearest, "bat");
	cmd_nearest_offer(&nearest, "rat");
	assert_string_equal(nearest.name, "bat");
	cmd_nearest_begin(&nearest, "cat");
	cmd_nearest_offer(&nearest, "rat");
	cmd_nearest_offer(&nearest, "bat");
	assert_string_equal(nearest.name, "rat");
}

/* The longest that is looked at, on both sides, and the first that is not. */
static void test_long_words(void **state)
{
	char word[CMD_NEAREST_MAX + 2], name[CMD_NEAREST_MAX + 2];
	struct cmd_nearest nearest;

	(void)state;
	memset(word, 'a', sizeof(word));
	memset(name, 'a', sizeof(name));
	name[0] = 'b';
	word[CMD_NEAREST_MAX] = name[CMD_NEAREST_MAX] = '\0';
	cmd_nearest_begin(&nearest, word);
	cmd_nearest_offer(&nearest, name);
	assert_ptr_equal(nearest.name, name);
	assert_int_equal(nearest.distance, 1);
	name[CMD_NEAREST_MAX] = 'a';
	name[CMD_NEAREST_MAX + 1] = '\0';
	cmd_nearest_begin(&nearest, word);
	cmd_nearest_offer(&nearest, name);
	assert_null(nearest.name);
}

static void test_hints(void **state)
{
	char hint[CMD_NEAREST_HINT];
	struct cmd_nearest nearest;

	(void)state;
	cmd_nearest_begin_with(&nearest, "iodept=4", 6);
	assert_string_equal(cmd_nearest_hint(&nearest, "--", "see there", hint), ": see there");
	assert_string_equal(cmd_nearest_hint(&nearest, "--", NULL, hint), ":");
	cmd_nearest_offer(&nearest, "iodepth");
	assert_string_equal(cmd_nearest_hint(&nearest, "--", "see there", hint),
			    ": did you mean '--iodepth'?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_near),
		cmocka_unit_test(test_the_first_of_equals),
		cmocka_unit_test(test_long_words),
		cmocka_unit_test(test_hints),
	};

	return cmocka_run_group_tests_name("cmd_nearest", tests, NULL, NULL);
}
