/* SPDX-License-Identifier: MIT */
/*
 * The first question is how many disks there are, unless it is about one; then one for each. Each
 * line has a bound of its own (control/call.c); those of all lines together are looked at here.
 */
#include "cmd/detail_call.h"

#ifdef VBLK_HAVE_JANSSON

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/size.h"
#include "control/call.h"

struct cmd_detail_call {
	struct vblk_control_call call;
	const char *only;
	json_t *disks;	/* as many as have been told of */
	bool has_count; /* the question for it was answered, or is not asked */
	size_t count;
};

struct message {
	char *text;
	size_t size;
};

static int fail(const struct message *message, int code, const char *text)
{
	snprintf(message->text, message->size, "%s", text);
	return code;
}

/* A number is an index: names that are numbers have one as well. */
static json_t *name_or_number(const char *disk)
{
	uint64_t index;

	return cmd_count_parse(disk, INT64_MAX, &index) == 0 ? json_integer((json_int_t)index)
							     : json_string(disk);
}

static int post(struct cmd_detail_call *call, json_t *request, const struct message *message)
{
	if (!request)
		return fail(message, -ENOMEM, "out of memory");
	return vblk_control_call_post(&call->call, request, message->text, message->size);
}

/* Asks for one disk. Takes over `which`. */
static int post_disk(struct cmd_detail_call *call, json_t *which, const struct message *message)
{
	if (!which)
		return fail(message, -EINVAL, "the disk's name is no text in UTF-8");
	return post(call,
		    json_pack("{s:s,s:o,s:b}", "command", "stats", "disk", which, "detail", true),
		    message);
}

static int post_first(struct cmd_detail_call *call, const struct message *message)
{
	if (!call->only)
		return post(call, json_pack("{s:s}", "command", "stats"), message);
	call->has_count = true;
	call->count = 1;
	return post_disk(call, name_or_number(call->only), message);
}

/* Takes over `reply`. */
static int take(struct cmd_detail_call *call, json_t *reply, const struct message *message)
{
	json_t *disks = json_object_get(reply, "disks");
	int ret = 0;

	if (!call->has_count) {
		call->has_count = true;
		call->count = json_array_size(disks);
	} else if (json_array_size(disks) != 1 || json_array_extend(call->disks, disks)) {
		ret = fail(message, -EPROTO, "the reply is not about one disk");
	}
	json_decref(reply);
	return ret;
}

/* Whether the server may go on, by what it has told so far. */
static int check_bounds(const struct cmd_detail_call *call, const struct message *message)
{
	const char *path = call->call.path;

	if (call->has_count && call->count > CMD_DETAIL_DISKS_MAX)
		snprintf(message->text, message->size,
			 "'%s' tells of %zu disks: no more than %u are taken", path, call->count,
			 CMD_DETAIL_DISKS_MAX);
	else if (call->call.received > CMD_DETAIL_BYTES_MAX)
		snprintf(message->text, message->size,
			 "'%s' tells too much of its disks: no more than %u MiB are taken", path,
			 CMD_DETAIL_BYTES_MAX >> 20);
	else
		return 0;
	return -EFBIG;
}

/* Asks for the next one, of which there is one. */
static int post_next(struct cmd_detail_call *call, const struct message *message)
{
	return post_disk(call, json_integer((json_int_t)json_array_size(call->disks)), message);
}

int cmd_detail_call_step(struct cmd_detail_call *call, struct json_t **result, char *text,
			 size_t size)
{
	const struct message message = { text, size };

	*result = NULL;
	for (;;) {
		json_t *reply;
		int ret = vblk_control_call_step(&call->call, &reply, text, size);

		if (!ret && !reply) /* the greeting */
			continue;
		if (!ret)
			ret = take(call, reply, &message);
		if (!ret)
			ret = check_bounds(call, &message);
		if (!ret && json_array_size(call->disks) == call->count)
			break;
		if (!ret)
			ret = post_next(call, &message);
		if (ret)
			return ret;
	}
	*result = json_pack("{s:O}", "disks", call->disks);
	return *result ? 0 : fail(&message, -ENOMEM, "out of memory");
}

int cmd_detail_call_fd(const struct cmd_detail_call *call)
{
	return call->call.fd;
}

short cmd_detail_call_events(const struct cmd_detail_call *call)
{
	return vblk_control_call_events(&call->call);
}

int cmd_detail_call_begin(const char *path, const char *only, uint32_t timeout_ms,
			  struct cmd_detail_call **call, char *text, size_t size)
{
	const struct message message = { text, size };
	struct cmd_detail_call *made = calloc(1, sizeof(*made));
	int ret;

	*call = NULL;
	if (!made)
		return fail(&message, -ENOMEM, "out of memory");
	made->only = only;
	ret = vblk_control_call_connect(&made->call, path, timeout_ms, text, size);
	if (ret) {
		free(made);
		return ret;
	}
	made->disks = json_array();
	ret = made->disks ? post_first(made, &message) : fail(&message, -ENOMEM, "out of memory");
	if (ret)
		cmd_detail_call_end(made);
	else
		*call = made;
	return ret;
}

void cmd_detail_call_end(struct cmd_detail_call *call)
{
	if (!call)
		return;
	json_decref(call->disks);
	vblk_control_call_close(&call->call);
	free(call);
}

int cmd_detail_call(const char *path, const char *only, uint32_t timeout_ms, struct json_t **result,
		    char *message, size_t size)
{
	struct cmd_detail_call *call;
	int ret = cmd_detail_call_begin(path, only, timeout_ms, &call, message, size);

	*result = NULL;
	if (ret)
		return ret;
	ret = cmd_detail_call_step(call, result, message, size);
	while (ret == -EAGAIN) {
		ret = vblk_control_call_wait(&call->call, UINT64_MAX, message, size);
		if (!ret)
			ret = cmd_detail_call_step(call, result, message, size);
	}
	cmd_detail_call_end(call);
	return ret;
}

#endif
