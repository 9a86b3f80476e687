/* SPDX-License-Identifier: MIT */
/*
 * What the fuzzer of vhost-user sessions is about: two servers as vblk serve has them, with workers
 * of their own, one with a disk in memory and one with a file, whose calls io_uring makes where it
 * is to be had. With them what can be sent to a server, guest memory among it, and a look at what
 * must not be more than before when a front end has gone.
 *
 * All is done on the fuzzer's thread but what workers do. What cannot be had ends the process.
 */
#ifndef TESTS_FUZZ_VHOST_RIG_H
#define TESTS_FUZZ_VHOST_RIG_H

#include "vhost/server.h"

#define VHOST_RIG_DISKS	 2u
#define VHOST_RIG_MEMORY 0x20000u
#define VHOST_RIG_QUEUES 2u

/* Descriptors to be sent. What is named here has a place of its own. */
enum pool {
	POOL_MEMORY, /* VHOST_RIG_MEMORY bytes: guest memory */
	POOL_KICK,
	POOL_CALL,
	POOL_LARGE,    /* a file with room for a record of requests in flight */
	POOL_SMALL,    /* a file of a page */
	POOL_READONLY, /* the same, not to be written */
	POOL_PIPE_IN,
	POOL_PIPE_OUT,
	POOL_SOCKET,
	POOL_NULL,
	POOL_FOLDER,
	POOL_OWN, /* the front end's own end */
	POOL_SIZE,
};

struct vhost_rig {
	struct vblk_vhost_server *server; /* of the disk that the front end has come to */
	int pool[POOL_SIZE];
};

extern struct vhost_rig vhost_rig;

/* Says what could not be had, by errno, and ends the process. */
__attribute__((noreturn)) void vhost_rig_die(const char *what);

/* Once per process, the servers and the pool; and when each server has been used once. */
void vhost_rig_init(void);
void vhost_rig_count_maps(void);

/* A front end comes to a disk: a socket that does not block, and the server has taken it. */
int vhost_rig_connect(unsigned disk);

/* Whether the front end has come to this one. */
bool vhost_rig_is_at(unsigned disk);

/* The server does what there is to do. */
void vhost_rig_serve(void);

/* Whether the server had something to complain of since the front end came. */
bool vhost_rig_complained(void);

/* Workers that were given up so far, because they did not end in time. */
unsigned vhost_rig_late(void);

/* What the owner of the disk had changed is as it was. */
void vhost_rig_reset_disk(void);

/* Around an input. Files, pipes and the disk begin anew, and nothing that was sent is still held.
 */
void vhost_rig_begin(void);
void vhost_rig_end(void);

#endif
