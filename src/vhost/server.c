/* SPDX-License-Identifier: MIT */
/*
 * A listening socket, an export, and the session of whoever is connected.
 *
 * Five descriptors are watched by an epoll instance of the server's own: the listening socket while
 * nobody is connected, the session's socket and its back-end channel while somebody is, an event
 * that says that memory which a front end has shared was found to be too short, and a timer.
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
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "base/log.h"
#include "base/sigbus.h"

#define DEFAULT_STOP_TIMEOUT_MS 1000u

/* What a front end's messages get before others have their turn: so many, or so much time. */
#define MESSAGES_AT_ONCE 64u
#define TURN_NS		 VBLK_NSEC_PER_MSEC

#define DEFAULT_MESSAGE_TIMEOUT_MS 10000u
#define ACCEPT_RETRY_MS		   100u

#define EVENTS_MAX 5

struct vblk_vhost_server {
	struct vblk_vhost_export export;
	struct vblk_vhost_session session;
	bool connected;
	struct vblk_vhost_closer *closer; /* NULL: any file is taken */
	bool deaf; /* accepting has failed, which was said, and not succeeded since */
	/* A message is owed since the timer was set, when `heard` had come. */
	bool owed;
	bool overdue; /* the time is up: the next one who knocks is let in instead */
	uint64_t heard;
	uint32_t message_timeout_ms;
	int listen_fd;
	int memory_event_fd;
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
	int ret = vblk_eventfd_create(&server->memory_event_fd);

	if (ret < 0)
		return ret;
	server->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (server->timer_fd < 0)
		return -errno;
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->epoll_fd < 0)
		return -errno;
	ret = watch(server, server->memory_event_fd);
	if (ret == 0)
		ret = watch(server, server->timer_fd);
	if (ret == 0)
		ret = watch(server, server->listen_fd);
	return ret < 0 ? ret : listen_again(server);
}

static void free_server(struct vblk_vhost_server *server)
{
	for (uint16_t i = 0; i < server->export.queues; i++)
		vblk_vhost_ring_destroy(&server->export.ring[i]);
	vblk_vhost_account_unref(server->export.account);
	vblk_disk_unref(server->export.disk);
	vblk_vhost_closer_release(server->closer);
	close(server->listen_fd);
	if (server->epoll_fd >= 0)
		close(server->epoll_fd);
	if (server->timer_fd >= 0)
		close(server->timer_fd);
	if (server->memory_event_fd >= 0)
		close(server->memory_event_fd);
	free(server);
}

static int fill_export(struct vblk_vhost_export *export,
		       const struct vblk_vhost_server_options *options,
		       struct vblk_backing *backing)
{
	uint16_t queues = options->queues ? options->queues : 1;
	int ret;

	if (queues > VBLK_VHOST_QUEUES_MAX)
		return -EINVAL;
	ret = vblk_disk_create(&options->device, backing, &export->disk);
	if (ret < 0)
		return ret;
	export->offer = (struct vblk_offer){
		.disk = export->disk,
		.set = options->device.features,
		.queues = queues,
	};
	export->stop_timeout_ms = options->device.stop_timeout_ms ? options->device.stop_timeout_ms
								  : DEFAULT_STOP_TIMEOUT_MS;
	export->host.lost = options->device.worker_lost;
	export->host.lost_context = options->device.worker_lost_context;
	vblk_cpus_set_home(&export->host.cpus);
	ret = vblk_cpus_from_placement(&options->device.placement, &export->host.cpus);
	for (uint16_t i = 0; i < queues && ret == 0; i++) {
		ret = vblk_vhost_ring_create(&export->ring[i], i);
		if (ret == 0)
			export->queues++;
	}
	return ret;
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
	made->epoll_fd = -1;
	made->timer_fd = -1;
	made->memory_event_fd = -1;
	made->backend_fd = -1;
	ret = vblk_sigbus_install();
	if (ret == 0)
		ret = fill_export(&made->export, options, backing);
	if (ret == 0 && !options->any_files)
		ret = vblk_vhost_closer_create(&made->closer);
	if (ret == 0)
		ret = open_descriptors(made);
	if (ret == 0)
		ret = vblk_vhost_account_create(made->memory_event_fd, &made->export.account);
	made->export.event_fd = made->memory_event_fd;
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

/* As vblk_vhost_session_serve. */
static int serve_turn(struct vblk_vhost_server *server)
{
	const struct vblk_clock *clock = &server->export.disk->clock;
	uint64_t start = vblk_clock_now(clock);
	int ret = 1;

	for (unsigned i = 0; i < MESSAGES_AT_ONCE && ret > 0; i++) {
		ret = vblk_vhost_session_serve(&server->session, 1);
		if (vblk_clock_now(clock) - start >= TURN_NS)
			break;
	}
	return ret;
}

static void serve_session(struct vblk_vhost_server *server)
{
	int ret = serve_turn(server);

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

	vblk_eventfd_clear(server->memory_event_fd);
	vblk_vhost_export_collect(&server->export);
	if (server->connected)
		vblk_vhost_session_go_on(&server->session);
	if (!server->connected ||
	    !(vblk_vhost_guest_memory_has_failed(&session->memory) ||
	      (session->log && vblk_vhost_mapping_has_failed(session->log)) ||
	      (session->inflight && vblk_vhost_mapping_has_failed(session->inflight))))
		return;
	log_connection(server, VBLK_LOG_WARN,
		       "front end has cut its memory short: it is disconnected", -EFAULT);
	disconnect(server);
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

void vblk_vhost_server_serve(struct vblk_vhost_server *server)
{
	struct epoll_event events[EVENTS_MAX];
	int count = epoll_wait(server->epoll_fd, events, EVENTS_MAX, 0);

	for (int i = 0; i < count; i++) {
		int fd = events[i].data.fd;

		/* An earlier event may have closed the descriptor of a later one. */
		if (fd == server->memory_event_fd)
			check_memory(server);
		else if (fd == server->timer_fd)
			time_is_up(server);
		else if (fd == server->listen_fd)
			knock(server);
		else if (server->connected && fd == server->backend_fd)
			serve_backend(server);
		else if (server->connected && fd == server->session.channel.fd)
			serve_session(server);
	}
}

void vblk_vhost_server_destroy(struct vblk_vhost_server *server)
{
	if (!server)
		return;
	if (server->connected)
		vblk_vhost_session_close(&server->session);
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
	struct vblk_vhost_export *export = &server->export;
	unsigned follow = 0;

	export->paused = true;
	for (uint16_t i = 0; i < export->queues; i++) {
		follow += vblk_park_request(export->ring[i].park);
		if (export->ring[i].worker)
			vblk_worker_wake(export->ring[i].worker);
	}
	return follow;
}

void vblk_vhost_server_resume(struct vblk_vhost_server *server)
{
	struct vblk_vhost_export *export = &server->export;

	export->paused = false;
	for (uint16_t i = 0; i < export->queues; i++)
		vblk_park_release(export->ring[i].park);
}

bool vblk_vhost_server_is_paused(const struct vblk_vhost_server *server)
{
	return server->export.paused;
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
	int ret = 0;

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
	int ret = vblk_disk_prepare_resize(server->export.disk, capacity_bytes, shrink);

	if (ret < 0)
		return ret;
	vblk_disk_set_capacity(server->export.disk, capacity_bytes);
	if (server->connected)
		vblk_vhost_session_announce(&server->session);
	return 0;
}
