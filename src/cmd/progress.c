/* SPDX-License-Identifier: MIT */
/*
 * Whether it is a terminal, and how wide, is asked each time, which is seldom, and so is whether it
 * takes anything: one that has been stopped (Ctrl-S, or a reader that hangs) is not to stop the
 * work.
 */
#include "cmd/progress.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ERASE	      "\r\033[K"
#define DEFAULT_WIDTH 80

static bool can_take_back(void)
{
	const char *term = getenv("TERM");

	return term && *term && strcmp(term, "dumb") != 0;
}

static bool somebody_looks(void)
{
	struct pollfd terminal = { .fd = STDERR_FILENO, .events = POLLOUT };

	return isatty(STDERR_FILENO) == 1 && poll(&terminal, 1, 0) == 1 &&
	       terminal.revents & POLLOUT;
}

/* A line that is as long as the terminal is wide would stand on two, and only one is taken back. */
static int room(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col - 1;
	return DEFAULT_WIDTH - 1;
}

void cmd_progress_show(const char *line)
{
	if (can_take_back() && somebody_looks())
		fprintf(stderr, ERASE "%.*s", room(), line ? line : "");
}

static void show(void *context, const char *line)
{
	(void)context;
	cmd_progress_show(line);
}

const struct vblk_image_events cmd_progress = { .show = show };
