/* SPDX-License-Identifier: MIT */
/*
 * Two front ends before the device: a program is done to a device behind the register window and
 * to one behind a vhost-user session with a worker, and a driver must not be able to tell them
 * apart. Steps, and what is compared after each, are those of the unit test of that name
 * (tests/support/twins.h): memory, used rings, status, interrupts, counters, calls to the disk, and
 * what is on it in the end. What a request has to do is the device fuzzer's business.
 *
 * Each program has devices of its own. The worker is waited for after each step, so that the same
 * program does the same again; nobody sleeps.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "records.h"
#include "states.h"
#include "twins.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

_Static_assert(RECORD_SIZE == TWINS_RECORD, "a record is a step");

/* One more than there are steps. SETUP  a[0] TWINS_*, a[1] features left out; the first one counts.
 */
#define OP_SETUP TWINS_OPS
#define OPS	 (TWINS_OPS + 1)

/* Notifies, in a[6] of a request. */
#define NOW 0x20

const uint8_t fuzz_phrases[][RECORD_SIZE] = {
	{ OP_SETUP, TWINS_STRICT },
	{ OP_SETUP, TWINS_READ_ONLY },
	{ OP_SETUP, TWINS_BASE },
	{ OP_SETUP, 0, 0x01 },
	{ OP_SETUP, 0, 0x04 },
	{ OP_SETUP, 0, 0x0c },
	{ TWINS_REQUEST, 0, 0, 0, 0, 0, 0, NOW },
	{ TWINS_REQUEST, 1, 0, 0, 0, 0, 0, NOW },
	{ TWINS_REQUEST, 4, 0, 0, 0, 0, 0, NOW },
	{ TWINS_REQUEST, 5, 0, 0, 0, 0, 0, NOW },
	{ TWINS_REQUEST, 6, 0, 2, 0, 1, 0, NOW },
	{ TWINS_REQUEST, 7, 0, 2, 0, 1, 0, NOW },
	{ TWINS_REQUEST, 0, 7, 3, 0, 0, 0, 0x08 | NOW },
	{ TWINS_REQUEST, 1, 3, 7, 0, 0, 0, 0x09 | NOW },
	{ TWINS_REQUEST, 0, 1, 1, 0, 0, 0, 1 },
	{ TWINS_REQUEST, 1, 1, 4, 0, 0, 0, 2 },
	{ TWINS_REQUEST, 0, 0, 31, 0, 0, 0, 3 },
	{ TWINS_REQUEST, 1, 0, 0, 0, 0, 0, 0x40 | NOW },
	{ TWINS_REQUEST, 1, 0, 0, 211, 1, 0, NOW },
	{ TWINS_NOTIFY },
	{ TWINS_NOTIFY },
	{ TWINS_NOTIFY, 1 },
	{ TWINS_NOTIFY, 1, 1 },
	{ TWINS_NOTIFY, 1, 0xff },
	{ TWINS_POKE, 0x04, 0x08, 0, 0xff },
	{ TWINS_AVAIL_IDX, 1 },
	{ TWINS_AVAIL_IDX, 17 },
	{ TWINS_OFFER, 3 },
	{ TWINS_WRITEBACK },
	{ TWINS_WRITEBACK, 1 },
	{ TWINS_RESIZE, 4, 1 },
	{ TWINS_RESIZE },
	{ TWINS_FAULT, 0, 0, 0, 0, 0, 0 },
	{ TWINS_FAULT, 1, 0, 1, 0, 0, 3 },
	{ TWINS_FAULT, 0, 1, 1, 0, 0, 2 },
	{ TWINS_FAULT, 1, 1, 2, 0, 2, 4 },
	{ TWINS_FAULT, 2, 0, 0, 0, 0, 0 },
	{ TWINS_FAULT, 3, 0, 5, 0, 0, 0 },
	{ TWINS_PAUSE },
	{ TWINS_PAUSE },
	{ TWINS_RESUME },
	{ TWINS_THROTTLE, 1 },
	{ TWINS_THROTTLE, 0, 0, 2 },
	{ TWINS_THROTTLE },
	{ TWINS_CLOCK, 125, 3 },
	{ TWINS_CLOCK, 1 },
	{ TWINS_RESTART },
	{ TWINS_RESTART },
	{ TWINS_RESET },
	{ TWINS_RESET, 0x01 },
	{ TWINS_RESET, 0x0c },
	{ TWINS_RESET, 0x30 },
};
const size_t fuzz_phrase_count = COUNT(fuzz_phrases);

static const uint8_t *find_setup(const uint8_t *data, size_t size)
{
	static const uint8_t usual[RECORD_SIZE] = { OP_SETUP };
	const uint8_t *record;

	for (size_t i = 0; (record = record_at(data, size, i)); i++) {
		if (record[0] % OPS == OP_SETUP)
			return record;
	}
	return usual;
}

/* Most of what a driver comes to is seen by the same code; see states.h. */
static void note_state(const struct twins *twins, uint8_t op)
{
	const struct vblk_metrics_snapshot *now = &twins->before[0];
	uint32_t state = state_add(0, op);

	state = state_add(state, (uint32_t)twins->paused | (uint32_t)twins->notified << 1 |
					 (uint32_t)twins->looked << 2 | (uint32_t)twins->wild << 3);
	state = state_add(state, (uint32_t)(twins->limits.iops > 0) |
					 (uint32_t)(twins->limits.bps > 0) << 1);
	state = state_add(state, (uint32_t)now->throttled_now |
					 (uint32_t)(now->io_errors > 0) << 1 |
					 (uint32_t)(now->invalid_avail_idx > 0) << 2);
	state = state_add(state, twins->status);
	state = state_add(state, (twins->left_out & 1u) | (uint32_t)((twins->left_out & 0xc) == 0xc)
								  << 1);
	state_note(state);
}

/* What fails outside of a test of cmocka's ends the process, and only abort() leaves a core. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_start_tracing();
	return setenv("CMOCKA_TEST_ABORT", "1", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *setup = find_setup(data, size), *record;
	struct twins twins = { .program = 0 };

	twins_create(&twins, setup[1], setup[2]);
	for (size_t i = 0; (record = record_at(data, size, i)); i++) {
		uint8_t step[RECORD_SIZE];

		FUZZ_TRACE("%3zu: op %2d  %02x %02x %02x %02x %02x %02x %02x", i, record[0] % OPS,
			   record[1], record[2], record[3], record[4], record[5], record[6],
			   record[7]);
		if (record[0] % OPS == OP_SETUP)
			continue;
		memcpy(step, record, sizeof(step));
		step[0] = record[0] % OPS;
		twins_step(&twins, step);
		note_state(&twins, step[0]);
	}
	twins_destroy(&twins);
	return 0;
}
