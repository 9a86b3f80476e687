/* SPDX-License-Identifier: MIT */
/*
 * A device without a thread, in a loop that emulates a machine.
 *
 * With VBLK_ENGINE_INLINE the write of the guest to QueueNotify does the I/O before it returns, on
 * the thread of the emulator. A request that limits hold back stays in the queue; the emulator asks
 * when it may pass and calls again then. Here time is the emulator's own, so that nothing sleeps
 * and every run prints the same.
 */
#include "driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK_BYTES (1u << 20)
#define REQUESTS   4u

struct emulator {
	uint64_t now_ns; /* the emulated time */
	bool interrupt;	 /* the line of the emulated interrupt controller */
	struct vblk_device *device;
	struct driver guest;
};

static uint64_t emulated_time(void *context)
{
	return ((struct emulator *)context)->now_ns;
}

static void raise_interrupt(void *context)
{
	((struct emulator *)context)->interrupt = true;
}

/* Memory of the guest, a disk in memory, and a device on both. Returns 0 or a negative errno. */
static int create_device(struct emulator *emulator, struct vblk_memory *memory, void *ram)
{
	const struct vblk_device_options options = {
		.engine = VBLK_ENGINE_INLINE,
		.throttle = { .iops = 2 },
		.clock = emulated_time,
		.clock_context = emulator,
		.interrupt = raise_interrupt,
		.interrupt_context = emulator,
		.log = { vblk_log_to_stdio, NULL, VBLK_LOG_WARN },
	};
	struct vblk_backing *disk;
	int ret = vblk_memory_add_region(memory, 0, DRIVER_RAM, ram);

	if (ret)
		return ret;
	ret = vblk_backing_create_memory(DISK_BYTES, &disk);
	if (ret)
		return ret;
	ret = vblk_device_create(&options, disk, &emulator->device);
	/* The device has a reference of its own now, or there is no device. */
	vblk_backing_unref(disk);
	if (ret)
		return ret;
	return vblk_device_set_memory(emulator->device, memory);
}

/* What the guest does when it is interrupted: looks at the answers. */
static void serve_interrupt(struct emulator *emulator)
{
	const uint8_t *data;
	uint8_t status;

	emulator->interrupt = false;
	while (driver_take(&emulator->guest, &status, &data))
		printf("%4" PRIu64 " ms: request %u answered, status %u\n",
		       emulator->now_ns / 1000000, emulator->guest.taken, status);
}

/* The loop: interrupts first, then whatever is due next. Ends when nothing is. */
static void run(struct emulator *emulator)
{
	uint64_t deadline_ns;

	for (;;) {
		if (emulator->interrupt)
			serve_interrupt(emulator);
		if (!vblk_device_next_deadline(emulator->device, &deadline_ns))
			break;
		/* An emulator with other work does that first, or sleeps for so long. */
		if (deadline_ns > emulator->now_ns)
			emulator->now_ns = deadline_ns;
		vblk_device_run(emulator->device);
	}
}

static int emulate(struct emulator *emulator, uint8_t *ram)
{
	struct vblk_metrics_snapshot counters;
	int ret = driver_start(&emulator->guest, emulator->device, ram);

	if (ret)
		return ret;
	printf("status 0x%x, %" PRIu64 " bytes\n", vblk_device_status(emulator->device),
	       vblk_device_capacity(emulator->device));
	for (uint64_t sector = 0; sector < REQUESTS; sector++) {
		memset(driver_next_data(&emulator->guest), 'a', VBLK_SECTOR_SIZE);
		driver_offer(&emulator->guest, VIRTIO_BLK_T_OUT, sector);
	}
	driver_notify(&emulator->guest);
	run(emulator);

	vblk_metrics_read(vblk_device_metrics(emulator->device), &counters);
	printf("%" PRIu64 " writes, %" PRIu64 " bytes, waited for tokens %" PRIu64 " times\n",
	       counters.writes_completed, counters.bytes_written, counters.throttled);
	return counters.writes_completed == REQUESTS ? 0 : -1;
}

int main(void)
{
	struct emulator emulator = { 0 };
	struct vblk_memory *memory = NULL;
	uint8_t *ram = aligned_alloc(4096, DRIVER_RAM);
	int ret = ram ? vblk_memory_create(free, ram, &memory) : -1;

	if (ret)
		free(ram); /* from here on the map's release does that */
	if (!ret)
		ret = create_device(&emulator, memory, ram);
	if (!ret)
		ret = emulate(&emulator, ram);
	vblk_device_destroy(emulator.device);
	vblk_memory_unref(memory);
	if (ret)
		fprintf(stderr, "inline: failed: %d\n", ret);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
