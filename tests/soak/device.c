/* SPDX-License-Identifier: MIT */
/*
 * The life of a device as its driver sees it, with what must hold at each turn: a device that was
 * reset is silent, one that lost its worker says so and serves nobody, and one that was destroyed
 * has let go of everything, at the latest when its lost worker has gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backing/backing.h"
#include "backing/faulty.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/eventfd.h"
#include "fail.h"
#include "station.h"

/* Long enough for a busy machine: a worker that is lost all the same is a defect. */
#define STOP_MS_SURE 30000u

/* Short, so that hanging disks cost little time. */
#define STOP_MS_HANGING 40u

static void on_log(void *context, enum vblk_log_level level, const char *message,
		   const struct vblk_log_field *fields, size_t count)
{
	const struct station *station = context;

	(void)fields;
	(void)count;
	if (level == VBLK_LOG_ERROR && !station->may_hang)
		soak_fail("device %u logs an error: %s", station->index, message);
	if (strstr(message, "poisoned"))
		soak_fail("device %u: %s", station->index, message);
}

static void on_worker_lost(void *context, int error)
{
	struct station *station = context;

	if (error != -ETIMEDOUT)
		soak_fail("device %u cannot start its worker: %s", station->index,
			  strerror(-error));
	if (!station->may_hang)
		soak_fail("device %u lost its worker, and its disk did not hang", station->index);
	atomic_store(&station->lost, true);
}

static void choose_throttle(struct rng *rng, struct vblk_throttle *throttle)
{
	*throttle = (struct vblk_throttle){ 0 };
	if (rng_chance(rng, 8))
		throttle->iops = rng_between(rng, 200, 4000);
	if (rng_chance(rng, 8))
		throttle->bps = (uint64_t)rng_between(rng, 2, 32) << 20;
}

/* Many requests at a time or one after the other; awake for a while, for long, or not at all. */
static void choose_engine(struct rng *rng, struct vblk_device_options *options)
{
	static const uint32_t poll_us[] = { 0, VBLK_POLL_NEVER, 5, 1000 };

	options->engine = rng_chance(rng, 2) ? VBLK_ENGINE_URING : VBLK_ENGINE_WORKER;
	options->poll_us = poll_us[rng_below(rng, VBLK_ARRAY_SIZE(poll_us))];
}

static void make_device(struct station *station)
{
	struct vblk_device_options options = {
		.capacity_bytes = station->scene.capacity * VBLK_SECTOR_SIZE,
		.serial = station->serial,
		.queues = (uint16_t)station->queues,
		.stop_timeout_ms = station->may_hang ? STOP_MS_HANGING : STOP_MS_SURE,
		.log = { on_log, station, VBLK_LOG_WARN },
		.worker_lost = on_worker_lost,
		.worker_lost_context = station,
	};
	struct vblk_backing *faulty = NULL;
	struct vblk_device *device = NULL;
	int ret;

	choose_engine(&station->rng, &options);
	choose_throttle(&station->rng, &options.throttle);
	ret = vblk_faulty_create(station->base, NULL, 0, NULL, &faulty);
	if (ret == 0)
		ret = vblk_device_create(&options, faulty, &device);
	if (ret == 0)
		ret = vblk_device_set_memory(device, station->ram->memory);
	if (ret == 0)
		ret = vblk_device_set_parked_fd(device, station->soak->parked_fd);
	if (ret < 0)
		soak_fail("device %u cannot be made: %s", station->index, strerror(-ret));
	pthread_rwlock_wrlock(&station->alive);
	station->faulty = faulty;
	station->device = device;
	pthread_rwlock_unlock(&station->alive);
}

void station_create_device(struct station *station)
{
	struct rng *rng = &station->rng;
	uint64_t arena;

	station->may_hang = rng_chance(rng, 2);
	station->stormy = rng_chance(rng, 2);
	station->fickle = rng_chance(rng, 2);
	station->queues = rng_chance(rng, 3) ? 1 : rng_between(rng, 2, RAM_RINGS_MAX);
	station->rings = station->queues;
	station->generation = 0;
	station->sums = (struct request_sums){ 0 };
	atomic_store(&station->lost, false);
	station->ram = ram_create(rng, REQUESTS_SIZE);
	station->scene.ram = station->ram;
	station->scene.capacity = STATION_DISK_SECTORS + rng_below(rng, STATION_TAIL_MAX);
	arena = station->ram->buffers;
	for (unsigned i = 0; i < REQUESTS_MAX; i++) {
		struct request *request = &station->request[i];

		request->arena = arena;
		request->taken = false;
		request->arena_size = i < REQUESTS_SMALL ? REQUEST_SMALL_SIZE : REQUEST_LARGE_SIZE;
		arena += request->arena_size;
	}
	make_device(station);
	soak_count(&station->soak->counts.devices, 1);
}

static void write_address(struct station *station, uint64_t low_register, uint64_t address)
{
	station_write(station, low_register, (uint32_t)address);
	station_write(station, low_register + 4, (uint32_t)(address >> 32));
}

static void negotiate(struct station *station, bool event_idx, bool flush)
{
	uint32_t low = (event_idx ? 1u << VIRTIO_RING_F_EVENT_IDX : 0) |
		       (station->rings > 1 ? 1u << VIRTIO_BLK_F_MQ : 0) |
		       (flush ? 1u << VIRTIO_BLK_F_FLUSH : 0);
	uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE;

	station_write(station, VIRTIO_MMIO_STATUS, status);
	status |= VIRTIO_CONFIG_S_DRIVER;
	station_write(station, VIRTIO_MMIO_STATUS, status);
	station_write(station, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	station_write(station, VIRTIO_MMIO_DRIVER_FEATURES, low);
	station_write(station, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	station_write(station, VIRTIO_MMIO_DRIVER_FEATURES, 1u << (VIRTIO_F_VERSION_1 - 32));
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	station_write(station, VIRTIO_MMIO_STATUS, status);
	if (station_read(station, VIRTIO_MMIO_STATUS) != status)
		soak_fail("device %u refuses its features", station->index);
}

static void set_up_queues(struct station *station)
{
	for (unsigned i = 0; i < station->rings; i++) {
		const struct ring *ring = &station->ring[i];

		station_write(station, VIRTIO_MMIO_QUEUE_SEL, i);
		station_write(station, VIRTIO_MMIO_QUEUE_NUM, ring->size);
		write_address(station, VIRTIO_MMIO_QUEUE_DESC_LOW, ring->desc);
		write_address(station, VIRTIO_MMIO_QUEUE_AVAIL_LOW, ring->avail);
		write_address(station, VIRTIO_MMIO_QUEUE_USED_LOW, ring->used);
		station_write(station, VIRTIO_MMIO_QUEUE_READY, 1);
	}
}

static void set_driver_ok(struct station *station)
{
	station_write(station, VIRTIO_MMIO_STATUS,
		      station_read(station, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

void station_start(struct station *station, unsigned early)
{
	const bool event_idx = !rng_chance(&station->rng, 3);
	uint32_t status;

	/* A driver need not use all queues, and with one of them it does without MQ. */
	station->rings = rng_between(&station->rng, 1, station->queues);
	for (unsigned i = 0; i < station->rings; i++)
		ring_init(&station->ring[i], station->ram, i, &station->rng, event_idx);
	negotiate(station, event_idx, !rng_chance(&station->rng, 4));
	set_up_queues(station);
	if (early > 0)
		station_submit(station, early);
	for (unsigned i = 0; i < station->rings; i++)
		station->ring[i].notified = station->ring[i].published;
	set_driver_ok(station);
	status = station_read(station, VIRTIO_MMIO_STATUS);
	if (status >> 4 != 0 || !(status & VIRTIO_CONFIG_S_DRIVER_OK))
		soak_fail("device %u does not start: Status is %#" PRIx32, station->index, status);
	if (station_read(station, VIRTIO_MMIO_CONFIG_GENERATION) != station->generation)
		soak_fail("device %u: configuration generation %" PRIu32 " after %" PRIu32
			  " resets",
			  station->index, station_read(station, VIRTIO_MMIO_CONFIG_GENERATION),
			  station->generation);
	station->running = true;
}

static bool is_readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) > 0;
}

static void check_silence(struct station *station, const char *when)
{
	if (station_read(station, VIRTIO_MMIO_STATUS) != 0 ||
	    station_read(station, VIRTIO_MMIO_INTERRUPT_STATUS) != 0)
		soak_fail("device %u: Status %#" PRIx32 " and InterruptStatus %#" PRIx32 " %s",
			  station->index, station_read(station, VIRTIO_MMIO_STATUS),
			  station_read(station, VIRTIO_MMIO_INTERRUPT_STATUS), when);
	if (is_readable(vblk_device_irq_fd(station->device)))
		soak_fail("device %u raises an interrupt %s", station->index, when);
	if (!vblk_device_is_paused(station->device))
		soak_fail("device %u is not at rest %s", station->index, when);
}

/* The guest's memory belongs to the driver again: nothing in it may change. */
static void check_stillness(struct station *station)
{
	ram_copy_all(station->ram, station->still);
	soak_sleep_us(rng_below(&station->rng, 500));
	if (!ram_equals(station->ram, station->still))
		soak_fail("device %u changes guest memory after its reset", station->index);
	check_silence(station, "some time after its reset");
}

/* A device that lost its worker is dead: it starts, and says at once that it cannot serve. */
static void check_death(struct station *station)
{
	uint32_t status;

	negotiate(station, true, true);
	set_up_queues(station);
	set_driver_ok(station);
	status = station_read(station, VIRTIO_MMIO_STATUS);
	if (!(status & VIRTIO_CONFIG_S_NEEDS_RESET) ||
	    !is_readable(vblk_device_irq_fd(station->device)))
		soak_fail("device %u has lost its worker and hides it: Status %#" PRIx32,
			  station->index, status);
	station_write(station, VIRTIO_MMIO_STATUS, 0);
	check_silence(station, "after the reset of a dead device");
}

bool station_reset(struct station *station)
{
	atomic_fetch_add(&station->epoch, 1);
	station_write(station, VIRTIO_MMIO_STATUS, 0);
	atomic_fetch_add(&station->epoch, 1);
	station->generation++;
	station->running = false;
	check_silence(station, "right after its reset");
	station_settle(station);
	station_check_metrics(station, vblk_device_metrics(station->device));
	soak_count(&station->soak->counts.resets, 1);
	if (atomic_load(&station->lost)) {
		if (rng_chance(&station->rng, 2))
			check_death(station);
		return false;
	}
	if (rng_chance(&station->rng, 16))
		check_stillness(station);
	return true;
}

/* What outlives a device in the hands of an embedder. */
struct remains {
	struct vblk_metrics *metrics;
	struct vblk_park *park;
	int irq_fd;
};

static void keep_remains(struct station *station, struct remains *remains)
{
	remains->metrics = vblk_metrics_ref(vblk_device_metrics(station->device));
	remains->park = vblk_park_ref(vblk_device_park(station->device));
	remains->irq_fd = fcntl(vblk_device_irq_fd(station->device), F_DUPFD_CLOEXEC, 0);
	if (remains->irq_fd < 0)
		soak_fail("no descriptors are left");
}

static void check_remains(struct station *station, const struct remains *remains)
{
	if (is_readable(remains->irq_fd))
		soak_fail("device %u raised an interrupt after its end", station->index);
	if (!vblk_park_is_paused(remains->park))
		soak_fail("device %u is not at rest after its end", station->index);
	station_check_metrics(station, remains->metrics);
}

static void count_waits(struct station *station, const struct vblk_metrics *metrics)
{
	struct vblk_metrics_snapshot m;

	vblk_metrics_read(metrics, &m);
	soak_count(&station->soak->counts.waits, m.throttled);
}

/*
 * Waits until all workers that were given up have gone. They may still have filled the buffers of
 * the requests in their hands; the rings must be as they were.
 */
static void bury(struct station *station)
{
	const uint64_t end = soak_now() + station->soak->options.limit_s * VBLK_NSEC_PER_SEC;
	uint8_t *now = station->still + RAM_RINGS_SIZE;

	ram_read(station->ram, station->ram->rings, station->still, RAM_RINGS_SIZE);
	while (!ram_is_released(station->ram)) {
		if (soak_now() > end)
			soak_fail("device %u: its lost worker keeps guest memory", station->index);
		soak_sleep_us(200);
	}
	ram_read(station->ram, station->ram->rings, now, RAM_RINGS_SIZE);
	if (memcmp(station->still, now, RAM_RINGS_SIZE) != 0)
		soak_fail("device %u: its lost worker has written to the rings", station->index);
	for (unsigned i = 0; i < REQUESTS_MAX; i++) {
		if (station->request[i].taken &&
		    !request_is_untouched(&station->request[i], &station->scene))
			soak_fail("device %u: its lost worker has answered a request",
				  station->index);
	}
	soak_count(&station->soak->counts.detaches, 1);
}

void station_destroy_device(struct station *station)
{
	struct vblk_device *device = station->device;
	struct vblk_backing *faulty = station->faulty;
	struct remains remains;

	keep_remains(station, &remains);
	atomic_fetch_add(&station->epoch, 1);
	pthread_rwlock_wrlock(&station->alive);
	station->device = NULL;
	station->faulty = NULL;
	pthread_rwlock_unlock(&station->alive);
	vblk_device_destroy(device);
	atomic_fetch_add(&station->epoch, 1);
	vblk_backing_unref(faulty);
	vblk_eventfd_clear(remains.irq_fd);
	if (station->running)
		station_settle(station);
	station->running = false;
	ram_drop(station->ram);
	if (atomic_load(&station->lost))
		bury(station);
	else if (!ram_is_released(station->ram))
		soak_fail("device %u keeps guest memory after its end", station->index);
	check_remains(station, &remains);
	count_waits(station, remains.metrics);
	close(remains.irq_fd);
	vblk_park_unref(remains.park);
	vblk_metrics_unref(remains.metrics);
	ram_destroy(station->ram);
	station->ram = NULL;
}

void station_verify_disk(struct station *station)
{
	const uint64_t sectors = REQUEST_DATA_MAX / DISK_SECTOR;

	for (uint64_t at = 0; at < station->disk.sectors; at += sectors) {
		struct iovec iov = { station->scratch, REQUEST_DATA_MAX };

		if (vblk_backing_preadv(station->base, &iov, 1, at * DISK_SECTOR) !=
		    REQUEST_DATA_MAX)
			soak_fail("disk %u cannot be read", station->index);
		disk_verify(&station->disk, at, sectors, station->scratch);
	}
	soak_count(&station->soak->counts.verified, station->disk.sectors * DISK_SECTOR);
}
