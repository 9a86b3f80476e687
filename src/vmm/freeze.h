/* SPDX-License-Identifier: MIT */
/*
 * The freeze coordinator: brings a whole machine to rest, vCPUs and devices, and lets it go on.
 *
 * Who has to rest is a party, numbered: first the vCPUs, then the devices. Each acknowledges its
 * rest on one descriptor that all share, so there is one thing to wait for and nobody is polled.
 * The count of acknowledgements says when to look; what is believed is the flag of each party. It
 * can differ: a guest that resets a device at the last moment ends the pause that was
 * acknowledged, and a vCPU that had not left the last rest counts twice.
 *
 * Two limits (VMM_FREEZE_DEVICE_NS, VMM_FREEZE_ALL_NS). A device may hang in its file for as long
 * as the host likes, and that is when a dump is wanted most: it is left out after the first, if two
 * looks in a row find it busy. Everybody else has until the second; then the freeze is given up and
 * all are released.
 *
 * Pure: what touches the world is in the operations, and the clock is handed in. One thread.
 */
#ifndef VMM_FREEZE_H
#define VMM_FREEZE_H

#include "base/clock.h"
#include "vmm/error.h"
#include "vmm/vmm.h"

#define VMM_FREEZE_PARTIES   (VMM_MAX_CPUS + VMM_MAX_DISKS)
#define VMM_FREEZE_DEVICE_NS (1 * VBLK_NSEC_PER_SEC)
#define VMM_FREEZE_ALL_NS    (30 * VBLK_NSEC_PER_SEC)

struct vmm_freeze_ops {
	/* Forgets acknowledgements of the past. */
	void (*clear)(void *context);
	/*
	 * Asks a party to rest; again and again is harmless. Returns true if exactly one
	 * acknowledgement follows; false if none does, or one that was promised before.
	 */
	bool (*ask)(void *context, unsigned int party);
	/* The party's flag, read with acquire order; it is set before it is acknowledged. */
	bool (*is_parked)(void *context, unsigned int party);
	/* Lets it go on. */
	void (*release)(void *context, unsigned int party);
	/*
	 * Waits for acknowledgements, for `timeout_ns` at most, and says how many there were.
	 * Returns 0; or -ECANCELED if somebody wants something else of the machine by now.
	 */
	int (*wait)(void *context, uint64_t timeout_ns, uint64_t *count);
};

struct vmm_freeze {
	const struct vmm_freeze_ops *ops;
	void *context;
	const struct vblk_clock *clock; /* NULL: CLOCK_MONOTONIC */
	unsigned int vcpus;		/* at most VMM_MAX_CPUS */
	unsigned int devices;		/* at most VMM_MAX_DISKS */

	/* Of the freeze in hand. */
	uint64_t start_ns;
	uint64_t expected; /* acknowledgements */
	uint64_t count;
	uint64_t left_out; /* a bit for each party */
	bool first_limit_is_over;
};

/*
 * Returns 0 with `report` filled in: all are at rest but those that it names as left out. Or
 * -ETIMEDOUT or -ECANCELED with `error` filled in, which names who was missing; then all have been
 * released.
 */
VBLK_MUST_USE int vmm_freeze_all(struct vmm_freeze *freeze, struct vmm_freeze_report *report,
				 struct vmm_error *error);

/*
 * Lets all go on, and waits for nobody: who has not left when the next freeze begins stays where
 * it is, and is counted from its start.
 */
void vmm_thaw_all(struct vmm_freeze *freeze);

#endif
