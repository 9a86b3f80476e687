/* SPDX-License-Identifier: MIT */
/*
 * Taking a request apart: which members a command may have is a table, and each of them has a
 * function that reads its value. What is not in the table is refused, so that a misspelled member
 * is never silently without effect.
 */
#include "control/protocol.h"

#include "base/checked.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_SIZE 256

static const char *const command_names[VBLK_CONTROL_COMMANDS] = {
	[VBLK_CONTROL_STATS] = "stats",	  [VBLK_CONTROL_THROTTLE] = "throttle",
	[VBLK_CONTROL_PAUSE] = "pause",	  [VBLK_CONTROL_RESUME] = "resume",
	[VBLK_CONTROL_RESIZE] = "resize", [VBLK_CONTROL_FAULT] = "fault",
	[VBLK_CONTROL_QUIT] = "quit",	  [VBLK_CONTROL_FREEZE] = "freeze",
	[VBLK_CONTROL_THAW] = "thaw",	  [VBLK_CONTROL_DUMP] = "dump",
};

struct reading {
	struct vblk_control_request *request;
	struct vblk_control_error *error;
	vblk_control_size_fn parse_size;
};

struct member {
	const char *name;
	uint32_t commands; /* a bit for each that may have it */
	uint32_t required; /* and for each that must */
	int (*take)(struct reading *reading, const struct member *member, const json_t *value);
	size_t offset; /* of its field in the request, if take wants it */
};

int vblk_control_error_set(struct vblk_control_error *error, enum vblk_control_code code,
			   const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	error->code = code;
	return -EINVAL;
}

static int no_memory(struct vblk_control_error *error)
{
	vblk_control_error_set(error, VBLK_CONTROL_FAILED, "out of memory");
	return -ENOMEM;
}

static int wrong_type(struct reading *reading, const struct member *member, const char *wanted)
{
	return vblk_control_error_set(reading->error, VBLK_CONTROL_REQUEST, "\"%s\": %s is wanted",
				      member->name, wanted);
}

static int take_nothing(struct reading *reading, const struct member *member, const json_t *value)
{
	(void)reading;
	(void)member;
	(void)value;
	return 0;
}

static int take_disk(struct reading *reading, const struct member *member, const json_t *value)
{
	if (json_is_string(value)) {
		reading->request->disk_name = strdup(json_string_value(value));
		return reading->request->disk_name ? 0 : no_memory(reading->error);
	}
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return wrong_type(reading, member, "the name of a disk, or its index from 0 on");
	reading->request->has_disk_index = true;
	reading->request->disk_index = (uint64_t)json_integer_value(value);
	return 0;
}

/* Bytes: a number, or a text as people write sizes. */
static int read_size(struct reading *reading, const struct member *member, const json_t *value,
		     uint64_t *bytes)
{
	static const char wanted[] = "a number of bytes, or a size like \"64M\",";
	int ret;

	if (json_is_integer(value) && json_integer_value(value) >= 0) {
		*bytes = (uint64_t)json_integer_value(value);
		return 0;
	}
	if (!json_is_string(value))
		return wrong_type(reading, member, wanted);
	ret = reading->parse_size(json_string_value(value), bytes);
	if (ret == -ERANGE)
		return vblk_control_error_set(reading->error, VBLK_CONTROL_INVALID,
					      "\"%s\": \"%s\" is too large", member->name,
					      json_string_value(value));
	return ret ? wrong_type(reading, member, wanted) : 0;
}

static int take_rate(struct reading *reading, const struct member *member, const json_t *value)
{
	struct vblk_control_limit *limit =
		(struct vblk_control_limit *)((char *)reading->request + member->offset);

	limit->given = true;
	if (json_is_null(value))
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return wrong_type(reading, member,
				  "a whole number per second, or 0 or null for none,");
	limit->value = (uint64_t)json_integer_value(value);
	return 0;
}

static int take_byte_rate(struct reading *reading, const struct member *member, const json_t *value)
{
	struct vblk_control_limit *limit =
		(struct vblk_control_limit *)((char *)reading->request + member->offset);

	limit->given = true;
	return json_is_null(value) ? 0 : read_size(reading, member, value, &limit->value);
}

static int take_timeout(struct reading *reading, const struct member *member, const json_t *value)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    json_integer_value(value) > VBLK_CONTROL_TIMEOUT_MAX_MS)
		return wrong_type(reading, member, "a number of milliseconds, at most 3600000,");
	reading->request->timeout_ms = (uint32_t)json_integer_value(value);
	return 0;
}

static int take_size(struct reading *reading, const struct member *member, const json_t *value)
{
	return read_size(reading, member, value, &reading->request->size);
}

static int take_flag(struct reading *reading, const struct member *member, const json_t *value)
{
	bool *flag = (bool *)((char *)reading->request + member->offset);

	if (!json_is_boolean(value))
		return wrong_type(reading, member, "true or false");
	*flag = json_is_true(value);
	return 0;
}

static int add_rule(struct reading *reading, const json_t *value)
{
	struct vblk_control_request *request = reading->request;

	request->rules[request->rule_count] = strdup(json_string_value(value));
	if (!request->rules[request->rule_count])
		return no_memory(reading->error);
	request->rule_count++;
	return 0;
}

static int take_rules(struct reading *reading, const struct member *member, const json_t *value)
{
	const size_t count = json_is_array(value) ? json_array_size(value) : 1;
	int ret = 0;

	if (json_is_null(value))
		return 0;
	if (count > VBLK_CONTROL_RULES_MAX)
		return vblk_control_error_set(reading->error, VBLK_CONTROL_INVALID,
					      "\"%s\": %zu rules are too many: at most %u",
					      member->name, count, VBLK_CONTROL_RULES_MAX);
	reading->request->rules = calloc(count + 1, sizeof(*reading->request->rules));
	if (!reading->request->rules)
		return no_memory(reading->error);
	for (size_t i = 0; i < count && !ret; i++) {
		const json_t *rule = json_is_array(value) ? json_array_get(value, i) : value;

		ret = json_is_string(rule)
			      ? add_rule(reading, rule)
			      : wrong_type(reading, member, "a rule, an array of rules or null");
	}
	return ret;
}

#define BIT(command) (1u << VBLK_CONTROL_##command)
#define EVERY	     ((1u << VBLK_CONTROL_COMMANDS) - 1)
#define MACHINE	     (BIT(QUIT) | BIT(FREEZE) | BIT(THAW) | BIT(DUMP)) /* no disk's */
#define FIELD(name)  offsetof(struct vblk_control_request, name)

static const struct member members[] = {
	{ "id", EVERY, 0, take_nothing, 0 },
	{ "command", EVERY, EVERY, take_nothing, 0 },
	{ "disk", EVERY & ~MACHINE, 0, take_disk, 0 },
	{ "detail", BIT(STATS), 0, take_flag, FIELD(detail) },
	{ "iops", BIT(THROTTLE), 0, take_rate, FIELD(iops) },
	{ "iops_burst", BIT(THROTTLE), 0, take_rate, FIELD(iops_burst) },
	{ "bps", BIT(THROTTLE), 0, take_byte_rate, FIELD(bps) },
	{ "bps_burst", BIT(THROTTLE), 0, take_byte_rate, FIELD(bps_burst) },
	{ "timeout_ms", BIT(PAUSE), 0, take_timeout, 0 },
	{ "size", BIT(RESIZE), BIT(RESIZE), take_size, 0 },
	{ "force", BIT(RESIZE), 0, take_flag, FIELD(force) },
	{ "fault", BIT(FAULT), BIT(FAULT), take_rules, 0 },
};

static const struct member *find_member(const char *name)
{
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(members); i++)
		if (strcmp(name, members[i].name) == 0)
			return &members[i];
	return NULL;
}

static int unknown_member(struct reading *reading, const char *name)
{
	char list[LIST_SIZE] = "";
	size_t used = 0;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(members) && used < sizeof(list); i++)
		if (members[i].commands >> reading->request->command & 1)
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s\"%s\"",
						 used ? ", " : "", members[i].name);
	return vblk_control_error_set(reading->error, VBLK_CONTROL_REQUEST,
				      "\"%s\" is no member of \"%s\": its members are %s", name,
				      command_names[reading->request->command], list);
}

static int take_command(struct reading *reading, const json_t *object)
{
	const json_t *value = json_object_get(object, "command");
	const char *name = json_string_value(value);
	char list[LIST_SIZE] = "";
	size_t used = 0;

	if (!name)
		return vblk_control_error_set(reading->error, VBLK_CONTROL_REQUEST,
					      "\"command\": the name of a command is wanted");
	for (unsigned int i = 0; i < VBLK_CONTROL_COMMANDS; i++) {
		if (strcmp(name, command_names[i]) == 0) {
			reading->request->command = (enum vblk_control_command)i;
			return 0;
		}
		if (used < sizeof(list))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
						 i ? ", " : "", command_names[i]);
	}
	return vblk_control_error_set(reading->error, VBLK_CONTROL_COMMAND,
				      "unknown command \"%s\": the commands are %s", name, list);
}

static int take_members(struct reading *reading, json_t *object)
{
	const uint32_t bit = 1u << reading->request->command;

	for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
		const char *key = json_object_iter_key(i);
		const struct member *member = find_member(key);
		int ret;

		if (!member || !(member->commands & bit))
			return unknown_member(reading, key);
		ret = member->take(reading, member, json_object_iter_value(i));
		if (ret)
			return ret;
	}
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(members); i++)
		if (members[i].required & bit && !json_object_get(object, members[i].name))
			return vblk_control_error_set(reading->error, VBLK_CONTROL_REQUEST,
						      "\"%s\" is missing: \"%s\" needs it",
						      members[i].name,
						      command_names[reading->request->command]);
	return 0;
}

static int check_whole(struct reading *reading)
{
	const struct vblk_control_request *request = reading->request;

	if (request->command == VBLK_CONTROL_THROTTLE && !request->iops.given &&
	    !request->iops_burst.given && !request->bps.given && !request->bps_burst.given)
		return vblk_control_error_set(
			reading->error, VBLK_CONTROL_REQUEST,
			"there is no limit: \"throttle\" needs one of \"iops\", \"iops_burst\", "
			"\"bps\", \"bps_burst\"");
	return 0;
}

/* The id as it will be sent back. */
static int take_id(struct reading *reading, const json_t *object)
{
	const json_t *value = json_object_get(object, "id");

	if (value) {
		char *id = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

		if (!id)
			return no_memory(reading->error);
		free(reading->request->id);
		reading->request->id = id;
	}
	return 0;
}

int vblk_control_request_parse(const char *line, size_t length, vblk_control_size_fn parse_size,
			       struct vblk_control_request *request,
			       struct vblk_control_error *error)
{
	struct reading reading = { request, error, parse_size };
	json_error_t wrong;
	json_t *object;
	int ret;

	*request = (struct vblk_control_request){ .timeout_ms = VBLK_CONTROL_TIMEOUT_DEFAULT_MS };
	request->id = strdup("null");
	if (!request->id)
		return no_memory(error);
	object = json_loadb(line, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &wrong);
	if (!object) {
		if (json_error_code(&wrong) == json_error_out_of_memory)
			return no_memory(error);
		return vblk_control_error_set(error, VBLK_CONTROL_PARSE,
					      "the line is no JSON: %s, at byte %d", wrong.text,
					      wrong.position);
	}
	if (!json_is_object(object))
		ret = vblk_control_error_set(error, VBLK_CONTROL_PARSE,
					     "the line is no JSON object: one like "
					     "{\"id\":1,\"command\":\"stats\"} is wanted");
	else
		ret = take_id(&reading, object);
	if (!ret)
		ret = take_command(&reading, object);
	if (!ret)
		ret = take_members(&reading, object);
	if (!ret)
		ret = check_whole(&reading);
	json_decref(object);
	return ret;
}

void vblk_control_request_free(struct vblk_control_request *request)
{
	free(request->id);
	free(request->disk_name);
	for (size_t i = 0; i < request->rule_count; i++)
		free(request->rules[i]);
	free((void *)request->rules);
	memset(request, 0, sizeof(*request));
}

/* One rate and its burst. A rate that goes takes its burst along. */
static int merge(const char *name, const struct vblk_control_limit *rate,
		 const struct vblk_control_limit *burst, uint64_t *rate_now, uint64_t *burst_now,
		 struct vblk_control_error *error)
{
	const char *origin = burst->given ? "" : ", which it has,";

	if (rate->given) {
		*rate_now = rate->value;
		if (!rate->value)
			*burst_now = 0;
	}
	if (burst->given)
		*burst_now = burst->value;
	if (!*burst_now)
		return 0;
	if (!*rate_now)
		return vblk_control_error_set(
			error, VBLK_CONTROL_INVALID,
			"%s_burst=%" PRIu64
			" without %s: give the rate too, or %s_burst=0 for none; nothing was "
			"changed",
			name, *burst_now, name, name);
	if (*burst_now < *rate_now)
		return vblk_control_error_set(
			error, VBLK_CONTROL_INVALID,
			"%s_burst=%" PRIu64 "%s is below %s=%" PRIu64
			": a burst is at least one second of the rate, and %s_burst=0 means just "
			"that; nothing was changed",
			name, *burst_now, origin, name, *rate_now, name);
	return 0;
}

int vblk_control_throttle_merge(const struct vblk_control_request *request,
				const struct vblk_throttle *now, struct vblk_throttle *merged,
				struct vblk_control_error *error)
{
	int ret;

	*merged = *now;
	ret = merge("iops", &request->iops, &request->iops_burst, &merged->iops,
		    &merged->iops_burst, error);
	if (!ret)
		ret = merge("bps", &request->bps, &request->bps_burst, &merged->bps,
			    &merged->bps_burst, error);
	return ret;
}

int vblk_control_resize_check(const struct vblk_control_request *request, uint64_t now,
			      struct vblk_control_error *error)
{
	if (request->size < VBLK_SECTOR_SIZE || request->size > INT64_MAX ||
	    request->size % VBLK_SECTOR_SIZE != 0)
		return vblk_control_error_set(error, VBLK_CONTROL_INVALID,
					      "\"size\": %" PRIu64
					      " cannot be: a disk has a multiple of %u bytes, at "
					      "least that and below 2^63",
					      request->size, VBLK_SECTOR_SIZE);
	if (request->size < now && !request->force)
		return vblk_control_error_set(error, VBLK_CONTROL_REFUSED,
					      "\"size\": %" PRIu64 " is below the %" PRIu64
					      " bytes that the disk has: the guest would lose "
					      "what is behind; \"force\" does it anyway",
					      request->size, now);
	return 0;
}
