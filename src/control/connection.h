/* SPDX-License-Identifier: MIT */
/*
 * One client of the control socket: bytes in, bytes out, and nothing of what they mean. Never
 * blocks. What a client can cost is bounded: one line of input, and of output that it has not read
 * VBLK_CONTROL_OUTPUT_MAX bytes, or one text if that is longer, behind less than as many. One
 * thread.
 */
#ifndef CONTROL_CONNECTION_H
#define CONTROL_CONNECTION_H

#include "control/protocol.h"

/* With as many bytes that wait to be read, nothing more is taken for a client. */
#define VBLK_CONTROL_OUTPUT_MAX (1u << 20)

struct vblk_control_connection {
	int fd;		/* owned; non-blocking */
	bool no_input;	/* nothing more is read: the end was seen, or the client is sent away */
	bool deaf;	/* the client has closed its end: output is thrown away */
	bool doomed;	/* to be closed at once */
	uint32_t armed; /* the events that epoll looks for; for the owner */
	unsigned int pending; /* replies that are to come yet; for the owner */
	size_t in_used;
	size_t out_start, out_end, out_size;
	char *out;
	char in[VBLK_CONTROL_LINE_MAX + 1];
};

/* Takes over `fd`. NULL: no memory, and `fd` is closed. */
struct vblk_control_connection *vblk_control_connection_create(int fd);
void vblk_control_connection_destroy(struct vblk_control_connection *connection);

/*
 * Reads once and calls `take` for each line that is complete, without its newline; empty lines are
 * left out. Stops when the connection is doomed or told no_input. What stands behind the last
 * newline when the client closes its end is no line. Returns 0, or -EMSGSIZE for a line that is too
 * long, after which nothing more is read.
 */
VBLK_MUST_USE int vblk_control_connection_read(struct vblk_control_connection *connection,
					       void (*take)(void *context,
							    struct vblk_control_connection *from,
							    const char *line, size_t length),
					       void *context);

/*
 * Sends a text, or as much as goes, and keeps the rest. NULL, for which there was no memory, dooms
 * the connection: a reply that is missing would be waited for. So does a client that does not read.
 */
void vblk_control_connection_send(struct vblk_control_connection *connection, const char *text);

/* The same, and frees the text. */
void vblk_control_connection_send_own(struct vblk_control_connection *connection, char *text);

/* Sends on what was kept. */
void vblk_control_connection_flush(struct vblk_control_connection *connection);

/* Whether nothing is left to be done for this client. */
bool vblk_control_connection_is_over(const struct vblk_control_connection *connection);

/* The events that are of interest now: EPOLLIN, EPOLLOUT. */
uint32_t vblk_control_connection_events(const struct vblk_control_connection *connection);

#endif
