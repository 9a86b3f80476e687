/* SPDX-License-Identifier: MIT */
/*
 * A device, its model, and the driver that both have: everything is done to both, and rig_expect_
 * same looks for a difference.
 *
 * Devices live from input to input, for speed; a reset stands between, and whatever it forgot
 * shows as a difference from the model, which begins anew. There are several, of various kinds.
 */
#ifndef TESTS_FUZZ_RIG_H
#define TESTS_FUZZ_RIG_H

#include "device_model.h"
#include "driver.h"

/* How many kinds of devices there are; from RIG_QUEUES on they have several queues. */
#define RIG_KINDS  16u
#define RIG_QUEUES 12u

struct rig {
	unsigned kind;
	struct vblk_device *device;
	struct model model;
	unsigned queue;			   /* that the driver is busy with */
	struct driver driver;		   /* of this queue */
	struct driver other[MODEL_QUEUES]; /* of those that it is not busy with */
	/* What the device did. */
	uint64_t interrupts;
	uint64_t warnings;
	/* What was looked at last. */
	struct vblk_metrics_snapshot counters;
	uint64_t drains;
	bool was_paused;
};

extern struct rig rig;

/* Once per process. Returns false if there are no descriptors. */
bool rig_init(void);

/* Memory, disk, model and driver begin anew; the device is as its last reset left it. */
void rig_begin(unsigned which);

/* Compares all that is left to compare, and brings the device to rest. */
void rig_end(void);

/* From here on the driver is busy with this queue, of those that the device has. */
void rig_choose_queue(unsigned queue);

/* A register write of four bytes, and a read of any width up to 16. */
void rig_write(uint64_t offset, uint32_t value);
void rig_read(uint64_t offset, size_t width);

/* A write that the device must ignore. */
void rig_write_ignored(uint64_t offset, const void *data, size_t width);

/* A write to configuration space, of any width from 1 on. */
void rig_write_config(uint64_t offset, const uint8_t *data, size_t width);

/* The embedder's calls. */
void rig_run(void);
void rig_pause(void);
void rig_resume(void);
void rig_bind(void);
void rig_set_throttle(const struct vblk_throttle *limits);
void rig_resize(uint64_t bytes, uint32_t flags);
void rig_advance_clock(uint64_t ns);

/*
 * Registers, counters, deadline and paused flag; and after a drain every call to the backing and
 * every byte of guest memory.
 */
void rig_expect_same(void);

#endif
