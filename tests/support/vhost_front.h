/* SPDX-License-Identifier: MIT */
/*
 * A vhost-user front end for tests: a server with a disk, a connection to it, guest memory in a
 * memfd, and the driver's half of split rings.
 *
 * Server and front end share the test's thread. A message is sent, the server is made to serve what
 * has arrived, and then the answer is there or it never comes. Only requests are served by others,
 * the workers; front_wait_used sleeps on the call descriptor. Whatever cannot be done fails the
 * test. A server that was given a thread of its own (front_host_run) serves there, and what it
 * answers is waited for, at most 10 s.
 *
 * Guest memory is one region: FRONT_SIZE bytes at FRONT_GUEST, which the front end calls
 * FRONT_USER. Ring `q` has its parts at q * 0x8000. Request `slot` of a ring uses the descriptors
 * from 3 * slot on, so 3 * slot is its head; its data are a page of its own.
 */
#ifndef TESTS_SUPPORT_VHOST_FRONT_H
#define TESTS_SUPPORT_VHOST_FRONT_H

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <vblk/backing.h>

#include "vhost/server.h"
#include "vhost/thread.h"

#define FRONT_SIZE  0x100000u
#define FRONT_GUEST 0x40000000ull
#define FRONT_USER  0x7f0000000000ull

#define FRONT_RINGS	4u
#define FRONT_SLOTS	16u
#define FRONT_RING_SIZE 64u

/* What a byte of memory holds before anybody writes to it, where that matters. */
#define FRONT_SENTINEL 0xeeu

#define FRONT_LOG_SIZE 16384

/* The other side: a server on a listening socket without a name in the file system. */
struct front_host {
	struct vblk_vhost_server *server;
	struct vblk_vhost_thread thread;
	bool has_thread;
	struct vblk_backing *backing;
	struct sockaddr_un address;
	socklen_t address_length;
	pthread_mutex_t log_lock;
	char log[FRONT_LOG_SIZE];
	size_t log_used;
	unsigned complaints; /* lines that are warnings or errors */
};

struct front_ring {
	int kick_fd;
	int call_fd;
	int err_fd;
	uint16_t avail_idx;
};

struct front {
	struct front_host *host;
	int fd;
	int memory_fd;
	uint8_t *memory;
	uint64_t features; /* what front_negotiate takes of what is offered */
	bool acks;	   /* REPLY_ACK was negotiated */
	struct front_ring ring[FRONT_RINGS];
};

/* --- the server --- */

/*
 * `options` may be NULL; without a log of their own it is the host's. Takes over the caller's
 * reference of `backing`.
 */
void front_host_start(struct front_host *host, const struct vblk_vhost_server_options *options,
		      struct vblk_backing *backing);
void front_host_stop(struct front_host *host);

/* From now on it is served by a thread of its own, until front_host_end. */
void front_host_run(struct front_host *host);
void front_host_end(struct front_host *host);

/* Serves until there is nothing left to do. Somebody else does, if it has a thread. */
void front_host_serve(struct front_host *host);

bool front_host_logged(struct front_host *host, const char *text);
void front_host_clear_log(struct front_host *host);
unsigned front_host_complaints(struct front_host *host);

/* Mappings of this process that name a file; those of memfds contain "memfd:NAME". */
unsigned front_count_mappings(const char *name);

/* --- the connection --- */

/* Guest memory and descriptors, and a connection. front_reconnect keeps the memory as it is. */
void front_open(struct front *front, struct front_host *host);
void front_close(struct front *front);
void front_disconnect(struct front *front);
void front_reconnect(struct front *front, struct front_host *host);

/* Only knocks: whether and when the server opens is up to it. */
void front_knock(struct front *front, struct front_host *host);

/* A message as it is said; then the server serves. */
void front_send(struct front *front, const struct vblk_vhost_header *header, const void *payload,
		size_t size, const int *fds, unsigned fd_count);

/* The same where the connection may have ended: false if it has. */
bool front_try_send(struct front *front, const struct vblk_vhost_header *header,
		    const void *payload, size_t size, const int *fds, unsigned fd_count);

/* Sent, and nobody is made to serve. */
void front_post(struct front *front, const struct vblk_vhost_header *header, const void *payload,
		size_t size);

/* The answer that is there: its payload's size, and in *fd what came along (-1: nothing). */
size_t front_receive(struct front *front, struct vblk_vhost_header *header, void *payload,
		     size_t room, int *fd);

/* Whether the server has ended the connection. */
bool front_is_cut_off(struct front *front);

/* A request without a payload whose answer is a number. */
uint64_t front_get(struct front *front, uint32_t request);

/*
 * A request that changes something. Returns what the server answers, 0 or a positive errno, if
 * answers were negotiated; 0 otherwise.
 */
uint64_t front_put(struct front *front, uint32_t request, const void *payload, size_t size,
		   const int *fds, unsigned fd_count);
uint64_t front_put_u64(struct front *front, uint32_t request, uint64_t value);
uint64_t front_put_state(struct front *front, uint32_t request, uint32_t index, uint32_t num);
uint64_t front_put_ring_fd(struct front *front, uint32_t request, uint32_t index, int fd);

/* --- the usual way --- */

/* Features and protocol features: all that are offered, but for LOG_ALL. */
void front_negotiate(struct front *front);
uint64_t front_share_memory(struct front *front);

/* Size, base, addresses, call, error and kick descriptor of a ring. front_start: all of it. */
void front_set_ring(struct front *front, uint32_t ring, uint16_t base);
void front_start(struct front *front, unsigned rings);
uint32_t front_get_base(struct front *front, uint32_t ring);

/* --- the driver --- */
uint8_t *front_desc(struct front *front, uint32_t ring);
uint8_t *front_avail(struct front *front, uint32_t ring);
uint8_t *front_used(struct front *front, uint32_t ring);
uint8_t *front_data(struct front *front, uint32_t ring, unsigned slot);
uint64_t front_guest_of(const struct front *front, const void *at);

/* Lays out a request and makes it available. */
void front_offer(struct front *front, uint32_t ring, unsigned slot, uint32_t type, uint64_t sector,
		 uint32_t length);
void front_set_avail_idx(struct front *front, uint32_t ring, uint16_t value);
void front_kick(struct front *front, uint32_t ring);
uint16_t front_used_idx(struct front *front, uint32_t ring);
uint32_t front_used_head(struct front *front, uint32_t ring, uint16_t index);
uint8_t front_status(struct front *front, uint32_t ring, unsigned slot);

/* Waits until used.idx is `index`, at most 10 s. */
bool front_wait_used(struct front *front, uint32_t ring, uint16_t index);

/* Waits until a descriptor is readable, at most 10 s, and clears it. */
bool front_wait_fd(int fd);

/* Offers, kicks, waits; returns the status byte. */
uint8_t front_do(struct front *front, uint32_t ring, unsigned slot, uint32_t type, uint64_t sector,
		 uint32_t length);

#endif
