/* SPDX-License-Identifier: MIT */
/*
 * What the threads of a run share.
 *
 *     main         opens and closes the gate, counts descriptors, threads and memory, reports
 *     driver N     plays the driver of device N, and creates and destroys it
 *     controller   freezes, pauses, changes limits, makes the disks fail and hang
 *     meddler      pauses and resumes without any order
 *     storm N      notifies and reads registers as fast as it can, now and then
 *
 * Locks, in the order in which they are taken:
 *     station.pauses   read: to pause and resume; write: nobody else does
 *     station.alive    read: to use a device from outside; write (its driver): create, destroy
 *     the others are held for a few lines only
 */
#ifndef TESTS_SOAK_SOAK_H
#define TESTS_SOAK_SOAK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gate.h"

#define SOAK_STORMS	 2u
#define SOAK_DEVICES_MAX 64u

struct soak_options {
	uint64_t seed;
	uint64_t seconds;
	uint64_t cycles; /* end not before so many resets and so many pauses; 0: by time alone */
	uint32_t devices;
	uint32_t limit_s; /* a request that takes longer is lost */
	bool quiet;
};

/* What has been done so far. */
struct soak_counts {
	_Atomic uint64_t resets;   /* of devices with a running worker */
	_Atomic uint64_t pauses;   /* that promised an acknowledgement */
	_Atomic uint64_t freezes;  /* of whole machines, and of one device with a look at memory */
	_Atomic uint64_t requests; /* that were answered */
	_Atomic uint64_t taken;	   /* that a reset took */
	_Atomic uint64_t verified; /* bytes */
	_Atomic uint64_t faults;   /* requests that failed because the disk did */
	_Atomic uint64_t limits;   /* changes of the throttle */
	_Atomic uint64_t waits;	   /* for tokens */
	_Atomic uint64_t detaches; /* workers that hung and were given up */
	_Atomic uint64_t devices;  /* created */
	_Atomic uint64_t storms;
};

struct soak {
	struct soak_options options;
	struct soak_counts counts;
	struct gate gate;
	int parked_fd;		   /* all devices acknowledge their pauses here */
	_Atomic uint64_t promised; /* acknowledgements */
	uint64_t received;	   /* of them; the controller's, and main's at the gate */
	atomic_uint storms;	   /* threads that are there for storms */
	atomic_bool storm;	   /* one is on */
	atomic_bool stop;
	struct station *station; /* options.devices of them */
};

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t soak_now(void);
void soak_sleep_us(uint32_t us);

static inline void soak_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline uint64_t soak_counted(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Takes what has arrived at parked_fd. Fails the run if it is more than was promised. */
void soak_take_acks(struct soak *soak);

/* Threads; they end when soak.stop is set at the gate. */
void *soak_driver(void *argument);     /* a struct station */
void *soak_controller(void *argument); /* a struct soak, as for the two below */
void *soak_meddler(void *argument);
void *soak_storm(void *argument);

#endif
