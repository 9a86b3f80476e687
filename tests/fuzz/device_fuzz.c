/* SPDX-License-Identifier: MIT */
/*
 * The whole device with the inline engine, against a program of register accesses, rings, memory
 * contents, faults of the disk and turns of the clock.
 *
 * Every step (device_steps.h) is done to the device and to the model, and afterwards all that a
 * driver or an embedder can see must be the same: registers, counters, interrupts, deadline, the
 * paused flag, every byte of guest memory, every call to the backing, every byte of the disk.
 * Some promises are checked by themselves too, in case device and model share an error: no counter
 * falls, no drain takes more chains than the queue is long, each chain taken is published or
 * accounted for, who waits is told a time. rig.h does and compares, device_model.h foretells.
 */
#include "check.h"
#include "device_steps.h"
#include "records.h"
#include "rig.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Phrases are the words that legal programs are made of; the arguments of most are 0. */
const uint8_t fuzz_phrases[][RECORD_SIZE] = {
	{ OP_SETUP, 1 },
	{ OP_SETUP, 4 },
	{ OP_SETUP, 5 },
	{ OP_START },
	{ OP_START },
	{ OP_START, 0, 0, 1 },
	{ OP_START, 3, 0, 1 },
	{ OP_START, 1, 1, 3 },
	{ OP_START, 1, 2 },
	{ OP_START, 0, 4 },
	{ OP_START, 4, 9 },
	{ OP_START, 0, 13, 0, 1, 1 },
	{ OP_START, 0, 14, 0, 3 },
	{ OP_START, 0, 0, 0, 0, 0, 0, 3 },
	{ OP_REQUEST, 0, 0, 0, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 1, 0, 0, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 2, 0, 0, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 3, 0, 0, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 0, 2, 2, 0, 1, 0, 0x10 },
	{ OP_REQUEST, 1, 3, 3, 13, 0, 0, 0x13 },
	{ OP_REQUEST, 0, 0, 5, 0x3c, 0, 0, 0x10 },
	{ OP_REQUEST, 0x09, 0, 7, 0x12, 0, 4, 0x10 },
	{ OP_REQUEST, 0 },
	{ OP_REQUEST, 1, 0, 0, 0, 0, 0, 3 },
	{ OP_NOTIFY },
	{ OP_NOTIFY },
	{ OP_NOTIFY, 0, 1 },
	{ OP_RUN },
	{ OP_RUN, 0x83 },
	{ OP_CLOCK, 10, 26 },
	{ OP_THROTTLE, 10, 0 },
	{ OP_THROTTLE, 0, 0, 2, 9 },
	{ OP_THROTTLE, 2, 0, 1, 9, 1, 1 },
	{ OP_THROTTLE },
	{ OP_PAUSE },
	{ OP_RESUME },
	{ OP_RESET },
	{ OP_USED_EVENT },
	{ OP_ACKNOWLEDGE, 3 },
	{ OP_FAULT, 0, 0, 1, 0, 0, 17 },
	{ OP_FAULT, 0, 1, 1, 0, 0, 1 },
	{ OP_FAULT, 1, 0, 1, 0, 0, 16 },
	{ OP_FAULT, 2, 0, 1, 0, 0, 1 },
	{ OP_FAULT, 1, 1, 2, 0, 2, 0 },
	{ OP_FAULT, 2, 0, 0, 0, 0, 1 },
	{ OP_FAULT, 0, 4, 30 },
	{ OP_HOOK, 0, 0, 12, 0, 0, 1, 0 },
	{ OP_HOOK, 0, 40, 8, 0, 0, 0, 1 },
	{ OP_TRAP, 12, 0, 0, 1 },
	{ OP_READ, 13 },
	{ OP_READ, 63 },
	{ OP_BIND },
	{ OP_STATUS, 1 },
	{ OP_STATUS, 3 },
	{ OP_STATUS, 11 },
	{ OP_STATUS, 15 },
	{ OP_STATUS, 2, 1 },
	{ OP_SETUP, 8 },
	{ OP_SETUP, 8 },
	{ OP_SETUP, 9 },
	{ OP_SETUP, 10 },
	{ OP_SETUP, 11 },
	{ OP_START, 0, 0, 0, 0, 0, 0, 0x10 },
	{ OP_START, 1, 0, 0, 0, 0, 0, 0x10 },
	{ OP_START, 0, 0, 2, 0, 0, 0, 0x10 },
	{ OP_START, 0, 0, 3, 0, 0, 0, 0x30 },
	{ OP_RANGES, 0, 0, 0, 0, 0, 0, 0x10 },
	{ OP_RANGES, 1, 0, 0, 0, 0, 0, 0x10 },
	{ OP_RANGES, 1, 0, 2, 1, 0, 1, 0x10 },
	{ OP_RANGES, 0, 1, 2, 11, 0, 0, 0x10 },
	{ OP_RANGES, 1, 0, 7, 3, 0, 0, 0x10 },
	{ OP_RANGES, 9, 0, 3, 0x38, 0, 0, 0x10 },
	{ OP_FAULT, 3, 0, 1, 0, 0, 3 },
	{ OP_FAULT, 4, 0, 0, 0, 0, 1 },
	{ OP_FAULT, 4, 0, 6 },
	{ OP_FAULT, 3, 0, 6, 0, 0, 1 },
	{ OP_FAULT, 4, 3, 1, 0, 0, 1 },
	{ OP_WRITEBACK },
	{ OP_WRITEBACK, 1 },
	{ OP_RESIZE, 0, 1 },
	{ OP_RESIZE, 1 },
	{ OP_RESIZE, 2, 1 },
	{ OP_SETUP, 12 },
	{ OP_SETUP, 12 },
	{ OP_SETUP, 13 },
	{ OP_QUEUE },
	{ OP_QUEUE, 1 },
	{ OP_QUEUE, 3 },
	{ OP_WRITE, 4, 0, 0, 1 },
	{ OP_WRITE, 4, 0, 0, 3 },
	{ OP_READ, 32, 1, 1, 1 },
};
const size_t fuzz_phrase_count = COUNT(fuzz_phrases);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_start_tracing();
	return !rig_init();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	rig_begin(device_setup(data, size)[0] % RIG_KINDS);
	device_run(data, size, NULL);
	rig_end();
	return 0;
}
