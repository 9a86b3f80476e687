/* SPDX-License-Identifier: MIT */
/*
 * Draining a queue: taking what is available, request by request, until there is nothing more,
 * a limit says wait, or the bound on one drain is reached.
 *
 * A drain is the whole state of one queue at work, from DRIVER_OK to reset. It is made on the
 * front end's thread, then belongs to one engine thread. It holds references of its own to all it
 * touches, so it may outlive the device that made it.
 */
#ifndef VBLK_REQUEST_DRAIN_H
#define VBLK_REQUEST_DRAIN_H

#include <vblk/device.h>

#include "base/clock.h"
#include "request/io.h"
#include "request/port.h"
#include "throttle/throttle.h"

/*
 * A bound on batches for an engine with a thread of its own. Some fifty requests that the host has
 * in memory are over sooner, so they still share an interrupt; on a disk that takes longer each
 * answer is announced at once, which costs nothing beside the time that the disk took.
 */
#define VBLK_DRAIN_BATCH_NS 100000u

/* What a drain starts from. Copied; references are taken of what is pointed to. */
struct vblk_drain_config {
	struct vblk_disk disk;
	struct vblk_memory *memory;
	struct vblk_port *port;
	struct vblk_metrics *metrics;
	struct vblk_log log;
	struct vblk_clock clock;
	struct vblk_throttle throttle;
	enum vblk_undeliverable on_undeliverable;
	struct vblk_queue_layout layout;
	bool event_idx;
	/*
	 * How long the first answer of a drain may wait for the interrupt while others are made, in
	 * nanoseconds of the clock: when that has passed, the drain ends behind the request in
	 * hand. 0: for as long as the drain takes.
	 */
	uint64_t batch_ns;
	/* Ends a drain after the request in hand while true; outlives the drain. NULL: never. */
	const atomic_bool *yield;
	uint32_t instance; /* names the device in logs and thread names */
	uint32_t index;	   /* which queue of the device */
};

struct vblk_drain {
	struct vblk_drain_config config;
	struct vblk_lease lease;
	struct vblk_queue queue;
	struct vblk_throttle_state throttle;
	bool poisoned; /* the driver broke the queue: nothing is served until a reset */
	bool stalled;  /* the next request waits for tokens; the gauge counts it */
	struct vblk_chain chain;
	struct vblk_request request;
	struct vblk_io io;
};

enum vblk_drain_result {
	VBLK_DRAIN_DONE,    /* nothing left, or nothing that can be served */
	VBLK_DRAIN_MORE,    /* a bound was reached, or we were asked to yield: come again */
	VBLK_DRAIN_STALLED, /* the next request may pass after the time told */
};

/* Full buckets, indices 0. Cannot fail. */
void vblk_drain_init(struct vblk_drain *drain, const struct vblk_drain_config *config);

/* Takes the stall off the gauge and gives the references back. */
void vblk_drain_destroy(struct vblk_drain *drain);

/* Changes the limits as vblk_device_set_throttle says. By the thread that drains. */
void vblk_drain_set_throttle(struct vblk_drain *drain, const struct vblk_throttle *throttle);

/*
 * Serves the queue once, at most as many chains as it is long, and not much longer than batch_ns
 * once there is something to tell. *wait_ns is set with VBLK_DRAIN_STALLED, to at least 1. Every
 * chain is answered, dropped and counted, or left where it is; the driver is interrupted at most
 * once for all that was published.
 */
enum vblk_drain_result vblk_drain_run(struct vblk_drain *drain, uint64_t *wait_ns);

#endif
