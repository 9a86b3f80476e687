/* SPDX-License-Identifier: MIT */
/*
 * Where those who take a text apart say what is wrong with it: one line, without a newline of
 * ours, that names the culprit and says what would be right. What does not fit is cut. Any thread.
 */
#ifndef CMD_MESSAGE_H
#define CMD_MESSAGE_H

#include <stddef.h>
#include <vblk/types.h>

struct cmd_message {
	char *text;
	size_t size;
};

/* Like printf. Returns -EINVAL, so that it can stand behind a return. */
__attribute__((format(printf, 2, 3))) int cmd_message_set(const struct cmd_message *message,
							  const char *format, ...);

/* There was no memory. Returns -ENOMEM. */
int cmd_message_no_memory(const struct cmd_message *message);

#endif
