/* SPDX-License-Identifier: MIT */
/*
 * Progress for people: on a terminal, one line of standard error that comes and goes, cut to the
 * terminal's width. Nothing in a pipe or file, nor where lines cannot be taken back (TERM=dumb, or
 * no TERM).
 */
#ifndef CMD_PROGRESS_H
#define CMD_PROGRESS_H

#include "image/progress.h"

/* Shows a line in place of the last one; NULL takes it away. */
void cmd_progress_show(const char *line);

/* What to give to functions of src/image, which do the same. Constant. */
extern const struct vblk_image_events cmd_progress;

#endif
