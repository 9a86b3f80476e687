/* SPDX-License-Identifier: MIT */
/*
 * Whether it is a terminal is asked each time, which is seldom, and so is whether it takes
 * anything: one that has been stopped (Ctrl-S, or a reader that hangs) is not to stop the work.
 */
#include "cmd/progress.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#define ERASE "\r\033[K"

static bool somebody_looks(void)
{
	struct pollfd terminal = { .fd = STDERR_FILENO, .events = POLLOUT };

	return isatty(STDERR_FILENO) == 1 && poll(&terminal, 1, 0) == 1 &&
	       terminal.revents & POLLOUT;
}

static void show(void *context, const char *line)
{
	(void)context;
	if (somebody_looks())
		fprintf(stderr, ERASE "%s", line ? line : "");
}

const struct vblk_image_events cmd_progress = { .show = show };
