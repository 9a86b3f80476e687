/* SPDX-License-Identifier: MIT */
/* The program `vblk`: finds the sub-command and gets out of its way. */
#include "cmd/cmd.h"

#include "base/checked.h"
#include "cmd/nearest.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef VBLK_VERSION
#define VBLK_VERSION "unknown"
#endif

#define HELP	       "help"
#define HELP_OPTION    "--help"
#define VERSION_OPTION "--version"

struct command {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
	{ "boot", "run a Linux kernel in a KVM microVM with virtio disks", cmd_boot },
	{ "serve", "serve disks to virtual machine monitors over vhost-user", cmd_serve },
	{ "bench", "measure how fast a disk is for the driver of a guest", cmd_bench },
	{ "image", "make disk images, templates and copies of them", cmd_image },
	{ "ctl", "look at the disks of a running vblk, and change them", cmd_ctl },
	{ "top", "watch the disks of running vblk daemons", cmd_top },
};

static void print_help(void)
{
	puts("vblk: a virtio block device for virtual machines, and machines to try it with\n"
	     "\n"
	     "Usage:\n"
	     "  vblk COMMAND [OPTIONS]\n"
	     "  vblk COMMAND --help, or vblk help COMMAND\n"
	     "  vblk --help | --version\n"
	     "\n"
	     "Commands:");
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(commands); i++)
		printf("  %-8s %s\n", commands[i].name, commands[i].summary);
	puts("\n"
	     "Exit status:\n"
	     "  0  success\n"
	     "  1  failure while running\n"
	     "  2  bad input; nothing was changed\n"
	     "Commands may have more: see their help.\n"
	     "\n"
	     "Examples:\n"
	     "  vblk image create disk.img 1G\n"
	     "  vblk serve --socket a.sock --disk path=disk.img --control a.ctl\n"
	     "  vblk top a.ctl\n"
	     "  vblk help image clone");
}

/*
 * A descriptor that is closed when the program starts would be given to the next file that is
 * opened, and what is meant for standard output would go into a disk.
 */
static void fill_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int complain_unknown(const char *word)
{
	struct cmd_nearest nearest;
	char hint[CMD_NEAREST_HINT];

	cmd_nearest_begin(&nearest, word);
	for (size_t i = 0; word[0] != '-' && i < VBLK_ARRAY_SIZE(commands); i++)
		cmd_nearest_offer(&nearest, commands[i].name);
	if (word[0] != '-')
		cmd_nearest_offer(&nearest, HELP);
	cmd_nearest_offer(&nearest, HELP_OPTION);
	cmd_nearest_offer(&nearest, VERSION_OPTION);
	cmd_complain(NULL, "unknown %s '%s'%s", word[0] == '-' ? "option" : "command", word,
		     cmd_nearest_hint(&nearest, "", "see 'vblk --help'", hint));
	return CMD_BAD_INPUT;
}

static int run_command(int argc, char **argv)
{
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(commands); i++)
		if (strcmp(argv[0], commands[i].name) == 0)
			return commands[i].run(argc, argv);
	return complain_unknown(argv[0]);
}

/* vblk help image clone: as vblk image clone --help. */
static int run_help(int argc, char **argv)
{
	char option[] = HELP_OPTION;
	char **words;
	int status;

	if (argc == 0) {
		print_help();
		return CMD_OK;
	}
	words = calloc((size_t)argc + 2, sizeof(*words));
	if (!words) {
		cmd_complain(NULL, "out of memory");
		return CMD_FAILED;
	}
	memcpy(words, argv, (size_t)argc * sizeof(*words));
	words[argc] = option;
	status = run_command(argc + 1, words);
	free(words);
	return status;
}

int main(int argc, char **argv)
{
	int status = CMD_OK;

	fill_standard_descriptors();
	/* A file that may not become longer is an error of the call that writes it. */
	signal(SIGXFSZ, SIG_IGN);
	if (argc < 2) {
		cmd_complain(NULL, "no command given: see 'vblk --help'");
		return CMD_BAD_INPUT;
	}
	if (strcmp(argv[1], HELP_OPTION) == 0 || strcmp(argv[1], "-h") == 0)
		print_help();
	else if (strcmp(argv[1], HELP) == 0)
		status = run_help(argc - 2, argv + 2);
	else if (strcmp(argv[1], VERSION_OPTION) == 0)
		puts("vblk " VBLK_VERSION);
	else
		status = run_command(argc - 1, argv + 1);

	/* Output that did not arrive is a failure, also of a help text. */
	if (fflush(stdout) != 0 && status == CMD_OK) {
		cmd_complain(NULL, "cannot write to standard output");
		status = CMD_FAILED;
	}
	return status;
}
