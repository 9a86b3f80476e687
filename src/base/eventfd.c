/* SPDX-License-Identifier: MIT */
#include "base/eventfd.h"

#include <errno.h>
#include <sys/eventfd.h>
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
	uint64_t count;

	while (read(fd, &count, sizeof(count)) < 0) {
		if (errno != EINTR)
			return 0;
	}
	return count;
}
