/* SPDX-License-Identifier: MIT */
/*
 * The stopwatch between two readings of the clock. Clock and counter are handed to it; what the
 * machine's own counter says is held against the machine's clock.
 */
#include "base/stopwatch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SPAN	VBLK_STOPWATCH_SPAN_NS
#define MEASURE VBLK_STOPWATCH_MEASURE_NS
#define RATE	3u /* ticks in a nanosecond */

static struct vblk_stopwatch_mark at(uint64_t ns)
{
	return (struct vblk_stopwatch_mark){ .ns = ns, .ticks = ns * RATE };
}

/* A stopwatch that knows how fast the counter goes, read last at the moment returned. */
static uint64_t measured(struct vblk_stopwatch *watch)
{
	const uint64_t from = 5000, to = from + 2 * MEASURE;

	*watch = (struct vblk_stopwatch){ .counts = true };
	assert_int_equal(vblk_stopwatch_mark(watch, at(from), 0), from);
	assert_int_equal(vblk_stopwatch_mark(watch, at(from + MEASURE), 0), from + MEASURE);
	assert_int_equal(vblk_stopwatch_mark(watch, at(to), 0), to);
	return to;
}

/* By the counter; to the nanosecond or one less, because the rate is rounded. */
static void expect_ticks(struct vblk_stopwatch *watch, uint64_t ns)
{
	assert_true(vblk_stopwatch_by_ticks(watch, ns * RATE));
	assert_in_range(watch->now_ns, ns - 1, ns);
}

static void expect_clock(struct vblk_stopwatch *watch, uint64_t ticks)
{
	assert_false(vblk_stopwatch_by_ticks(watch, ticks));
}

static void test_clock_is_read_until_the_rate_is_known(void **state)
{
	struct vblk_stopwatch watch = { .counts = true };

	(void)state;
	(void)vblk_stopwatch_mark(&watch, at(5000), 0);
	expect_clock(&watch, 5001 * RATE);
	(void)vblk_stopwatch_mark(&watch, at(5000 + MEASURE - 1), 0);
	expect_clock(&watch, (5000 + MEASURE) * RATE);
	(void)vblk_stopwatch_mark(&watch, at(5000 + MEASURE), 0);
	expect_clock(&watch, (5000 + MEASURE) * RATE);
	(void)vblk_stopwatch_mark(&watch, at(5000 + 2 * MEASURE), 0);
	expect_ticks(&watch, 5000 + 2 * MEASURE + 7);
}

static void test_counter_is_relied_on_for_a_span(void **state)
{
	struct vblk_stopwatch watch;
	uint64_t read = measured(&watch);

	(void)state;
	expect_ticks(&watch, read);
	expect_ticks(&watch, read + 1000);
	expect_ticks(&watch, read + SPAN - 1);
	expect_clock(&watch, (read + SPAN) * RATE + RATE);
	(void)vblk_stopwatch_mark(&watch, at(read + 2 * SPAN), 0);
	expect_ticks(&watch, read + 2 * SPAN + 5);
}

static void test_time_never_goes_backwards(void **state)
{
	struct vblk_stopwatch watch;
	uint64_t read = measured(&watch), told;

	(void)state;
	expect_ticks(&watch, read + 1000);
	told = watch.now_ns;
	assert_true(vblk_stopwatch_by_ticks(&watch, (read + 500) * RATE));
	assert_int_equal(watch.now_ns, told);
	assert_int_equal(vblk_stopwatch_mark(&watch, at(read + 600), 0), told);
}

static void test_counter_that_jumps_is_not_believed(void **state)
{
	struct vblk_stopwatch watch;
	uint64_t read = measured(&watch);

	(void)state;
	expect_clock(&watch, read * RATE - 1); /* before the reading */
	expect_clock(&watch, 0);
	expect_clock(&watch, UINT64_MAX);
}

/* Between the counter and the clock we did not run: they do not belong together. */
static void test_reading_that_took_long_is_no_mark(void **state)
{
	struct vblk_stopwatch watch;
	uint64_t read = measured(&watch);

	(void)state;
	assert_int_equal(vblk_stopwatch_mark(&watch, at(read + 10), 1000000), read + 10);
	expect_clock(&watch, (read + 11) * RATE);
	(void)vblk_stopwatch_mark(&watch, at(read + 20), 0);
	expect_ticks(&watch, read + 21);
}

static void test_rate_follows_the_counter(void **state)
{
	struct vblk_stopwatch watch;
	uint64_t read = measured(&watch);
	struct vblk_stopwatch_mark slow = at(read);

	(void)state;
	for (int i = 0; i < 2; i++) { /* two ticks in a nanosecond, since the last */
		slow.ns += MEASURE;
		slow.ticks += 2 * MEASURE;
		(void)vblk_stopwatch_mark(&watch, slow, 0);
	}
	assert_true(vblk_stopwatch_by_ticks(&watch, slow.ticks + 2000));
	assert_in_range(watch.now_ns, slow.ns + 999, slow.ns + 1000);
}

/*
 * On another processor, or another machine, the counter may stand elsewhere: what it says of the
 * time since the last measurement is as far off as the two are apart.
 */
static void test_jump_is_not_taken_for_a_rate(void **state)
{
	const uint64_t jump = 50 * MEASURE * RATE;
	struct vblk_stopwatch watch;
	struct vblk_stopwatch_mark mark;
	uint64_t read = measured(&watch);

	(void)state;
	mark = at(read + MEASURE);
	mark.ticks += jump;
	(void)vblk_stopwatch_mark(&watch, mark, 0);
	expect_clock(&watch, mark.ticks + RATE);
	mark = at(read + 2 * MEASURE);
	mark.ticks += jump;
	(void)vblk_stopwatch_mark(&watch, mark, 0);
	expect_clock(&watch, mark.ticks + RATE);
	mark = at(read + 3 * MEASURE);
	mark.ticks += jump;
	(void)vblk_stopwatch_mark(&watch, mark, 0);
	assert_true(vblk_stopwatch_by_ticks(&watch, mark.ticks + 7 * RATE));
	assert_in_range(watch.now_ns, mark.ns + 6, mark.ns + 7);
	expect_clock(&watch, mark.ticks + (SPAN + 1) * RATE);
}

/* Neither one that stands still, nor one that runs away, nor one that was not looked at for long.
 */
static void test_absurd_rates_are_none(void **state)
{
	struct vblk_stopwatch watch;
	uint64_t read = measured(&watch);

	(void)state;
	(void)vblk_stopwatch_mark(&watch,
				  (struct vblk_stopwatch_mark){ read + MEASURE, read * RATE }, 0);
	expect_clock(&watch, read * RATE + 1);
	read = measured(&watch);
	(void)vblk_stopwatch_mark(
		&watch, (struct vblk_stopwatch_mark){ read + MEASURE, UINT64_MAX / 2 }, 0);
	expect_clock(&watch, UINT64_MAX / 2 + 1);
	watch = (struct vblk_stopwatch){ .counts = true };
	(void)vblk_stopwatch_mark(&watch, at(1), 0);
	(void)vblk_stopwatch_mark(&watch, at(2 + VBLK_STOPWATCH_MEASURE_MAX_NS), 0);
	expect_clock(&watch, (3 + VBLK_STOPWATCH_MEASURE_MAX_NS) * RATE);
}

static uint64_t hands(void *context)
{
	return *(uint64_t *)context;
}

static void test_clock_of_the_embedder_is_always_read(void **state)
{
	uint64_t now_ns = 7;
	const struct vblk_clock clock = { .fn = hands, .context = &now_ns };
	struct vblk_stopwatch watch;

	(void)state;
	vblk_stopwatch_init(&watch, &clock);
	for (; now_ns < 10 * MEASURE; now_ns += MEASURE)
		assert_int_equal(vblk_stopwatch_now(&watch), now_ns);
}

static void test_machine_counter_goes_with_its_clock(void **state)
{
	const struct vblk_clock clock = { .fn = NULL };
	struct vblk_stopwatch watch;
	uint64_t begun_ns = vblk_clock_now(NULL), after_ns = begun_ns, told_ns = 0;

	(void)state;
	vblk_stopwatch_init(&watch, &clock);
	/* On a machine that has better things to do, it takes longer until the rate is known. */
	while (after_ns - begun_ns < 5 * MEASURE ||
	       (watch.counts && watch.rate == 0 && after_ns - begun_ns < 10 * VBLK_NSEC_PER_SEC)) {
		uint64_t before_ns = vblk_clock_now(NULL);
		uint64_t ns = vblk_stopwatch_now(&watch);

		after_ns = vblk_clock_now(NULL);
		assert_true(ns >= told_ns);
		assert_true(ns + SPAN >= before_ns);
		assert_true(ns <= after_ns + SPAN);
		told_ns = ns;
	}
	if (watch.counts)
		assert_int_not_equal(watch.rate, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock_is_read_until_the_rate_is_known),
		cmocka_unit_test(test_counter_is_relied_on_for_a_span),
		cmocka_unit_test(test_time_never_goes_backwards),
		cmocka_unit_test(test_counter_that_jumps_is_not_believed),
		cmocka_unit_test(test_reading_that_took_long_is_no_mark),
		cmocka_unit_test(test_rate_follows_the_counter),
		cmocka_unit_test(test_jump_is_not_taken_for_a_rate),
		cmocka_unit_test(test_absurd_rates_are_none),
		cmocka_unit_test(test_clock_of_the_embedder_is_always_read),
		cmocka_unit_test(test_machine_counter_goes_with_its_clock),
	};

	return cmocka_run_group_tests_name("stopwatch", tests, NULL, NULL);
}
