/* SPDX-License-Identifier: MIT */
/*
 * What clients ask for: a line is understood, the operation of the program is called, and the reply
 * is sent. The reply to a pause comes later, when the disk is at rest or the time is up. Knows
 * connections only as what sends a line, and no sockets. One thread.
 */
#ifndef CONTROL_COMMANDS_H
#define CONTROL_COMMANDS_H

#include "control/connection.h"
#include "control/server.h"

/* A pause that is not answered yet. */
struct vblk_control_pending {
	struct vblk_control_connection *from; /* NULL: the entry is free */
	char *id;
	unsigned int disk;
	uint32_t timeout_ms;
	uint64_t deadline_ns;
};

/* Starts with options and zeros. The members are for reading only. */
struct vblk_control_commands {
	const struct vblk_control_options *options; /* outlive it */
	struct vblk_control_pending pending[VBLK_CONTROL_PENDING_MAX];
};

/* Carries out a line of `from`. `context` is a struct vblk_control_commands. */
void vblk_control_commands_take(void *context, struct vblk_control_connection *from,
				const char *line, size_t length);

/* Answers the pauses whose disk is at rest, or whose time is up. */
void vblk_control_commands_check(struct vblk_control_commands *all);

/* When that is to be done at the latest, on the clock of the options; UINT64_MAX: never. */
uint64_t vblk_control_commands_deadline(const struct vblk_control_commands *all);

/* A connection ends: what it waits for is nobody's any more. */
void vblk_control_commands_forget(struct vblk_control_commands *all,
				  const struct vblk_control_connection *from);

void vblk_control_send_error(struct vblk_control_connection *to, const char *id,
			     const struct vblk_control_error *error);

#endif
