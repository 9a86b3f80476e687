/* SPDX-License-Identifier: MIT */
/*
 * The memory is there before the device says whether it takes tables of descriptors, so it is
 * enough for either layout.
 */
#include "station.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/size.h"
#include "driver/window.h"

#define PATIENCE_MS 60000u

void station_fail(const char *what, int error)
{
	if (error)
		fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
			strerror(-error));
	else
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
	exit(1);
}

uint64_t station_count(const char *option, uint64_t max)
{
	uint64_t count;

	if (cmd_count_parse(optarg, max, &count) || count == 0) {
		fprintf(stderr, "%s: --%s '%s': a number from 1 to %" PRIu64 " is wanted\n",
			program_invocation_short_name, option, optarg, max);
		exit(2);
	}
	return count;
}

size_t station_memory_size(uint32_t depth)
{
	const struct vblk_driver_traits with = { .queue_size = 256, .indirect = true };
	const struct vblk_driver_traits without = { .queue_size = 256 };
	struct vblk_driver_shape one, other;
	uint32_t most;

	if (vblk_driver_shape(&with, STATION_BLOCK, depth, &one, &most) ||
	    vblk_driver_shape(&without, STATION_BLOCK, depth, &other, &most))
		station_fail("too many requests in flight", 0);
	return one.bytes > other.bytes ? one.bytes : other.bytes;
}

void station_start(struct station *station, struct vblk_backing *backing,
		   enum vblk_engine_kind engine, uint32_t depth, void *memory)
{
	const struct vblk_device_options options = { .engine = engine };
	struct vblk_driver_shape shape;
	struct vblk_driver_place place;
	uint32_t most;
	int ret = vblk_device_create(&options, backing, &station->device);

	if (!ret)
		ret = vblk_window_open(station->device, engine, NULL, &station->transport);
	if (!ret)
		ret = vblk_driver_shape(&station->transport->traits, STATION_BLOCK, depth, &shape,
					&most);
	if (!ret)
		ret = vblk_driver_queue_init(&station->queue, station->transport, 0, &shape, memory,
					     VBLK_DRIVER_BASE, &place);
	if (!ret)
		ret = station->transport->ops->start(station->transport, -1, memory, shape.bytes,
						     &place, 1);
	if (ret)
		station_fail("a device cannot be started", ret);
}

void station_round(struct station *station, struct vblk_order *order)
{
	struct vblk_driver_queue *queue = &station->queue;
	struct vblk_driver_answer answer;

	for (uint32_t slot = 0; slot < queue->shape.depth; slot++) {
		const enum vblk_driver_kind kind = vblk_order_kind(order);

		vblk_driver_queue_submit(queue, slot, kind,
					 vblk_order_block(order) *
						 (STATION_BLOCK / VBLK_SECTOR_SIZE));
	}
	vblk_driver_queue_notify(queue);
	while (queue->in_flight > 0) {
		int ret = vblk_driver_queue_wait(queue, false, PATIENCE_MS);

		if (ret)
			station_fail("the device does not answer", ret);
		while (vblk_driver_queue_take(queue, &answer) > 0)
			if (answer.status != VIRTIO_BLK_S_OK)
				station_fail("a request fails", 0);
	}
}

void station_stop(struct station *station)
{
	station->transport->ops->close(station->transport);
	vblk_device_destroy(station->device);
	vblk_driver_queue_destroy(&station->queue);
}
