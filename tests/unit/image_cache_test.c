/* SPDX-License-Identifier: MIT */
/* The folder with the templates: names, locks, publishing, sweeping, stamps. */
#include "image/cache.h"

#include "image/stamp.h"
#include "image_fixture.h"

#define MIB (1 << 20)

static struct vblk_image_cache cache;

static int setup(void **state)
{
	struct vblk_image_failure failure;

	return scratch_setup(state) || vblk_image_cache_open(&cache, &failure);
}

static int teardown(void **state)
{
	vblk_image_cache_close(&cache);
	return scratch_teardown(state);
}

static void assert_folder(const char *cache_dir, const char *xdg, const char *home,
			  const char *expected)
{
	char *path = NULL;

	assert_int_equal(vblk_image_cache_folder(cache_dir, xdg, home, &path),
			 expected ? 0 : -ENOENT);
	if (expected)
		assert_string_equal(path, expected);
	free(path);
}

static void test_I2_the_folder_is_found_by_three_variables(void **state)
{
	(void)state;
	assert_folder("/c", "/x", "/h", "/c/templates");
	assert_folder("c", NULL, NULL, "c/templates");
	assert_folder("", "/x", "/h", "/x/vblk/templates");
	assert_folder(NULL, "x", "/h", "/h/.cache/vblk/templates");
	assert_folder(NULL, NULL, "/h", "/h/.cache/vblk/templates");
	assert_folder(NULL, "", "", NULL);
	assert_folder(NULL, NULL, "h", NULL);
}

static void test_I2_the_folder_is_made_with_all_above_it(void **state)
{
	struct vblk_image_cache deep;
	struct vblk_image_failure failure;
	struct stat st;

	(void)state;
	assert_int_equal(vblk_image_cache_open_at(in_scratch("a/b/c"), &deep, &failure), 0);
	assert_int_equal(stat(in_scratch("a/b/c"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	vblk_image_cache_close(&deep);
}

static void a_folder_that_cannot_be_is_bad_input(void **state)
{
	struct vblk_image_cache none;
	struct vblk_image_failure failure;

	(void)state;
	put_file("file", "", 0644);
	assert_int_equal(vblk_image_cache_open_at(in_scratch("file/x"), &none, &failure), -EINVAL);
	assert_non_null(strstr(failure.text, "file/x': Not a directory"));
}

static void test_I3_the_key_has_all_that_makes_a_template(void **state)
{
	char key[VBLK_IMAGE_KEY_SIZE];

	(void)state;
	vblk_image_cache_key(vblk_image_fs_find("btrfs"), 256 << 20, 0xdeadbeef, key);
	assert_string_equal(key, "btrfs-268435456-00000000deadbeef");
	/* Sizes that are no whole MiB have keys of their own. */
	vblk_image_cache_key(vblk_image_fs_find("ext4"), (256 << 20) + 512, UINT64_MAX, key);
	assert_string_equal(key, "ext4-268435968-ffffffffffffffff");
	vblk_image_cache_key(vblk_image_fs_find("btrfs"), INT64_MAX, UINT64_MAX, key);
	assert_string_equal(key, "btrfs-9223372036854775807-ffffffffffffffff");
}

/* Stages a file that passes for an ext4, with `text` in it. */
static char *stage(const char *key, const char *text, int *fd)
{
	static const uint8_t magic[] = { 0x53, 0xef };
	static const uint8_t extents[] = { 0x40 };
	char *name, *file;

	assert_int_equal(vblk_image_cache_stage(&cache, key, &name, &file, fd), 0);
	free(file);
	assert_int_equal(ftruncate(*fd, MIB), 0);
	assert_int_equal(pwrite(*fd, text, strlen(text), 0), strlen(text));
	assert_int_equal(pwrite(*fd, magic, 2, 1080), 2);
	assert_int_equal(pwrite(*fd, extents, 1, 1120), 1);
	return name;
}

static void publish(const char *key, const char *text)
{
	int fd;
	char *name = stage(key, text, &fd);

	assert_int_equal(vblk_image_cache_publish(&cache, key, name, fd), 0);
	close(fd);
	free(name);
}

static void assert_found(const char *key, const char *text)
{
	char found[16] = "";
	int fd;

	assert_int_equal(vblk_image_cache_find(&cache, key, "ext4", MIB, &fd), 0);
	assert_int_equal(read(fd, found, strlen(text)), strlen(text));
	assert_string_equal(found, text);
	close(fd);
}

static void assert_missing(const char *key, const char *fs, uint64_t bytes)
{
	int fd = 0;

	assert_int_equal(vblk_image_cache_find(&cache, key, fs, bytes, &fd), -ENOENT);
	assert_int_equal(fd, -1);
}

static void test_I6_what_was_published_is_found(void **state)
{
	(void)state;
	assert_missing("k", "ext4", MIB);
	publish("k", "one");
	assert_found("k", "one");
	assert_true(is_there("templates/k/template.img"));
	assert_missing("k", "xfs", MIB);
	assert_missing("k", "ext4", MIB + 512);
	assert_missing("K", "ext4", MIB);
}

static void test_I9_nothing_is_found_before_it_is_published(void **state)
{
	int fd;
	char *name;

	(void)state;
	name = stage("k", "one", &fd);
	assert_missing("k", "ext4", MIB);
	vblk_image_cache_discard(&cache, name);
	assert_int_equal(vblk_image_cache_publish(&cache, "k", name, fd), -ENOENT);
	assert_missing("k", "ext4", MIB);
	close(fd);
	free(name);
}

static void test_I9_publishing_replaces_what_is_there(void **state)
{
	(void)state;
	publish("k", "one");
	publish("k", "two");
	assert_found("k", "two");
	assert_int_equal(vblk_image_cache_sweep(&cache), 0);
}

static void test_I9_a_template_cannot_be_written_to(void **state)
{
	struct stat st;

	(void)state;
	publish("k", "one");
	assert_int_equal(stat(in_scratch("templates/k/template.img"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
}

static void test_I7_a_template_that_was_cut_short_is_none(void **state)
{
	(void)state;
	publish("k", "one");
	assert_int_equal(truncate(in_scratch("templates/k/template.img"), MIB - 512), 0);
	assert_missing("k", "ext4", MIB);
	assert_missing("k", "ext4", MIB - 512);
}

static void test_I7_a_template_that_was_written_to_is_none(void **state)
{
	struct timespec times[2];
	struct stat st;
	int fd;

	(void)state;
	publish("k", "one");
	assert_int_equal(stat(in_scratch("templates/k/template.img"), &st), 0);
	fd = open(in_scratch("templates/k/template.img"), O_RDWR);
	if (fd < 0) { /* not root */
		assert_int_equal(chmod(in_scratch("templates/k/template.img"), 0644), 0);
		fd = open(in_scratch("templates/k/template.img"), O_RDWR);
	}
	assert_int_equal(pwrite(fd, "two", 3, 0), 3);
	/* Not even if the moment of the last change is set back. */
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
	assert_missing("k", "ext4", MIB);
}

static void test_I7_a_template_whose_moment_is_another_is_none(void **state)
{
	struct timespec times[2] = { { 0, UTIME_OMIT } };
	struct stat st;

	(void)state;
	publish("k", "one");
	assert_int_equal(stat(in_scratch("templates/k/template.img"), &st), 0);
	times[1] = st.st_mtim;
	times[1].tv_sec--;
	assert_int_equal(utimensat(AT_FDCWD, in_scratch("templates/k/template.img"), times, 0), 0);
	assert_missing("k", "ext4", MIB);
	times[1] = st.st_mtim;
	times[1].tv_nsec ^= 1;
	assert_int_equal(utimensat(AT_FDCWD, in_scratch("templates/k/template.img"), times, 0), 0);
	assert_missing("k", "ext4", MIB);
	times[1] = st.st_mtim;
	assert_int_equal(utimensat(AT_FDCWD, in_scratch("templates/k/template.img"), times, 0), 0);
	assert_found("k", "one");
}

static void test_I7_a_template_without_its_stamp_is_none(void **state)
{
	(void)state;
	publish("k", "one");
	assert_int_equal(unlink(in_scratch("templates/k/stamp")), 0);
	assert_missing("k", "ext4", MIB);
	put_file("templates/k/stamp", "", 0644);
	assert_missing("k", "ext4", MIB);
	put_file("templates/k/stamp", "vblk template 1\n", 0644);
	assert_missing("k", "ext4", MIB);
}

static void a_stamp_is_compared_as_a_whole(void **state)
{
	const struct vblk_image_stamp stamp = {
		.bytes = 4096, .seconds = 7, .nanoseconds = 5, .head = 0xab, .fs = "xfs"
	};
	static const char expected[] = "vblk template 1\nfilesystem xfs\nbytes 4096\n"
				       "changed 7.000000005\nhead 00000000000000ab\n";
	char text[VBLK_IMAGE_STAMP_TEXT];

	(void)state;
	vblk_image_stamp_format(&stamp, text);
	assert_string_equal(text, expected);
	assert_true(vblk_image_stamp_matches(&stamp, expected, strlen(expected)));
	assert_false(vblk_image_stamp_matches(&stamp, expected, strlen(expected) - 1));
	assert_false(vblk_image_stamp_matches(&stamp, expected, strlen(expected) + 1));
	text[20] ^= 1;
	assert_false(vblk_image_stamp_matches(&stamp, text, strlen(expected)));
}

static void the_hash_is_fnv_1a(void **state)
{
	(void)state;
	/* From the algorithm's own list of test values. */
	assert_true(vblk_image_hash(VBLK_IMAGE_HASH_START, "", 0) == UINT64_C(0xcbf29ce484222325));
	assert_true(vblk_image_hash(VBLK_IMAGE_HASH_START, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
	assert_true(vblk_image_hash(VBLK_IMAGE_HASH_START, "foobar", 6) ==
		    UINT64_C(0x85944171f73967e8));
}

static void test_I8_a_lock_has_one_holder_who_is_named(void **state)
{
	pid_t holder = 0;
	int first, second;

	(void)state;
	assert_int_equal(vblk_image_cache_lock(&cache, "k", &first, NULL), 0);
	assert_int_equal(vblk_image_cache_lock(&cache, "k", &second, &holder), -EWOULDBLOCK);
	assert_int_equal(holder, getpid());
	assert_int_equal(vblk_image_cache_lock(&cache, "other", &second, &holder), 0);
	close(second);
	close(first);
	assert_int_equal(vblk_image_cache_lock(&cache, "k", &first, NULL), 0);
	close(first);
	assert_true(is_there("templates/.locks/k.lock"));
}

static void test_I12_what_dead_processes_left_is_swept(void **state)
{
	int fd;
	char *name;

	(void)state;
	publish("k", "one");
	name = stage("k", "two", &fd);
	close(fd);
	free(name);
	name = stage("other", "two", &fd);
	close(fd);
	free(name);
	put_file("templates/clone.0123456789abcdef", "", 0600);
	put_file("templates/somebody-elses", "", 0600);
	assert_int_equal(vblk_image_cache_sweep(&cache), 3);
	assert_int_equal(vblk_image_cache_sweep(&cache), 0);
	assert_found("k", "one");
	assert_true(is_there("templates/somebody-elses"));
	assert_true(is_there("templates/.locks/k.lock"));
}

static void test_I12_what_a_living_process_makes_is_left_alone(void **state)
{
	int fd, lock_fd;
	char *name;

	(void)state;
	assert_int_equal(vblk_image_cache_lock(&cache, "k", &lock_fd, NULL), 0);
	name = stage("k", "one", &fd);
	assert_int_equal(vblk_image_cache_sweep(&cache), 0);
	assert_int_equal(vblk_image_cache_publish(&cache, "k", name, fd), 0);
	assert_found("k", "one");
	close(lock_fd);
	close(fd);
	free(name);
}

static void test_I13_clearing_removes_templates_and_counts_them(void **state)
{
	int fd;
	char *name;

	(void)state;
	assert_int_equal(vblk_image_cache_clear(&cache), 0);
	publish("k", "one");
	publish("l", "one");
	name = stage("m", "one", &fd);
	close(fd);
	free(name);
	assert_int_equal(vblk_image_cache_clear(&cache), 2);
	assert_missing("k", "ext4", MIB);
	assert_missing("l", "ext4", MIB);
	assert_int_equal(vblk_image_cache_sweep(&cache), 0);
	assert_true(is_there("templates/.locks/k.lock"));
}

static void test_I13_clearing_leaves_what_is_not_ours(void **state)
{
	(void)state;
	publish("k", "one");
	put_file("templates/file", "", 0600);
	assert_int_equal(mkdir(in_scratch("templates/folder"), 0700), 0);
	put_file("templates/folder/file", "", 0600);
	assert_int_equal(vblk_image_cache_clear(&cache), 1);
	assert_true(is_there("templates/file"));
	assert_true(is_there("templates/folder/file"));
}

static void test_I9_a_file_in_the_place_of_a_template_is_replaced(void **state)
{
	(void)state;
	put_file("templates/k", "", 0600);
	assert_missing("k", "ext4", MIB);
	publish("k", "one");
	assert_found("k", "one");
	assert_int_equal(names(), 1);
	assert_int_equal(vblk_image_cache_clear(&cache), 1);
	assert_int_equal(names(), 0);
}

static void test_I13_clearing_leaves_what_is_locked(void **state)
{
	int lock_fd;

	(void)state;
	publish("k", "one");
	assert_int_equal(vblk_image_cache_lock(&cache, "k", &lock_fd, NULL), 0);
	assert_int_equal(vblk_image_cache_clear(&cache), 0);
	assert_found("k", "one");
	close(lock_fd);
	assert_int_equal(vblk_image_cache_clear(&cache), 1);
}

#define cache_test(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_I2_the_folder_is_found_by_three_variables),
		cache_test(test_I2_the_folder_is_made_with_all_above_it),
		cache_test(a_folder_that_cannot_be_is_bad_input),
		cmocka_unit_test(test_I3_the_key_has_all_that_makes_a_template),
		cache_test(test_I6_what_was_published_is_found),
		cache_test(test_I9_nothing_is_found_before_it_is_published),
		cache_test(test_I9_publishing_replaces_what_is_there),
		cache_test(test_I9_a_template_cannot_be_written_to),
		cache_test(test_I7_a_template_that_was_cut_short_is_none),
		cache_test(test_I7_a_template_that_was_written_to_is_none),
		cache_test(test_I7_a_template_whose_moment_is_another_is_none),
		cache_test(test_I7_a_template_without_its_stamp_is_none),
		cmocka_unit_test(a_stamp_is_compared_as_a_whole),
		cmocka_unit_test(the_hash_is_fnv_1a),
		cache_test(test_I8_a_lock_has_one_holder_who_is_named),
		cache_test(test_I12_what_dead_processes_left_is_swept),
		cache_test(test_I12_what_a_living_process_makes_is_left_alone),
		cache_test(test_I13_clearing_removes_templates_and_counts_them),
		cache_test(test_I13_clearing_leaves_what_is_not_ours),
		cache_test(test_I9_a_file_in_the_place_of_a_template_is_replaced),
		cache_test(test_I13_clearing_leaves_what_is_locked),
	};

	return cmocka_run_group_tests_name("image_cache", tests, NULL, NULL);
}
