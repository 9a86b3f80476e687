/* SPDX-License-Identifier: MIT */
/* Reports of the fuzzers. */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool fuzz_tracing;

/*
 * AddressSanitizer asks for its defaults here; the environment outranks them. The usual quarantine
 * of 256 MiB is touched from one end to the other by devices that come and go, at the price of a
 * page fault every few inputs; what an input frees stays in a small one as well.
 * NOLINTBEGIN(cert-dcl51-cpp): the name is the sanitizer's.
 */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "quarantine_size_mb=2:malloc_context_size=5:detect_stack_use_after_return=0";
}
/* NOLINTEND(cert-dcl51-cpp) */

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
