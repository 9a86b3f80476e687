/* SPDX-License-Identifier: MIT */
/*
 * Clients and what they ask for. Everything that can happen is an event of one epoll: somebody
 * knocks, a client says something or can be told more, a disk came to rest, a time is up.
 *
 * A connection that is to be closed is only marked, and reaped at the end of a run: an event of the
 * same batch may still speak of it.
 */
#include "control/server.h"

#include "base/checked.h"
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

/* A pause that is not answered yet. */
struct pending {
	struct vblk_control_connection *from; /* NULL: the entry is free */
	char *id;
	unsigned int disk;
	uint32_t timeout_ms;
	uint64_t deadline_ns;
};

struct vblk_control_server {
	struct vblk_control_options options;
	int epoll_fd;
	int timer_fd;
	int parked_fd;
	/* When to listen again after the process ran out of descriptors; NEVER: we listen. */
	uint64_t accept_ns;
	uint64_t armed_ns; /* what the timer is set to */
	struct vblk_control_connection *clients[VBLK_CONTROL_CLIENTS_MAX];
	struct pending pending[VBLK_CONTROL_PENDING_MAX];
};

static void send_line(struct vblk_control_connection *to, char *line)
{
	vblk_control_connection_send(to, line);
	free(line);
}

static void send_error(struct vblk_control_connection *to, const char *id,
		       const struct vblk_control_error *error)
{
	send_line(to, vblk_control_reply_error(id, error));
}

/* --- Pauses that wait --- */

static void end_pending(struct pending *pending, const struct vblk_control_error *error)
{
	if (error)
		send_error(pending->from, pending->id, error);
	else
		send_line(pending->from, vblk_control_reply_done(pending->id));
	pending->from->pending--;
	free(pending->id);
	pending->from = NULL;
}

/* Answers those whose disk is at rest, or whose time is up. */
static void check_pending(struct vblk_control_server *server)
{
	const struct vblk_control_options *options = &server->options;
	const uint64_t now = vblk_clock_now(options->clock);

	for (size_t i = 0; i < VBLK_CONTROL_PENDING_MAX; i++) {
		struct pending *pending = &server->pending[i];
		struct vblk_control_error error = { .text = "" };

		if (!pending->from)
			continue;
		if (options->ops->is_paused(options->context, pending->disk)) {
			end_pending(pending, NULL);
		} else if (now >= pending->deadline_ns) {
			vblk_control_error_set(&error, VBLK_CONTROL_TIMED_OUT,
					       "disk \"%s\" is not at rest after %u ms: a call to "
					       "its file has not returned; it rests when that "
					       "does, unless it is resumed",
					       options->disks[pending->disk], pending->timeout_ms);
			end_pending(pending, &error);
		}
	}
}

static void forget_pending(struct vblk_control_server *server,
			   const struct vblk_control_connection *from)
{
	for (size_t i = 0; i < VBLK_CONTROL_PENDING_MAX; i++) {
		if (server->pending[i].from == from) {
			free(server->pending[i].id);
			server->pending[i].from = NULL;
		}
	}
}

static struct pending *free_pending(struct vblk_control_server *server)
{
	for (size_t i = 0; i < VBLK_CONTROL_PENDING_MAX; i++)
		if (!server->pending[i].from)
			return &server->pending[i];
	return NULL;
}

/* --- Commands: each returns the reply, or NULL with an error. --- */

struct command {
	struct vblk_control_server *server;
	struct vblk_control_connection *from;
	struct vblk_control_request *request;
	struct vblk_control_error *error;
	unsigned int disk;
};

/* What an operation answered, as an error of the protocol. */
static char *failed(const struct command *command, int code, const char *message)
{
	enum vblk_control_code name = VBLK_CONTROL_FAILED;

	if (code == -EINVAL || code == -ERANGE)
		name = VBLK_CONTROL_INVALID;
	else if (code == -EOPNOTSUPP)
		name = VBLK_CONTROL_UNSUPPORTED;
	else if (code == -EBUSY)
		name = VBLK_CONTROL_BUSY;
	vblk_control_error_set(command->error, name, "%s", *message ? message : strerror(-code));
	return NULL;
}

static char *no_memory(const struct command *command)
{
	vblk_control_error_set(command->error, VBLK_CONTROL_FAILED, "out of memory");
	return NULL;
}

static char *run_stats(const struct command *command)
{
	const struct vblk_control_options *options = &command->server->options;
	const bool one = command->request->disk_name || command->request->has_disk_index;
	const unsigned int first = one ? command->disk : 0;
	const unsigned int count = one ? 1 : options->disk_count;
	struct vblk_control_disk *disks = calloc(count ? count : 1, sizeof(*disks));
	char *reply;

	if (!disks)
		return no_memory(command);
	for (unsigned int i = 0; i < count; i++) {
		options->ops->stats(options->context, first + i, &disks[i]);
		disks[i].name = options->disks[first + i];
	}
	reply = vblk_control_reply_stats(command->request->id, disks, first, count);
	free(disks);
	return reply ? reply : no_memory(command);
}

static char *run_throttle(const struct command *command)
{
	const struct vblk_control_options *options = &command->server->options;
	char message[sizeof(command->error->text)] = "";
	struct vblk_control_disk state = { 0 };
	struct vblk_throttle throttle;
	int ret;

	options->ops->stats(options->context, command->disk, &state);
	if (vblk_control_throttle_merge(command->request, &state.throttle, &throttle,
					command->error))
		return NULL;
	ret = options->ops->throttle(options->context, command->disk, &throttle, message,
				     sizeof(message));
	return ret ? failed(command, ret, message)
		   : vblk_control_reply_throttle(command->request->id, &throttle);
}

/* Nothing to send means here that the reply comes later. */
static char *run_pause(const struct command *command)
{
	const struct vblk_control_options *options = &command->server->options;
	struct pending *pending = free_pending(command->server);
	char message[sizeof(command->error->text)] = "";
	int ret;

	if (!pending) {
		vblk_control_error_set(command->error, VBLK_CONTROL_BUSY,
				       "too many pauses wait already: at most %u",
				       VBLK_CONTROL_PENDING_MAX);
		return NULL;
	}
	ret = options->ops->pause(options->context, command->disk, message, sizeof(message));
	if (ret)
		return failed(command, ret, message);
	*pending = (struct pending){
		.from = command->from,
		.id = command->request->id,
		.disk = command->disk,
		.timeout_ms = command->request->timeout_ms,
		.deadline_ns = vblk_clock_now(options->clock) +
			       command->request->timeout_ms * VBLK_NSEC_PER_MSEC,
	};
	command->request->id = NULL;
	command->from->pending++;
	return NULL;
}

static char *run_resume(const struct command *command)
{
	const struct vblk_control_options *options = &command->server->options;
	char message[sizeof(command->error->text)] = "";
	int ret;

	/* Who is at rest by now has had the answer coming. */
	check_pending(command->server);
	ret = options->ops->resume(options->context, command->disk, message, sizeof(message));
	if (ret)
		return failed(command, ret, message);
	for (size_t i = 0; i < VBLK_CONTROL_PENDING_MAX; i++) {
		struct pending *pending = &command->server->pending[i];
		struct vblk_control_error error = { .text = "" };

		if (!pending->from || pending->disk != command->disk)
			continue;
		vblk_control_error_set(&error, VBLK_CONTROL_RESUMED,
				       "disk \"%s\" was resumed before it was at rest",
				       options->disks[command->disk]);
		end_pending(pending, &error);
	}
	return vblk_control_reply_done(command->request->id);
}

static char *run_resize(const struct command *command)
{
	const struct vblk_control_options *options = &command->server->options;
	char message[sizeof(command->error->text)] = "";
	struct vblk_control_disk state = { 0 };
	int ret;

	options->ops->stats(options->context, command->disk, &state);
	if (vblk_control_resize_check(command->request, state.capacity_bytes, command->error))
		return NULL;
	ret = options->ops->resize(options->context, command->disk, command->request->size, message,
				   sizeof(message));
	return ret ? failed(command, ret, message)
		   : vblk_control_reply_capacity(command->request->id, command->request->size);
}

static char *run_fault(const struct command *command)
{
	const struct vblk_control_options *options = &command->server->options;
	const struct vblk_control_request *request = command->request;
	char message[sizeof(command->error->text)] = "";
	int ret;

	ret = options->ops->fault(options->context, command->disk,
				  (const char *const *)request->rules, request->rule_count, message,
				  sizeof(message));
	return ret ? failed(command, ret, message) : vblk_control_reply_done(request->id);
}

static char *run_quit(const struct command *command)
{
	command->server->options.ops->quit(command->server->options.context);
	return vblk_control_reply_done(command->request->id);
}

static char *(*const commands[VBLK_CONTROL_COMMANDS])(const struct command *command) = {
	[VBLK_CONTROL_STATS] = run_stats,   [VBLK_CONTROL_THROTTLE] = run_throttle,
	[VBLK_CONTROL_PAUSE] = run_pause,   [VBLK_CONTROL_RESUME] = run_resume,
	[VBLK_CONTROL_RESIZE] = run_resize, [VBLK_CONTROL_FAULT] = run_fault,
	[VBLK_CONTROL_QUIT] = run_quit,
};

/* Which disk is meant. Those that change something have to say so, unless there is only one. */
static int find_disk(struct command *command)
{
	const struct vblk_control_options *options = &command->server->options;
	const struct vblk_control_request *request = command->request;

	if (request->disk_name) {
		for (unsigned int i = 0; i < options->disk_count; i++) {
			if (strcmp(request->disk_name, options->disks[i]) == 0) {
				command->disk = i;
				return 0;
			}
		}
		return vblk_control_error_set(command->error, VBLK_CONTROL_DISK,
					      "there is no disk \"%s\": \"stats\" names them all",
					      request->disk_name);
	}
	if (request->has_disk_index) {
		command->disk = (unsigned int)request->disk_index;
		if (request->disk_index < options->disk_count)
			return 0;
		return vblk_control_error_set(command->error, VBLK_CONTROL_DISK,
					      "there is no disk %llu: there are %u, from 0 on",
					      (unsigned long long)request->disk_index,
					      options->disk_count);
	}
	if (options->disk_count == 1 || request->command == VBLK_CONTROL_STATS ||
	    request->command == VBLK_CONTROL_QUIT)
		return 0;
	return vblk_control_error_set(command->error, VBLK_CONTROL_DISK,
				      "there are %u disks: say which by \"disk\"",
				      options->disk_count);
}

static void take_line(void *context, struct vblk_control_connection *from, const char *line,
		      size_t length)
{
	struct vblk_control_error error = { .text = "" };
	struct vblk_control_request request;
	struct command command = { context, from, &request, &error, 0 };
	char *reply = NULL;
	int ret;

	ret = vblk_control_request_parse(line, length, command.server->options.parse_size, &request,
					 &error);
	if (!ret)
		ret = find_disk(&command);
	if (!ret)
		reply = commands[request.command](&command);
	if (reply)
		send_line(from, reply);
	else if (*error.text)
		send_error(from, request.id ? request.id : "null", &error);
	else if (request.id)
		/* Neither a reply nor a reason: there was no memory for the reply. */
		vblk_control_connection_send(from, NULL);
	vblk_control_request_free(&request);
}

/* --- Connections --- */

static void watch(struct vblk_control_server *server, int fd, void *what, int operation,
		  uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = what };

	epoll_ctl(server->epoll_fd, operation, fd, &event);
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
	send_error(connection, "null", &error);
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
	send_line(client,
		  vblk_control_greeting(options->version, options->disks, options->disk_count));
	client->armed = vblk_control_connection_events(client);
	watch(server, fd, client, EPOLL_CTL_ADD, client->armed);
	server->clients[place] = client;
}

static void accept_clients(struct vblk_control_server *server)
{
	/* No more at a time than there can be: who knocks without end does not keep us here. */
	for (unsigned int i = 0; i < VBLK_CONTROL_CLIENTS_MAX; i++) {
		const int fd = accept4(server->options.listen_fd, NULL, NULL,
				       SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			greet(server, fd);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno != EAGAIN) {
			/* Out of descriptors or memory: the client stays in the line, and epoll
			 * would say so without end. */
			server->accept_ns = vblk_clock_now(server->options.clock) + ACCEPT_PAUSE_NS;
			watch(server, server->options.listen_fd, &server->options, EPOLL_CTL_MOD,
			      0);
		}
		return;
	}
}

static void serve_client(struct vblk_control_server *server, struct vblk_control_connection *client,
			 uint32_t events)
{
	struct vblk_control_error error = { .text = "" };

	if (events & EPOLLOUT)
		vblk_control_connection_flush(client);
	if (events & EPOLLIN) {
		if (vblk_control_connection_read(client, take_line, server) == -EMSGSIZE) {
			vblk_control_error_set(&error, VBLK_CONTROL_TOO_LONG,
					       "the line has more than %u bytes",
					       VBLK_CONTROL_LINE_MAX);
			send_error(client, "null", &error);
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
			forget_pending(server, client);
			vblk_control_connection_destroy(client);
			server->clients[i] = NULL;
			continue;
		}
		events = vblk_control_connection_events(client);
		if (events != client->armed)
			watch(server, client->fd, client, EPOLL_CTL_MOD, events);
		client->armed = events;
	}
}

/* --- Time --- */

static void set_timer(struct vblk_control_server *server)
{
	struct itimerspec spec = { 0 };
	uint64_t next = server->accept_ns;

	for (size_t i = 0; i < VBLK_CONTROL_PENDING_MAX; i++)
		if (server->pending[i].from)
			next = vblk_min_u64(next, server->pending[i].deadline_ns);
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
	if (vblk_clock_now(server->options.clock) < server->accept_ns)
		return;
	server->accept_ns = NEVER;
	watch(server, server->options.listen_fd, &server->options, EPOLL_CTL_MOD, EPOLLIN);
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
	check_pending(server);
	check_accept(server);
	settle_clients(server);
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
	const struct {
		int fd;
		void *what;
	} own[] = {
		{ server->options.listen_fd, &server->options },
		{ server->timer_fd, &server->timer_fd },
		{ server->parked_fd, &server->parked_fd },
	};

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(own); i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = own[i].what };

		if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, own[i].fd, &event) < 0)
			return -errno;
	}
	return 0;
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
		forget_pending(server, server->clients[i]);
		vblk_control_connection_flush(server->clients[i]);
		vblk_control_connection_destroy(server->clients[i]);
	}
	close_fd(server->epoll_fd);
	close_fd(server->timer_fd);
	close_fd(server->parked_fd);
	free(server);
}
