/* SPDX-License-Identifier: MIT */
/*
 * requests COUNT [read|write]: so many requests of 4 KiB, 32 at a time, to a disk in memory whose
 * device is served by the thread that notifies it. Nothing is measured here:
 * scripts/bench-instructions runs it under callgrind, which counts what happens within
 * vblk_mmio_write, and with that the device alone and not the driver.
 */
#include "station.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/size.h"

#define DEPTH	  32u
#define DISK_SIZE (16u << 20)
#define COUNT_MAX 100000000u

int main(int argc, char **argv)
{
	struct vblk_order order = { .blocks = DISK_SIZE / STATION_BLOCK, .random = true };
	struct vblk_backing *backing;
	struct station station;
	uint64_t count = 0;
	void *memory;

	if (argc < 2 || argc > 3 || cmd_count_parse(argv[1], COUNT_MAX, &count) || count == 0 ||
	    (argc == 3 && strcmp(argv[2], "read") != 0 && strcmp(argv[2], "write") != 0)) {
		fprintf(stderr, "requests: usage: requests COUNT [read|write], COUNT up to %u\n",
			COUNT_MAX);
		return 2;
	}
	order.read_percent = argc == 3 && argv[2][0] == 'w' ? 0 : 100;
	vblk_order_init(&order, 0);
	memory = aligned_alloc(4096, station_memory_size(DEPTH));
	if (!memory || vblk_backing_create_memory(DISK_SIZE, &backing))
		station_fail("no memory", 0);
	memset(memory, 0, station_memory_size(DEPTH));
	station_start(&station, backing, VBLK_ENGINE_INLINE, DEPTH, memory);
	for (uint64_t done = 0; done < count; done += DEPTH)
		station_round(&station, &order);
	station_stop(&station);
	vblk_backing_unref(backing);
	free(memory);
	return 0;
}
