/* SPDX-License-Identifier: MIT */
/* Whether it is a terminal is asked each time, which is seldom. */
#include "cmd/progress.h"

#include <stdio.h>
#include <unistd.h>

#define ERASE "\r\033[K"

static void show(void *context, const char *line)
{
	(void)context;
	if (isatty(STDERR_FILENO) == 1)
		fprintf(stderr, ERASE "%s", line ? line : "");
}

const struct vblk_image_events cmd_progress = { .show = show };
