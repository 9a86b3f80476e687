/* SPDX-License-Identifier: MIT */
/*
 * What the sub-commands of the program share: how they are called, how they end, how they
 * complain.
 *
 * A sub-command is called like main(), its own name in argv[0], and returns an exit status. It
 * says what is wrong in one line on standard error.
 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include <vblk/types.h>

enum cmd_status {
	CMD_OK = 0,
	CMD_FAILED = 1,	     /* something went wrong while it ran */
	CMD_BAD_INPUT = 2,   /* what was asked for is wrong; nothing was changed */
	CMD_PANICKED = 3,    /* the guest has, and was not to go on */
	CMD_TIMED_OUT = 124, /* as timeout(1) has it */
	CMD_SIGNAL = 128,    /* plus the number of the signal */
};

/*
 * Writes "vblk NAME: text" and a newline to standard error in one piece; `name` may be NULL.
 * Control characters in the text, which may come from a file name, are shown as '?', so that it
 * stays one line.
 */
__attribute__((format(printf, 2, 3))) void cmd_complain(const char *name, const char *format, ...);

/* vblk boot */
int cmd_boot(int argc, char **argv);

/* vblk bench */
int cmd_bench(int argc, char **argv);

/* vblk serve */
int cmd_serve(int argc, char **argv);

/* vblk image */
int cmd_image(int argc, char **argv);

/* vblk ctl */
int cmd_ctl(int argc, char **argv);

/* vblk top */
int cmd_top(int argc, char **argv);

#endif
