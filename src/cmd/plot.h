/* SPDX-License-Identifier: MIT */
/* vblk ctl plot: what vblk ctl CONTROL record has written, as a picture. */
#ifndef CMD_PLOT_H
#define CMD_PLOT_H

#include <stdio.h>

/* Called like main(), "plot" in argv[0]. Returns an exit status. */
int cmd_plot(int argc, char **argv);

/*
 * Reads a recording named `name` and draws it. `disk` is the name of the only disk to draw; NULL:
 * all. Returns an exit status, after a complaint and with nothing written if it is not CMD_OK.
 */
int cmd_plot_draw(FILE *in, const char *name, const char *disk, FILE *out);

#endif
