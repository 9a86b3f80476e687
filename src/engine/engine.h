/* SPDX-License-Identifier: MIT */
/*
 * Who drains a queue.
 *
 * An engine belongs to one queue of one device, for the device's whole life. It is idle until
 * vblk_engine_start gives it a drain to run (at DRIVER_OK), and idle again after vblk_engine_stop
 * (at reset and destroy). Notifications that come while it is idle are remembered and served when
 * it starts.
 *
 * vblk_engine_notify may be called from any thread at any time between create and destroy. All
 * other calls come from one thread at a time: the device's lock sees to that. An inline engine is
 * called by one thread only, and, all calls but destroy, also from within its own drain.
 */
#ifndef VBLK_ENGINE_ENGINE_H
#define VBLK_ENGINE_ENGINE_H

#include "engine/park.h"
#include "engine/placement.h"
#include "request/drain.h"

struct vblk_engine;

/* What a worker is to know of the process around it. Copied at each start. */
struct vblk_engine_host {
	struct vblk_cpus cpus;
	/*
	 * Called by a worker that ends of itself, on its own thread, at most once. NULL: nobody
	 * wants to know. The context lives as long as the worker.
	 */
	void (*lost)(void *context, int error);
	void *lost_context;
	/*
	 * Inline engines of one device take turns: true while one of them has a drain on the stack,
	 * and the others remember what they are asked for. Outlives the engine. NULL: it is alone.
	 */
	bool *busy;
};

struct vblk_engine_ops {
	int (*start)(struct vblk_engine *engine, const struct vblk_drain_config *config,
		     const struct vblk_engine_host *host);
	void (*ask_to_stop)(struct vblk_engine *engine); /* NULL: a stop waits for nobody */
	int (*stop)(struct vblk_engine *engine, uint32_t timeout_ms);
	void (*notify)(struct vblk_engine *engine);
	void (*forget)(struct vblk_engine *engine);
	bool (*pause)(struct vblk_engine *engine);
	bool (*resume)(struct vblk_engine *engine);
	void (*retry)(struct vblk_engine *engine);
	int (*kick_fd)(const struct vblk_engine *engine);
	void (*run)(struct vblk_engine *engine);
	bool (*next_deadline)(const struct vblk_engine *engine, uint64_t *deadline_ns);
	void (*inspect)(struct vblk_engine *engine, struct vblk_queue_state *state);
	void (*destroy)(struct vblk_engine *engine);
};

struct vblk_engine {
	const struct vblk_engine_ops *ops;
	struct vblk_park *park; /* owned reference */
};

/* Each returns 0 and an idle engine, or -ENOMEM, -EMFILE, -ENFILE. */
VBLK_MUST_USE int vblk_worker_engine_create(struct vblk_engine **engine);
VBLK_MUST_USE int vblk_inline_engine_create(struct vblk_engine **engine);

/*
 * Puts an idle engine to work. Everything it needs is made before anything runs, so a failure
 * (-ENOMEM, -EMFILE, -ENFILE, -EAGAIN from the creation of a thread) leaves it idle, with the
 * notifications that it remembers. If a pause is on, it rests from the start.
 *
 * A worker that can no longer wait for events ends of itself: it sets NEEDS_RESET, is at rest for
 * good and calls `lost`. The engine is not idle then; it wants to be stopped as any other.
 */
VBLK_MUST_USE static inline int vblk_engine_start(struct vblk_engine *engine,
						  const struct vblk_drain_config *config,
						  const struct vblk_engine_host *host)
{
	return engine->ops->start(engine, config, host);
}

/*
 * Says that a stop follows, so that several engines end at the same time; does not wait. Nothing
 * but vblk_engine_stop may follow.
 */
static inline void vblk_engine_ask_to_stop(struct vblk_engine *engine)
{
	if (engine->ops->ask_to_stop)
		engine->ops->ask_to_stop(engine);
}

/*
 * Ends the drain after the request in hand, and with it a pause, also one of an idle engine.
 * Returns 0: nothing runs any more, the engine is idle. Or -ETIMEDOUT: what ran is stuck in the
 * backing and was cut off. It keeps its references until it returns by itself, cannot touch the
 * guest any more, and the engine is idle. So it is with an inline engine that is stopped from
 * within its own drain, which returns 0 all the same: the request in hand is not answered.
 */
VBLK_MUST_USE static inline int vblk_engine_stop(struct vblk_engine *engine, uint32_t timeout_ms)
{
	return engine->ops->stop(engine, timeout_ms);
}

/* The driver has made something available. Never blocks with a worker. */
static inline void vblk_engine_notify(struct vblk_engine *engine)
{
	engine->ops->notify(engine);
}

/* Forgets the notifications that an idle engine remembers. */
static inline void vblk_engine_forget(struct vblk_engine *engine)
{
	engine->ops->forget(engine);
}

/* As vblk_device_pause and vblk_device_resume. */
static inline bool vblk_engine_pause(struct vblk_engine *engine)
{
	return engine->ops->pause(engine);
}

static inline bool vblk_engine_resume(struct vblk_engine *engine)
{
	return engine->ops->resume(engine);
}

/* There are other limits: a request that waits for tokens is looked at again. */
static inline void vblk_engine_retry(struct vblk_engine *engine)
{
	engine->ops->retry(engine);
}

/* The eventfd whose signal is a notification, or -ENOTSUP. */
static inline int vblk_engine_kick_fd(const struct vblk_engine *engine)
{
	return engine->ops->kick_fd(engine);
}

/* Serves what can be served now, on this thread; nothing where a worker does that. */
static inline void vblk_engine_run(struct vblk_engine *engine)
{
	engine->ops->run(engine);
}

/* When vblk_engine_run has something to do next, on the drain's clock. False: not by itself. */
static inline bool vblk_engine_next_deadline(const struct vblk_engine *engine,
					     uint64_t *deadline_ns)
{
	return engine->ops->next_deadline(engine, deadline_ns);
}

/* Fills in what vblk/inspect.h says of a queue at rest, if something runs and rests. */
static inline void vblk_engine_inspect(struct vblk_engine *engine, struct vblk_queue_state *state)
{
	engine->ops->inspect(engine, state);
}

/* Frees an idle engine. NULL is ignored. */
static inline void vblk_engine_destroy(struct vblk_engine *engine)
{
	if (engine)
		engine->ops->destroy(engine);
}

/* Longest time that a stalled drain sleeps before it looks again. */
#define VBLK_RETRY_MAX_NS 1000000000ull

/* The time to sleep before a retry: `wait_ns`, at least 1 and at most VBLK_RETRY_MAX_NS. */
static inline uint64_t vblk_retry_clamp(uint64_t wait_ns)
{
	if (wait_ns == 0)
		return 1;
	return wait_ns < VBLK_RETRY_MAX_NS ? wait_ns : VBLK_RETRY_MAX_NS;
}

#endif
