/* SPDX-License-Identifier: MIT */
/* The view of vblk top: what stands where, at every size that a terminal can have. */
#include "cmd/top_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"

#define HEIGHT_MAX 64

struct rig {
	struct cmd_sampler samplers[2];
	struct top_model model;
	struct top_line lines[HEIGHT_MAX + 1];
};

static void add_disk(struct cmd_sampler *sampler, const char *name, double iops, uint64_t p99_ns)
{
	struct cmd_sampler_disk *disk;

	sampler->disks = realloc(sampler->disks, (sampler->count + 1) * sizeof(*disk));
	assert_non_null(sampler->disks);
	disk = &sampler->disks[sampler->count++];
	memset(disk, 0, sizeof(*disk));
	snprintf(disk->now.name, sizeof(disk->now.name), "%s", name);
	disk->has_rates = true;
	disk->rates.op[VBLK_OP_READ].per_second = iops;
	disk->rates.all = (struct cmd_rate){ iops, p99_ns / 2, p99_ns, p99_ns * 2 };
	disk->rates.bytes_read = iops * 4096;
}

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	if (!rig)
		return -1;
	rig->model = (struct top_model){ .samplers = rig->samplers,
					 .sampler_count = 1,
					 .interval_ns = 2000000000 };
	rig->samplers[0].path = "/run/a.ctl";
	rig->samplers[1].path = "/run/b.ctl";
	add_disk(&rig->samplers[0], "beta", 12345, 50000);
	add_disk(&rig->samplers[0], "alpha", 7, 2000000);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	free(rig->samplers[0].disks);
	free(rig->samplers[1].disks);
	free(rig);
	return 0;
}

static void a_usual_terminal(void **state)
{
	struct rig *rig = *state;

	rig->samplers[0].disks[0].rates.error_count = 3;
	top_view_render(&rig->model, 80, 24, rig->lines);
	assert_string_equal(rig->lines[0].text, "vblk top  every 2.0 s  by name");
	assert_string_equal(rig->lines[1].text,
			    "DISK                R/s    W/s R MiB/s W MiB/s    P50    P99    MAX "
			    "WAIT/s   ERR");
	assert_string_equal(rig->lines[2].text,
			    "alpha                 7      0     0.0     0.0 1.00ms 2.00ms 4.00ms "
			    "     0     0");
	assert_string_equal(rig->lines[3].text,
			    "beta              12.3k      0    48.2     0.0 25.0us 50.0us  100us "
			    "     0     3");
	assert_int_equal(rig->lines[1].style, TOP_HEADER);
	assert_int_equal(rig->lines[2].style, TOP_PLAIN);
	assert_int_equal(rig->lines[3].style, TOP_ALARM);
	assert_string_equal(rig->lines[4].text, "");
	assert_string_equal(rig->lines[23].text, "q quit  p hold  s sort");
}

static void what_matters_less_goes_first(void **state)
{
	struct rig *rig = *state;

	top_view_render(&rig->model, 40, 10, rig->lines);
	assert_string_equal(rig->lines[1].text, "DISK             R/s    W/s    P99   ERR");
	assert_string_equal(rig->lines[3].text, "beta           12.3k      0 50.0us     0");
	top_view_render(&rig->model, 30, 4, rig->lines);
	assert_string_equal(rig->lines[1].text, "DISK                R/s    W/s");
}

static void a_terminal_that_is_too_small_says_so(void **state)
{
	struct rig *rig = *state;

	top_view_render(&rig->model, 29, 24, rig->lines);
	assert_string_equal(rig->lines[0].text, "terminal too small");
	assert_string_equal(rig->lines[1].text, "");
	top_view_render(&rig->model, 80, 3, rig->lines);
	assert_string_equal(rig->lines[0].text, "terminal too small");
	top_view_render(&rig->model, 5, 1, rig->lines);
	assert_string_equal(rig->lines[0].text, "termi");
	top_view_render(&rig->model, 80, 0, rig->lines);
}

/* No line is longer than the terminal, and none behind the last is touched. */
static void every_size_is_kept(void **state)
{
	struct rig *rig = *state;

	rig->model.sampler_count = 2;
	strcpy(rig->samplers[1].why, "there is no socket '/run/b.ctl', which is a long story");
	for (unsigned i = 0; i < 20; i++)
		add_disk(&rig->samplers[0], "a-name-that-is-quite-long-for-a-disk-but-allowed", i,
			 i);
	for (unsigned width = 0; width < 300; width += 1) {
		for (unsigned height = 0; height < HEIGHT_MAX; height += 3) {
			memset(&rig->lines[height], 0x55, sizeof(rig->lines[height]));
			top_view_render(&rig->model, width, height, rig->lines);
			for (unsigned i = 0; i < height; i++)
				assert_true(strlen(rig->lines[i].text) <= width);
			assert_int_equal(rig->lines[height].text[0], 0x55);
		}
	}
}

static void disks_that_do_not_fit_are_counted(void **state)
{
	struct rig *rig = *state;

	for (unsigned i = 0; i < 8; i++)
		add_disk(&rig->samplers[0], "more", 0, 0);
	top_view_render(&rig->model, 80, 7, rig->lines);
	assert_string_equal(rig->lines[5].text, "... and 7 more");
	assert_int_equal(strncmp(rig->lines[4].text, "more", 4), 0);
	top_view_render(&rig->model, 80, 13, rig->lines);
	assert_int_equal(strncmp(rig->lines[11].text, "more", 4), 0);
}

static void disks_are_sorted(void **state)
{
	static const struct {
		enum top_sort sort;
		const char *first;
	} table[] = {
		{ TOP_SORT_NAME, "alpha" },
		{ TOP_SORT_IOPS, "beta" },
		{ TOP_SORT_BYTES, "beta" },
		{ TOP_SORT_P99, "alpha" },
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct top_line line;

		rig->model.sort = table[i].sort;
		top_view_row(&rig->model, 0, &line);
		assert_int_equal(strncmp(line.text, table[i].first, strlen(table[i].first)), 0);
	}
}

static void a_daemon_that_is_gone_is_last_and_named(void **state)
{
	struct rig *rig = *state;

	rig->model.sampler_count = 2;
	assert_int_equal(top_view_row_count(&rig->model), 2);
	strcpy(rig->samplers[1].why, "there is no socket '/run/b.ctl'");
	assert_int_equal(top_view_row_count(&rig->model), 3);
	top_view_render(&rig->model, 80, 24, rig->lines);
	assert_string_equal(rig->lines[4].text, "/run/b.ctl gone: there is no socket '/run/b.ctl'");
	assert_int_equal(rig->lines[4].style, TOP_ALARM);
}

/* Order is made once: row by row, so many would take minutes. */
static void thousands_are_put_in_order_at_once(void **state)
{
	const size_t count = 10000;
	struct rig *rig = *state;
	struct cmd_sampler *samplers = calloc(count, sizeof(*samplers));

	assert_non_null(samplers);
	for (size_t i = 0; i < count; i++) {
		samplers[i].path = i == count - 1 ? "/run/last.ctl" : "/run/a.ctl";
		strcpy(samplers[i].why, "it is gone");
	}
	samplers[count - 2] = rig->samplers[0];
	rig->model.samplers = samplers;
	rig->model.sampler_count = count;
	top_view_render(&rig->model, 80, HEIGHT_MAX, rig->lines);
	assert_int_equal(strncmp(rig->lines[2].text, "alpha ", 6), 0);
	assert_int_equal(strncmp(rig->lines[3].text, "beta ", 5), 0);
	assert_string_equal(rig->lines[4].text, "/run/a.ctl gone: it is gone");
	assert_string_equal(rig->lines[HEIGHT_MAX - 2].text, "... and 9941 more");
	top_view_row(&rig->model, count, &rig->lines[0]);
	assert_string_equal(rig->lines[0].text, "/run/last.ctl gone: it is gone");
	free(samplers);
}

/* In the place of its disks, of which what is known is old, and until it has answered. */
static void a_daemon_that_is_silent_says_since_when(void **state)
{
	struct rig *rig = *state;

	rig->samplers[0].asked_ns = 5;
	rig->model.now_ns = 5 + CMD_SAMPLER_PATIENCE_NS - 1;
	assert_int_equal(top_view_row_count(&rig->model), 2);
	rig->model.now_ns = 5 + 61 * CMD_SAMPLER_PATIENCE_NS;
	assert_int_equal(top_view_row_count(&rig->model), 1);
	top_view_render(&rig->model, 80, 24, rig->lines);
	assert_string_equal(rig->lines[2].text, "/run/a.ctl no answer since 61 s");
	assert_int_equal(rig->lines[2].style, TOP_ALARM);
	assert_string_equal(rig->lines[3].text, "");
	strcpy(rig->samplers[0].why, "what was wrong before is not what is wrong now");
	top_view_row(&rig->model, 0, &rig->lines[0]);
	assert_string_equal(rig->lines[0].text, "/run/a.ctl no answer since 61 s");
}

static void a_disk_that_was_just_found_has_no_rates(void **state)
{
	struct rig *rig = *state;

	rig->samplers[0].disks[1].has_rates = false;
	rig->samplers[0].disks[1].now.paused = true;
	top_view_row(&rig->model, 0, &rig->lines[0]);
	assert_string_equal(
		rig->lines[0].text,
		"alpha                 rest      -      -     -       -       -       - "
		"     -      -      -      -     -     -");
}

static void lines_are_ascii(void **state)
{
	struct rig *rig = *state;

	strcpy(rig->samplers[0].disks[1].now.name, "a\xc3\xa4\x1b[2J");
	top_view_row(&rig->model, 0, &rig->lines[0]);
	assert_int_equal(strncmp(rig->lines[0].text, "a???[2J ", 8), 0);
}

static void a_display_that_is_held_says_so(void **state)
{
	struct rig *rig = *state;

	rig->model.held = true;
	rig->model.sort = TOP_SORT_P99;
	top_view_render(&rig->model, 80, 24, rig->lines);
	assert_string_equal(rig->lines[0].text, "vblk top  every 2.0 s  by p99  HELD");
}

static void numbers_are_short(void **state)
{
	static const struct {
		double value;
		const char *text;
	} numbers[] = {
		{ 0, "0" },	     { 0.4, "0" },	 { 999.4, "999" },     { 999.6, "1.00k" },
		{ 9999, "10.0k" },   { 12345, "12.3k" }, { 999499, "999k" },   { 999999, "1.00M" },
		{ 4.56e9, "4.56G" }, { 2e15, "2.00P" },	 { 1e21, "1000000P" },
	};
	static const struct {
		uint64_t ns;
		const char *text;
	} times[] = {
		{ 0, "-" },
		{ 1, "1ns" },
		{ 999, "999ns" },
		{ 1000, "1.00us" },
		{ 12345, "12.3us" },
		{ 123456, "123us" },
		{ 1500000, "1.50ms" },
		{ 2000000000, "2.00s" },
		{ 274000000000, "274s" },
		{ UINT64_MAX, ">99999s" },
	};
	char text[16];

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(numbers); i++) {
		top_view_number(text, numbers[i].value);
		assert_string_equal(text, numbers[i].text);
	}
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(times); i++) {
		top_view_time(text, times[i].ns);
		assert_string_equal(text, times[i].text);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_usual_terminal),
		TEST(what_matters_less_goes_first),
		TEST(a_terminal_that_is_too_small_says_so),
		TEST(every_size_is_kept),
		TEST(disks_that_do_not_fit_are_counted),
		TEST(disks_are_sorted),
		TEST(a_daemon_that_is_gone_is_last_and_named),
		TEST(thousands_are_put_in_order_at_once),
		TEST(a_daemon_that_is_silent_says_since_when),
		TEST(a_disk_that_was_just_found_has_no_rates),
		TEST(lines_are_ascii),
		TEST(a_display_that_is_held_says_so),
		TEST(numbers_are_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
