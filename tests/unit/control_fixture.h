/* SPDX-License-Identifier: MIT */
/*
 * The control server with real sockets, a clock whose hands the test turns, and disks that only
 * write down what was asked of them. The server runs when the test lets it.
 */
#ifndef TESTS_UNIT_CONTROL_FIXTURE_H
#define TESTS_UNIT_CONTROL_FIXTURE_H

#include "control/server.h"

#include "cmd/size.h"
#include "control/unix_socket.h"
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "process.h"

#define GREETING "{\"vblk\":1,\"version\":\"7.8\",\"disks\":[\"a\",\"b\"]}\n"
#define DONE(id) "{\"id\":" id ",\"ok\":true,\"result\":{}}\n"

struct rig {
	char folder[64];
	struct vblk_unix_listener listener;
	struct vblk_control_server *server;
	struct vblk_control_options options;
	struct vblk_clock clock;
	uint64_t now_ns;
	size_t fds;
	/* What the operations saw, and what they answer. */
	char calls[512];
	int answer;
	const char *why;
	bool rests[2];
	bool quit;
	struct vblk_throttle throttle;
	unsigned int complaints; /* lines of the server's own */
};

static struct rig rig;

static inline uint64_t now(void *context)
{
	return ((struct rig *)context)->now_ns;
}

__attribute__((format(printf, 3, 4))) static inline int called(char *message, size_t size,
							       const char *format, ...)
{
	const size_t used = strlen(rig.calls);
	va_list args;

	va_start(args, format);
	vsnprintf(rig.calls + used, sizeof(rig.calls) - used, format, args);
	va_end(args);
	if (rig.answer && rig.why)
		snprintf(message, size, "%s", rig.why);
	return rig.answer;
}

static inline void op_stats(void *context, unsigned int disk, struct vblk_control_disk *state)
{
	(void)context;
	state->capacity_bytes = 4096 * (disk + 1);
	state->connected = disk == 0;
	state->paused = rig.rests[disk];
	state->throttle = rig.throttle;
	state->counters.interrupts = 100 + disk;
}

static inline int op_throttle(void *context, unsigned int disk,
			      const struct vblk_throttle *throttle, char *message, size_t size)
{
	(void)context;
	return called(message, size, "throttle %u %llu %llu %llu %llu;", disk,
		      (unsigned long long)throttle->iops, (unsigned long long)throttle->iops_burst,
		      (unsigned long long)throttle->bps, (unsigned long long)throttle->bps_burst);
}

static inline int op_pause(void *context, unsigned int disk, char *message, size_t size)
{
	(void)context;
	return called(message, size, "pause %u;", disk);
}

static inline bool op_is_paused(void *context, unsigned int disk)
{
	(void)context;
	return rig.rests[disk];
}

static inline int op_resume(void *context, unsigned int disk, char *message, size_t size)
{
	(void)context;
	return called(message, size, "resume %u;", disk);
}

static inline int op_resize(void *context, unsigned int disk, uint64_t bytes, char *message,
			    size_t size)
{
	(void)context;
	return called(message, size, "resize %u %llu;", disk, (unsigned long long)bytes);
}

static inline int op_fault(void *context, unsigned int disk, const char *const *rules, size_t count,
			   char *message, size_t size)
{
	(void)context;
	return called(message, size, "fault %u %zu %s;", disk, count, count ? rules[0] : "-");
}

static inline void op_quit(void *context)
{
	(void)context;
	rig.quit = true;
}

static inline void complain(void *context, enum vblk_log_level level, const char *text,
			    const struct vblk_log_field *fields, size_t count)
{
	(void)level;
	(void)fields;
	(void)count;
	((struct rig *)context)->complaints += strstr(text, "cannot accept") != NULL;
}

static inline int op_freeze(void *context, struct vblk_control_freeze *freeze, char *message,
			    size_t size)
{
	(void)context;
	*freeze = (struct vblk_control_freeze){
		.vcpus = 3, .disks = 1, .left_out = 2, .took_us = 84
	};
	return called(message, size, "freeze;");
}

static inline int op_thaw(void *context, char *message, size_t size)
{
	(void)context;
	return called(message, size, "thaw;");
}

static inline int op_dump(void *context, char *message, size_t size)
{
	(void)context;
	snprintf(message, size, "dumps/dump-1");
	return called(message, size, "dump;");
}

static const struct vblk_control_ops ops = {
	op_stats, op_throttle, op_pause,  op_is_paused, op_resume, op_resize,
	op_fault, op_quit,     op_freeze, op_thaw,	op_dump,
};

static inline int setup(void **state)
{
	static const char *const names[] = { "a", "b" };
	char path[80], message[512];

	(void)state;
	memset(&rig, 0, sizeof(rig));
	rig.fds = process_fds();
	/* So late that the server's timer, which knows the real time only, never ends. */
	rig.now_ns = UINT64_C(1) << 62;
	rig.clock = (struct vblk_clock){ now, &rig };
	strcpy(rig.folder, "/tmp/vblk-control-XXXXXX");
	assert_non_null(mkdtemp(rig.folder));
	snprintf(path, sizeof(path), "%s/s", rig.folder);
	assert_int_equal(vblk_unix_listen(path, &rig.listener, message, sizeof(message)), 0);
	rig.options = (struct vblk_control_options){
		.listen_fd = rig.listener.fd,
		.version = "7.8",
		.disks = names,
		.disk_count = 2,
		.ops = &ops,
		.context = &rig,
		.parse_size = cmd_size_parse,
		.log = { complain, &rig, VBLK_LOG_INFO },
		.clock = &rig.clock,
	};
	assert_int_equal(vblk_control_server_create(&rig.options, &rig.server), 0);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	vblk_control_server_destroy(rig.server);
	vblk_unix_listener_close(&rig.listener);
	assert_int_equal(process_fds(), rig.fds);
	return rmdir(rig.folder);
}

/* Only one disk, whose name need not be said. */
static inline void leave_one_disk(void)
{
	vblk_control_server_destroy(rig.server);
	rig.options.disk_count = 1;
	assert_int_equal(vblk_control_server_create(&rig.options, &rig.server), 0);
}

static inline bool is_ready(void)
{
	struct pollfd fd = { .fd = vblk_control_server_fd(rig.server), .events = POLLIN };

	return poll(&fd, 1, 0) == 1;
}

/* Lets the server do all that it has to do. A server that is never done is a failure. */
static inline void run(void)
{
	for (unsigned int i = 0; i < 1000; i++) {
		if (!is_ready())
			return;
		vblk_control_server_run(rig.server);
	}
	fail_msg("the server spins");
}

static inline int knock(void)
{
	char path[80], message[512];
	int fd;

	snprintf(path, sizeof(path), "%s/s", rig.folder);
	assert_int_equal(vblk_unix_connect(path, 10000, &fd, message, sizeof(message)), 0);
	return fd;
}

static inline void assert_reads(int fd, const char *expected)
{
	char text[4096] = "";
	const ssize_t got = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	assert_string_equal(text, expected);
	assert_int_equal(got, strlen(expected));
}

static inline void assert_silent(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static inline void assert_closed(int fd)
{
	char byte;
	const ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);

	assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
}

static inline void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT), strlen(text));
}

/* A client that was greeted. */
static inline int connect_client(void)
{
	const int fd = knock();

	run();
	assert_reads(fd, GREETING);
	return fd;
}

static inline void assert_answer(int fd, const char *request, const char *expected)
{
	say(fd, request);
	say(fd, "\n");
	run();
	assert_reads(fd, expected);
}

#define ERROR(id, code, text) \
	"{\"id\":" id ",\"ok\":false,\"error\":{\"code\":\"" code "\",\"message\":\"" text "\"}}\n"

#define ONE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
