/* SPDX-License-Identifier: MIT */
/*
 * vblk ctl: one command for a vblk that serves disks, over its control socket. The words of the
 * command line become a request of docs/control.md, and its reply a table or nothing.
 */
#include "cmd/cmd.h"

#ifdef VBLK_HAVE_JANSSON

#include "base/checked.h"
#include "base/clock.h"
#include "cmd/ctl_record.h"
#include "cmd/ctl_stats.h"
#include "cmd/ctl_throttle.h"
#include "cmd/nearest.h"
#include "cmd/options.h"
#include "cmd/plot.h"
#include "cmd/progress.h"
#include "cmd/size.h"
#include "control/call.h"
#include "control/protocol.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME		  "ctl"
#define MESSAGE_SIZE	  2048
#define DEFAULT_TIMEOUT_S 10
#define FREEZE_TIMEOUT_S  35  /* a freeze is given up after 30 s */
#define DUMP_TIMEOUT_S	  600 /* all of a guest's memory goes to disk */
#define MAX_TIMEOUT_S	  (VBLK_CONTROL_TIMEOUT_MAX_MS / 1000)
#define GRACE_MS	  2000 /* for the answer that a pause did not succeed */

struct ctl {
	const char *path;
	const char *command;
	char **arguments; /* of the command */
	int argument_count;
	const char *disk;
	uint32_t timeout_s; /* 0: not given; and so on */
	uint64_t interval_ns;
	uint64_t duration_ns;
	enum ctl_stats_format format;
	bool has_format;
	bool json;
	bool force;
	bool help;
};

enum option_id {
	OPTION_DISK = CMD_OPTION_FIRST,
	OPTION_TIMEOUT,
	OPTION_JSON,
	OPTION_FORMAT,
	OPTION_INTERVAL,
	OPTION_DURATION,
	OPTION_FORCE,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{ "disk", required_argument, NULL, OPTION_DISK },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "format", required_argument, NULL, OPTION_FORMAT },
	{ "interval", required_argument, NULL, OPTION_INTERVAL },
	{ "duration", required_argument, NULL, OPTION_DURATION },
	{ "force", no_argument, NULL, OPTION_FORCE },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"vblk ctl: look at the disks of a running vblk, and change them\n"
	"\n"
	"Usage:\n"
	"  vblk ctl CONTROL COMMAND [ARGUMENTS] [--disk DISK] [--timeout SECONDS] [--json]\n"
	"  vblk ctl plot FILE --output OUT.svg [--disk DISK]\n"
	"\n"
	"CONTROL is the path that vblk serve or vblk boot was given as --control.\n"
	"\n"
	"Commands:\n"
	"  stats                counters, sizes and limits, of all disks or one\n"
	"  throttle LIMIT...    iops=N, iops-burst=N, bps=SIZE, bps-burst=SIZE; iops=none takes\n"
	"                       that limit away, its burst with it, as iops=0 does; what is not\n"
	"                       named stays\n"
	"  throttle none        take all limits away\n"
	"  pause                bring the disk to rest; returns when it is\n"
	"  resume               let it go on\n"
	"  resize SIZE          a multiple of 512; --force if it is to become smaller\n"
	"  fault RULE...|none   replace its fault rules; RULE as in vblk boot --help\n"
	"  record FILE          write a line of JSON per disk and interval to FILE, which must\n"
	"                       not exist, or to standard output for -; until --duration is\n"
	"                       over, or SIGINT or SIGTERM\n"
	"  plot FILE            draw what was recorded; needs no server\n"
	"  quit                 end the server, or the machine\n"
	"\n"
	"Commands for a vblk boot:\n"
	"  freeze               stop its processors and bring its disks to rest\n"
	"  thaw                 let it go on\n"
	"  dump                 write it into a new folder below its --dump-dir, and print that\n"
	"\n"
	"Options:\n"
	"  --disk DISK          its name, or its number from 0 on; needed if there are several\n"
	"                       (stats then shows all)\n"
	"  --timeout SECONDS    for the whole call, and for a pause; default 10, for a freeze 35,\n"
	"                       for a dump 600\n"
	"  --json               print the result as JSON (docs/control.md)\n"
	"  --format FORMAT      for stats: text (counters), json or openmetrics (histograms and\n"
	"                       errors by reason too)\n"
	"  --interval T         for record: seconds, or a time as 500ms; default 1\n"
	"  --duration T         for record: how long; default: until a signal\n"
	"  --output, -o FILE    for plot: where the SVG goes\n"
	"  --force              for resize\n"
	"\n"
	"Sizes: 512, 4k, 64M, 1G.\n"
	"\n"
	"Exit status:\n"
	"  0  done\n"
	"  1  refused or failed: the line on standard error says why\n"
	"  2  bad input; nothing was asked\n"
	"\n"
	"Examples:\n"
	"  vblk ctl /run/vblk.ctl stats\n"
	"  vblk ctl /run/vblk.ctl stats --format openmetrics\n"
	"  vblk ctl /run/vblk.ctl record day.jsonl --interval 5 --duration 3600\n"
	"  vblk ctl plot day.jsonl -o day.svg\n"
	"  vblk ctl /run/vblk.ctl throttle iops=100 bps=1M --disk data\n"
	"  vblk ctl /run/vblk.ctl throttle none --disk data\n"
	"  vblk ctl /run/vblk.ctl resize 2G --disk 1\n"
	"  vblk ctl vm.ctl dump --timeout 60\n"
	"  vblk ctl /run/vblk.ctl fault write:error=EIO:every=50 flush:delay=1s --disk data";

/* --- From words to a request. Each returns NULL after a complaint. --- */

static json_t *wrong(const char *format, const char *word)
{
	char text[MESSAGE_SIZE];

	/* NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): the formats stand below */
	snprintf(text, sizeof(text), format, word);
	cmd_complain(NAME, "%s", text);
	return NULL;
}

static json_t *make_plain(const struct ctl *ctl)
{
	if (ctl->argument_count) {
		cmd_complain(NAME, "'%s': %s takes no argument", ctl->arguments[0], ctl->command);
		return NULL;
	}
	return json_object();
}

static json_t *make_pause(const struct ctl *ctl)
{
	json_t *request = make_plain(ctl);

	if (request)
		json_object_set_new(request, "timeout_ms",
				    json_integer((json_int_t)ctl->timeout_s * 1000));
	return request;
}

static json_t *make_throttle(const struct ctl *ctl)
{
	return ctl_throttle_make(ctl->arguments, ctl->argument_count);
}

static json_t *make_resize(const struct ctl *ctl)
{
	uint64_t bytes;

	if (ctl->argument_count != 1)
		return wrong("%s needs one size: 2G, for example", "resize");
	if (cmd_size_parse(ctl->arguments[0], &bytes) || bytes > INT64_MAX || bytes == 0 ||
	    bytes % VBLK_SECTOR_SIZE != 0)
		return wrong("'%s': a size like 64M or 2G, a multiple of 512, is wanted",
			     ctl->arguments[0]);
	return json_pack("{s:I,s:b}", "size", (json_int_t)bytes, "force", ctl->force);
}

static json_t *make_fault(const struct ctl *ctl)
{
	json_t *rules;

	if (!ctl->argument_count)
		return wrong("%s needs a rule, or none", "fault");
	if (ctl->argument_count == 1 && strcmp(ctl->arguments[0], "none") == 0)
		return json_pack("{s:n}", "fault");
	rules = json_array();
	for (int i = 0; i < ctl->argument_count; i++) {
		if (json_array_append_new(rules, json_string(ctl->arguments[i]))) {
			json_decref(rules);
			return wrong("'%s' is no text in UTF-8", ctl->arguments[i]);
		}
	}
	return json_pack("{s:o}", "fault", rules);
}

/* --- From a result to what is printed --- */

static int print_freeze(const json_t *result)
{
	const json_t *left_out = json_object_get(result, "left_out");

	printf("parked %" JSON_INTEGER_FORMAT " vcpus and %" JSON_INTEGER_FORMAT
	       " devices in %" JSON_INTEGER_FORMAT " us",
	       json_integer_value(json_object_get(result, "vcpus")),
	       json_integer_value(json_object_get(result, "disks")),
	       json_integer_value(json_object_get(result, "took_us")));
	if (json_array_size(left_out))
		printf(", %zu left out: their files hang", json_array_size(left_out));
	putchar('\n');
	return CMD_OK;
}

static int print_dump(const json_t *result)
{
	const char *path = json_string_value(json_object_get(result, "path"));

	for (; path && *path; path++)
		putchar((unsigned char)*path < ' ' || *path == '\x7f' ? '?' : *path);
	putchar('\n');
	return CMD_OK;
}

static int print_nothing(const json_t *result)
{
	(void)result;
	return CMD_OK;
}

static const struct {
	const char *name;
	json_t *(*make)(const struct ctl *ctl);
	int (*print)(const json_t *result);
	bool whole; /* about no disk, but the server or its machine */
	uint32_t timeout_s;
} commands[] = {
	{ "stats", make_plain, ctl_stats_print, false, DEFAULT_TIMEOUT_S },
	{ "throttle", make_throttle, print_nothing, false, DEFAULT_TIMEOUT_S },
	{ "pause", make_pause, print_nothing, false, DEFAULT_TIMEOUT_S },
	{ "resume", make_plain, print_nothing, false, DEFAULT_TIMEOUT_S },
	{ "resize", make_resize, print_nothing, false, DEFAULT_TIMEOUT_S },
	{ "fault", make_fault, print_nothing, false, DEFAULT_TIMEOUT_S },
	{ "quit", make_plain, print_nothing, true, DEFAULT_TIMEOUT_S },
	{ "freeze", make_plain, print_freeze, true, FREEZE_TIMEOUT_S },
	{ "thaw", make_plain, print_nothing, true, DEFAULT_TIMEOUT_S },
	{ "dump", make_plain, print_dump, true, DUMP_TIMEOUT_S },
};

/* --- The command line --- */

static int take_option(void *context, int id, const char *value)
{
	struct ctl *ctl = context;
	uint64_t number;

	switch (id) {
	case OPTION_DISK:
		ctl->disk = value;
		return CMD_OK;
	case OPTION_TIMEOUT:
		if (cmd_count_parse(value, MAX_TIMEOUT_S, &number) || number == 0) {
			cmd_complain(NAME,
				     "--timeout '%s': a number of seconds from 1 to %u is wanted",
				     value, MAX_TIMEOUT_S);
			return CMD_BAD_INPUT;
		}
		ctl->timeout_s = (uint32_t)number;
		return CMD_OK;
	case OPTION_JSON:
		ctl->json = true;
		return CMD_OK;
	case OPTION_FORMAT:
		ctl->has_format = true;
		return ctl_stats_format_parse(value, &ctl->format);
	case OPTION_INTERVAL:
		return ctl_record_time_parse("interval", value, &ctl->interval_ns);
	case OPTION_DURATION:
		return ctl_record_time_parse("duration", value, &ctl->duration_ns);
	case OPTION_FORCE:
		ctl->force = true;
		return CMD_OK;
	default:
		ctl->help = true;
		return CMD_OK;
	}
}

static int parse_options(struct ctl *ctl, int argc, char **argv)
{
	const struct cmd_options all = { NAME, long_options, take_option, ctl, &ctl->help };
	int operand = argc;
	int status = cmd_options_take(&all, argc, argv, &operand);

	if (status || ctl->help)
		return status;
	if (argc - operand < 2) {
		cmd_complain(NAME, "%s: vblk ctl CONTROL COMMAND, see 'vblk ctl --help'",
			     argc == operand ? "no control socket given" : "no command given");
		return CMD_BAD_INPUT;
	}
	ctl->path = argv[operand];
	ctl->command = argv[operand + 1];
	ctl->arguments = argv + operand + 2;
	ctl->argument_count = argc - operand - 2;
	return CMD_OK;
}

/* A number is an index: names that are numbers have one as well. */
static int set_disk(const struct ctl *ctl, json_t *request)
{
	uint64_t index;
	json_t *disk;

	if (!ctl->disk)
		return CMD_OK;
	if (cmd_count_parse(ctl->disk, INT64_MAX, &index) == 0)
		disk = json_integer((json_int_t)index);
	else
		disk = json_string(ctl->disk);
	if (json_object_set_new(request, "disk", disk) == 0)
		return CMD_OK;
	cmd_complain(NAME, "--disk '%s' is no text in UTF-8", ctl->disk);
	return CMD_BAD_INPUT;
}

static void show_waiting(const struct ctl *ctl, uint64_t waited_ns)
{
	char line[128];

	snprintf(line, sizeof(line), "%s: waiting for %llu of %" PRIu32 " s", ctl->command,
		 waited_ns / VBLK_NSEC_PER_SEC, ctl->timeout_s);
	cmd_progress_show(line);
}

/* Waits for the reply. What takes longer than a moment, as a dump does, is shown to. */
static int await(const struct ctl *ctl, struct vblk_control_call *call, json_t **result,
		 char *message, size_t message_size)
{
	const uint64_t begin_ns = vblk_clock_now(NULL);
	uint64_t next_ns = begin_ns + 2 * VBLK_NSEC_PER_SEC;
	int ret = vblk_control_call_step(call, result, message, message_size);

	while (ret == -EAGAIN) {
		ret = vblk_control_call_wait(call, next_ns, message, message_size);
		if (ret)
			break;
		ret = vblk_control_call_step(call, result, message, message_size);
		if (vblk_clock_now(NULL) < next_ns)
			continue;
		show_waiting(ctl, vblk_clock_now(NULL) - begin_ns);
		next_ns += VBLK_NSEC_PER_SEC;
	}
	cmd_progress_show(NULL);
	return ret;
}

/* A refusal is told in the words of the server, but for what has another name here. */
static int refused(const struct ctl *ctl, char *message)
{
	if (strcmp(ctl->command, "throttle") == 0)
		ctl_throttle_spell(message);
	cmd_complain(NAME, "%s: %s", ctl->command, message);
	return CMD_FAILED;
}

/* Takes over `request`. */
static int ask(const struct ctl *ctl, json_t *request, json_t **result)
{
	struct vblk_control_call call;
	char message[MESSAGE_SIZE];
	int ret, status;

	if (vblk_control_call_open(&call, ctl->path, ctl->timeout_s * 1000 + GRACE_MS, message,
				   sizeof(message))) {
		json_decref(request);
		cmd_complain(NAME, "%s", message);
		return CMD_FAILED;
	}
	ret = vblk_control_call_post(&call, request, message, sizeof(message));
	if (!ret)
		ret = await(ctl, &call, result, message, sizeof(message));
	status = ret ? refused(ctl, message) : CMD_OK;
	vblk_control_call_close(&call);
	return status;
}

/* What no request is made of. */
static int run_record(const struct ctl *ctl)
{
	const struct ctl_record record = {
		.path = ctl->path,
		.disk = ctl->disk,
		.file = ctl->arguments[0],
		.interval_ns = ctl->interval_ns,
		.duration_ns = ctl->duration_ns,
		.timeout_ms = ctl->timeout_s * 1000,
	};

	if (ctl->argument_count != 1) {
		cmd_complain(NAME, "record needs one file: day.jsonl, for example");
		return CMD_BAD_INPUT;
	}
	return ctl_record_run(&record);
}

/* Options that are for one command, given to another. */
static int check_options(const struct ctl *ctl)
{
	const struct {
		bool given;
		const char *option;
		const char *command;
	} table[] = {
		{ ctl->force, "force", "resize" },
		{ ctl->has_format, "format", "stats" },
		{ ctl->interval_ns, "interval", "record" },
		{ ctl->duration_ns, "duration", "record" },
	};

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		if (table[i].given && strcmp(ctl->command, table[i].command) != 0) {
			cmd_complain(NAME, "--%s is for %s", table[i].option, table[i].command);
			return CMD_BAD_INPUT;
		}
	}
	if (ctl->has_format && ctl->json) {
		cmd_complain(NAME, "--format and --json contradict each other: one of them");
		return CMD_BAD_INPUT;
	}
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(commands); i++) {
		if (ctl->disk && commands[i].whole && strcmp(ctl->command, commands[i].name) == 0) {
			cmd_complain(NAME, "--disk is not for %s, which is about no disk",
				     ctl->command);
			return CMD_BAD_INPUT;
		}
	}
	return CMD_OK;
}

/* Sends the request of commands[i] and prints the result. */
static int run_request(const struct ctl *ctl, size_t i)
{
	json_t *request = commands[i].make(ctl), *result;
	int status;

	if (!request)
		return CMD_BAD_INPUT;
	if (ctl->format != CTL_STATS_TEXT) {
		json_decref(request);
		return ctl_stats_detail(ctl->path, ctl->disk, ctl->timeout_s * 1000, ctl->format);
	}
	json_object_set_new(request, "command", json_string(ctl->command));
	status = set_disk(ctl, request);
	if (status) {
		json_decref(request);
		return status;
	}
	status = ask(ctl, request, &result);
	if (status)
		return status;
	if (ctl->json) {
		json_dumpf(result, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		status = commands[i].print(result);
	}
	json_decref(result);
	return status;
}

static int unknown_command(const char *command)
{
	struct cmd_nearest nearest;
	char hint[CMD_NEAREST_HINT];

	if (strcmp(command, "plot") == 0) {
		cmd_complain(NAME, "plot needs no server: vblk ctl plot FILE --output OUT.svg");
		return CMD_BAD_INPUT;
	}
	cmd_nearest_begin(&nearest, command);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(commands); i++)
		cmd_nearest_offer(&nearest, commands[i].name);
	cmd_nearest_offer(&nearest, "record");
	cmd_complain(NAME,
		     "unknown command '%s'%s stats, throttle, pause, resume, resize, fault, "
		     "quit, freeze, thaw, dump and record are known",
		     command, cmd_nearest_hint(&nearest, "", NULL, hint));
	return CMD_BAD_INPUT;
}

static int run(struct ctl *ctl)
{
	const bool records = strcmp(ctl->command, "record") == 0;
	size_t i = 0;
	int status;

	while (i < VBLK_ARRAY_SIZE(commands) && strcmp(ctl->command, commands[i].name) != 0)
		i++;
	if (i == VBLK_ARRAY_SIZE(commands) && !records) {
		return unknown_command(ctl->command);
	}
	status = check_options(ctl);
	if (status)
		return status;
	if (!ctl->timeout_s)
		ctl->timeout_s = records ? DEFAULT_TIMEOUT_S : commands[i].timeout_s;
	return records ? run_record(ctl) : run_request(ctl, i);
}

int cmd_ctl(int argc, char **argv)
{
	struct ctl ctl = { 0 };
	int status;

	if (argc > 1 && strcmp(argv[1], "plot") == 0)
		return cmd_plot(argc - 1, argv + 1);
	status = parse_options(&ctl, argc, argv);
	if (status)
		return status;
	if (ctl.help) {
		puts(help);
		return CMD_OK;
	}
	return run(&ctl);
}

#else

int cmd_ctl(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	cmd_complain("ctl", "this vblk was built without jansson, which the control socket needs");
	return CMD_BAD_INPUT;
}

#endif
