/* SPDX-License-Identifier: MIT */
/*
 * The control socket's server. It waits for nothing: whoever runs the program's main thread waits
 * for one descriptor of it, among others, and calls vblk_control_server_run when it is readable.
 *
 *     struct vblk_control_server *server;
 *
 *     vblk_unix_listen(path, &listener, message, sizeof(message));
 *     vblk_control_server_create(&options, &server);
 *     vblk_device_set_parked_fd(device, vblk_control_server_parked_fd(server));   for each disk
 *     ...
 *     epoll: vblk_control_server_fd(server), EPOLLIN  ->  vblk_control_server_run(server);
 *     ...
 *     vblk_control_server_destroy(server);
 *     vblk_unix_listener_close(&listener);
 *
 * Clients cannot hold up each other nor the caller: of each no more than a buffer is read at a
 * time, one that does not read its answers is dropped, and there are at most
 * VBLK_CONTROL_CLIENTS_MAX. How long a call takes is up to the operations below, which must not
 * wait for a disk.
 *
 * All functions are called by one thread, the one on which the operations are then called too.
 */
#ifndef CONTROL_SERVER_H
#define CONTROL_SERVER_H

#include "base/clock.h"
#include "base/log.h"
#include "control/protocol.h"

#define VBLK_CONTROL_CLIENTS_MAX 16u
#define VBLK_CONTROL_PENDING_MAX 64u /* pauses that wait, of all clients together */

/*
 * What the program does for a client; all are required but where it says so. `disk` is below
 * disk_count.
 *
 * Those that can fail return 0 or a negative errno, and may put one line of text into `message`
 * that says why; otherwise the client gets the text of the errno. -EINVAL, -ERANGE, -EOPNOTSUPP,
 * -EBUSY have codes of their own in the protocol, all others are a failure. An operation that
 * fails has changed nothing.
 */
struct vblk_control_ops {
	/* Everything but the name, which is known here. */
	void (*stats)(void *context, unsigned int disk, struct vblk_control_disk *state);

	/* Other limits; they do not contradict each other. */
	int (*throttle)(void *context, unsigned int disk, const struct vblk_throttle *throttle,
			char *message, size_t message_size);

	/*
	 * Asks for rest and returns at once. From then on the disk is looked at with is_paused
	 * when the parked descriptor is written or vblk_control_server_check is called.
	 */
	int (*pause)(void *context, unsigned int disk, char *message, size_t message_size);
	bool (*is_paused)(void *context, unsigned int disk);
	int (*resume)(void *context, unsigned int disk, char *message, size_t message_size);

	/* Another size: a multiple of 512 that is not 0, and below the present one only by force.
	 */
	int (*resize)(void *context, unsigned int disk, uint64_t bytes, char *message,
		      size_t message_size);

	/* Replaces all rules of the disk by these texts; none if count is 0. */
	int (*fault)(void *context, unsigned int disk, const char *const *rules, size_t count,
		     char *message, size_t message_size);

	/* The program is to end, once it is back in its main loop. */
	void (*quit)(void *context);

	/*
	 * Of a program that runs a machine; NULL, all three, where there is none. They may take as
	 * long as that takes, and others wait meanwhile. The message of `dump` is the path of the
	 * dump when it returns 0.
	 */
	int (*freeze)(void *context, struct vblk_control_freeze *freeze, char *message,
		      size_t message_size);
	int (*thaw)(void *context, char *message, size_t message_size);
	int (*dump)(void *context, char *message, size_t message_size);
};

struct vblk_control_options {
	int listen_fd;		  /* non-blocking; the caller's, to be closed after the server */
	const char *version;	  /* of the program; outlives the server */
	const char *const *disks; /* their names; outlive the server */
	unsigned int disk_count;
	const struct vblk_control_ops *ops; /* outlives the server */
	void *context;			    /* of the operations */
	vblk_control_size_fn parse_size;    /* how the program reads sizes */
	struct vblk_log log;		    /* of what goes wrong here */
	const struct vblk_clock *clock;	    /* NULL: CLOCK_MONOTONIC; outlives the server */
};

struct vblk_control_server;

/*
 * To be called before the sandbox is entered. Returns 0 or a negative errno (-ENOMEM, -EMFILE and
 * so on).
 */
VBLK_MUST_USE int vblk_control_server_create(const struct vblk_control_options *options,
					     struct vblk_control_server **server);

/* Sends what goes without waiting, and closes all connections. NULL is ignored. */
void vblk_control_server_destroy(struct vblk_control_server *server);

/* Readable when there is something to do. Owned by the server, the same until its end. */
int vblk_control_server_fd(const struct vblk_control_server *server);

/* An eventfd: to be written when a disk comes to rest (vblk_device_set_parked_fd). Owned likewise.
 */
int vblk_control_server_parked_fd(const struct vblk_control_server *server);

/* Does what there is to do, and returns. */
void vblk_control_server_run(struct vblk_control_server *server);

/* A disk may have come to rest in another way: its device was destroyed, for example. */
void vblk_control_server_check(struct vblk_control_server *server);

#endif
