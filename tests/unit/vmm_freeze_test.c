/* SPDX-License-Identifier: MIT */
/*
 * The freeze coordinator, with parties that do what a script says and a clock whose hands only a
 * wait turns. What is counted and believed when; who is left out; when it is given up.
 */
#include "vmm/freeze.h"

#include "base/checked.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NEVER UINT64_MAX
#define MS    VBLK_NSEC_PER_MSEC

struct party {
	/* The script. */
	uint64_t takes_ns; /* from being asked to rest; NEVER */
	bool idle;	   /* a device that nothing runs of: at rest, and never acknowledges */
	unsigned int
		blind_looks; /* so many looks find it busy after the first limit, then it rests */
	bool gets_up;	     /* leaves its rest once, when the other parties rest */

	/* What is. */
	bool asked;
	bool parked;
	uint64_t due_ns; /* when it parks */
	unsigned int asks;
	unsigned int releases;
};

struct fake {
	struct vmm_freeze freeze;
	struct vblk_clock clock;
	struct party parties[VMM_FREEZE_PARTIES];
	struct vmm_freeze_report report;
	struct vmm_error error;
	uint64_t now_ns;
	uint64_t called_off_ns; /* when somebody wants something else; NEVER */
	uint64_t acks;		/* that were given */
	unsigned int waits;
	unsigned int clears;
};

static unsigned int count_of(const struct fake *fake)
{
	return fake->freeze.vcpus + fake->freeze.devices;
}

static void clear(void *context)
{
	struct fake *fake = context;

	fake->clears++;
}

static bool ask(void *context, unsigned int index)
{
	struct fake *fake = context;
	struct party *party = &fake->parties[index];

	party->asks++;
	if (party->idle || party->parked || party->asked)
		return false;
	party->asked = true;
	party->due_ns = party->takes_ns == NEVER ? NEVER : fake->now_ns + party->takes_ns;
	return true;
}

static bool is_parked(void *context, unsigned int index)
{
	struct fake *fake = context;
	struct party *party = &fake->parties[index];

	if (party->blind_looks && fake->now_ns >= VMM_FREEZE_DEVICE_NS &&
	    --party->blind_looks == 0) {
		/* It has just come to rest, and acknowledges that in a moment. */
		party->parked = true;
		party->due_ns = fake->now_ns + 1;
	}
	return party->parked;
}

static void release(void *context, unsigned int index)
{
	struct fake *fake = context;
	struct party *party = &fake->parties[index];

	party->releases++;
	party->asked = false;
	party->parked = party->idle;
}

/* The next that happens is that a party parks, or nothing until the time is up. */
static int wait_for_acks(void *context, uint64_t timeout_ns, uint64_t *count)
{
	struct fake *fake = context;
	uint64_t next = fake->now_ns + timeout_ns;

	fake->waits++;
	for (unsigned int i = 0; i < count_of(fake); i++)
		if (fake->parties[i].asked && fake->parties[i].due_ns < next)
			next = fake->parties[i].due_ns;
	if (fake->called_off_ns <= next) {
		fake->now_ns = fake->called_off_ns;
		return -ECANCELED;
	}
	fake->now_ns = next;
	for (unsigned int i = 0; i < count_of(fake); i++) {
		struct party *party = &fake->parties[i];

		if (!party->asked || party->due_ns > next)
			continue;
		party->due_ns = NEVER;
		party->parked = true;
		++*count;
	}
	fake->acks += *count;
	for (unsigned int i = 0; i < count_of(fake) && *count; i++) {
		struct party *party = &fake->parties[i];

		if (!party->gets_up || !party->parked)
			continue;
		party->gets_up = false;
		party->parked = party->asked = false;
	}
	return 0;
}

static uint64_t now(void *context)
{
	return ((struct fake *)context)->now_ns;
}

static const struct vmm_freeze_ops ops = { clear, ask, is_parked, release, wait_for_acks };

/* Parties that all come to rest, each 10 us later than the one before. */
static struct fake *make(unsigned int vcpus, unsigned int devices)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	assert_non_null(fake);
	fake->clock = (struct vblk_clock){ now, fake };
	fake->freeze = (struct vmm_freeze){
		.ops = &ops,
		.context = fake,
		.clock = &fake->clock,
		.vcpus = vcpus,
		.devices = devices,
	};
	fake->called_off_ns = NEVER;
	for (unsigned int i = 0; i < vcpus + devices; i++)
		fake->parties[i].takes_ns = (i + 1) * UINT64_C(10000);
	return fake;
}

static int freeze(struct fake *fake)
{
	return vmm_freeze_all(&fake->freeze, &fake->report, &fake->error);
}

static void test_K2_nobody_to_wait_for_is_done_at_once(void **state)
{
	struct fake *fake = make(0, 0);

	(void)state;
	assert_int_equal(freeze(fake), 0);
	assert_int_equal(fake->waits, 0);
	assert_int_equal(fake->report.vcpus, 0);
	assert_int_equal(fake->report.disks, 0);
	free(fake);
}

/* Who has to acknowledge: each vCPU, and each device that something runs of. */
static void test_K1_K2_expects_one_acknowledgement_of_each_that_runs(void **state)
{
	static const struct {
		unsigned int vcpus, devices, idle;
		uint64_t acks;
	} cases[] = {
		{ 3, 1, 0, 4 }, { 8, 1, 0, 9 }, { 4, 0, 0, 4 },	  { 4, 1, 1, 4 },
		{ 1, 8, 3, 6 }, { 0, 1, 0, 1 }, { 32, 8, 0, 40 }, { 0, 2, 2, 0 },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		struct fake *fake = make(cases[i].vcpus, cases[i].devices);

		for (unsigned int k = 0; k < cases[i].idle; k++) {
			fake->parties[cases[i].vcpus + k].idle = true;
			fake->parties[cases[i].vcpus + k].parked = true;
		}
		assert_int_equal(freeze(fake), 0);
		assert_int_equal(fake->acks, cases[i].acks);
		assert_int_equal(fake->clears, 1);
		assert_int_equal(fake->report.vcpus, cases[i].vcpus);
		assert_int_equal(fake->report.disks, cases[i].devices);
		assert_int_equal(fake->report.disks_left_out, 0);
		for (unsigned int k = 0; k < count_of(fake); k++) {
			assert_true(fake->parties[k].parked);
			assert_int_equal(fake->parties[k].asks, 1);
			assert_int_equal(fake->parties[k].releases, 0);
		}
		free(fake);
	}
}

/* A wait per acknowledgement and no more: nobody is polled. */
static void test_K6_waits_as_often_as_there_is_news(void **state)
{
	struct fake *fake = make(2, 2);

	(void)state;
	fake->parties[3].takes_ns = 900 * MS;
	assert_int_equal(freeze(fake), 0);
	assert_int_equal(fake->waits, 4);
	assert_int_equal(fake->report.elapsed_ns, 900 * MS);
	free(fake);
}

static void test_K1_who_rests_still_is_counted_from_the_start(void **state)
{
	struct fake *fake = make(2, 1);

	(void)state;
	for (unsigned int i = 0; i < 2; i++)
		fake->parties[i].parked = true;
	assert_int_equal(freeze(fake), 0);
	assert_int_equal(fake->acks, 1); /* the device's */
	assert_int_equal(fake->waits, 1);
	assert_int_equal(fake->parties[0].asks, 1);
	free(fake);
}

/* A device that was asked before this freeze: what it promised then is waited for. */
static void test_K1_a_pause_that_is_not_answered_yet_is_waited_for(void **state)
{
	struct fake *fake = make(1, 1);

	(void)state;
	fake->parties[1].asked = true;
	fake->parties[1].due_ns = 5 * MS;
	assert_int_equal(freeze(fake), 0);
	assert_int_equal(fake->report.elapsed_ns, 5 * MS);
	assert_true(fake->parties[1].parked);
	free(fake);
}

/* More acknowledgements than were expected prove nothing: the flag of a busy one decides. */
static void test_K2_an_acknowledgement_too_many_is_not_anothers(void **state)
{
	struct fake *fake = make(3, 0);

	(void)state;
	/* Counted as resting still, but on its way: it acknowledges again. */
	fake->parties[0].parked = true;
	fake->parties[0].asked = true;
	fake->parties[0].due_ns = 1;
	assert_int_equal(freeze(fake), 0);
	assert_int_equal(fake->acks, 3);
	for (unsigned int i = 0; i < 3; i++)
		assert_true(fake->parties[i].parked);
	free(fake);
}

/* The guest resets a device that has acknowledged, and starts it again, before its vCPU rests. */
static void test_K2_a_device_that_is_up_again_is_asked_again(void **state)
{
	struct fake *fake = make(1, 1);

	(void)state;
	fake->parties[0].takes_ns = 2 * MS;
	fake->parties[1].takes_ns = 1 * MS;
	fake->parties[1].gets_up = true;
	assert_int_equal(freeze(fake), 0);
	assert_int_equal(fake->parties[1].asks, 2);
	assert_true(fake->parties[1].parked);
	assert_int_equal(fake->report.elapsed_ns, 3 * MS);
	free(fake);
}

static void test_K3_a_device_that_hangs_is_left_out_after_a_second(void **state)
{
	struct fake *fake = make(2, 3);

	(void)state;
	fake->parties[3].takes_ns = NEVER;
	assert_int_equal(freeze(fake), 0);
	assert_int_equal(fake->report.elapsed_ns, VMM_FREEZE_DEVICE_NS);
	assert_int_equal(fake->report.disks_left_out, 1 << 1);
	assert_int_equal(fake->report.disks, 2);
	assert_int_equal(fake->report.vcpus, 2);

	/* It goes on with the others, and the next freeze does not remember. */
	vmm_thaw_all(&fake->freeze);
	assert_int_equal(fake->parties[3].releases, 1);
	fake->parties[3].takes_ns = 1;
	assert_int_equal(freeze(fake), 0);
	assert_int_equal(fake->report.disks_left_out, 0);
	assert_int_equal(fake->report.disks, 3);
	free(fake);
}

static void test_K3_nobody_is_left_out_before_the_second_is_over(void **state)
{
	struct fake *fake = make(1, 1);

	(void)state;
	fake->parties[1].takes_ns = VMM_FREEZE_DEVICE_NS - 1;
	assert_int_equal(freeze(fake), 0);
	assert_int_equal(fake->report.disks_left_out, 0);
	assert_int_equal(fake->report.disks, 1);
	free(fake);
}

/* Found busy by the first look and at rest by the second: it stays in, and its answer comes. */
static void test_K3_the_second_look_keeps_who_has_just_come_to_rest(void **state)
{
	struct fake *fake = make(1, 1);

	(void)state;
	fake->parties[0].takes_ns = VMM_FREEZE_DEVICE_NS + 5 * MS;
	fake->parties[1].takes_ns = NEVER;
	fake->parties[1].blind_looks = 2;
	assert_int_equal(freeze(fake), 0);
	assert_int_equal(fake->report.disks_left_out, 0);
	assert_int_equal(fake->acks, 2);
	free(fake);
}

/* A device that was left out is looked at no more, whatever it does, and a vCPU is never left out.
 */
static void test_K3_vcpus_are_waited_for_when_a_device_is_left_out(void **state)
{
	struct fake *fake = make(2, 1);

	(void)state;
	fake->parties[0].takes_ns = 4000 * MS;
	fake->parties[2].takes_ns = 2000 * MS;
	assert_int_equal(freeze(fake), 0);
	assert_int_equal(fake->report.elapsed_ns, 4000 * MS);
	assert_int_equal(fake->report.disks_left_out, 1);
	free(fake);
}

static void test_K4_gives_up_after_30_seconds_and_says_who(void **state)
{
	struct fake *fake = make(2, 2);

	(void)state;
	fake->parties[1].takes_ns = NEVER;
	fake->parties[3].takes_ns = NEVER;
	assert_int_equal(freeze(fake), -ETIMEDOUT);
	assert_int_equal(fake->now_ns, VMM_FREEZE_ALL_NS);
	assert_string_equal(fake->error.text, "freeze: given up after 30000 ms, the guest goes on; "
					      "not at rest: vcpu 1, disk 1");
	assert_false(fake->error.bad_input);
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(fake->parties[i].releases, 1);
		assert_false(fake->parties[i].parked);
	}

	/* All is as before: the next one succeeds. */
	fake->parties[1].takes_ns = fake->parties[3].takes_ns = 1;
	assert_int_equal(freeze(fake), 0);
	assert_int_equal(fake->report.vcpus, 2);
	assert_int_equal(fake->report.disks, 2);
	free(fake);
}

static void test_K4_is_called_off_when_something_else_is_wanted(void **state)
{
	struct fake *fake = make(1, 1);

	(void)state;
	fake->parties[0].takes_ns = NEVER;
	fake->called_off_ns = 300 * MS;
	assert_int_equal(freeze(fake), -ECANCELED);
	assert_string_equal(fake->error.text, "freeze: called off after 300 ms, the guest goes on; "
					      "not at rest: vcpu 0");
	assert_int_equal(fake->parties[0].releases, 1);
	assert_int_equal(fake->parties[1].releases, 1);
	free(fake);
}

static void test_K5_thaw_releases_all_and_waits_for_nobody(void **state)
{
	struct fake *fake = make(3, 2);
	unsigned int waits;

	(void)state;
	for (unsigned int round = 1; round <= 100; round++) {
		assert_int_equal(freeze(fake), 0);
		waits = fake->waits;
		vmm_thaw_all(&fake->freeze);
		assert_int_equal(fake->waits, waits);
		for (unsigned int i = 0; i < 5; i++)
			assert_int_equal(fake->parties[i].releases, round);
	}
	free(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_K2_nobody_to_wait_for_is_done_at_once),
		cmocka_unit_test(test_K1_K2_expects_one_acknowledgement_of_each_that_runs),
		cmocka_unit_test(test_K6_waits_as_often_as_there_is_news),
		cmocka_unit_test(test_K1_who_rests_still_is_counted_from_the_start),
		cmocka_unit_test(test_K1_a_pause_that_is_not_answered_yet_is_waited_for),
		cmocka_unit_test(test_K2_an_acknowledgement_too_many_is_not_anothers),
		cmocka_unit_test(test_K2_a_device_that_is_up_again_is_asked_again),
		cmocka_unit_test(test_K3_a_device_that_hangs_is_left_out_after_a_second),
		cmocka_unit_test(test_K3_nobody_is_left_out_before_the_second_is_over),
		cmocka_unit_test(test_K3_the_second_look_keeps_who_has_just_come_to_rest),
		cmocka_unit_test(test_K3_vcpus_are_waited_for_when_a_device_is_left_out),
		cmocka_unit_test(test_K4_gives_up_after_30_seconds_and_says_who),
		cmocka_unit_test(test_K4_is_called_off_when_something_else_is_wanted),
		cmocka_unit_test(test_K5_thaw_releases_all_and_waits_for_nobody),
	};

	return cmocka_run_group_tests_name("vmm_freeze", tests, NULL, NULL);
}
