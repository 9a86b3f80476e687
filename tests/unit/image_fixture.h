/* SPDX-License-Identifier: MIT */
/*
 * A folder for tests of images, with a cache in it and a formatter that makes little: the magic
 * numbers of an ext4, and a line in a log. Files beside the formatter change what it does:
 *
 *     version   what it says when it is asked (it fails then, in any case); "fake 1"
 *     fail      it fails with status 7, and says what is in here
 *     wrong     it makes nothing
 *     hang      a pipe, which it opens to write, and then it does nothing for a minute
 */
#ifndef TESTS_IMAGE_FIXTURE_H
#define TESTS_IMAGE_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char scratch[] = "/tmp/vblk-image.XXXXXX";

static const char formatter_text[] =
	"#!/bin/sh\n"
	"here=$(dirname \"$0\")\n"
	"if [ \"$1\" = -V ]; then\n"
	"	cat \"$here/version\"\n"
	"	exit 3\n"
	"fi\n"
	"for file; do :; done\n"
	"echo made >>\"$here/log\"\n"
	"if [ -e \"$here/fail\" ]; then\n"
	"	cat \"$here/fail\" >&2\n"
	"	exit 7\n"
	"fi\n"
	"[ ! -e \"$here/wrong\" ] || exit 0\n"
	"[ ! -e \"$here/hang\" ] || exec sleep 60 3>\"$here/hang\"\n"
	"printf '\\123\\357' | dd of=\"$file\" bs=1 seek=1080 conv=notrunc 2>/dev/null\n"
	"printf '\\100' | dd of=\"$file\" bs=1 seek=1120 conv=notrunc 2>/dev/null\n";

/* The path of something in the folder; the result is good until the eighth call after. */
__attribute__((unused)) static const char *in_scratch(const char *name)
{
	static char paths[8][256];
	static unsigned int next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", scratch, name);
	return path;
}

__attribute__((unused)) static void put_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(in_scratch(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
}

__attribute__((unused)) static bool is_there(const char *name)
{
	struct stat st;

	return lstat(in_scratch(name), &st) == 0;
}

/* How often the formatter has made something. */
__attribute__((unused)) static unsigned int times_made(void)
{
	struct stat st;

	return stat(in_scratch("bin/log"), &st) == 0 ? (unsigned int)(st.st_size / 5) : 0;
}

/* How many names there are in the cache, less those that begin with a dot. */
__attribute__((unused)) static unsigned int names(void)
{
	DIR *folder = opendir(in_scratch("templates"));
	const struct dirent *entry;
	unsigned int count = 0;

	while (folder && (entry = readdir(folder)))
		count += entry->d_name[0] != '.';
	if (folder)
		closedir(folder);
	return count;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* For each test: an empty folder, and variables that lead to it. */
static int scratch_setup(void **state)
{
	(void)state;
	strcpy(scratch + strlen(scratch) - 6, "XXXXXX");
	if (!mkdtemp(scratch) || mkdir(in_scratch("bin"), 0755))
		return -1;
	put_file("bin/mkfs.ext4", formatter_text, 0755);
	put_file("bin/version", "fake 1\n", 0644);
	return setenv("PATH", in_scratch("bin"), 1) || setenv("VBLK_CACHE_DIR", scratch, 1) ||
	       setenv("TMPDIR", scratch, 1);
}

static int scratch_teardown(void **state)
{
	(void)state;
	return nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define scratch_test(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

#endif
