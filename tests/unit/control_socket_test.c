/* SPDX-License-Identifier: MIT */
/* Sockets in the file system: what may be replaced, what is refused, what is left behind. */
#include "control/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "process.h"

static char folder[64];
static char path[80];
static char message[512];

static int listen_at(const char *where, struct vblk_unix_listener *listener)
{
	message[0] = '\0';
	return vblk_unix_listen(where, listener, message, sizeof(message));
}

static int connect_to(const char *where, int *fd)
{
	message[0] = '\0';
	return vblk_unix_connect(where, 10000, fd, message, sizeof(message));
}

static bool is_there(const char *where)
{
	struct stat there;

	return lstat(where, &there) == 0;
}

static char *beside(const char *mark)
{
	static char text[128];

	snprintf(text, sizeof(text), "%s%s", path, mark);
	return text;
}

static void assert_message(const char *format, const char *where)
{
	char expected[512];

	snprintf(expected, sizeof(expected), format, where);
	assert_string_equal(message, expected);
}

static void assert_refused(const char *where, int code)
{
	struct vblk_unix_listener listener;
	const size_t fds = process_fds();

	assert_int_equal(listen_at(where, &listener), code);
	assert_int_equal(listener.fd, -1);
	assert_int_equal(process_fds(), fds);
	assert_false(is_there(beside("~")));
}

static int bind_plain(int type, const char *where)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(address.sun_path, where);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/vblk-socket-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	unlink(beside("~"));
	unlink(beside(".lock"));
	/* Nothing else may have been left there. */
	return rmdir(folder);
}

static void a_socket_is_made_for_its_owner_alone(void **state)
{
	struct vblk_unix_listener listener;
	struct stat there;
	mode_t mask = umask(0);
	int fd;

	(void)state;
	assert_int_equal(listen_at(path, &listener), 0);
	umask(mask);
	assert_int_equal(stat(path, &there), 0);
	assert_true(S_ISSOCK(there.st_mode));
	assert_int_equal(there.st_mode & 07777, 0600);
	assert_true(fcntl(listener.fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(listener.fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(connect_to(path, &fd), 0);
	close(fd);
	assert_false(is_there(beside("~")));
	vblk_unix_listener_close(&listener);
}

static void nothing_is_left_behind(void **state)
{
	struct vblk_unix_listener listener;
	const size_t fds = process_fds();

	(void)state;
	assert_int_equal(listen_at(path, &listener), 0);
	vblk_unix_listener_close(&listener);
	assert_false(is_there(path));
	assert_false(is_there(beside(".lock")));
	assert_int_equal(process_fds(), fds);
}

static void closing_twice_is_harmless(void **state)
{
	struct vblk_unix_listener listener;

	(void)state;
	assert_int_equal(listen_at(path, &listener), 0);
	vblk_unix_listener_close(&listener);
	vblk_unix_listener_close(&listener);
	assert_int_equal(listener.fd, -1);
}

static void a_stale_socket_is_replaced(void **state)
{
	struct vblk_unix_listener listener;
	int fd;

	(void)state;
	close(bind_plain(SOCK_STREAM, path));
	assert_int_equal(listen_at(path, &listener), 0);
	assert_int_equal(connect_to(path, &fd), 0);
	close(fd);
	vblk_unix_listener_close(&listener);
	assert_false(is_there(path));
}

/* All three files of one that was killed in the middle. */
static void leftovers_of_a_killed_one_are_replaced(void **state)
{
	struct vblk_unix_listener listener;

	(void)state;
	close(bind_plain(SOCK_STREAM, path));
	close(bind_plain(SOCK_STREAM, beside("~")));
	close(open(beside(".lock"), O_CREAT | O_RDWR, 0600));
	assert_int_equal(listen_at(path, &listener), 0);
	assert_false(is_there(beside("~")));
	vblk_unix_listener_close(&listener);
	assert_false(is_there(beside(".lock")));
}

static void a_live_one_of_ours_is_refused(void **state)
{
	struct vblk_unix_listener listener;
	int fd;

	(void)state;
	assert_int_equal(listen_at(path, &listener), 0);
	assert_refused(path, -EINVAL);
	assert_message("'%s' is in use by another vblk: stop it, or choose another path", path);
	assert_int_equal(connect_to(path, &fd), 0);
	close(fd);
	vblk_unix_listener_close(&listener);
}

static void a_live_one_of_others_is_refused(void **state)
{
	const int fd = bind_plain(SOCK_STREAM, path);

	(void)state;
	assert_int_equal(listen(fd, 0), 0);
	assert_refused(path, -EINVAL);
	assert_message("'%s' is in use: a program listens on it; stop it, or choose another path",
		       path);
	/* Also when nobody else can get into its line. */
	assert_refused(path, -EINVAL);
	assert_refused(path, -EINVAL);
	assert_true(is_there(path));
	close(fd);
}

static void a_live_socket_of_another_kind_is_refused(void **state)
{
	const int fd = bind_plain(SOCK_DGRAM, path);

	(void)state;
	assert_refused(path, -EINVAL);
	assert_true(is_there(path));
	close(fd);
}

static void what_is_no_socket_is_refused(void **state)
{
	(void)state;
	close(open(path, O_CREAT | O_RDWR, 0600));
	assert_refused(path, -EINVAL);
	assert_message("'%s' exists and is no socket: remove it, or choose another path", path);
	assert_true(is_there(path));
	unlink(path);
	assert_int_equal(symlink("/nowhere", path), 0);
	assert_refused(path, -EINVAL);
	assert_true(is_there(path));
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_refused(path, -EINVAL);
	rmdir(path);
}

static void a_lock_that_is_no_file_is_refused(void **state)
{
	(void)state;
	assert_int_equal(symlink("elsewhere", beside(".lock")), 0);
	assert_refused(path, -EINVAL);
	/* And that the link's target was not made either, teardown sees. */
	assert_message("'%s.lock' exists and is no regular file: remove it", path);
}

static void a_missing_folder_is_refused(void **state)
{
	(void)state;
	assert_refused("/tmp/vblk-no-such-folder/s", -EINVAL);
	assert_string_equal(message, "'/tmp/vblk-no-such-folder/s': the folder "
				     "'/tmp/vblk-no-such-folder' does not exist: create it first");
	assert_refused("/dev/null/s", -EINVAL);
	assert_string_equal(message, "'/dev/null/s': '/dev/null' is no folder");
}

static void paths_that_cannot_be_are_refused(void **state)
{
	char longest[VBLK_UNIX_PATH_MAX + 2];

	(void)state;
	assert_refused("", -EINVAL);
	assert_string_equal(message, "the path of the socket is empty");
	assert_refused("/tmp/", -EINVAL);
	assert_string_equal(message, "'/tmp/' names a folder: the path of a socket is wanted");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_refused(longest, -EINVAL);
	assert_message("'%s' has 107 bytes: the path of a socket has at most 106 (a relative path "
		       "may be shorter)",
		       longest);
}

static void the_longest_path_can_be_used(void **state)
{
	char longest[VBLK_UNIX_PATH_MAX + 1];
	struct vblk_unix_listener listener;
	int fd;

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	memcpy(longest, folder, strlen(folder));
	longest[strlen(folder)] = '/';
	assert_int_equal(listen_at(longest, &listener), 0);
	assert_int_equal(connect_to(longest, &fd), 0);
	close(fd);
	vblk_unix_listener_close(&listener);
}

static void what_is_not_ours_any_more_is_left_alone(void **state)
{
	struct vblk_unix_listener listener;

	(void)state;
	assert_int_equal(listen_at(path, &listener), 0);
	unlink(path);
	close(open(path, O_CREAT | O_RDWR, 0600));
	vblk_unix_listener_close(&listener);
	assert_true(is_there(path));
}

static void the_working_directory_may_change(void **state)
{
	struct vblk_unix_listener listener;
	const int before = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(listen_at("s", &listener), 0);
	assert_int_equal(chdir("/"), 0);
	vblk_unix_listener_close(&listener);
	assert_int_equal(fchdir(before), 0);
	close(before);
	assert_false(is_there(path));
}

#define RACERS 8

/* Waits for the start, tries, tells, and keeps what it has until the end. */
static void race(int start, int result, int end)
{
	struct vblk_unix_listener listener;
	char byte;

	if (read(start, &byte, 1) != 0)
		_exit(1);
	byte = listen_at(path, &listener) == 0 ? 'w' : 'l';
	if (write(result, &byte, 1) != 1 || read(end, &byte, 1) != 0)
		_exit(1);
	vblk_unix_listener_close(&listener);
	_exit(0);
}

static void of_many_at_once_one_wins(void **state)
{
	int start[2], result[2], end[2];
	unsigned int winners = 0;
	char bytes[RACERS];
	int fd, status;

	(void)state;
	close(bind_plain(SOCK_STREAM, path));
	assert_int_equal(pipe(start) | pipe(result) | pipe(end), 0);
	for (unsigned int i = 0; i < RACERS; i++) {
		const pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0) {
			close(start[1]);
			close(end[1]);
			race(start[0], result[1], end[0]);
		}
	}
	close(start[1]);
	for (unsigned int i = 0; i < RACERS; i++) {
		assert_int_equal(read(result[0], &bytes[i], 1), 1);
		winners += bytes[i] == 'w';
	}
	assert_int_equal(winners, 1);
	assert_int_equal(connect_to(path, &fd), 0);
	close(fd);
	close(end[1]);
	for (unsigned int i = 0; i < RACERS; i++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	assert_false(is_there(path));
	close(start[0]);
	close(end[0]);
	close(result[0]);
	close(result[1]);
}

static void connecting_says_what_is_wrong(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(connect_to(path, &fd), -EINVAL);
	assert_message("there is no socket '%s'", path);
	close(open(path, O_CREAT | O_RDWR, 0600));
	assert_int_equal(connect_to(path, &fd), -EINVAL);
	assert_message("'%s' is no socket", path);
	unlink(path);
	close(bind_plain(SOCK_STREAM, path));
	assert_int_equal(connect_to(path, &fd), -ECONNREFUSED);
	assert_message("nobody listens on '%s': the program that made it is gone", path);
	unlink(path);
	close(bind_plain(SOCK_DGRAM, path));
	assert_int_equal(connect_to(path, &fd), -ECONNREFUSED);
}

#define ONE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(a_socket_is_made_for_its_owner_alone),
		ONE(nothing_is_left_behind),
		ONE(closing_twice_is_harmless),
		ONE(a_stale_socket_is_replaced),
		ONE(leftovers_of_a_killed_one_are_replaced),
		ONE(a_live_one_of_ours_is_refused),
		ONE(a_live_one_of_others_is_refused),
		ONE(a_live_socket_of_another_kind_is_refused),
		ONE(what_is_no_socket_is_refused),
		ONE(a_lock_that_is_no_file_is_refused),
		ONE(a_missing_folder_is_refused),
		ONE(paths_that_cannot_be_are_refused),
		ONE(the_longest_path_can_be_used),
		ONE(what_is_not_ours_any_more_is_left_alone),
		ONE(the_working_directory_may_change),
		ONE(of_many_at_once_one_wins),
		ONE(connecting_says_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
