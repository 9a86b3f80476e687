/* SPDX-License-Identifier: MIT */
/* The gate with threads in the place of vCPUs. Nobody sleeps: each waits for the other's word. */
#include "vmm/gate.h"

#include "base/eventfd.h"
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 60000

struct walker {
	struct vmm_gate *gate;
	atomic_bool parked;
	atomic_bool flag_behind; /* what the flag said when it had passed */
	pthread_t thread;
};

struct fixture {
	struct vmm_stop stop;
	struct vmm_gate gate;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct vmm_error error;

	if (!fixture || vmm_stop_init(&fixture->stop, &error) ||
	    vmm_gate_init(&fixture->gate, &fixture->stop, &error))
		return -1;
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	vmm_gate_destroy(&fixture->gate);
	vmm_stop_destroy(&fixture->stop);
	free(fixture);
	return 0;
}

static void *walk(void *context)
{
	struct walker *walker = context;

	vmm_gate_pass(walker->gate, &walker->parked);
	atomic_store(&walker->flag_behind, atomic_load(&walker->parked));
	return NULL;
}

static void start(struct fixture *fixture, struct walker *walker)
{
	walker->gate = &fixture->gate;
	atomic_init(&walker->parked, false);
	atomic_init(&walker->flag_behind, true);
	assert_int_equal(pthread_create(&walker->thread, NULL, walk, walker), 0);
}

static void await_acks(struct fixture *fixture, uint64_t count)
{
	struct pollfd fd = { .fd = fixture->gate.parked_fd, .events = POLLIN };
	uint64_t seen = 0;

	while (seen < count) {
		assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
		seen += vblk_eventfd_clear(fd.fd);
	}
	assert_int_equal(seen, count);
}

static void an_open_gate_is_passed_without_a_word(void **state)
{
	struct fixture *fixture = *state;
	atomic_bool parked = false;

	vmm_gate_pass(&fixture->gate, &parked);
	assert_false(parked);
	assert_int_equal(vblk_eventfd_clear(fixture->gate.parked_fd), 0);
}

/* The flag is set when it is acknowledged, and cleared when the gate has been passed. */
static void a_closed_gate_holds_all_until_it_opens(void **state)
{
	struct fixture *fixture = *state;
	struct walker walkers[4];

	vmm_gate_close(&fixture->gate);
	assert_true(vmm_gate_is_closed(&fixture->gate));
	for (int i = 0; i < 4; i++)
		start(fixture, &walkers[i]);
	await_acks(fixture, 4);
	for (int i = 0; i < 4; i++)
		assert_true(walkers[i].parked);
	vmm_gate_open(&fixture->gate);
	for (int i = 0; i < 4; i++) {
		pthread_join(walkers[i].thread, NULL);
		assert_false(walkers[i].flag_behind);
	}
}

/* Whoever was let go, and had not gone, stays for the next time. */
static void an_opening_is_forgotten_when_the_gate_closes(void **state)
{
	struct fixture *fixture = *state;
	struct walker walker;

	for (int round = 0; round < 100; round++) {
		vmm_gate_close(&fixture->gate);
		start(fixture, &walker);
		await_acks(fixture, 1);
		vmm_gate_open(&fixture->gate);
		vmm_gate_close(&fixture->gate);
		assert_int_equal(poll(&(struct pollfd){ fixture->gate.open_fd, POLLIN, 0 }, 1, 0),
				 0);
		vmm_gate_open(&fixture->gate);
		pthread_join(walker.thread, NULL);
		vmm_gate_clear(&fixture->gate);
	}
}

static void the_end_of_the_machine_opens_it_too(void **state)
{
	struct fixture *fixture = *state;
	struct walker walker;

	vmm_gate_close(&fixture->gate);
	start(fixture, &walker);
	await_acks(fixture, 1);
	vmm_stop_request(&fixture->stop, VMM_END_SIGNAL);
	pthread_join(walker.thread, NULL);
	assert_true(vmm_gate_is_closed(&fixture->gate));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_open_gate_is_passed_without_a_word, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_closed_gate_holds_all_until_it_opens, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(an_opening_is_forgotten_when_the_gate_closes,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_end_of_the_machine_opens_it_too, set_up,
						tear_down),
	};

	return cmocka_run_group_tests_name("vmm_gate", tests, NULL, NULL);
}
