/* SPDX-License-Identifier: MIT */
/*
 * A guest for benchmarks: a device on a disk in memory, and the driver's half of its queue, which
 * is kept full of reads.
 *
 * All reads are of one size and go to one buffer, for nobody looks at the data. A driver belongs
 * to one thread; what goes wrong ends the program with a message and status 1.
 */
#ifndef BENCH_DRIVER_H
#define BENCH_DRIVER_H

#include <vblk/vblk.h>

/* The largest read, in MiB: that many descriptors of 1 MiB. */
#define DRIVER_READ_MAX_MIB 128u

struct driver {
	struct vblk_device *device;
	uint8_t *ram;
	uint32_t read_bytes;
	uint16_t in_flight; /* always this many */
	uint16_t chain;	    /* descriptors of each */
	uint16_t avail_idx;
	uint16_t used_idx; /* answers taken */
};

/*
 * Makes a device with `throttle`, starts it, and fills its queue with reads of `read_bytes`, a
 * multiple of 512.
 */
void driver_start(struct driver *driver, const struct vblk_throttle *throttle, uint32_t read_bytes);

/*
 * Sleeps until there are `batch` answers (at most half of what is in flight is waited for), takes
 * all there are and makes as many new reads. Returns how many there were.
 */
unsigned driver_turn(struct driver *driver, unsigned batch);

struct vblk_metrics_snapshot driver_metrics(const struct driver *driver);

void driver_stop(struct driver *driver);

#endif
