/* SPDX-License-Identifier: MIT */
/* Asking, and waiting for the answer. What comes from the other end is not trusted to be ours. */
#include "control/call.h"

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
#define FIRST_ID  1

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

/* Waits until the socket is ready for `events`. */
static int wait_for(const struct vblk_control_call *call, short events,
		    const struct message *message)
{
	for (;;) {
		struct pollfd poll_fd = { .fd = call->fd, .events = events };
		const uint64_t now = vblk_clock_now(NULL);
		struct timespec left = { 0 };
		int ready;

		if (now < call->deadline_ns) {
			left.tv_sec = (time_t)((call->deadline_ns - now) / VBLK_NSEC_PER_SEC);
			left.tv_nsec = (long)((call->deadline_ns - now) % VBLK_NSEC_PER_SEC);
		}
		ready = ppoll(&poll_fd, 1, &left, NULL);
		if (ready > 0)
			return 0;
		if (ready == 0)
			return fail(message, -ETIMEDOUT, "'%s': no answer after %u ms", call->path,
				    call->timeout_ms);
		if (errno != EINTR)
			return fail(message, -errno, "'%s': %s", call->path, strerror(errno));
	}
}

static int send_all(const struct vblk_control_call *call, const char *text, size_t length,
		    const struct message *message)
{
	while (length) {
		const ssize_t sent = send(call->fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent >= 0) {
			text += sent;
			length -= (size_t)sent;
		} else if (errno == EAGAIN) {
			const int ret = wait_for(call, POLLOUT, message);

			if (ret)
				return ret;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			/* What it said before it went may be the reason. */
			return 0;
		} else if (errno != EINTR) {
			return fail(message, -errno, "'%s': %s", call->path, strerror(errno));
		}
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

/* Reads until there is a newline; *length is what stands before it. */
static int read_line(struct vblk_control_call *call, size_t *length, const struct message *message)
{
	size_t looked = 0;

	for (;;) {
		char *end = call->used > looked
				    ? memchr(call->buffer + looked, '\n', call->used - looked)
				    : NULL;
		ssize_t got;
		int ret;

		if (end) {
			*length = (size_t)(end - call->buffer);
			return 0;
		}
		looked = call->used;
		ret = make_room(call, message);
		if (!ret)
			ret = wait_for(call, POLLIN, message);
		if (ret)
			return ret;
		got = recv(call->fd, call->buffer + call->used, call->size - call->used,
			   MSG_DONTWAIT);
		if (got > 0)
			call->used += (size_t)got;
		else if (got == 0 || errno == ECONNRESET)
			return gone(call, message);
		else if (errno != EAGAIN && errno != EINTR)
			return fail(message, -errno, "'%s': %s", call->path, strerror(errno));
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

static int read_greeting(struct vblk_control_call *call, const struct message *message)
{
	json_t *greeting;
	int ret = read_object(call, &greeting, message);

	if (ret == -ETIMEDOUT)
		return fail(message, ret,
			    "'%s' says nothing for %u ms: it is no vblk control socket, or vblk "
			    "hangs",
			    call->path, call->timeout_ms);
	if (ret)
		return ret;
	ret = refused(greeting, message);
	if (!ret && !json_is_integer(json_object_get(greeting, "vblk")))
		ret = fail(message, -EPROTO, "'%s' is no vblk control socket: its greeting is not",
			   call->path);
	else if (!ret &&
		 json_integer_value(json_object_get(greeting, "vblk")) != VBLK_CONTROL_VERSION)
		ret = fail(message, -EPROTO,
			   "'%s' speaks version %" JSON_INTEGER_FORMAT
			   " of the control protocol, this vblk version %d",
			   call->path, json_integer_value(json_object_get(greeting, "vblk")),
			   VBLK_CONTROL_VERSION);
	json_decref(greeting);
	return ret;
}

int vblk_control_call_open(struct vblk_control_call *call, const char *path, uint32_t timeout_ms,
			   char *message_text, size_t message_size)
{
	const struct message message = { message_text, message_size };
	int ret;

	*call = (struct vblk_control_call){
		.fd = -1,
		.path = path,
		.timeout_ms = timeout_ms,
		.deadline_ns = vblk_clock_now(NULL) + timeout_ms * VBLK_NSEC_PER_MSEC,
	};
	ret = vblk_unix_connect(path, timeout_ms, &call->fd, message_text, message_size);
	if (!ret)
		ret = read_greeting(call, &message);
	if (ret)
		vblk_control_call_close(call);
	return ret;
}

void vblk_control_call_close(struct vblk_control_call *call)
{
	if (call->fd >= 0)
		close(call->fd);
	free(call->buffer);
	*call = (struct vblk_control_call){ .fd = -1 };
}

static int take_reply(struct vblk_control_call *call, json_t **result,
		      const struct message *message)
{
	json_t *reply;
	int ret = read_object(call, &reply, message);

	if (ret)
		return ret;
	ret = refused(reply, message);
	*result = json_object_get(reply, "result");
	if (!ret && (!json_is_true(json_object_get(reply, "ok")) || !json_is_object(*result) ||
		     json_integer_value(json_object_get(reply, "id")) != FIRST_ID))
		ret = fail(message, -EPROTO, "'%s': the reply is none to this request", call->path);
	if (!ret)
		json_incref(*result);
	json_decref(reply);
	return ret;
}

int vblk_control_call_ask(struct vblk_control_call *call, json_t *request, json_t **result,
			  char *message_text, size_t message_size)
{
	const struct message message = { message_text, message_size };
	char *line = NULL;
	int ret = 0;

	if (json_object_set_new(request, "id", json_integer(FIRST_ID)) == 0)
		line = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	if (!line)
		return fail(&message, -EINVAL,
			    "the request cannot be written: a word of it is no UTF-8");
	ret = send_all(call, line, strlen(line), &message);
	free(line);
	if (!ret)
		ret = send_all(call, "\n", 1, &message);
	return ret ? ret : take_reply(call, result, &message);
}
