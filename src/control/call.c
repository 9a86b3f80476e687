/* SPDX-License-Identifier: MIT */
/*
 * Asking, one request at a time, and the answer. There is one machine, which never waits; who may
 * wait does so between its steps. What comes from the other end is not trusted to be
 * ours.
 */
#include "control/call.h"

#include "base/checked.h"
#include "base/clock.h"
#include "control/protocol.h"
#include "control/unix_socket.h"
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLY_MAX (4u << 20)

struct message {
	char *text;
	size_t size;
};

__attribute__((format(printf, 3, 4))) static int fail(const struct message *message, int code,
						      const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(message->text, message->size, format, args);
	va_end(args);
	return code;
}

static int gone(const struct vblk_control_call *call, const struct message *message)
{
	return fail(message, -ECONNRESET, "'%s': the server has closed the connection", call->path);
}

/* What was posted, as far as the socket takes it now. */
static int send_posted(struct vblk_control_call *call, const struct message *message)
{
	while (call->sent < call->posted) {
		const ssize_t sent = send(call->fd, call->out + call->sent,
					  call->posted - call->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent >= 0)
			call->sent += (size_t)sent;
		else if (errno == EAGAIN)
			return 0;
		else if (errno == EPIPE || errno == ECONNRESET)
			/* What it said before it went may be the reason. */
			call->sent = call->posted;
		else if (errno != EINTR)
			return fail(message, -errno, "'%s': %s", call->path, strerror(errno));
	}
	return 0;
}

static int make_room(struct vblk_control_call *call, const struct message *message)
{
	const size_t size = call->size ? call->size * 2 : 4096;
	char *grown;

	if (call->used < call->size)
		return 0;
	if (size > REPLY_MAX)
		return fail(message, -EPROTO,
			    "'%s' is no vblk control socket: it sends without an end", call->path);
	grown = realloc(call->buffer, size);
	if (!grown)
		return fail(message, -ENOMEM, "out of memory");
	call->buffer = grown;
	call->size = size;
	return 0;
}

/* Reads until there is a newline; *length is what stands before it. -EAGAIN: not yet. */
static int read_line(struct vblk_control_call *call, size_t *length, const struct message *message)
{
	for (;;) {
		const char *end = call->used > call->looked
					  ? memchr(call->buffer + call->looked, '\n',
						   call->used - call->looked)
					  : NULL;
		ssize_t got;
		int ret;

		if (end) {
			*length = (size_t)(end - call->buffer);
			return 0;
		}
		call->looked = call->used;
		ret = make_room(call, message);
		if (ret)
			return ret;
		got = recv(call->fd, call->buffer + call->used, call->size - call->used,
			   MSG_DONTWAIT);
		if (got > 0) {
			call->used += (size_t)got;
			call->received += (uint64_t)got;
		} else if (got == 0 || errno == ECONNRESET) {
			return gone(call, message);
		} else if (errno == EAGAIN) {
			return -EAGAIN;
		} else if (errno != EINTR) {
			return fail(message, -errno, "'%s': %s", call->path, strerror(errno));
		}
	}
}

/* The next line as JSON: an object. */
static int read_object(struct vblk_control_call *call, json_t **object,
		       const struct message *message)
{
	size_t length = 0;
	int ret = read_line(call, &length, message);

	if (ret)
		return ret;
	*object = json_loadb(call->buffer, length, JSON_REJECT_DUPLICATES, NULL);
	call->used -= length + 1;
	memmove(call->buffer, call->buffer + length + 1, call->used);
	call->looked = 0;
	if (json_is_object(*object))
		return 0;
	json_decref(*object);
	return fail(message, -EPROTO, "'%s' is no vblk control socket: it sends no JSON",
		    call->path);
}

/* The server's own words, if this is an error of it. */
static int refused(const json_t *reply, const struct message *message)
{
	const char *text =
		json_string_value(json_object_get(json_object_get(reply, "error"), "message"));

	return text ? fail(message, -EREMOTEIO, "%s", text) : 0;
}

static int check_greeting(struct vblk_control_call *call, const json_t *greeting,
			  const struct message *message)
{
	const json_t *version = json_object_get(greeting, "vblk");
	const int ret = refused(greeting, message);

	if (ret)
		return ret;
	if (!json_is_integer(version))
		return fail(message, -EPROTO, "'%s' is no vblk control socket: its greeting is not",
			    call->path);
	if (json_integer_value(version) != VBLK_CONTROL_VERSION)
		return fail(message, -EPROTO,
			    "'%s' speaks version %" JSON_INTEGER_FORMAT
			    " of the control protocol, this vblk version %d",
			    call->path, json_integer_value(version), VBLK_CONTROL_VERSION);
	call->greeted = true;
	return 0;
}

static int take_reply(struct vblk_control_call *call, const json_t *reply, json_t **result,
		      const struct message *message)
{
	json_t *found = json_object_get(reply, "result");
	const int ret = refused(reply, message);

	if (ret)
		return ret;
	if (!json_is_true(json_object_get(reply, "ok")) || !json_is_object(found) ||
	    json_integer_value(json_object_get(reply, "id")) != call->id)
		return fail(message, -EPROTO, "'%s': the reply is none to this request",
			    call->path);
	*result = json_incref(found);
	return 0;
}

int vblk_control_call_connect(struct vblk_control_call *call, const char *path, uint32_t timeout_ms,
			      char *message, size_t message_size)
{
	*call = (struct vblk_control_call){
		.fd = -1,
		.path = path,
		.timeout_ms = timeout_ms,
		.deadline_ns = vblk_clock_now(NULL) + timeout_ms * VBLK_NSEC_PER_MSEC,
	};
	return vblk_unix_connect(path, timeout_ms, &call->fd, message, message_size);
}

void vblk_control_call_close(struct vblk_control_call *call)
{
	if (call->fd >= 0)
		close(call->fd);
	free(call->buffer);
	free(call->out);
	*call = (struct vblk_control_call){ .fd = -1 };
}

int vblk_control_call_post(struct vblk_control_call *call, json_t *request, char *message_text,
			   size_t message_size)
{
	const struct message message = { message_text, message_size };
	char *line = NULL;
	size_t length;

	if (json_object_set_new(request, "id", json_integer(++call->id)) == 0)
		line = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	if (!line)
		return fail(&message, -EINVAL,
			    "the request cannot be written: a word of it is no UTF-8");
	length = strlen(line);
	line[length] = '\n'; /* in the place of the end, which is not sent */
	free(call->out);
	call->out = line;
	call->posted = length + 1;
	call->sent = 0;
	return 0;
}

int vblk_control_call_step(struct vblk_control_call *call, json_t **result, char *message_text,
			   size_t message_size)
{
	const struct message message = { message_text, message_size };
	json_t *object;
	int ret;

	*result = NULL;
	ret = send_posted(call, &message);
	if (!ret)
		ret = read_object(call, &object, &message);
	if (ret)
		return ret;
	if (call->greeted)
		ret = take_reply(call, object, result, &message);
	else
		ret = check_greeting(call, object, &message);
	json_decref(object);
	return ret;
}

short vblk_control_call_events(const struct vblk_control_call *call)
{
	return (short)(call->sent < call->posted ? POLLIN | POLLOUT : POLLIN);
}

static int timed_out(const struct vblk_control_call *call, const struct message *message)
{
	if (call->greeted)
		return fail(message, -ETIMEDOUT, "'%s': no answer after %u ms", call->path,
			    call->timeout_ms);
	return fail(message, -ETIMEDOUT,
		    "'%s' says nothing for %u ms: it is no vblk control socket, or vblk hangs",
		    call->path, call->timeout_ms);
}

int vblk_control_call_wait(const struct vblk_control_call *call, uint64_t until_ns,
			   char *message_text, size_t message_size)
{
	const struct message message = { message_text, message_size };

	for (;;) {
		struct pollfd poll_fd = { .fd = call->fd,
					  .events = vblk_control_call_events(call) };
		const uint64_t end_ns = vblk_min_u64(until_ns, call->deadline_ns);
		const uint64_t now = vblk_clock_now(NULL);
		const uint64_t left_ns = now < end_ns ? end_ns - now : 0;
		const struct timespec left = {
			.tv_sec = (time_t)(left_ns / VBLK_NSEC_PER_SEC),
			.tv_nsec = (long)(left_ns % VBLK_NSEC_PER_SEC),
		};
		const int ready = ppoll(&poll_fd, 1, &left, NULL);

		if (ready > 0 || (ready == 0 && until_ns < call->deadline_ns))
			return 0;
		if (ready == 0)
			return timed_out(call, &message);
		if (errno != EINTR)
			return fail(&message, -errno, "'%s': %s", call->path, strerror(errno));
	}
}

/* Steps, and waits in between, until the greeting or a reply was there. */
static int wait_for_object(struct vblk_control_call *call, json_t **result, char *message,
			   size_t message_size)
{
	int ret = vblk_control_call_step(call, result, message, message_size);

	while (ret == -EAGAIN) {
		ret = vblk_control_call_wait(call, UINT64_MAX, message, message_size);
		if (!ret)
			ret = vblk_control_call_step(call, result, message, message_size);
	}
	return ret;
}

int vblk_control_call_open(struct vblk_control_call *call, const char *path, uint32_t timeout_ms,
			   char *message, size_t message_size)
{
	json_t *nothing;
	int ret = vblk_control_call_connect(call, path, timeout_ms, message, message_size);

	if (!ret)
		ret = wait_for_object(call, &nothing, message, message_size);
	if (ret)
		vblk_control_call_close(call);
	return ret;
}

int vblk_control_call_ask(struct vblk_control_call *call, json_t *request, json_t **result,
			  char *message, size_t message_size)
{
	const int ret = vblk_control_call_post(call, request, message, message_size);

	return ret ? ret : wait_for_object(call, result, message, message_size);
}
