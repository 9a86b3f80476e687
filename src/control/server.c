/* SPDX-License-Identifier: MIT */
/*
 * Clients come and go. Everything that can happen is an event of one epoll: somebody knocks, a
 * client says something or can be told more, a disk came to rest, a time is up. What clients say is
 * understood in commands.c.
 *
 * The listening socket is watched for one event at a time (EPOLLONESHOT): while it cannot be
 * accepted from, it is silent.
 *
 * A connection that is to be closed is only marked, and reaped at the end of a run: an event of the
 * same batch may still speak of it.
 */
#include "control/server.h"

#include "base/checked.h"
#include "control/commands.h"
#include "control/connection.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS_MAX	(VBLK_CONTROL_CLIENTS_MAX + 3)
#define ACCEPT_PAUSE_NS VBLK_NSEC_PER_SEC
#define NEVER		UINT64_MAX

struct vblk_control_server {
	struct vblk_control_options options;
	struct vblk_control_commands commands;
	int epoll_fd;
	int timer_fd;
	int parked_fd;
	/* When to listen again after the process ran out of descriptors; NEVER: we listen. */
	uint64_t accept_ns;
	bool deaf;	   /* accepting has failed, which was said, and not succeeded since */
	uint64_t armed_ns; /* what the timer is set to */
	struct vblk_control_connection *clients[VBLK_CONTROL_CLIENTS_MAX];
};

/* --- Connections --- */

static int watch(struct vblk_control_server *server, int fd, void *what, int operation,
		 uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = what };

	return epoll_ctl(server->epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

static void try_later(struct vblk_control_server *server)
{
	server->accept_ns = vblk_clock_now(server->options.clock) + ACCEPT_PAUSE_NS;
}

/* The next one who knocks is an event, once. */
static void listen_again(struct vblk_control_server *server)
{
	server->accept_ns = NEVER;
	if (watch(server, server->options.listen_fd, &server->options, EPOLL_CTL_MOD,
		  EPOLLIN | EPOLLONESHOT) < 0)
		try_later(server);
}

static void send_away(int fd)
{
	struct vblk_control_connection *connection = vblk_control_connection_create(fd);
	struct vblk_control_error error = { .text = "" };

	if (!connection)
		return;
	vblk_control_error_set(&error, VBLK_CONTROL_TOO_MANY,
			       "there are %u clients already, which is as many as there may be",
			       VBLK_CONTROL_CLIENTS_MAX);
	vblk_control_send_error(connection, "null", &error);
	vblk_control_connection_destroy(connection);
}

static void greet(struct vblk_control_server *server, int fd)
{
	const struct vblk_control_options *options = &server->options;
	struct vblk_control_connection *client;
	size_t place = 0;

	while (place < VBLK_CONTROL_CLIENTS_MAX && server->clients[place])
		place++;
	if (place == VBLK_CONTROL_CLIENTS_MAX) {
		send_away(fd);
		return;
	}
	client = vblk_control_connection_create(fd);
	if (!client)
		return;
	vblk_control_connection_send_own(
		client,
		vblk_control_greeting(options->version, options->disks, options->disk_count));
	client->armed = vblk_control_connection_events(client);
	if (watch(server, fd, client, EPOLL_CTL_ADD, client->armed) < 0)
		vblk_control_connection_destroy(client);
	else
		server->clients[place] = client;
}

/*
 * Out of descriptors or memory: the client stays in the line. A socket that somebody has shut down
 * says EAGAIN to the first call already, and is an event without end.
 */
static void cannot_accept(struct vblk_control_server *server, int error)
{
	if (error != EAGAIN && !server->deaf) {
		vblk_log_emit(&server->options.log, VBLK_LOG_ERROR,
			      "cannot accept control clients: it is tried again and again",
			      VBLK_FIELD_INT("error", -error));
		server->deaf = true;
	}
	try_later(server);
}

static void accept_clients(struct vblk_control_server *server)
{
	/* No more at a time than there can be: who knocks without end does not keep us here. */
	for (unsigned int i = 0; i < VBLK_CONTROL_CLIENTS_MAX; i++) {
		const int fd = accept4(server->options.listen_fd, NULL, NULL,
				       SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			server->deaf = false;
			greet(server, fd);
		} else if (errno == EAGAIN && i > 0) {
			break;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			cannot_accept(server, errno);
			return;
		}
	}
	listen_again(server);
}

static void serve_client(struct vblk_control_server *server, struct vblk_control_connection *client,
			 uint32_t events)
{
	struct vblk_control_error error = { .text = "" };

	if (events & EPOLLOUT)
		vblk_control_connection_flush(client);
	if (events & EPOLLIN) {
		if (vblk_control_connection_read(client, vblk_control_commands_take,
						 &server->commands) == -EMSGSIZE) {
			vblk_control_error_set(&error, VBLK_CONTROL_TOO_LONG,
					       "the line has more than %u bytes",
					       VBLK_CONTROL_LINE_MAX);
			vblk_control_send_error(client, "null", &error);
		}
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		client->doomed = true;
	}
}

/* Closes what is over, and tells epoll what the others wait for. */
static void settle_clients(struct vblk_control_server *server)
{
	for (size_t i = 0; i < VBLK_CONTROL_CLIENTS_MAX; i++) {
		struct vblk_control_connection *client = server->clients[i];
		uint32_t events;

		if (!client)
			continue;
		if (vblk_control_connection_is_over(client)) {
			vblk_control_commands_forget(&server->commands, client);
			vblk_control_connection_destroy(client);
			server->clients[i] = NULL;
			/* There is a descriptor now for who could not be accepted. */
			if (server->accept_ns != NEVER)
				server->accept_ns = 0;
			continue;
		}
		events = vblk_control_connection_events(client);
		if (events != client->armed)
			(void)watch(server, client->fd, client, EPOLL_CTL_MOD, events);
		client->armed = events;
	}
}

/* --- Time --- */

static void set_timer(struct vblk_control_server *server)
{
	struct itimerspec spec = { 0 };
	const uint64_t next =
		vblk_min_u64(server->accept_ns, vblk_control_commands_deadline(&server->commands));

	if (next == server->armed_ns)
		return;
	server->armed_ns = next;
	if (next != NEVER) {
		spec.it_value.tv_sec = (time_t)(next / VBLK_NSEC_PER_SEC);
		spec.it_value.tv_nsec = (long)(next % VBLK_NSEC_PER_SEC);
	}
	timerfd_settime(server->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void check_accept(struct vblk_control_server *server)
{
	if (vblk_clock_now(server->options.clock) >= server->accept_ns)
		listen_again(server);
}

/* The value is of no interest, only that it is gone. */
static void empty(int fd)
{
	uint64_t value;

	while (read(fd, &value, sizeof(value)) == sizeof(value))
		;
}

/* --- The server --- */

void vblk_control_server_run(struct vblk_control_server *server)
{
	struct epoll_event events[EVENTS_MAX];
	const int count = epoll_wait(server->epoll_fd, events, EVENTS_MAX, 0);

	for (int i = 0; i < count; i++) {
		void *what = events[i].data.ptr;

		if (what == &server->options) {
			accept_clients(server);
		} else if (what == &server->timer_fd) {
			empty(server->timer_fd);
			server->armed_ns = NEVER;
		} else if (what == &server->parked_fd) {
			empty(server->parked_fd);
		} else {
			serve_client(server, what, events[i].events);
		}
	}
	vblk_control_server_check(server);
}

void vblk_control_server_check(struct vblk_control_server *server)
{
	vblk_control_commands_check(&server->commands);
	settle_clients(server);
	check_accept(server);
	set_timer(server);
}

int vblk_control_server_fd(const struct vblk_control_server *server)
{
	return server->epoll_fd;
}

int vblk_control_server_parked_fd(const struct vblk_control_server *server)
{
	return server->parked_fd;
}

static int watch_own(struct vblk_control_server *server)
{
	int ret = watch(server, server->timer_fd, &server->timer_fd, EPOLL_CTL_ADD, EPOLLIN);

	if (ret == 0)
		ret = watch(server, server->parked_fd, &server->parked_fd, EPOLL_CTL_ADD, EPOLLIN);
	if (ret == 0)
		ret = watch(server, server->options.listen_fd, &server->options, EPOLL_CTL_ADD,
			    EPOLLIN | EPOLLONESHOT);
	return ret;
}

int vblk_control_server_create(const struct vblk_control_options *options,
			       struct vblk_control_server **server)
{
	struct vblk_control_server *made = calloc(1, sizeof(*made));
	int ret = 0;

	if (!made)
		return -ENOMEM;
	/* jansson takes its randomness from a file, which cannot be opened later. */
	json_object_seed(0);
	made->options = *options;
	made->commands.options = &made->options;
	made->accept_ns = NEVER;
	made->armed_ns = NEVER;
	made->timer_fd = made->parked_fd = -1;
	made->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (made->epoll_fd >= 0)
		made->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (made->timer_fd >= 0)
		made->parked_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (made->parked_fd < 0)
		ret = -errno;
	if (!ret)
		ret = watch_own(made);
	if (ret)
		vblk_control_server_destroy(made);
	else
		*server = made;
	return ret;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void vblk_control_server_destroy(struct vblk_control_server *server)
{
	if (!server)
		return;
	for (size_t i = 0; i < VBLK_CONTROL_CLIENTS_MAX; i++) {
		if (!server->clients[i])
			continue;
		vblk_control_commands_forget(&server->commands, server->clients[i]);
		vblk_control_connection_flush(server->clients[i]);
		vblk_control_connection_destroy(server->clients[i]);
	}
	close_fd(server->epoll_fd);
	close_fd(server->timer_fd);
	close_fd(server->parked_fd);
	free(server);
}
