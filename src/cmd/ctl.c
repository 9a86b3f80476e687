/* SPDX-License-Identifier: MIT */
/*
 * vblk ctl: one command for a vblk that serves disks, over its control socket. The words of the
 * command line become a request of docs/control.md, and its reply a table or nothing.
 */
#include "cmd/cmd.h"

#ifdef VBLK_HAVE_JANSSON

#include "base/checked.h"
#include "cmd/options.h"
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
#define MAX_TIMEOUT_S	  (VBLK_CONTROL_TIMEOUT_MAX_MS / 1000)
#define GRACE_MS	  2000 /* for the answer that a pause did not succeed */
#define CELL_SIZE	  64

struct ctl {
	const char *path;
	const char *command;
	char **arguments; /* of the command */
	int argument_count;
	const char *disk;
	uint32_t timeout_s;
	bool json;
	bool force;
	bool help;
};

enum option_id {
	OPTION_DISK = CMD_OPTION_FIRST,
	OPTION_TIMEOUT,
	OPTION_JSON,
	OPTION_FORCE,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{ "disk", required_argument, NULL, OPTION_DISK },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "force", no_argument, NULL, OPTION_FORCE },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"vblk ctl: look at the disks of a running vblk, and change them\n"
	"\n"
	"Usage:\n"
	"  vblk ctl CONTROL COMMAND [ARGUMENTS] [--disk DISK] [--timeout SECONDS] [--json]\n"
	"\n"
	"CONTROL is the path that vblk serve was given as --control.\n"
	"\n"
	"Commands:\n"
	"  stats                counters, sizes and limits, of all disks or one\n"
	"  throttle LIMIT...    iops=N, iops-burst=N, bps=SIZE, bps-burst=SIZE; 0 or none takes\n"
	"                       a limit away, a rate's burst with it; what is not named stays\n"
	"  pause                bring the disk to rest; returns when it is\n"
	"  resume               let it go on\n"
	"  resize SIZE          a multiple of 512; --force if it is to become smaller\n"
	"  fault RULE...|none   replace its fault rules; RULE as in vblk boot --help\n"
	"  quit                 end the server\n"
	"\n"
	"Options:\n"
	"  --disk DISK          its name, or its number from 0 on; needed if there are several\n"
	"                       (stats then shows all)\n"
	"  --timeout SECONDS    for the whole call, and for a pause; default 10\n"
	"  --json               print the result as JSON (docs/control.md)\n"
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
	"  vblk ctl /run/vblk.ctl throttle iops=100 bps=1M --disk data\n"
	"  vblk ctl /run/vblk.ctl resize 2G --disk 1\n"
	"  vblk ctl /run/vblk.ctl fault write:error=EIO:every=50 flush:delay=1s";

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

static bool add_limit(json_t *request, const char *word)
{
	static const struct {
		const char *word;
		const char *member;
		bool bytes;
	} limits[] = {
		{ "iops", "iops", false },
		{ "iops-burst", "iops_burst", false },
		{ "bps", "bps", true },
		{ "bps-burst", "bps_burst", true },
	};
	const char *value = strchr(word, '=');
	const size_t length = value ? (size_t)(value - word) : 0;

	for (size_t i = 0; value && i < VBLK_ARRAY_SIZE(limits); i++) {
		uint64_t number = 0;
		int ret = 0;

		if (strlen(limits[i].word) != length || strncmp(word, limits[i].word, length) != 0)
			continue;
		if (json_object_get(request, limits[i].member)) {
			cmd_complain(NAME, "'%s' is given twice: once is enough", limits[i].word);
			return false;
		}
		value++;
		if (strcmp(value, "none") != 0)
			ret = limits[i].bytes ? cmd_size_parse(value, &number)
					      : cmd_count_parse(value, INT64_MAX, &number);
		if (!ret && number > INT64_MAX)
			ret = -ERANGE;
		if (ret) {
			cmd_complain(NAME, "'%s': %s", word,
				     ret == -ERANGE ? "the number is too large"
				     : limits[i].bytes
					     ? "a size like 512, 4k, 1M, or none, is wanted"
					     : "a plain number, or none, is wanted");
			return false;
		}
		return json_object_set_new(request, limits[i].member,
					   json_integer((json_int_t)number)) == 0;
	}
	cmd_complain(NAME, "'%s' is no limit: iops=, iops-burst=, bps= and bps-burst= are", word);
	return false;
}

static json_t *make_throttle(const struct ctl *ctl)
{
	json_t *request = json_object();

	if (!ctl->argument_count) {
		json_decref(request);
		return wrong("%s needs a limit: iops=N, for example", "throttle");
	}
	for (int i = 0; i < ctl->argument_count; i++) {
		if (!add_limit(request, ctl->arguments[i])) {
			json_decref(request);
			return NULL;
		}
	}
	return request;
}

static json_t *make_resize(const struct ctl *ctl)
{
	uint64_t bytes;

	if (ctl->argument_count != 1)
		return wrong("%s needs one size: 2G, for example", "resize");
	if (cmd_size_parse(ctl->arguments[0], &bytes) || bytes > INT64_MAX)
		return wrong("'%s': a size like 64M or 2G is wanted", ctl->arguments[0]);
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

struct row {
	const char *label;
	const char *member; /* of the disk, or of `inside` in it */
	const char *inside;
};

static const struct row rows[] = {
	{ "disk", "name", NULL },	  { "number", "index", NULL },
	{ "capacity", "capacity", NULL }, { "connected", "connected", NULL },
	{ "paused", "paused", NULL },	  { "abandoned", "workers_abandoned", NULL },
	{ "iops", "iops", "throttle" },	  { "iops-burst", "iops_burst", "throttle" },
	{ "bps", "bps", "throttle" },	  { "bps-burst", "bps_burst", "throttle" },
};

/* One value as it is shown; the server's names may hold anything. */
static void show(const json_t *disk, const struct row *row, char cell[CELL_SIZE])
{
	const json_t *value = row->inside ? json_object_get(disk, row->inside) : disk;

	value = json_object_get(value, row->member);
	if (json_is_string(value))
		snprintf(cell, CELL_SIZE, "%s", json_string_value(value));
	else if (json_is_boolean(value))
		snprintf(cell, CELL_SIZE, "%s", json_is_true(value) ? "yes" : "no");
	else if (row->inside && strcmp(row->inside, "throttle") == 0 && json_is_integer(value) &&
		 json_integer_value(value) == 0)
		snprintf(cell, CELL_SIZE, "none");
	else if (json_is_integer(value))
		snprintf(cell, CELL_SIZE, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else
		snprintf(cell, CELL_SIZE, "?");
	for (char *c = cell; *c; c++)
		if ((unsigned char)*c < ' ' || *c == '\x7f')
			*c = '?';
}

struct table {
	const json_t *disks;
	struct row *rows;
	size_t row_count;
	int label_width;
	int cell_width;
};

static void measure(struct table *table)
{
	for (size_t i = 0; i < table->row_count; i++) {
		const int length = (int)strlen(table->rows[i].label);

		if (length > table->label_width)
			table->label_width = length;
		for (size_t disk = 0; disk < json_array_size(table->disks); disk++) {
			char cell[CELL_SIZE];

			show(json_array_get(table->disks, disk), &table->rows[i], cell);
			if ((int)strlen(cell) > table->cell_width)
				table->cell_width = (int)strlen(cell);
		}
	}
}

/* A column per disk: there are more counters than disks. */
static int print_stats(const json_t *result)
{
	const json_t *disks = json_object_get(result, "disks");
	json_t *counters = json_object_get(json_array_get(disks, 0), "counters");
	struct table table = { .disks = disks, .row_count = VBLK_ARRAY_SIZE(rows) };

	table.rows = calloc(VBLK_ARRAY_SIZE(rows) + json_object_size(counters), sizeof(*rows));
	if (!table.rows) {
		cmd_complain(NAME, "out of memory");
		return CMD_FAILED;
	}
	memcpy(table.rows, rows, sizeof(rows));
	for (void *i = json_object_iter(counters); i; i = json_object_iter_next(counters, i)) {
		const char *name = json_object_iter_key(i);

		table.rows[table.row_count++] = (struct row){ name, name, "counters" };
	}
	measure(&table);
	for (size_t i = 0; i < table.row_count; i++) {
		printf("%-*s", table.label_width, table.rows[i].label);
		for (size_t disk = 0; disk < json_array_size(disks); disk++) {
			char cell[CELL_SIZE];

			show(json_array_get(disks, disk), &table.rows[i], cell);
			printf("  %*s", table.cell_width, cell);
		}
		putchar('\n');
	}
	free(table.rows);
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
} commands[] = {
	{ "stats", make_plain, print_stats },	  { "throttle", make_throttle, print_nothing },
	{ "pause", make_pause, print_nothing },	  { "resume", make_plain, print_nothing },
	{ "resize", make_resize, print_nothing }, { "fault", make_fault, print_nothing },
	{ "quit", make_plain, print_nothing },
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

/* Takes over `request`. */
static int ask(const struct ctl *ctl, json_t *request, json_t **result)
{
	struct vblk_control_call call;
	char message[MESSAGE_SIZE];

	if (vblk_control_call_open(&call, ctl->path, ctl->timeout_s * 1000 + GRACE_MS, message,
				   sizeof(message))) {
		json_decref(request);
		cmd_complain(NAME, "%s", message);
		return CMD_FAILED;
	}
	if (vblk_control_call_ask(&call, request, result, message, sizeof(message))) {
		cmd_complain(NAME, "%s: %s", ctl->command, message);
		vblk_control_call_close(&call);
		return CMD_FAILED;
	}
	vblk_control_call_close(&call);
	return CMD_OK;
}

static int run(const struct ctl *ctl)
{
	json_t *request, *result;
	size_t i = 0;
	int status;

	while (i < VBLK_ARRAY_SIZE(commands) && strcmp(ctl->command, commands[i].name) != 0)
		i++;
	if (i == VBLK_ARRAY_SIZE(commands)) {
		cmd_complain(NAME,
			     "unknown command '%s': stats, throttle, pause, resume, resize, fault "
			     "and quit are known",
			     ctl->command);
		return CMD_BAD_INPUT;
	}
	if (ctl->force && commands[i].make != make_resize) {
		cmd_complain(NAME, "--force is for resize");
		return CMD_BAD_INPUT;
	}
	if (ctl->disk && strcmp(ctl->command, "quit") == 0) {
		cmd_complain(NAME, "--disk is not for quit, which ends the server");
		return CMD_BAD_INPUT;
	}
	request = commands[i].make(ctl);
	if (!request)
		return CMD_BAD_INPUT;
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

int cmd_ctl(int argc, char **argv)
{
	struct ctl ctl = { .timeout_s = DEFAULT_TIMEOUT_S };
	const int status = parse_options(&ctl, argc, argv);

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
