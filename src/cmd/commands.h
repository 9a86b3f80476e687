/* SPDX-License-Identifier: MIT */
/*
 * Words that stand for something to do: the sub-commands of vblk, and the commands of those that
 * have some. One table says what there is, and it is printed, searched and guessed from here.
 */
#ifndef CMD_COMMANDS_H
#define CMD_COMMANDS_H

#include "cmd/cmd.h"

struct cmd_command {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv); /* called like main(), its own name in argv[0] */
};

struct cmd_commands {
	const char *name; /* of whose commands they are, for messages; NULL: vblk's own */
	const struct cmd_command *table;
	size_t count;
	void (*print_help)(void);
	const char *const *others; /* words that are no command and still known; ends with NULL */
};

/* The rows of a help text. */
void cmd_commands_print(const struct cmd_commands *commands);

/*
 * Finds the command that argv[0] names, or --help or -h, and runs it. Returns an exit status; of a
 * word that is none, or of none at all (argc is 0), it complains.
 */
VBLK_MUST_USE int cmd_commands_run(const struct cmd_commands *commands, int argc, char **argv);

#endif
