/* SPDX-License-Identifier: MIT */
/*
 * The terminal of vblk top. There is one at a time, and whoever opened it closes it on every way
 * out, or the shell is left with a terminal that is not its own. One thread.
 */
#ifndef CMD_TOP_SCREEN_H
#define CMD_TOP_SCREEN_H

#include "cmd/top_view.h"

/* Returns 0; -ENOSYS if this was built without ncurses; -ENOTTY if it is no terminal we know. */
VBLK_MUST_USE int top_screen_open(bool color);
void top_screen_close(void);

/* Asks the terminal how large it is now, and has the next drawing cover all of it. */
void top_screen_resize(void);
void top_screen_size(unsigned int *width, unsigned int *height);

void top_screen_draw(const struct top_line *lines, unsigned int count);

/* The next key that was pressed, or -1. Does not wait. */
int top_screen_key(void);

#endif
