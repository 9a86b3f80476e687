/* SPDX-License-Identifier: MIT */
#include "base/eventfd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

int vblk_eventfd_create(int *fd)
{
	int made = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (made < 0)
		return -errno;
	*fd = made;
	return 0;
}

int vblk_eventfd_signal(int fd)
{
	const uint64_t one = 1;

	while (write(fd, &one, sizeof(one)) < 0) {
		if (errno == EAGAIN)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

uint64_t vblk_eventfd_clear(int fd)
{
	uint64_t count = 0;

	while (read(fd, &count, sizeof(count)) < 0) {
		if (errno != EINTR)
			return 0;
	}
	return count;
}

/* A read that does not wait, whatever the flags of the file say. */
static ssize_t read_now(int fd, void *data, size_t size)
{
	const struct iovec iov = { data, size };

	return preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
}

/* The next best: who reads it between the two makes us wait. */
static uint64_t clear_if_readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) > 0 ? vblk_eventfd_clear(fd) : 0;
}

uint64_t vblk_eventfd_clear_foreign(int fd)
{
	uint64_t count = 0;

	while (read_now(fd, &count, sizeof(count)) < 0) {
		/* A host that has no such reads for any eventfd. */
		if (errno == EOPNOTSUPP)
			return clear_if_readable(fd);
		if (errno != EINTR)
			return 0;
	}
	return count;
}

/* An eventfd refuses to be read into one byte, and that it can refuse at once it says before. */
static bool can_read_now(int fd)
{
	uint8_t byte;

	return read_now(fd, &byte, sizeof(byte)) < 0 && errno == EINVAL;
}

int vblk_eventfd_check(int fd)
{
	struct stat st;
	int own = -1, ret;

	if (fstat(fd, &st) < 0)
		return -errno;
	/* Files, pipes and sockets have a type, an eventfd has none. */
	if ((st.st_mode & S_IFMT) != 0)
		return -EINVAL;
	if (can_read_now(fd))
		return 0;
	/* A host that has no such reads cannot tell either: Linux before 5.8, and emulators. */
	ret = vblk_eventfd_create(&own);
	if (ret < 0)
		return ret;
	if (can_read_now(own))
		ret = -EINVAL;
	close(own);
	return ret;
}

void vblk_eventfd_make_room(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && !(flags & O_NONBLOCK))
		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	if (poll(&pfd, 1, 0) > 0 && (pfd.revents & POLLOUT))
		return;
	if (shutdown(fd, SHUT_RDWR) < 0 && errno == ENOTSOCK)
		(void)vblk_eventfd_clear_foreign(fd);
}
