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
#include "cmd/size.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a complaint goes, and what it is about. */
struct complaint {
	char *text;
	size_t size;
};

enum key_kind {
	KEY_FLAG,   /* bool, set by its presence */
	KEY_STRING, /* char *, not empty */
	KEY_SIZE,   /* uint64_t, with suffix */
	KEY_COUNT,  /* uint64_t, plain */
};

struct key {
	const char *name;
	enum key_kind kind;
	size_t offset; /* of its field in struct cmd_disk_spec */
	/* What only this key demands of its value; may be NULL. */
	int (*check)(const struct cmd_disk_spec *spec, const struct complaint *complaint);
};

__attribute__((format(printf, 2, 3))) static int complain(const struct complaint *complaint,
							  const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(complaint->text, complaint->size, format, args);
	va_end(args);
	return -EINVAL;
}

static int check_size(const struct cmd_disk_spec *spec, const struct complaint *complaint)
{
	if (spec->size < VBLK_SECTOR_SIZE || spec->size > INT64_MAX)
		return complain(complaint,
				"size=%" PRIu64 " is out of range: from one sector, 512, to "
				"2^63-1 bytes",
				spec->size);
	return 0;
}

static int check_serial(const struct cmd_disk_spec *spec, const struct complaint *complaint)
{
	if (strlen(spec->serial) > CMD_SERIAL_MAX)
		return complain(complaint, "serial=%s is too long: at most %d bytes", spec->serial,
				CMD_SERIAL_MAX);
	return 0;
}

#define FIELD(member) offsetof(struct cmd_disk_spec, member)

static const struct key keys[] = {
	{ "path", KEY_STRING, FIELD(path), NULL },
	{ "ro", KEY_FLAG, FIELD(read_only), NULL },
	{ "size", KEY_SIZE, FIELD(size), check_size },
	{ "serial", KEY_STRING, FIELD(serial), check_serial },
	{ "iops", KEY_COUNT, FIELD(throttle.iops), NULL },
	{ "iops-burst", KEY_COUNT, FIELD(throttle.iops_burst), NULL },
	{ "bps", KEY_SIZE, FIELD(throttle.bps), NULL },
	{ "bps-burst", KEY_SIZE, FIELD(throttle.bps_burst), NULL },
};

static int unknown_key(const char *name, const struct complaint *complaint)
{
	char list[128] = "";
	size_t used = 0;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(keys) && used < sizeof(list); i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
					 keys[i].name);
	return complain(complaint, "unknown key '%s': the keys are %s", name, list);
}

static int parse_number(const struct key *key, const char *value, uint64_t *number,
			const struct complaint *complaint)
{
	const char *wanted =
		key->kind == KEY_SIZE ? "a size like 512, 4k, 64M or 1G" : "a plain number";
	int ret = key->kind == KEY_SIZE ? cmd_size_parse(value, number)
					: cmd_count_parse(value, UINT64_MAX, number);

	if (ret == -ERANGE)
		return complain(complaint, "%s=%s is too large", key->name, value);
	if (ret)
		return complain(complaint, "%s=%s: %s is wanted", key->name, value, wanted);
	return 0;
}

static int store(const struct key *key, char *value, struct cmd_disk_spec *spec,
		 const struct complaint *complaint)
{
	void *field = (char *)spec + key->offset;

	if (key->kind == KEY_FLAG) {
		if (value)
			return complain(complaint, "'%s' takes no value", key->name);
		*(bool *)field = true;
		return 0;
	}
	if (!value || !*value)
		return complain(complaint, "'%s' needs a value: %s=...", key->name, key->name);
	if (key->kind != KEY_STRING)
		return parse_number(key, value, field, complaint);
	*(char **)field = strdup(value);
	if (!*(char **)field) {
		complain(complaint, "out of memory");
		return -ENOMEM;
	}
	return 0;
}

/* `seen` has a bit for each key that has been there. */
static int parse_item(char *item, struct cmd_disk_spec *spec, uint32_t *seen,
		      const struct complaint *complaint)
{
	char *value = strchr(item, '=');
	size_t i;
	int ret;

	if (!*item)
		return complain(complaint,
				"an item is empty: write path=FILE,key=value and no comma more "
				"(two for one that is part of a value)");
	if (value)
		*value++ = '\0';
	for (i = 0; i < VBLK_ARRAY_SIZE(keys); i++)
		if (strcmp(item, keys[i].name) == 0)
			break;
	if (i == VBLK_ARRAY_SIZE(keys))
		return unknown_key(item, complaint);
	if (*seen & (1u << i))
		return complain(complaint, "'%s' is given twice: once is enough", item);
	*seen |= 1u << i;

	ret = store(&keys[i], value, spec, complaint);
	if (!ret && keys[i].check)
		ret = keys[i].check(spec, complaint);
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
		       const struct complaint *complaint)
{
	if (!burst || (rate && burst >= rate))
		return 0;
	if (!rate)
		return complain(complaint,
				"%s-burst=%" PRIu64 " without %s: give the rate too, or "
				"%s-burst=0 for none",
				name, burst, name, name);
	return complain(complaint,
			"%s-burst=%" PRIu64 " is below %s=%" PRIu64 ": a burst is at least one "
			"second of the rate; %s-burst=0 means just that",
			name, burst, name, rate, name);
}

static int check_whole(const struct cmd_disk_spec *spec, const struct complaint *complaint)
{
	const struct vblk_throttle *throttle = &spec->throttle;
	int ret;

	if (!spec->path)
		return complain(complaint, "there is no path: path=FILE is required");
	ret = check_burst("iops", throttle->iops, throttle->iops_burst, complaint);
	if (!ret)
		ret = check_burst("bps", throttle->bps, throttle->bps_burst, complaint);
	return ret;
}

int cmd_disk_spec_parse(const char *text, struct cmd_disk_spec *spec, char *message,
			size_t message_size)
{
	const struct complaint complaint = { message, message_size };
	char *item = malloc(strlen(text) + 1);
	uint32_t seen = 0;
	int ret = 0;

	memset(spec, 0, sizeof(*spec));
	if (!item) {
		complain(&complaint, "out of memory");
		return -ENOMEM;
	}
	while (text && !ret) {
		text = next_item(text, item);
		ret = parse_item(item, spec, &seen, &complaint);
	}
	if (!ret)
		ret = check_whole(spec, &complaint);
	if (ret)
		cmd_disk_spec_free(spec);
	free(item);
	return ret;
}

void cmd_disk_spec_free(struct cmd_disk_spec *spec)
{
	free(spec->path);
	free(spec->serial);
	memset(spec, 0, sizeof(*spec));
}
