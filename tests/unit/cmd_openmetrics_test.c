/* SPDX-License-Identifier: MIT */
/*
 * OpenMetrics text: names that are escaped, buckets that add up, and nothing behind the end. The
 * whole grammar is checked by tests/vhost/openmetrics, on a daemon that works.
 */
#include "cmd/openmetrics.h"

#include "base/buckets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *text;

static void write_disks(const struct cmd_sample *disks, size_t count)
{
	size_t size = 0;
	FILE *out;

	free(text);
	text = NULL;
	out = open_memstream(&text, &size);
	assert_non_null(out);
	cmd_openmetrics_write(out, disks, count);
	fclose(out);
}

static void assert_has(const char *line)
{
	const char *found = strstr(text, line);

	if (!found || (found > text && found[-1] != '\n'))
		fail_msg("no line %s", line);
}

static void a_disk_is_told(void **state)
{
	struct cmd_sample *disk = calloc(1, sizeof(*disk));
	struct vblk_metrics_histogram *read =
		&disk->detail.latency[VBLK_OP_READ][VBLK_PHASE_SERVED];

	(void)state;
	strcpy(disk->name, "a\"\\b");
	disk->counters.reads_completed = 7;
	disk->detail.errors[VBLK_ERROR_HEADER] = 3;
	read->bucket[vblk_bucket_of(1000, VBLK_METRICS_BUCKET_BITS)] = 2;
	read->bucket[vblk_bucket_of(1024, VBLK_METRICS_BUCKET_BITS)] = 3;
	read->bucket[VBLK_METRICS_BUCKETS - 1] = 4;
	read->sum = 1500000000;
	write_disks(disk, 1);
	assert_has("vblk_requests_total{disk=\"a\\\"\\\\b\",op=\"read\"} 7\n");
	assert_has("vblk_errors_total{disk=\"a\\\"\\\\b\",reason=\"header\"} 3\n");
#define SERIES "{disk=\"a\\\"\\\\b\",op=\"read\",phase=\"served\""
	assert_has("vblk_request_latency_seconds_bucket" SERIES ",le=\"1.023e-06\"} 2\n");
	assert_has("vblk_request_latency_seconds_bucket" SERIES ",le=\"2.047e-06\"} 5\n");
	assert_has("vblk_request_latency_seconds_bucket" SERIES ",le=\"17.179869183\"} 5\n");
	assert_has("vblk_request_latency_seconds_bucket" SERIES ",le=\"+Inf\"} 9\n");
	assert_has("vblk_request_latency_seconds_count" SERIES "} 9\n");
	assert_has("vblk_request_latency_seconds_sum" SERIES "} 1.500000000\n");
	assert_string_equal(text + strlen(text) - 7, "\n# EOF\n");
	free(disk);
}

static void no_disks_are_an_end(void **state)
{
	(void)state;
	write_disks(NULL, 0);
	assert_string_equal(text + strlen(text) - 6, "# EOF\n");
	assert_null(strchr(text, '{'));
}

static int free_text(void **state)
{
	(void)state;
	free(text);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_is_told),
		cmocka_unit_test(no_disks_are_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, free_text);
}
