/* SPDX-License-Identifier: MIT */
/*
 * The other end of the control socket: one caller that asks and waits for the answer. Every wait
 * is bounded by the time that was given when it was opened. One thread.
 *
 * Errors are a negative errno and one line of text in `message`.
 */
#ifndef CONTROL_CALL_H
#define CONTROL_CALL_H

#include <vblk/types.h>

#include <jansson.h>

struct vblk_control_call {
	int fd;
	const char *path; /* borrowed; for messages */
	uint64_t deadline_ns;
	uint32_t timeout_ms;
	char *buffer;
	size_t used, size;
};

/* Connects and reads the greeting. Close it after success only. */
VBLK_MUST_USE int vblk_control_call_open(struct vblk_control_call *call, const char *path,
					 uint32_t timeout_ms, char *message, size_t message_size);
void vblk_control_call_close(struct vblk_control_call *call);

/*
 * Sends a request, to which the id is added here, and waits for its reply. Takes over `request`.
 * Returns 0 and the result, a new reference; -EREMOTEIO if the server refused, with its words in
 * `message`; or another error, after which the connection is of no more use.
 */
VBLK_MUST_USE int vblk_control_call_ask(struct vblk_control_call *call, json_t *request,
					json_t **result, char *message, size_t message_size);

#endif
