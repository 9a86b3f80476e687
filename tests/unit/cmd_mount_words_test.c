/* SPDX-License-Identifier: MIT */
/* What the command line says of disks from templates. */
#include "cmd/mount_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX 3

static void assert_words(const char *const *texts, unsigned int count, const char *append,
			 const char *expected)
{
	struct cmd_disk_spec specs[MAX] = { { 0 } };
	char message[256];
	char *line;

	for (unsigned int i = 0; i < count; i++)
		assert_int_equal(cmd_disk_spec_parse(texts[i], &specs[i], message, sizeof(message)),
				 0);
	assert_int_equal(cmd_mount_words(specs, count, append, &line), 0);
	assert_string_equal(line, expected);
	free(line);
	for (unsigned int i = 0; i < count; i++)
		cmd_disk_spec_free(&specs[i]);
}

static void test_I15_each_disk_with_a_file_system_is_named(void **state)
{
	static const char *const texts[MAX] = { "template=ext4:2M", "path=a",
						"template=xfs:1G,ro,serial=data" };

	(void)state;
	assert_words(texts, MAX, "quiet",
		     "VBLK_DISK0_FS=ext4 VBLK_DISK0_MOUNT=/mnt/disk0 VBLK_DISK2_FS=xfs "
		     "VBLK_DISK2_MOUNT=/mnt/data VBLK_DISK2_RO=1 quiet");
	assert_words(texts, 1, NULL, "VBLK_DISK0_FS=ext4 VBLK_DISK0_MOUNT=/mnt/disk0");
	assert_words(texts, 1, "", "VBLK_DISK0_FS=ext4 VBLK_DISK0_MOUNT=/mnt/disk0");
}

static void test_I15_others_are_not(void **state)
{
	static const char *const texts[MAX] = { "path=a", "template=raw:1M",
						"template=ext4:2M,no-mount" };

	(void)state;
	assert_words(texts, MAX, NULL, "");
	assert_words(texts, MAX, "a b ", "a b ");
	assert_words(texts, 0, "quiet", "quiet");
}

/* A serial may hold anything; a command line is cut at spaces and quotes. */
static void test_I15_only_plain_serials_are_part_of_a_path(void **state)
{
	static const char *const odd[] = { "template=ext4:2M,serial=a b",
					   "template=ext4:2M,serial=..",
					   "template=ext4:2M,serial=a/b",
					   "template=ext4:2M,serial=\"" };

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_words(&odd[i], 1, NULL, "VBLK_DISK0_FS=ext4 VBLK_DISK0_MOUNT=/mnt/disk0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_I15_each_disk_with_a_file_system_is_named),
		cmocka_unit_test(test_I15_others_are_not),
		cmocka_unit_test(test_I15_only_plain_serials_are_part_of_a_path),
	};

	return cmocka_run_group_tests_name("cmd_mount_words", tests, NULL, NULL);
}
