/* SPDX-License-Identifier: MIT */
/* What the parts of vblk serve share. */
#ifndef CMD_SERVE_H
#define CMD_SERVE_H

#include <assert.h>
#include <stdatomic.h>

#include "base/sigbus.h"
#include "cmd/control_socket.h"
#include "cmd/serve_options.h"
#include "control/unix_socket.h"
#include "sandbox/sandbox.h"
#include "vhost/server.h"
#include "vhost/thread.h"

static_assert(SERVE_DISKS_MAX * VBLK_VHOST_MAPPINGS_MAX <= VBLK_SIGBUS_RANGES,
	      "what the front ends of each disk may map can be watched");

struct serve_disk {
	const char *name;	      /* what it is called in messages; in names below */
	struct vblk_backing *backing; /* owned */
	struct vblk_vhost_server *server;
	struct vblk_vhost_thread thread; /* serves the server, if has_thread */
	bool has_thread;
	struct serve *serve; /* that it is one of */
	struct vblk_unix_listener listener;
	atomic_bool has_listener; /* who takes it away closes the listener */
};

struct serve {
	struct serve_options options;
	struct serve_disk disks[SERVE_DISKS_MAX];
	const char **names; /* owned; what control clients call them, no two the same */
	int epoll_fd;
	int signal_fd;
	int lost_fd;	    /* an eventfd: no disk is served any more */
	atomic_uint served; /* disks that were not given up */
	bool quit;
	bool left; /* a thread hangs and is left to itself: nothing is freed */
	struct cmd_control control;
};

/* What an event is about. */
enum serve_token {
	SERVE_SIGNAL,
	SERVE_LOST,
	SERVE_CONTROL,
};

/*
 * serve_listen.c: judges the descriptors that were passed on, before anything else is opened and
 * has one of their numbers. Returns an exit status.
 */
int serve_check_passed_on(const struct serve *serve);

/*
 * Listens on a place, for a disk; *own is a descriptor of that socket. Returns an
 * exit status.
 */
int serve_listen(const struct serve_place *place, struct serve_disk *disk, int *own);

/* Any thread, any number of times: what was made to listen on is closed and removed. */
void serve_stop_listening(struct serve_disk *disk);

/* When all places are listened on: the descriptors that were passed on are not needed any more. */
void serve_close_passed_on(const struct serve *serve);

/* serve_control.c: opens the control socket, if there is to be one. Returns an exit status. */
int serve_control_open(struct serve *serve);

#endif
