/* SPDX-License-Identifier: MIT */
/* Reports of the fuzzers. */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool fuzz_tracing;

void fuzz_start_tracing(void)
{
	fuzz_tracing = getenv("VBLK_FUZZ_TRACE") != NULL;
}

void fuzz_trace(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void fuzz_fail(const char *file, int line, const char *condition, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "finding: %s:%d: ", file, line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (%s)\n", condition);
	abort();
}
