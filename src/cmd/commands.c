/* SPDX-License-Identifier: MIT */
/* A table of commands: looked through from its beginning, since they are few. */
#include "cmd/commands.h"

#include "cmd/nearest.h"
#include <stdio.h>
#include <string.h>

#define HELP_SIZE 64

void cmd_commands_print(const struct cmd_commands *commands)
{
	int width = 0;

	for (size_t i = 0; i < commands->count; i++)
		if ((int)strlen(commands->table[i].name) > width)
			width = (int)strlen(commands->table[i].name);
	for (size_t i = 0; i < commands->count; i++)
		printf("  %-*s  %s\n", width, commands->table[i].name, commands->table[i].summary);
}

/* "see 'vblk image --help'" */
static void write_where_help_is(const struct cmd_commands *commands, char text[HELP_SIZE])
{
	snprintf(text, HELP_SIZE, "see 'vblk %s%s--help'", commands->name ? commands->name : "",
		 commands->name ? " " : "");
}

static int complain_unknown(const struct cmd_commands *commands, const char *word)
{
	const bool is_option = word[0] == '-';
	char hint[CMD_NEAREST_HINT], help[HELP_SIZE];
	struct cmd_nearest nearest;

	cmd_nearest_begin(&nearest, word);
	for (size_t i = 0; !is_option && i < commands->count; i++)
		cmd_nearest_offer(&nearest, commands->table[i].name);
	for (const char *const *other = commands->others; *other; other++)
		cmd_nearest_offer(&nearest, *other);
	write_where_help_is(commands, help);
	cmd_complain(commands->name, "unknown %s '%s'%s", is_option ? "option" : "command", word,
		     cmd_nearest_hint(&nearest, "", help, hint));
	return CMD_BAD_INPUT;
}

int cmd_commands_run(const struct cmd_commands *commands, int argc, char **argv)
{
	if (argc < 1) {
		char help[HELP_SIZE];

		write_where_help_is(commands, help);
		cmd_complain(commands->name, "no command given: %s", help);
		return CMD_BAD_INPUT;
	}
	if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
		commands->print_help();
		return CMD_OK;
	}
	for (size_t i = 0; i < commands->count; i++)
		if (strcmp(argv[0], commands->table[i].name) == 0)
			return commands->table[i].run(argc, argv);
	return complain_unknown(commands, argv[0]);
}
