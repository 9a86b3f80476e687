/* SPDX-License-Identifier: MIT */
/* vblk image: its commands, and what they share. */
#include "cmd/image.h"

#include "base/checked.h"
#include "cmd/commands.h"
#include "cmd/options.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define NAME "image"

static const struct cmd_command table[] = {
	{ "create", "make an image that is empty and takes no space", cmd_image_create },
	{ "clone", "make a copy of an image, at once where blocks can be shared", cmd_image_clone },
	{ "template", "make an image with an empty file system, once", cmd_image_template },
	{ "info", "say how large an image is, and what is in it", cmd_image_info },
};

static void print_help(void);

static const char *const others[] = { "--help", NULL };

static const struct cmd_commands commands = {
	.name = NAME,
	.table = table,
	.count = VBLK_ARRAY_SIZE(table),
	.print_help = print_help,
	.others = others,
};

static void print_help(void)
{
	puts("vblk image: disk images\n"
	     "\n"
	     "Usage:\n"
	     "  vblk image create PATH SIZE [--force]\n"
	     "  vblk image clone SOURCE PATH [--force] [--verbose]\n"
	     "  vblk image template FS:SIZE | --clear\n"
	     "  vblk image info PATH [--json]\n"
	     "  vblk image COMMAND --help\n"
	     "\n"
	     "Commands:");
	cmd_commands_print(&commands);
	puts("\n"
	     "A disk of one's own from a template, gone with the process, is template=FS:SIZE in\n"
	     "place of path=FILE: see 'vblk boot --help'.\n"
	     "\n"
	     "Exit status:\n"
	     "  0  success\n"
	     "  1  failure while running\n"
	     "  2  bad input; nothing was changed\n"
	     "\n"
	     "Examples:\n"
	     "  vblk image create data.img 1G\n"
	     "  vblk image clone \"$(vblk image template ext4:256M)\" root.img\n"
	     "  vblk image info root.img");
}

int cmd_image_failed(const char *name, int code, const struct vblk_image_failure *failure)
{
	cmd_complain(name, "%s", failure->text);
	return code == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
}

/* What is being parsed. */
struct parse {
	const struct cmd_image_syntax *syntax;
	bool help;
};

/* The ids are those of the flags in their order, and then of --help. */
static int take_option(void *context, int id, const char *value)
{
	struct parse *parse = context;
	const struct cmd_image_flag *flag = &parse->syntax->flags[id - CMD_OPTION_FIRST];

	(void)value;
	*(flag->name ? flag->given : &parse->help) = true;
	return CMD_OK;
}

/* A flag is told by its place, and --help by the one behind them. */
static void list_options(const struct cmd_image_syntax *syntax, struct option *options)
{
	int id = 0;

	for (; syntax->flags[id].name; id++) {
		assert(id < (int)CMD_IMAGE_FLAGS_MAX);
		options[id] = (struct option){ syntax->flags[id].name, no_argument, NULL,
					       CMD_OPTION_FIRST + id };
	}
	options[id] = (struct option){ "help", no_argument, NULL, CMD_OPTION_FIRST + id };
}

int cmd_image_options(const struct cmd_image_syntax *syntax, int argc, char **argv,
		      char ***operands, int *count)
{
	struct option long_options[CMD_IMAGE_FLAGS_MAX + 2] = { 0 };
	struct parse parse = { .syntax = syntax };
	const struct cmd_options all = { syntax->name, long_options, take_option, &parse,
					 &parse.help };
	int first, status;

	list_options(syntax, long_options);
	*operands = NULL;
	*count = 0;
	status = cmd_options_take(&all, argc, argv, &first);
	if (status)
		return status;
	if (parse.help) {
		puts(syntax->help);
		return CMD_OK;
	}
	*operands = argv + first;
	*count = argc - first;
	return CMD_OK;
}

int cmd_image_operands(const char *name, int count, int wanted, const char *usage)
{
	if (count == wanted)
		return CMD_OK;
	cmd_complain(name, "%s: %s is wanted, see 'vblk %s --help'",
		     count < wanted ? "something is missing" : "there is too much", usage, name);
	return CMD_BAD_INPUT;
}

int cmd_image(int argc, char **argv)
{
	return cmd_commands_run(&commands, argc - 1, argv + 1);
}
