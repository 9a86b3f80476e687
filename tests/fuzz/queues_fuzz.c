/* SPDX-License-Identifier: MIT */
/*
 * A device with several queues, and what they share: the port, the disk, its limits, the pause. The
 * steps and the model are those of the device fuzzer; here a program begins with a device that has
 * been started with all its queues, a SETUP's a[1] % 4 is how many operations a second it may do,
 * and each step may be another queue's.
 *
 * Which code ran says nothing of which queue it ran for, so libFuzzer is told of more than that: of
 * the states that the queues are in together, and of the step that has led there (states.h).
 */
#include "check.h"
#include "device_steps.h"
#include "records.h"
#include "rig.h"
#include "start.h"
#include "states.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A record's operation for queue `q`. */
#define OF(q, op) ((uint8_t)(DEVICE_OPS * ((q) + 1) + (op)))

const uint8_t fuzz_phrases[][RECORD_SIZE] = {
	{ OP_SETUP, 1 },
	{ OP_SETUP, 2 },
	{ OP_SETUP, 3 },
	{ OP_SETUP, 0, 1 },
	{ OP_SETUP, 1, 1 },
	{ OP_SETUP, 2, 1 },
	{ OP_SETUP, 2, 2 },
	{ OF(0, OP_REQUEST), 0, 0, 0, 0, 0, 0, 0x10 },
	{ OF(1, OP_REQUEST), 0, 1, 0, 0, 0, 0, 0x10 },
	{ OF(2, OP_REQUEST), 1, 2, 0, 0, 0, 0, 0x10 },
	{ OF(3, OP_REQUEST), 1, 3, 0, 0, 0, 0, 0x10 },
	{ OF(0, OP_REQUEST), 1, 4, 0, 0, 0, 0, 2 },
	{ OF(1, OP_REQUEST), 0, 5, 0, 0, 0, 0, 1 },
	{ OF(2, OP_REQUEST), 1, 6, 0, 0, 0, 0, 0 },
	{ OF(1, OP_RANGES), 1, 1, 0, 0, 0, 0, 0x10 },
	{ OF(0, OP_NOTIFY) },
	{ OF(1, OP_NOTIFY) },
	{ OF(2, OP_NOTIFY) },
	{ OF(3, OP_NOTIFY) },
	{ OF(1, OP_NOTIFY), 0, 1 },
	{ OP_NOTIFY, 250 },
	{ OF(0, OP_AVAIL_IDX), 9 },
	{ OF(1, OP_AVAIL_IDX), 9 },
	{ OF(1, OP_USED_EVENT), 1 },
	{ OF(2, OP_USED_EVENT) },
	{ OP_RUN },
	{ OP_RUN, 0x83 },
	{ OP_CLOCK, 125, 23 },
	{ OP_CLOCK, 10, 26 },
	{ OP_THROTTLE, 1 },
	{ OP_THROTTLE, 2, 0, 0, 0, 9 },
	{ OP_THROTTLE, 0, 0, 2, 9 },
	{ OP_THROTTLE },
	{ OP_PAUSE },
	{ OP_PAUSE },
	{ OP_RESUME },
	{ OP_RESET },
	{ OP_ACKNOWLEDGE, 3 },
	{ OP_ACKNOWLEDGE, 1 },
	{ OP_START, 0, 0, 0, 0, 0, 0, 0x10 },
	{ OP_START, 0, 0, 1, 0, 0, 0, 0x10 },
	{ OP_START, 0, 0, 0x20, 0, 0, 0, 0x10 },
	{ OP_START, 0, 0, 0x40, 0, 0, 0, 0x10 },
	{ OP_START, 0, 0, 0x50, 0, 0, 0, 0x10 },
	{ OP_START, 0, 0, 0x08, 0, 0, 0, 0x10 },
	{ OP_START, 0, 0, 0x08, 0, 0, 0, 0x10 },
	{ OP_START, 0, 0, 0x58, 0, 0, 0, 0x10 },
	{ OP_START },
	{ OP_START, 0, 14, 0, 3, 0, 0, 0x10 },
	{ OP_STATUS, 15 },
	{ OP_WRITE, 4, 0, 0, 0 },
	{ OP_WRITE, 4, 0, 0, 1 },
	{ OP_WRITE, 4, 0, 0, 3 },
	{ OP_WRITE, 4, 0, 0, 4 },
	{ OP_WRITE, 5, 0, 0, 16 },
	{ OP_WRITE, 6, 0, 0, 1 },
	{ OP_WRITE, 7, 0, 0, 1 },
	{ OP_WRITE, 7, 0, 0, 2 },
	{ OP_READ, 13 },
	{ OP_READ, 17 },
	{ OP_FAULT, 0, 0, 1, 0, 0, 17 },
	{ OP_FAULT, 1, 0, 1, 0, 0, 1 },
	{ OP_RESIZE, 2, 1 },
	{ OP_WRITEBACK },
};
const size_t fuzz_phrase_count = COUNT(fuzz_phrases);

static uint32_t state_of(const struct model_queue *queue)
{
	const struct model_drain *drain = &queue->drain;
	uint32_t state = (uint32_t)queue->layout.ready | (uint32_t)queue->pending << 1;

	if (queue->running)
		state |= 4 | (uint32_t)queue->waiting << 3 | (uint32_t)queue->in_line << 4 |
			 (uint32_t)drain->poisoned << 5 | (uint32_t)drain->stalled << 6;
	return state;
}

/* What led here and to what for its queue; how the queues stand to each other; and whose turn it is
 * for registers. Together they would be more than can be come through.
 */
static void note_state(enum device_op op)
{
	const struct model *model = &rig.model;
	uint32_t sel = model->queue_sel <= MODEL_QUEUES ? model->queue_sel : UINT32_MAX;
	uint32_t common = state_add(model->status, (uint32_t)model->resting);
	uint32_t step = state_add(common, op), all = state_add(common, model->line_length);

	step = state_add(step, state_of(&model->queue[rig.queue]));
	for (unsigned i = 0; i < model_queues(model); i++)
		all = state_add(all, state_of(&model->queue[i]));
	for (unsigned i = 0; i < model->line_length; i++)
		all = state_add(all, model->line[i]);
	state_note(step);
	state_note(all);
	state_note(state_add(state_add(op, sel), model->queues));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_start_tracing();
	return !rig_init();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t all[7] = { [6] = FEATURES_ALL };
	const uint8_t *setup = device_setup(data, size);
	const struct vblk_throttle limits = { .iops = setup[1] % 4u };

	rig_begin(RIG_QUEUES + setup[0] % (RIG_KINDS - RIG_QUEUES));
	start_device(all);
	rig_set_throttle(&limits);
	rig_expect_same();
	device_run(data, size, note_state);
	rig_end();
	return 0;
}
