/* SPDX-License-Identifier: MIT */
/* Where dumps are made, with what others have left there, and what they are still at. */
#include "vmm/dump_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	char base[64];
	char path[80]; /* of the place, which is missing */
};

static int set_up(void **state)
{
	static struct fixture fixture;

	snprintf(fixture.base, sizeof(fixture.base), "/tmp/vblk-dump-folder.XXXXXX");
	if (!mkdtemp(fixture.base))
		return -1;
	snprintf(fixture.path, sizeof(fixture.path), "%s/dumps", fixture.base);
	*state = &fixture;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	return nftw(fixture->base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void put_file(int folder, const char *name)
{
	int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static void open_folder(const struct fixture *fixture, struct vmm_dump_folder *folder)
{
	struct vmm_error error;

	assert_int_equal(vmm_dump_folder_open(folder, fixture->path, &error), 0);
}

static bool exists(const struct fixture *fixture, const char *name)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", fixture->path, name);
	return lstat(path, &st) == 0;
}

/* What a process has left that was killed: a folder with a file and no lock. */
static void leave(const struct fixture *fixture, const char *name)
{
	int place, inside;

	assert_true(mkdir(fixture->path, 0700) == 0 || errno == EEXIST);
	place = open(fixture->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(place >= 0);
	assert_int_equal(mkdirat(place, name, 0700), 0);
	inside = openat(place, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(inside >= 0);
	put_file(inside, VMM_DUMP_CORE);
	close(inside);
	close(place);
}

static void the_first_free_number_is_taken(void **state)
{
	struct fixture *fixture = *state;
	struct vmm_dump_folder folder;
	struct vmm_error error;

	leave(fixture, "dump-1");
	for (int number = 2; number <= 3; number++) {
		char name[16];

		open_folder(fixture, &folder);
		put_file(folder.inside, VMM_DUMP_JSON);
		assert_int_equal(vmm_dump_folder_publish(&folder, &error), 0);
		vmm_dump_folder_close(&folder);
		snprintf(name, sizeof(name), "dump-%d", number);
		assert_string_equal(folder.name, name);
		assert_true(exists(fixture, name));
	}
}

static void nothing_is_left_of_one_that_is_given_up(void **state)
{
	struct fixture *fixture = *state;
	struct vmm_dump_folder folder;

	open_folder(fixture, &folder);
	put_file(folder.inside, VMM_DUMP_JSON);
	put_file(folder.inside, VMM_DUMP_CORE);
	vmm_dump_folder_close(&folder);
	assert_false(exists(fixture, folder.name));
	assert_int_equal(rmdir(fixture->path), 0);
}

static void what_the_killed_have_left_is_removed(void **state)
{
	struct fixture *fixture = *state;
	struct vmm_dump_folder folder;

	leave(fixture, ".dump-0123456789abcdef.tmp");
	leave(fixture, ".dump-.other");
	leave(fixture, "dump-7.tmp");
	open_folder(fixture, &folder);
	assert_false(exists(fixture, ".dump-0123456789abcdef.tmp"));
	assert_true(exists(fixture, ".dump-.other"));
	assert_true(exists(fixture, "dump-7.tmp"));
	vmm_dump_folder_close(&folder);
}

/* Also of one with the same process number: two at a time do not meet. */
static void what_is_being_made_stays(void **state)
{
	struct fixture *fixture = *state;
	struct vmm_dump_folder first, second;
	struct vmm_error error;

	open_folder(fixture, &first);
	put_file(first.inside, VMM_DUMP_CORE);
	open_folder(fixture, &second);
	assert_string_not_equal(first.name, second.name);
	assert_int_equal(faccessat(first.inside, VMM_DUMP_CORE, F_OK, 0), 0);
	assert_int_equal(faccessat(second.inside, VMM_DUMP_CORE, F_OK, 0), -1);
	put_file(second.inside, VMM_DUMP_CORE);
	assert_int_equal(vmm_dump_folder_publish(&first, &error), 0);
	assert_int_equal(vmm_dump_folder_publish(&second, &error), 0);
	vmm_dump_folder_close(&first);
	vmm_dump_folder_close(&second);
	assert_true(exists(fixture, "dump-1/" VMM_DUMP_CORE));
	assert_true(exists(fixture, "dump-2/" VMM_DUMP_CORE));
}

/* Names are free to all in a folder like /tmp: no link is followed, nothing of others removed. */
static void what_another_user_has_is_his(void **state)
{
	struct fixture *fixture = *state;
	struct vmm_dump_folder folder;
	char link[256], target[256];

	leave(fixture, "mine");
	leave(fixture, ".dump-another.tmp");
	snprintf(link, sizeof(link), "%s/.dump-link.tmp", fixture->path);
	snprintf(target, sizeof(target), "%s/mine", fixture->path);
	assert_int_equal(symlink(target, link), 0);
	snprintf(link, sizeof(link), "%s/.dump-another.tmp", fixture->path);
	if (chown(link, 12345, 12345)) { /* only root gives away */
		assert_int_equal(errno, EPERM);
		skip();
	}
	open_folder(fixture, &folder);
	assert_true(exists(fixture, ".dump-another.tmp/" VMM_DUMP_CORE));
	assert_true(exists(fixture, "mine/" VMM_DUMP_CORE));
	vmm_dump_folder_close(&folder);
}

static void a_place_that_is_a_file_is_an_error(void **state)
{
	struct fixture *fixture = *state;
	struct vmm_dump_folder folder;
	struct vmm_error error;
	int fd = open(fixture->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(vmm_dump_folder_open(&folder, fixture->path, &error), -ENOTDIR);
	vmm_dump_folder_close(&folder);
	assert_non_null(strstr(error.text, "cannot open the folder"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_first_free_number_is_taken),
		TEST(nothing_is_left_of_one_that_is_given_up),
		TEST(what_the_killed_have_left_is_removed),
		TEST(what_is_being_made_stays),
		TEST(what_another_user_has_is_his),
		TEST(a_place_that_is_a_file_is_an_error),
	};

	return cmocka_run_group_tests_name("vmm_dump_folder", tests, NULL, NULL);
}
