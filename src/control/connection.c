/* SPDX-License-Identifier: MIT */
/* Lines from a socket, and texts into it. */
#include "control/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct vblk_control_connection *vblk_control_connection_create(int fd)
{
	struct vblk_control_connection *connection = malloc(sizeof(*connection));

	if (!connection) {
		close(fd);
		return NULL;
	}
	memset(connection, 0, offsetof(struct vblk_control_connection, in));
	connection->fd = fd;
	return connection;
}

void vblk_control_connection_destroy(struct vblk_control_connection *connection)
{
	close(connection->fd);
	free(connection->out);
	free(connection);
}

/* Hands over the lines that are complete and moves the rest to the front. */
static void take_lines(struct vblk_control_connection *connection,
		       void (*take)(void *context, struct vblk_control_connection *from,
				    const char *line, size_t length),
		       void *context)
{
	size_t start = 0;

	while (!connection->doomed && !connection->no_input) {
		const char *line = connection->in + start;
		const char *end = memchr(line, '\n', connection->in_used - start);
		size_t length;

		if (!end)
			break;
		length = (size_t)(end - line);
		start += length + 1;
		if (length && line[length - 1] == '\r')
			length--;
		if (length)
			take(context, connection, line, length);
	}
	connection->in_used -= start;
	memmove(connection->in, connection->in + start, connection->in_used);
}

int vblk_control_connection_read(struct vblk_control_connection *connection,
				 void (*take)(void *context, struct vblk_control_connection *from,
					      const char *line, size_t length),
				 void *context)
{
	ssize_t got;

	if (connection->no_input)
		return 0;
	got = recv(connection->fd, connection->in + connection->in_used,
		   sizeof(connection->in) - connection->in_used, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got <= 0) {
		connection->no_input = true;
		connection->doomed = connection->doomed || got < 0;
		return 0;
	}
	connection->in_used += (size_t)got;
	take_lines(connection, take, context);
	if (connection->in_used <= VBLK_CONTROL_LINE_MAX)
		return 0;
	connection->no_input = true;
	return -EMSGSIZE;
}

void vblk_control_connection_flush(struct vblk_control_connection *connection)
{
	while (!connection->deaf && connection->out_start < connection->out_end) {
		const ssize_t sent = send(connection->fd, connection->out + connection->out_start,
					  connection->out_end - connection->out_start,
					  MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent >= 0)
			connection->out_start += (size_t)sent;
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR)
			/* What it has sent before it went is still carried out. */
			connection->deaf = true;
	}
	connection->out_start = connection->out_end = 0;
}

static bool make_room(struct vblk_control_connection *connection, size_t length)
{
	const size_t kept = connection->out_end - connection->out_start;
	size_t size = connection->out_size ? connection->out_size : 4096;
	char *grown;

	if (connection->out_start) {
		memmove(connection->out, connection->out + connection->out_start, kept);
		connection->out_start = 0;
		connection->out_end = kept;
	}
	if (kept >= VBLK_CONTROL_OUTPUT_MAX)
		return false;
	while (size < kept + length)
		size *= 2;
	if (size == connection->out_size)
		return true;
	grown = realloc(connection->out, size);
	if (!grown)
		return false;
	connection->out = grown;
	connection->out_size = size;
	return true;
}

void vblk_control_connection_send(struct vblk_control_connection *connection, const char *text)
{
	const size_t length = text ? strlen(text) : 0;

	if (connection->deaf || connection->doomed)
		return;
	if (!text || !make_room(connection, length)) {
		connection->doomed = true;
		return;
	}
	memcpy(connection->out + connection->out_end, text, length);
	connection->out_end += length;
	vblk_control_connection_flush(connection);
}

void vblk_control_connection_send_own(struct vblk_control_connection *connection, char *text)
{
	vblk_control_connection_send(connection, text);
	free(text);
}

bool vblk_control_connection_is_over(const struct vblk_control_connection *connection)
{
	const bool silent = connection->deaf ||
			    (connection->out_start == connection->out_end && !connection->pending);

	return connection->doomed || (connection->no_input && silent);
}

uint32_t vblk_control_connection_events(const struct vblk_control_connection *connection)
{
	return (connection->no_input ? 0 : (uint32_t)EPOLLIN) |
	       (connection->out_start < connection->out_end ? (uint32_t)EPOLLOUT : 0);
}
