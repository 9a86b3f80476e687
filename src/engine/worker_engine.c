/* SPDX-License-Identifier: MIT */
/*
 * The engine that puts a worker thread to work at each start. It owns the kick, which stays the
 * same for the life of the device: an embedder wires it to the guest's notifications once.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "engine/worker.h"

struct worker_engine {
	struct vblk_engine base;
	struct vblk_worker *worker; /* NULL: idle */
	int kick_fd;
};

static struct worker_engine *from_base(struct vblk_engine *engine)
{
	return (struct worker_engine *)engine;
}

static int worker_engine_start(struct vblk_engine *engine, const struct vblk_drain_config *config,
			       const struct vblk_engine_host *host)
{
	struct worker_engine *self = from_base(engine);

	return vblk_worker_start(config, host, engine->park, self->kick_fd, &self->worker);
}

static void worker_engine_ask_to_stop(struct vblk_engine *engine)
{
	struct worker_engine *self = from_base(engine);

	if (self->worker)
		vblk_worker_ask_to_stop(self->worker);
}

static int worker_engine_stop(struct vblk_engine *engine, uint32_t timeout_ms)
{
	struct worker_engine *self = from_base(engine);
	struct vblk_worker *worker = self->worker;

	int ret = 0;

	self->worker = NULL;
	if (worker)
		ret = vblk_worker_stop(worker, timeout_ms);
	vblk_park_reset(engine->park);
	return ret;
}

static void worker_engine_notify(struct vblk_engine *engine)
{
	/* A write of 1 to a non-blocking eventfd that is open can only find it full: as good. */
	if (vblk_eventfd_signal(from_base(engine)->kick_fd) < 0)
		return;
}

static void worker_engine_forget(struct vblk_engine *engine)
{
	vblk_eventfd_clear(from_base(engine)->kick_fd);
}

static bool worker_engine_pause(struct vblk_engine *engine)
{
	struct worker_engine *self = from_base(engine);
	bool follows = vblk_park_request(engine->park);

	if (self->worker)
		vblk_worker_wake(self->worker);
	return follows;
}

static bool worker_engine_resume(struct vblk_engine *engine)
{
	return vblk_park_release(engine->park);
}

static void worker_engine_retry(struct vblk_engine *engine)
{
	struct worker_engine *self = from_base(engine);

	if (self->worker)
		vblk_worker_retry(self->worker);
}

static int worker_engine_kick_fd(const struct vblk_engine *engine)
{
	return ((const struct worker_engine *)engine)->kick_fd;
}

static void worker_engine_inspect(struct vblk_engine *engine, struct vblk_queue_state *state)
{
	struct worker_engine *self = from_base(engine);

	if (self->worker)
		vblk_worker_inspect(self->worker, state);
}

static void worker_engine_run(struct vblk_engine *engine)
{
	(void)engine;
}

static bool worker_engine_next_deadline(const struct vblk_engine *engine, uint64_t *deadline_ns)
{
	(void)engine;
	(void)deadline_ns;
	return false;
}

static void worker_engine_destroy(struct vblk_engine *engine)
{
	struct worker_engine *self = from_base(engine);

	close(self->kick_fd);
	vblk_park_unref(engine->park);
	free(self);
}

static const struct vblk_engine_ops worker_engine_ops = {
	.start = worker_engine_start,
	.ask_to_stop = worker_engine_ask_to_stop,
	.stop = worker_engine_stop,
	.notify = worker_engine_notify,
	.forget = worker_engine_forget,
	.pause = worker_engine_pause,
	.resume = worker_engine_resume,
	.retry = worker_engine_retry,
	.kick_fd = worker_engine_kick_fd,
	.run = worker_engine_run,
	.next_deadline = worker_engine_next_deadline,
	.inspect = worker_engine_inspect,
	.destroy = worker_engine_destroy,
};

int vblk_worker_engine_create(struct vblk_engine **engine)
{
	struct worker_engine *self = calloc(1, sizeof(*self));
	int ret;

	if (!self)
		return -ENOMEM;
	ret = vblk_eventfd_create(&self->kick_fd);
	if (ret < 0) {
		free(self);
		return ret;
	}
	ret = vblk_park_create(&self->base.park);
	if (ret < 0) {
		close(self->kick_fd);
		free(self);
		return ret;
	}
	self->base.ops = &worker_engine_ops;
	*engine = &self->base;
	return 0;
}
