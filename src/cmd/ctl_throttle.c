/* SPDX-License-Identifier: MIT */
/*
 * Limits as people write them: each word is one, or "none" is all. They are spelt as in a disk's
 * description, and what the control protocol calls them is taken too.
 */
#include "cmd/ctl_throttle.h"

#ifdef VBLK_HAVE_JANSSON

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/checked.h"
#include "cmd/cmd.h"
#include "cmd/nearest.h"
#include "cmd/size.h"

#define NAME "ctl"

static const struct limit {
	const char *word;
	const char *member; /* of a request; as long as the word */
	bool bytes;
} limits[] = {
	{ "iops", "iops", false },
	{ "iops-burst", "iops_burst", false },
	{ "bps", "bps", true },
	{ "bps-burst", "bps_burst", true },
};

static bool is_word(const char *word, size_t length, const char *name)
{
	return strlen(name) == length && strncmp(word, name, length) == 0;
}

/* The limit that a word like "iops=100" begins with; NULL after a complaint. */
static const struct limit *find_limit(const char *word)
{
	const size_t length = strcspn(word, "=");
	struct cmd_nearest nearest;
	char hint[CMD_NEAREST_HINT];

	cmd_nearest_begin_with(&nearest, word, length);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(limits); i++) {
		if (is_word(word, length, limits[i].word) ||
		    is_word(word, length, limits[i].member))
			return &limits[i];
		cmd_nearest_offer(&nearest, limits[i].word);
	}
	cmd_complain(NAME,
		     "throttle: unknown limit '%.*s'%s iops=N, iops-burst=N, bps=SIZE and "
		     "bps-burst=SIZE are known, and none for no limits",
		     (int)length, word, cmd_nearest_hint(&nearest, "", NULL, hint));
	return NULL;
}

/* Returns 0; -EINVAL; or -ERANGE for what is too large. */
static int parse_limit(const struct limit *limit, const char *value, uint64_t *number)
{
	int ret;

	*number = 0;
	if (strcmp(value, "none") == 0)
		return 0;
	ret = limit->bytes ? cmd_size_parse(value, number)
			   : cmd_count_parse(value, INT64_MAX, number);
	return !ret && *number > INT64_MAX ? -ERANGE : ret;
}

static bool add_limit(json_t *request, const char *word)
{
	const struct limit *limit = find_limit(word);
	const char *value = strchr(word, '=');
	uint64_t number = 0;
	int ret;

	if (!limit)
		return false;
	if (json_object_get(request, limit->member)) {
		cmd_complain(NAME, "throttle: '%s' is given twice: once is enough", limit->word);
		return false;
	}
	ret = value ? parse_limit(limit, value + 1, &number) : -EINVAL;
	if (ret == 0)
		return json_object_set_new(request, limit->member,
					   json_integer((json_int_t)number)) == 0;
	cmd_complain(NAME, "throttle: '%s': %s", word,
		     ret == -ERANGE ? "the number is too large"
		     : limit->bytes ? "a size is wanted, as in bps=1M, or bps=none for no limit"
				    : "a number is wanted, as in iops=100, or iops=none for no "
				      "limit");
	return false;
}

json_t *ctl_throttle_make(char *const *words, int count)
{
	json_t *request;

	if (!count) {
		cmd_complain(NAME, "throttle needs a limit, iops=100 or bps=1M, or none for no "
				   "limits");
		return NULL;
	}
	if (count == 1 && strcmp(words[0], "none") == 0)
		return json_pack("{s:i,s:i}", "iops", 0, "bps", 0);
	request = json_object();
	for (int i = 0; i < count; i++) {
		if (!add_limit(request, words[i])) {
			json_decref(request);
			return NULL;
		}
	}
	return request;
}

void ctl_throttle_spell(char *text)
{
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(limits); i++) {
		const size_t length = strlen(limits[i].member);

		for (char *at = text; (at = strstr(at, limits[i].member)); at += length)
			if (at[length] == '=')
				memcpy(at, limits[i].word, length);
	}
}

#endif
