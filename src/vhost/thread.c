/* SPDX-License-Identifier: MIT */
/*
 * The thread of a server. All that can be said to it is said to the server. Its last word is a
 * flag, so that nobody has to wait for it for ever.
 */
#include "vhost/thread.h"

#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/signals.h"

/* At most 16 bytes with the NUL; the kernel cuts off what is more. */
static void name_thread(const struct vblk_vhost_server *server)
{
	char name[32];

	snprintf(name, sizeof(name), "vblk%u/front", vblk_vhost_server_disk(server)->instance);
	prctl(PR_SET_NAME, name);
}

static void *serve(void *context)
{
	struct vblk_vhost_thread *thread = context;
	int result;

	name_thread(thread->server);
	result = vblk_vhost_server_run(thread->server);
	pthread_mutex_lock(&thread->lock);
	thread->result = result;
	thread->ended = true;
	pthread_cond_signal(&thread->changed);
	pthread_mutex_unlock(&thread->lock);
	return NULL;
}

static void init(struct vblk_vhost_thread *thread, struct vblk_vhost_server *server)
{
	pthread_condattr_t attr;

	*thread = (struct vblk_vhost_thread){ .server = server };
	pthread_mutex_init(&thread->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&thread->changed, &attr);
	pthread_condattr_destroy(&attr);
}

static void destroy(struct vblk_vhost_thread *thread)
{
	pthread_cond_destroy(&thread->changed);
	pthread_mutex_destroy(&thread->lock);
}

int vblk_vhost_thread_start(struct vblk_vhost_thread *thread, struct vblk_vhost_server *server)
{
	sigset_t before;
	int ret;

	init(thread, server);
	vblk_signals_block(&before);
	ret = pthread_create(&thread->id, NULL, serve, thread);
	vblk_signals_restore(&before);
	if (ret != 0)
		destroy(thread);
	return -ret;
}

int vblk_vhost_thread_join(struct vblk_vhost_thread *thread, uint32_t timeout_ms)
{
	const struct timespec deadline = vblk_deadline_after(timeout_ms);
	int waited = 0;
	bool ended;

	pthread_mutex_lock(&thread->lock);
	while (!thread->ended && waited == 0)
		waited = pthread_cond_timedwait(&thread->changed, &thread->lock, &deadline);
	ended = thread->ended;
	pthread_mutex_unlock(&thread->lock);
	if (!ended) {
		pthread_detach(thread->id);
		return -ETIMEDOUT;
	}
	pthread_join(thread->id, NULL);
	destroy(thread);
	return thread->result;
}
