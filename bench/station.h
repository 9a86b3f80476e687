/* SPDX-License-Identifier: MIT */
/*
 * A device in this process with a driver of its own (src/driver), for programs that measure the
 * device. What goes wrong ends the program with a message and status 1. A station belongs to one
 * thread.
 */
#ifndef BENCH_STATION_H
#define BENCH_STATION_H

#include <vblk/vblk.h>

#include "driver/order.h"

#define STATION_BLOCK 4096u

struct station {
	struct vblk_device *device;
	struct vblk_driver_transport *transport;
	struct vblk_driver_queue queue;
};

/* Bytes of memory that a station with so many requests in flight shares with its device. */
size_t station_memory_size(uint32_t depth);

/* Starts a device on `backing`. The memory is zero, on a page, and outlives the station. */
void station_start(struct station *station, struct vblk_backing *backing,
		   enum vblk_engine_kind engine, uint32_t depth, void *memory);

/* Makes `depth` requests, notifies the device once, and takes all answers. */
void station_round(struct station *station, struct vblk_order *order);

void station_stop(struct station *station);

/* Ends the program: prints NAME and the text, with the meaning of `error` unless it is 0. */
__attribute__((noreturn)) void station_fail(const char *what, int error);

/* getopt's value of `option`, a number from 1 to `max`; ends the program, with status 2, if not. */
uint64_t station_count(const char *option, uint64_t max);

#endif
