/* SPDX-License-Identifier: MIT */
/* The array and the texts behind it are one allocation. */
#include "cmd/disk_names.h"

#include "cmd/disk.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX_SIZE 12 /* # and a number, and the end */

/* Whether a disk before `index` is called so. */
static bool is_taken(const char *const *names, unsigned int index, const char *name)
{
	for (unsigned int i = 0; i < index; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* Whether a disk is called so by itself. */
static bool is_own(const struct cmd_disk_spec *specs, unsigned int count, const char *name)
{
	for (unsigned int i = 0; i < count; i++)
		if (strcmp(cmd_disk_name(&specs[i]), name) == 0)
			return true;
	return false;
}

static void choose(const struct cmd_disk_spec *specs, unsigned int count, const char *const *names,
		   unsigned int index, char *name, size_t size)
{
	const char *own = cmd_disk_name(&specs[index]);

	snprintf(name, size, "%s", own);
	if (!is_taken(names, index, own))
		return;
	for (unsigned int number = 1; is_taken(names, index, name) || is_own(specs, count, name);
	     number++)
		snprintf(name, size, "%s#%u", own, number);
}

int cmd_disk_names(const struct cmd_disk_spec *specs, unsigned int count, const char ***names)
{
	size_t size = count * sizeof(**names);
	const char **made;
	char *text;

	for (unsigned int i = 0; i < count; i++)
		size += strlen(cmd_disk_name(&specs[i])) + SUFFIX_SIZE;
	made = malloc(size ? size : 1);
	if (!made)
		return -ENOMEM;
	text = (char *)(made + count);
	for (unsigned int i = 0; i < count; i++) {
		const size_t room = strlen(cmd_disk_name(&specs[i])) + SUFFIX_SIZE;

		choose(specs, count, made, i, text, room);
		made[i] = text;
		text += room;
	}
	*names = made;
	return 0;
}
