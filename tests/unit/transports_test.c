/* SPDX-License-Identifier: MIT */
/*
 * One driver, two front ends: seeded random programs are done to a device behind the register
 * window and to one behind a vhost-user session. After each step all that a driver can see is the
 * same (twins.h). What either has to do is the business of other tests; tests/fuzz/transports_fuzz
 * goes further into programs.
 */
#include "twins.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/checked.h"

#define PROGRAMS 60u
#define STEPS	 60u

/* splitmix64: the same numbers on every machine. */
static uint64_t random_state;

static uint64_t random_u64(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* From 0 to limit - 1. */
static uint32_t below(uint32_t limit)
{
	return (uint32_t)(random_u64() % limit);
}

static bool one_in(uint32_t count)
{
	return below(count) == 0;
}

/* Half of a program is requests, and whatever breaks the queue for good is rare. */
static enum twins_op some_op(void)
{
	static const enum twins_op others[] = {
		TWINS_NOTIFY, TWINS_NOTIFY, TWINS_WRITEBACK, TWINS_RESIZE,   TWINS_FAULT,
		TWINS_PAUSE,  TWINS_RESUME, TWINS_RESUME,    TWINS_THROTTLE, TWINS_CLOCK,
		TWINS_CLOCK,  TWINS_CLOCK,  TWINS_RESTART,   TWINS_RESET,    TWINS_RESET,
	};
	static const enum twins_op rare[] = { TWINS_POKE, TWINS_DESC, TWINS_OFFER,
					      TWINS_AVAIL_IDX };

	if (one_in(30))
		return rare[below(VBLK_ARRAY_SIZE(rare))];
	return one_in(2) ? TWINS_REQUEST : others[below(VBLK_ARRAY_SIZE(others))];
}

static void make_record(uint8_t record[TWINS_RECORD])
{
	for (size_t i = 1; i < TWINS_RECORD; i++)
		record[i] = (uint8_t)random_u64();
	record[0] = (uint8_t)some_op();
	if (record[0] == TWINS_REQUEST)
		record[7] &= one_in(40) ? 0xff : one_in(10) ? 0x7f : 0x2f;
	/* Few operations a second, and at times no limit. */
	if (record[0] == TWINS_THROTTLE) {
		record[1] &= one_in(2) ? 0x3f : 0;
		record[2] = 0;
		record[3] &= one_in(2) ? 0x3f : 0;
		record[4] = 0;
	}
}

static void test_a_driver_cannot_tell_the_front_ends_apart(void **state)
{
	(void)state;
	for (unsigned program = 0; program < PROGRAMS; program++) {
		struct twins twins = { .program = program };
		uint8_t kind, left_out;

		random_state = program;
		kind = (uint8_t)below(8);
		left_out = (uint8_t)random_u64();
		left_out &= (uint8_t)random_u64();
		twins_create(&twins, kind, left_out);
		for (unsigned i = 0; i < STEPS; i++) {
			uint8_t record[TWINS_RECORD];

			make_record(record);
			twins_step(&twins, record);
		}
		twins_destroy(&twins);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_driver_cannot_tell_the_front_ends_apart),
	};

	return cmocka_run_group_tests_name("transports", tests, NULL, NULL);
}
