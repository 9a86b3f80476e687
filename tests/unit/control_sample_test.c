/* SPDX-License-Identifier: MIT */
/*
 * Samples: what a server tells comes back as it was, nonsense does no harm, and rates are those of
 * the interval alone.
 */
#include "cmd/sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/checked.h"
#include "base/clock.h"
#include "cmd/ctl_record.h"
#include "control/detail.h"
#include "metrics/metrics.h"

struct rig {
	struct vblk_metrics *metrics;
	struct vblk_metrics_shard *shard;
	struct cmd_sample before, now;
	struct cmd_rates rates;
};

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	if (!rig || vblk_metrics_create(&rig->metrics))
		return -1;
	rig->shard = vblk_metrics_join(rig->metrics);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	vblk_metrics_leave(rig->shard);
	vblk_metrics_unref(rig->metrics);
	free(rig);
	return 0;
}

/* What a server would tell now, read as a client does. */
static void look(struct rig *rig, uint64_t at_ns)
{
	struct vblk_metrics_snapshot counters;
	json_t *disk;

	vblk_metrics_read(rig->metrics, &counters);
	disk = json_pack("{s:s,s:I,s:b,s:b,s:{s:I,s:I,s:I,s:I},s:o}", "name", "d\x1b", "capacity",
			 (json_int_t)4096, "connected", true, "paused", false, "counters",
			 "bytes_read", (json_int_t)counters.bytes_read, "bytes_written",
			 (json_int_t)counters.bytes_written, "io_errors",
			 (json_int_t)counters.io_errors, "throttled_now", (json_int_t)1, "detail",
			 vblk_control_detail(rig->metrics));
	assert_non_null(disk);
	rig->before = rig->now;
	cmd_sample_read(disk, &rig->now);
	rig->now.at_ns = at_ns;
	json_decref(disk);
}

static void a_sample_is_what_the_server_has(void **state)
{
	struct vblk_metrics_detail *detail = calloc(1, sizeof(*detail));
	struct rig *rig = *state;

	for (uint64_t value = 1; value < 1ull << 40; value = value * 3 + 1) {
		vblk_metrics_record(rig->shard, VBLK_OP_WRITE, VBLK_PHASE_QUEUED, value);
		vblk_metrics_record_bytes(rig->shard, VBLK_OP_DISCARD, value);
		vblk_metrics_record_depth(rig->shard, value);
	}
	vblk_metrics_add_error(rig->metrics, VBLK_ERROR_HEAD);
	look(rig, 1);
	detail->size = sizeof(*detail);
	assert_int_equal(vblk_metrics_read_detail(rig->metrics, detail), 0);
	assert_memory_equal(&rig->now.detail, detail, sizeof(*detail));
	assert_string_equal(rig->now.name, "d?");
	assert_int_equal(rig->now.capacity_bytes, 4096);
	assert_true(rig->now.connected);
	assert_false(rig->now.paused);
	assert_int_equal(rig->now.counters.io_errors, 1);
	free(detail);
}

static void rates_are_those_of_the_interval(void **state)
{
	struct rig *rig = *state;

	for (unsigned i = 0; i < 1000; i++)
		vblk_metrics_record(rig->shard, VBLK_OP_READ, VBLK_PHASE_SERVED,
				    i % 2 ? 10 : 1000000);
	vblk_metrics_add_completed(rig->metrics, NULL, VBLK_OP_READ, 1 << 20);
	look(rig, VBLK_NSEC_PER_SEC);
	for (unsigned i = 0; i < 98; i++)
		vblk_metrics_record(rig->shard, VBLK_OP_READ, VBLK_PHASE_SERVED, 10);
	for (unsigned i = 0; i < 2; i++)
		vblk_metrics_record(rig->shard, VBLK_OP_WRITE, VBLK_PHASE_SERVED, 30);
	vblk_metrics_record(rig->shard, VBLK_OP_WRITE, VBLK_PHASE_THROTTLED, 5000);
	vblk_metrics_record_depth(rig->shard, 3);
	vblk_metrics_record_depth(rig->shard, 5);
	vblk_metrics_add_completed(rig->metrics, NULL, VBLK_OP_READ, 4096);
	vblk_metrics_add_completed(rig->metrics, NULL, VBLK_OP_WRITE, 2048);
	vblk_metrics_add_error(rig->metrics, VBLK_ERROR_IO);
	look(rig, 3 * VBLK_NSEC_PER_SEC);
	cmd_rates_between(&rig->before, &rig->now, &rig->rates);
	assert_false(rig->rates.restarted);
	assert_true(rig->rates.seconds == 2.0);
	assert_true(rig->rates.op[VBLK_OP_READ].per_second == 49.0);
	assert_true(rig->rates.op[VBLK_OP_WRITE].per_second == 1.0);
	assert_true(rig->rates.all.per_second == 50.0);
	assert_int_equal(rig->rates.op[VBLK_OP_READ].highest_ns, 10);
	assert_int_equal(rig->rates.all.p50_ns, 10);
	assert_int_equal(rig->rates.all.p99_ns, 30);
	assert_int_equal(rig->rates.all.highest_ns, 30);
	assert_int_equal(rig->rates.op[VBLK_OP_FLUSH].p99_ns, 0);
	assert_true(rig->rates.bytes_read == 2048.0);
	assert_true(rig->rates.bytes_written == 1024.0);
	assert_true(rig->rates.waits == 0.5);
	assert_true(rig->rates.wait_p99_ns >= 5000 && rig->rates.wait_p99_ns <= 5000 * 17 / 16);
	assert_true(rig->rates.depth == 4.0);
	assert_int_equal(rig->rates.error_count, 1);
	assert_true(rig->rates.errors == 0.5);
}

/* Counters of a daemon that was started again begin at 0. */
static void a_restart_is_seen(void **state)
{
	struct rig *rig = *state;
	struct cmd_sample *old = calloc(1, sizeof(*old));

	vblk_metrics_record(rig->shard, VBLK_OP_READ, VBLK_PHASE_SERVED, 7);
	vblk_metrics_add_completed(rig->metrics, NULL, VBLK_OP_READ, 512);
	look(rig, 2 * VBLK_NSEC_PER_SEC);
	*old = rig->now;
	old->at_ns = VBLK_NSEC_PER_SEC;
	old->counters.bytes_read = 100000;
	old->detail.latency[VBLK_OP_READ][VBLK_PHASE_SERVED].bucket[7] = 100;
	cmd_rates_between(old, &rig->now, &rig->rates);
	assert_true(rig->rates.restarted);
	assert_true(rig->rates.bytes_read == 512.0);
	assert_true(rig->rates.all.per_second == 1.0);
	/* A gauge may fall. */
	*old = rig->now;
	old->counters.throttled_now = 5;
	cmd_rates_between(old, &rig->now, &rig->rates);
	assert_false(rig->rates.restarted);
	free(old);
}

static void nonsense_counts_as_nothing(void **state)
{
	static const char hostile[] =
		"{\"detail\":{\"latency_ns\":{\"read\":{\"served\":{\"buckets\":[[-1,5],[5],7,"
		"[3,-2],{}],\"sum\":-4}}},\"errors\":[1]}}";
	static const char *const texts[] = {
		"{}",
		"[]",
		"{\"name\":7,\"capacity\":-1,\"counters\":[],\"detail\":3}",
		"{\"counters\":{\"bytes_read\":\"x\",\"io_errors\":-5}}",
		hostile,
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(texts); i++) {
		json_t *disk = json_loads(texts[i], 0, NULL);

		assert_non_null(disk);
		memset(&rig->now, 0xff, sizeof(rig->now));
		cmd_sample_read(disk, &rig->now);
		assert_string_equal(rig->now.name, "?");
		assert_int_equal(rig->now.capacity_bytes, 0);
		assert_int_equal(rig->now.counters.bytes_read, 0);
		assert_int_equal(rig->now.counters.io_errors, 0);
		for (unsigned n = 0; n < VBLK_METRICS_OPS; n++)
			assert_int_equal(rig->now.detail.latency[n][VBLK_PHASE_SERVED].sum, 0);
		assert_int_equal(
			vblk_metrics_quantile(
				&rig->now.detail.latency[VBLK_OP_READ][VBLK_PHASE_SERVED], 1.0),
			0);
		json_decref(disk);
	}
}

static void a_record_is_a_line(void **state)
{
	struct rig *rig = *state;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	json_t *line;

	assert_non_null(out);
	look(rig, VBLK_NSEC_PER_SEC);
	vblk_metrics_record(rig->shard, VBLK_OP_FLUSH, VBLK_PHASE_SERVED, 9);
	look(rig, 2 * VBLK_NSEC_PER_SEC);
	cmd_rates_between(&rig->before, &rig->now, &rig->rates);
	ctl_record_write(out, 1500000000ull * VBLK_NSEC_PER_SEC, &rig->now, &rig->rates);
	fclose(out);
	assert_ptr_equal(strchr(text, '\n'), text + size - 1);
	line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(line);
	assert_string_equal(json_string_value(json_object_get(line, "disk")), "d?");
	assert_true(json_real_value(json_object_get(line, "time")) == 1500000000.0);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(line, "flush"), "p99_ns")), 9);
	assert_true(json_real_value(json_object_get(json_object_get(line, "all"), "iops")) == 1.0);
	json_decref(line);
	free(text);
}

/* The wall clock is read once, so nothing that is done to it later is seen. */
static void the_time_of_a_record_is_steady(void **state)
{
	const struct ctl_record_start start = { 1500000000ull * VBLK_NSEC_PER_SEC, 77 };

	(void)state;
	assert_int_equal(ctl_record_time(&start, 77), start.wall_ns);
	assert_int_equal(ctl_record_time(&start, 77 + VBLK_NSEC_PER_SEC),
			 start.wall_ns + VBLK_NSEC_PER_SEC);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_sample_is_what_the_server_has),
		TEST(rates_are_those_of_the_interval),
		TEST(a_restart_is_seen),
		TEST(nonsense_counts_as_nothing),
		TEST(a_record_is_a_line),
		TEST(the_time_of_a_record_is_steady),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
