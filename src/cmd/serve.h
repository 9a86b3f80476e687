/* SPDX-License-Identifier: MIT */
/* What the parts of vblk serve share. */
#ifndef CMD_SERVE_H
#define CMD_SERVE_H

#include <assert.h>

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
	struct vblk_unix_listener listener;
	bool has_listener;
};

struct serve {
	struct serve_options options;
	struct serve_disk disks[SERVE_DISKS_MAX];
	const char **names; /* owned; what control clients call them, no two the same */
	int epoll_fd;
	int signal_fd;
	bool quit;
	struct cmd_control control;
};

/* What an event is about. */
enum serve_token {
	SERVE_SIGNAL,
	SERVE_CONTROL,
};

/* serve_control.c: opens the control socket, if there is to be one. Returns an exit status. */
int serve_control_open(struct serve *serve);

#endif
