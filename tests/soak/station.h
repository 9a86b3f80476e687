/* SPDX-License-Identifier: MIT */
/*
 * A device, its disk, and its driver.
 *
 * The disk and its model are there for the whole run; devices come and go. All functions are the
 * driver thread's but for those that say otherwise.
 */
#ifndef TESTS_SOAK_STATION_H
#define TESTS_SOAK_STATION_H

#include <pthread.h>
#include <vblk/vblk.h>

#include "disk.h"
#include "request.h"
#include "ring.h"
#include "rng.h"
#include "soak.h"

#define STATION_DISK_SECTORS 4096u
#define STATION_TAIL_MAX     64u /* sectors that a device has beyond its disk's end */
#define STATION_SERIAL_ROOM  21u

struct station {
	struct soak *soak;
	unsigned index;
	struct rng rng;
	struct disk disk;
	struct vblk_backing *base;
	char serial[STATION_SERIAL_ROOM];
	uint8_t *scratch; /* REQUEST_DATA_MAX bytes */
	uint8_t *still;	  /* a copy of all guest memory */

	/* How other threads call the driver. */
	int wake_fd;
	atomic_bool nudged;  /* reset at once */
	atomic_bool patient; /* no: it waits for answers, however long it takes */
	pthread_mutex_t rest_lock;
	pthread_cond_t rest_changed;
	bool rest_wanted;
	bool resting;

	/* What other threads may use, under `alive`. */
	pthread_rwlock_t pauses;
	pthread_rwlock_t alive;
	struct vblk_device *device;
	struct vblk_backing *faulty; /* the device's backing, on `base` */
	bool may_hang;		     /* and so has a short stop timeout */
	bool stormy;		     /* others may notify */
	bool fickle;		     /* others may change its limits */
	atomic_uint epoch;	     /* moves before and after each reset and destroy */
	atomic_uint fault_period;    /* odd: the disk may fail requests */
	atomic_bool lost;	     /* the device has given a worker up */

	/* The driver's. */
	struct ram *ram;
	unsigned queues; /* of the device */
	unsigned rings;	 /* that are in use, from the first on */
	struct ring ring[RAM_RINGS_MAX];
	struct request_scene scene;
	struct request_sums sums;
	struct request request[REQUESTS_MAX];
	/* Index of the request that is in flight with that head in that ring. */
	uint8_t by_head[RAM_RINGS_MAX][RING_SIZE_MAX];
	unsigned in_flight;
	uint32_t generation; /* of the configuration space */
	bool running;	     /* from DRIVER_OK to reset or destroy */
};

void station_init(struct station *station, struct soak *soak, unsigned index);
void station_destroy(struct station *station);

/* --- device.c: the life of a device --- */
void station_create_device(struct station *station);

/*
 * From status 0 to DRIVER_OK, with `early` requests made available before that; the device has to
 * find them by itself.
 */
void station_start(struct station *station, unsigned early);

/* Status := 0, and a look at what it left. Returns false if the worker was lost. */
VBLK_MUST_USE bool station_reset(struct station *station);

/* Also of a device that runs. Waits for a lost worker to go. */
void station_destroy_device(struct station *station);

/* Compares the whole disk with its model, while there is no device. */
void station_verify_disk(struct station *station);

/* --- traffic.c: requests --- */

/* Makes up to `count` requests available. The device need not have been told. */
void station_submit(struct station *station, unsigned count);

/* Tells the device of each ring for which it wants to be told. */
void station_notify(struct station *station);

/* Takes what has been answered in all rings. Returns how many. */
unsigned station_harvest(struct station *station);

/* Waits for an interrupt, but no longer than a request may take. False: the driver was called. */
VBLK_MUST_USE bool station_wait(struct station *station);

/* Fails the run if a request in flight is too old. */
void station_check_age(struct station *station);

/* After a reset or destroy: what was answered counts, the rest is in doubt. */
void station_settle(struct station *station);

/* Counters against what the driver has seen; exact, because nothing runs. */
void station_check_metrics(struct station *station, const struct vblk_metrics *metrics);

uint32_t station_read(struct station *station, uint64_t offset);
void station_write(struct station *station, uint64_t offset, uint32_t value);

/* --- rest.c: stopping a driver between two of its steps --- */

/* By other threads. False: the gate was closed meanwhile, and the driver does not rest. */
VBLK_MUST_USE bool station_freeze(struct station *station);
void station_thaw(struct station *station);

/* Makes the driver reset its device, soon, unless it is patient. */
void station_nudge(struct station *station);

/* By the driver: rests if that is wanted. */
void station_attend(struct station *station);

#endif
