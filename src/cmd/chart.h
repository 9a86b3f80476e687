/* SPDX-License-Identifier: MIT */
/*
 * Line charts as SVG: panels below one another that share their time axis. The same data gives the
 * same bytes. One thread per file.
 */
#ifndef CMD_CHART_H
#define CMD_CHART_H

#include <stdio.h>
#include <vblk/types.h>

#define CHART_SERIES_MAX 4

struct chart_series {
	const char *name;
	const char *color;
	const double *value; /* one per moment; not below 0 */
};

struct chart_panel {
	const char *title; /* says the unit too */
	size_t series_count;
	struct chart_series series[CHART_SERIES_MAX];
};

/* The moments that all series of a chart have. */
struct chart_time {
	size_t count;
	const double *at;  /* seconds from the start of the chart; rising */
	const bool *apart; /* nothing is known between this moment and the one before */
	double end;	   /* the end of the axis, above 0 */
};

/* A document of `panels` panels in `groups` groups, each with a heading. */
void chart_begin(FILE *out, const char *title, unsigned int groups, unsigned int panels);
/* The heading of group `group`; any text. */
void chart_heading(FILE *out, unsigned int group, unsigned int panels_before, const char *text);
/* Panel `panel`, counted from 0 over all groups, in group `group`. */
void chart_panel(FILE *out, unsigned int group, unsigned int panel,
		 const struct chart_panel *contents, const struct chart_time *time);
void chart_end(FILE *out);

/* The distance of ticks, 1, 2 or 5 times a power of ten, that divides `range` in at most `count`.
 */
double chart_tick(double range, unsigned int count);

#endif
