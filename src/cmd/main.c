/* SPDX-License-Identifier: MIT */
/* The program `vblk`: finds the sub-command and gets out of its way. */
#include "base/checked.h"
#include "cmd/commands.h"
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

static const struct cmd_command table[] = {
	{ "boot", "run a Linux kernel in a KVM microVM with virtio disks", cmd_boot },
	{ "serve", "serve disks to virtual machine monitors over vhost-user", cmd_serve },
	{ "bench", "measure how fast a disk is for the driver of a guest", cmd_bench },
	{ "image", "make disk images, templates and copies of them", cmd_image },
	{ "ctl", "look at the disks of a running vblk, and change them", cmd_ctl },
	{ "top", "watch the disks of running vblk daemons", cmd_top },
};

static void print_help(void);

/* An option comes before a word that is as near: "-help" is meant for one. */
static const char *const others[] = { HELP_OPTION, VERSION_OPTION, HELP, NULL };

static const struct cmd_commands commands = {
	.table = table,
	.count = VBLK_ARRAY_SIZE(table),
	.print_help = print_help,
	.others = others,
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
	cmd_commands_print(&commands);
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
	status = cmd_commands_run(&commands, argc + 1, words);
	free(words);
	return status;
}

int main(int argc, char **argv)
{
	int status = CMD_OK;

	fill_standard_descriptors();
	/* A file that may not become longer is an error of the call that writes it. */
	signal(SIGXFSZ, SIG_IGN);
	if (argc > 1 && strcmp(argv[1], HELP) == 0)
		status = run_help(argc - 2, argv + 2);
	else if (argc > 1 && strcmp(argv[1], VERSION_OPTION) == 0)
		puts("vblk " VBLK_VERSION);
	else /* a program may be started without even its own name */
		status = cmd_commands_run(&commands, argc > 0 ? argc - 1 : 0, argv + 1);

	/* Output that did not arrive is a failure, also of a help text. */
	if (fflush(stdout) != 0 && status == CMD_OK) {
		cmd_complain(NULL, "cannot write to standard output");
		status = CMD_FAILED;
	}
	return status;
}
