/* SPDX-License-Identifier: MIT */
/* One line on standard error, whatever is in it. */
#include "cmd/cmd.h"

#include <stdarg.h>
#include <stdio.h>

#define LINE_SIZE 5120

void cmd_complain(const char *name, const char *format, ...)
{
	char line[LINE_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == '\x7f')
			*c = '?';
	fprintf(stderr, name ? "vblk %s: %s\n" : "vblk%s: %s\n", name ? name : "", line);
}
