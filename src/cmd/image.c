/* SPDX-License-Identifier: MIT */
/* vblk image: finds the command, and what its commands share. */
#include "cmd/image.h"

#include "base/checked.h"
#include "cmd/nearest.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAME "image"

static const struct {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "create", "make an image that is empty and takes no space", cmd_image_create },
	{ "clone", "make a copy of an image, at once where blocks can be shared", cmd_image_clone },
	{ "template", "make an image with an empty file system, once", cmd_image_template },
	{ "info", "say how large an image is, and what is in it", cmd_image_info },
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
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(commands); i++)
		printf("  %-9s %s\n", commands[i].name, commands[i].summary);
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

int cmd_image_operands(const char *name, int count, int wanted, const char *usage)
{
	if (count == wanted)
		return CMD_OK;
	cmd_complain(name, "%s: %s is wanted, see 'vblk %s --help'",
		     count < wanted ? "something is missing" : "there is too much", usage, name);
	return CMD_BAD_INPUT;
}

static int complain_unknown(const char *word)
{
	struct cmd_nearest nearest;
	char hint[CMD_NEAREST_HINT];

	cmd_nearest_begin(&nearest, word);
	for (size_t i = 0; word[0] != '-' && i < VBLK_ARRAY_SIZE(commands); i++)
		cmd_nearest_offer(&nearest, commands[i].name);
	cmd_complain(NAME, "unknown %s '%s'%s", word[0] == '-' ? "option" : "command", word,
		     cmd_nearest_hint(&nearest, "", "see 'vblk image --help'", hint));
	return CMD_BAD_INPUT;
}

int cmd_image(int argc, char **argv)
{
	if (argc < 2) {
		cmd_complain(NAME, "no command given: see 'vblk image --help'");
		return CMD_BAD_INPUT;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help();
		return CMD_OK;
	}
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	return complain_unknown(argv[1]);
}
