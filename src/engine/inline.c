/* SPDX-License-Identifier: MIT */
/*
 * The inline engine: the thread that notifies is the thread that drains. It takes no lock, starts
 * no thread and never sleeps; what it could not finish (a bound reached, a request that waits for
 * tokens) is left for vblk_engine_run, and next_deadline says when that is worth a call.
 *
 * A drain calls out: to the backing, and to whoever takes the interrupt. Both may call back into
 * the engine, on top of the drain's own stack. Such a call changes what is remembered here and
 * never the drain; the run that is under way takes it up when the drain has returned. A stop from
 * there takes the drain's lease, so that it publishes nothing more, and leaves it to the run to
 * free; what starts meanwhile has a drain of its own. The engines of a device's other queues do not
 * drain on top of it either: they remember.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdlib.h>

#include "metrics/metrics.h"

struct inline_engine {
	struct vblk_engine base;
	struct vblk_drain *drain;   /* NULL: idle */
	struct vblk_drain *running; /* what is on the stack: `drain`, or one that was stopped */
	bool *busy;		    /* a drain is on the stack, ours or of another queue */
	bool own_busy;		    /* that, of an engine that is alone */
	bool pending;		    /* a notification came, or was not fully served */
	bool waiting;		    /* the next request waits for tokens until `deadline_ns` */
	uint64_t deadline_ns;
};

static struct inline_engine *from_base(struct vblk_engine *engine)
{
	return (struct inline_engine *)engine;
}

static void free_drain(struct vblk_drain *drain)
{
	vblk_drain_destroy(drain);
	free(drain);
}

/* What a drain that has returned leaves to be done. */
static void take_result(struct inline_engine *self, enum vblk_drain_result result, uint64_t wait_ns)
{
	switch (result) {
	case VBLK_DRAIN_DONE:
		break;
	case VBLK_DRAIN_MORE:
		self->pending = true;
		break;
	case VBLK_DRAIN_STALLED:
		self->waiting = true;
		self->deadline_ns = vblk_clock_now(&self->drain->config.disk->clock) +
				    vblk_retry_clamp(wait_ns);
		break;
	}
}

static void inline_run(struct vblk_engine *engine)
{
	struct inline_engine *self = from_base(engine);
	struct vblk_drain *drain = self->drain;
	enum vblk_drain_result result;
	uint64_t wait_ns = 0;

	if (!drain || *self->busy || vblk_park_is_paused(engine->park))
		return;
	self->pending = false;
	self->waiting = false;
	self->running = drain;
	*self->busy = true;
	result = vblk_drain_run(drain, &wait_ns);
	*self->busy = false;
	self->running = NULL;
	if (self->drain != drain) {
		free_drain(drain);
	} else {
		take_result(self, result, wait_ns);
	}
	vblk_park_settle(engine->park);
}

static void inline_notify(struct vblk_engine *engine)
{
	struct inline_engine *self = from_base(engine);

	self->pending = true;
	if (!self->drain)
		return;
	vblk_metrics_add_notification(self->drain->config.disk->metrics);
	inline_run(engine);
}

/* It is this queue's turn to take tokens. Under the lock of the limits: no more than a note. */
static void note_retry(void *context)
{
	struct inline_engine *self = context;

	self->pending = true;
}

static int inline_start(struct vblk_engine *engine, const struct vblk_drain_config *config,
			const struct vblk_engine_host *host)
{
	struct inline_engine *self = from_base(engine);
	struct vblk_drain_config own = *config;

	self->busy = host->busy ? host->busy : &self->own_busy;
	self->drain = malloc(sizeof(*self->drain));
	if (!self->drain) {
		vblk_drain_discard(config);
		return -ENOMEM;
	}
	own.yield = &engine->park->yield;
	own.retry = note_retry;
	own.retry_context = self;
	vblk_drain_init(self->drain, &own);
	vblk_park_begin(engine->park);
	self->waiting = false;
	if (self->pending)
		inline_run(engine);
	return 0;
}

static int inline_stop(struct vblk_engine *engine, uint32_t timeout_ms)
{
	struct inline_engine *self = from_base(engine);
	struct vblk_drain *drain = self->drain;

	(void)timeout_ms;
	self->drain = NULL;
	self->waiting = false;
	if (drain && drain == self->running)
		vblk_lease_surrender(&drain->lease);
	else if (drain)
		free_drain(drain);
	vblk_park_reset(engine->park);
	return 0;
}

static void inline_forget(struct vblk_engine *engine)
{
	from_base(engine)->pending = false;
}

/* Whoever asks from within a run gets the answer behind it: there is a request in hand. */
static bool inline_pause(struct vblk_engine *engine)
{
	bool follows = vblk_park_request(engine->park);

	if (!from_base(engine)->running)
		vblk_park_settle(engine->park);
	return follows;
}

/* Nobody has to be waited for, hence false: what was notified is served before this returns. */
static bool inline_resume(struct vblk_engine *engine)
{
	struct inline_engine *self = from_base(engine);

	vblk_park_release(engine->park);
	if (self->running)
		return false;
	vblk_park_settle(engine->park);
	if (self->pending)
		inline_run(engine);
	return false;
}

/* A run that is under way sees other limits by itself, with its next request. */
static void inline_retry(struct vblk_engine *engine)
{
	struct inline_engine *self = from_base(engine);

	if (!self->drain || self->running)
		return;
	if (self->waiting)
		self->pending = true;
	if (self->pending)
		inline_run(engine);
}

static int inline_kick_fd(const struct vblk_engine *engine)
{
	(void)engine;
	return -ENOTSUP;
}

static bool inline_next_deadline(const struct vblk_engine *engine, uint64_t *deadline_ns)
{
	const struct inline_engine *self = (const struct inline_engine *)engine;

	if (!self->drain || vblk_park_is_paused(self->base.park))
		return false;
	if (self->pending)
		*deadline_ns = vblk_clock_now(&self->drain->config.disk->clock);
	else if (self->waiting)
		*deadline_ns = self->deadline_ns;
	return self->pending || self->waiting;
}

static void inline_destroy(struct vblk_engine *engine)
{
	vblk_park_unref(engine->park);
	free(from_base(engine));
}

/* One thread makes all calls: a drain is at rest unless this comes from within its own pass. */
static void inline_inspect(struct vblk_engine *engine, struct vblk_queue_state *state)
{
	struct inline_engine *self = from_base(engine);

	if (self->drain && self->drain != self->running)
		vblk_drain_inspect(self->drain, state);
	else if (self->drain)
		vblk_drain_inspect_running(self->drain, state);
}

static const struct vblk_engine_ops inline_ops = {
	.start = inline_start,
	.stop = inline_stop,
	.notify = inline_notify,
	.forget = inline_forget,
	.pause = inline_pause,
	.resume = inline_resume,
	.retry = inline_retry,
	.kick_fd = inline_kick_fd,
	.run = inline_run,
	.next_deadline = inline_next_deadline,
	.inspect = inline_inspect,
	.destroy = inline_destroy,
};

int vblk_inline_engine_create(struct vblk_engine **engine)
{
	struct inline_engine *self = calloc(1, sizeof(*self));

	if (!self)
		return -ENOMEM;
	if (vblk_park_create(&self->base.park) < 0) {
		free(self);
		return -ENOMEM;
	}
	self->base.ops = &inline_ops;
	*engine = &self->base;
	return 0;
}
