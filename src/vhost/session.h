/* SPDX-License-Identifier: MIT */
/*
 * A vhost-user-blk back end: one disk, and one front end at a time.
 *
 *     export   the disk as it is offered: features, rings, pause, limits; for as long as it serves
 *     session  one connection of a front end, from its first message to its end
 *
 * The session is a state that messages change (handlers.c) and rings that follow it (ring.h). A
 * front end that breaks a rule loses its connection: one line is logged, its rings stop, its
 * memory is unmapped, and the next one finds the export as new.
 *
 * Belongs to one thread, which never reads or writes the disk and never touches guest memory. It
 * waits for the workers of rings that have to stop, for the stop timeout at most for all that stop
 * together. So an export that is to hold up no other has a thread of its own (thread.h). What other
 * threads may do with an export is said at the members and in ring.h. Descriptors that may hang do
 * not come this far (foreign_fd.h).
 */
#ifndef VBLK_VHOST_SESSION_H
#define VBLK_VHOST_SESSION_H

#include "base/log.h"
#include "device/config.h"
#include "vhost/channel.h"
#include "vhost/ring.h"
#include "vhost/write_cache.h"

#define VBLK_VHOST_QUEUES_MAX 16u

struct vblk_vhost_export {
	struct vblk_disk *disk; /* owned */
	struct vblk_offer offer;
	struct vblk_engine_host host;
	uint32_t stop_timeout_ms;
	struct vblk_log_limit log_limit;    /* of messages that a front end causes */
	struct vblk_vhost_account *account; /* owned: of all that front ends share */
	int event_fd; /* borrowed: written when a worker that was given up has ended */
	/*
	 * Told before the socket of a back-end channel is closed. Whoever watches it with epoll has
	 * to take it off: the front end may have kept it, and then closing it does not. NULL:
	 * nobody.
	 */
	void (*backend_closing)(void *context, int fd);
	void *backend_context;
	/*
	 * When all workers have to have stopped, whatever the stop timeout says. UINT64_MAX until
	 * another thread says that the export ends.
	 */
	_Atomic uint64_t deadline_ns;
	uint16_t queues;
	struct vblk_vhost_ring ring[VBLK_VHOST_QUEUES_MAX];
};

struct vblk_vhost_session {
	struct vblk_vhost_export *export;
	struct vblk_vhost_channel channel;
	struct vblk_vhost_channel backend; /* fd -1: the front end does not listen */
	struct vblk_vhost_terms terms;
	struct vblk_vhost_guest_memory memory;
	struct vblk_vhost_mapping_ref *log;
	uint64_t log_size;
	struct vblk_vhost_mapping_ref *inflight;
	uint16_t inflight_queues;
	uint16_t inflight_size;
	struct vblk_vhost_write_cache cache;
	uint8_t status; /* the device status, as the front end tells it */
};

/* What is sent back for a message. */
struct vblk_vhost_answer {
	uint64_t u64;
	struct vhost_vring_state state;
	uint8_t config[VBLK_VHOST_CONFIG_MAX];
	struct vblk_vhost_inflight_area inflight;
	int fd; /* sent and closed; -1: none */
};

/*
 * Makes an export of zeros into one of `backing`, of which it takes a reference, with no account
 * yet. Returns 0, or as vblk_disk_create, or -EINVAL for the queues (1 to 16; 0: 1). To be closed
 * in any case.
 */
VBLK_MUST_USE int vblk_vhost_export_open(struct vblk_vhost_export *export,
					 const struct vblk_device_options *options, uint16_t queues,
					 struct vblk_backing *backing);
void vblk_vhost_export_close(struct vblk_vhost_export *export);

/*
 * Lets go of what workers that were given up, and have ended since, have left behind. Returns
 * whether any have ended since the last call.
 */
bool vblk_vhost_export_collect(struct vblk_vhost_export *export);

/* Takes over a connected socket. Returns 0, -ENOMEM or -EMFILE; the socket is closed then. */
VBLK_MUST_USE int vblk_vhost_session_open(struct vblk_vhost_session *session,
					  struct vblk_vhost_export *export, int fd);

/* Stops the rings, all within the stop timeout, and forgets the front end. */
void vblk_vhost_session_close(struct vblk_vhost_session *session);

/*
 * The same when the front end has gone of itself. Nobody waits for the rings any more, but others
 * wait for this thread: whoever hangs in the disk is given up sooner. The next front end's rings
 * start when he has ended.
 */
#define VBLK_VHOST_LEAVE_MS 1000u
void vblk_vhost_session_leave(struct vblk_vhost_session *session);

/*
 * Serves a message, if all of one has arrived. Returns 0; -ECONNRESET if the front end has gone;
 * another negative errno, which was logged, if the connection has to end.
 */
VBLK_MUST_USE int vblk_vhost_session_serve(struct vblk_vhost_session *session);

/* The same of the front end's answers on the back-end channel, which nobody waits for. */
VBLK_MUST_USE int vblk_vhost_session_serve_backend(struct vblk_vhost_session *session);

/* Tells the driver that the configuration space has changed, if the front end can be told. */
void vblk_vhost_session_announce(struct vblk_vhost_session *session);

/* Starts the rings that waited for such an end, if they are still to be served. */
void vblk_vhost_session_go_on(struct vblk_vhost_session *session);

/* Ends the back-end channel, if there is one. */
void vblk_vhost_session_close_backend(struct vblk_vhost_session *session);

/* --- for the handlers --- */

typedef int (*vblk_vhost_handler)(struct vblk_vhost_session *session,
				  const struct vblk_vhost_message *message,
				  struct vblk_vhost_answer *answer, const char **reason);

/* The function that serves a request, or NULL: such a request changes nothing. */
vblk_vhost_handler vblk_vhost_handler_of(uint32_t request);

/*
 * The device begins anew: no features, write cache and limits as at the start. Rings are stopped.
 */
void vblk_vhost_session_begin_device(struct vblk_vhost_session *session);

/* Whether a ring was served since then. */
bool vblk_vhost_session_has_run(const struct vblk_vhost_session *session);

/* Stops all rings; starts those that are to be served. */
void vblk_vhost_session_stop_rings(struct vblk_vhost_session *session);
VBLK_MUST_USE int vblk_vhost_session_start_rings(struct vblk_vhost_session *session,
						 const char **reason);

#endif
