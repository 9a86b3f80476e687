/* SPDX-License-Identifier: MIT */
/*
 * A request on its way between guest memory and a disk, without a queue around it: what
 * request/flight.h and request/io.h need, and a look at what it did. The disk is memory, behind a
 * fault injector, behind a tape.
 *
 *     ram_create(&rig.ram, { 0, 0x10000 });
 *     io_rig_create(&rig, 4096, 0xab);
 *     io_rig_request(&rig, VIRTIO_BLK_T_IN, 0);
 *     io_rig_segment(&rig, 0x5000, 512);
 *     answer = io_rig_run(&rig);
 */
#ifndef TESTS_SUPPORT_IO_RIG_H
#define TESTS_SUPPORT_IO_RIG_H

#include "disk.h"
#include "ram.h"
#include "request/flight.h"
#include "tape.h"

#include <vblk/metrics.h>

struct io_rig {
	struct ram ram;		     /* made by the test, destroyed by io_rig_destroy */
	struct vblk_backing *plain;  /* the memory; look at it and fill it here */
	struct vblk_backing *faulty; /* the fault injector on it */
	struct tape tape;
	struct vblk_disk disk;
	struct vblk_lease lease;
	struct vblk_metrics *metrics;
	struct vblk_log_limit log_limit; /* fresh whenever the counters are */
	uint64_t now_ns;		 /* what it shows */
	unsigned warnings;
	char message[128]; /* the last one */
	struct vblk_io io;
	struct vblk_flight flight;
};

/* The disk: `size` bytes of `fill`. The serial number is "serial-0123456789-ab". */
void io_rig_create(struct io_rig *rig, uint64_t size, uint8_t fill);
void io_rig_destroy(struct io_rig *rig);

/* Lets the disk misbehave from now on; forgets tape, counters and warnings. */
void io_rig_faults(struct io_rig *rig, const struct vblk_faulty_rule *rules, size_t count);

/* Starts a request, and adds data to it. */
void io_rig_request(struct io_rig *rig, uint32_t type, uint64_t sector);
void io_rig_segment(struct io_rig *rig, uint64_t address, uint32_t length);

/* Moves the data, no more. */
struct vblk_transfer io_rig_transfer(struct io_rig *rig);

/* That, and the answer. */
struct vblk_answer io_rig_run(struct io_rig *rig);

/* Runs the request and expects this answer. */
#define io_rig_expect(rig, status, used_len) \
	io_rig_expect_at((rig), (status), (used_len), __FILE__, __LINE__)

/*
 * Expects all counters; those that are not named are 0. There is one warning for each error, and
 * none without.
 */
#define io_rig_counters(rig, ...)                                                           \
	io_rig_counters_at((rig), &(struct vblk_metrics_snapshot){ __VA_ARGS__ }, __FILE__, \
			   __LINE__)

void io_rig_expect_at(struct io_rig *rig, uint8_t status, uint32_t used_len, const char *file,
		      int line);
void io_rig_counters_at(struct io_rig *rig, const struct vblk_metrics_snapshot *want,
			const char *file, int line);

#endif
