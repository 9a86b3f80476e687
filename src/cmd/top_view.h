/* SPDX-License-Identifier: MIT */
/*
 * What vblk top shows, as lines of text: from samples and the size of a terminal to what stands in
 * each of its lines. Pure; any thread. Lines are ASCII, whatever names the disks have.
 */
#ifndef CMD_TOP_VIEW_H
#define CMD_TOP_VIEW_H

#include "cmd/sampler.h"

#define TOP_LINE_MAX 256 /* columns; a wider terminal stays empty on the right */

/* Below this there is no room for a disk, and the view says so. */
#define TOP_WIDTH_MIN  30
#define TOP_HEIGHT_MIN 4

enum top_sort {
	TOP_SORT_NAME,
	TOP_SORT_IOPS,
	TOP_SORT_BYTES,
	TOP_SORT_P99,
	TOP_SORTS, /* how many there are */
};

/* What a line is, for who has colours. */
enum top_style {
	TOP_PLAIN,
	TOP_TITLE,
	TOP_HEADER,
	TOP_ALARM, /* errors in the interval, or a daemon that is gone or silent */
	TOP_HINT,
};

struct top_line {
	enum top_style style;
	char text[TOP_LINE_MAX + 1];
};

struct top_model {
	const struct cmd_sampler *samplers;
	size_t sampler_count;
	enum top_sort sort;
	uint64_t interval_ns;
	uint64_t now_ns; /* CLOCK_MONOTONIC, when it is shown */
	bool held;	 /* the display stands still */
};

/*
 * Fills `height` lines of at most `width` columns. Columns that do not fit are left out, the least
 * important first; disks that do not fit are counted in the last line but one.
 */
void top_view_render(const struct top_model *model, unsigned int width, unsigned int height,
		     struct top_line *lines);

/* For --batch: the header, and one line per disk, with all columns. */
void top_view_header(struct top_line *line);
size_t top_view_row_count(const struct top_model *model);
/* Line `i` of the rows in their order. */
void top_view_row(const struct top_model *model, size_t i, struct top_line *line);

const char *top_view_sort_name(enum top_sort sort);

/* At most 6 characters: "950", "12.3k", "4.56M"; and "950ns", "12.3us", "1.20s". */
void top_view_number(char text[16], double value);
void top_view_time(char text[16], uint64_t ns);

#endif
