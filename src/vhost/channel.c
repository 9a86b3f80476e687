/* SPDX-License-Identifier: MIT */
/*
 * Messages over a Unix socket. A stream socket never joins the bytes of two messages that both
 * brought descriptors into one read; beyond that we read at most to the end of the message that
 * we are at, so that what comes along belongs to it.
 */
#include "vhost/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/checked.h"

void vblk_vhost_channel_open(struct vblk_vhost_channel *channel, int fd,
			     enum vblk_vhost_direction direction)
{
	channel->fd = fd;
	channel->fd_count = 0;
	channel->messages = 0;
	channel->closer = NULL;
	channel->send_ms = VBLK_VHOST_SEND_MS;
	vblk_vhost_assembler_start(&channel->assembler, direction);
}

static void close_fds(struct vblk_vhost_channel *channel)
{
	for (unsigned i = 0; i < channel->fd_count; i++) {
		if (channel->fds[i] >= 0)
			close(channel->fds[i]);
	}
	channel->fd_count = 0;
}

void vblk_vhost_channel_close(struct vblk_vhost_channel *channel)
{
	close_fds(channel);
	if (channel->fd >= 0)
		close(channel->fd);
	channel->fd = -1;
}

/* Returns 0, or -EPROTO with *reason if it is not wanted here; it is closed then. */
static int keep_fd(struct vblk_vhost_channel *channel, int fd, const char **reason)
{
	if (channel->closer && !vblk_vhost_fd_is_prompt(fd, reason)) {
		vblk_vhost_closer_close(channel->closer, fd);
		return -EPROTO;
	}
	if (channel->fd_count == VBLK_VHOST_FDS_MAX) {
		*reason = "more than 8 descriptors came with a message";
		close(fd);
		return -EPROTO;
	}
	channel->fds[channel->fd_count++] = fd;
	return 0;
}

/* Keeps the descriptors of one read. Returns as keep_fd, of the last that was not wanted. */
static int keep_fds(struct vblk_vhost_channel *channel, struct msghdr *message, const char **reason)
{
	int ret = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			const char *why;
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (keep_fd(channel, fd, &why) < 0) {
				*reason = why;
				ret = -EPROTO;
			}
		}
	}
	return ret;
}

/* One read into `space`. Returns bytes, 0 if there are none now, or as the caller. */
static ssize_t receive(struct vblk_vhost_channel *channel, void *space, size_t room,
		       const char **reason)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * VBLK_VHOST_FDS_MAX)];
	} control;
	struct iovec iov = { space, room };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t got;
	int ret;

	do {
		got = recvmsg(channel->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	if (got <= 0)
		return -ECONNRESET;
	ret = keep_fds(channel, &message, reason);
	if (ret < 0)
		return ret;
	if (message.msg_flags & MSG_CTRUNC) {
		/* The kernel keeps back those that we have no room or no right for. */
		*reason = "descriptors of a message are missing: too many of them, or of ours open";
		return -EMFILE;
	}
	return got;
}

int vblk_vhost_channel_read(struct vblk_vhost_channel *channel, const char **reason)
{
	*reason = NULL;
	for (;;) {
		enum vblk_vhost_progress progress;
		size_t room;
		void *space = vblk_vhost_assembler_space(&channel->assembler, &room);
		ssize_t got;

		if (room == 0)
			return 1;
		got = receive(channel, space, room, reason);
		if (got <= 0)
			return (int)got;
		progress = vblk_vhost_assembler_took(&channel->assembler, (size_t)got);
		if (progress == VBLK_VHOST_BROKEN) {
			*reason = channel->assembler.reason;
			return -EPROTO;
		}
		if (progress == VBLK_VHOST_READY)
			return 1;
	}
}

int vblk_vhost_channel_take_fd(struct vblk_vhost_channel *channel, unsigned index)
{
	int fd = index < channel->fd_count ? channel->fds[index] : -1;

	if (fd >= 0)
		channel->fds[index] = -1;
	return fd;
}

void vblk_vhost_channel_next(struct vblk_vhost_channel *channel)
{
	enum vblk_vhost_direction direction = channel->assembler.direction;

	close_fds(channel);
	channel->messages++;
	vblk_vhost_assembler_start(&channel->assembler, direction);
}

/* Waits until the socket takes more. Returns 0, -ETIMEDOUT or -errno. */
static int wait_for_room(int fd, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };
	int count;

	do {
		count = poll(&poll_fd, 1, timeout_ms);
	} while (count < 0 && errno == EINTR);
	if (count < 0)
		return -errno;
	return count == 0 ? -ETIMEDOUT : 0;
}

int vblk_vhost_channel_send(struct vblk_vhost_channel *channel,
			    const struct vblk_vhost_frame *frame, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)frame->bytes, frame->length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *header;

		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	while (iov.iov_len > 0) {
		ssize_t sent = sendmsg(channel->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		int ret = 0;

		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			ret = wait_for_room(channel->fd, channel->send_ms);
		else if (sent < 0 && errno != EINTR)
			ret = -errno;
		if (ret < 0)
			return ret;
		if (sent <= 0)
			continue;
		iov.iov_base = (uint8_t *)iov.iov_base + sent;
		iov.iov_len -= (size_t)sent;
		message.msg_control = NULL; /* it went with the first byte */
		message.msg_controllen = 0;
	}
	return 0;
}
