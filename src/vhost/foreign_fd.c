/* SPDX-License-Identifier: MIT */
/*
 * What the kernel knows without asking whoever serves a file: whether it has seals, which only
 * files in memory do; its type and the number of its file system's device, by a statx that is told
 * to be content with what is there (AT_STATX_DONT_SYNC). File systems without a block device have
 * major number 0.
 */
#include "vhost/foreign_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/signals.h"

static bool is_unix_socket(int fd)
{
	int domain = 0;
	socklen_t length = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
}

bool vblk_vhost_fd_is_prompt(int fd, const char **reason)
{
	struct statx about;

	*reason = NULL;
	if (fcntl(fd, F_GET_SEALS) >= 0)
		return true;
	*reason = "a descriptor that came along cannot be looked at";
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &about) < 0)
		return false;
	switch (about.stx_mode & S_IFMT) {
	case 0: /* an eventfd, or another thing without a file system */
	case S_IFIFO:
		return true;
	case S_IFSOCK:
		*reason = "a socket that came along is no Unix socket";
		return is_unix_socket(fd);
	case S_IFREG:
		*reason = "a file that came along is on a file system that may hang: send a memfd, "
			  "or a file on tmpfs, hugetlbfs or a disk of this host";
		return about.stx_dev_major != 0;
	default:
		*reason = "a descriptor that came along is neither a regular file, an eventfd, a "
			  "pipe nor a Unix socket";
		return false;
	}
}

/* ---- the closer ---- */

struct vblk_vhost_closer {
	atomic_uint refs; /* the owner's, and the thread's */
	pthread_mutex_t lock;
	bool runs; /* a thread is there, and looks at the list before it goes */
	unsigned count;
	int fd[VBLK_VHOST_CLOSER_MAX]; /* the first is being closed */
};

int vblk_vhost_closer_create(struct vblk_vhost_closer **closer)
{
	struct vblk_vhost_closer *made = calloc(1, sizeof(*made));

	if (!made)
		return -ENOMEM;
	atomic_init(&made->refs, 1);
	pthread_mutex_init(&made->lock, NULL);
	*closer = made;
	return 0;
}

void vblk_vhost_closer_release(struct vblk_vhost_closer *closer)
{
	if (!closer || atomic_fetch_sub_explicit(&closer->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < closer->count; i++)
		close(closer->fd[i]);
	pthread_mutex_destroy(&closer->lock);
	free(closer);
}

/* The first of the list stays in it until it is closed; -1 at the end, when the thread is to go. */
static int next_fd(struct vblk_vhost_closer *closer)
{
	int fd = -1;

	pthread_mutex_lock(&closer->lock);
	if (closer->count > 0)
		fd = closer->fd[0];
	else
		closer->runs = false;
	pthread_mutex_unlock(&closer->lock);
	return fd;
}

static void drop_first(struct vblk_vhost_closer *closer)
{
	pthread_mutex_lock(&closer->lock);
	closer->count--;
	for (unsigned i = 0; i < closer->count; i++)
		closer->fd[i] = closer->fd[i + 1];
	pthread_mutex_unlock(&closer->lock);
}

static void *close_all(void *context)
{
	struct vblk_vhost_closer *closer = context;
	int fd;

	while ((fd = next_fd(closer)) >= 0) {
		close(fd);
		drop_first(closer);
	}
	vblk_vhost_closer_release(closer);
	return NULL;
}

/* With the lock held. A thread that is not to be had now is tried for again later. */
static void see_to_it(struct vblk_vhost_closer *closer)
{
	sigset_t before;
	pthread_t thread;

	if (closer->runs || closer->count == 0)
		return;
	atomic_fetch_add_explicit(&closer->refs, 1, memory_order_relaxed);
	vblk_signals_block(&before);
	closer->runs = pthread_create(&thread, NULL, close_all, closer) == 0;
	vblk_signals_restore(&before);
	if (closer->runs)
		pthread_detach(thread);
	else
		atomic_fetch_sub_explicit(&closer->refs, 1, memory_order_relaxed);
}

void vblk_vhost_closer_close(struct vblk_vhost_closer *closer, int fd)
{
	pthread_mutex_lock(&closer->lock);
	if (closer->count < VBLK_VHOST_CLOSER_MAX) {
		closer->fd[closer->count++] = fd;
		fd = -1;
	}
	see_to_it(closer);
	pthread_mutex_unlock(&closer->lock);
	if (fd >= 0)
		close(fd);
}

bool vblk_vhost_closer_is_busy(struct vblk_vhost_closer *closer)
{
	bool busy;

	pthread_mutex_lock(&closer->lock);
	see_to_it(closer);
	busy = closer->count > 0;
	pthread_mutex_unlock(&closer->lock);
	return busy;
}
