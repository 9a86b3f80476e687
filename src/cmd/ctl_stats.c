/* SPDX-License-Identifier: MIT */
/* What vblk ctl CONTROL stats prints: a table of counters, or all there is in a format of others.
 */
#include "cmd/ctl_stats.h"

#ifdef VBLK_HAVE_JANSSON

#include "base/checked.h"
#include "cmd/cmd.h"
#include "cmd/detail_call.h"
#include "cmd/openmetrics.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME	     "ctl"
#define CELL_SIZE    64
#define MESSAGE_SIZE 2048

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
int ctl_stats_print(const json_t *result)
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

int ctl_stats_format_parse(const char *text, enum ctl_stats_format *format)
{
	static const char *const names[] = {
		[CTL_STATS_TEXT] = "text",
		[CTL_STATS_JSON] = "json",
		[CTL_STATS_OPENMETRICS] = "openmetrics",
	};

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*format = (enum ctl_stats_format)i;
			return CMD_OK;
		}
	}
	cmd_complain(NAME, "--format '%s': text, json or openmetrics is wanted", text);
	return CMD_BAD_INPUT;
}

static int print_openmetrics(const json_t *result)
{
	const json_t *disks = json_object_get(result, "disks");
	const size_t count = json_array_size(disks);
	struct cmd_sample *samples = calloc(count ? count : 1, sizeof(*samples));

	if (!samples) {
		cmd_complain(NAME, "out of memory");
		return CMD_FAILED;
	}
	for (size_t i = 0; i < count; i++)
		cmd_sample_read(json_array_get(disks, i), &samples[i]);
	cmd_openmetrics_write(stdout, samples, count);
	free(samples);
	return CMD_OK;
}

int ctl_stats_detail(const char *path, const char *disk, uint32_t timeout_ms,
		     enum ctl_stats_format format)
{
	char message[MESSAGE_SIZE];
	json_t *result;
	int status = CMD_OK;

	if (cmd_detail_call(path, disk, timeout_ms, &result, message, sizeof(message))) {
		cmd_complain(NAME, "%s", message);
		return CMD_FAILED;
	}
	if (format == CTL_STATS_OPENMETRICS) {
		status = print_openmetrics(result);
	} else {
		json_dumpf(result, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	json_decref(result);
	return status;
}

#endif
