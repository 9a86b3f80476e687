/* SPDX-License-Identifier: MIT */
/*
 * A listening socket, an export, and the session of whoever is connected.
 *
 * Five descriptors are watched by an epoll instance of the server's own: the listening socket while
 * nobody is connected, the session's socket and its back-end channel while somebody is, a timer,
 * and an event for what other threads have to say: memory that a front end has shared was found to
 * be too short, a worker that was given up has ended, the disk has another size, it is to end.
 * Which of them, flags say.
 *
 * The listening socket is watched for one event at a time (EPOLLONESHOT), and again when there is
 * room for a front end. So a socket that cannot be accepted from, for want of descriptors for
 * example, is silent until the timer says that it is time to try again, and a client that waits
 * behind somebody else wakes nobody.
 *
 * The timer means one thing at a time: without a front end, that; with one, that a message of it
 * is overdue. Whoever owes us a message keeps its place until another knocks.
 */
#include "vhost/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "base/log.h"
#include "base/sigbus.h"
#include "vhost/grower.h"

#define DEFAULT_MESSAGE_TIMEOUT_MS 10000u
#define DEFAULT_RESIZE_TIMEOUT_MS  1000u
#define ACCEPT_RETRY_MS		   100u

#define EVENTS_MAX 5

struct vblk_vhost_server {
	struct vblk_vhost_export export;
	struct vblk_vhost_session session;
	atomic_bool connected; /* other threads only look */
	/* Said by other threads. */
	atomic_bool paused;
	atomic_bool resized;
	atomic_bool ends;
	struct vblk_vhost_closer *closer; /* NULL: any file is taken */
	bool deaf; /* accepting has failed, which was said, and not succeeded since */
	/* A message is owed since the timer was set, when `heard` had come. */
	bool owed;
	bool overdue; /* the time is up: the next one who knocks is let in instead */
	uint64_t heard;
	uint32_t message_timeout_ms;
	void (*given_up)(void *context, int error);
	void *given_up_context;
	struct vblk_vhost_grower *grower; /* owned */
	uint32_t resize_timeout_ms;
	int listen_fd; /* -1: given up */
	int parked_fd; /* a duplicate of the owner's, or -1 */
	int event_fd;
	int timer_fd;
	int epoll_fd;
	int backend_fd; /* the back-end channel that is watched, or -1 */
};

static int watch(struct vblk_vhost_server *server, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void unwatch(struct vblk_vhost_server *server, int fd)
{
	/* Only what is watched is taken off, so this cannot fail. */
	(void)epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* The next one who knocks is an event, once. */
static int listen_again(struct vblk_vhost_server *server)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT,
				     .data.fd = server->listen_fd };

	return epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, server->listen_fd, &event) < 0 ? -errno
											 : 0;
}

/* 0: not at all. */
static int set_timer(struct vblk_vhost_server *server, uint32_t ms)
{
	const struct itimerspec when = {
		.it_value = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 },
	};

	return timerfd_settime(server->timer_fd, 0, &when, NULL) < 0 ? -errno : 0;
}

static bool take_timer(struct vblk_vhost_server *server)
{
	uint64_t count;

	return read(server->timer_fd, &count, sizeof(count)) == sizeof(count);
}

static void forget_backend(void *context, int fd)
{
	struct vblk_vhost_server *server = context;

	if (server->backend_fd != fd)
		return;
	unwatch(server, fd);
	server->backend_fd = -1;
}

static int open_descriptors(struct vblk_vhost_server *server)
{
	int ret = vblk_eventfd_create(&server->event_fd);

	if (ret < 0)
		return ret;
	server->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (server->timer_fd < 0)
		return -errno;
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->epoll_fd < 0)
		return -errno;
	ret = watch(server, server->event_fd);
	if (ret == 0)
		ret = watch(server, server->timer_fd);
	if (ret == 0)
		ret = watch(server, server->listen_fd);
	return ret < 0 ? ret : listen_again(server);
}

static void stop_listening(struct vblk_vhost_server *server)
{
	if (server->listen_fd >= 0)
		close(server->listen_fd);
	server->listen_fd = -1;
}

static void free_server(struct vblk_vhost_server *server)
{
	vblk_vhost_grower_release(server->grower);
	vblk_vhost_export_close(&server->export);
	vblk_vhost_closer_release(server->closer);
	stop_listening(server);
	if (server->epoll_fd >= 0)
		close(server->epoll_fd);
	if (server->timer_fd >= 0)
		close(server->timer_fd);
	if (server->event_fd >= 0)
		close(server->event_fd);
	if (server->parked_fd >= 0)
		close(server->parked_fd);
	free(server);
}

int vblk_vhost_server_create(const struct vblk_vhost_server_options *options,
			     struct vblk_backing *backing, int listen_fd,
			     struct vblk_vhost_server **server)
{
	struct vblk_vhost_server *made = calloc(1, sizeof(*made));
	int ret;

	if (!made) {
		close(listen_fd);
		return -ENOMEM;
	}
	made->listen_fd = listen_fd;
	made->message_timeout_ms = options->message_timeout_ms ? options->message_timeout_ms
							       : DEFAULT_MESSAGE_TIMEOUT_MS;
	made->resize_timeout_ms =
		options->resize_timeout_ms ? options->resize_timeout_ms : DEFAULT_RESIZE_TIMEOUT_MS;
	made->given_up = options->given_up;
	made->given_up_context = options->given_up_context;
	made->epoll_fd = -1;
	made->timer_fd = -1;
	made->event_fd = -1;
	made->parked_fd = -1;
	made->backend_fd = -1;
	ret = vblk_sigbus_install();
	if (ret == 0)
		ret = vblk_vhost_export_open(&made->export, &options->device, options->queues,
					     backing);
	if (ret == 0)
		ret = vblk_vhost_grower_create(made->export.disk, &made->grower);
	if (ret == 0 && !options->any_files)
		ret = vblk_vhost_closer_create(&made->closer);
	if (ret == 0)
		ret = open_descriptors(made);
	if (ret == 0)
		ret = vblk_vhost_account_create(made->event_fd, &made->export.account);
	made->export.event_fd = made->event_fd;
	if (ret < 0) {
		free_server(made);
		return ret;
	}
	made->export.backend_closing = forget_backend;
	made->export.backend_context = made;
	*server = made;
	return 0;
}

/* ---- connections ---- */

/* A front end comes and goes as often as it likes. */
static void log_connection(struct vblk_vhost_server *server, enum vblk_log_level level,
			   const char *message, int error)
{
	const struct vblk_disk *disk = server->export.disk;

	vblk_log_emit_limited(&disk->log, &server->export.log_limit, vblk_clock_now(&disk->clock),
			      level, message, VBLK_FIELD_UINT("instance", disk->instance),
			      VBLK_FIELD_INT("error", error));
}

/* A timer that cannot be set is no reason to be deaf for ever. */
static void try_later(struct vblk_vhost_server *server)
{
	if (set_timer(server, ACCEPT_RETRY_MS) < 0)
		(void)listen_again(server);
}

/* The former front end has gone, or a moment has passed. */
static void wait_for_front_end(struct vblk_vhost_server *server)
{
	if (listen_again(server) < 0)
		try_later(server);
}

static void disconnect(struct vblk_vhost_server *server)
{
	unwatch(server, server->session.channel.fd);
	vblk_vhost_session_leave(&server->session);
	server->connected = false;
	(void)set_timer(server, 0);
	wait_for_front_end(server);
}

/*
 * A message that has begun has to end, and a connection has to begin with one: otherwise who does
 * neither could keep the others waiting for nothing. Bytes that trickle in win no time.
 */
static void look_after_message(struct vblk_vhost_server *server)
{
	const struct vblk_vhost_channel *channel = &server->session.channel;
	bool owed = channel->messages == 0 || channel->assembler.filled > 0;

	if (owed == server->owed && (!owed || channel->messages == server->heard))
		return;
	server->owed = owed;
	server->overdue = false;
	server->heard = channel->messages;
	/* Without a timer it gets all the time it wants. */
	(void)set_timer(server, owed ? server->message_timeout_ms : 0);
}

static void begin_session(struct vblk_vhost_server *server, int fd)
{
	int ret = vblk_vhost_session_open(&server->session, &server->export, fd);

	if (ret == 0) {
		ret = watch(server, fd);
		if (ret < 0)
			vblk_vhost_session_close(&server->session);
	}
	log_connection(server, ret < 0 ? VBLK_LOG_ERROR : VBLK_LOG_INFO,
		       ret < 0 ? "cannot serve a front end" : "front end connected", ret);
	if (ret < 0) {
		wait_for_front_end(server);
		return;
	}
	server->session.channel.closer = server->closer;
	server->connected = true;
	server->owed = false;
	look_after_message(server);
}

/* Once for as long as it lasts. */
static void log_deaf(struct vblk_vhost_server *server, const char *message, int error)
{
	if (!server->deaf)
		log_connection(server, VBLK_LOG_ERROR, message, error);
	server->deaf = true;
}

static void connect_next(struct vblk_vhost_server *server)
{
	int fd;

	/* Whoever sends such descriptors over and over has one thread and a handful of them. */
	if (server->closer && vblk_vhost_closer_is_busy(server->closer)) {
		log_deaf(server,
			 "front ends have to wait until what the last one sent can be closed",
			 -EBUSY);
		try_later(server);
		return;
	}
	fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		server->deaf = false;
		begin_session(server, fd);
		return;
	}
	/* A socket that somebody has shut down says EAGAIN, and is an event without end. */
	if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		log_deaf(server, "cannot accept front ends: it is tried again and again", -errno);
	try_later(server);
}

static void knock(struct vblk_vhost_server *server)
{
	if (!server->connected) {
		connect_next(server);
	} else if (server->overdue) {
		log_connection(server, VBLK_LOG_WARN,
			       "front end is disconnected: a message of it is overdue, and another "
			       "front end waits",
			       -ETIMEDOUT);
		disconnect(server);
	}
}

static void time_is_up(struct vblk_vhost_server *server)
{
	/* It may have been set again since, or be for something that is over. */
	if (!take_timer(server))
		return;
	server->overdue = server->connected && server->owed;
	wait_for_front_end(server);
}

/* A message may have brought the channel, or another one. */
static void follow_backend(struct vblk_vhost_server *server)
{
	int fd = server->session.backend.fd;
	int ret;

	if (fd < 0 || fd == server->backend_fd)
		return;
	server->session.backend.closer = server->closer;
	ret = watch(server, fd);
	if (ret == 0) {
		server->backend_fd = fd;
		return;
	}
	log_connection(server, VBLK_LOG_WARN, "the back-end channel is no socket", ret);
	vblk_vhost_session_close_backend(&server->session);
}

/*
 * One message, and then other events have their turn: who sends without end does not keep the
 * thread from them.
 */
static void serve_session(struct vblk_vhost_server *server)
{
	int ret = vblk_vhost_session_serve(&server->session);

	if (ret >= 0) {
		follow_backend(server);
		look_after_message(server);
		return;
	}
	/* Whatever is wrong has its line already. */
	log_connection(server, VBLK_LOG_INFO,
		       ret == -ECONNRESET ? "front end has gone" : "front end is disconnected",
		       ret == -ECONNRESET ? 0 : ret);
	disconnect(server);
}

static void check_memory(struct vblk_vhost_server *server)
{
	const struct vblk_vhost_session *session = &server->session;

	if (!vblk_vhost_guest_memory_has_failed(&session->memory) &&
	    !(session->log && vblk_vhost_mapping_has_failed(session->log)) &&
	    !(session->inflight && vblk_vhost_mapping_has_failed(session->inflight)))
		return;
	log_connection(server, VBLK_LOG_WARN,
		       "front end has cut its memory short: it is disconnected", -EFAULT);
	disconnect(server);
}

/* What a worker that was given up leaves behind is let go, and is what others have waited for. */
static void collect(struct vblk_vhost_server *server)
{
	if (vblk_vhost_export_collect(&server->export) && server->parked_fd >= 0 &&
	    vblk_vhost_server_is_paused(server) && vblk_vhost_server_is_at_rest(server))
		(void)!vblk_eventfd_signal(server->parked_fd);
}

static void hear_event(struct vblk_vhost_server *server)
{
	bool resized;

	vblk_eventfd_clear(server->event_fd);
	collect(server);
	resized = atomic_exchange(&server->resized, false);
	if (!server->connected)
		return;
	if (resized)
		vblk_vhost_session_announce(&server->session);
	vblk_vhost_session_go_on(&server->session);
	check_memory(server);
}

static void serve_backend(struct vblk_vhost_server *server)
{
	if (vblk_vhost_session_serve_backend(&server->session) >= 0)
		return;
	log_connection(server, VBLK_LOG_INFO, "back-end channel has gone", 0);
	/* Another channel, and another: they would have no end. */
	if (server->closer && vblk_vhost_closer_is_busy(server->closer)) {
		log_connection(
			server, VBLK_LOG_WARN,
			"front end is disconnected: it answers with descriptors that may hang",
			-EPROTO);
		disconnect(server);
	}
}

/* Waits for events, for `timeout_ms` (-1: for ever), and does what they want. 0, or -errno. */
static int serve_events(struct vblk_vhost_server *server, int timeout_ms)
{
	struct epoll_event events[EVENTS_MAX];
	int count = epoll_wait(server->epoll_fd, events, EVENTS_MAX, timeout_ms);

	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < count; i++) {
		int fd = events[i].data.fd;

		/* An earlier event may have closed the descriptor of a later one. */
		if (fd == server->event_fd)
			hear_event(server);
		else if (fd == server->timer_fd)
			time_is_up(server);
		else if (fd == server->listen_fd)
			knock(server);
		else if (server->connected && fd == server->backend_fd)
			serve_backend(server);
		else if (server->connected && fd == server->session.channel.fd)
			serve_session(server);
	}
	return 0;
}

void vblk_vhost_server_serve(struct vblk_vhost_server *server)
{
	(void)!serve_events(server, 0);
}

static void close_session(struct vblk_vhost_server *server)
{
	if (server->connected)
		vblk_vhost_session_close(&server->session);
	server->connected = false;
}

/* Nobody is left who hears a front end: who connects is to be told, and not to wait for ever. */
static void give_up(struct vblk_vhost_server *server, int error)
{
	const struct vblk_disk *disk = server->export.disk;

	vblk_log_emit(
		&disk->log, VBLK_LOG_ERROR,
		"cannot wait for events: the disk is not served any more, and its socket goes",
		VBLK_FIELD_UINT("instance", disk->instance), VBLK_FIELD_INT("error", error));
	stop_listening(server);
	if (server->given_up)
		server->given_up(server->given_up_context, error);
}

int vblk_vhost_server_run(struct vblk_vhost_server *server)
{
	int ret = 0;

	while (ret == 0 && !atomic_load(&server->ends))
		ret = serve_events(server, -1);
	if (ret < 0)
		give_up(server, ret);
	close_session(server);
	return ret;
}

/* The workers begin to stop at once, so that what does not hang has ended when it is waited for. */
void vblk_vhost_server_ask_to_end(struct vblk_vhost_server *server)
{
	struct vblk_vhost_export *export = &server->export;

	atomic_store(&export->deadline_ns, vblk_clock_in_ms(export->stop_timeout_ms));
	for (uint16_t i = 0; i < export->queues; i++)
		vblk_vhost_ring_end(&export->ring[i]);
	atomic_store(&server->ends, true);
	(void)!vblk_eventfd_signal(server->event_fd);
}

void vblk_vhost_server_destroy(struct vblk_vhost_server *server)
{
	if (!server)
		return;
	close_session(server);
	free_server(server);
}

int vblk_vhost_server_fd(const struct vblk_vhost_server *server)
{
	return server->epoll_fd;
}

bool vblk_vhost_server_is_connected(const struct vblk_vhost_server *server)
{
	return server->connected;
}

struct vblk_disk *vblk_vhost_server_disk(const struct vblk_vhost_server *server)
{
	return server->export.disk;
}

/* ---- control ---- */

unsigned vblk_vhost_server_pause(struct vblk_vhost_server *server)
{
	unsigned follow = 0;

	atomic_store(&server->paused, true);
	for (uint16_t i = 0; i < server->export.queues; i++)
		follow += vblk_vhost_ring_pause(&server->export.ring[i]);
	return follow;
}

void vblk_vhost_server_resume(struct vblk_vhost_server *server)
{
	atomic_store(&server->paused, false);
	for (uint16_t i = 0; i < server->export.queues; i++)
		vblk_vhost_ring_resume(&server->export.ring[i]);
}

bool vblk_vhost_server_is_paused(const struct vblk_vhost_server *server)
{
	return atomic_load(&server->paused);
}

bool vblk_vhost_server_is_at_rest(const struct vblk_vhost_server *server)
{
	for (uint16_t i = 0; i < server->export.queues; i++) {
		if (!vblk_park_is_paused(server->export.ring[i].park))
			return false;
	}
	/* What hangs in the disk may still get there. */
	return vblk_disk_abandoned(server->export.disk) == 0;
}

int vblk_vhost_server_set_parked_fd(struct vblk_vhost_server *server, int fd)
{
	int own = -1;
	int ret = 0;

	if (fd >= 0) {
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (own < 0)
			return -errno;
	}
	if (server->parked_fd >= 0)
		close(server->parked_fd);
	server->parked_fd = own;
	for (uint16_t i = 0; i < server->export.queues && ret == 0; i++)
		ret = vblk_park_set_fd(server->export.ring[i].park, fd);
	return ret;
}

int vblk_vhost_server_set_throttle(struct vblk_vhost_server *server,
				   const struct vblk_throttle *throttle)
{
	struct vblk_throttle_problem problem;
	int ret = vblk_throttle_validate(throttle, &problem);

	if (ret == 0)
		vblk_throttle_group_change(server->export.disk->throttle, throttle);
	return ret;
}

int vblk_vhost_server_resize(struct vblk_vhost_server *server, uint64_t capacity_bytes, bool shrink)
{
	int ret = vblk_vhost_grower_prepare(server->grower, capacity_bytes, shrink,
					    server->resize_timeout_ms);

	if (ret < 0)
		return ret;
	vblk_disk_set_capacity(server->export.disk, capacity_bytes);
	atomic_store(&server->resized, true);
	(void)!vblk_eventfd_signal(server->event_fd);
	return 0;
}
