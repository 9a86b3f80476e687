/* SPDX-License-Identifier: MIT */
/*
 * Everything is placed by counting panels and groups, so that they can be written in one pass.
 * Coordinates have two decimals: finer is not seen, and the file stays small.
 */
#include "cmd/chart.h"

#include <math.h>
#include <string.h>

#define WIDTH	    960.0
#define LEFT	    78.0 /* of the plot; the axis is labelled there */
#define RIGHT	    940.0
#define TOP	    58.0  /* of the first group */
#define HEADING	    30.0  /* the height of a group's heading */
#define PANEL	    190.0 /* of a panel with what belongs to it */
#define PANEL_TOP   34.0  /* from there to the plot */
#define PLOT	    120.0 /* the height of a plot */
#define BOTTOM	    16.0
#define TICKS	    4u
#define TIME_TICKS  8u
#define LEGEND_STEP 92.0

static double top_of(unsigned int group, unsigned int panel)
{
	return TOP + (group + 1) * HEADING + panel * PANEL;
}

static void write_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&':
			fputs("&amp;", out);
			break;
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		default:
			fputc((unsigned char)*text < ' ' ? '?' : *text, out);
		}
	}
}

double chart_tick(double range, unsigned int count)
{
	const double least = range / count;
	const double power = pow(10.0, floor(log10(least)));
	const double steps[] = { 1.0, 2.0, 5.0, 10.0 };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (steps[i] * power >= least * (1 - 1e-9))
			return steps[i] * power;
	return 10.0 * power;
}

void chart_begin(FILE *out, const char *title, unsigned int groups, unsigned int panels)
{
	const double height = TOP + groups * HEADING + panels * PANEL + BOTTOM;

	fprintf(out,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
		"viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" font-size=\"12\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n"
		"<text x=\"%.0f\" y=\"32\" font-size=\"18\" font-weight=\"bold\">",
		WIDTH, height, WIDTH, height, LEFT);
	write_text(out, title);
	fputs("</text>\n", out);
}

void chart_heading(FILE *out, unsigned int group, unsigned int panels_before, const char *text)
{
	fprintf(out, "<text x=\"%.0f\" y=\"%.2f\" font-size=\"15\" font-weight=\"bold\">", LEFT,
		top_of(group, panels_before) - 8.0);
	write_text(out, text);
	fputs("</text>\n", out);
}

/* The shortest text that tells multiples of `tick` apart. */
static void write_number(FILE *out, double value, double tick)
{
	const int decimals = tick >= 1.0 ? 0 : (int)ceil(-log10(tick) - 1e-9);

	fprintf(out, "%.*f", decimals, value);
}

static double highest_of(const struct chart_panel *panel, size_t count)
{
	double highest = 0.0;

	for (size_t i = 0; i < panel->series_count; i++)
		for (size_t n = 0; n < count; n++)
			highest = fmax(highest, panel->series[i].value[n]);
	return highest > 0.0 ? highest : 1.0;
}

static void write_value_axis(FILE *out, double top, double highest, double tick)
{
	for (unsigned int i = 0; i * tick <= highest * (1 + 1e-9); i++) {
		const double y = top + PLOT - i * tick / highest * PLOT;

		fprintf(out,
			"<line x1=\"%.0f\" y1=\"%.2f\" x2=\"%.0f\" y2=\"%.2f\" stroke=\"#dddddd\"/>\n"
			"<text x=\"%.0f\" y=\"%.2f\" text-anchor=\"end\">",
			LEFT, y, RIGHT, y, LEFT - 6, y + 4);
		write_number(out, i * tick, tick);
		fputs("</text>\n", out);
	}
}

/* Seconds, minutes or hours, whatever gives small numbers. */
static void write_time_axis(FILE *out, double top, double end)
{
	const double unit = end > 4 * 3600 ? 3600 : end > 300 ? 60 : 1;
	const char *name = end > 4 * 3600 ? "h" : end > 300 ? "min" : "s";
	const double tick = chart_tick(end / unit, TIME_TICKS);

	for (unsigned int i = 0; i * tick * unit <= end * (1 + 1e-9); i++) {
		const double x = LEFT + i * tick * unit / end * (RIGHT - LEFT);

		fprintf(out,
			"<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" stroke=\"#888888\"/>\n"
			"<text x=\"%.2f\" y=\"%.2f\" text-anchor=\"middle\">",
			x, top + PLOT, x, top + PLOT + 4, x, top + PLOT + 17);
		write_number(out, i * tick, tick);
		fprintf(out, " %s</text>\n", name);
	}
}

static void write_legend(FILE *out, double top, const struct chart_panel *panel)
{
	const double first = RIGHT - LEGEND_STEP * (double)panel->series_count;

	for (size_t i = 0; i < panel->series_count; i++) {
		const double x = first + LEGEND_STEP * (double)i;

		fprintf(out,
			"<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" stroke=\"%s\" "
			"stroke-width=\"3\"/>\n<text x=\"%.2f\" y=\"%.2f\">",
			x, top - 14, x + 18, top - 14, panel->series[i].color, x + 24, top - 10);
		write_text(out, panel->series[i].name);
		fputs("</text>\n", out);
	}
}

/* A line from moment to moment, broken where nothing is known; a lone moment is a dot. */
static void write_series(FILE *out, double top, double highest, const struct chart_series *series,
			 const struct chart_time *time)
{
	for (size_t i = 0; i < time->count;) {
		size_t next = i + 1;

		while (next < time->count && !time->apart[next])
			next++;
		fprintf(out,
			"<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" "
			"stroke-linejoin=\"round\" stroke-linecap=\"round\" points=\"",
			series->color);
		for (size_t n = i; n < next || n == i; n++) {
			const double x = LEFT + time->at[n] / time->end * (RIGHT - LEFT);
			const double y = top + PLOT - series->value[n] / highest * PLOT;

			fprintf(out, "%s%.2f,%.2f", n == i ? "" : " ", x, y);
			if (next == i + 1)
				fprintf(out, " %.2f,%.2f", x, y);
		}
		fputs("\"/>\n", out);
		i = next;
	}
}

void chart_panel(FILE *out, unsigned int group, unsigned int panel,
		 const struct chart_panel *contents, const struct chart_time *time)
{
	const double top = top_of(group, panel) + PANEL_TOP;
	double highest = highest_of(contents, time->count);
	const double tick = chart_tick(highest, TICKS);

	highest = ceil(highest / tick - 1e-9) * tick;
	fprintf(out, "<g>\n<text x=\"%.0f\" y=\"%.2f\" font-weight=\"bold\">", LEFT, top - 10);
	write_text(out, contents->title);
	fputs("</text>\n", out);
	write_legend(out, top, contents);
	write_value_axis(out, top, highest, tick);
	write_time_axis(out, top, time->end);
	fprintf(out, "<line x1=\"%.0f\" y1=\"%.2f\" x2=\"%.0f\" y2=\"%.2f\" stroke=\"#888888\"/>\n",
		LEFT, top + PLOT, RIGHT, top + PLOT);
	for (size_t i = 0; i < contents->series_count; i++)
		write_series(out, top, highest, &contents->series[i], time);
	fputs("</g>\n", out);
}

void chart_end(FILE *out)
{
	fputs("</svg>\n", out);
}
