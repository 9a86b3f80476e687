/* SPDX-License-Identifier: MIT */
/* The texts of reports. */
#include "guest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool ok(struct report *report, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(report->text, sizeof(report->text), format, arguments);
	va_end(arguments);
	return true;
}

bool fail(struct report *report, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(report->text, sizeof(report->text), format, arguments);
	va_end(arguments);
	return false;
}

bool fail_errno(struct report *report, const char *what)
{
	return fail(report, "%s: %s", what, strerror(errno));
}
