/* SPDX-License-Identifier: MIT */
/* The optimal string alignment distance, by three rows of its table. */
#include "cmd/nearest.h"

#include <stdio.h>
#include <string.h>

#define BEGINNING_MIN 2u

/* Rows of the table for a letter of the unknown word, and for the two before it. */
struct rows {
	unsigned before[CMD_NEAREST_MAX + 1];
	unsigned last[CMD_NEAREST_MAX + 1];
	unsigned row[CMD_NEAREST_MAX + 1];
};

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* What separates the first i + 1 letters of `word` from the first j + 1 of `name`. */
static unsigned cell(const struct rows *rows, const char *word, size_t i, const char *name,
		     size_t j)
{
	unsigned cost = rows->last[j] + (word[i] != name[j]);

	cost = least(cost, rows->last[j + 1] + 1);
	cost = least(cost, rows->row[j] + 1);
	if (i > 0 && j > 0 && word[i] == name[j - 1] && word[i - 1] == name[j])
		cost = least(cost, rows->before[j - 1] + 1);
	return cost;
}

static unsigned distance(const char *word, size_t word_length, const char *name, size_t name_length)
{
	struct rows rows = { .before = { 0 } };

	for (size_t j = 0; j <= name_length; j++)
		rows.row[j] = (unsigned)j;
	for (size_t i = 0; i < word_length; i++) {
		memcpy(rows.before, rows.last, sizeof(rows.before));
		memcpy(rows.last, rows.row, sizeof(rows.last));
		rows.row[0] = (unsigned)i + 1;
		for (size_t j = 0; j < name_length; j++)
			rows.row[j + 1] = cell(&rows, word, i, name, j);
	}
	return rows.row[name_length];
}

void cmd_nearest_begin_with(struct cmd_nearest *nearest, const char *text, size_t length)
{
	*nearest = (struct cmd_nearest){ .word = text, .length = length };
}

void cmd_nearest_begin(struct cmd_nearest *nearest, const char *word)
{
	cmd_nearest_begin_with(nearest, word, strlen(word));
}

void cmd_nearest_offer(struct cmd_nearest *nearest, const char *name)
{
	const size_t length = strlen(name);
	const size_t longer = length > nearest->length ? length : nearest->length;
	const bool begins = nearest->length >= BEGINNING_MIN && nearest->length <= length &&
			    memcmp(nearest->word, name, nearest->length) == 0;
	unsigned found;

	if (longer > CMD_NEAREST_MAX)
		return;
	found = distance(nearest->word, nearest->length, name, length);
	if (found > longer / 3 && !begins)
		return;
	if (nearest->name && found >= nearest->distance)
		return;
	nearest->name = name;
	nearest->distance = found;
}

const char *cmd_nearest_hint(const struct cmd_nearest *nearest, const char *prefix,
			     const char *otherwise, char hint[CMD_NEAREST_HINT])
{
	if (nearest->name)
		snprintf(hint, CMD_NEAREST_HINT, ": did you mean '%s%s'?", prefix, nearest->name);
	else
		snprintf(hint, CMD_NEAREST_HINT, ":%s%s", otherwise ? " " : "",
			 otherwise ? otherwise : "");
	return hint;
}
