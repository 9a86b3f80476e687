/* SPDX-License-Identifier: MIT */
/*
 * Start, stop, reset and what changes a device while it runs: the engines, one for each queue, run
 * from the moment the driver sets DRIVER_OK (and memory is bound) to the next reset. They share
 * nothing but the disk and the port, and are started and stopped together.
 *
 * With the inline engine a drain runs on our stack, and what it calls may come back to us: so a
 * loop over the queues looks after each of them whether it is still wanted.
 *
 * A device whose worker could not be stopped is dead. The old worker's last write may still be on
 * its way to the disk and could land on newer data, so no other worker may follow it; a driver
 * that tries again is told NEEDS_RESET instead of being left waiting.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "device/device.h"

static void describe(const struct vblk_device *device, uint16_t index,
		     struct vblk_drain_config *config)
{
	*config = (struct vblk_drain_config){
		.disk = device->disk,
		.rules = vblk_rules_negotiated(device->disk, device->accepted),
		.stable_writes = vblk_writes_are_stable(device->accepted),
		.memory = device->memory,
		.port = device->port,
		.layout = device->queue[index].layout,
		.event_idx = device->accepted >> VIRTIO_RING_F_EVENT_IDX & 1,
		.index = index,
	};
}

static int start_queue(struct vblk_device *device, uint16_t index)
{
	struct vblk_engine_host host = {
		.lost = device->worker_lost,
		.lost_context = device->worker_lost_context,
		.busy = &device->busy,
	};
	struct vblk_drain_config config;

	describe(device, index, &config);
	vblk_cpus_deal(&device->cpus, index, device->queue_count, &host.cpus);
	return vblk_engine_start(device->queue[index].engine, &config, &host);
}

/* A reset from within the first queue's drain ends what it was started for. */
static int start_queues(struct vblk_device *device)
{
	uint32_t life = device->lives;
	int ret = start_queue(device, 0);

	for (uint16_t i = 1; i < device->queue_count && ret == 0 && device->lives == life; i++) {
		if (device->queue[i].layout.ready)
			ret = start_queue(device, i);
	}
	return ret;
}

static void report_loss(struct vblk_device *device, int error)
{
	if (device->worker_lost)
		device->worker_lost(device->worker_lost_context, error);
}

/*
 * All are told before one is waited for: they end while the slowest does, and when that one has
 * used up the time, a look at the others is enough.
 */
void vblk_device_stop(struct vblk_device *device)
{
	uint64_t deadline_ns = vblk_clock_in_ms(device->stop_timeout_ms);
	int error = 0;

	device->paused = false;
	for (uint16_t i = 0; i < device->queue_count; i++)
		vblk_engine_ask_to_stop(device->queue[i].engine);
	for (uint16_t i = 0; i < device->queue_count; i++) {
		int ret =
			vblk_engine_stop(device->queue[i].engine, vblk_clock_ms_until(deadline_ns));

		if (ret < 0)
			error = ret;
	}
	if (error == 0)
		return;
	device->dead = true;
	report_loss(device, error);
}

/* Returns whether one acknowledgement follows, for all queues together. */
static bool pause_queues(struct vblk_device *device)
{
	bool follows = false;

	device->paused = true;
	vblk_park_hold_ack(device->park);
	for (uint16_t i = 0; i < device->queue_count; i++)
		follows |= vblk_engine_pause(device->queue[i].engine);
	vblk_park_release_ack(device->park);
	return follows;
}

/*
 * NEEDS_RESET comes last: with the inline engine its interrupt may reset the device, and whatever
 * came behind that would be said of another life.
 */
int vblk_device_start(struct vblk_device *device)
{
	int ret;

	if (!(vblk_device_status(device) & VIRTIO_CONFIG_S_DRIVER_OK) || !device->memory)
		return 0;
	if (device->dead) {
		vblk_device_log_guest(device, VBLK_LOG_ERROR,
				      "driver started a device whose worker was abandoned");
		vblk_port_set_needs_reset(device->port);
		return -EIO;
	}
	vblk_throttle_group_refill(device->disk->throttle);
	ret = start_queues(device);
	if (ret == 0)
		return 0;
	vblk_device_stop(device); /* those that were started */
	vblk_device_log_guest(device, VBLK_LOG_ERROR, "cannot start the worker",
			      VBLK_FIELD_INT("error", ret));
	report_loss(device, ret);
	vblk_port_set_needs_reset(device->port);
	return ret;
}

void vblk_device_reset_queues(struct vblk_device *device)
{
	for (uint16_t i = 0; i < device->queue_count; i++) {
		struct vblk_device_queue *queue = &device->queue[i];

		vblk_queue_layout_reset(&queue->layout, VBLK_DEVICE_QUEUE_SIZE);
		atomic_store_explicit(&queue->ready, false, memory_order_relaxed);
	}
	atomic_store_explicit(&device->queues_found, device->queue_count, memory_order_relaxed);
}

void vblk_device_reset(struct vblk_device *device)
{
	atomic_store_explicit(&device->device_features_sel, 0, memory_order_relaxed);
	atomic_store_explicit(&device->driver_features_sel, 0, memory_order_relaxed);
	atomic_store_explicit(&device->queue_sel, 0, memory_order_relaxed);
	device->accepted = 0;
	device->lives++;
	atomic_fetch_add_explicit(&device->config_generation, 1, memory_order_release);
	vblk_device_stop(device);
	vblk_device_reset_queues(device);
	/* Nobody drains any more: from here on nothing can set what is cleared. */
	for (uint16_t i = 0; i < device->queue_count; i++)
		vblk_engine_forget(device->queue[i].engine);
	vblk_port_reset(device->port);
	vblk_config_start(device->disk, 0);
	atomic_store_explicit(&device->unbound_warned, false, memory_order_relaxed);
}

bool vblk_device_pause(struct vblk_device *device)
{
	bool follows;

	vblk_device_lock(device);
	follows = pause_queues(device);
	vblk_device_unlock(device);
	return follows;
}

/*
 * A queue that is served within this call may pause the device again: then the others, which are
 * paused still, stay so.
 */
bool vblk_device_resume(struct vblk_device *device)
{
	bool live = false;

	vblk_device_lock(device);
	device->paused = false;
	for (uint16_t i = 0; i < device->queue_count && !device->paused; i++)
		live |= vblk_engine_resume(device->queue[i].engine);
	vblk_device_unlock(device);
	return live;
}

bool vblk_device_is_paused(const struct vblk_device *device)
{
	return vblk_park_is_paused(device->park);
}

int vblk_device_wait_paused(struct vblk_device *device, uint32_t timeout_ms)
{
	return vblk_park_wait(device->park, timeout_ms);
}

int vblk_device_set_parked_fd(struct vblk_device *device, int fd)
{
	return vblk_park_set_fd(device->park, fd);
}

struct vblk_park *vblk_device_park(const struct vblk_device *device)
{
	return device->park;
}

int vblk_device_set_throttle(struct vblk_device *device, const struct vblk_throttle *throttle)
{
	struct vblk_throttle_problem problem;
	int ret = vblk_throttle_validate(throttle, &problem);

	if (ret < 0)
		return ret;
	vblk_device_lock(device);
	vblk_throttle_group_change(device->disk->throttle, throttle);
	for (uint16_t i = 0; i < device->queue_count; i++)
		vblk_engine_retry(device->queue[i].engine);
	vblk_device_unlock(device);
	return 0;
}

/*
 * The capacity is read in two halves, with the generation before and behind. Size and generation
 * change at once for those who read, or halves of two sizes could pass for one.
 */
static void change_capacity(struct vblk_device *device, uint64_t capacity_bytes)
{
	vblk_device_config_lock(device);
	vblk_disk_set_capacity(device->disk, capacity_bytes);
	atomic_fetch_add_explicit(&device->config_generation, 1, memory_order_release);
	vblk_device_config_unlock(device);
}

int vblk_device_resize(struct vblk_device *device, uint64_t capacity_bytes, uint32_t flags)
{
	int ret;

	if (flags & ~VBLK_RESIZE_SHRINK)
		return -EINVAL;
	vblk_device_lock(device);
	ret = vblk_disk_prepare_resize(device->disk, capacity_bytes, flags & VBLK_RESIZE_SHRINK);
	if (ret == 0) {
		change_capacity(device, capacity_bytes);
		if (vblk_device_status(device) & VIRTIO_CONFIG_S_DRIVER_OK)
			vblk_port_set_config_changed(device->port);
	}
	vblk_device_unlock(device);
	return ret;
}

int vblk_device_set_placement(struct vblk_device *device, const struct vblk_placement *placement)
{
	int ret;

	vblk_device_lock(device);
	ret = vblk_cpus_from_placement(placement, &device->cpus);
	vblk_device_unlock(device);
	return ret;
}
