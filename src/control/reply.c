/* SPDX-License-Identifier: MIT */
/* Writing the lines that a client gets. A result is built as JSON; the id is text already. */
#include "control/protocol.h"

#include "base/checked.h"
#include "control/detail.h"
#include "metrics/counters.h"
#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const code_names[VBLK_CONTROL_CODES] = {
	[VBLK_CONTROL_PARSE] = "parse",
	[VBLK_CONTROL_REQUEST] = "request",
	[VBLK_CONTROL_COMMAND] = "unknown-command",
	[VBLK_CONTROL_DISK] = "unknown-disk",
	[VBLK_CONTROL_INVALID] = "invalid",
	[VBLK_CONTROL_REFUSED] = "refused",
	[VBLK_CONTROL_UNSUPPORTED] = "unsupported",
	[VBLK_CONTROL_BUSY] = "busy",
	[VBLK_CONTROL_TIMED_OUT] = "timeout",
	[VBLK_CONTROL_RESUMED] = "resumed",
	[VBLK_CONTROL_FAILED] = "failed",
	[VBLK_CONTROL_TOO_LONG] = "too-long",
	[VBLK_CONTROL_TOO_MANY] = "too-many-clients",
};

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)vblk_min_u64(value, INT64_MAX));
}

/* File names and cut texts need not be UTF-8, JSON is. */
static json_t *text(const char *value)
{
	json_t *string = json_string(value);
	char *copy;

	if (string)
		return string;
	copy = strdup(value);
	if (!copy)
		return NULL;
	for (char *c = copy; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	string = json_string(copy);
	free(copy);
	return string;
}

/* Puts a finished value behind its opening: `head` value `tail` newline. Takes over `value`. */
static char *line(const char *head, const char *id, const char *middle, json_t *value,
		  const char *tail)
{
	char *dump = value ? json_dumps(value, JSON_COMPACT) : NULL;
	char *result = NULL;

	if (dump && asprintf(&result, "%s%s%s%s%s\n", head, id, middle, dump, tail) < 0)
		result = NULL;
	free(dump);
	json_decref(value);
	return result;
}

static char *reply(const char *id, json_t *result)
{
	return line("{\"id\":", id, ",\"ok\":true,\"result\":", result, "}");
}

char *vblk_control_greeting(const char *version, const char *const *names, unsigned int count)
{
	json_t *disks = json_array();

	for (unsigned int i = 0; i < count; i++)
		json_array_append_new(disks, text(names[i]));
	return line("", "", "",
		    json_pack("{s:i,s:o,s:o}", "vblk", VBLK_CONTROL_VERSION, "version",
			      text(version), "disks", disks),
		    "");
}

char *vblk_control_reply_done(const char *id)
{
	return reply(id, json_object());
}

char *vblk_control_reply_freeze(const char *id, const struct vblk_control_freeze *freeze,
				const char *const *names, unsigned int count)
{
	json_t *left_out = json_array();

	for (unsigned int i = 0; i < count; i++)
		if (freeze->left_out >> i & 1)
			json_array_append_new(left_out, text(names[i]));
	return reply(id, json_pack("{s:i,s:i,s:o,s:o}", "vcpus", (int)freeze->vcpus, "disks",
				   (int)freeze->disks, "left_out", left_out, "took_us",
				   number(freeze->took_us)));
}

char *vblk_control_reply_dump(const char *id, const char *path)
{
	return reply(id, json_pack("{s:o}", "path", text(path)));
}

static json_t *throttle_object(const struct vblk_throttle *throttle)
{
	return json_pack("{s:o,s:o,s:o,s:o}", "iops", number(throttle->iops), "iops_burst",
			 number(throttle->iops_burst), "bps", number(throttle->bps), "bps_burst",
			 number(throttle->bps_burst));
}

char *vblk_control_reply_throttle(const char *id, const struct vblk_throttle *throttle)
{
	return reply(id, throttle_object(throttle));
}

char *vblk_control_reply_capacity(const char *id, uint64_t bytes)
{
	return reply(id, json_pack("{s:o}", "capacity", number(bytes)));
}

static json_t *counters_object(const struct vblk_metrics_snapshot *counters)
{
	json_t *object = json_object();

	for (size_t i = 0; i < vblk_metrics_counter_count; i++) {
		if (json_object_set_new(object, vblk_metrics_counters[i].name,
					number(vblk_metrics_counter_value(counters, i)))) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static json_t *disk_object(const struct vblk_control_disk *disk, unsigned int index)
{
	json_t *object = json_pack(
		"{s:o,s:i,s:o,s:b,s:b,s:o,s:o,s:o}", "name", text(disk->name), "index", (int)index,
		"capacity", number(disk->capacity_bytes), "connected", disk->connected, "paused",
		disk->paused, "workers_abandoned", number(disk->workers_abandoned), "throttle",
		throttle_object(&disk->throttle), "counters", counters_object(&disk->counters));

	if (!disk->metrics || !object)
		return object;
	if (json_object_set_new(object, "detail", vblk_control_detail(disk->metrics))) {
		json_decref(object);
		return NULL;
	}
	return object;
}

char *vblk_control_reply_stats(const char *id, const struct vblk_control_disk *disks,
			       unsigned int first, unsigned int count)
{
	json_t *array = json_array();

	for (unsigned int i = 0; i < count; i++) {
		if (json_array_append_new(array, disk_object(&disks[i], first + i))) {
			json_decref(array);
			return NULL;
		}
	}
	return reply(id, json_pack("{s:o}", "disks", array));
}

char *vblk_control_reply_error(const char *id, const struct vblk_control_error *error)
{
	return line("{\"id\":", id, ",\"ok\":false,\"error\":",
		    json_pack("{s:s,s:o}", "code", code_names[error->code], "message",
			      text(error->text)),
		    "}");
}
