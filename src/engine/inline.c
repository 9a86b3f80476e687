/* SPDX-License-Identifier: MIT */
/*
 * The inline engine: the thread that notifies is the thread that drains. It takes no lock, starts
 * no thread and never sleeps; what it could not finish (a bound reached, a request that waits for
 * tokens) is left for vblk_engine_run, and next_deadline says when that is worth a call.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdlib.h>

#include "metrics/metrics.h"

struct inline_engine {
	struct vblk_engine base;
	struct vblk_drain *drain; /* NULL: idle */
	bool pending;		  /* a notification came, or was not fully served */
	bool waiting;		  /* the next request waits for tokens until `deadline_ns` */
	uint64_t deadline_ns;
};

static struct inline_engine *from_base(struct vblk_engine *engine)
{
	return (struct inline_engine *)engine;
}

static void inline_run(struct vblk_engine *engine)
{
	struct inline_engine *self = from_base(engine);
	uint64_t wait_ns = 0;

	if (!self->drain || self->base.park->level)
		return;
	self->pending = false;
	self->waiting = false;
	switch (vblk_drain_run(self->drain, &wait_ns)) {
	case VBLK_DRAIN_DONE:
		break;
	case VBLK_DRAIN_MORE:
		self->pending = true;
		break;
	case VBLK_DRAIN_STALLED:
		self->waiting = true;
		self->deadline_ns =
			vblk_clock_now(&self->drain->config.clock) + vblk_retry_clamp(wait_ns);
		break;
	}
}

static void inline_notify(struct vblk_engine *engine)
{
	struct inline_engine *self = from_base(engine);

	self->pending = true;
	if (!self->drain)
		return;
	vblk_metrics_add_notification(self->drain->config.metrics);
	inline_run(engine);
}

static int inline_start(struct vblk_engine *engine, const struct vblk_drain_config *config,
			const struct vblk_cpus *cpus)
{
	struct inline_engine *self = from_base(engine);

	(void)cpus;
	self->drain = malloc(sizeof(*self->drain));
	if (!self->drain)
		return -ENOMEM;
	vblk_drain_init(self->drain, config);
	vblk_park_begin(engine->park);
	self->waiting = false;
	if (self->pending)
		inline_run(engine);
	return 0;
}

static int inline_stop(struct vblk_engine *engine, uint32_t timeout_ms)
{
	struct inline_engine *self = from_base(engine);

	(void)timeout_ms;
	if (!self->drain)
		return 0;
	vblk_drain_destroy(self->drain);
	free(self->drain);
	self->drain = NULL;
	self->waiting = false;
	vblk_park_end(engine->park);
	return 0;
}

static void inline_forget(struct vblk_engine *engine)
{
	from_base(engine)->pending = false;
}

static bool inline_pause(struct vblk_engine *engine)
{
	bool follows = vblk_park_request(engine->park);

	vblk_park_at_once(engine->park);
	return follows;
}

/* Nobody has to be waited for, hence false: what was notified is served before this returns. */
static bool inline_resume(struct vblk_engine *engine)
{
	if (!vblk_park_release(engine->park))
		return false;
	vblk_park_begin(engine->park);
	if (from_base(engine)->pending)
		inline_run(engine);
	return false;
}

/* A request that waits is looked at again with the new limits. */
static void inline_set_throttle(struct vblk_engine *engine, const struct vblk_throttle *throttle)
{
	struct inline_engine *self = from_base(engine);

	if (!self->drain)
		return;
	vblk_drain_set_throttle(self->drain, throttle);
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

	if (!self->drain || self->base.park->level)
		return false;
	if (self->pending)
		*deadline_ns = vblk_clock_now(&self->drain->config.clock);
	else if (self->waiting)
		*deadline_ns = self->deadline_ns;
	return self->pending || self->waiting;
}

static void inline_destroy(struct vblk_engine *engine)
{
	vblk_park_unref(engine->park);
	free(from_base(engine));
}

static const struct vblk_engine_ops inline_ops = {
	.start = inline_start,
	.stop = inline_stop,
	.notify = inline_notify,
	.forget = inline_forget,
	.pause = inline_pause,
	.resume = inline_resume,
	.set_throttle = inline_set_throttle,
	.kick_fd = inline_kick_fd,
	.run = inline_run,
	.next_deadline = inline_next_deadline,
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
