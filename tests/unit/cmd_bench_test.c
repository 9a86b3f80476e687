/* SPDX-License-Identifier: MIT */
/* vblk bench: its command line and its report. */
#include "cmd/bench_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "cmd/bench_crew.h"
#include "cmd/bench_report.h"
#include "cmd/cmd.h"

#define WORDS_MAX 24

/* The options in `line`, which are separated by spaces. */
static int parse(const char *line, struct bench_options *options)
{
	static char words[512];
	char *argv[WORDS_MAX + 1] = { (char[]){ "bench" } };
	int argc = 1;

	strncpy(words, line, sizeof(words) - 1);
	for (char *word = strtok(words, " "); word && argc < WORDS_MAX; word = strtok(NULL, " "))
		argv[argc++] = word;
	return bench_options_parse(options, argc, argv);
}

static void defaults_are_those_of_the_help(void **state)
{
	struct bench_options options;

	(void)state;
	assert_int_equal(parse("--socket s", &options), CMD_OK);
	assert_string_equal(options.rw, "randread");
	assert_int_equal(options.read_percent, 100);
	assert_true(options.random);
	assert_int_equal(options.block, 4096);
	assert_int_equal(options.depth, 1);
	assert_int_equal(options.jobs, 1);
	assert_int_equal(options.runtime_ns, 10000000000ull);
	bench_options_free(&options);
}

static void all_options_are_taken(void **state)
{
	struct bench_options options;

	(void)state;
	assert_int_equal(parse("--disk path=x --engine-kind inline --rw randrw --rwmixread=70 "
			       "--bs=128k --iodepth=8 --numjobs=1 --runtime=500ms --size=1G "
			       "--fsync=64 --verify=crc32c --wait=event --json",
			       &options),
			 CMD_OK);
	assert_int_equal(options.engine, VBLK_ENGINE_INLINE);
	assert_int_equal(options.read_percent, 70);
	assert_int_equal(options.block, 131072);
	assert_int_equal(options.depth, 8);
	assert_int_equal(options.jobs, 1);
	assert_int_equal(options.flush_every, 64);
	assert_int_equal(options.runtime_ns, 500000000);
	assert_int_equal(options.size, 1ull << 30);
	assert_int_equal(options.wait, BENCH_WAIT_EVENT);
	assert_true(options.verify && options.json);
	bench_options_free(&options);
}

static void several_jobs_need_several_threads(void **state)
{
	struct bench_options options;

	(void)state;
	assert_int_equal(parse("--disk path=x --numjobs 4", &options), CMD_OK);
	assert_int_equal(options.jobs, 4);
	bench_options_free(&options);
	assert_int_equal(parse("--disk path=x --numjobs 4 --engine-kind inline", &options),
			 CMD_BAD_INPUT);
	bench_options_free(&options);
}

static void wrong_options_are_bad_input(void **state)
{
	static const char *const lines[] = {
		"",
		"--disk path=x --socket s",
		"--disk path=x --disk path=y",
		"--socket s --fsync 8",
		"--socket s --rw write --fsync 0",
		"--socket s --rw write --fsync 8k",
		"--socket s --rw trim",
		"--socket s --bs 1000",
		"--socket s --bs 0",
		"--socket s --bs 32M",
		"--socket s --iodepth 0",
		"--socket s --numjobs 65",
		"--socket s --runtime 0",
		"--socket s --runtime 9999999",
		"--socket s --rwmixread 101",
		"--socket s --verify md5",
		"--socket s --wait long",
		"--socket s --engine-kind fast",
		"--socket s --json=yes",
		"--socket s --what",
		"--socket",
		"--socket s more",
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(lines); i++) {
		struct bench_options options;

		print_message("'%s'\n", lines[i]);
		assert_int_equal(parse(lines[i], &options), CMD_BAD_INPUT);
		bench_options_free(&options);
	}
}

typedef void report_fn(FILE *out, const struct bench_options *options,
		       const struct bench_result *result);

/* The report on 1000 reads in half a second; the caller frees it. */
static char *report_on(report_fn *report, bool serving_known)
{
	struct bench_result *result = calloc(1, sizeof(*result));
	struct bench_options options;
	size_t size;
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);

	assert_true(result && out);
	assert_int_equal(parse("--socket s --iodepth 32", &options), CMD_OK);
	for (unsigned i = 0; i < 1000; i++)
		vblk_histogram_add(&result->latency[VBLK_DRIVER_READ], 100);
	for (unsigned i = 0; i < 10; i++)
		vblk_histogram_add(&result->latency[VBLK_DRIVER_FLUSH], 2000);
	result->seconds = 0.5;
	result->notifications = 505;
	result->interrupts = 101;
	result->serving_known = serving_known;
	result->serving_cpu_ns = 2020000;
	result->own_cpu_ns = 505000;
	report(out, &options, result);
	fclose(out);
	free(result);
	return text;
}

static void expect_in(const char *text, const char *wanted)
{
	if (!strstr(text, wanted))
		fail_msg("'%s' is not in:\n%s", wanted, text);
}

static void report_divides_by_time_and_requests(void **state)
{
	char *text = report_on(bench_report_text, true);

	(void)state;
	expect_in(text, "read: IOPS=2000, BW=7.8MiB/s");
	expect_in(text, "p50=0.1, p99=0.1, p99.9=0.1, max=0.1");
	expect_in(text, "serving=2.000, driver=0.500");
	expect_in(text, "notifications=0.5000, interrupts=0.1000");
	expect_in(text, "flush: IOPS=20, BW=0.0MiB/s (10 in 0.50 s)");
	expect_in(text, "lat (usec): min=2.0, mean=2.0,");
	assert_null(strstr(text, "write:"));
	free(text);
}

static void json_says_null_where_nothing_is_known(void **state)
{
	char *known = report_on(bench_report_json, true);
	char *unknown = report_on(bench_report_json, false);

	(void)state;
	expect_in(known, "\"iops\": 2000.000");
	expect_in(known, "\"serving_cpu_ns_per_request\": 2000.0,");
	expect_in(unknown, "\"serving_cpu_ns_per_request\": null,");
	free(known);
	free(unknown);
}

static void a_disk_that_answers_nothing_is_told_of_once(void **state)
{
	struct bench_stall stall = { .since_ns = 1000 };

	(void)state;
	assert_false(bench_stall_look(&stall, 0, 1000 + BENCH_STALL_NS - 1));
	assert_true(bench_stall_look(&stall, 0, 1000 + BENCH_STALL_NS));
	assert_false(bench_stall_look(&stall, 0, 1000 + 9 * BENCH_STALL_NS));
	assert_false(bench_stall_look(&stall, 1, 1000 + 10 * BENCH_STALL_NS));
	assert_false(bench_stall_look(&stall, 1, 1000 + 11 * BENCH_STALL_NS - 1));
	assert_true(bench_stall_look(&stall, 1, 1000 + 11 * BENCH_STALL_NS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_help),
		cmocka_unit_test(all_options_are_taken),
		cmocka_unit_test(several_jobs_need_several_threads),
		cmocka_unit_test(wrong_options_are_bad_input),
		cmocka_unit_test(report_divides_by_time_and_requests),
		cmocka_unit_test(json_says_null_where_nothing_is_known),
		cmocka_unit_test(a_disk_that_answers_nothing_is_told_of_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
