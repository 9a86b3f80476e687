/* SPDX-License-Identifier: MIT */
/*
 * A thread that serves one server, and nothing else, so that whatever it waits for (a worker that
 * hangs in the disk, a front end that does not read) holds up no other disk of the process.
 *
 * Both functions are called by the owner of the server, one after the other.
 */
#ifndef VBLK_VHOST_THREAD_H
#define VBLK_VHOST_THREAD_H

#include <pthread.h>

#include "vhost/server.h"

struct vblk_vhost_thread {
	struct vblk_vhost_server *server; /* borrowed */
	pthread_t id;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	bool ended;
	int result;
};

/*
 * Starts to serve. The thread has all signals blocked but SIGBUS, and the processors and the
 * scheduling policy of the caller. Returns 0, or -EAGAIN if no thread can be created.
 */
VBLK_MUST_USE int vblk_vhost_thread_start(struct vblk_vhost_thread *thread,
					  struct vblk_vhost_server *server);

/*
 * Waits for the end of a thread that was started, which vblk_vhost_server_ask_to_end brings about:
 * who has several asks all of them first. Returns as vblk_vhost_server_run; or -ETIMEDOUT if it has
 * not ended within `timeout_ms`, as when it hangs in a call to what a front end has sent. Then it
 * is left to itself, and may go on at any time: for as long as there is the process, the server,
 * this structure and all that callbacks of the server need stay as they are.
 */
VBLK_MUST_USE int vblk_vhost_thread_join(struct vblk_vhost_thread *thread, uint32_t timeout_ms);

#endif
