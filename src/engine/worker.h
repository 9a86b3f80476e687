/* SPDX-License-Identifier: MIT */
/*
 * One worker thread: a drain, an event loop, and an end.
 *
 * A worker lives from vblk_worker_start to vblk_worker_stop and owns copies or references of all
 * it uses, so that one that is stuck in the host's disk can be left to itself.
 */
#ifndef VBLK_ENGINE_WORKER_H
#define VBLK_ENGINE_WORKER_H

#include "engine/engine.h"

struct vblk_worker;

/*
 * Starts a thread that drains whenever `kick_fd` (which is duplicated) is signalled, and once at
 * its start. It parks in `park`, of which it takes a reference, before the first drain if it finds
 * the level set. Returns 0, -ENOMEM, -EMFILE, -ENFILE, or -EAGAIN if no thread can be created;
 * after an error nothing is left behind.
 *
 * A worker that loses its epoll instance has ended when `host` hears of it; it is still to be
 * stopped.
 */
VBLK_MUST_USE int vblk_worker_start(const struct vblk_drain_config *config,
				    const struct vblk_engine_host *host, struct vblk_park *park,
				    int kick_fd, struct vblk_worker **worker);

/* Asks the worker to end, without waiting; vblk_worker_stop is still to be called. */
void vblk_worker_ask_to_stop(struct vblk_worker *worker);

/* Waits for a worker that was asked to; returns whether it has ended. It is still to be stopped. */
bool vblk_worker_wait(struct vblk_worker *worker, uint32_t timeout_ms);

/*
 * Asks the worker to end, and waits for that. Returns 0: the thread is gone, all is freed.
 * -ETIMEDOUT: it did not end in time, its lease on the guest is revoked, and it frees itself when
 * it ends. The pointer is invalid afterwards in both cases.
 */
VBLK_MUST_USE int vblk_worker_stop(struct vblk_worker *worker, uint32_t timeout_ms);

/* Makes the worker look at its park. */
void vblk_worker_wake(struct vblk_worker *worker);

/* As vblk_engine_inspect. */
void vblk_worker_inspect(struct vblk_worker *worker, struct vblk_queue_state *state);

/* A request that waits for tokens is looked at again, at once. Never blocks. */
void vblk_worker_retry(struct vblk_worker *worker);

#endif
