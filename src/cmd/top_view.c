/* SPDX-License-Identifier: MIT */
/*
 * The columns are a table: where they stand is the order of the table, whether they are there is
 * their rank, from the most important on for as long as there is room.
 */
#include "cmd/top_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"

#define MIB	       1048576.0
#define CELL_SIZE      64
#define NAME_WIDTH     12 /* what a name has at least; it gets what the columns leave */
#define NAME_MAX_WIDTH 40

/* A disk, or a socket that nobody answers at. */
struct row {
	const struct cmd_sampler *sampler;
	const struct cmd_sampler_disk *disk; /* NULL: gone, or silent */
	uint64_t silence_ns;
	size_t place; /* among those that no order tells apart */
};

void top_view_number(char text[16], double value)
{
	static const char units[] = " kMGTP";
	size_t unit = 0;

	while (value >= 999.5 && units[unit + 1]) {
		value /= 1000.0;
		unit++;
	}
	if (unit == 0)
		snprintf(text, 16, "%.0f", value);
	else
		snprintf(text, 16, "%.*f%c",
			 value < 9.995	 ? 2
			 : value < 99.95 ? 1
					 : 0,
			 value, units[unit]);
}

void top_view_time(char text[16], uint64_t ns)
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	double value = (double)ns;
	size_t unit = 0;

	while (value >= 999.5 && unit < VBLK_ARRAY_SIZE(units) - 1) {
		value /= 1000.0;
		unit++;
	}
	if (ns == 0)
		snprintf(text, 16, "-");
	else if (value > 99999)
		snprintf(text, 16, ">99999s");
	else
		snprintf(text, 16, "%.*f%s",
			 unit == 0 || value >= 99.95 ? 0
			 : value < 9.995	     ? 2
						     : 1,
			 value, units[unit]);
}

static double others(const struct cmd_rates *rates)
{
	return rates->op[VBLK_OP_DISCARD].per_second + rates->op[VBLK_OP_WRITE_ZEROES].per_second +
	       rates->op[VBLK_OP_GET_ID].per_second;
}

static void show_state(const struct cmd_sampler_disk *disk, char text[16])
{
	snprintf(text, 16, "%s", disk->now.paused ? "rest" : disk->now.connected ? "up" : "idle");
}

static void show_read(const struct cmd_sampler_disk *disk, char text[16])
{
	top_view_number(text, disk->rates.op[VBLK_OP_READ].per_second);
}

static void show_write(const struct cmd_sampler_disk *disk, char text[16])
{
	top_view_number(text, disk->rates.op[VBLK_OP_WRITE].per_second);
}

static void show_flush(const struct cmd_sampler_disk *disk, char text[16])
{
	top_view_number(text, disk->rates.op[VBLK_OP_FLUSH].per_second);
}

static void show_others(const struct cmd_sampler_disk *disk, char text[16])
{
	top_view_number(text, others(&disk->rates));
}

static void show_read_mib(const struct cmd_sampler_disk *disk, char text[16])
{
	snprintf(text, 16, "%.1f", disk->rates.bytes_read / MIB);
}

static void show_write_mib(const struct cmd_sampler_disk *disk, char text[16])
{
	snprintf(text, 16, "%.1f", disk->rates.bytes_written / MIB);
}

static void show_p50(const struct cmd_sampler_disk *disk, char text[16])
{
	top_view_time(text, disk->rates.all.p50_ns);
}

static void show_p99(const struct cmd_sampler_disk *disk, char text[16])
{
	top_view_time(text, disk->rates.all.p99_ns);
}

static void show_highest(const struct cmd_sampler_disk *disk, char text[16])
{
	top_view_time(text, disk->rates.all.highest_ns);
}

static void show_waits(const struct cmd_sampler_disk *disk, char text[16])
{
	top_view_number(text, disk->rates.waits);
}

static void show_depth(const struct cmd_sampler_disk *disk, char text[16])
{
	snprintf(text, 16, "%.1f", disk->rates.depth);
}

static void show_errors(const struct cmd_sampler_disk *disk, char text[16])
{
	top_view_number(text, (double)disk->rates.error_count);
}

static const struct column {
	const char *title;
	unsigned int width; /* without the space before it */
	unsigned int rank;  /* 1: the last to go */
	void (*show)(const struct cmd_sampler_disk *disk, char text[16]);
} columns[] = {
	{ "STATE", 5, 10, show_state },	     { "R/s", 6, 1, show_read },
	{ "W/s", 6, 2, show_write },	     { "F/s", 5, 11, show_flush },
	{ "OTHER/s", 7, 12, show_others },   { "R MiB/s", 7, 5, show_read_mib },
	{ "W MiB/s", 7, 6, show_write_mib }, { "P50", 6, 7, show_p50 },
	{ "P99", 6, 3, show_p99 },	     { "MAX", 6, 9, show_highest },
	{ "WAIT/s", 6, 8, show_waits },	     { "DEPTH", 5, 13, show_depth },
	{ "ERR", 5, 4, show_errors },
};

#define EVERY_COLUMN ((1u << VBLK_ARRAY_SIZE(columns)) - 1)

/* Which columns fit beside a name, as bits, and how wide the name becomes. */
static unsigned int choose_columns(unsigned int width, unsigned int *name_width)
{
	unsigned int left = width > NAME_WIDTH ? width - NAME_WIDTH : 0;
	unsigned int chosen = 0;
	bool full = false; /* what matters less does not come in the place of what does not fit */

	for (unsigned int rank = 1; rank <= VBLK_ARRAY_SIZE(columns); rank++) {
		for (unsigned int i = 0; i < VBLK_ARRAY_SIZE(columns); i++) {
			if (columns[i].rank != rank)
				continue;
			full = full || columns[i].width + 1 > left;
			if (full)
				continue;
			chosen |= 1u << i;
			left -= columns[i].width + 1;
		}
	}
	*name_width = (unsigned int)vblk_min_u64(NAME_WIDTH + left, NAME_MAX_WIDTH);
	return chosen;
}

/* Cuts to the width, and shows what is not ASCII as '?'. */
static void cut(struct top_line *line, unsigned int width)
{
	line->text[vblk_min_u64(width, TOP_LINE_MAX)] = '\0';
	for (char *c = line->text; *c; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
			*c = '?';
}

static size_t append(struct top_line *line, size_t used, const char *text, unsigned int width)
{
	const size_t room = sizeof(line->text) - used;
	const int length = snprintf(line->text + used, room, " %*s", (int)width, text);

	return used + (size_t)vblk_min_u64((uint64_t)length, room - 1);
}

static void header(struct top_line *line, unsigned int chosen, unsigned int name_width)
{
	size_t used =
		(size_t)snprintf(line->text, sizeof(line->text), "%-*s", (int)name_width, "DISK");

	line->style = TOP_HEADER;
	for (unsigned int i = 0; i < VBLK_ARRAY_SIZE(columns); i++)
		if (chosen & 1u << i)
			used = append(line, used, columns[i].title, columns[i].width);
}

static void disk_line(struct top_line *line, const struct cmd_sampler_disk *disk,
		      unsigned int chosen, unsigned int name_width)
{
	size_t used = (size_t)snprintf(line->text, sizeof(line->text), "%-*.*s", (int)name_width,
				       (int)name_width, disk->now.name);

	line->style = disk->has_rates && disk->rates.error_count ? TOP_ALARM : TOP_PLAIN;
	for (unsigned int i = 0; i < VBLK_ARRAY_SIZE(columns); i++) {
		char text[16] = "-";

		if (!(chosen & 1u << i))
			continue;
		if (disk->has_rates || columns[i].show == show_state)
			columns[i].show(disk, text);
		used = append(line, used, text, columns[i].width);
	}
}

static void row_line(struct top_line *line, const struct row *row, unsigned int chosen,
		     unsigned int name_width)
{
	if (row->disk) {
		disk_line(line, row->disk, chosen, name_width);
		return;
	}
	line->style = TOP_ALARM;
	if (row->silence_ns)
		snprintf(line->text, sizeof(line->text), "%.160s no answer since %llu s",
			 row->sampler->path, row->silence_ns / VBLK_NSEC_PER_SEC);
	else
		snprintf(line->text, sizeof(line->text), "%.160s gone: %.80s", row->sampler->path,
			 row->sampler->why);
}

/* --- The order --- */

static double key(const struct row *row, enum top_sort sort)
{
	const struct cmd_rates *rates = &row->disk->rates;

	switch (sort) {
	case TOP_SORT_IOPS:
		return rates->all.per_second;
	case TOP_SORT_BYTES:
		return rates->bytes_read + rates->bytes_written;
	case TOP_SORT_P99:
		return (double)rates->all.p99_ns;
	default:
		return 0.0;
	}
}

/* The larger first, then by name; who is gone last; equal ones as they were given. */
static int compare(const struct row *a, const struct row *b, enum top_sort sort)
{
	int by_name;

	if (!a->disk != !b->disk)
		return a->disk ? -1 : 1;
	if (a->disk) {
		if (key(a, sort) > key(b, sort) || key(a, sort) < key(b, sort))
			return key(a, sort) > key(b, sort) ? -1 : 1;
		by_name = strcmp(a->disk->now.name, b->disk->now.name);
		if (by_name)
			return by_name;
	}
	return a->place < b->place ? -1 : a->place > b->place;
}

static int compare_for_sort(const void *a, const void *b, void *sort)
{
	return compare(a, b, *(const enum top_sort *)sort);
}

/* A daemon that is gone or silent has one row of its own; one without an answer yet has none. */
static size_t rows_of(const struct cmd_sampler *sampler, uint64_t silence_ns)
{
	if (silence_ns)
		return 1;
	return sampler->count ? sampler->count : sampler->why[0] ? 1 : 0;
}

size_t top_view_row_count(const struct top_model *model)
{
	size_t count = 0;

	for (size_t i = 0; i < model->sampler_count; i++)
		count += rows_of(&model->samplers[i],
				 cmd_sampler_silence_ns(&model->samplers[i], model->now_ns));
	return count;
}

/* All rows in their order; free it. NULL: out of memory. */
static struct row *arrange(const struct top_model *model, size_t count)
{
	struct row *rows = calloc(count + 1, sizeof(*rows));
	enum top_sort sort = model->sort;
	size_t filled = 0;

	for (size_t n = 0; rows && n < model->sampler_count; n++) {
		const struct cmd_sampler *sampler = &model->samplers[n];
		const uint64_t silence_ns = cmd_sampler_silence_ns(sampler, model->now_ns);
		const bool is_gone = silence_ns || !sampler->count;

		for (size_t i = 0; i < rows_of(sampler, silence_ns); i++, filled++)
			rows[filled] = (struct row){ sampler, is_gone ? NULL : &sampler->disks[i],
						     silence_ns, filled };
	}
	if (rows)
		qsort_r(rows, count, sizeof(*rows), compare_for_sort, &sort);
	return rows;
}

/* --- The whole --- */

const char *top_view_sort_name(enum top_sort sort)
{
	static const char *const names[TOP_SORTS] = {
		[TOP_SORT_NAME] = "name",
		[TOP_SORT_IOPS] = "iops",
		[TOP_SORT_BYTES] = "bytes",
		[TOP_SORT_P99] = "p99",
	};

	return (unsigned int)sort < TOP_SORTS ? names[sort] : "?";
}

static void title(struct top_line *line, const struct top_model *model)
{
	line->style = TOP_TITLE;
	snprintf(line->text, sizeof(line->text), "vblk top  every %.1f s  by %s%s",
		 (double)model->interval_ns / (double)VBLK_NSEC_PER_SEC,
		 top_view_sort_name(model->sort), model->held ? "  HELD" : "");
}

static void hint(struct top_line *line, const char *text)
{
	line->style = TOP_HINT;
	snprintf(line->text, sizeof(line->text), "%s", text);
}

/* The header, and behind it `room` lines, of which there is at least one. */
static void render_rows(const struct top_model *model, unsigned int width, struct top_line *lines,
			unsigned int room)
{
	const size_t count = top_view_row_count(model);
	struct row *rows = arrange(model, count);
	unsigned int name_width, chosen = choose_columns(width, &name_width);

	header(&lines[0], chosen, name_width);
	for (unsigned int i = 0; rows && i < room && i < count; i++)
		row_line(&lines[1 + i], &rows[i], chosen, name_width);
	if (!rows) {
		hint(&lines[1], "out of memory");
	} else if (count > room) {
		struct top_line *last = &lines[room];

		last->style = TOP_HINT;
		snprintf(last->text, sizeof(last->text), "... and %zu more", count - room + 1);
	}
	free(rows);
}

void top_view_render(const struct top_model *model, unsigned int width, unsigned int height,
		     struct top_line *lines)
{
	for (unsigned int i = 0; i < height; i++)
		lines[i] = (struct top_line){ .style = TOP_PLAIN };
	if (height == 0)
		return;
	if (width < TOP_WIDTH_MIN || height < TOP_HEIGHT_MIN) {
		hint(&lines[0], "terminal too small");
		cut(&lines[0], width);
		return;
	}
	title(&lines[0], model);
	render_rows(model, (unsigned int)vblk_min_u64(width, TOP_LINE_MAX), &lines[1], height - 3);
	hint(&lines[height - 1], "q quit  p hold  s sort");
	for (unsigned int i = 0; i < height; i++)
		cut(&lines[i], width);
}

void top_view_header(struct top_line *line)
{
	header(line, EVERY_COLUMN, NAME_WIDTH + 8);
}

void top_view_row(const struct top_model *model, size_t i, struct top_line *line)
{
	const size_t count = top_view_row_count(model);
	struct row *rows = arrange(model, count);

	line->text[0] = '\0';
	line->style = TOP_PLAIN;
	if (!rows)
		hint(line, "out of memory");
	else if (i < count)
		row_line(line, &rows[i], EVERY_COLUMN, NAME_WIDTH + 8);
	free(rows);
	cut(line, TOP_LINE_MAX);
}
