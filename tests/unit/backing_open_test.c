/* SPDX-License-Identifier: MIT */
/*
 * Opening a disk: what is refused and how, locks (D-LOCK), descriptors that are handed in.
 *
 * Some errors can only be had by root, or only on some file systems; those tests skip elsewhere.
 */
#include "backing_fixture.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define NOBODY 65534

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* ---- what can be opened ---- */

static void file_size_and_flags(void **state)
{
	static const uint32_t flags[] = { 0, RO, NOLOCK, RO | NOLOCK };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(flags); i++) {
		struct vblk_backing *backing = open_disk(flags[i]);
		struct vblk_backing_info info;

		vblk_backing_get_info(backing, &info);
		assert_int_equal(info.size_bytes, DISK_SIZE);
		assert_int_equal(info.flags, flags[i] & RO ? VBLK_BACKING_READ_ONLY : 0);
		vblk_backing_unref(backing);
	}
}

static void make_odd_files(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(mkdir(path_of("dir"), 0700), 0);
	assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
	assert_int_equal(symlink("loop", path_of("loop")), 0);
	assert_int_equal(symlink("nowhere", path_of("dangling")), 0);
	assert_int_equal(symlink("disk", path_of("link")), 0);
	strcpy(address.sun_path, path_of("socket"));
	assert_int_equal(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
	close(sock);
}

static void remove_odd_files(void)
{
	static const char *const names[] = { "fifo", "loop", "dangling", "link", "socket" };

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(names); i++)
		assert_int_equal(unlink(path_of(names[i])), 0);
	assert_int_equal(rmdir(path_of("dir")), 0);
}

/* A FIFO without a peer must not block; a hang here is the failure. */
static void file_open_errors(void **state)
{
	static const struct {
		const char *name;
		int err;
	} table[] = {
		{ "missing", -ENOENT },
		{ "dangling", -ENOENT },
		{ "", -EISDIR },
		{ "dir", -EISDIR },
		{ "fifo", -ENODEV },
		{ "socket", -ENODEV },
		{ "../../dev/null", -ENODEV },
		{ "loop", -ELOOP },
		{ "disk/x", -ENOTDIR },
		{ "link", 0 },
	};
	int before = count_descriptors();

	(void)state;
	make_odd_files();
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		assert_int_equal(try_open(path_of(table[i].name), 0), table[i].err);
		assert_int_equal(try_open(path_of(table[i].name), RO), table[i].err);
	}
	assert_int_equal(try_open("", 0), -ENOENT);
	assert_int_equal(try_open(path_of("disk"), 1u << 3), -EINVAL);
	assert_int_equal(count_descriptors(), before);
	remove_odd_files();
}

static void file_is_never_created_nor_truncated(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(try_open(path_of("new"), 0), -ENOENT);
	assert_int_equal(stat(path_of("new"), &st), -1);
	assert_int_equal(try_open(path_of("disk"), 0), 0);
	assert_int_equal(stat(path_of("disk"), &st), 0);
	assert_int_equal(st.st_size, DISK_SIZE);
}

/* Root may write to a file whose mode forbids it, as with open(2). */
static void read_only_mode_does_not_stop_root(void **state)
{
	(void)state;
	assert_int_equal(chmod(path_of("disk"), 0444), 0);
	assert_int_equal(try_open(path_of("disk"), 0), geteuid() == 0 ? 0 : -EACCES);
	assert_int_equal(try_open(path_of("disk"), RO), 0);
}

static void file_without_permission(void **state)
{
	int rw, ro;

	(void)state;
	if (geteuid() != 0) {
		print_message("needs root, to become somebody else\n");
		skip();
	}
	assert_int_equal(chmod(path_of("disk"), 0644), 0);
	assert_int_equal(seteuid(NOBODY), 0);
	rw = try_open(path_of("disk"), 0);
	ro = try_open(path_of("disk"), RO);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(rw, -EACCES);
	assert_int_equal(ro, 0);
}

static void file_that_is_immutable(void **state)
{
	int fd = open(path_of("disk"), O_RDONLY | O_CLOEXEC);
	int flags = 0; /* its number says long, but the kernel takes an int */
	int rw, ro;

	(void)state;
	assert_true(fd >= 0);
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0) {
		close(fd);
		print_message("the file system has no attributes\n");
		skip();
	}
	flags |= FS_IMMUTABLE_FL;
	if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0) {
		close(fd);
		print_message("may not make a file immutable\n");
		skip();
	}
	rw = try_open(path_of("disk"), 0);
	ro = try_open(path_of("disk"), RO);
	flags &= ~FS_IMMUTABLE_FL;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	close(fd);
	assert_int_equal(rw, -EPERM);
	assert_int_equal(ro, 0);
}

#define CANNOT_MOUNT 1
#define WRONG_RESULT 2

/* In a child with mounts of its own. */
static int open_on_read_only_mount(void)
{
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("vblk", directory, "tmpfs", 0, NULL) < 0)
		return CANNOT_MOUNT;
	fd = open(path_of("disk"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0 || close(fd) < 0 ||
	    mount("vblk", directory, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return CANNOT_MOUNT;
	if (try_open(path_of("disk"), 0) != -EROFS || try_open(path_of("disk"), RO) != 0)
		return WRONG_RESULT;
	return 0;
}

static void file_on_read_only_file_system(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	assert_true(child >= 0);
	if (child == 0)
		_exit(open_on_read_only_mount());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CANNOT_MOUNT) {
		print_message("may not mount\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* The descriptor by which the disk is open in this process. */
static int find_descriptor(const char *name)
{
	char target[128];

	for (int fd = 0; fd < 1024; fd++) {
		char link[32];
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		if (strcmp(target, path_of(name)) == 0)
			return fd;
	}
	return -1;
}

static void descriptor_is_blocking_and_not_inherited(void **state)
{
	struct vblk_backing *backing = open_disk(0);
	int fd = find_descriptor("disk");

	(void)state;
	assert_true(fd > 2);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_RDWR);
	vblk_backing_unref(backing);
	assert_int_equal(find_descriptor("disk"), -1);
}

/* The file is the test's own, so it may be asked for. */
static void reading_leaves_the_time_of_access(void **state)
{
	struct vblk_backing *backing = open_disk(0);

	(void)state;
	assert_true(fcntl(vblk_backing_file_fd(backing), F_GETFL) & O_NOATIME);
	vblk_backing_unref(backing);
}

/*
 * Rules: D-LOCK.
 * ---- locks ----
 */
static void second_opener(void **state)
{
	static const struct {
		uint32_t first, second;
		int err;
	} table[] = {
		{ 0, 0, -EAGAIN },     { 0, RO, -EAGAIN },    { RO, 0, -EAGAIN }, { RO, RO, 0 },
		{ 0, NOLOCK, 0 },      { 0, RO | NOLOCK, 0 }, { RO, NOLOCK, 0 },  { NOLOCK, 0, 0 },
		{ NOLOCK, NOLOCK, 0 }, { RO | NOLOCK, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct vblk_backing *first = open_disk(table[i].first);
		int before = count_descriptors();

		assert_int_equal(try_open(path_of("disk"), table[i].second), table[i].err);
		assert_int_equal(count_descriptors(), before);
		vblk_backing_unref(first);
		/* The lock went with the backing. */
		assert_int_equal(try_open(path_of("disk"), 0), 0);
	}
}

static void lock_survives_closing_another_descriptor(void **state)
{
	struct vblk_backing *backing = open_disk(0);
	int fd = open(path_of("disk"), O_RDWR | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(try_open(path_of("disk"), 0), -EAGAIN);
	vblk_backing_unref(backing);
}

/*
 * Rules: D-LOCK.
 * Somebody who locks one byte far behind the end is excluded, and excludes.
 */
static void lock_covers_more_than_the_file(void **state)
{
	struct flock byte = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1 << 30, .l_len = 1
	};
	struct vblk_backing *backing = open_disk(0);
	int fd = open(path_of("disk"), O_RDWR | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &byte), -1);
	assert_int_equal(errno, EAGAIN);
	vblk_backing_unref(backing);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &byte), 0);
	assert_int_equal(try_open(path_of("disk"), RO), -EAGAIN);
	close(fd);
}

/* Rules: D-LOCK */
static void lock_goes_with_a_process_that_is_killed(void **state)
{
	int ready[2];
	pid_t child;
	char byte;

	(void)state;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct vblk_backing *backing;

		/* Lest a failing test leave it behind. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (vblk_backing_open_file(path_of("disk"), 0, &backing) != 0 ||
		    write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(try_open(path_of("disk"), 0), -EAGAIN);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(try_open(path_of("disk"), 0), 0);
	close(ready[0]);
}

/* ---- from a descriptor ---- */

static void open_fd_checks_the_descriptor(void **state)
{
	static const struct {
		int mode;
		uint32_t flags;
		int err;
	} table[] = {
		{ O_RDWR, 0, 0 },
		{ O_RDWR, RO, 0 },
		{ O_RDONLY, RO, 0 },
		{ O_RDONLY, 0, -EACCES },
		{ O_WRONLY, 0, -EACCES },
		{ O_WRONLY, RO, -EACCES },
		{ O_PATH, RO, -EBADF },
		{ O_PATH, RO | NOLOCK, -EBADF },
		{ O_RDWR | O_APPEND, 0, -EINVAL },
		{ O_RDWR | O_APPEND, RO, 0 },
		{ O_RDWR | O_DIRECT, 0, -EINVAL },
		{ O_RDONLY | O_DIRECT, RO, -EINVAL },
		{ O_RDWR, 1u << 31, -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		int fd = open(path_of("disk"), table[i].mode | O_CLOEXEC);
		int before = count_descriptors();

		if (fd < 0 && table[i].mode & O_DIRECT)
			continue; /* a file system without it */
		assert_true(fd >= 0);
		assert_int_equal(try_open_fd(fd, table[i].flags), table[i].err);
		assert_int_equal(count_descriptors(), before);
		close(fd);
	}
	assert_int_equal(try_open_fd(-1, 0), -EBADF);
}

static void open_fd_of_other_things(void **state)
{
	int ends[2], dir = open(directory, O_RDONLY | O_CLOEXEC);
	int before;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	before = count_descriptors();
	assert_int_equal(try_open_fd(ends[0], RO), -ENODEV);
	assert_int_equal(try_open_fd(dir, RO), -EISDIR);
	assert_int_equal(count_descriptors(), before);
	close(ends[0]);
	close(ends[1]);
	close(dir);
}

static void open_fd_leaves_the_callers_descriptor_alone(void **state)
{
	int fd = open(path_of("disk"), O_RDWR | O_CLOEXEC);
	struct vblk_backing *backing;
	uint8_t byte;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(vblk_backing_open_fd(fd, 0, &backing), 0);
	assert_int_equal(size_of(backing), DISK_SIZE);
	vblk_backing_unref(backing);
	assert_int_equal(pread(fd, &byte, 1, 5), 1);

	assert_int_equal(vblk_backing_open_fd(fd, 0, &backing), 0);
	close(fd);
	assert_int_equal(read_at(backing, &byte, 1, 5), 1);
	assert_int_equal(byte, disk_byte(5));
	vblk_backing_unref(backing);
}

/* The lock is that of the open file description: kept while either descriptor is open. */
static void open_fd_shares_the_lock(void **state)
{
	int fd = open(path_of("disk"), O_RDWR | O_CLOEXEC);
	struct vblk_backing *backing;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(vblk_backing_open_fd(fd, 0, &backing), 0);
	assert_int_equal(try_open(path_of("disk"), RO), -EAGAIN);
	vblk_backing_unref(backing);
	assert_int_equal(try_open(path_of("disk"), RO), -EAGAIN);
	close(fd);
	assert_int_equal(try_open(path_of("disk"), RO), 0);
}

static void open_fd_refused_leaves_no_lock(void **state)
{
	struct vblk_backing *holder = open_disk(RO);
	int fd = open(path_of("disk"), O_RDWR | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(try_open_fd(fd, 0), -EAGAIN);
	vblk_backing_unref(holder);
	assert_int_equal(try_open(path_of("disk"), 0), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_TEST(file_size_and_flags),
		DISK_TEST(file_open_errors),
		DISK_TEST(file_is_never_created_nor_truncated),
		DISK_TEST(read_only_mode_does_not_stop_root),
		DISK_TEST(file_without_permission),
		DISK_TEST(file_that_is_immutable),
		cmocka_unit_test(file_on_read_only_file_system),
		DISK_TEST(descriptor_is_blocking_and_not_inherited),
		DISK_TEST(reading_leaves_the_time_of_access),
		DISK_TEST(second_opener),
		DISK_TEST(lock_survives_closing_another_descriptor),
		DISK_TEST(lock_covers_more_than_the_file),
		DISK_TEST(lock_goes_with_a_process_that_is_killed),
		DISK_TEST(open_fd_checks_the_descriptor),
		DISK_TEST(open_fd_of_other_things),
		DISK_TEST(open_fd_leaves_the_callers_descriptor_alone),
		DISK_TEST(open_fd_shares_the_lock),
		DISK_TEST(open_fd_refused_leaves_no_lock),
	};

	return cmocka_run_group_tests_name("backing: open", tests, make_directory,
					   remove_directory);
}
