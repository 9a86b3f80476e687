/* SPDX-License-Identifier: MIT */
/* Walking a command line, and what is said of options that are wrong, the same everywhere. */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include <getopt.h>
#include <vblk/types.h>

/* What the ids of a sub-command's options begin with: none is a character, all have long names. */
#define CMD_OPTION_FIRST 256

struct cmd_options {
	const char *name; /* of the sub-command */
	const struct option *table;
	/* Takes one option; returns CMD_OK, or another status when the mistake has been told. */
	int (*take)(void *context, int id, const char *value);
	void *context;
	const bool *help; /* once it is set, nothing more is looked at */
};

/*
 * Takes all options. Returns CMD_OK, with the first other word at `*operand`, or another exit
 * status when the mistake has been told.
 */
VBLK_MUST_USE int cmd_options_take(const struct cmd_options *options, int argc, char **argv,
				   int *operand);

/* The same for a sub-command that has options alone: another word is a mistake. */
VBLK_MUST_USE int cmd_options_take_all(const struct cmd_options *options, int argc, char **argv);

#endif
