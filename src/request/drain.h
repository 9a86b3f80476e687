/* SPDX-License-Identifier: MIT */
/*
 * Draining a queue: taking what is available, request by request, until there is nothing more,
 * a limit says wait, or the bound on one drain is reached.
 *
 * Guest memory that is a file of somebody else's can be lost under us. A drain that finds out acts
 * on nothing that it has read since it last looked, surrenders its lease, and so never touches the
 * guest again, not even to tell its driver: whoever shared the memory is told by other means
 * (base/sigbus.h), and the request in hand counts as not taken.
 *
 * A drain is the whole state of one queue at work, from DRIVER_OK to reset. It is made on the
 * front end's thread, then belongs to one engine thread. It holds references of its own to all it
 * touches, so it may outlive the device that made it.
 */
#ifndef VBLK_REQUEST_DRAIN_H
#define VBLK_REQUEST_DRAIN_H

#include <vblk/device.h>

#include "request/air.h"
#include "request/flight.h"
#include "request/io.h"
#include "request/journal.h"
#include "request/linger.h"
#include "request/port.h"
#include "request/timing.h"

/*
 * A bound on batches for an engine with a thread of its own. Some fifty requests that the host has
 * in memory are over sooner, so they still share an interrupt; on a disk that takes longer each
 * answer is announced at once, which costs nothing beside the time that the disk took.
 */
#define VBLK_DRAIN_BATCH_NS 100000u

struct vblk_drain;

/* What a drain starts from. Copied; references are taken of what is pointed to. */
struct vblk_drain_config {
	struct vblk_disk *disk;
	struct vblk_request_rules rules;
	bool stable_writes; /* as in struct vblk_io */
	struct vblk_memory *memory;
	struct vblk_port *port;
	struct vblk_queue_layout layout;
	bool event_idx;
	/*
	 * How long the first answer of a drain may wait for the interrupt while others are made, in
	 * nanoseconds of the clock: when that has passed, the drain ends behind the request in
	 * hand. 0: for as long as the drain takes.
	 */
	uint64_t batch_ns;
	/*
	 * How long to look at an empty ring, at most, before the driver is asked to notify, in
	 * nanoseconds of the clock. 0: not at all.
	 */
	uint64_t poll_ns;
	/*
	 * Who makes the calls to the backing, many at a time; belongs to the drain from here on.
	 * NULL: the drain itself, one after the other.
	 */
	struct vblk_air *air;
	/* Ends a drain after the request in hand while true; outlives the drain. NULL: never. */
	const atomic_bool *yield;
	uint32_t index; /* which queue of the device */

	/*
	 * Goes on where another drain has stopped: the next available index is this, the next used
	 * index what the ring says. Otherwise both are 0.
	 */
	bool continues;
	uint16_t next_avail;
	/* A record of requests in flight; ops NULL: none. It then says where to go on. */
	struct vblk_journal journal;
	/* Where writes to guest memory are recorded; NULL: nowhere. Outlives the drain. */
	const struct vblk_dirty_log *dirty;
	/*
	 * Says when memory was lost that the drain reads, or that its journal or its log are in;
	 * NULL: never. Outlives the drain.
	 */
	const struct vblk_memory_guard *guard;

	/*
	 * Told once when vblk_drain_destroy has no more use for any of the above, with the drain as
	 * it was in the end; with NULL if there never was one. May be NULL.
	 */
	void (*ended)(void *context, const struct vblk_drain *drain);
	void *ended_context;
	/*
	 * Told, under a lock and on any thread, that a request which waits for tokens should be
	 * looked at again. Must not block.
	 */
	void (*retry)(void *context);
	void *retry_context;
};

/* What a drain has published, and since when the driver should hear of it. */
struct vblk_batch {
	unsigned published;
	bool timed;	   /* since_ns is set */
	uint64_t since_ns; /* when the first was there */
};

/* A request that waits for tokens, in the ring. */
struct vblk_stall {
	uint16_t head;
	uint32_t type;
	uint64_t sector;
	uint64_t bytes;	   /* that it costs */
	uint64_t since_ns; /* of the clock */
};

struct vblk_drain {
	struct vblk_drain_config config;
	struct vblk_lease lease;
	struct vblk_queue queue;
	struct vblk_throttle_member throttle;
	struct vblk_batch batch;
	struct vblk_timing timing;
	struct vblk_linger linger;
	bool opened;			    /* the first run has found out where to go on */
	struct vblk_journal_heads *adopted; /* owned; heads to be served first; NULL: none */
	uint16_t adopted_next;
	uint64_t dropped[VBLK_QUEUE_SIZE_MAX / 64]; /* heads that will never be answered */
	bool poisoned;		 /* the driver broke the queue: nothing is served until a reset */
	bool cut_off;		 /* it was memory that was lost */
	bool stalled;		 /* the next request waits for tokens; the gauge counts it */
	struct vblk_stall stall; /* which one, if so */
	struct vblk_chain chain;
	struct vblk_io io;
	struct vblk_flight flight; /* the request in hand, if calls are made one by one */
};

enum vblk_drain_result {
	VBLK_DRAIN_DONE,    /* nothing left that can be served, but for what is airborne */
	VBLK_DRAIN_MORE,    /* a bound was reached, or we were asked to yield: come again */
	VBLK_DRAIN_STALLED, /* the next request may pass after the time told */
};

/* Cannot fail. */
void vblk_drain_init(struct vblk_drain *drain, const struct vblk_drain_config *config);

/* Takes the stall off the gauge and gives the references back. Nothing may be airborne. */
void vblk_drain_destroy(struct vblk_drain *drain);

/* Of a config that no drain was made of: gives back what the drain would have owned. */
void vblk_drain_discard(const struct vblk_drain_config *config);

/*
 * Where the next drain has to go on: everything before was answered, dropped, or is in the journal.
 * What was taken last and not answered is not before it, so that who has no journal serves it
 * again.
 */
uint16_t vblk_drain_next_avail(const struct vblk_drain *drain);

/*
 * Fills in what vblk/inspect.h says of a queue at rest. Nothing runs the drain meanwhile. The
 * requests and their room are the caller's.
 */
struct vblk_queue_state;
void vblk_drain_inspect(const struct vblk_drain *drain, struct vblk_queue_state *state);

/*
 * The same while somebody runs the drain: only the requests that are with the disk just now are
 * added, without making anybody wait. Any thread, as long as the drain is there.
 */
void vblk_drain_inspect_running(const struct vblk_drain *drain, struct vblk_queue_state *state);

/*
 * Serves the queue once, at most as many chains as it is long, and not much longer than batch_ns
 * once there is something to tell. *wait_ns is set with VBLK_DRAIN_STALLED, to at least 1. Every
 * chain is answered, dropped and counted, or left where it is; the driver is interrupted at most
 * once for all that was published.
 */
enum vblk_drain_result vblk_drain_run(struct vblk_drain *drain, uint64_t *wait_ns);

/*
 * Becomes readable when a request has landed: time for vblk_drain_run, or, if the next request
 * waits for tokens, for vblk_drain_land, which takes nothing from the ring. -1: nothing lands by
 * itself.
 */
static inline int vblk_drain_fd(const struct vblk_drain *drain)
{
	return drain->config.air ? drain->config.air->aio->fd : -1;
}

void vblk_drain_land(struct vblk_drain *drain);

/*
 * Waits until everything has landed, and brings it to the driver. As long as the disk takes.
 * Returns whether there was something: then there is room again, and a run is due.
 */
bool vblk_drain_settle(struct vblk_drain *drain);

#endif
