/* SPDX-License-Identifier: MIT */
/*
 * The picture of a recording: the same bytes for the same data, what must be in it, and what is
 * refused.
 */
#include "cmd/plot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "cmd/chart.h"
#include "cmd/cmd.h"

#define RATE(iops) "{\"iops\":" #iops ",\"p50_ns\":1000,\"p99_ns\":2000000,\"max_ns\":9}"
#define LINE(time, disk, iops)                                                                 \
	"{\"time\":" #time ",\"disk\":\"" disk "\",\"seconds\":1.0,\"read_bytes_per_second\":" \
	"1048576.0,\"write_bytes_per_second\":0.0,\"waits_per_second\":2.5,\"read\":" RATE(    \
		iops) ",\"write\":" RATE(0) ",\"flush\":" RATE(0) ",\"all\":" RATE(iops) "}\n"

#define FORTY "0123456789012345678901234567890123456789"

static char *drawn;

static int draw(const char *recording, const char *disk)
{
	FILE *in = fmemopen((void *)(uintptr_t)recording, strlen(recording), "r");
	size_t size = 0;
	FILE *out;
	int status;

	free(drawn);
	drawn = NULL;
	out = open_memstream(&drawn, &size);
	assert_true(in && out);
	status = cmd_plot_draw(in, "day.jsonl", disk, out);
	fclose(out);
	fclose(in);
	return status;
}

static size_t count_of(const char *text)
{
	size_t count = 0;

	for (const char *c = strstr(drawn, text); c; c = strstr(c + 1, text))
		count++;
	return count;
}

static void a_picture_has_panels_axes_and_lines(void **state)
{
	(void)state;
	assert_int_equal(draw(LINE(1500000001, "a", 100) LINE(1500000002, "a", 300)
				      LINE(1500000003, "a", 200),
			      NULL),
			 CMD_OK);
	assert_int_equal(strncmp(drawn, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg ", 44),
			 0);
	assert_non_null(strstr(drawn, "vblk, from 2017-07-14 02:40:00 UTC"));
	assert_non_null(strstr(drawn, ">Requests per second<"));
	assert_non_null(strstr(drawn, ">Bandwidth (MiB/s)<"));
	assert_non_null(strstr(drawn, ">Latency, served (ms)<"));
	assert_non_null(strstr(drawn, ">Requests that waited for tokens, per second<"));
	/* 100, 300, 200 of 300 on a plot that is 120 high and ends at y = 242. */
	assert_non_null(strstr(drawn, "points=\"365.33,202.00 652.67,122.00 940.00,162.00\""));
	assert_non_null(strstr(drawn, ">300</text>"));
	assert_non_null(strstr(drawn, ">3.0 s</text>"));
	assert_int_equal(count_of("<polyline"), 8);
	assert_int_equal(strcmp(drawn + strlen(drawn) - 7, "</svg>\n"), 0);
}

static void the_same_recording_gives_the_same_picture(void **state)
{
	static const char recording[] = LINE(1500000001, "a", 1) LINE(1500000001, "b", 7);
	char *first;

	(void)state;
	assert_int_equal(draw(recording, NULL), CMD_OK);
	first = strdup(drawn);
	assert_int_equal(draw(recording, NULL), CMD_OK);
	assert_string_equal(first, drawn);
	free(first);
}

static void lines_are_broken_where_nothing_is_known(void **state)
{
	(void)state;
	assert_int_equal(
		draw(LINE(1500000001, "a", 1)
			     LINE(1500000002, "a", 1) "{\"time\":1500000003,\"gone\":true}\n" LINE(
				     1500000009, "a", 1) LINE(1500000010, "a", 1),
		     NULL),
		CMD_OK);
	assert_int_equal(count_of("<polyline"), 16);
}

static void each_disk_has_a_group(void **state)
{
	(void)state;
	assert_int_equal(draw(LINE(1500000001, "a<&>", 1) LINE(1500000001, "b", 1), NULL), CMD_OK);
	assert_int_equal(count_of(">Requests per second<"), 2);
	assert_non_null(strstr(drawn, ">a&lt;&amp;&gt;<"));
	assert_int_equal(draw(LINE(1500000001, "a", 1) LINE(1500000001, "b", 1), "b"), CMD_OK);
	assert_int_equal(count_of(">Requests per second<"), 1);
	assert_null(strstr(drawn, ">a<"));
}

/* What comes of a recorder that is killed, or of a disk that is full. */
static void a_last_line_without_an_end_is_left_out(void **state)
{
	char *whole;

	(void)state;
	assert_int_equal(draw(LINE(1500000001, "a", 1) LINE(1500000002, "a", 7), NULL), CMD_OK);
	whole = strdup(drawn);
	assert_int_equal(
		draw(LINE(1500000001, "a", 1) LINE(1500000002, "a", 7) "{\"time\":15000", NULL),
		CMD_OK);
	assert_string_equal(whole, drawn);
	free(whole);
}

static void what_is_no_recording_is_refused(void **state)
{
	static const char *const texts[] = {
		"x",
		"[]\n",
		"{}\n",
		"{\"time\":1500000003,\"gone\":true}\n",
		LINE(1500000001, "a", 1) "{\"time\":15000\n",
		LINE(1500000001, "a", -1),
		LINE(1500000001, "a", "many"),
		LINE(1500000002, "a", 1) LINE(1500000001, "a", 1),
		LINE(1500000001, FORTY FORTY FORTY FORTY FORTY FORTY FORTY, 1),
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(texts); i++) {
		print_message("%s\n", texts[i]);
		assert_int_equal(draw(texts[i], NULL), CMD_BAD_INPUT);
		assert_string_equal(drawn, "");
	}
	assert_int_equal(draw(LINE(1500000001, "a", 1), "b"), CMD_BAD_INPUT);
}

static void ticks_are_round(void **state)
{
	static const struct {
		double range, tick;
	} table[] = { { 1, 0.5 }, { 4, 1 },	    { 5, 2 }, { 100, 50 },
		      { 30, 10 }, { 0.003, 0.001 }, { 8, 2 }, { 123456, 50000 } };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const double tick = chart_tick(table[i].range, 4);

		assert_true(tick > table[i].tick * 0.999 && tick < table[i].tick * 1.001);
	}
}

static int free_drawn(void **state)
{
	(void)state;
	free(drawn);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_picture_has_panels_axes_and_lines),
		cmocka_unit_test(the_same_recording_gives_the_same_picture),
		cmocka_unit_test(lines_are_broken_where_nothing_is_known),
		cmocka_unit_test(each_disk_has_a_group),
		cmocka_unit_test(a_last_line_without_an_end_is_left_out),
		cmocka_unit_test(what_is_no_recording_is_refused),
		cmocka_unit_test(ticks_are_round),
	};

	return cmocka_run_group_tests(tests, NULL, free_drawn);
}
