/* SPDX-License-Identifier: MIT */
/* No two disks of a program are called the same. */
#include "cmd/disk_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/checked.h"

#define MAX 5

static void assert_names(const char *const *texts, const char *const *expected, unsigned int count)
{
	struct cmd_disk_spec specs[MAX];
	const char **names = NULL;
	char message[256];

	assert_true(count <= MAX);
	for (unsigned int i = 0; i < count; i++)
		assert_int_equal(cmd_disk_spec_parse(texts[i], &specs[i], message, sizeof(message)),
				 0);
	assert_int_equal(cmd_disk_names(specs, count, &names), 0);
	/* They do not need the descriptions any more. */
	for (unsigned int i = 0; i < count; i++)
		cmd_disk_spec_free(&specs[i]);
	for (unsigned int i = 0; i < count; i++)
		assert_string_equal(names[i], expected[i]);
	free(names);
}

static void names_of_their_own_stay(void **state)
{
	static const char *const texts[] = { "path=/a/d.img", "path=e.img", "path=/x,serial=data" };
	static const char *const names[] = { "d.img", "e.img", "data" };

	(void)state;
	assert_names(texts, names, VBLK_ARRAY_SIZE(texts));
}

static void files_of_several_folders_are_told_apart(void **state)
{
	static const char *const texts[] = { "path=/a/d.img", "path=e.img", "path=/b/d.img",
					     "path=/c,serial=d.img" };
	static const char *const names[] = { "d.img", "e.img", "d.img#1", "d.img#2" };

	(void)state;
	assert_names(texts, names, VBLK_ARRAY_SIZE(texts));
}

static void copies_of_one_template_are_told_apart(void **state)
{
	static const char *const texts[] = { "template=ext4:256M", "template=ext4:256M" };
	static const char *const names[] = { "ext4:256M", "ext4:256M#1" };

	(void)state;
	assert_names(texts, names, VBLK_ARRAY_SIZE(texts));
}

static void a_number_that_makes_another_disks_name_is_left_out(void **state)
{
	static const char *const texts[] = { "path=/a/d", "path=/b/d", "path=/c/d", "path=/a/d#1",
					     "path=/b/d#1" };
	static const char *const names[] = { "d", "d#2", "d#3", "d#1", "d#1#1" };

	(void)state;
	assert_names(texts, names, VBLK_ARRAY_SIZE(texts));
}

static void there_may_be_no_disk(void **state)
{
	(void)state;
	assert_names(NULL, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_their_own_stay),
		cmocka_unit_test(files_of_several_folders_are_told_apart),
		cmocka_unit_test(copies_of_one_template_are_told_apart),
		cmocka_unit_test(a_number_that_makes_another_disks_name_is_left_out),
		cmocka_unit_test(there_may_be_no_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
