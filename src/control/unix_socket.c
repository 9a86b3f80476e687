/* SPDX-License-Identifier: MIT */
/*
 * Sockets in the file system. The order of the work: the folder is opened, the lock taken, what is
 * in the place is judged, and only then a name changes.
 */
#include "control/unix_socket.h"

#include "base/checked.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG	   64
#define LOCK_MODE  0600
#define LOCK_TRIES 100

static_assert(sizeof(((struct sockaddr_un *)NULL)->sun_path) >= VBLK_UNIX_PATH_MAX + 2,
	      "room for PATH~ and its end");

/* One call of vblk_unix_listen. */
struct place {
	const char *path;
	char *message;
	size_t message_size;
	struct vblk_unix_listener *listener;
};

__attribute__((format(printf, 2, 3))) static int refuse(const struct place *place,
							const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(place->message, place->message_size, format, args);
	va_end(args);
	return -EINVAL;
}

/* The host could not: `error` is a positive errno. */
static int failed(const struct place *place, const char *what, int error)
{
	refuse(place, "'%s': %s: %s", place->path, what, strerror(error));
	return -error;
}

static int check_path(const struct place *place)
{
	const size_t length = strlen(place->path);

	if (!length)
		return refuse(place, "the path of the socket is empty");
	if (place->path[length - 1] == '/')
		return refuse(place, "'%s' names a folder: the path of a socket is wanted",
			      place->path);
	if (length > VBLK_UNIX_PATH_MAX)
		return refuse(place,
			      "'%s' has %zu bytes: the path of a socket has at most %d (a relative "
			      "path may be shorter)",
			      place->path, length, VBLK_UNIX_PATH_MAX);
	return 0;
}

static void set_address(struct sockaddr_un *address, const char *path, const char *mark)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof(address->sun_path), "%s%s", path, mark);
}

static int open_folder(const struct place *place)
{
	struct vblk_unix_listener *listener = place->listener;
	char folder[VBLK_UNIX_PATH_MAX + 1];
	char name[VBLK_UNIX_PATH_MAX + 1];
	const char *where;

	/* dirname and basename write into what they are given. */
	snprintf(folder, sizeof(folder), "%s", place->path);
	snprintf(name, sizeof(name), "%s", place->path);
	where = dirname(folder);
	listener->name = strdup(basename(name));
	if (!listener->name || asprintf(&listener->lock_name, "%s.lock", listener->name) < 0) {
		listener->lock_name = NULL;
		return failed(place, "cannot be looked at", ENOMEM);
	}
	listener->folder_fd = open(where, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (listener->folder_fd >= 0)
		return 0;
	if (errno == ENOENT)
		return refuse(place, "'%s': the folder '%s' does not exist: create it first",
			      place->path, where);
	if (errno == ENOTDIR)
		return refuse(place, "'%s': '%s' is no folder", place->path, where);
	if (errno == EACCES)
		return refuse(place, "'%s': the folder '%s' may not be entered", place->path,
			      where);
	return failed(place, "its folder cannot be opened", errno);
}

/* Whether the lock file that was opened is still the one in the folder. */
static bool lock_is_there(const struct vblk_unix_listener *listener)
{
	struct stat ours, there;

	return fstat(listener->lock_fd, &ours) == 0 &&
	       fstatat(listener->folder_fd, listener->lock_name, &there, AT_SYMLINK_NOFOLLOW) ==
		       0 &&
	       ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

static int no_lock(const struct place *place, int error)
{
	if (error == ELOOP || error == EISDIR || error == ENXIO)
		return refuse(place, "'%s.lock' exists and is no regular file: remove it",
			      place->path);
	if (error == EACCES || error == EPERM || error == EROFS)
		return refuse(place,
			      "'%s': '%s.lock' cannot be made or opened: the folder must be "
			      "writable",
			      place->path, place->path);
	return failed(place, "its lock cannot be opened", error);
}

/*
 * Who ends removes the lock file, perhaps between our open and our lock: then that lock excludes
 * nobody, and another one is made.
 */
static int take_lock(const struct place *place)
{
	struct vblk_unix_listener *listener = place->listener;

	for (unsigned int i = 0; i < LOCK_TRIES; i++) {
		listener->lock_fd =
			openat(listener->folder_fd, listener->lock_name,
			       O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, LOCK_MODE);
		if (listener->lock_fd < 0)
			return no_lock(place, errno);
		if (flock(listener->lock_fd, LOCK_EX | LOCK_NB) < 0) {
			const int error = errno;

			close(listener->lock_fd);
			listener->lock_fd = -1;
			if (error == EWOULDBLOCK)
				return refuse(place,
					      "'%s' is in use by another vblk: stop it, or choose "
					      "another path",
					      place->path);
			return failed(place, "its lock cannot be taken", error);
		}
		if (lock_is_there(listener))
			return 0;
		close(listener->lock_fd);
		listener->lock_fd = -1;
	}
	return failed(place, "its lock cannot be taken", EBUSY);
}

/* Judges what is in the place. *stale: a socket that may be replaced; otherwise nothing is there.
 */
static int look(const struct place *place, bool *stale)
{
	struct sockaddr_un address;
	struct stat there;
	int fd, error;

	*stale = false;
	if (fstatat(place->listener->folder_fd, place->listener->name, &there,
		    AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : failed(place, "cannot be looked at", errno);
	if (!S_ISSOCK(there.st_mode))
		return refuse(place,
			      "'%s' exists and is no socket: remove it, or choose another path",
			      place->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return failed(place, "no socket can be made", errno);
	set_address(&address, place->path, "");
	error = connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? errno : 0;
	close(fd);
	switch (error) {
	case ECONNREFUSED:
	case ENOENT:
		*stale = error == ECONNREFUSED;
		return 0;
	case 0:
	case EAGAIN: /* so many wait already that there is no place in the line */
	case EPROTOTYPE:
		return refuse(place,
			      "'%s' is in use: a program listens on it; stop it, or choose "
			      "another path",
			      place->path);
	case EACCES:
		return refuse(place,
			      "'%s' is a socket of another user: remove it, or choose another path",
			      place->path);
	default:
		return failed(place, "cannot be looked at", error);
	}
}

/* Binds and listens under the temporary name. A leftover of that name has nobody: we have the lock.
 */
static int make_socket(const struct place *place, const char *temporary)
{
	struct vblk_unix_listener *listener = place->listener;
	struct sockaddr_un address;
	struct stat there;

	if (fstatat(listener->folder_fd, temporary, &there, AT_SYMLINK_NOFOLLOW) == 0) {
		if (!S_ISSOCK(there.st_mode))
			return refuse(place, "'%s~' exists and is no socket: remove it",
				      place->path);
		unlinkat(listener->folder_fd, temporary, 0);
	}
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener->fd < 0)
		return failed(place, "no socket can be made", errno);
	set_address(&address, place->path, "~");
	/* bind(2) gives the file the mode of the socket, less the umask: there is no moment in
	 * which others could connect. */
	if (fchmod(listener->fd, S_IRUSR | S_IWUSR) < 0 ||
	    bind(listener->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return failed(place, "the socket cannot be made", errno);
	if (fstatat(listener->folder_fd, temporary, &there, AT_SYMLINK_NOFOLLOW) < 0 ||
	    listen(listener->fd, BACKLOG) < 0) {
		const int error = errno;

		unlinkat(listener->folder_fd, temporary, 0);
		return failed(place, "nothing can listen there", error);
	}
	listener->device = there.st_dev;
	listener->inode = there.st_ino;
	return 0;
}

/* link(2) never replaces, rename(2) does. */
static int give_name(const struct place *place, const char *temporary, bool stale)
{
	const struct vblk_unix_listener *listener = place->listener;
	const int fd = listener->folder_fd;
	int error = 0;

	if (stale) {
		if (renameat(fd, temporary, fd, listener->name) == 0)
			return 0;
		error = errno;
	} else if (linkat(fd, temporary, fd, listener->name, 0) < 0) {
		error = errno;
	}
	unlinkat(fd, temporary, 0);
	if (error == EEXIST)
		return refuse(place, "'%s' has just been made by another program", place->path);
	return error ? failed(place, "the socket cannot be given its name", error) : 0;
}

static int listen_at(const struct place *place)
{
	char temporary[VBLK_UNIX_PATH_MAX + 2];
	bool stale;
	int ret = check_path(place);

	if (!ret)
		ret = open_folder(place);
	if (!ret)
		ret = take_lock(place);
	if (!ret)
		ret = look(place, &stale);
	if (ret)
		return ret;
	snprintf(temporary, sizeof(temporary), "%s~", place->listener->name);
	ret = make_socket(place, temporary);
	return ret ? ret : give_name(place, temporary, stale);
}

int vblk_unix_listen(const char *path, struct vblk_unix_listener *listener, char *message,
		     size_t message_size)
{
	const struct place place = { path, message, message_size, listener };
	int ret;

	*listener = (struct vblk_unix_listener){ .fd = -1, .folder_fd = -1, .lock_fd = -1 };
	ret = listen_at(&place);
	if (ret)
		vblk_unix_listener_close(listener);
	return ret;
}

void vblk_unix_listener_close(struct vblk_unix_listener *listener)
{
	struct stat there;

	/* Removed first: whoever finds the name gone makes a new socket, and need not wonder. */
	if (listener->inode &&
	    fstatat(listener->folder_fd, listener->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	    there.st_dev == listener->device && there.st_ino == listener->inode)
		unlinkat(listener->folder_fd, listener->name, 0);
	if (listener->fd >= 0)
		close(listener->fd);
	if (listener->lock_fd >= 0) {
		if (lock_is_there(listener))
			unlinkat(listener->folder_fd, listener->lock_name, 0);
		close(listener->lock_fd);
	}
	if (listener->folder_fd >= 0)
		close(listener->folder_fd);
	free(listener->name);
	free(listener->lock_name);
	*listener = (struct vblk_unix_listener){ .fd = -1, .folder_fd = -1, .lock_fd = -1 };
}

static int no_connection(const struct place *place, int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return refuse(place, "there is no socket '%s'", place->path);
	case ECONNREFUSED: {
		struct stat there;

		if (stat(place->path, &there) == 0 && !S_ISSOCK(there.st_mode))
			return refuse(place, "'%s' is no socket", place->path);
		refuse(place, "nobody listens on '%s': the program that made it is gone",
		       place->path);
		return -error;
	}
	case EACCES:
	case EPERM:
		return refuse(place, "'%s' may not be connected to: it is another user's",
			      place->path);
	case EPROTOTYPE:
		return refuse(place, "'%s' is a socket of another kind", place->path);
	case EAGAIN:
		refuse(place, "'%s' is not answered: the program that listens on it hangs",
		       place->path);
		return -ETIMEDOUT;
	default:
		return failed(place, "cannot be connected to", error);
	}
}

int vblk_unix_connect(const char *path, uint32_t timeout_ms, int *fd, char *message,
		      size_t message_size)
{
	/* A time of 0 would mean no limit. */
	const struct timeval limit = {
		.tv_sec = timeout_ms / 1000,
		.tv_usec = timeout_ms ? timeout_ms % 1000 * 1000 : 1,
	};
	const struct place place = { path, message, message_size, NULL };
	struct sockaddr_un address;
	int ret = check_path(&place);

	if (ret)
		return ret;
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return failed(&place, "no socket can be made", errno);
	set_address(&address, path, "");
	if (setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(*fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		ret = no_connection(&place, errno);
		close(*fd);
		*fd = -1;
	}
	return ret;
}
