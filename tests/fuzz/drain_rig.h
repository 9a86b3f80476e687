/* SPDX-License-Identifier: MIT */
/*
 * A drain with a guest and a disk around it, and somebody else to make its calls: what a program of
 * the drain fuzzer sets up, does, and may expect. drain_watch.h looks at the steps; this looks at
 * what is there between two.
 */
#ifndef TESTS_FUZZ_DRAIN_RIG_H
#define TESTS_FUZZ_DRAIN_RIG_H

#include <vblk/metrics.h>

#include "driver.h"
#include "request/drain.h"

/* In a[0] of a set-up. */
#define SETUP_ALONE	0x01u /* the drain makes its calls by itself */
#define SETUP_STRICT	0x02u
#define SETUP_READ_ONLY 0x04u
#define SETUP_STABLE	0x08u
#define SETUP_EVENT_IDX 0x10u
#define SETUP_RECORD	0x20u
#define SETUP_CONTINUES 0x40u
#define SETUP_PLAIN	0x80u /* a disk that cannot discard */

/* In a[4]. */
#define SETUP_NO_DISCARD 0x01u
#define SETUP_NO_ZEROES	 0x02u
#define SETUP_NO_GUARD	 0x04u

/* What may happen at any moment while the drain is at work. */
enum incident {
	INCIDENT_REVOKE, /* the lease */
	INCIDENT_LOSE,	 /* guest memory */
	INCIDENT_OTHERS, /* memory that is no concern of ours is lost */
	INCIDENT_YIELD,	 /* the drain is to end */
	INCIDENT_GO_ON,	 /* or not any more */
	INCIDENT_OFFER,	 /* the driver makes one more chain available */
	INCIDENT_CLOCK,	 /* time passes */
	INCIDENT_LAND,	 /* calls land */
	INCIDENTS,
};

#define RIG_INCIDENTS 4u

struct drain_rig {
	struct driver driver;
	struct vblk_drain drain;
	uint64_t tick_ns; /* by so much the clock moves whenever it is read */
	uint64_t wait_ns; /* what the last run said, if it waits for tokens; else 0 */
};

extern struct drain_rig drain_rig;

void drain_rig_init(void);

/*
 * A drain for a new program.
 *
 * a[0]  SETUP_*
 * a[1]  size of the queue
 * a[2]  0-4 log2 of batch_ns; 5-7 what of the rings lies elsewhere: nothing, descriptors,
 *       available, used ring, nowhere at all
 * a[3]  0-3 log2 of poll_ns
 * a[4]  SETUP_NO_*
 * a[5], a[6]  where that lies, as of driver_address
 */
void drain_rig_begin(const uint8_t a[7]);

/* Everything lands; what has to hold then is looked at, and all is given back. */
void drain_rig_end(void);

/* The drain's functions. */
void drain_rig_run(void);
void drain_rig_land(void);
void drain_rig_settle(void);

/*
 * The drain ends, and another goes on. a[0] which of the first 8 heads are on record that were not,
 * or are not any more; a[1] odd: the record is unusable; a[2] from where else in the ring.
 */
void drain_rig_renew(const uint8_t a[3]);

/* Another queue of the disk wants tokens for so many bytes, or none any more. */
void drain_rig_compete(uint64_t bytes);
void drain_rig_give_up(void);

void drain_rig_set_throttle(const struct vblk_throttle *limits);

/*
 * An incident. `when`: 0-5 after so many moments, or now; 6-7 which of them count: all, those of
 * the record, of calls, others.
 */
void drain_rig_plan(enum incident incident, uint8_t when, uint8_t detail);

#endif
