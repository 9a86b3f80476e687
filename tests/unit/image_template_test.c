/* SPDX-License-Identifier: MIT */
/* Templates from the asking to the copy, with a formatter of our own. */
#include "image/template.h"

#include "image/formatter.h"
#include "image_fixture.h"
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#define SIZE	  (2 << 20)
#define PROCESSES 24

static struct vblk_image_failure failure;

static const struct vblk_image_fs *ext4(void)
{
	return vblk_image_fs_find("ext4");
}

static void open_one(struct vblk_image_template *template)
{
	assert_int_equal(vblk_image_template_open(ext4(), SIZE, NULL, template, &failure), 0);
}

static void test_I6_a_template_is_made_once(void **state)
{
	struct vblk_image_template first, second;
	struct stat one, other;

	(void)state;
	open_one(&first);
	open_one(&second);
	assert_int_equal(times_made(), 1);
	assert_string_equal(first.path, second.path);
	assert_int_equal(fstat(first.fd, &one), 0);
	assert_int_equal(stat(second.path, &other), 0);
	assert_int_equal(one.st_ino, other.st_ino);
	assert_int_equal(one.st_size, SIZE);
	vblk_image_template_close(&first);
	vblk_image_template_close(&second);
}

/* Rules: I-3, I-5. */
static void another_version_makes_another_template(void **state)
{
	struct vblk_image_template first, second;

	(void)state;
	open_one(&first);
	put_file("bin/version", "fake 2\n", 0644);
	open_one(&second);
	assert_int_equal(times_made(), 2);
	assert_string_not_equal(first.path, second.path);
	assert_int_equal(names(), 2);
	vblk_image_template_close(&first);
	vblk_image_template_close(&second);
}

static void test_I5_a_formatter_that_says_no_version_is_an_error(void **state)
{
	struct vblk_image_template template;

	(void)state;
	put_file("bin/version", "", 0644);
	assert_int_equal(vblk_image_template_open(ext4(), SIZE, NULL, &template, &failure), -EIO);
	assert_non_null(strstr(failure.text, "mkfs.ext4 -V' does not say its version"));
}

static void test_I4_a_missing_formatter_is_named_with_its_package(void **state)
{
	const struct vblk_image_fs nothing = { .name = "ext4",
					       .formatter = "mkfs.nothing",
					       .package = "nothing-progs" };
	char *found;

	(void)state;
	assert_int_equal(vblk_image_formatter_find(&nothing, getenv("PATH"), &found, &failure),
			 -EINVAL);
	assert_string_equal(failure.text,
			    "mkfs.nothing is missing, neither in PATH nor in /usr/local/sbin:"
			    "/usr/sbin:/sbin: Debian has it in the package nothing-progs");
}

static void test_I4_only_what_can_be_run_is_a_formatter(void **state)
{
	char path[600];
	char *found;

	(void)state;
	assert_int_equal(mkdir(in_scratch("1"), 0755), 0);
	assert_int_equal(mkdir(in_scratch("1/mkfs.ext4"), 0755), 0);
	assert_int_equal(mkdir(in_scratch("2"), 0755), 0);
	put_file("2/mkfs.ext4", "", 0644);
	snprintf(path, sizeof(path), "::%s:%s:/nowhere:%s:", in_scratch("1"), in_scratch("2"),
		 in_scratch("bin"));
	assert_int_equal(vblk_image_formatter_find(ext4(), path, &found, &failure), 0);
	assert_string_equal(found, in_scratch("bin/mkfs.ext4"));
	free(found);
}

static void test_I7_a_template_that_is_not_whole_is_made_anew(void **state)
{
	struct vblk_image_template template;

	(void)state;
	open_one(&template);
	assert_int_equal(truncate(template.path, 512), 0);
	vblk_image_template_close(&template);
	open_one(&template);
	assert_int_equal(times_made(), 2);
	assert_int_equal(names(), 1);
	vblk_image_template_close(&template);
}

static void test_I9_a_formatter_that_fails_leaves_nothing(void **state)
{
	struct vblk_image_template template;

	(void)state;
	put_file("bin/fail", "no more space\non this device\n", 0644);
	assert_int_equal(vblk_image_template_open(ext4(), SIZE, NULL, &template, &failure), -EIO);
	assert_string_equal(failure.text, "mkfs.ext4 failed, with status 7: no more space;on this "
					  "device");
	assert_int_equal(names(), 0);
	assert_int_equal(unlink(in_scratch("bin/fail")), 0);
	open_one(&template);
	vblk_image_template_close(&template);
}

static void test_I9_what_is_no_such_file_system_is_not_published(void **state)
{
	struct vblk_image_template template;

	(void)state;
	put_file("bin/wrong", "", 0644);
	assert_int_equal(vblk_image_template_open(ext4(), SIZE, NULL, &template, &failure), -EIO);
	assert_non_null(strstr(failure.text, "made none of 2097152 bytes, not ext4:2M"));
	assert_int_equal(names(), 0);
}

static void child(void)
{
	struct vblk_image_template template;
	int fd;

	if (vblk_image_template_open(ext4(), SIZE, NULL, &template, &failure) ||
	    vblk_image_throw_away(ext4(), SIZE, NULL, &fd, &failure))
		_exit(1);
	_exit(0);
}

static void test_I8_many_processes_make_it_once(void **state)
{
	int status;

	(void)state;
	for (unsigned int i = 0; i < PROCESSES; i++) {
		const pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			child();
	}
	for (unsigned int i = 0; i < PROCESSES; i++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	assert_int_equal(times_made(), 1);
	assert_int_equal(names(), 1);
}

/* Somebody else makes the template between our look for it and our lock. */
static uint64_t make_meanwhile(void *context)
{
	unsigned int *looks = context;
	struct vblk_image_template template;

	if (++*looks == 2) {
		open_one(&template);
		vblk_image_template_close(&template);
	}
	return 0;
}

static void test_I8_with_the_lock_it_is_looked_for_once_more(void **state)
{
	unsigned int looks = 0;
	struct vblk_image_events events = { NULL, NULL, { make_meanwhile, &looks } };
	struct vblk_image_template template;

	(void)state;
	assert_int_equal(vblk_image_template_open(ext4(), SIZE, &events, &template, &failure), 0);
	assert_int_equal(looks, 2);
	assert_int_equal(times_made(), 1);
	vblk_image_template_close(&template);
}

/* Time stands still but for 200 s with each look at the clock. */
static uint64_t leap(void *context)
{
	return *(uint64_t *)context += 200 * VBLK_NSEC_PER_SEC;
}

struct seen {
	uint64_t time;
	unsigned int lines;
	char line[128];
};

static void remember(void *context, const char *line)
{
	struct seen *seen = context;

	seen->lines++;
	if (line)
		snprintf(seen->line, sizeof(seen->line), "%s", line);
}

static void test_I8_waiting_has_an_end_and_says_for_whom(void **state)
{
	struct seen seen = { 0 };
	struct vblk_image_events events = { remember, &seen, { leap, &seen.time } };
	struct vblk_image_template template;
	struct vblk_image_cache cache;
	char key[VBLK_IMAGE_KEY_SIZE], expected[128];
	uint64_t fingerprint;
	int lock_fd;

	(void)state;
	assert_int_equal(vblk_image_cache_open(&cache, &failure), 0);
	assert_int_equal(vblk_image_formatter_fingerprint(ext4(), in_scratch("bin/mkfs.ext4"),
							  &fingerprint, &failure),
			 0);
	vblk_image_cache_key(ext4(), SIZE, fingerprint, key);
	assert_int_equal(vblk_image_cache_lock(&cache, key, &lock_fd, NULL), 0);
	assert_int_equal(vblk_image_template_open(ext4(), SIZE, &events, &template, &failure),
			 -ETIMEDOUT);
	snprintf(expected, sizeof(expected), "waiting for process %ld, which makes ext4:2M",
		 (long)getpid());
	assert_string_equal(seen.line, expected);
	assert_non_null(strstr(failure.text, "waited 600 s for process"));
	assert_true(seen.time < 1600 * VBLK_NSEC_PER_SEC);
	assert_int_equal(times_made(), 0);
	close(lock_fd);
	vblk_image_cache_close(&cache);
}

static void test_I11_a_throw_away_copy_has_no_name(void **state)
{
	struct vblk_image_template template;
	struct stat st;
	char is[3], wanted[3];
	int fd, other;

	(void)state;
	assert_int_equal(vblk_image_throw_away(ext4(), SIZE, NULL, &fd, &failure), 0);
	assert_int_equal(vblk_image_throw_away(ext4(), SIZE, NULL, &other, &failure), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(names(), 1);
	/* Each is the template, and nobody else's. */
	open_one(&template);
	assert_int_equal(pread(template.fd, wanted, 3, 1080), 3);
	assert_int_equal(pread(fd, is, 3, 1080), 3);
	assert_memory_equal(is, wanted, 3);
	assert_int_equal(pwrite(fd, "abc", 3, 1080), 3);
	assert_int_equal(pread(other, is, 3, 1080), 3);
	assert_memory_equal(is, wanted, 3);
	vblk_image_template_close(&template);
	close(fd);
	close(other);
}

static void test_I1_a_raw_one_needs_neither_cache_nor_formatter(void **state)
{
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(setenv("PATH", "", 1), 0);
	assert_int_equal(setenv("VBLK_CACHE_DIR", "/dev/null/none", 1), 0);
	assert_int_equal(
		vblk_image_throw_away(vblk_image_fs_find("raw"), SIZE, NULL, &fd, &failure), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(st.st_blocks, 0);
	close(fd);
}

static void test_I1_raw_has_no_template(void **state)
{
	struct vblk_image_template template;

	(void)state;
	assert_int_equal(vblk_image_template_open(vblk_image_fs_find("raw"), SIZE, NULL, &template,
						  &failure),
			 -EINVAL);
	assert_string_equal(failure.text, "raw has no file system and so no template");
}

static void test_I12_each_use_sweeps(void **state)
{
	struct vblk_image_template template;

	(void)state;
	assert_int_equal(mkdir(in_scratch("templates"), 0700), 0);
	assert_int_equal(mkdir(in_scratch("templates/xfs-1-2.tmp.3"), 0700), 0);
	open_one(&template);
	assert_int_equal(names(), 1);
	assert_int_equal(mkdir(in_scratch("templates/xfs-1-2.tmp.3"), 0700), 0);
	vblk_image_template_close(&template);
	open_one(&template);
	assert_int_equal(names(), 1);
	vblk_image_template_close(&template);
}

#define NOBODY 65534

/* Root may write everywhere, and so is somebody else for as long. */
static void test_I11_a_cache_that_cannot_be_written_to_can_be_used(void **state)
{
	const bool root = geteuid() == 0;
	struct stat st;
	int ret, fd = -1;

	(void)state;
	if (root) {
		assert_int_equal(chmod(scratch, 0777), 0);
		assert_int_equal(chmod(in_scratch("bin"), 0777), 0);
		if (seteuid(NOBODY)) {
			print_message("root, and cannot be anybody else\n");
			skip();
		}
	}
	ret = vblk_image_throw_away(ext4(), SIZE, NULL, &fd, &failure);
	if (ret == 0 && close(fd) == 0 && chmod(in_scratch("templates"), 0555) == 0)
		ret = vblk_image_throw_away(ext4(), SIZE, NULL, &fd, &failure);
	(void)chmod(in_scratch("templates"), 0700);
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(ret, 0);
	assert_int_equal(names(), 1);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(st.st_nlink, 0);
	close(fd);
}

static void test_I9_a_formatter_that_cannot_be_run_is_an_error(void **state)
{
	struct vblk_image_template template;

	(void)state;
	put_file("bin/mkfs.ext4", "#!/nowhere\n", 0755);
	assert_int_equal(vblk_image_template_open(ext4(), SIZE, NULL, &template, &failure),
			 -ENOENT);
	assert_non_null(strstr(failure.text, "cannot run '"));
	assert_non_null(strstr(failure.text, "mkfs.ext4': No such file"));
}

static pid_t make_in_child(void)
{
	struct vblk_image_template template;
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(vblk_image_template_open(ext4(), SIZE, NULL, &template, &failure) != 0);
	return pid;
}

/* It has a pipe open for writing for as long as it lives, and would sleep for a minute. */
static void test_I9_a_formatter_does_not_outlive_a_vblk_that_was_killed(void **state)
{
	struct pollfd pfd = { .events = POLLIN };
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(mkfifo(in_scratch("bin/hang"), 0600), 0);
	pid = make_in_child();
	pfd.fd = open(in_scratch("bin/hang"), O_RDONLY | O_CLOEXEC); /* waits for it */
	assert_true(pfd.fd >= 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(poll(&pfd, 1, 10000), 1);
	assert_int_equal(read(pfd.fd, &byte, 1), 0);
	close(pfd.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(test_I6_a_template_is_made_once),
		scratch_test(another_version_makes_another_template),
		scratch_test(test_I5_a_formatter_that_says_no_version_is_an_error),
		scratch_test(test_I4_a_missing_formatter_is_named_with_its_package),
		scratch_test(test_I4_only_what_can_be_run_is_a_formatter),
		scratch_test(test_I7_a_template_that_is_not_whole_is_made_anew),
		scratch_test(test_I9_a_formatter_that_fails_leaves_nothing),
		scratch_test(test_I9_what_is_no_such_file_system_is_not_published),
		scratch_test(test_I8_many_processes_make_it_once),
		scratch_test(test_I8_with_the_lock_it_is_looked_for_once_more),
		scratch_test(test_I8_waiting_has_an_end_and_says_for_whom),
		scratch_test(test_I11_a_throw_away_copy_has_no_name),
		scratch_test(test_I11_a_cache_that_cannot_be_written_to_can_be_used),
		scratch_test(test_I9_a_formatter_that_cannot_be_run_is_an_error),
		scratch_test(test_I9_a_formatter_does_not_outlive_a_vblk_that_was_killed),
		scratch_test(test_I1_a_raw_one_needs_neither_cache_nor_formatter),
		scratch_test(test_I1_raw_has_no_template),
		scratch_test(test_I12_each_use_sweeps),
	};

	return cmocka_run_group_tests_name("image_template", tests, NULL, NULL);
}
