/* SPDX-License-Identifier: MIT */
/*
 * Taking a disk's description apart.
 *
 * The text is cut at single commas into items, an item at its first '=' into key and value. What
 * a key means is one row of a table: a new key is a row, a field of the struct, and, if it needs
 * a check of its own, a function.
 */
#include "cmd/disk_spec.h"

#include "base/checked.h"
#include "cmd/cpu_list.h"
#include "cmd/fault_spec.h"
#include "cmd/message.h"
#include "cmd/nearest.h"
#include "cmd/size.h"
#include "cmd/template_spec.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_SIZE 1024

enum key_kind {
	KEY_FLAG,   /* bool, set by its presence */
	KEY_STRING, /* char *, not empty */
	KEY_SIZE,   /* uint64_t, with suffix */
	KEY_COUNT,  /* uint64_t, plain */
	KEY_OTHER,  /* has a value; its function does the rest */
};

struct key {
	const char *name;
	enum key_kind kind;
	bool repeats;  /* may be given several times */
	size_t offset; /* of its field in struct cmd_disk_spec; not with KEY_OTHER */
	/* What only this key does with its value, after it has been stored; may be NULL. */
	int (*take)(struct cmd_disk_spec *spec, const char *value,
		    const struct cmd_message *message);
};

static int take_template(struct cmd_disk_spec *spec, const char *value,
			 const struct cmd_message *message)
{
	char text[MESSAGE_SIZE];
	const struct cmd_message why = { text, sizeof(text) };

	if (cmd_template_parse(value, &spec->template_fs, &spec->template_bytes, &why))
		return cmd_message_set(message, "template=%s", text);
	return 0;
}

static int check_size(struct cmd_disk_spec *spec, const char *value,
		      const struct cmd_message *message)
{
	(void)value;
	if (spec->size < VBLK_SECTOR_SIZE || spec->size > INT64_MAX)
		return cmd_message_set(message,
				       "size=%" PRIu64 " is out of range: from one sector, 512, to "
				       "2^63-1 bytes",
				       spec->size);
	return 0;
}

static int check_serial(struct cmd_disk_spec *spec, const char *value,
			const struct cmd_message *message)
{
	(void)value;
	if (strlen(spec->serial) > CMD_SERIAL_MAX)
		return cmd_message_set(message, "serial=%s is too long: at most %d bytes",
				       spec->serial, CMD_SERIAL_MAX);
	return 0;
}

static int add_fault(struct cmd_disk_spec *spec, const char *value,
		     const struct cmd_message *message)
{
	char text[MESSAGE_SIZE];
	const struct cmd_message why = { text, sizeof(text) };
	struct vblk_faulty_rule rule;
	struct vblk_faulty_rule *grown;
	int ret = cmd_fault_parse(value, &rule, &why);

	if (ret == -EINVAL)
		return cmd_message_set(message, "fault=%s: %s", value, text);
	if (ret)
		return cmd_message_no_memory(message);
	grown = reallocarray(spec->faults, spec->fault_count + 1, sizeof(*grown));
	if (!grown)
		return cmd_message_no_memory(message);
	grown[spec->fault_count++] = rule;
	spec->faults = grown;
	return 0;
}

static int wrong_cpu(const char *key, const char *value, int error, const char *wanted,
		     const struct cmd_message *message)
{
	if (error == -ERANGE)
		return cmd_message_set(message, "%s=%s is out of range: processors are 0 to %d",
				       key, value, CMD_CPU_MAX);
	return cmd_message_set(message, "%s=%s: %s is wanted", key, value, wanted);
}

static int take_cpu(struct cmd_disk_spec *spec, const char *value,
		    const struct cmd_message *message)
{
	uint64_t cpu;
	int ret = cmd_count_parse(value, CMD_CPU_MAX, &cpu);

	if (ret)
		return wrong_cpu("cpu", value, ret, "the number of a processor", message);
	spec->placement.pinned = true;
	spec->placement.cpu = (uint32_t)cpu;
	return 0;
}

static int take_cpus(struct cmd_disk_spec *spec, const char *value,
		     const struct cmd_message *message)
{
	uint32_t *cpus;
	int ret = cmd_cpu_list_parse(value, &cpus, &spec->placement.cpu_count);

	if (ret == -ENOMEM)
		return cmd_message_no_memory(message);
	if (ret)
		return wrong_cpu("cpus", value, ret, "a list of processors like 2, 0-3 or 0-3,,5",
				 message);
	spec->placement.cpus = cpus;
	return 0;
}

static int take_undeliverable(struct cmd_disk_spec *spec, const char *value,
			      const struct cmd_message *message)
{
	if (strcmp(value, "needs-reset") == 0)
		spec->on_undeliverable = VBLK_UNDELIVERABLE_NEEDS_RESET;
	else if (strcmp(value, "drop") == 0)
		spec->on_undeliverable = VBLK_UNDELIVERABLE_DROP;
	else
		return cmd_message_set(message, "undeliverable=%s: drop or needs-reset is wanted",
				       value);
	return 0;
}

static int take_engine(struct cmd_disk_spec *spec, const char *value,
		       const struct cmd_message *message)
{
	if (strcmp(value, "sync") == 0)
		spec->engine = CMD_DISK_SYNC;
	else if (strcmp(value, "uring") == 0)
		spec->engine = CMD_DISK_URING;
	else if (strcmp(value, "mmap") == 0)
		spec->engine = CMD_DISK_MMAP;
	else
		return cmd_message_set(message, "engine=%s: sync, uring or mmap is wanted", value);
	return 0;
}

static int take_poll(struct cmd_disk_spec *spec, const char *value,
		     const struct cmd_message *message)
{
	uint64_t us;

	if (cmd_count_parse(value, VBLK_POLL_US_MAX, &us) < 0)
		return cmd_message_set(message,
				       "poll-us=%s: a number of microseconds up to %u is wanted",
				       value, VBLK_POLL_US_MAX);
	spec->poll_us = us ? (uint32_t)us : VBLK_POLL_NEVER;
	return 0;
}

static int take_queues(struct cmd_disk_spec *spec, const char *value,
		       const struct cmd_message *message)
{
	uint64_t queues;
	int ret = cmd_count_parse(value, VBLK_DEVICE_QUEUES_MAX, &queues);

	if (ret || queues == 0)
		return cmd_message_set(message, "queues=%s: a number from 1 to %u is wanted", value,
				       VBLK_DEVICE_QUEUES_MAX);
	spec->queues = (uint16_t)queues;
	return 0;
}

static int take_features(struct cmd_disk_spec *spec, const char *value,
			 const struct cmd_message *message)
{
	if (strcmp(value, "all") == 0)
		spec->features = VBLK_FEATURES_ALL;
	else if (strcmp(value, "base") == 0)
		spec->features = VBLK_FEATURES_BASE;
	else
		return cmd_message_set(message, "features=%s: all or base is wanted", value);
	return 0;
}

#define FIELD(member) offsetof(struct cmd_disk_spec, member)

static const struct key keys[] = {
	{ "path", KEY_STRING, false, FIELD(path), NULL },
	{ "template", KEY_STRING, false, FIELD(template), take_template },
	{ "no-mount", KEY_FLAG, false, FIELD(no_mount), NULL },
	{ "ro", KEY_FLAG, false, FIELD(read_only), NULL },
	{ "size", KEY_SIZE, false, FIELD(size), check_size },
	{ "serial", KEY_STRING, false, FIELD(serial), check_serial },
	{ "iops", KEY_COUNT, false, FIELD(throttle.iops), NULL },
	{ "iops-burst", KEY_COUNT, false, FIELD(throttle.iops_burst), NULL },
	{ "bps", KEY_SIZE, false, FIELD(throttle.bps), NULL },
	{ "bps-burst", KEY_SIZE, false, FIELD(throttle.bps_burst), NULL },
	{ "fault", KEY_OTHER, true, 0, add_fault },
	{ "cpu", KEY_OTHER, false, 0, take_cpu },
	{ "cpus", KEY_OTHER, false, 0, take_cpus },
	{ "undeliverable", KEY_OTHER, false, 0, take_undeliverable },
	{ "features", KEY_OTHER, false, 0, take_features },
	{ "engine", KEY_OTHER, false, 0, take_engine },
	{ "direct", KEY_FLAG, false, FIELD(direct), NULL },
	{ "poll-us", KEY_OTHER, false, 0, take_poll },
	{ "queues", KEY_OTHER, false, 0, take_queues },
};

static int unknown_key(const char *name, const struct cmd_message *message)
{
	struct cmd_nearest nearest;
	char hint[CMD_NEAREST_HINT];
	char list[256] = "";
	size_t used = 0;

	cmd_nearest_begin(&nearest, name);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(keys); i++)
		cmd_nearest_offer(&nearest, keys[i].name);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(keys) && used < sizeof(list); i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
					 keys[i].name);
	return cmd_message_set(message,
			       "unknown key '%s'%s the keys are %s (a comma in a value is written "
			       "twice)",
			       name, cmd_nearest_hint(&nearest, "", NULL, hint), list);
}

static int parse_number(const struct key *key, const char *value, uint64_t *number,
			const struct cmd_message *message)
{
	const char *wanted =
		key->kind == KEY_SIZE ? "a size like 512, 4k, 64M or 1G" : "a plain number";
	int ret = key->kind == KEY_SIZE ? cmd_size_parse(value, number)
					: cmd_count_parse(value, UINT64_MAX, number);

	if (ret == -ERANGE)
		return cmd_message_set(message, "%s=%s is too large", key->name, value);
	if (ret)
		return cmd_message_set(message, "%s=%s: %s is wanted", key->name, value, wanted);
	return 0;
}

static int store(const struct key *key, char *value, struct cmd_disk_spec *spec,
		 const struct cmd_message *message)
{
	void *field = (char *)spec + key->offset;

	if (key->kind == KEY_FLAG) {
		if (value)
			return cmd_message_set(message, "'%s' takes no value", key->name);
		*(bool *)field = true;
		return 0;
	}
	if (!value || !*value)
		return cmd_message_set(message, "'%s' needs a value: %s=...", key->name, key->name);
	if (key->kind == KEY_OTHER)
		return 0;
	if (key->kind != KEY_STRING)
		return parse_number(key, value, field, message);
	*(char **)field = strdup(value);
	return *(char **)field ? 0 : cmd_message_no_memory(message);
}

/* `seen` has a bit for each key that has been there. */
static int parse_item(char *item, struct cmd_disk_spec *spec, uint32_t *seen,
		      const struct cmd_message *message)
{
	char *value = strchr(item, '=');
	size_t i;
	int ret;

	if (!*item)
		return cmd_message_set(
			message, "an item is empty: write path=FILE,key=value and no comma more "
				 "(two for one that is part of a value)");
	if (value)
		*value++ = '\0';
	for (i = 0; i < VBLK_ARRAY_SIZE(keys); i++)
		if (strcmp(item, keys[i].name) == 0)
			break;
	if (i == VBLK_ARRAY_SIZE(keys))
		return unknown_key(item, message);
	if (!keys[i].repeats && *seen & (1u << i))
		return cmd_message_set(message, "'%s' is given twice: once is enough", item);
	*seen |= 1u << i;

	ret = store(&keys[i], value, spec, message);
	if (!ret && keys[i].take)
		ret = keys[i].take(spec, value, message);
	return ret;
}

/*
 * Copies the next item to `item`, which has room for all of the text, with double commas made
 * single. Returns where to go on, or NULL at the end.
 */
static const char *next_item(const char *text, char *item)
{
	while (*text) {
		if (*text == ',') {
			if (text[1] != ',')
				break;
			text++;
		}
		*item++ = *text++;
	}
	*item = '\0';
	return *text == ',' ? text + 1 : NULL;
}

static int check_burst(const char *name, uint64_t rate, uint64_t burst,
		       const struct cmd_message *message)
{
	if (!burst || (rate && burst >= rate))
		return 0;
	if (!rate)
		return cmd_message_set(message,
				       "%s-burst=%" PRIu64 " without %s: give the rate too, or "
				       "%s-burst=0 for none",
				       name, burst, name, name);
	return cmd_message_set(message,
			       "%s-burst=%" PRIu64 " is below %s=%" PRIu64
			       ": a burst is at least one "
			       "second of the rate; %s-burst=0 means just that",
			       name, burst, name, rate, name);
}

static int check_whole(const struct cmd_disk_spec *spec, const struct cmd_message *message)
{
	const struct vblk_throttle *throttle = &spec->throttle;
	int ret;

	if (spec->direct && spec->engine == CMD_DISK_MMAP)
		return cmd_message_set(message, "direct and engine=mmap exclude each other: a "
						"mapping is the page cache");
	if (spec->path && spec->template)
		return cmd_message_set(message, "path and template are both given: path is for a "
						"file that is there, template for a disk of its "
						"own; one of them is enough");
	if (spec->no_mount && !spec->template)
		return cmd_message_set(message, "no-mount without template: only disks from a "
						"template are mounted");
	if (!spec->path && !spec->template)
		return cmd_message_set(message, "there is no disk: path=FILE or template=FS:SIZE "
						"is required");
	ret = check_burst("iops", throttle->iops, throttle->iops_burst, message);
	if (!ret)
		ret = check_burst("bps", throttle->bps, throttle->bps_burst, message);
	if (!ret && spec->placement.pinned && spec->placement.cpu_count)
		return cmd_message_set(message,
				       "cpu and cpus are both given: cpu is for one "
				       "processor, cpus for several; one of them is enough");
	if (!ret && spec->queues > 1 && spec->features == VBLK_FEATURES_BASE)
		return cmd_message_set(message,
				       "queues=%u with features=base: a guest that is offered no "
				       "more than the base uses one queue; leave one of them out",
				       spec->queues);
	return ret;
}

int cmd_disk_spec_parse(const char *text, struct cmd_disk_spec *spec, char *message_text,
			size_t message_size)
{
	const struct cmd_message message = { message_text, message_size };
	char *item = malloc(strlen(text) + 1);
	uint32_t seen = 0;
	int ret = 0;

	memset(spec, 0, sizeof(*spec));
	if (!item)
		return cmd_message_no_memory(&message);
	while (text && !ret) {
		text = next_item(text, item);
		ret = parse_item(item, spec, &seen, &message);
	}
	if (!ret)
		ret = check_whole(spec, &message);
	if (ret)
		cmd_disk_spec_free(spec);
	free(item);
	return ret;
}

const char *cmd_disk_spec_name(const struct cmd_disk_spec *spec)
{
	return spec->path ? spec->path : spec->template;
}

void cmd_disk_spec_free(struct cmd_disk_spec *spec)
{
	free(spec->path);
	free(spec->template);
	free(spec->serial);
	free(spec->faults);
	free((void *)spec->placement.cpus);
	memset(spec, 0, sizeof(*spec));
}
