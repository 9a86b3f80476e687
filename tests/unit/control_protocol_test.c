/* SPDX-License-Identifier: MIT */
/* Lines of the control protocol: what each request says, what each mistake is told, each reply. */
#include "control/protocol.h"

#include "base/checked.h"
#include "cmd/size.h"
#include "control/detail.h"
#include "metrics/metrics.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct vblk_control_error error;

static int parse(const char *line, struct vblk_control_request *request)
{
	memset(&error, 0, sizeof(error));
	return vblk_control_request_parse(line, strlen(line), cmd_size_parse, request, &error);
}

static void assert_good(const char *line, struct vblk_control_request *request)
{
	const int ret = parse(line, request);

	if (ret)
		print_message("%s\n%s\n", line, error.text);
	assert_int_equal(ret, 0);
	assert_string_equal(error.text, "");
}

static void every_command_is_known(void **state)
{
	static const struct {
		const char *line;
		enum vblk_control_command command;
	} table[] = {
		{ "{\"command\":\"stats\"}", VBLK_CONTROL_STATS },
		{ "{\"command\":\"throttle\",\"iops\":1}", VBLK_CONTROL_THROTTLE },
		{ "{\"command\":\"pause\"}", VBLK_CONTROL_PAUSE },
		{ "{\"command\":\"resume\"}", VBLK_CONTROL_RESUME },
		{ "{\"command\":\"resize\",\"size\":512}", VBLK_CONTROL_RESIZE },
		{ "{\"command\":\"fault\",\"fault\":null}", VBLK_CONTROL_FAULT },
		{ " { \"command\" : \"quit\" } ", VBLK_CONTROL_QUIT },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct vblk_control_request request;

		assert_good(table[i].line, &request);
		assert_int_equal(request.command, table[i].command);
		assert_string_equal(request.id, "null");
		assert_null(request.disk_name);
		assert_false(request.has_disk_index);
		vblk_control_request_free(&request);
	}
}

static void the_id_is_kept_whatever_it_is(void **state)
{
	static const char *const ids[] = { "1",	      "-7",	      "null",
					   "true",    "\"x\"",	      "\"\xc3\xa9\\n\"",
					   "[1,[2]]", "{\"a\":\"b\"}" };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(ids); i++) {
		struct vblk_control_request request;
		char line[128];

		snprintf(line, sizeof(line), "{\"id\":%s,\"command\":\"stats\"}", ids[i]);
		assert_good(line, &request);
		assert_string_equal(request.id, ids[i]);
		vblk_control_request_free(&request);
	}
}

static void a_refused_request_keeps_its_id(void **state)
{
	struct vblk_control_request request;

	(void)state;
	assert_int_equal(parse("{\"id\":5,\"command\":\"nothing\"}", &request), -EINVAL);
	assert_string_equal(request.id, "5");
	vblk_control_request_free(&request);
}

static void a_disk_is_a_name_or_an_index(void **state)
{
	struct vblk_control_request request;

	(void)state;
	assert_good("{\"command\":\"stats\",\"disk\":\"0\"}", &request);
	assert_string_equal(request.disk_name, "0");
	assert_false(request.has_disk_index);
	vblk_control_request_free(&request);
	assert_good("{\"command\":\"stats\",\"disk\":3}", &request);
	assert_null(request.disk_name);
	assert_true(request.has_disk_index);
	assert_int_equal(request.disk_index, 3);
	vblk_control_request_free(&request);
}

static void values_are_read(void **state)
{
	struct vblk_control_request request;

	(void)state;
	assert_good("{\"command\":\"throttle\",\"iops\":0,\"iops_burst\":null,\"bps\":\"4k\","
		    "\"bps_burst\":9223372036854775807}",
		    &request);
	assert_true(request.iops.given);
	assert_int_equal(request.iops.value, 0);
	assert_true(request.iops_burst.given);
	assert_int_equal(request.iops_burst.value, 0);
	assert_int_equal(request.bps.value, 4096);
	assert_int_equal(request.bps_burst.value, INT64_MAX);
	vblk_control_request_free(&request);

	assert_good("{\"command\":\"throttle\",\"bps\":1}", &request);
	assert_false(request.iops.given);
	assert_false(request.bps_burst.given);
	vblk_control_request_free(&request);

	assert_good("{\"command\":\"pause\",\"timeout_ms\":3600000}", &request);
	assert_int_equal(request.timeout_ms, 3600000);
	vblk_control_request_free(&request);
	assert_good("{\"command\":\"pause\"}", &request);
	assert_int_equal(request.timeout_ms, 1000);
	vblk_control_request_free(&request);

	assert_good("{\"command\":\"resize\",\"size\":\"64M\",\"force\":true}", &request);
	assert_int_equal(request.size, 64 << 20);
	assert_true(request.force);
	vblk_control_request_free(&request);
	assert_good("{\"command\":\"resize\",\"size\":1024,\"force\":false}", &request);
	assert_int_equal(request.size, 1024);
	assert_false(request.force);
	vblk_control_request_free(&request);
}

static void fault_rules_are_one_or_many_or_none(void **state)
{
	struct vblk_control_request request;

	(void)state;
	assert_good("{\"command\":\"fault\",\"fault\":\"read:zero\"}", &request);
	assert_int_equal(request.rule_count, 1);
	assert_string_equal(request.rules[0], "read:zero");
	vblk_control_request_free(&request);
	assert_good("{\"command\":\"fault\",\"fault\":[\"a\",\"b\"]}", &request);
	assert_int_equal(request.rule_count, 2);
	assert_string_equal(request.rules[1], "b");
	vblk_control_request_free(&request);
	assert_good("{\"command\":\"fault\",\"fault\":[]}", &request);
	assert_int_equal(request.rule_count, 0);
	vblk_control_request_free(&request);
	assert_good("{\"command\":\"fault\",\"fault\":null}", &request);
	assert_int_equal(request.rule_count, 0);
	vblk_control_request_free(&request);
}

#define COMMANDS \
	"the commands are stats, throttle, pause, resume, resize, fault, quit, freeze, thaw, dump"
#define BYTES  "a number of bytes, or a size like \"64M\", is wanted"
#define OBJECT "the line is no JSON object: one like {\"id\":1,\"command\":\"stats\"} is wanted"

static void mistakes_are_told(void **state)
{
	static const struct {
		const char *line;
		enum vblk_control_code code;
		const char *text; /* or its beginning, where the rest is the library's */
	} table[] = {
		{ "stats", VBLK_CONTROL_PARSE, "the line is no JSON: " },
		{ "{\"command\":\"stats\"", VBLK_CONTROL_PARSE, "the line is no JSON: " },
		{ "{\"command\":\"stats\"} x", VBLK_CONTROL_PARSE, "the line is no JSON: " },
		{ "{'command':'stats'}", VBLK_CONTROL_PARSE, "the line is no JSON: " },
		{ "{\"command\":\"stats\",}", VBLK_CONTROL_PARSE, "the line is no JSON: " },
		{ "{\"command\":\"stats\",\"command\":\"quit\"}", VBLK_CONTROL_PARSE,
		  "the line is no JSON: duplicate object key" },
		{ "{\"command\":\"st\xff\"}", VBLK_CONTROL_PARSE, "the line is no JSON: " },
		{ "{\"command\":\"st\\u0000\"}", VBLK_CONTROL_PARSE, "the line is no JSON: " },
		{ "{\"command\":\"pause\",\"timeout_ms\":NaN}", VBLK_CONTROL_PARSE,
		  "the line is no JSON: " },
		{ "{\"command\":\"pause\",\"timeout_ms\":99999999999999999999}", VBLK_CONTROL_PARSE,
		  "the line is no JSON: too big integer" },
		{ "[]", VBLK_CONTROL_PARSE, OBJECT },
		{ "1", VBLK_CONTROL_PARSE, OBJECT },
		{ "\"quit\"", VBLK_CONTROL_PARSE, OBJECT },
		{ "{}", VBLK_CONTROL_REQUEST, "\"command\": the name of a command is wanted" },
		{ "{\"command\":1}", VBLK_CONTROL_REQUEST,
		  "\"command\": the name of a command is wanted" },
		{ "{\"command\":\"Stats\"}", VBLK_CONTROL_COMMAND,
		  "unknown command \"Stats\": " COMMANDS },
		{ "{\"command\":\"stats\",\"force\":true}", VBLK_CONTROL_REQUEST,
		  "\"force\" is no member of \"stats\": its members are \"id\", \"command\", "
		  "\"disk\", \"detail\"" },
		{ "{\"command\":\"dump\",\"disk\":0}", VBLK_CONTROL_REQUEST,
		  "\"disk\" is no member of \"dump\": its members are \"id\", \"command\"" },
		{ "{\"command\":\"quit\",\"disk\":0}", VBLK_CONTROL_REQUEST,
		  "\"disk\" is no member of \"quit\": its members are \"id\", \"command\"" },
		{ "{\"command\":\"resize\",\"sise\":1}", VBLK_CONTROL_REQUEST,
		  "\"sise\" is no member of \"resize\": its members are \"id\", \"command\", "
		  "\"disk\", \"size\", \"force\"" },
		{ "{\"command\":\"resize\"}", VBLK_CONTROL_REQUEST,
		  "\"size\" is missing: \"resize\" needs it" },
		{ "{\"command\":\"fault\"}", VBLK_CONTROL_REQUEST,
		  "\"fault\" is missing: \"fault\" needs it" },
		{ "{\"command\":\"throttle\"}", VBLK_CONTROL_REQUEST,
		  "there is no limit: \"throttle\" needs one of \"iops\", \"iops_burst\", "
		  "\"bps\", \"bps_burst\"" },
		{ "{\"command\":\"stats\",\"disk\":null}", VBLK_CONTROL_REQUEST,
		  "\"disk\": the name of a disk, or its index from 0 on is wanted" },
		{ "{\"command\":\"stats\",\"disk\":-1}", VBLK_CONTROL_REQUEST,
		  "\"disk\": the name of a disk, or its index from 0 on is wanted" },
		{ "{\"command\":\"throttle\",\"iops\":-1}", VBLK_CONTROL_REQUEST,
		  "\"iops\": a whole number per second, or 0 or null for none, is wanted" },
		{ "{\"command\":\"throttle\",\"iops\":1.5}", VBLK_CONTROL_REQUEST,
		  "\"iops\": a whole number per second, or 0 or null for none, is wanted" },
		{ "{\"command\":\"throttle\",\"iops\":\"1k\"}", VBLK_CONTROL_REQUEST,
		  "\"iops\": a whole number per second, or 0 or null for none, is wanted" },
		{ "{\"command\":\"throttle\",\"bps\":true}", VBLK_CONTROL_REQUEST,
		  "\"bps\": " BYTES },
		{ "{\"command\":\"throttle\",\"bps\":\"fast\"}", VBLK_CONTROL_REQUEST,
		  "\"bps\": " BYTES },
		{ "{\"command\":\"resize\",\"size\":null}", VBLK_CONTROL_REQUEST,
		  "\"size\": " BYTES },
		{ "{\"command\":\"resize\",\"size\":\"99999999T\"}", VBLK_CONTROL_INVALID,
		  "\"size\": \"99999999T\" is too large" },
		{ "{\"command\":\"stats\",\"detail\":1}", VBLK_CONTROL_REQUEST,
		  "\"detail\": true or false is wanted" },
		{ "{\"command\":\"resize\",\"size\":512,\"force\":1}", VBLK_CONTROL_REQUEST,
		  "\"force\": true or false is wanted" },
		{ "{\"command\":\"pause\",\"timeout_ms\":-1}", VBLK_CONTROL_REQUEST,
		  "\"timeout_ms\": a number of milliseconds, at most 3600000, is wanted" },
		{ "{\"command\":\"pause\",\"timeout_ms\":3600001}", VBLK_CONTROL_REQUEST,
		  "\"timeout_ms\": a number of milliseconds, at most 3600000, is wanted" },
		{ "{\"command\":\"fault\",\"fault\":1}", VBLK_CONTROL_REQUEST,
		  "\"fault\": a rule, an array of rules or null is wanted" },
		{ "{\"command\":\"fault\",\"fault\":[\"a\",null]}", VBLK_CONTROL_REQUEST,
		  "\"fault\": a rule, an array of rules or null is wanted" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct vblk_control_request request;

		assert_int_equal(parse(table[i].line, &request), -EINVAL);
		print_message("%s\n  %s\n", table[i].line, error.text);
		assert_int_equal(error.code, table[i].code);
		if (error.code == VBLK_CONTROL_PARSE)
			assert_memory_equal(error.text, table[i].text, strlen(table[i].text));
		else
			assert_string_equal(error.text, table[i].text);
		vblk_control_request_free(&request);
	}
}

/* Half a million brackets must not reach the end of the stack. */
static void nesting_is_bounded(void **state)
{
	static char line[VBLK_CONTROL_LINE_MAX + 1];
	struct vblk_control_request request;

	(void)state;
	memset(line, '[', sizeof(line) - 1);
	assert_int_equal(parse(line, &request), -EINVAL);
	assert_int_equal(error.code, VBLK_CONTROL_PARSE);
	vblk_control_request_free(&request);
}

static void too_many_rules_are_refused(void **state)
{
	char line[1024] = "{\"command\":\"fault\",\"fault\":[\"r\"";
	struct vblk_control_request request;

	(void)state;
	for (unsigned int i = 1; i <= VBLK_CONTROL_RULES_MAX; i++)
		strcat(line, ",\"r\"");
	strcat(line, "]}");
	assert_int_equal(parse(line, &request), -EINVAL);
	assert_int_equal(error.code, VBLK_CONTROL_INVALID);
	assert_string_equal(error.text, "\"fault\": 65 rules are too many: at most 64");
	vblk_control_request_free(&request);
}

static int merge(const char *members, const struct vblk_throttle *now, struct vblk_throttle *merged)
{
	struct vblk_control_request request;
	char line[256];
	int ret;

	snprintf(line, sizeof(line), "{\"command\":\"throttle\",%s}", members);
	assert_good(line, &request);
	ret = vblk_control_throttle_merge(&request, now, merged, &error);
	vblk_control_request_free(&request);
	return ret;
}

static void limits_that_are_not_named_stay(void **state)
{
	const struct vblk_throttle now = { 100, 200, 1000, 2000 };
	struct vblk_throttle merged;

	(void)state;
	assert_int_equal(merge("\"iops\":50", &now, &merged), 0);
	assert_int_equal(merged.iops, 50);
	assert_int_equal(merged.iops_burst, 200);
	assert_int_equal(merged.bps, 1000);
	assert_int_equal(merged.bps_burst, 2000);
	assert_int_equal(merge("\"bps_burst\":\"4k\"", &now, &merged), 0);
	assert_int_equal(merged.bps_burst, 4096);
	assert_int_equal(merged.iops_burst, 200);
}

static void a_burst_goes_with_its_rate(void **state)
{
	const struct vblk_throttle now = { 100, 200, 1000, 2000 };
	struct vblk_throttle merged;

	(void)state;
	assert_int_equal(merge("\"iops\":null,\"bps\":0", &now, &merged), 0);
	assert_int_equal(merged.iops, 0);
	assert_int_equal(merged.iops_burst, 0);
	assert_int_equal(merged.bps, 0);
	assert_int_equal(merged.bps_burst, 0);
}

static void limits_that_contradict_are_refused(void **state)
{
	static const struct {
		const char *members;
		const char *text;
	} table[] = {
		{ "\"iops\":0,\"iops_burst\":5",
		  "iops_burst=5 without iops: give the rate too, or iops_burst=0 for none; nothing "
		  "was changed" },
		{ "\"bps_burst\":999",
		  "bps_burst=999 is below bps=1000: a burst is at least one second of the rate, "
		  "and bps_burst=0 means just that; nothing was changed" },
		{ "\"iops\":201",
		  "iops_burst=200, which it has, is below iops=201: a burst is at least one second "
		  "of the rate, and iops_burst=0 means just that; nothing was changed" },
	};
	const struct vblk_throttle now = { 100, 200, 1000, 2000 };
	struct vblk_throttle merged;

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		assert_int_equal(merge(table[i].members, &now, &merged), -EINVAL);
		assert_int_equal(error.code, VBLK_CONTROL_INVALID);
		assert_string_equal(error.text, table[i].text);
	}
}

static void sizes_are_judged(void **state)
{
	static const struct {
		uint64_t size;
		bool force;
		int ret;
		enum vblk_control_code code;
	} table[] = {
		{ 0, true, -EINVAL, VBLK_CONTROL_INVALID },
		{ 511, true, -EINVAL, VBLK_CONTROL_INVALID },
		{ 4097, false, -EINVAL, VBLK_CONTROL_INVALID },
		{ UINT64_MAX - 511, false, -EINVAL, VBLK_CONTROL_INVALID },
		{ UINT64_C(1) << 63, false, -EINVAL, VBLK_CONTROL_INVALID },
		{ 3584, false, -EINVAL, VBLK_CONTROL_REFUSED },
		{ 3584, true, 0, 0 },
		{ 4096, false, 0, 0 },
		{ 4608, false, 0, 0 },
		{ (UINT64_C(1) << 63) - 512, false, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const struct vblk_control_request request = { .size = table[i].size,
							      .force = table[i].force };

		memset(&error, 0, sizeof(error));
		assert_int_equal(vblk_control_resize_check(&request, 4096, &error), table[i].ret);
		assert_int_equal(error.code, table[i].code);
	}
}

static void assert_line(char *line, const char *expected)
{
	assert_non_null(line);
	assert_string_equal(line, expected);
	free(line);
}

static void replies(void **state)
{
	static const char *const names[] = { "a", "b\xff\"" };
	const struct vblk_throttle throttle = { 1, 2, 3, UINT64_MAX };

	(void)state;
	assert_line(vblk_control_greeting("1.2", names, 2),
		    "{\"vblk\":1,\"version\":\"1.2\",\"disks\":[\"a\",\"b?\\\"\"]}\n");
	assert_line(vblk_control_reply_done("[1]"), "{\"id\":[1],\"ok\":true,\"result\":{}}\n");
	assert_line(vblk_control_reply_throttle("1", &throttle),
		    "{\"id\":1,\"ok\":true,\"result\":{\"iops\":1,\"iops_burst\":2,\"bps\":3,"
		    "\"bps_burst\":9223372036854775807}}\n");
	assert_line(vblk_control_reply_capacity("1", 512),
		    "{\"id\":1,\"ok\":true,\"result\":{\"capacity\":512}}\n");
	vblk_control_error_set(&error, VBLK_CONTROL_TOO_MANY, "no\nmore \xe9");
	assert_line(vblk_control_reply_error("\"x\"", &error),
		    "{\"id\":\"x\",\"ok\":false,\"error\":{\"code\":\"too-many-clients\","
		    "\"message\":\"no\\nmore ?\"}}\n");
}

static void every_error_has_a_code(void **state)
{
	(void)state;
	for (unsigned int code = 0; code < VBLK_CONTROL_CODES; code++) {
		char *line;

		vblk_control_error_set(&error, (enum vblk_control_code)code, "x");
		line = vblk_control_reply_error("1", &error);
		assert_non_null(line);
		free(line);
	}
}

static void stats_tell_every_counter(void **state)
{
	struct vblk_control_disk disk = {
		.name = "d",
		.capacity_bytes = 1024,
		.connected = true,
		.workers_abandoned = 3,
		.throttle = { 7, 0, 0, 0 },
	};
	uint64_t values[sizeof(disk.counters) / sizeof(uint64_t)];

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(values); i++)
		values[i] = i + 1;
	memcpy(&disk.counters, values, sizeof(values));
	assert_line(
		vblk_control_reply_stats("9", &disk, 4, 1),
		"{\"id\":9,\"ok\":true,\"result\":{\"disks\":[{\"name\":\"d\",\"index\":4,"
		"\"capacity\":1024,\"connected\":true,\"paused\":false,\"workers_abandoned\":3,"
		"\"throttle\":{\"iops\":7,"
		"\"iops_burst\":0,\"bps\":0,\"bps_burst\":0},\"counters\":{\"reads_completed\":1,"
		"\"bytes_read\":2,\"writes_completed\":3,\"bytes_written\":4,"
		"\"flushes_completed\":5,\"discards_completed\":6,\"bytes_discarded\":7,"
		"\"write_zeroes_completed\":8,\"bytes_zeroed\":9,\"throttled\":10,\"io_errors\":11,"
		"\"invalid_avail_idx\":12,\"throttled_now\":13,\"notifications\":14,"
		"\"interrupts\":15}}]}}\n");
}

/* What has no values is left out, but errors never are. */
static void detail_is_told_if_it_is_asked_for(void **state)
{
	static const char head[] =
		"{\"latency_ns\":{\"read\":{\"served\":{\"count\":3,\"sum\":3010,\"highest\":2000,"
		"\"buckets\":[[10,1],[1023,1],[2047,1]]}},\"write\":{},\"flush\":{},\"discard\":{},"
		"\"write_zeroes\":{},\"get_id\":{}},\"request_bytes\":{\"write\":{\"count\":1,"
		"\"sum\":512,\"highest\":512,\"buckets\":[[543,1]]}},\"errors\":{\"chain\":0,"
		"\"status\":0,\"header\":1,";
	struct vblk_metrics_shard *shard;
	struct vblk_metrics *metrics;
	json_t *detail;
	char *text;

	(void)state;
	assert_int_equal(vblk_metrics_create(&metrics), 0);
	shard = vblk_metrics_join(metrics);
	vblk_metrics_record(shard, VBLK_OP_READ, VBLK_PHASE_SERVED, 10);
	vblk_metrics_record(shard, VBLK_OP_READ, VBLK_PHASE_SERVED, 1000);
	vblk_metrics_record(shard, VBLK_OP_READ, VBLK_PHASE_SERVED, 2000);
	vblk_metrics_record_bytes(shard, VBLK_OP_WRITE, 512);
	vblk_metrics_add_error(metrics, VBLK_ERROR_HEADER);
	detail = vblk_control_detail(metrics);
	assert_non_null(detail);
	text = json_dumps(detail, JSON_COMPACT);
	assert_int_equal(strncmp(text, head, strlen(head)), 0);
	assert_non_null(strstr(text, "\"unsupported\":0}}"));
	free(text);
	json_decref(detail);
	vblk_metrics_leave(shard);
	vblk_metrics_unref(metrics);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_command_is_known),
		cmocka_unit_test(the_id_is_kept_whatever_it_is),
		cmocka_unit_test(a_refused_request_keeps_its_id),
		cmocka_unit_test(a_disk_is_a_name_or_an_index),
		cmocka_unit_test(values_are_read),
		cmocka_unit_test(fault_rules_are_one_or_many_or_none),
		cmocka_unit_test(mistakes_are_told),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(too_many_rules_are_refused),
		cmocka_unit_test(limits_that_are_not_named_stay),
		cmocka_unit_test(a_burst_goes_with_its_rate),
		cmocka_unit_test(limits_that_contradict_are_refused),
		cmocka_unit_test(sizes_are_judged),
		cmocka_unit_test(replies),
		cmocka_unit_test(every_error_has_a_code),
		cmocka_unit_test(stats_tell_every_counter),
		cmocka_unit_test(detail_is_told_if_it_is_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
