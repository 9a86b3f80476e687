/* SPDX-License-Identifier: MIT */
/*
 * What the front ends of a disk connect to: a socket that is made, or one that was passed on. The
 * server has a descriptor of its own of either. While any other is open the socket listens, so all
 * that are ours go when a server gives up, but for the standard streams.
 */
#include "cmd/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"

#define NAME "serve"

#define MESSAGE_SIZE 2048

/* Whether a descriptor is a Unix socket that listens for streams. */
static bool is_listening(int fd)
{
	int domain = 0, type = 0, accepts = 0;
	socklen_t length = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &length) == 0 && accepts;
}

static bool are_same(int a, int b)
{
	struct stat of_a, of_b;

	return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
	       of_a.st_ino == of_b.st_ino;
}

/* Two disks on one socket: which of them a front end gets would be chance. */
static int check_others(const struct serve *serve, unsigned int index)
{
	const struct serve_place *places = serve->options.places;

	for (unsigned int i = 0; i < index; i++) {
		if (places[i].path || !are_same(places[i].fd, places[index].fd))
			continue;
		cmd_complain(NAME, "--fd %d: is the socket of --fd %d, and of another disk",
			     places[index].fd, places[i].fd);
		return CMD_BAD_INPUT;
	}
	return CMD_OK;
}

int serve_check_passed_on(const struct serve *serve)
{
	for (unsigned int i = 0; i < serve->options.place_count; i++) {
		const struct serve_place *place = &serve->options.places[i];

		if (place->path)
			continue;
		if (!is_listening(place->fd)) {
			cmd_complain(NAME, "--fd %d: is no Unix stream socket that listens",
				     place->fd);
			return CMD_BAD_INPUT;
		}
		if (check_others(serve, i))
			return CMD_BAD_INPUT;
	}
	return CMD_OK;
}

static int adopt_descriptor(int fd, int *own)
{
	int flags;

	*own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	flags = *own < 0 ? -1 : fcntl(*own, F_GETFL);
	if (flags < 0 || fcntl(*own, F_SETFL, flags | O_NONBLOCK) < 0) {
		cmd_complain(NAME, "--fd %d: %s", fd, strerror(errno));
		return CMD_FAILED;
	}
	return CMD_OK;
}

int serve_listen(const struct serve_place *place, struct serve_disk *disk, int *own)
{
	char message[MESSAGE_SIZE];
	int ret;

	if (!place->path)
		return adopt_descriptor(place->fd, own);
	ret = vblk_unix_listen(place->path, &disk->listener, message, sizeof(message));
	if (ret) {
		cmd_complain(NAME, "--socket: %s", message);
		return ret == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
	}
	disk->has_listener = true;
	*own = fcntl(disk->listener.fd, F_DUPFD_CLOEXEC, 3);
	if (*own >= 0)
		return CMD_OK;
	cmd_complain(NAME, "--socket '%s': %s", place->path, strerror(errno));
	return CMD_FAILED;
}

void serve_stop_listening(struct serve_disk *disk)
{
	if (atomic_exchange(&disk->has_listener, false))
		vblk_unix_listener_close(&disk->listener);
}

void serve_close_passed_on(const struct serve *serve)
{
	for (unsigned int i = 0; i < serve->options.place_count; i++) {
		const struct serve_place *place = &serve->options.places[i];

		if (!place->path && place->fd > STDERR_FILENO)
			close(place->fd);
	}
}
