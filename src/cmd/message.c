/* SPDX-License-Identifier: MIT */
/* One line of text for whoever made the mistake. */
#include "cmd/message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int cmd_message_set(const struct cmd_message *message, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(message->text, message->size, format, args);
	va_end(args);
	return -EINVAL;
}

int cmd_message_no_memory(const struct cmd_message *message)
{
	snprintf(message->text, message->size, "out of memory");
	return -ENOMEM;
}
