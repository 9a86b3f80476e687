/* SPDX-License-Identifier: MIT */
/* The base: log lines, little-endian access, checked arithmetic, the clock. */
#include "base/log.h"

#include "base/checked.h"
#include "base/clock.h"
#include "base/le.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* ---- the ready-made callback ---- */

static void assert_line(const char *expected, enum vblk_log_level level, const char *message,
			const struct vblk_log_field *fields, size_t count)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	vblk_log_to_stdio(out, level, message, fields, count);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, expected);
	free(text);
}

static void level_names(void **state)
{
	static const struct {
		enum vblk_log_level level;
		const char *name;
	} table[] = {
		{ VBLK_LOG_ERROR, "error" },
		{ VBLK_LOG_WARN, "warn" },
		{ VBLK_LOG_INFO, "info" },
		{ VBLK_LOG_DEBUG, "debug" },
		{ (enum vblk_log_level)7, "unknown" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++)
		assert_string_equal(vblk_log_level_name(table[i].level), table[i].name);
}

static void line_without_fields(void **state)
{
	(void)state;
	assert_line("vblk: info: worker started\n", VBLK_LOG_INFO, "worker started", NULL, 0);
}

static void line_with_a_field_of_each_kind(void **state)
{
	const struct vblk_log_field fields[] = {
		VBLK_FIELD_UINT("u", UINT64_MAX),
		VBLK_FIELD_HEX("x", UINT64_MAX),
		VBLK_FIELD_INT("i", INT64_MIN),
		VBLK_FIELD_STR("s", "two words"),
	};

	(void)state;
	assert_line("vblk: warn: all u=18446744073709551615 x=0xffffffffffffffff "
		    "i=-9223372036854775808 s=two words\n",
		    VBLK_LOG_WARN, "all", fields, VBLK_ARRAY_SIZE(fields));
}

static void percent_signs_are_text(void **state)
{
	const struct vblk_log_field fields[] = { VBLK_FIELD_STR("%s", "%n%s") };

	(void)state;
	assert_line("vblk: error: %s%n %s=%n%s\n", VBLK_LOG_ERROR, "%s%n", fields, 1);
}

/* Around the size at which a line is cut: it ends with its newline, and only once. */
static void long_line_is_cut(void **state)
{
	static const size_t lengths[] = { 900, 1000, 1001, 1002, 1008, 1010, 1011, 1012, 4000 };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(lengths); i++) {
		const struct vblk_log_field field = VBLK_FIELD_UINT("k", 1234567);
		char message[4001] = { 0 };
		char *text = NULL;
		size_t size = 0;
		FILE *out = open_memstream(&text, &size);

		assert_non_null(out);
		memset(message, 'm', lengths[i]);
		vblk_log_to_stdio(out, VBLK_LOG_WARN, message, &field, 1);
		assert_int_equal(fclose(out), 0);
		assert_in_range(size, 900, 1024);
		assert_int_equal(strlen(text), size);
		assert_ptr_equal(strchr(text, '\n'), text + size - 1);
		free(text);
	}
}

/* ---- emitting ---- */

struct heard {
	unsigned int calls;
	enum vblk_log_level level;
	const char *message;
	size_t count;
	uint64_t first;
};

static void hear(void *context, enum vblk_log_level level, const char *message,
		 const struct vblk_log_field *fields, size_t count)
{
	struct heard *heard = context;

	heard->calls++;
	heard->level = level;
	heard->message = message;
	heard->count = count;
	if (count > 0)
		heard->first = fields[0].value.u;
}

static void emit_hands_over_what_was_given(void **state)
{
	struct heard heard = { 0 };
	const struct vblk_log log = { .fn = hear, .context = &heard, .max_level = VBLK_LOG_DEBUG };

	(void)state;
	vblk_log_emit(&log, VBLK_LOG_WARN, "text", VBLK_FIELD_UINT("a", 42),
		      VBLK_FIELD_STR("b", "c"));
	assert_int_equal(heard.calls, 1);
	assert_int_equal(heard.level, VBLK_LOG_WARN);
	assert_string_equal(heard.message, "text");
	assert_int_equal(heard.count, 2);
	assert_int_equal(heard.first, 42);
}

static void emit_without_fields(void **state)
{
	struct heard heard = { .count = 99 };
	const struct vblk_log log = { .fn = hear, .context = &heard, .max_level = VBLK_LOG_ERROR };

	(void)state;
	vblk_log_emit(&log, VBLK_LOG_ERROR, "text");
	assert_int_equal(heard.calls, 1);
	assert_int_equal(heard.count, 0);
}

static void emit_stops_at_the_level(void **state)
{
	(void)state;
	for (int max = VBLK_LOG_ERROR; max <= VBLK_LOG_DEBUG; max++) {
		struct heard heard = { 0 };
		const struct vblk_log log = { .fn = hear,
					      .context = &heard,
					      .max_level = (enum vblk_log_level)max };

		for (int level = VBLK_LOG_ERROR; level <= VBLK_LOG_DEBUG; level++)
			vblk_log_emit(&log, (enum vblk_log_level)level, "text");
		assert_int_equal(heard.calls, max + 1);
	}
}

static uint64_t count_evaluation(unsigned int *evaluations)
{
	return ++*evaluations;
}

static void fields_are_built_only_if_somebody_listens(void **state)
{
	struct heard heard = { 0 };
	const struct vblk_log deaf = { .fn = NULL, .max_level = VBLK_LOG_DEBUG };
	const struct vblk_log quiet = { .fn = hear, .context = &heard };
	unsigned int evaluations = 0;

	(void)state;
	vblk_log_emit(&deaf, VBLK_LOG_ERROR, "text",
		      VBLK_FIELD_UINT("a", count_evaluation(&evaluations)));
	vblk_log_emit(&quiet, VBLK_LOG_WARN, "text",
		      VBLK_FIELD_UINT("a", count_evaluation(&evaluations)));
	assert_int_equal(evaluations, 0);
	vblk_log_emit(&quiet, VBLK_LOG_ERROR, "text",
		      VBLK_FIELD_UINT("a", count_evaluation(&evaluations)));
	assert_int_equal(evaluations, 1);
	assert_int_equal(heard.calls, 1);
}

/* ---- the limit on messages ---- */

/* How many of `count` messages pass, all at the same moment. */
static unsigned pass(struct vblk_log_limit *limit, uint64_t now_ns, unsigned count)
{
	unsigned passed = 0;
	uint64_t suppressed;

	while (count-- > 0)
		passed += vblk_log_limit_pass(limit, now_ns, &suppressed);
	return passed;
}

static void limit_lets_a_burst_through(void **state)
{
	static const uint64_t moments[] = { 0, 1, 5ull * VBLK_LOG_INTERVAL_NS, UINT64_MAX / 2 };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(moments); i++) {
		struct vblk_log_limit limit = { 0 };

		assert_int_equal(pass(&limit, moments[i], 1000), VBLK_LOG_BURST);
	}
}

static void limit_refills_one_by_one(void **state)
{
	const uint64_t start = 12345;
	struct vblk_log_limit limit;

	(void)state;
	vblk_log_limit_init(&limit);
	assert_int_equal(pass(&limit, start, 100), VBLK_LOG_BURST);
	assert_int_equal(pass(&limit, start + VBLK_LOG_INTERVAL_NS - 1, 100), 0);
	assert_int_equal(pass(&limit, start + VBLK_LOG_INTERVAL_NS, 100), 1);
	assert_int_equal(pass(&limit, start + 4 * (uint64_t)VBLK_LOG_INTERVAL_NS, 100), 3);
	/* However long it is silent, it holds no more than the burst. */
	assert_int_equal(pass(&limit, start + 4000 * (uint64_t)VBLK_LOG_INTERVAL_NS, 100),
			 VBLK_LOG_BURST);
}

static void limit_tells_how_many_it_held_back(void **state)
{
	struct vblk_log_limit limit = { 0 };
	uint64_t suppressed = 99;

	(void)state;
	assert_true(vblk_log_limit_pass(&limit, 1, &suppressed));
	assert_int_equal(suppressed, 0);
	assert_int_equal(pass(&limit, 1, VBLK_LOG_BURST - 1 + 7), VBLK_LOG_BURST - 1);
	assert_true(vblk_log_limit_pass(&limit, 1 + VBLK_LOG_INTERVAL_NS, &suppressed));
	assert_int_equal(suppressed, 7);
	assert_true(vblk_log_limit_pass(&limit, 1 + 2 * VBLK_LOG_INTERVAL_NS, &suppressed));
	assert_int_equal(suppressed, 0);
}

/* The last field of the last message. */
struct last {
	unsigned calls;
	const char *key;
	uint64_t value;
	size_t count;
};

static void hear_last(void *context, enum vblk_log_level level, const char *message,
		      const struct vblk_log_field *fields, size_t count)
{
	struct last *last = context;

	(void)level;
	(void)message;
	last->calls++;
	last->key = fields[count - 1].key;
	last->value = fields[count - 1].value.u;
	last->count = count;
}

static void limited_message_carries_what_was_suppressed(void **state)
{
	struct last last = { 0 };
	const struct vblk_log log = { hear_last, &last, VBLK_LOG_WARN };
	struct vblk_log_limit limit = { 0 };
	unsigned before = VBLK_LOG_BURST + 3;

	(void)state;
	while (before-- > 0)
		vblk_log_emit_limited(&log, &limit, 5, VBLK_LOG_WARN, "text",
				      VBLK_FIELD_UINT("a", 42));
	assert_int_equal(last.calls, VBLK_LOG_BURST);
	assert_int_equal(last.count, 1);
	assert_string_equal(last.key, "a");
	vblk_log_emit_limited(&log, &limit, 5 + VBLK_LOG_INTERVAL_NS, VBLK_LOG_WARN, "text",
			      VBLK_FIELD_UINT("a", 42));
	assert_int_equal(last.calls, VBLK_LOG_BURST + 1);
	assert_int_equal(last.count, 2);
	assert_string_equal(last.key, "suppressed");
	assert_int_equal(last.value, 3);
}

/* Nor is the clock read. */
static void limit_is_not_used_up_if_nobody_listens(void **state)
{
	struct last last = { 0 };
	const struct vblk_log quiet = { hear_last, &last, VBLK_LOG_ERROR };
	struct vblk_log_limit limit = { 0 };
	unsigned int evaluations = 0;

	(void)state;
	vblk_log_emit_limited(&quiet, &limit, count_evaluation(&evaluations), VBLK_LOG_WARN, "text",
			      VBLK_FIELD_UINT("a", 42));
	assert_int_equal(last.calls, 0);
	assert_int_equal(evaluations, 0);
	assert_int_equal(pass(&limit, 0, 100), VBLK_LOG_BURST);
}

#define TALKERS	     4u
#define TALKER_LINES 10000u

struct talk {
	struct vblk_log_limit limit;
	atomic_uint passed;
	_Atomic uint64_t told; /* as suppressed */
};

static void *talk(void *context)
{
	struct talk *talk = context;

	for (unsigned i = 0; i < TALKER_LINES; i++) {
		uint64_t suppressed;

		if (vblk_log_limit_pass(&talk->limit, i / 1000 * (uint64_t)VBLK_LOG_INTERVAL_NS,
					&suppressed)) {
			atomic_fetch_add(&talk->passed, 1);
			atomic_fetch_add(&talk->told, suppressed);
		}
	}
	return NULL;
}

/* Their clock goes to nine intervals: a burst and nine are all that may pass. */
static void limit_is_shared_by_threads(void **state)
{
	struct talk talks = { .passed = 0 };
	pthread_t thread[TALKERS];
	uint64_t left;

	(void)state;
	for (size_t i = 0; i < TALKERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, talk, &talks), 0);
	for (size_t i = 0; i < TALKERS; i++)
		pthread_join(thread[i], NULL);
	left = atomic_load(&talks.limit.suppressed);
	assert_in_range(atomic_load(&talks.passed), VBLK_LOG_BURST, VBLK_LOG_BURST + 9);
	assert_int_equal(atomic_load(&talks.passed) + atomic_load(&talks.told) + left,
			 TALKERS * TALKER_LINES);
}

/* ---- little-endian access ---- */

static void le_bytes_are_in_order_at_every_alignment(void **state)
{
	static const uint8_t bytes[] = { 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8 };
	uint8_t buffer[24];

	(void)state;
	for (size_t at = 1; at <= 8; at++) {
		memset(buffer, 0, sizeof(buffer));
		vblk_le16_put(buffer + at, 0xf2f1);
		assert_memory_equal(buffer + at, bytes, 2);
		assert_int_equal(buffer[at + 2] | buffer[at - 1], 0);
		assert_int_equal(vblk_le16_get(buffer + at), 0xf2f1);

		vblk_le32_put(buffer + at, 0xf4f3f2f1);
		assert_memory_equal(buffer + at, bytes, 4);
		assert_int_equal(buffer[at + 4] | buffer[at - 1], 0);
		assert_int_equal(vblk_le32_get(buffer + at), 0xf4f3f2f1);

		vblk_le64_put(buffer + at, 0xf8f7f6f5f4f3f2f1);
		assert_memory_equal(buffer + at, bytes, 8);
		assert_int_equal(buffer[at + 8] | buffer[at - 1], 0);
		assert_int_equal(vblk_le64_get(buffer + at), 0xf8f7f6f5f4f3f2f1);
	}
}

/* ---- checked arithmetic ---- */

static void checked_add(void **state)
{
	static const struct {
		uint64_t a, b, sum;
		bool exact;
	} table[] = {
		{ 0, 0, 0, true },
		{ UINT64_MAX, 0, UINT64_MAX, true },
		{ UINT64_MAX - 1, 1, UINT64_MAX, true },
		{ UINT64_MAX, 1, 0, false },
		{ 1ull << 63, 1ull << 63, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		uint64_t sum;

		assert_int_equal(vblk_add_u64(table[i].a, table[i].b, &sum), table[i].exact);
		if (table[i].exact)
			assert_int_equal(sum, table[i].sum);
	}
}

static void checked_mul(void **state)
{
	static const struct {
		uint64_t a, b, product;
		bool exact;
	} table[] = {
		{ 0, UINT64_MAX, 0, true },
		{ UINT64_MAX, 1, UINT64_MAX, true },
		{ 1ull << 54, 512, 1ull << 63, true },
		{ 1ull << 55, 512, 0, false },
		{ UINT64_MAX, UINT64_MAX, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		uint64_t product;

		assert_int_equal(vblk_mul_u64(table[i].a, table[i].b, &product), table[i].exact);
		if (table[i].exact)
			assert_int_equal(product, table[i].product);
	}
}

static void min_of_two(void **state)
{
	(void)state;
	assert_int_equal(vblk_min_u64(1, 2), 1);
	assert_int_equal(vblk_min_u64(2, 1), 1);
	assert_int_equal(vblk_min_u64(UINT64_MAX, 1ull << 63), 1ull << 63);
}

/* ---- clock ---- */

static uint64_t fixed_time(void *context)
{
	return *(const uint64_t *)context;
}

static void clock_asks_the_injected_function(void **state)
{
	uint64_t now = 123;
	const struct vblk_clock clock = { .fn = fixed_time, .context = &now };

	(void)state;
	assert_int_equal(vblk_clock_now(&clock), 123);
	now = UINT64_MAX;
	assert_int_equal(vblk_clock_now(&clock), UINT64_MAX);
}

/* Without a function, and without a clock, it is CLOCK_MONOTONIC in nanoseconds. */
static void clock_defaults_to_monotonic(void **state)
{
	const struct vblk_clock clock = { 0 };
	struct timespec before, after;
	uint64_t first, second;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &before);
	first = vblk_clock_now(&clock);
	second = vblk_clock_now(NULL);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true((uint64_t)before.tv_sec * 1000000000 + (uint64_t)before.tv_nsec <= first);
	assert_true(first <= second);
	assert_true(second <= (uint64_t)after.tv_sec * 1000000000 + (uint64_t)after.tv_nsec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(level_names),
		cmocka_unit_test(line_without_fields),
		cmocka_unit_test(line_with_a_field_of_each_kind),
		cmocka_unit_test(percent_signs_are_text),
		cmocka_unit_test(long_line_is_cut),
		cmocka_unit_test(emit_hands_over_what_was_given),
		cmocka_unit_test(emit_without_fields),
		cmocka_unit_test(emit_stops_at_the_level),
		cmocka_unit_test(fields_are_built_only_if_somebody_listens),
		cmocka_unit_test(limit_lets_a_burst_through),
		cmocka_unit_test(limit_refills_one_by_one),
		cmocka_unit_test(limit_tells_how_many_it_held_back),
		cmocka_unit_test(limited_message_carries_what_was_suppressed),
		cmocka_unit_test(limit_is_not_used_up_if_nobody_listens),
		cmocka_unit_test(limit_is_shared_by_threads),
		cmocka_unit_test(le_bytes_are_in_order_at_every_alignment),
		cmocka_unit_test(checked_add),
		cmocka_unit_test(checked_mul),
		cmocka_unit_test(min_of_two),
		cmocka_unit_test(clock_asks_the_injected_function),
		cmocka_unit_test(clock_defaults_to_monotonic),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
