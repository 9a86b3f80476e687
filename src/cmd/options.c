/* SPDX-License-Identifier: MIT */
/* getopt_long with messages of our own. */
#include "cmd/options.h"

#include "cmd/cmd.h"

/* What getopt_long has just refused. */
static int refuse(const char *name, int id, char **argv)
{
	const char *word = argv[optind - 1];

	if (id == ':')
		cmd_complain(name, "option '%s' needs a value: see 'vblk %s --help'", word, name);
	else if (optopt >= CMD_OPTION_FIRST)
		cmd_complain(name, "option '%s': no value is wanted", word);
	else if (optopt)
		cmd_complain(name, "unknown option '-%c': see 'vblk %s --help'", optopt, name);
	else
		cmd_complain(name, "unknown option '%s': see 'vblk %s --help'", word, name);
	return CMD_BAD_INPUT;
}

int cmd_options_take(const struct cmd_options *options, int argc, char **argv, int *operand)
{
	int id;

	opterr = 0;
	optind = 0; /* forgets what an earlier call has left */
	while ((id = getopt_long(argc, argv, ":", options->table, NULL)) != -1) {
		int status;

		if (id == ':' || id == '?')
			return refuse(options->name, id, argv);
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
