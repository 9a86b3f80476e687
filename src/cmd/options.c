/* SPDX-License-Identifier: MIT */
/*
 * getopt_long with messages of our own, and names in full: it takes a beginning of a name for the
 * name, by which a script breaks, or changes its meaning, when another option comes to be.
 */
#include "cmd/options.h"

#include "cmd/cmd.h"
#include "cmd/nearest.h"
#include <stdio.h>
#include <string.h>

#define LONG_PREFIX "--"

/* The name in a word like "--name=value". */
static const char *name_in(const char *word, size_t *length)
{
	const char *name = word + strlen(LONG_PREFIX);

	*length = strcspn(name, "=");
	return name;
}

static void complain_unknown(const struct cmd_options *options, const char *word)
{
	struct cmd_nearest nearest;
	char hint[CMD_NEAREST_HINT], help[CMD_NEAREST_HINT];
	size_t length;
	const char *name = name_in(word, &length);

	cmd_nearest_begin_with(&nearest, name, length);
	for (const struct option *option = options->table; option->name; option++)
		cmd_nearest_offer(&nearest, option->name);
	snprintf(help, sizeof(help), "see 'vblk %s --help'", options->name);
	cmd_complain(options->name, "unknown option '%.*s'%s", (int)(length + strlen(LONG_PREFIX)),
		     word, cmd_nearest_hint(&nearest, LONG_PREFIX, help, hint));
}

/* What getopt_long has just refused. */
static int refuse(const struct cmd_options *options, int id, char **argv)
{
	const char *name = options->name;
	const char *word = argv[optind - 1];

	if (id == ':')
		cmd_complain(name, "option '%s' needs a value: see 'vblk %s --help'", word, name);
	else if (optopt >= CMD_OPTION_FIRST)
		cmd_complain(name, "option '%s': no value is wanted", word);
	else if (optopt)
		cmd_complain(name, "unknown option '-%c': see 'vblk %s --help'", optopt, name);
	else
		complain_unknown(options, word);
	return CMD_BAD_INPUT;
}

/* The word of the option that was just taken; its value may be a word of its own behind it. */
static const char *word_taken(char **argv)
{
	return optarg && optarg == argv[optind - 1] ? argv[optind - 2] : argv[optind - 1];
}

static bool is_in_full(const struct option *option, const char *word)
{
	size_t length;
	const char *name = name_in(word, &length);

	return strlen(option->name) == length && memcmp(option->name, name, length) == 0;
}

int cmd_options_take(const struct cmd_options *options, int argc, char **argv, int *operand)
{
	int id, index = 0;

	opterr = 0;
	optind = 0; /* forgets what an earlier call has left */
	while ((id = getopt_long(argc, argv, ":", options->table, &index)) != -1) {
		int status;

		if (id == ':' || id == '?')
			return refuse(options, id, argv);
		if (!is_in_full(&options->table[index], word_taken(argv))) {
			complain_unknown(options, word_taken(argv));
			return CMD_BAD_INPUT;
		}
		status = options->take(options->context, id, optarg);
		if (status || *options->help)
			return status;
	}
	*operand = optind;
	return CMD_OK;
}

int cmd_options_take_all(const struct cmd_options *options, int argc, char **argv)
{
	int operand = argc;
	int status = cmd_options_take(options, argc, argv, &operand);

	if (status || *options->help || operand == argc)
		return status;
	cmd_complain(options->name, "'%s' is no option: see 'vblk %s --help'", argv[operand],
		     options->name);
	return CMD_BAD_INPUT;
}
