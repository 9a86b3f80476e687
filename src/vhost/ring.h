/* SPDX-License-Identifier: MIT */
/*
 * One ring of a vhost-user session: what the front end has said of it, and the worker that serves
 * it while all is said.
 *
 * A ring is served when it has a kick, is enabled, has addresses, and there is memory. Whatever
 * changes under a worker (memory, features, addresses, the log) is changed between two workers: the
 * ring stops, and goes on where it was. The call and error descriptors alone change while it runs.
 *
 * A worker that hangs in the disk and does not stop in time is given up. Until it ends after all
 * (which is an event), the ring waits: no other worker is started for it, whoever is connected.
 *
 * Belongs to the session's thread, but for three functions that any thread may call while the ring
 * is there: vblk_vhost_ring_pause, _resume and _end. None of them waits for a worker.
 */
#ifndef VBLK_VHOST_RING_H
#define VBLK_VHOST_RING_H

#include <pthread.h>

#include "engine/worker.h"
#include "vhost/guest_memory.h"
#include "vhost/inflight_layout.h"

struct vblk_vhost_ring_life;

/* What all rings of a session share at the time that one of them starts. */
struct vblk_vhost_ring_env {
	struct vblk_disk *disk;
	struct vblk_memory *memory; /* NULL: none yet */
	const struct vblk_vhost_regions *regions;
	uint64_t features;
	struct vblk_vhost_mapping_ref *log; /* NULL: writes are not recorded */
	uint64_t log_size;
	struct vblk_vhost_mapping_ref *inflight; /* NULL: requests in flight are not recorded */
	uint16_t inflight_queues;
	uint16_t inflight_size;
	struct vblk_engine_host host;
	int event_fd; /* borrowed, for as long as the rings: a worker that was given up has ended */
};

struct vblk_vhost_ring {
	uint16_t index;
	struct vblk_park *park;		   /* owned; the same for all sessions */
	struct vblk_vhost_ring_life *left; /* of a worker that was given up; NULL: of none */
	bool waits;			   /* it was said that the ring waits for its end */
	bool freed;			   /* it has ended, which the owner has not been told */

	/*
	 * Held for moments, by whoever starts or frees the worker and by those who ask something of
	 * it from other threads. The session's thread alone sets `worker`, and reads it without.
	 */
	pthread_mutex_t lock;
	bool paused; /* under the lock: workers rest from their start */
	bool ends;   /* under the lock: no other worker is started */

	/* Of this session. */
	struct vblk_port *port; /* owned; has the call and error descriptors */
	uint16_t size;
	uint16_t base; /* the next available index, while no worker runs */
	bool has_addr;
	struct vhost_vring_addr addr;
	int kick_fd; /* owned; -1: the ring is stopped */
	bool enabled;
	bool has_run; /* it was served since the device has begun */
	bool unsure;  /* where to go on is what the life that was left behind says in the end */
	bool broken;  /* the driver broke the queue: nothing is served until it starts anew */
	struct vblk_worker *worker; /* changes under the lock */
	struct vblk_vhost_ring_life *life;
};

/* Once for all sessions. Returns 0 or -ENOMEM. */
VBLK_MUST_USE int vblk_vhost_ring_create(struct vblk_vhost_ring *ring, uint16_t index);
void vblk_vhost_ring_destroy(struct vblk_vhost_ring *ring);

/* At the start of a session: as a device has it after reset. Returns 0, -ENOMEM, -EMFILE. */
VBLK_MUST_USE int vblk_vhost_ring_open(struct vblk_vhost_ring *ring, struct vblk_disk *disk);

/* At its end, when no worker runs any more. */
void vblk_vhost_ring_close(struct vblk_vhost_ring *ring);

/* As after vblk_vhost_ring_open, but that the call and error descriptors stay. */
void vblk_vhost_ring_reset(struct vblk_vhost_ring *ring);

/* The front end says where to go on. While no worker runs. */
void vblk_vhost_ring_set_base(struct vblk_vhost_ring *ring, uint16_t base);

/*
 * False while a worker that was given up still runs. The first call behind its end takes over
 * where it stood, and lets go of what it had.
 */
bool vblk_vhost_ring_is_free(struct vblk_vhost_ring *ring);

/* Whether ring->base is right, while no worker runs: what an abandoned one does, nobody knows. */
bool vblk_vhost_ring_knows_base(struct vblk_vhost_ring *ring);

/*
 * New descriptors, taken over; -1 for none. Each returns 0 or a negative errno: -EINVAL for what is
 * no eventfd (call and error may be sockets).
 */
VBLK_MUST_USE int vblk_vhost_ring_set_kick(struct vblk_vhost_ring *ring, int fd);
VBLK_MUST_USE int vblk_vhost_ring_set_call(struct vblk_vhost_ring *ring, int fd);
VBLK_MUST_USE int vblk_vhost_ring_set_err(struct vblk_vhost_ring *ring, int fd);

/*
 * Starts a worker if the ring is to be served, is not, and is free. Returns 0, or a negative errno
 * with *reason: the addresses are not in memory, or the descriptors or the thread are not to be
 * had.
 */
VBLK_MUST_USE int vblk_vhost_ring_start(struct vblk_vhost_ring *ring,
					const struct vblk_vhost_ring_env *env, const char **reason);

/*
 * Any thread: brings the worker, and those that are started later, to rest, or lets them go on.
 * Returns whether exactly one acknowledgement follows on the park's descriptor.
 */
bool vblk_vhost_ring_pause(struct vblk_vhost_ring *ring);
void vblk_vhost_ring_resume(struct vblk_vhost_ring *ring);

/*
 * Any thread: the ring is not going to be served any more. Its worker, if there is one, begins to
 * stop, and is still to be stopped.
 */
void vblk_vhost_ring_end(struct vblk_vhost_ring *ring);

/* Its worker, if there is one, begins to stop, and is still to be stopped. */
void vblk_vhost_ring_ask_to_stop(struct vblk_vhost_ring *ring);

/*
 * Stops its worker, if there is one; ring->base then says where to go on. If it does not stop in
 * time it is given up, and the host's `lost` is told -ETIMEDOUT.
 */
void vblk_vhost_ring_stop(struct vblk_vhost_ring *ring, uint32_t timeout_ms);

#endif
