/* SPDX-License-Identifier: MIT */
/*
 * Files on file systems that cannot make any without a name: the linker puts us before open(2),
 * which refuses O_TMPFILE here. What is promised of files stays the same.
 */
#include "image/new_file.h"

#include "image_fixture.h"
#include <dirent.h>

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);

static unsigned int refused;
static char calls[64]; /* in their order */
static int fsync_error;

int __wrap_fsync(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	strcat(calls, S_ISDIR(st.st_mode) ? "fsync folder;" : "fsync file;");
	if (!fsync_error)
		return __real_fsync(fd);
	errno = fsync_error;
	return -1;
}

int __wrap_rename(const char *from, const char *to)
{
	strcat(calls, "rename;");
	return __real_rename(from, to);
}

int __wrap_open64(const char *path, int flags, ...)
{
	mode_t mode;
	va_list args;

	va_start(args, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
	va_end(args);
	if ((flags & O_TMPFILE) != O_TMPFILE)
		return __real_open64(path, flags, mode);
	refused++;
	errno = EOPNOTSUPP;
	return -1;
}

static struct vblk_image_failure failure;

static int setup(void **state)
{
	refused = 0;
	calls[0] = '\0';
	fsync_error = 0;
	return scratch_setup(state) || mkdir(in_scratch("dir"), 0755);
}

/* The names in the folder are these, as many as are not NULL. */
static void assert_names(const char *one, const char *other)
{
	DIR *folder = opendir(in_scratch("dir"));
	const struct dirent *entry;
	unsigned int count = 0;

	assert_non_null(folder);
	while ((entry = readdir(folder)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		count++;
		assert_true((one && strcmp(entry->d_name, one) == 0) ||
			    (other && strcmp(entry->d_name, other) == 0));
	}
	closedir(folder);
	assert_int_equal(count, (one != NULL) + (other != NULL));
}

static void begin(const char *name, enum vblk_image_existing existing,
		  struct vblk_image_new_file *file)
{
	assert_int_equal(vblk_image_new_file_open(in_scratch(name), existing, file, &failure), 0);
	assert_int_equal(refused, 1);
	assert_int_equal(ftruncate(file->fd, 512), 0);
}

static void test_I14_a_file_has_another_name_until_it_is_whole(void **state)
{
	struct vblk_image_new_file file;

	(void)state;
	begin("dir/new", VBLK_IMAGE_KEEP, &file);
	assert_false(is_there("dir/new"));
	assert_int_equal(vblk_image_new_file_commit(&file, &failure), 0);
	assert_names("new", NULL);
}

static void test_I14_an_abandoned_file_is_removed(void **state)
{
	struct vblk_image_new_file file;

	(void)state;
	begin("dir/new", VBLK_IMAGE_KEEP, &file);
	vblk_image_new_file_abandon(&file);
	assert_names(NULL, NULL);
}

static void test_I14_a_file_that_came_meanwhile_is_kept(void **state)
{
	struct vblk_image_new_file file;
	struct stat st;

	(void)state;
	begin("dir/new", VBLK_IMAGE_KEEP, &file);
	put_file("dir/new", "other", 0600);
	assert_int_equal(vblk_image_new_file_commit(&file, &failure), -EINVAL);
	assert_names("new", NULL);
	assert_int_equal(stat(in_scratch("dir/new"), &st), 0);
	assert_int_equal(st.st_size, 5);
}

static void test_I14_a_file_is_replaced_in_one_step(void **state)
{
	struct vblk_image_new_file file;
	struct stat st;

	(void)state;
	put_file("dir/old", "old", 0600);
	begin("dir/old", VBLK_IMAGE_REPLACE, &file);
	assert_int_equal(stat(in_scratch("dir/old"), &st), 0);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(vblk_image_new_file_commit(&file, &failure), 0);
	assert_names("old", NULL);
	assert_int_equal(stat(in_scratch("dir/old"), &st), 0);
	assert_int_equal(st.st_size, 512);
}

/* Or a power cut could leave neither the old nor the new. */
static void test_I14_what_replaces_is_on_the_disk_before(void **state)
{
	struct vblk_image_new_file file;

	(void)state;
	put_file("dir/old", "old", 0600);
	begin("dir/old", VBLK_IMAGE_REPLACE, &file);
	assert_int_equal(vblk_image_new_file_commit(&file, &failure), 0);
	assert_string_equal(calls, "fsync file;rename;fsync folder;");
}

static void test_I14_what_does_not_get_to_the_disk_does_not_replace(void **state)
{
	struct vblk_image_new_file file;
	struct stat st;

	(void)state;
	put_file("dir/old", "old", 0600);
	begin("dir/old", VBLK_IMAGE_REPLACE, &file);
	fsync_error = EIO;
	assert_int_equal(vblk_image_new_file_commit(&file, &failure), -EIO);
	assert_string_equal(calls, "fsync file;");
	assert_names("old", NULL);
	assert_int_equal(stat(in_scratch("dir/old"), &st), 0);
	assert_int_equal(st.st_size, 3);
}

static void test_I11_a_file_for_oneself_loses_its_name_at_once(void **state)
{
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(vblk_image_open_nameless(in_scratch("dir"), "clone.", &fd), 0);
	assert_int_equal(refused, 1);
	assert_names(NULL, NULL);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	close(fd);
	assert_int_equal(vblk_image_open_nameless(in_scratch("none"), "clone.", &fd), -ENOENT);
}

#define named_test(test) cmocka_unit_test_setup_teardown(test, setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		named_test(test_I14_a_file_has_another_name_until_it_is_whole),
		named_test(test_I14_an_abandoned_file_is_removed),
		named_test(test_I14_a_file_that_came_meanwhile_is_kept),
		named_test(test_I14_a_file_is_replaced_in_one_step),
		named_test(test_I14_what_replaces_is_on_the_disk_before),
		named_test(test_I14_what_does_not_get_to_the_disk_does_not_replace),
		named_test(test_I11_a_file_for_oneself_loses_its_name_at_once),
	};

	return cmocka_run_group_tests_name("image_named", tests, NULL, NULL);
}
