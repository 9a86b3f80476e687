/* SPDX-License-Identifier: MIT */
/* Copies and their holes, files that appear whole, and when progress is told. */
#include "image/copy.h"

#include "image/info.h"
#include "image/new_file.h"
#include "image_fixture.h"

#define MIB  (1 << 20)
#define SIZE (24 * MIB)

static struct vblk_image_failure failure;

static int make_file(const char *name, off_t size)
{
	int fd = open(in_scratch(name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	return fd;
}

/* A few pages of data, far from each other, the last at the very end. */
static int make_original(void)
{
	int fd = make_file("original", SIZE + 512);

	assert_int_equal(pwrite(fd, "begin", 5, 0), 5);
	assert_int_equal(pwrite(fd, "middle", 6, 9 * MIB - 3), 6);
	assert_int_equal(pwrite(fd, "end", 3, SIZE + 512 - 3), 3);
	return fd;
}

static uint64_t allocated(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void assert_same(int one, int other)
{
	static char left[MIB], right[MIB];
	struct stat st;
	off_t at = 0;

	assert_int_equal(fstat(other, &st), 0);
	assert_int_equal(st.st_size, SIZE + 512);
	for (ssize_t n = 1; n > 0; at += n) {
		n = pread(one, left, sizeof(left), at);
		assert_int_equal(pread(other, right, sizeof(right), at), n);
		assert_memory_equal(left, right, (size_t)n);
	}
	assert_int_equal(at, SIZE + 512);
}

static void test_I10_a_copy_is_the_same_with_its_holes(void **state)
{
	int from = make_original(), to = make_file("copy", 0);
	enum vblk_image_copied how;

	(void)state;
	assert_int_equal(vblk_image_copy(from, to, NULL, &how, &failure), 0);
	assert_int_not_equal(how, VBLK_IMAGE_COPIED_ACROSS);
	assert_same(from, to);
	assert_true(allocated(to) < MIB);
	close(from);
	close(to);
}

static void test_I10_bytes_are_copied_where_blocks_are_not(void **state)
{
	struct vblk_image_progress progress;
	int from = make_original(), to = make_file("copy", SIZE + 512);

	(void)state;
	vblk_image_progress_begin(&progress, NULL);
	assert_int_equal(vblk_image_copy_bytes(from, to, SIZE + 512, &progress), 0);
	assert_same(from, to);
	assert_true(allocated(to) < MIB);
	close(from);
	close(to);
}

static const char zeros[4 * MIB];

static void test_I10_copies_go_from_one_file_system_to_another(void **state)
{
	enum vblk_image_copied how;
	int from = make_original();
	int to = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct stat one, other;

	(void)state;
	if (to < 0 || fstat(from, &one) || fstat(to, &other) || one.st_dev == other.st_dev) {
		print_message("/dev/shm is not another file system\n");
		close(from);
		skip();
	}
	/* Here they have to be looked at, and do not become data. */
	assert_int_equal(pwrite(from, zeros, sizeof(zeros), MIB), sizeof(zeros));
	assert_int_equal(vblk_image_copy(from, to, NULL, &how, &failure), 0);
	assert_int_equal(how, VBLK_IMAGE_COPIED_ACROSS);
	assert_same(from, to);
	assert_true(allocated(to) < MIB);
	close(from);
	close(to);
}

static void zeros_that_were_written_become_holes(void **state)
{
	int fd = make_original();

	(void)state;
	assert_int_equal(pwrite(fd, zeros, sizeof(zeros), MIB), sizeof(zeros));
	assert_int_equal(fallocate(fd, 0, 20 * MIB, MIB), 0);
	assert_int_equal(fsync(fd), 0);
	assert_true(allocated(fd) >= 5 * MIB);
	if (vblk_image_dig_holes(fd) == -EOPNOTSUPP) {
		close(fd);
		skip();
	}
	assert_int_equal(fsync(fd), 0);
	assert_true(allocated(fd) < MIB);
	assert_int_equal(unlink(in_scratch("original")), 0);
	assert_same(make_original(), fd);
	close(fd);
}

static void an_original_that_became_shorter_is_an_error(void **state)
{
	struct vblk_image_progress progress;
	/* It does not tell of its holes, and ends long before SIZE. */
	int from = open("/proc/self/status", O_RDONLY | O_CLOEXEC), to = make_file("copy", SIZE);

	(void)state;
	assert_true(from >= 0);
	vblk_image_progress_begin(&progress, NULL);
	assert_int_equal(vblk_image_copy_bytes(from, to, SIZE, &progress), -ENODATA);
	close(from);
	close(to);
}

struct teller {
	uint64_t time;
	unsigned int lines;
	unsigned int ends;
	char last[64];
};

static uint64_t tell_time(void *context)
{
	return ((const struct teller *)context)->time;
}

static void note(void *context, const char *line)
{
	struct teller *teller = context;

	teller->lines += line != NULL;
	teller->ends += line == NULL;
	if (line)
		snprintf(teller->last, sizeof(teller->last), "%s", line);
}

static void progress_is_told_late_and_seldom(void **state)
{
	struct teller teller = { .time = 1000 };
	const struct vblk_image_events events = { note, &teller, { tell_time, &teller } };
	struct vblk_image_progress progress;

	(void)state;
	vblk_image_progress_begin(&progress, &events);
	teller.time += 299 * VBLK_NSEC_PER_MSEC;
	vblk_image_progress_tell(&progress, "early");
	vblk_image_progress_end(&progress);
	assert_int_equal(teller.lines, 0);
	assert_int_equal(teller.ends, 0);

	vblk_image_progress_begin(&progress, &events);
	teller.time += 300 * VBLK_NSEC_PER_MSEC;
	vblk_image_progress_tell(&progress, "%d", 1);
	teller.time += 99 * VBLK_NSEC_PER_MSEC;
	vblk_image_progress_tell(&progress, "%d", 2);
	teller.time += 1 * VBLK_NSEC_PER_MSEC;
	vblk_image_progress_tell(&progress, "%d", 3);
	assert_int_equal(teller.lines, 2);
	assert_string_equal(teller.last, "3");
	assert_int_equal(vblk_image_progress_ms(&progress), 400);
	vblk_image_progress_end(&progress);
	vblk_image_progress_end(&progress);
	assert_int_equal(teller.ends, 1);
}

static void test_I14_a_new_file_appears_at_the_end(void **state)
{
	struct vblk_image_new_file file;

	(void)state;
	assert_int_equal(
		vblk_image_new_file_open(in_scratch("new"), VBLK_IMAGE_KEEP, &file, &failure), 0);
	assert_int_equal(ftruncate(file.fd, MIB), 0);
	assert_false(is_there("new"));
	assert_int_equal(vblk_image_new_file_commit(&file, &failure), 0);
	assert_true(is_there("new"));
}

static void test_I14_an_abandoned_file_is_gone(void **state)
{
	struct vblk_image_new_file file;

	(void)state;
	assert_int_equal(
		vblk_image_new_file_open(in_scratch("new"), VBLK_IMAGE_REPLACE, &file, &failure),
		0);
	vblk_image_new_file_abandon(&file);
	assert_false(is_there("new"));
}

static void test_I14_a_file_that_exists_is_kept(void **state)
{
	struct vblk_image_new_file file;

	(void)state;
	put_file("old", "old", 0600);
	assert_int_equal(
		vblk_image_new_file_open(in_scratch("old"), VBLK_IMAGE_KEEP, &file, &failure),
		-EINVAL);
	assert_non_null(strstr(failure.text, "exists: remove it first, or give --force"));
	/* Also one that has come meanwhile. */
	assert_int_equal(
		vblk_image_new_file_open(in_scratch("new"), VBLK_IMAGE_KEEP, &file, &failure), 0);
	put_file("new", "other", 0600);
	assert_int_equal(vblk_image_new_file_commit(&file, &failure), -EINVAL);
	assert_non_null(strstr(failure.text, "new': File exists"));
}

static void test_I14_replacing_is_one_step_and_follows_links(void **state)
{
	struct vblk_image_new_file file;
	struct stat st;

	(void)state;
	put_file("old", "old", 0600);
	assert_int_equal(symlink("old", in_scratch("link")), 0);
	assert_int_equal(
		vblk_image_new_file_open(in_scratch("link"), VBLK_IMAGE_REPLACE, &file, &failure),
		0);
	assert_int_equal(ftruncate(file.fd, 1024), 0);
	assert_int_equal(stat(in_scratch("old"), &st), 0);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(vblk_image_new_file_commit(&file, &failure), 0);
	assert_int_equal(stat(in_scratch("old"), &st), 0);
	assert_int_equal(st.st_size, 1024);
	assert_int_equal(lstat(in_scratch("link"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
}

static void test_I14_what_is_no_file_or_in_use_is_not_replaced(void **state)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct vblk_image_new_file file;
	int fd = make_file("used", 512);

	(void)state;
	assert_int_equal(
		vblk_image_new_file_open(in_scratch("bin"), VBLK_IMAGE_REPLACE, &file, &failure),
		-EINVAL);
	assert_non_null(strstr(failure.text, "is not a regular file"));
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_int_equal(
		vblk_image_new_file_open(in_scratch("used"), VBLK_IMAGE_REPLACE, &file, &failure),
		-EINVAL);
	assert_non_null(strstr(failure.text, "is in use: another vblk has it open"));
	close(fd);
	assert_int_equal(
		vblk_image_new_file_open(in_scratch("no/new"), VBLK_IMAGE_KEEP, &file, &failure),
		-EINVAL);
	assert_non_null(strstr(failure.text, "no/new': No such file or directory"));
}

static void an_image_is_described(void **state)
{
	struct vblk_image_info info;
	int fd = make_original(), null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(vblk_image_info_take(fd, &info), 0);
	assert_int_equal(info.bytes, SIZE + 512);
	assert_true(info.allocated == allocated(fd));
	assert_null(info.fs);
	assert_int_equal(pwrite(fd, "XFSB", 4, 0), 4);
	assert_int_equal(vblk_image_info_take(fd, &info), 0);
	assert_string_equal(info.fs, "xfs");
	assert_int_equal(vblk_image_info_take(null, &info), -ENODEV);
	close(fd);
	close(null);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(test_I10_a_copy_is_the_same_with_its_holes),
		scratch_test(test_I10_bytes_are_copied_where_blocks_are_not),
		scratch_test(test_I10_copies_go_from_one_file_system_to_another),
		scratch_test(zeros_that_were_written_become_holes),
		scratch_test(an_original_that_became_shorter_is_an_error),
		cmocka_unit_test(progress_is_told_late_and_seldom),
		scratch_test(test_I14_a_new_file_appears_at_the_end),
		scratch_test(test_I14_an_abandoned_file_is_gone),
		scratch_test(test_I14_a_file_that_exists_is_kept),
		scratch_test(test_I14_replacing_is_one_step_and_follows_links),
		scratch_test(test_I14_what_is_no_file_or_in_use_is_not_replaced),
		scratch_test(an_image_is_described),
	};

	return cmocka_run_group_tests_name("image_copy", tests, NULL, NULL);
}
