/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/eventfd.h"
#include "base/le.h"
#include "fail.h"
#include "station.h"

uint32_t station_read(struct station *station, uint64_t offset)
{
	uint8_t data[4];

	vblk_mmio_read(station->device, offset, data, sizeof(data));
	return vblk_le32_get(data);
}

void station_write(struct station *station, uint64_t offset, uint32_t value)
{
	uint8_t data[4];

	vblk_le32_put(data, value);
	vblk_mmio_write(station->device, offset, data, sizeof(data));
}

static bool submit_one(struct station *station, unsigned slot)
{
	struct request *request = &station->request[slot];
	const unsigned index = rng_below(&station->rng, station->rings);
	struct ring *ring = &station->ring[index];
	uint16_t head;

	if (request->busy || ring->free_count < 2)
		return false;
	if (!request_make(request, &station->scene, ring->free_count))
		return false;
	request->ring = index;
	request->fault_period = atomic_load(&station->fault_period);
	request->born_ns = soak_now();
	head = ring_add(ring, request->piece, request->count);
	station->by_head[index][head] = (uint8_t)slot;
	station->in_flight++;
	return true;
}

static void publish(struct station *station)
{
	for (unsigned i = 0; i < station->rings; i++)
		ring_publish(&station->ring[i]);
}

void station_submit(struct station *station, unsigned count)
{
	const bool one_by_one = rng_chance(&station->rng, 2);

	for (; count > 0; count--) {
		if (submit_one(station, rng_below(&station->rng, REQUESTS_MAX)) && one_by_one)
			publish(station);
	}
	publish(station);
}

void station_notify(struct station *station)
{
	for (unsigned i = 0; i < station->rings; i++) {
		if (!ring_wants_notification(&station->ring[i]))
			continue;
		if (rng_chance(&station->rng, 2))
			station_write(station, VIRTIO_MMIO_QUEUE_NOTIFY, i);
		else if (vblk_eventfd_signal(vblk_device_kick_fd(station->device, i)) < 0)
			soak_fail("the kick of device %u cannot be signalled", station->index);
	}
}

/* Failing is allowed if the disk was told to fail at any time since the request was made. */
static bool may_fail(struct station *station, const struct request *request)
{
	return request->fault_period % 2 == 1 ||
	       atomic_load(&station->fault_period) != request->fault_period;
}

static unsigned harvest_ring(struct station *station, unsigned index)
{
	unsigned taken = 0;
	uint32_t length;
	uint16_t head;

	for (; ring_take(&station->ring[index], &head, &length); taken++) {
		struct request *request = &station->request[station->by_head[index][head]];

		if (request_finish(request, &station->scene, length, may_fail(station, request),
				   &station->sums))
			soak_count(&station->soak->counts.faults, 1);
		station->in_flight--;
	}
	return taken;
}

unsigned station_harvest(struct station *station)
{
	struct soak_counts *counts = &station->soak->counts;
	const uint64_t before = station->sums.bytes_read;
	unsigned taken = 0;

	for (unsigned i = 0; i < station->rings; i++)
		taken += harvest_ring(station, i);
	soak_count(&counts->requests, taken);
	soak_count(&counts->verified, station->sums.bytes_read - before);
	return taken;
}

static const struct request *oldest(const struct station *station)
{
	const struct request *old = NULL;

	for (unsigned i = 0; i < REQUESTS_MAX; i++) {
		const struct request *request = &station->request[i];

		if (request->busy && (!old || request->born_ns < old->born_ns))
			old = request;
	}
	return old;
}

static _Noreturn void fail_lost(struct station *station)
{
	const struct ring *ring = &station->ring[oldest(station)->ring];
	struct vblk_metrics_snapshot m;

	vblk_metrics_read(vblk_device_metrics(station->device), &m);
	soak_fail("device %u: %s within %" PRIu32 " s: %u in flight, %u queues, that of the oldest "
		  "is %u, event_idx %d, size %u, "
		  "avail.idx %u, used.idx %u, taken %u, Status %#" PRIx32
		  ", InterruptStatus %#" PRIx32 ", paused %d, throttled_now %" PRIu64
		  ", notifications %" PRIu64 ", interrupts %" PRIu64,
		  station->index,
		  ring_used_idx(ring) != ring->last_used ? "no interrupt" : "no completion",
		  station->soak->options.limit_s, station->in_flight, station->rings,
		  oldest(station)->ring, ring->event_idx, ring->size, ring->published,
		  ring_used_idx(ring), ring->last_used, station_read(station, VIRTIO_MMIO_STATUS),
		  station_read(station, VIRTIO_MMIO_INTERRUPT_STATUS),
		  vblk_device_is_paused(station->device), m.throttled_now, m.notifications,
		  m.interrupts);
}

/* Milliseconds until the oldest request is lost; 0 if it is. */
static int time_left(const struct station *station)
{
	const uint64_t limit = station->soak->options.limit_s * VBLK_NSEC_PER_SEC;
	const struct request *request = oldest(station);
	uint64_t age;

	if (!request)
		return (int)(limit / VBLK_NSEC_PER_MSEC);
	age = soak_now() - request->born_ns;
	return age < limit ? (int)((limit - age) / VBLK_NSEC_PER_MSEC) + 1 : 0;
}

void station_check_age(struct station *station)
{
	if (time_left(station) == 0)
		fail_lost(station);
}

/* As an interrupt handler does: reasons, acknowledgement. */
static void take_interrupt(struct station *station)
{
	uint32_t reasons;

	vblk_eventfd_clear(vblk_device_irq_fd(station->device));
	reasons = station_read(station, VIRTIO_MMIO_INTERRUPT_STATUS);
	station_write(station, VIRTIO_MMIO_INTERRUPT_ACK, reasons);
	if ((reasons & VIRTIO_MMIO_INT_CONFIG) ||
	    (station_read(station, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET))
		soak_fail("device %u says that it needs a reset", station->index);
}

bool station_wait(struct station *station)
{
	struct pollfd fds[] = {
		{ .fd = vblk_device_irq_fd(station->device), .events = POLLIN },
		{ .fd = station->wake_fd, .events = POLLIN },
	};
	int left = time_left(station);

	if (left == 0 || poll(fds, 2, left) == 0)
		fail_lost(station);
	if (fds[0].revents)
		take_interrupt(station);
	return fds[0].revents != 0;
}

void station_settle(struct station *station)
{
	station_harvest(station);
	soak_count(&station->soak->counts.taken, station->in_flight);
	for (unsigned i = 0; i < REQUESTS_MAX; i++) {
		struct request *request = &station->request[i];

		if (!request->busy)
			continue;
		if (!request_is_untouched(request, &station->scene))
			soak_fail("device %u has answered a request without saying so",
				  station->index);
		request_abandon(request, &station->scene);
	}
	station->in_flight = 0;
}

static void compare(const struct station *station, const char *name, uint64_t counted,
		    uint64_t expected, uint64_t tolerance)
{
	if (counted < expected || counted > expected + tolerance)
		soak_fail("device %u has counted %" PRIu64 " %s, its driver %" PRIu64,
			  station->index, counted, name, expected);
}

void station_check_metrics(struct station *station, const struct vblk_metrics *metrics)
{
	/* Workers that were given up between a refusal and its publication have counted it. */
	const uint64_t tolerance = atomic_load(&station->lost) ? station->rings : 0;
	const struct request_sums *sums = &station->sums;
	struct vblk_metrics_snapshot m;

	vblk_metrics_read(metrics, &m);
	compare(station, "reads", m.reads_completed, sums->reads, 0);
	compare(station, "bytes read", m.bytes_read, sums->bytes_read, 0);
	compare(station, "writes", m.writes_completed, sums->writes, 0);
	compare(station, "bytes written", m.bytes_written, sums->bytes_written, 0);
	compare(station, "flushes", m.flushes_completed, sums->flushes, 0);
	compare(station, "errors", m.io_errors, sums->errors, tolerance);
	compare(station, "poisonings", m.invalid_avail_idx, 0, 0);
	compare(station, "waiting requests", m.throttled_now, 0, 0);
}
