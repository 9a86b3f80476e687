/* SPDX-License-Identifier: MIT */
/* Event descriptors of somebody else's, who may make them block. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/eventfd.h"

#define MOST (UINT64_MAX - 1)

static bool is_old; /* the host, which cannot read an eventfd without waiting */

ssize_t old_or_real(int fd, const struct iovec *iov, int count, off_t offset,
		    int flags) __asm__("__wrap_preadv64v2");
ssize_t real_preadv2(int fd, const struct iovec *iov, int count, off_t offset,
		     int flags) __asm__("__real_preadv64v2");

/* The library's calls come by here (tests/unit/meson.build). */
ssize_t old_or_real(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	if (!is_old)
		return real_preadv2(fd, iov, count, offset, flags);
	errno = EOPNOTSUPP;
	return -1;
}

static int blocking(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void put(int fd, uint64_t value)
{
	assert_int_equal(write(fd, &value, sizeof(value)), sizeof(value));
}

static void test_clearing_a_foreign_one_does_not_wait(void **state)
{
	int fd = blocking();

	(void)state;
	put(fd, 3);
	assert_int_equal(vblk_eventfd_clear_foreign(fd), 3);
	assert_int_equal(vblk_eventfd_clear_foreign(fd), 0);
	close(fd);
}

static void test_check_takes_nothing_away(void **state)
{
	int fd = blocking();

	(void)state;
	assert_int_equal(vblk_eventfd_check(fd), 0);
	put(fd, 3);
	assert_int_equal(vblk_eventfd_check(fd), 0);
	assert_int_equal(vblk_eventfd_clear_foreign(fd), 3);
	close(fd);
}

static void test_check_tells_others(void **state)
{
	int pipe_fds[2], pair[2];
	int file = memfd_create("file", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(vblk_eventfd_check(file), -EINVAL);
	assert_int_equal(vblk_eventfd_check(pipe_fds[0]), -EINVAL);
	assert_int_equal(vblk_eventfd_check(pair[0]), -EINVAL);
	close(file);
	assert_int_equal(vblk_eventfd_check(file), -EBADF);
	for (unsigned i = 0; i < 2; i++) {
		close(pipe_fds[i]);
		close(pair[i]);
	}
}

static void test_room_is_made_where_there_is_none(void **state)
{
	int fd = blocking();

	(void)state;
	put(fd, MOST);
	vblk_eventfd_make_room(fd);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(vblk_eventfd_signal(fd), 0);
	assert_int_equal(vblk_eventfd_clear(fd), 1);
	close(fd);
}

static void test_what_has_room_keeps_what_it_has(void **state)
{
	int fd = blocking();
	uint64_t byte = 0;
	int pair[2];

	(void)state;
	put(fd, MOST - 1);
	vblk_eventfd_make_room(fd);
	assert_int_equal(vblk_eventfd_clear(fd), MOST - 1);
	vblk_eventfd_make_room(fd);
	close(fd);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	vblk_eventfd_make_room(pair[0]);
	assert_int_equal(vblk_eventfd_signal(pair[0]), 0);
	assert_int_equal(read(pair[1], &byte, sizeof(byte)), sizeof(byte));
	close(pair[0]);
	close(pair[1]);
}

static void test_full_socket_is_shut_down(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	while (send(pair[0], "12345678", 8, MSG_DONTWAIT) > 0)
		;
	vblk_eventfd_make_room(pair[0]);
	assert_int_equal(send(pair[0], "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	close(pair[0]);
	close(pair[1]);
}

static void test_old_host_clears_what_can_be_read_and_does_not_wait(void **state)
{
	int fd = blocking();

	(void)state;
	is_old = true;
	assert_int_equal(vblk_eventfd_clear_foreign(fd), 0);
	put(fd, 3);
	assert_int_equal(vblk_eventfd_clear_foreign(fd), 3);
	put(fd, MOST);
	vblk_eventfd_make_room(fd);
	assert_int_equal(vblk_eventfd_signal(fd), 0);
	assert_int_equal(vblk_eventfd_clear(fd), 1);
	is_old = false;
	close(fd);
}

/* It cannot tell an eventfd from others of no type, and takes them all. */
static void test_old_host_is_content_with_what_has_no_type(void **state)
{
	int fd = blocking();
	int other = inotify_init1(IN_CLOEXEC);

	(void)state;
#ifndef EMULATED /* there every host is old */
	assert_int_equal(vblk_eventfd_check(other), -EINVAL);
#endif
	is_old = true;
	assert_int_equal(vblk_eventfd_check(fd), 0);
	assert_int_equal(vblk_eventfd_check(other), 0);
	is_old = false;
	close(other);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clearing_a_foreign_one_does_not_wait),
		cmocka_unit_test(test_check_takes_nothing_away),
		cmocka_unit_test(test_check_tells_others),
		cmocka_unit_test(test_room_is_made_where_there_is_none),
		cmocka_unit_test(test_what_has_room_keeps_what_it_has),
		cmocka_unit_test(test_full_socket_is_shut_down),
		cmocka_unit_test(test_old_host_clears_what_can_be_read_and_does_not_wait),
		cmocka_unit_test(test_old_host_is_content_with_what_has_no_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
