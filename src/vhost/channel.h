/* SPDX-License-Identifier: MIT */
/*
 * One connection of vhost-user: messages with descriptors in, messages with descriptors out.
 *
 * Reading never blocks. A message is handed out when all of it is there; descriptors belong to the
 * message whose bytes they came with. Writing waits for a slow front end, but not for ever: our
 * messages are small and fit any socket's buffer unless the front end has stopped reading, and
 * then the connection is of no use.
 *
 * Belongs to one thread.
 */
#ifndef VBLK_VHOST_CHANNEL_H
#define VBLK_VHOST_CHANNEL_H

#include "vhost/codec.h"
#include "vhost/foreign_fd.h"

struct vblk_vhost_channel {
	int fd; /* owned */
	struct vblk_vhost_assembler assembler;
	int fds[VBLK_VHOST_FDS_MAX]; /* owned, of the message that is being put together */
	unsigned fd_count;
	uint64_t messages; /* that have come so far */
	/*
	 * Where descriptors go that may hang when they are closed. NULL, as it is at first: all are
	 * taken as they come. The owner sets it, and it outlives the channel.
	 */
	struct vblk_vhost_closer *closer;
	int send_ms; /* how long sending waits; VBLK_VHOST_SEND_MS */
};

#define VBLK_VHOST_SEND_MS 1000

/* Takes over a connected stream socket. */
void vblk_vhost_channel_open(struct vblk_vhost_channel *channel, int fd,
			     enum vblk_vhost_direction direction);

/* Closes the socket and what came over it. */
void vblk_vhost_channel_close(struct vblk_vhost_channel *channel);

/*
 * Reads on. Returns 1 when a message is ready (channel->assembler, channel->fds); 0 when more has
 * to come; -ECONNRESET when the other end has gone, in the middle of a message or not; -EPROTO with
 * *reason when this is no vhost-user or a descriptor came along that may hang (foreign_fd.h);
 * -EMFILE with *reason when descriptors were lost because we have too many.
 */
VBLK_MUST_USE int vblk_vhost_channel_read(struct vblk_vhost_channel *channel, const char **reason);

/* Takes descriptor `index` of the ready message: it is the caller's from then on. -1 afterwards. */
int vblk_vhost_channel_take_fd(struct vblk_vhost_channel *channel, unsigned index);

/* Done with the ready message: closes the descriptors that nobody took, and starts on the next. */
void vblk_vhost_channel_next(struct vblk_vhost_channel *channel);

/*
 * Sends a message, with a descriptor unless `fd` is -1. Returns 0, -ETIMEDOUT if the front end
 * does not read, or what sendmsg said. After an error the connection is of no use.
 */
VBLK_MUST_USE int vblk_vhost_channel_send(struct vblk_vhost_channel *channel,
					  const struct vblk_vhost_frame *frame, int fd);

#endif
