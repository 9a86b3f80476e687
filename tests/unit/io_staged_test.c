/* SPDX-License-Identifier: MIT */
/*
 * Reads whose bytes are elsewhere when the call is over (backing/call.h): they come to where they
 * belong, as many as were read, unless this worker was given up.
 */
#include "io_rig.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIRST  0x5000u
#define SECOND 0x8001u
#define LENGTH 512u

static const uint8_t untouched = 0x5a;

struct staged {
	struct io_rig rig;
	uint8_t stage[2 * LENGTH];
};

/* A read of 1024 bytes in two segments, whose call is about to be made. */
static int setup(void **state)
{
	struct staged *staged = calloc(1, sizeof(*staged));
	struct io_rig *rig = &staged->rig;

	assert_non_null(staged);
	ram_create(&rig->ram, { 0, 0x10000 });
	io_rig_create(rig, 4096, 0xab);
	memset(staged->stage, 0xcd, LENGTH);
	memset(staged->stage + LENGTH, 0xce, LENGTH);
	memset(ram_at(&rig->ram, 0), untouched, 0x10000);
	io_rig_request(rig, VIRTIO_BLK_T_IN, 0);
	io_rig_segment(rig, FIRST, LENGTH);
	io_rig_segment(rig, SECOND, LENGTH);
	assert_true(vblk_flight_start(&rig->io, &rig->flight));
	rig->flight.call.staged = staged->stage;
	*state = staged;
	return 0;
}

static int teardown(void **state)
{
	struct staged *staged = *state;

	io_rig_destroy(&staged->rig);
	free(staged);
	return 0;
}

/* Of the data, byte `index`. */
static uint8_t data(const struct io_rig *rig, uint32_t index)
{
	return *ram_at(&rig->ram, index < LENGTH ? FIRST + index : SECOND + index - LENGTH);
}

static void expect_data(const struct io_rig *rig, uint32_t from, uint32_t to, uint8_t value)
{
	for (uint32_t i = from; i < to; i++)
		assert_int_equal(data(rig, i), value);
}

static void test_all_of_it(void **state)
{
	struct staged *staged = *state;
	struct io_rig *rig = &staged->rig;

	assert_false(vblk_flight_next(&rig->io, &rig->flight, 2 * LENGTH));
	assert_int_equal(rig->flight.transfer.error, 0);
	assert_int_equal(rig->flight.transfer.done, 2 * LENGTH);
	expect_data(rig, 0, LENGTH, 0xcd);
	expect_data(rig, LENGTH, 2 * LENGTH, 0xce);
	assert_int_equal(*ram_at(&rig->ram, FIRST + LENGTH), untouched);
	assert_int_equal(*ram_at(&rig->ram, SECOND - 1), untouched);
	assert_int_equal(*ram_at(&rig->ram, SECOND + LENGTH), untouched);
}

/* The rest is another call, whose bytes may be where they belong. */
static void test_a_short_read(void **state)
{
	struct staged *staged = *state;
	struct io_rig *rig = &staged->rig;

	assert_true(vblk_flight_next(&rig->io, &rig->flight, 600));
	expect_data(rig, 0, LENGTH, 0xcd);
	expect_data(rig, LENGTH, 600, 0xce);
	expect_data(rig, 600, 2 * LENGTH, untouched);
	assert_null(rig->flight.call.staged);
	assert_int_equal(rig->flight.call.offset, 600);
	vblk_flight_finish(&rig->io, &rig->flight);
	assert_int_equal(rig->flight.transfer.error, 0);
	expect_data(rig, 0, LENGTH, 0xcd);
	expect_data(rig, LENGTH, 600, 0xce);
	expect_data(rig, 600, 2 * LENGTH, 0xab);
}

/* Behind the end of the file are zeros, not what else is in the stage. */
static void test_the_end_of_the_file(void **state)
{
	struct staged *staged = *state;
	struct io_rig *rig = &staged->rig;

	assert_true(vblk_flight_next(&rig->io, &rig->flight, 100));
	rig->flight.call.staged = staged->stage;
	assert_false(vblk_flight_next(&rig->io, &rig->flight, 0));
	assert_int_equal(rig->flight.transfer.error, 0);
	expect_data(rig, 0, 100, 0xcd);
	expect_data(rig, 100, 2 * LENGTH, 0);
}

static void test_errors_bring_nothing(void **state)
{
	static const ssize_t results[] = { -EIO, 2 * LENGTH + 1, INT_MAX };
	struct staged *staged = *state;
	struct io_rig *rig = &staged->rig;

	for (size_t i = 0; i < sizeof(results) / sizeof(*results); i++) {
		assert_true(vblk_flight_start(&rig->io, &rig->flight));
		rig->flight.call.staged = staged->stage;
		assert_false(vblk_flight_next(&rig->io, &rig->flight, results[i]));
		assert_int_equal(rig->flight.transfer.error, -EIO);
		expect_data(rig, 0, 2 * LENGTH, untouched);
	}
}

/* An interrupted call is made again, and has a stage of its own or none. */
static void test_an_interruption(void **state)
{
	struct staged *staged = *state;
	struct io_rig *rig = &staged->rig;

	assert_true(vblk_flight_next(&rig->io, &rig->flight, -EINTR));
	assert_null(rig->flight.call.staged);
	expect_data(rig, 0, 2 * LENGTH, untouched);
}

/* The memory is somebody else's by now. */
static void test_a_worker_that_was_given_up(void **state)
{
	struct staged *staged = *state;
	struct io_rig *rig = &staged->rig;

	assert_int_equal(vblk_lease_revoke(&rig->lease), 0);
	assert_false(vblk_flight_next(&rig->io, &rig->flight, 2 * LENGTH));
	assert_int_equal(rig->flight.transfer.error, -ECANCELED);
	expect_data(rig, 0, 2 * LENGTH, untouched);
}

/* The lease is held for the copy, and let go. */
static void test_the_lease_is_free_again(void **state)
{
	struct staged *staged = *state;
	struct io_rig *rig = &staged->rig;

	assert_false(vblk_flight_next(&rig->io, &rig->flight, 2 * LENGTH));
	assert_true(vblk_lease_hold(&rig->lease));
	vblk_lease_release(&rig->lease);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_all_of_it),
		TEST(test_a_short_read),
		TEST(test_the_end_of_the_file),
		TEST(test_errors_bring_nothing),
		TEST(test_an_interruption),
		TEST(test_a_worker_that_was_given_up),
		TEST(test_the_lease_is_free_again),
	};

	return cmocka_run_group_tests_name("io_staged", tests, NULL, NULL);
}
