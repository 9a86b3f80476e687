/* SPDX-License-Identifier: MIT */
/* Filling in a struct vmm_error; a text that is too long is cut, never overrun. */
#include "vmm/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int vmm_error_input(struct vmm_error *error, const char *format, ...)
{
	va_list args;

	error->bad_input = true;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return -EINVAL;
}

int vmm_error_host(struct vmm_error *error, int code, const char *format, ...)
{
	va_list args;
	size_t used;

	error->bad_input = false;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);

	used = strlen(error->text);
	snprintf(error->text + used, sizeof(error->text) - used, ": %s", strerror(-code));
	return code;
}
