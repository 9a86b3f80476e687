/* SPDX-License-Identifier: MIT */
#include "cmd/sampler.h"

#ifdef VBLK_HAVE_JANSSON

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/size.h"
#include "control/call.h"

struct message {
	char *text;
	size_t size;
};

static int no_memory(const struct message *message)
{
	snprintf(message->text, message->size, "out of memory");
	return -ENOMEM;
}

/* A number is an index: names that are numbers have one as well. */
static json_t *name_or_number(const char *disk)
{
	uint64_t index;

	return cmd_count_parse(disk, INT64_MAX, &index) == 0 ? json_integer((json_int_t)index)
							     : json_string(disk);
}

/* Asks for one disk, and appends it to `disks`. Takes over `which`. */
static int ask_one(struct vblk_control_call *call, json_t *which, json_t *disks,
		   const struct message *message)
{
	json_t *result;
	int ret;

	if (!which) {
		snprintf(message->text, message->size, "the disk's name is no text in UTF-8");
		return -EINVAL;
	}
	ret = vblk_control_call_ask(
		call, json_pack("{s:s,s:o,s:b}", "command", "stats", "disk", which, "detail", true),
		&result, message->text, message->size);
	if (ret)
		return ret;
	if (json_array_extend(disks, json_object_get(result, "disks")))
		ret = -EPROTO;
	json_decref(result);
	if (ret)
		snprintf(message->text, message->size, "the reply has no disks");
	return ret;
}

static int ask_all(struct vblk_control_call *call, json_t *disks, const struct message *message)
{
	json_t *result;
	size_t count;
	int ret = vblk_control_call_ask(call, json_pack("{s:s}", "command", "stats"), &result,
					message->text, message->size);

	if (ret)
		return ret;
	count = json_array_size(json_object_get(result, "disks"));
	json_decref(result);
	for (size_t i = 0; i < count && ret == 0; i++)
		ret = ask_one(call, json_integer((json_int_t)i), disks, message);
	return ret;
}

int cmd_sampler_ask(const char *path, const char *only, uint32_t timeout_ms, struct json_t **result,
		    char *text, size_t size)
{
	const struct message message = { text, size };
	struct vblk_control_call call;
	json_t *disks = json_array();
	int ret;

	if (!disks)
		return no_memory(&message);
	ret = vblk_control_call_open(&call, path, timeout_ms, text, size);
	if (ret == 0) {
		ret = only ? ask_one(&call, name_or_number(only), disks, &message)
			   : ask_all(&call, disks, &message);
		vblk_control_call_close(&call);
	}
	*result = ret ? NULL : json_pack("{s:O}", "disks", disks);
	json_decref(disks);
	return ret == 0 && !*result ? no_memory(&message) : ret;
}

void cmd_sampler_init(struct cmd_sampler *sampler, const char *path, const char *only)
{
	*sampler = (struct cmd_sampler){ .path = path, .only = only };
}

static void forget(struct cmd_sampler *sampler)
{
	free(sampler->disks);
	sampler->disks = NULL;
	sampler->count = 0;
}

void cmd_sampler_destroy(struct cmd_sampler *sampler)
{
	forget(sampler);
}

static const struct cmd_sample *find(const struct cmd_sampler *sampler, const char *name)
{
	for (size_t i = 0; i < sampler->count; i++)
		if (strcmp(sampler->disks[i].now.name, name) == 0)
			return &sampler->disks[i].now;
	return NULL;
}

/* Puts the new disks in the place of the old ones, from which their rates come. */
static int take(struct cmd_sampler *sampler, const json_t *disks)
{
	const size_t count = json_array_size(disks);
	struct cmd_sampler_disk *fresh = calloc(count ? count : 1, sizeof(*fresh));

	if (!fresh)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const struct cmd_sample *before;

		cmd_sample_read(json_array_get(disks, i), &fresh[i].now);
		fresh[i].now.at_ns = vblk_clock_now(NULL);
		before = find(sampler, fresh[i].now.name);
		if (!before)
			continue;
		cmd_rates_between(before, &fresh[i].now, &fresh[i].rates);
		fresh[i].has_rates = true;
	}
	forget(sampler);
	sampler->disks = fresh;
	sampler->count = count;
	return 0;
}

int cmd_sampler_look(struct cmd_sampler *sampler, uint32_t timeout_ms)
{
	const struct message message = { sampler->why, sizeof(sampler->why) };
	json_t *result = NULL;
	int ret;

	sampler->why[0] = '\0';
	ret = cmd_sampler_ask(sampler->path, sampler->only, timeout_ms, &result, message.text,
			      message.size);
	if (ret == 0) {
		ret = take(sampler, json_object_get(result, "disks"));
		if (ret)
			ret = no_memory(&message);
	}
	json_decref(result);
	if (ret)
		forget(sampler);
	return ret;
}

#endif
