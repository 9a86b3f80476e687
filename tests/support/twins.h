/* SPDX-License-Identifier: MIT */
/*
 * One driver, two front ends: the same guest twice, with a device behind the register window and
 * its inline engine, and with one behind a vhost-user session and a worker. Whatever is done is
 * done to both, and a driver must not be able to tell them apart.
 *
 * A program is a row of records of TWINS_RECORD bytes: what to do, and seven arguments. All records
 * are legal. A unit test makes them from random numbers, a fuzzer from its input. What differs, or
 * breaks a promise on both sides, fails the test that runs (fail_msg), by a line that begins with
 * "difference:" and names program and step.
 *
 * No time passes but what a program lets pass, and nobody sleeps: the worker has done all it can
 * when a step returns (guest_vhost.c).
 */
#ifndef TESTS_SUPPORT_TWINS_H
#define TESTS_SUPPORT_TWINS_H

#include "mock_guest.h"

#define TWINS_RECORD 8u

/*
 * What a step does and what its arguments a[0..6] mean.
 *
 * REQUEST    a[0] type; a[1] length of its data; a[2] sector; a[3] from 208 on, what is wrong with
 *            one of its descriptors, a[4..5] by how much, or for ranges their length and flags;
 *            a[6] 0-2 where it is laid out, 3 indirect, 4 not offered, 5 notify, 6 offered twice,
 *            5-7: the head is a[4..5]
 * NOTIFY     a[0] odd: used_event is set before, a[1] to how far ahead of used.idx
 * POKE       a[0..1] where in memory, a[2] how many, a[3..6] bytes
 * DESC       a[0] which, a[1..2] address, a[3..4] length, a[5] flags, a[6] next
 * OFFER      a[0..1] head
 * AVAIL_IDX  a[0..1] how far it moves
 * WRITEBACK  a[0] what is written to the byte of the write cache
 * RESIZE     a[0] to which size, a[1] 0 mod 3: it may not shrink
 * FAULT      the disk's only one: a[0] operation, a[1] what happens, a[2] value, a[3] first, a[4]
 *            every, a[5] count
 * PAUSE, RESUME
 * THROTTLE   a[0..1] iops, a[2..3] 512 bytes per second
 * CLOCK      a[0] milliseconds that pass, times 2^(a[1] % 8); then who waits for tokens looks
 * RESTART    the owner stops the queue and lets it go on
 * RESET      a[0] features that are left out; the driver starts anew with empty rings
 */
enum twins_op {
	TWINS_REQUEST,
	TWINS_NOTIFY,
	TWINS_POKE,
	TWINS_DESC,
	TWINS_OFFER,
	TWINS_AVAIL_IDX,
	TWINS_WRITEBACK,
	TWINS_RESIZE,
	TWINS_FAULT,
	TWINS_PAUSE,
	TWINS_RESUME,
	TWINS_THROTTLE,
	TWINS_CLOCK,
	TWINS_RESTART,
	TWINS_RESET,
	TWINS_OPS,
};

/* What a disk is like, for twins_create. */
#define TWINS_READ_ONLY 0x01u
#define TWINS_STRICT	0x02u /* VBLK_UNDELIVERABLE_NEEDS_RESET */
#define TWINS_BASE	0x04u /* VBLK_FEATURES_BASE */

#define TWINS_SIDES 2u

struct twins {
	struct guest g[TWINS_SIDES]; /* the register window, vhost-user */
	struct vblk_backing *disk[TWINS_SIDES];
	struct vblk_metrics_snapshot before[TWINS_SIDES]; /* counters that were looked at last */
	struct vblk_throttle limits;
	uint64_t interrupts; /* that were taken so far, of each */
	uint64_t changes;    /* of the configuration */
	uint64_t errors_at_reset;
	uint8_t left_out; /* features */
	uint32_t status;
	unsigned in_ring; /* slots that were offered, a bit each */
	bool paused;
	bool notified;	  /* since it was paused */
	bool looked;	  /* at all that was offered */
	bool wild;	  /* what is in the rings is more than what was offered */
	unsigned program; /* what failures call it */
	unsigned step;
};

/* Sets all but `program`. Both start with the features that `left_out` (as of RESET) leaves. */
void twins_create(struct twins *twins, uint8_t kind, uint8_t left_out);

/* Does a step, and looks for a difference. */
void twins_step(struct twins *twins, const uint8_t record[TWINS_RECORD]);

/* Compares the disks, and frees all. */
void twins_destroy(struct twins *twins);

#endif
