/* SPDX-License-Identifier: MIT */
/*
 * Threads that do what no vCPU needs to do: notify thousands of times, read registers while
 * others write them. Only while the controller has a storm on, and notifications only to devices
 * that are meant for it: elsewhere they would cover up a notification that the device has lost.
 */
#include <linux/virtio_mmio.h>

#include "base/eventfd.h"
#include "base/le.h"
#include "fail.h"
#include "station.h"

#define BURST_MAX 200u

/* Of any queue, whether the driver uses it or not. */
static void notify(struct station *station, struct rng *rng)
{
	uint32_t queue = rng_below(rng, station->queues);
	uint8_t value[4];

	vblk_le32_put(value, queue);
	if (rng_chance(rng, 2))
		vblk_mmio_write(station->device, VIRTIO_MMIO_QUEUE_NOTIFY, value, sizeof(value));
	else if (vblk_eventfd_signal(vblk_device_kick_fd(station->device, queue)) < 0)
		soak_fail("the kick of device %u cannot be signalled", station->index);
}

/* Registers that never change, read while the driver resets the device and sets it up. */
static void look(struct station *station, struct rng *rng)
{
	uint8_t data[8];

	switch (rng_below(rng, 3)) {
	case 0:
		vblk_mmio_read(station->device, VIRTIO_MMIO_MAGIC_VALUE, data, 4);
		if (vblk_le32_get(data) != 0x74726976)
			soak_fail("device %u has lost its magic", station->index);
		break;
	case 1:
		vblk_mmio_read(station->device, VIRTIO_MMIO_CONFIG, data, 8);
		if (vblk_le64_get(data) * VBLK_SECTOR_SIZE != vblk_device_capacity(station->device))
			soak_fail("device %u has changed its capacity", station->index);
		break;
	default:
		vblk_mmio_read(station->device, VIRTIO_MMIO_STATUS, data, 4);
		if (vblk_le32_get(data) > 0xff)
			soak_fail("device %u has an impossible Status", station->index);
	}
}

static void burst(struct station *station, struct rng *rng)
{
	unsigned times = rng_between(rng, 1, BURST_MAX);

	pthread_rwlock_rdlock(&station->alive);
	for (; station->device && times > 0; times--) {
		if (station->stormy)
			notify(station, rng);
		if (rng_chance(rng, 4))
			look(station, rng);
	}
	pthread_rwlock_unlock(&station->alive);
}

void *soak_storm(void *argument)
{
	struct soak *soak = argument;
	struct rng rng;

	rng_init(&rng, soak->options.seed, 1000 + atomic_fetch_add(&soak->storms, 1));
	for (;;) {
		if (gate_is_closed(&soak->gate)) {
			gate_pass(&soak->gate);
			if (atomic_load(&soak->stop))
				return NULL;
		}
		if (!atomic_load(&soak->storm)) {
			soak_sleep_us(1000);
			continue;
		}
		burst(&soak->station[rng_below(&rng, soak->options.devices)], &rng);
		soak_count(&soak->counts.storms, 1);
	}
}
