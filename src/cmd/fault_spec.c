/* SPDX-License-Identifier: MIT */
/*
 * Taking a fault rule apart: the text is cut at colons, the first part names the operation, each
 * other one is a row of the table of words.
 */
#include "cmd/fault_spec.h"

#include "base/checked.h"
#include "cmd/nearest.h"
#include "cmd/size.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ERRNO 4095
#define LIST_SIZE 256

struct name {
	const char *name;
	unsigned int value;
};

static const struct name operations[] = {
	{ "read", VBLK_FAULTY_PREADV },
	{ "write", VBLK_FAULTY_PWRITEV },
	{ "flush", VBLK_FAULTY_SYNC },
	{ "discard", VBLK_FAULTY_DISCARD },
	{ "write-zeroes", VBLK_FAULTY_WRITE_ZEROES },
};

/* What files and disks fail with. Any other errno can be given as a number. */
static const struct name errors[] = {
	{ "EIO", EIO },	      { "EINTR", EINTR },
	{ "EAGAIN", EAGAIN }, { "ENOMEM", ENOMEM },
	{ "EPERM", EPERM },   { "EACCES", EACCES },
	{ "EROFS", EROFS },   { "ENOSPC", ENOSPC },
	{ "EDQUOT", EDQUOT }, { "EFBIG", EFBIG },
	{ "EINVAL", EINVAL }, { "EBADF", EBADF },
	{ "ENODEV", ENODEV }, { "ENXIO", ENXIO },
	{ "ESTALE", ESTALE }, { "ETIMEDOUT", ETIMEDOUT },
};

enum word_kind {
	WORD_BARE,
	WORD_ERROR,
	WORD_BYTES,
	WORD_TIME,
	WORD_CALLS, /* a number of calls; the other kinds are actions */
};

struct word {
	const char *name;
	enum word_kind kind;
	enum vblk_faulty_action action; /* not with WORD_CALLS */
	size_t offset;			/* of the value in struct vblk_faulty_rule */
};

#define FIELD(member) offsetof(struct vblk_faulty_rule, member)

static const struct word words[] = {
	{ "error", WORD_ERROR, VBLK_FAULTY_ERROR, FIELD(value) },
	{ "short", WORD_BYTES, VBLK_FAULTY_SHORT, FIELD(value) },
	{ "zero", WORD_BARE, VBLK_FAULTY_ZERO, FIELD(value) },
	{ "delay", WORD_TIME, VBLK_FAULTY_DELAY, FIELD(value) },
	{ "hang", WORD_BARE, VBLK_FAULTY_HANG, FIELD(value) },
	{ "first", WORD_CALLS, 0, FIELD(first) },
	{ "every", WORD_CALLS, 0, FIELD(every) },
	{ "count", WORD_CALLS, 0, FIELD(count) },
};

/* What is known of a rule while it is read. */
struct reading {
	struct vblk_faulty_rule *rule;
	const struct word *action; /* NULL: none yet */
	uint32_t seen;		   /* a bit for each word that has been there */
	const struct cmd_message *message;
};

static bool find_name(const struct name *names, size_t count, const char *text, unsigned int *value)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(text, names[i].name) == 0) {
			*value = names[i].value;
			return true;
		}
	}
	return false;
}

static const char *list_names(const struct name *names, size_t count, char list[LIST_SIZE])
{
	size_t used = 0;

	list[0] = '\0';
	for (size_t i = 0; i < count && used < LIST_SIZE; i++)
		used += (size_t)snprintf(list + used, LIST_SIZE - used, "%s%s", i ? ", " : "",
					 names[i].name);
	return list;
}

static int unknown_word(const char *text, const struct cmd_message *message)
{
	struct cmd_nearest nearest;
	char hint[CMD_NEAREST_HINT];
	char list[LIST_SIZE] = "";
	size_t used = 0;

	cmd_nearest_begin(&nearest, text);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(words); i++)
		cmd_nearest_offer(&nearest, words[i].name);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(words) && used < sizeof(list); i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s%s", i ? ", " : "",
					 words[i].name, words[i].kind == WORD_BARE ? "" : "=");
	return cmd_message_set(message, "unknown word '%s'%s the words are %s", text,
			       cmd_nearest_hint(&nearest, "", NULL, hint), list);
}

static int parse_error(const char *value, uint64_t *number, const struct cmd_message *message)
{
	char list[LIST_SIZE];
	unsigned int code;

	if (find_name(errors, VBLK_ARRAY_SIZE(errors), value, &code)) {
		*number = code;
		return 0;
	}
	if (cmd_count_parse(value, MAX_ERRNO, number) == 0 && *number > 0)
		return 0;
	return cmd_message_set(message, "error=%s: a number from 1 to %d or one of %s is wanted",
			       value, MAX_ERRNO, list_names(errors, VBLK_ARRAY_SIZE(errors), list));
}

static int parse_value(const struct word *word, const char *value, uint64_t *number,
		       const struct cmd_message *message)
{
	const char *wanted;
	int ret;

	switch (word->kind) {
	case WORD_ERROR:
		return parse_error(value, number, message);
	case WORD_BYTES:
		wanted = "a size like 512, 4k or 1M";
		ret = cmd_size_parse(value, number);
		break;
	case WORD_TIME:
		wanted = "a time like 200us, 10ms or 2s";
		ret = cmd_time_parse(value, number);
		break;
	default:
		wanted = "a number from 1 on";
		ret = cmd_count_parse(value, UINT64_MAX, number);
		if (!ret && *number == 0)
			ret = -EINVAL;
		break;
	}
	if (ret == -ERANGE)
		return cmd_message_set(message, "%s=%s is too large", word->name, value);
	if (ret)
		return cmd_message_set(message, "%s=%s: %s is wanted", word->name, value, wanted);
	return 0;
}

static int set_action(struct reading *reading, const struct word *word)
{
	if (reading->action)
		return cmd_message_set(reading->message,
				       "'%s' beside '%s': a rule has one action (fault= may be "
				       "given several times)",
				       word->name, reading->action->name);
	if (word->action == VBLK_FAULTY_SHORT && reading->rule->op != VBLK_FAULTY_PREADV &&
	    reading->rule->op != VBLK_FAULTY_PWRITEV)
		return cmd_message_set(reading->message,
				       "'short' is for read and write: the others move no bytes");
	reading->action = word;
	reading->rule->action = word->action;
	return 0;
}

static int take_word(struct reading *reading, char *text)
{
	char *value = strchr(text, '=');
	const struct word *word;
	size_t i;
	int ret = 0;

	if (value)
		*value++ = '\0';
	for (i = 0; i < VBLK_ARRAY_SIZE(words); i++)
		if (strcmp(text, words[i].name) == 0)
			break;
	if (i == VBLK_ARRAY_SIZE(words))
		return unknown_word(text, reading->message);
	word = &words[i];
	if (reading->seen & (1u << i))
		return cmd_message_set(reading->message, "'%s' is given twice: once is enough",
				       text);
	reading->seen |= 1u << i;

	if (word->kind == WORD_BARE && value)
		return cmd_message_set(reading->message, "'%s' takes no value", text);
	if (word->kind == WORD_BARE)
		return set_action(reading, word);
	if (!value || !*value)
		return cmd_message_set(reading->message, "'%s' needs a value: %s=...", text, text);
	if (word->kind != WORD_CALLS)
		ret = set_action(reading, word);
	if (ret)
		return ret;
	return parse_value(word, value, (uint64_t *)((char *)reading->rule + word->offset),
			   reading->message);
}

static int unknown_operation(const char *text, const struct cmd_message *message)
{
	struct cmd_nearest nearest;
	char hint[CMD_NEAREST_HINT];
	char list[LIST_SIZE];

	cmd_nearest_begin(&nearest, text);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(operations); i++)
		cmd_nearest_offer(&nearest, operations[i].name);
	return cmd_message_set(message,
			       "unknown operation '%s'%s a rule begins with one of %s, as in "
			       "write:error=EIO:every=50",
			       text, cmd_nearest_hint(&nearest, "", NULL, hint),
			       list_names(operations, VBLK_ARRAY_SIZE(operations), list));
}

static int take_operation(struct reading *reading, const char *text)
{
	unsigned int op;

	if (!find_name(operations, VBLK_ARRAY_SIZE(operations), text, &op))
		return unknown_operation(text, reading->message);
	reading->rule->op = (enum vblk_faulty_op)op;
	return 0;
}

int cmd_fault_parse(const char *text, struct vblk_faulty_rule *rule,
		    const struct cmd_message *message)
{
	struct reading reading = { .rule = rule, .message = message };
	char *copy = strdup(text);
	char *rest = copy;
	int ret;

	if (!copy)
		return cmd_message_no_memory(message);
	memset(rule, 0, sizeof(*rule));
	strsep(&rest, ":"); /* leaves the operation in `copy` */
	ret = take_operation(&reading, copy);
	while (!ret && rest)
		ret = take_word(&reading, strsep(&rest, ":"));
	if (!ret && !reading.action)
		ret = cmd_message_set(message, "there is no action: one of error=, short=, zero, "
					       "delay= and hang is required");
	/* "every 50th" means the 50th first, where the table of rules would begin with the 1st. */
	if (!rule->first)
		rule->first = rule->every;
	free(copy);
	return ret;
}
