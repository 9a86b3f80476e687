/* SPDX-License-Identifier: MIT */
/* The texts of reports. */
#include "guest.h"

#include <stdarg.h>
#include <stdio.h>

void report_text(struct report *report, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(report->text, sizeof(report->text), format, arguments);
	va_end(arguments);
}
