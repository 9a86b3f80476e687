/* SPDX-License-Identifier: MIT */
/* The thread of a server. All that can be said to it is said to the server. */
#include "vhost/thread.h"

#include <stdio.h>
#include <sys/prctl.h>

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

	name_thread(thread->server);
	thread->result = vblk_vhost_server_run(thread->server);
	return NULL;
}

int vblk_vhost_thread_start(struct vblk_vhost_thread *thread, struct vblk_vhost_server *server)
{
	sigset_t before;
	int ret;

	thread->server = server;
	vblk_signals_block(&before);
	ret = pthread_create(&thread->id, NULL, serve, thread);
	vblk_signals_restore(&before);
	return -ret;
}

int vblk_vhost_thread_join(struct vblk_vhost_thread *thread)
{
	pthread_join(thread->id, NULL);
	return thread->result;
}
