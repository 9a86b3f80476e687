/* SPDX-License-Identifier: MIT */
#include "fail.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *repeat = "";
static atomic_flag failed = ATOMIC_FLAG_INIT;

void soak_fail_init(const char *how)
{
	repeat = how;
}

void soak_fail(const char *format, ...)
{
	char message[512];
	va_list args;

	/* The first to fail speaks; what others find meanwhile may be a consequence. */
	if (atomic_flag_test_and_set(&failed)) {
		for (;;)
			pause();
	}
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	fflush(stdout);
	dprintf(STDOUT_FILENO, "not ok soak: %s (repeat with %s)\n", message, repeat);
	_exit(1);
}
