/* SPDX-License-Identifier: MIT */
/* Who holds a lock is text for people only: nothing is decided by it. */
#include "image/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static pid_t read_holder(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return (pid_t)strtol(text, NULL, 10);
}

/* If it cannot be written, nobody is told, and that is all. */
static void write_holder(int fd)
{
	char text[16];
	const int length = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)length, 0) < 0)
		return;
}

int vblk_image_lock_try(int folder_fd, const char *name, int *lock_fd, pid_t *holder)
{
	int fd = openat(folder_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int ret;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		write_holder(fd);
		*lock_fd = fd;
		return 0;
	}
	ret = -errno;
	if (holder)
		*holder = ret == -EWOULDBLOCK ? read_holder(fd) : 0;
	close(fd);
	return ret;
}
