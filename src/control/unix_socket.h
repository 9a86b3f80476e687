/* SPDX-License-Identifier: MIT */
/*
 * Listening on a path, and connecting to one.
 *
 * Where a path may be listened on, the same for every socket of the program:
 *
 *     nothing is there                    a socket is made
 *     a socket that nobody listens on     it is replaced: who made it died
 *     a socket that somebody listens on   refused
 *     anything else, also a link          refused
 *     its folder is missing               refused
 *
 * Programs of this kind that start on the same path at once are kept apart by a lock on PATH.lock,
 * which is held as long as the socket is there: one of them wins, the others are refused. A
 * program that does not know the lock can still put a socket of its own into the moment between
 * the look and the replacement.
 *
 * The socket is made and listens under the name PATH~ and is then given its own, so whoever sees
 * PATH can connect. Only its owner may (mode 0600): the user of the process at the time.
 *
 * All functions answer with 0; -EINVAL if what was asked for is wrong; or another negative errno.
 * With an error there is one line of text in `message` that names the path and says what would be
 * right. Any thread; a listener belongs to one.
 */
#ifndef CONTROL_UNIX_SOCKET_H
#define CONTROL_UNIX_SOCKET_H

#include <sys/types.h>
#include <vblk/types.h>

/* The longest path: what the kernel takes, less the mark of the temporary name. */
#define VBLK_UNIX_PATH_MAX 106

struct vblk_unix_listener {
	int fd; /* listening, non-blocking, close-on-exec */
	/* The rest is for vblk_unix_listener_close. */
	int folder_fd;
	int lock_fd;
	dev_t device;
	ino_t inode;
	char *name; /* in the folder */
	char *lock_name;
};

VBLK_MUST_USE int vblk_unix_listen(const char *path, struct vblk_unix_listener *listener,
				   char *message, size_t message_size);

/*
 * Closes the socket and removes it from its folder if it is still the one that was made here, also
 * if the working directory is another one by now. Connections that were accepted stay open.
 */
void vblk_unix_listener_close(struct vblk_unix_listener *listener);

/*
 * Connects to a path; *fd is blocking and close-on-exec. A server that does not accept is waited
 * for, for `timeout_ms`.
 */
VBLK_MUST_USE int vblk_unix_connect(const char *path, uint32_t timeout_ms, int *fd, char *message,
				    size_t message_size);

#endif
