/* SPDX-License-Identifier: MIT */
/*
 * Looking into a device. Each answer is put together in a structure of this version and copied as
 * far as the caller's reaches.
 */
#include <vblk/inspect.h>

#include <errno.h>
#include <string.h>

#include "device/device.h"

/* The first version of each structure ended with this. */
#define DEVICE_SIZE_MIN (offsetof(struct vblk_device_state, throttle_waiting) + sizeof(uint32_t))
#define QUEUE_SIZE_MIN	(offsetof(struct vblk_queue_state, request_count) + sizeof(size_t))

static void look_at_limits(struct vblk_device *device, struct vblk_device_state *state)
{
	struct vblk_throttle_levels levels;

	vblk_throttle_group_get(device->disk->throttle, &state->throttle);
	vblk_throttle_group_levels(device->disk->throttle, &levels);
	state->throttle_operations = levels.operations;
	state->throttle_bytes = levels.bytes;
	state->throttle_waiting = levels.waiting;
}

int vblk_device_inspect(struct vblk_device *device, struct vblk_device_state *state)
{
	struct vblk_device_state now = { .size = state->size };

	if (state->size < DEVICE_SIZE_MIN)
		return -EINVAL;
	now.instance = device->disk->instance;
	now.status = vblk_device_status(device);
	now.interrupt_status = vblk_device_interrupt_status(device);
	now.config_generation = vblk_device_config_generation(device);
	now.features_offered = device->offered;
	now.capacity_bytes = vblk_device_capacity(device);
	now.queues = device->queue_count;
	now.read_only = device->disk->read_only;
	now.paused = vblk_device_is_paused(device);
	look_at_limits(device, &now);
	vblk_device_lock(device);
	now.features_accepted = device->accepted;
	now.dead = device->dead;
	vblk_device_unlock(device);
	memcpy(state, &now, state->size < sizeof(now) ? state->size : sizeof(now));
	return 0;
}

int vblk_device_inspect_queue(struct vblk_device *device, uint32_t queue,
			      struct vblk_queue_state *state)
{
	const struct vblk_device_queue *looked_at;
	struct vblk_queue_state now = { 0 };

	if (state->size < QUEUE_SIZE_MIN || queue >= device->queue_count)
		return -EINVAL;
	looked_at = &device->queue[queue];
	now.size = state->size;
	now.requests = state->requests;
	now.request_room = state->request_room;
	vblk_device_lock(device);
	now.desc = looked_at->layout.desc;
	now.avail = looked_at->layout.avail;
	now.used = looked_at->layout.used;
	now.entries = looked_at->layout.size;
	now.ready = looked_at->layout.ready;
	vblk_engine_inspect(looked_at->engine, &now);
	vblk_device_unlock(device);
	memcpy(state, &now, state->size < sizeof(now) ? state->size : sizeof(now));
	return 0;
}
