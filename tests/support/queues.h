/* SPDX-License-Identifier: MIT */
/*
 * A guest whose device has several queues: rings for each, and the driver's place in them.
 *
 * queues_aim() makes the guest's helpers (mock_guest.h) work on one queue's rings, until it is
 * called again; the others below aim where they are told. Rings lie above 0xe0000, so requests may
 * use the slots 0 to 99.
 */
#ifndef TESTS_SUPPORT_QUEUES_H
#define TESTS_SUPPORT_QUEUES_H

#include "mock_guest.h"

#define QUEUES_MAX 4u

struct queues {
	struct guest guest;
	unsigned count;
	unsigned aim;
	struct {
		uint16_t avail_idx;
		uint16_t next_desc;
	} place[QUEUES_MAX];
};

/* As guest_create, with `count` queues and all features. */
void queues_create(struct queues *queues, unsigned count, const struct guest_options *options,
		   struct vblk_backing *backing);
void queues_destroy(struct queues *queues);

/* From any state to FEATURES_OK, with MQ. */
void queues_negotiate(struct queues *queues);

/* Registers of one queue, which is ready then; FEATURES_OK is set. */
void queues_set_up(struct queues *queues, unsigned index);

/* All of it, and DRIVER_OK; does not look at what becomes of that. */
void queues_start(struct queues *queues);

/* Status := 0, and all rings in memory cleared. */
void queues_reset(struct queues *queues);

void queues_aim(struct queues *queues, unsigned index);
void queues_kick(struct queues *queues, unsigned index);

/* Reads of one sector, in slots of their own: `first_slot` and those that follow. */
void queues_read(struct queues *queues, unsigned index, unsigned first_slot, unsigned count);
uint16_t queues_used(struct queues *queues, unsigned index);

/* As guest_wait_used. */
bool queues_wait_used(struct queues *queues, unsigned index, uint16_t used);

#endif
