/* SPDX-License-Identifier: MIT */
/*
 * The other end of the control socket: one caller that asks, one request at a time.
 *
 * Who may wait opens and asks, and every wait is bounded by the time that was given when it was
 * opened. Who may not wait connects, posts a request and steps whenever the descriptor is ready:
 *
 *     vblk_control_call_connect(&call, path, 0, ...);
 *     vblk_control_call_post(&call, request, ...);
 *     poll: call.fd, vblk_control_call_events(&call)  ->  vblk_control_call_step(&call, ...);
 *     ...
 *     vblk_control_call_close(&call);
 *
 * Errors are a negative errno and one line of text in `message`. One thread.
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
	bool greeted;
	json_int_t id; /* of the last request */
	char *buffer;  /* what was received and not taken yet */
	size_t used, size;
	size_t looked;	   /* how much of it is known to have no newline */
	uint64_t received; /* bytes, since it was connected */
	char *out;	   /* the last request */
	size_t posted, sent;
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

/*
 * Connects, and no more. Where others stand in line already, that waits for as long as the timeout
 * says, for a moment if that is 0, and ends with -ETIMEDOUT. Close it after success only.
 */
VBLK_MUST_USE int vblk_control_call_connect(struct vblk_control_call *call, const char *path,
					    uint32_t timeout_ms, char *message,
					    size_t message_size);

/* Has a request sent, once the one before it has been answered. Takes it over. */
VBLK_MUST_USE int vblk_control_call_post(struct vblk_control_call *call, json_t *request,
					 char *message, size_t message_size);

/*
 * Sends and receives what goes without waiting. Returns 0 and the result of the request, a new
 * reference, or NULL when that was the greeting; -EAGAIN if there is nothing yet; or what
 * vblk_control_call_ask returns.
 */
VBLK_MUST_USE int vblk_control_call_step(struct vblk_control_call *call, json_t **result,
					 char *message, size_t message_size);

/* What to wait for, for poll(2), before the next step. */
short vblk_control_call_events(const struct vblk_control_call *call);

/* Waits for that until a moment (CLOCK_MONOTONIC), or until the call's time is up: -ETIMEDOUT. */
VBLK_MUST_USE int vblk_control_call_wait(const struct vblk_control_call *call, uint64_t until_ns,
					 char *message, size_t message_size);

#endif
