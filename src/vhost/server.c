/* SPDX-License-Identifier: MIT */
/*
 * A listening socket, an export, and the session of whoever is connected.
 *
 * Four descriptors are watched by an epoll instance of the server's own: the listening socket while
 * nobody is connected, the session's socket and its back-end channel while somebody is, and an
 * event that says that memory which a front end has shared was found to be too short.
 */
#include "vhost/server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "base/log.h"
#include "base/sigbus.h"

#define DEFAULT_STOP_TIMEOUT_MS 1000u

/* Messages served before the other descriptors are looked at. */
#define MESSAGES_AT_ONCE 64u

struct vblk_vhost_server {
	struct vblk_vhost_export export;
	struct vblk_vhost_session session;
	bool connected;
	int listen_fd;
	int memory_event_fd;
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
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->epoll_fd < 0)
		return -errno;
	ret = watch(server, server->memory_event_fd);
	return ret < 0 ? ret : watch(server, server->listen_fd);
}

static void free_server(struct vblk_vhost_server *server)
{
	for (uint16_t i = 0; i < server->export.queues; i++)
		vblk_vhost_ring_destroy(&server->export.ring[i]);
	vblk_vhost_account_unref(server->export.account);
	vblk_disk_unref(server->export.disk);
	close(server->listen_fd);
	if (server->epoll_fd >= 0)
		close(server->epoll_fd);
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
	made->epoll_fd = -1;
	made->memory_event_fd = -1;
	made->backend_fd = -1;
	ret = vblk_sigbus_install();
	if (ret == 0)
		ret = fill_export(&made->export, options, backing);
	if (ret == 0)
		ret = open_descriptors(made);
	if (ret == 0)
		ret = vblk_vhost_account_create(made->memory_event_fd, &made->export.account);
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

static void disconnect(struct vblk_vhost_server *server)
{
	unwatch(server, server->session.channel.fd);
	vblk_vhost_session_close(&server->session);
	server->connected = false;
	if (watch(server, server->listen_fd) < 0)
		log_connection(server, VBLK_LOG_ERROR, "cannot wait for front ends any more",
			       -errno);
}

static void connect_next(struct vblk_vhost_server *server)
{
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int ret;

	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			log_connection(server, VBLK_LOG_ERROR, "cannot accept a front end", -errno);
		return;
	}
	ret = vblk_vhost_session_open(&server->session, &server->export, fd);
	if (ret == 0) {
		unwatch(server, server->listen_fd);
		server->connected = true;
		ret = watch(server, fd);
		if (ret < 0)
			disconnect(server);
	}
	log_connection(server, ret < 0 ? VBLK_LOG_ERROR : VBLK_LOG_INFO,
		       ret < 0 ? "cannot serve a front end" : "front end connected", ret);
}

/* A message may have brought the channel, or another one. */
static void follow_backend(struct vblk_vhost_server *server)
{
	int fd = server->session.backend.fd;
	int ret;

	if (fd < 0 || fd == server->backend_fd)
		return;
	ret = watch(server, fd);
	if (ret == 0) {
		server->backend_fd = fd;
		return;
	}
	log_connection(server, VBLK_LOG_WARN, "the back-end channel is no socket", ret);
	vblk_vhost_session_close_backend(&server->session);
}

static void serve_session(struct vblk_vhost_server *server)
{
	int ret = vblk_vhost_session_serve(&server->session, MESSAGES_AT_ONCE);

	if (ret >= 0) {
		follow_backend(server);
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
	if (vblk_vhost_session_serve_backend(&server->session) < 0)
		log_connection(server, VBLK_LOG_INFO, "back-end channel has gone", 0);
}

void vblk_vhost_server_serve(struct vblk_vhost_server *server)
{
	struct epoll_event events[4];
	int count = epoll_wait(server->epoll_fd, events, 4, 0);

	for (int i = 0; i < count; i++) {
		int fd = events[i].data.fd;

		/* An earlier event may have closed the descriptor of a later one. */
		if (fd == server->memory_event_fd)
			check_memory(server);
		else if (fd == server->listen_fd && !server->connected)
			connect_next(server);
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
	return true;
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
