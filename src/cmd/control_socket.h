/* SPDX-License-Identifier: MIT */
/*
 * The control socket of a running vblk, whatever it runs: the listener on --control and the server
 * behind it, from the first to the last, and what is the same for every disk that is controlled.
 *
 *     static const struct vblk_control_ops ops = { ... };
 *
 *     status = cmd_control_open(&control, &options);
 *     poll: cmd_control_fd(&control)  ->  cmd_control_run(&control);
 *     ...
 *     cmd_control_close(&control);
 *
 * A struct of zeros is a control socket that is not there: all functions but cmd_control_run take
 * it. One thread. In a vblk without jansson none can be opened.
 */
#ifndef CMD_CONTROL_SOCKET_H
#define CMD_CONTROL_SOCKET_H

#include "control/server.h"
#include "control/unix_socket.h"
#include <vblk/backing.h>

struct cmd_control {
	struct vblk_control_server *server; /* NULL: none */
	struct vblk_unix_listener listener;
	bool has_listener;
};

/* What is pointed to outlives the control socket. */
struct cmd_control_options {
	const char *name;	  /* of the sub-command, for complaints */
	const char *path;	  /* NULL: there is to be none */
	const char *const *disks; /* what clients call them */
	unsigned int disk_count;
	const struct vblk_control_ops *ops;
	void *context; /* of the ops */
};

/* Returns an exit status; when it is not CMD_OK that was told, and there is still to be a close. */
VBLK_MUST_USE int cmd_control_open(struct cmd_control *control,
				   const struct cmd_control_options *options);
void cmd_control_close(struct cmd_control *control);

/* What to wait for, and what disks that come to rest are to write to; -1 without a socket. */
int cmd_control_fd(const struct cmd_control *control);
int cmd_control_parked_fd(const struct cmd_control *control);

/* There is something to do. */
void cmd_control_run(struct cmd_control *control);

/* A disk may have come to rest without a write to the descriptor. */
void cmd_control_check(struct cmd_control *control);

/* The `fault` operation for a disk with this backing, which takes faults at any time. */
int cmd_control_set_faults(struct vblk_backing *backing, const char *const *texts, size_t count,
			   char *message, size_t message_size);

/* The message of the `resize` operation: passes on what the disk has said. */
int cmd_control_resized(int ret, uint64_t bytes, char *message, size_t message_size);

#endif
