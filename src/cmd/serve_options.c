/* SPDX-License-Identifier: MIT */
/* The command line of vblk serve. */
#include "cmd/serve_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "cmd/size.h"

#define NAME		"serve"
#define MESSAGE_SIZE	2048
#define QUEUES_MAX	16
#define ACTIVATED_FIRST 3 /* the first descriptor that systemd hands over (sd_listen_fds(3)) */

enum option_id {
	OPTION_SOCKET = CMD_OPTION_FIRST,
	OPTION_FD,
	OPTION_DISK,
	OPTION_QUEUES,
	OPTION_CONTROL,
	OPTION_USER,
	OPTION_SANDBOX,
	OPTION_MEMORY,
	OPTION_STATS,
	OPTION_VERBOSE,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{ "socket", required_argument, NULL, OPTION_SOCKET },
	{ "fd", required_argument, NULL, OPTION_FD },
	{ "disk", required_argument, NULL, OPTION_DISK },
	{ "queues", required_argument, NULL, OPTION_QUEUES },
	{ "control", required_argument, NULL, OPTION_CONTROL },
	{ "user", required_argument, NULL, OPTION_USER },
	{ "sandbox", required_argument, NULL, OPTION_SANDBOX },
	{ "memory", required_argument, NULL, OPTION_MEMORY },
	{ "stats", no_argument, NULL, OPTION_STATS },
	{ "verbose", no_argument, NULL, OPTION_VERBOSE },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

static int bad_value(const char *option, const char *value, const char *wanted)
{
	cmd_complain(NAME, "--%s '%s': %s is wanted", option, value, wanted);
	return CMD_BAD_INPUT;
}

static int add_place(struct serve_options *options, const char *path, int fd)
{
	if (options->place_count == SERVE_DISKS_MAX) {
		cmd_complain(NAME, "too many sockets: up to %u are possible", SERVE_DISKS_MAX);
		return CMD_BAD_INPUT;
	}
	options->places[options->place_count++] = (struct serve_place){ path, fd };
	return CMD_OK;
}

static int add_disk(struct serve_options *options, const char *text)
{
	char message[MESSAGE_SIZE];
	int ret;

	if (options->disk_count == SERVE_DISKS_MAX) {
		cmd_complain(NAME, "--disk '%s' is one too many: up to %u disks are possible", text,
			     SERVE_DISKS_MAX);
		return CMD_BAD_INPUT;
	}
	ret = cmd_disk_spec_parse(text, &options->specs[options->disk_count], message,
				  sizeof(message));
	if (ret) {
		cmd_complain(NAME, "--disk '%s': %s", text, message);
		return ret == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
	}
	options->disk_count++;
	return CMD_OK;
}

static int take_sandbox(struct serve_options *options, const char *value)
{
	options->no_sandbox = strcmp(value, "off") == 0;
	options->kill = strcmp(value, "kill") == 0;
	if (options->no_sandbox || options->kill || strcmp(value, "on") == 0)
		return CMD_OK;
	return bad_value("sandbox", value, "on, kill or off");
}

static int take_memory(struct serve_options *options, const char *value)
{
	options->any_memory = strcmp(value, "any") == 0;
	if (options->any_memory || strcmp(value, "local") == 0)
		return CMD_OK;
	return bad_value("memory", value, "local or any");
}

static int take_option(void *context, int id, const char *value)
{
	struct serve_options *options = context;
	uint64_t number;

	switch (id) {
	case OPTION_SOCKET:
		return add_place(options, value, -1);
	case OPTION_FD:
		if (cmd_count_parse(value, INT32_MAX, &number))
			return bad_value("fd", value, "the number of an open descriptor");
		return add_place(options, NULL, (int)number);
	case OPTION_DISK:
		return add_disk(options, value);
	case OPTION_QUEUES:
		if (cmd_count_parse(value, QUEUES_MAX, &number) || number == 0)
			return bad_value("queues", value, "a number from 1 to 16");
		options->queues = (uint16_t)number;
		return CMD_OK;
	case OPTION_CONTROL:
		options->control = value;
		return CMD_OK;
	case OPTION_USER:
		options->user = value;
		return CMD_OK;
	case OPTION_SANDBOX:
		return take_sandbox(options, value);
	case OPTION_MEMORY:
		return take_memory(options, value);
	case OPTION_STATS:
		options->stats = true;
		return CMD_OK;
	case OPTION_VERBOSE:
		options->verbose = true;
		return CMD_OK;
	default:
		options->help = true;
		return CMD_OK;
	}
}

/* The sockets that systemd has opened for us, if it has. */
static int add_activated(struct serve_options *options)
{
	const char *pid = getenv("LISTEN_PID");
	const char *fds = getenv("LISTEN_FDS");
	int status = CMD_OK;
	uint64_t number;

	if (!pid || !fds || cmd_count_parse(pid, INT32_MAX, &number) ||
	    number != (uint64_t)getpid() || cmd_count_parse(fds, SERVE_DISKS_MAX, &number))
		return CMD_OK;
	for (int i = 0; i < (int)number && status == CMD_OK; i++)
		status = add_place(options, NULL, ACTIVATED_FIRST + i);
	return status;
}

static int check(struct serve_options *options)
{
	int status = CMD_OK;

	if (options->place_count == 0)
		status = add_activated(options);
	if (status)
		return status;
	if (options->disk_count == 0) {
		cmd_complain(NAME, "no disk given: --socket PATH --disk path=FILE is required");
		return CMD_BAD_INPUT;
	}
	if (options->place_count == options->disk_count)
		return CMD_OK;
	cmd_complain(NAME,
		     "%u disk%s and %u socket%s: each --disk needs a --socket or --fd of its own",
		     options->disk_count, options->disk_count == 1 ? "" : "s", options->place_count,
		     options->place_count == 1 ? "" : "s");
	return CMD_BAD_INPUT;
}

int serve_options_parse(struct serve_options *options, int argc, char **argv)
{
	const struct cmd_options all = { NAME, long_options, take_option, options, &options->help };
	int status;

	*options = (struct serve_options){ .queues = 1 };
	status = cmd_options_take_all(&all, argc, argv);
	if (status || options->help)
		return status;
	return check(options);
}

void serve_options_free(struct serve_options *options)
{
	for (unsigned int i = 0; i < options->disk_count; i++)
		cmd_disk_spec_free(&options->specs[i]);
}
