/* SPDX-License-Identifier: MIT */
/* Marks what the list names in a table of all processors, and reads the table off in the end. */
#include "cmd/cpu_list.h"

#include "cmd/size.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_ROOM 32

/* The number that stands in the first `length` characters. */
static int parse_cpu(const char *text, size_t length, uint64_t *cpu)
{
	char digits[DIGITS_ROOM];

	if (length >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, length);
	digits[length] = '\0';
	return cmd_count_parse(digits, CMD_CPU_MAX, cpu);
}

/* Marks one number or range, `length` characters long. */
static int mark(const char *text, size_t length, bool named[CMD_CPU_MAX + 1])
{
	const char *dash = memchr(text, '-', length);
	size_t before = dash ? (size_t)(dash - text) : length;
	uint64_t first, last;
	int ret = parse_cpu(text, before, &first);

	if (ret)
		return ret;
	last = first;
	if (dash)
		ret = parse_cpu(dash + 1, length - before - 1, &last);
	if (ret)
		return ret;
	if (last < first)
		return -EINVAL;
	for (uint64_t cpu = first; cpu <= last; cpu++)
		named[cpu] = true;
	return 0;
}

int cmd_cpu_list_parse(const char *text, uint32_t **cpus, size_t *count)
{
	bool named[CMD_CPU_MAX + 1] = { false };
	uint32_t *list;
	size_t used = 0;

	for (;;) {
		size_t length = strcspn(text, ",");
		int ret = mark(text, length, named);

		if (ret)
			return ret;
		if (!text[length])
			break;
		text += length + 1;
	}
	list = calloc(CMD_CPU_MAX + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (uint32_t cpu = 0; cpu <= CMD_CPU_MAX; cpu++)
		if (named[cpu])
			list[used++] = cpu;
	*cpus = list;
	*count = used;
	return 0;
}
