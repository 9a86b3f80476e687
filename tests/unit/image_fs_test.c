/* SPDX-License-Identifier: MIT */
/* File systems: their rows, what they are told, and how they are known. */
#include "image/fs.h"

#include "base/checked.h"
#include "base/le.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *refusal(const char *name, uint64_t bytes)
{
	static struct vblk_image_failure failure;

	assert_int_equal(vblk_image_fs_check_size(vblk_image_fs_find(name), bytes, &failure),
			 -EINVAL);
	return failure.text;
}

static void names_are_found_exactly(void **state)
{
	(void)state;
	assert_string_equal(vblk_image_fs_find("ext4")->formatter, "mkfs.ext4");
	assert_string_equal(vblk_image_fs_find("xfs")->package, "xfsprogs");
	assert_string_equal(vblk_image_fs_find("btrfs")->package, "btrfs-progs");
	assert_null(vblk_image_fs_find("raw")->formatter);
	assert_null(vblk_image_fs_find("ext"));
	assert_null(vblk_image_fs_find("ext44"));
	assert_null(vblk_image_fs_find(""));
}

static void test_I1_sizes_are_whole_sectors_and_large_enough(void **state)
{
	struct vblk_image_failure failure;

	(void)state;
	assert_string_equal(refusal("raw", 768), "768 bytes are no whole number of sectors: a "
						 "multiple of 512 is wanted");
	assert_string_equal(refusal("raw", 0), "0 bytes are too few for raw: at least 512 is "
					       "needed");
	assert_string_equal(refusal("btrfs", (109 << 20) - 512),
			    "114294272 bytes are too few for btrfs: at least 109M is needed");
	assert_string_equal(refusal("xfs", 299 << 20),
			    "313524224 bytes are too few for xfs: at least 300M is needed");
	assert_string_equal(refusal("ext4", UINT64_C(1) << 63),
			    "9223372036854775808 bytes are too many: at most 2^63-512 are "
			    "possible");
	assert_int_equal(vblk_image_fs_check_size(vblk_image_fs_find("btrfs"), 109 << 20, &failure),
			 0);
	assert_int_equal(vblk_image_fs_check_size(vblk_image_fs_find("raw"), 512, &failure), 0);
	assert_int_equal(vblk_image_fs_check_size(vblk_image_fs_find("raw"),
						  (UINT64_C(1) << 63) - 512, &failure),
			 0);
}

static void sizes_are_written_as_people_do(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} table[] = {
		{ 0, "0" },
		{ 512, "512" },
		{ 1000, "1000" },
		{ 1024, "1k" },
		{ 1536, "1536" },
		{ 256 << 20, "256M" },
		{ UINT64_C(1) << 30, "1G" },
		{ UINT64_C(1536) << 20, "1536M" },
		{ UINT64_C(3) << 40, "3T" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		char text[VBLK_IMAGE_SIZE_TEXT];

		vblk_image_size_text(table[i].bytes, text);
		assert_string_equal(text, table[i].text);
	}
}

static void assert_command(const char *name, const char *const *expected)
{
	struct vblk_image_words words;
	size_t i;

	vblk_image_fs_command(vblk_image_fs_find(name), "/sbin/mkfs", "a b", "1-2", &words);
	for (i = 0; expected[i]; i++) {
		assert_non_null(words.argv[i]);
		assert_string_equal(words.argv[i], expected[i]);
	}
	assert_null(words.argv[i]);
}

static void formatters_are_told_an_identifier_where_they_take_one(void **state)
{
	static const char *const ext4[] = {
		"/sbin/mkfs",
		"-q",
		"-F",
		"-U",
		"1-2",
		"-E",
		"nodiscard,lazy_itable_init=0,lazy_journal_init=0,hash_seed=1-2",
		"a b",
		NULL,
	};
	static const char *const xfs[] = {
		"/sbin/mkfs", "-q", "-K", "-m", "uuid=1-2", "a b", NULL
	};
	static const char *const btrfs[] = { "/sbin/mkfs", "-q", "-K", "a b", NULL };

	(void)state;
	assert_command("ext4", ext4);
	assert_command("xfs", xfs);
	assert_command("btrfs", btrfs);
}

static void file_systems_are_known_by_their_magic(void **state)
{
	static const struct {
		uint32_t compat, incompat, ro_compat;
		const char *name;
	} exts[] = {
		{ 0, 0, 0, "ext2" },	  { 0x38, 0x2, 0x3, "ext2" }, { 0x4, 0x16, 0x7, "ext3" },
		{ 0x4, 0x40, 0, "ext4" }, { 0x3c, 0x2, 0x8, "ext4" }, { 0, 0x200, 0, "ext4" },
	};
	uint8_t *head = calloc(1, VBLK_IMAGE_HEAD_SIZE);

	(void)state;
	assert_non_null(head);
	assert_null(vblk_image_probe(head, VBLK_IMAGE_HEAD_SIZE));
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(exts); i++) {
		vblk_le16_put(head + 1080, 0xef53);
		vblk_le32_put(head + 1024 + 92, exts[i].compat);
		vblk_le32_put(head + 1024 + 96, exts[i].incompat);
		vblk_le32_put(head + 1024 + 100, exts[i].ro_compat);
		assert_string_equal(vblk_image_probe(head, VBLK_IMAGE_HEAD_SIZE), exts[i].name);
	}
	/* An impossible block size. */
	vblk_le32_put(head + 1024 + 24, 7);
	assert_null(vblk_image_probe(head, VBLK_IMAGE_HEAD_SIZE));
	memset(head, 0, VBLK_IMAGE_HEAD_SIZE);
	memcpy(head + 0x10040, "_BHRfS_M", 8);
	assert_string_equal(vblk_image_probe(head, VBLK_IMAGE_HEAD_SIZE), "btrfs");
	memcpy(head, "XFSB", 4);
	assert_string_equal(vblk_image_probe(head, VBLK_IMAGE_HEAD_SIZE), "xfs");
	free(head);
}

static void short_images_are_looked_at_no_further(void **state)
{
	uint8_t *head = malloc(4);

	(void)state;
	assert_non_null(head);
	memcpy(head, "XFSB", 4);
	assert_string_equal(vblk_image_probe(head, 4), "xfs");
	assert_null(vblk_image_probe(head, 3));
	assert_null(vblk_image_probe(head, 0));
	free(head);
	/* Each of these ends one byte before what is looked for does. */
	for (size_t length = 1024 + 1023; length; length = length == 2047 ? 0x10047 : 0) {
		head = malloc(length);
		assert_non_null(head);
		memset(head, 0, length);
		vblk_le16_put(head + 1080, 0);
		memcpy(head + length - 7, "_BHRfS_", 7);
		assert_null(vblk_image_probe(head, length));
		free(head);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_found_exactly),
		cmocka_unit_test(test_I1_sizes_are_whole_sectors_and_large_enough),
		cmocka_unit_test(sizes_are_written_as_people_do),
		cmocka_unit_test(formatters_are_told_an_identifier_where_they_take_one),
		cmocka_unit_test(file_systems_are_known_by_their_magic),
		cmocka_unit_test(short_images_are_looked_at_no_further),
	};

	return cmocka_run_group_tests_name("image_fs", tests, NULL, NULL);
}
