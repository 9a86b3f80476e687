/* SPDX-License-Identifier: MIT */
/*
 * A disk as it is served over vhost-user: what its owner can do with it, whether a front end is
 * there or not.
 *
 * Threads. A server is served by one thread, without touching the data of the disk or guest memory;
 * the I/O is done by workers. That thread may wait: for workers whose ring a front end wants to
 * have stopped, up to the stop timeout, and a second for a front end that does not read. Servers
 * that are not to hold up each other have a thread each (thread.h). Else a server is a thing to be
 * polled: when the descriptor of vblk_vhost_server_fd is readable, vblk_vhost_server_serve does
 * what there is to do.
 *
 * Of the functions here, create, set_parked_fd and destroy are called while nobody serves;
 * vblk_vhost_server_serve and _run by the thread that serves. All others may be called from any
 * other thread meanwhile, and wait for no worker and no front end, and for the file itself no
 * longer than it is said. Of pause, resume and resize one at a time.
 */
#ifndef VBLK_VHOST_SERVER_H
#define VBLK_VHOST_SERVER_H

#include <vblk/device.h>

#include "vhost/session.h"

struct vblk_vhost_server;

struct vblk_vhost_server_options {
	/* The disk. `engine`, `interrupt` and what belongs to it mean nothing here. */
	struct vblk_device_options device;
	uint16_t queues; /* 1 to 16; 0: 1 */
	/*
	 * A front end that has said nothing yet, or half a message, for this long gives way to the
	 * next one that connects. 0: 10 s.
	 */
	uint32_t message_timeout_ms;
	uint32_t resize_timeout_ms; /* how long a resize waits for the file. 0: 1 s */
	/*
	 * Take files on whatever file system, and hang when it does (vblk_vhost_thread_join).
	 * Otherwise only descriptors are taken on which no call waits for somebody else
	 * (foreign_fd.h).
	 */
	bool any_files;
	/*
	 * Told by vblk_vhost_server_run, on its thread, if the disk is not served any more although
	 * nobody has asked for that. The server listens no more by then: whoever has another
	 * descriptor of its socket, or has given it a name, lets go of that. May be NULL.
	 */
	void (*given_up)(void *context, int error);
	void *given_up_context;
};

/*
 * Serves `backing`, of which it takes a reference, to whoever connects to `listen_fd`, a listening
 * non-blocking Unix socket that is taken over also when this fails. One front end at a time: the
 * next one waits in the socket's queue. Returns 0, or as vblk_device_create, or -EINVAL for the
 * queues.
 */
VBLK_MUST_USE int vblk_vhost_server_create(const struct vblk_vhost_server_options *options,
					   struct vblk_backing *backing, int listen_fd,
					   struct vblk_vhost_server **server);

/* Finishes what is in flight, within the stop timeout, and frees all. */
void vblk_vhost_server_destroy(struct vblk_vhost_server *server);

/* Readable when there is something to do. Owned by the server. */
int vblk_vhost_server_fd(const struct vblk_vhost_server *server);
void vblk_vhost_server_serve(struct vblk_vhost_server *server);

/*
 * Serves until vblk_vhost_server_ask_to_end is called, and then finishes what is in flight: within
 * the stop timeout from that call on, whatever hangs and whatever is waited for by then. Nothing
 * runs afterwards but workers that were given up, and nobody is connected. Returns 0; or what
 * epoll_wait said, which was logged: then it gives the disk up at once, and does not listen either.
 */
VBLK_MUST_USE int vblk_vhost_server_run(struct vblk_vhost_server *server);

/* For good: all that may follow is its destruction. Does not wait. */
void vblk_vhost_server_ask_to_end(struct vblk_vhost_server *server);

bool vblk_vhost_server_is_connected(const struct vblk_vhost_server *server);
struct vblk_disk *vblk_vhost_server_disk(const struct vblk_vhost_server *server);

/*
 * Brings all queues to rest, or lets them go on, also those that start later. Returns how many
 * acknowledgements follow on the parked eventfd.
 */
unsigned vblk_vhost_server_pause(struct vblk_vhost_server *server);
void vblk_vhost_server_resume(struct vblk_vhost_server *server);
bool vblk_vhost_server_is_paused(const struct vblk_vhost_server *server); /* asked for */
/*
 * Nothing runs, not even a worker that was given up. When a server that is paused comes to rest by
 * the end of one, the parked eventfd is written as well, beside all acknowledgements.
 */
bool vblk_vhost_server_is_at_rest(const struct vblk_vhost_server *server);

/* The eventfd, of which duplicates are kept. Returns 0 or -errno. */
VBLK_MUST_USE int vblk_vhost_server_set_parked_fd(struct vblk_vhost_server *server, int fd);

/*
 * As vblk_device_set_throttle and vblk_device_resize. The front end is told of another size by the
 * thread that serves, as soon as it gets there. A resize to more than there is also returns
 * -ETIMEDOUT when the file does not answer, which may be longer in the end, but not the disk;
 * -EBUSY from then on until it does; and -EAGAIN if no thread can be created, which it takes.
 */
VBLK_MUST_USE int vblk_vhost_server_set_throttle(struct vblk_vhost_server *server,
						 const struct vblk_throttle *throttle);
VBLK_MUST_USE int vblk_vhost_server_resize(struct vblk_vhost_server *server,
					   uint64_t capacity_bytes, bool shrink);

#endif
