/* SPDX-License-Identifier: MIT */
/*
 * The control server with real sockets, a clock whose hands the test turns, and disks that only
 * write down what was asked of them. The server runs when the test lets it.
 */
#include "control/server.h"

#include "base/checked.h"
#include "cmd/size.h"
#include "control/connection.h"
#include "control/unix_socket.h"
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
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

static uint64_t now(void *context)
{
	return ((struct rig *)context)->now_ns;
}

__attribute__((format(printf, 3, 4))) static int called(char *message, size_t size,
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

static void op_stats(void *context, unsigned int disk, struct vblk_control_disk *state)
{
	(void)context;
	state->capacity_bytes = 4096 * (disk + 1);
	state->connected = disk == 0;
	state->paused = rig.rests[disk];
	state->throttle = rig.throttle;
	state->counters.interrupts = 100 + disk;
}

static int op_throttle(void *context, unsigned int disk, const struct vblk_throttle *throttle,
		       char *message, size_t size)
{
	(void)context;
	return called(message, size, "throttle %u %llu %llu %llu %llu;", disk,
		      (unsigned long long)throttle->iops, (unsigned long long)throttle->iops_burst,
		      (unsigned long long)throttle->bps, (unsigned long long)throttle->bps_burst);
}

static int op_pause(void *context, unsigned int disk, char *message, size_t size)
{
	(void)context;
	return called(message, size, "pause %u;", disk);
}

static bool op_is_paused(void *context, unsigned int disk)
{
	(void)context;
	return rig.rests[disk];
}

static int op_resume(void *context, unsigned int disk, char *message, size_t size)
{
	(void)context;
	return called(message, size, "resume %u;", disk);
}

static int op_resize(void *context, unsigned int disk, uint64_t bytes, char *message, size_t size)
{
	(void)context;
	return called(message, size, "resize %u %llu;", disk, (unsigned long long)bytes);
}

static int op_fault(void *context, unsigned int disk, const char *const *rules, size_t count,
		    char *message, size_t size)
{
	(void)context;
	return called(message, size, "fault %u %zu %s;", disk, count, count ? rules[0] : "-");
}

static void op_quit(void *context)
{
	(void)context;
	rig.quit = true;
}

static void complain(void *context, enum vblk_log_level level, const char *text,
		     const struct vblk_log_field *fields, size_t count)
{
	(void)level;
	(void)fields;
	(void)count;
	((struct rig *)context)->complaints += strstr(text, "cannot accept") != NULL;
}

static const struct vblk_control_ops ops = {
	op_stats, op_throttle, op_pause, op_is_paused, op_resume, op_resize, op_fault, op_quit,
};

static int setup(void **state)
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

static int teardown(void **state)
{
	(void)state;
	vblk_control_server_destroy(rig.server);
	vblk_unix_listener_close(&rig.listener);
	assert_int_equal(process_fds(), rig.fds);
	return rmdir(rig.folder);
}

/* Only one disk, whose name need not be said. */
static void leave_one_disk(void)
{
	vblk_control_server_destroy(rig.server);
	rig.options.disk_count = 1;
	assert_int_equal(vblk_control_server_create(&rig.options, &rig.server), 0);
}

static bool is_ready(void)
{
	struct pollfd fd = { .fd = vblk_control_server_fd(rig.server), .events = POLLIN };

	return poll(&fd, 1, 0) == 1;
}

/* Lets the server do all that it has to do. A server that is never done is a failure. */
static void run(void)
{
	for (unsigned int i = 0; i < 1000; i++) {
		if (!is_ready())
			return;
		vblk_control_server_run(rig.server);
	}
	fail_msg("the server spins");
}

static int knock(void)
{
	char path[80], message[512];
	int fd;

	snprintf(path, sizeof(path), "%s/s", rig.folder);
	assert_int_equal(vblk_unix_connect(path, 10000, &fd, message, sizeof(message)), 0);
	return fd;
}

static void assert_reads(int fd, const char *expected)
{
	char text[4096] = "";
	const ssize_t got = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	assert_string_equal(text, expected);
	assert_int_equal(got, strlen(expected));
}

static void assert_silent(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void assert_closed(int fd)
{
	char byte;
	const ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);

	assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT), strlen(text));
}

/* A client that was greeted. */
static int connect_client(void)
{
	const int fd = knock();

	run();
	assert_reads(fd, GREETING);
	return fd;
}

static void assert_answer(int fd, const char *request, const char *expected)
{
	say(fd, request);
	say(fd, "\n");
	run();
	assert_reads(fd, expected);
}

static void a_client_is_greeted(void **state)
{
	const int fd = connect_client();

	(void)state;
	assert_silent(fd);
	close(fd);
	run();
}

static void stats_of_all_and_of_one(void **state)
{
	const int fd = connect_client();
	char text[4096] = "";

	(void)state;
	say(fd, "{\"id\":1,\"command\":\"stats\"}\n");
	run();
	assert_true(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
	assert_non_null(strstr(text, "{\"name\":\"a\",\"index\":0,\"capacity\":4096,"
				     "\"connected\":true,"));
	assert_non_null(strstr(text, "{\"name\":\"b\",\"index\":1,\"capacity\":8192,"
				     "\"connected\":false,"));
	assert_non_null(strstr(text, "\"interrupts\":101}"));

	memset(text, 0, sizeof(text));
	say(fd, "{\"id\":1,\"command\":\"stats\",\"disk\":\"b\"}\n");
	run();
	assert_true(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
	assert_null(strstr(text, "\"name\":\"a\""));
	assert_non_null(strstr(text, "\"name\":\"b\",\"index\":1,"));
	close(fd);
}

static void commands_reach_their_disk(void **state)
{
	const int fd = connect_client();

	(void)state;
	assert_answer(fd, "{\"id\":1,\"command\":\"resume\",\"disk\":1}", DONE("1"));
	assert_answer(fd, "{\"id\":\"x\",\"command\":\"fault\",\"disk\":\"a\",\"fault\":\"r\"}",
		      DONE("\"x\""));
	assert_answer(fd, "{\"command\":\"fault\",\"disk\":1,\"fault\":null}", DONE("null"));
	assert_answer(fd, "{\"id\":2,\"command\":\"resize\",\"disk\":\"b\",\"size\":\"1M\"}",
		      "{\"id\":2,\"ok\":true,\"result\":{\"capacity\":1048576}}\n");
	rig.throttle.bps = 10;
	assert_answer(fd, "{\"id\":3,\"command\":\"throttle\",\"disk\":\"b\",\"iops\":5}",
		      "{\"id\":3,\"ok\":true,\"result\":{\"iops\":5,\"iops_burst\":0,\"bps\":10,"
		      "\"bps_burst\":0}}\n");
	assert_string_equal(rig.calls, "resume 1;fault 0 1 r;fault 1 0 -;resize 1 1048576;"
				       "throttle 1 5 0 10 0;");
	close(fd);
}

static void the_only_disk_need_not_be_named(void **state)
{
	int fd;

	(void)state;
	leave_one_disk();
	fd = knock();
	run();
	assert_reads(fd, "{\"vblk\":1,\"version\":\"7.8\",\"disks\":[\"a\"]}\n");
	assert_answer(fd, "{\"id\":1,\"command\":\"resume\"}", DONE("1"));
	assert_string_equal(rig.calls, "resume 0;");
	close(fd);
}

#define ERROR(id, code, text) \
	"{\"id\":" id ",\"ok\":false,\"error\":{\"code\":\"" code "\",\"message\":\"" text "\"}}\n"

static void disks_that_are_not_there_are_refused(void **state)
{
	const int fd = connect_client();

	(void)state;
	assert_answer(fd, "{\"id\":1,\"command\":\"resume\"}",
		      ERROR("1", "unknown-disk", "there are 2 disks: say which by \\\"disk\\\""));
	assert_answer(fd, "{\"id\":1,\"command\":\"resume\",\"disk\":2}",
		      ERROR("1", "unknown-disk", "there is no disk 2: there are 2, from 0 on"));
	assert_answer(
		fd, "{\"id\":1,\"command\":\"resume\",\"disk\":4294967296}",
		ERROR("1", "unknown-disk", "there is no disk 4294967296: there are 2, from 0 on"));
	assert_answer(fd, "{\"id\":1,\"command\":\"resume\",\"disk\":\"c\"}",
		      ERROR("1", "unknown-disk",
			    "there is no disk \\\"c\\\": \\\"stats\\\" names them all"));
	assert_string_equal(rig.calls, "");
	close(fd);
}

static void what_cannot_be_is_not_asked_of_a_disk(void **state)
{
	const int fd = connect_client();

	(void)state;
	assert_answer(fd, "{\"id\":1,\"command\":\"throttle\",\"disk\":0,\"iops_burst\":5}",
		      ERROR("1", "invalid",
			    "iops_burst=5 without iops: give the rate too, or iops_burst=0 for "
			    "none; nothing was changed"));
	assert_answer(fd, "{\"id\":1,\"command\":\"resize\",\"disk\":0,\"size\":512}",
		      ERROR("1", "refused",
			    "\\\"size\\\": 512 is below the 4096 bytes that the disk has: the "
			    "guest would lose what is behind; \\\"force\\\" does it anyway"));
	assert_string_equal(rig.calls, "");
	close(fd);
}

static void failures_have_codes_and_words(void **state)
{
	static const struct {
		int answer;
		const char *why;
		const char *expected;
	} table[] = {
		{ -EINVAL, "no such word", ERROR("1", "invalid", "no such word") },
		{ -ERANGE, NULL, ERROR("1", "invalid", "Numerical result out of range") },
		{ -EOPNOTSUPP, "not here", ERROR("1", "unsupported", "not here") },
		{ -EBUSY, "later", ERROR("1", "busy", "later") },
		{ -EIO, NULL, ERROR("1", "failed", "Input/output error") },
	};
	static const char *const requests[] = {
		"{\"id\":1,\"command\":\"throttle\",\"disk\":0,\"iops\":5}",
		"{\"id\":1,\"command\":\"pause\",\"disk\":0}",
		"{\"id\":1,\"command\":\"resume\",\"disk\":0}",
		"{\"id\":1,\"command\":\"resize\",\"disk\":0,\"size\":4096}",
		"{\"id\":1,\"command\":\"fault\",\"disk\":0,\"fault\":\"x\"}",
	};
	const int fd = connect_client();

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		for (size_t j = 0; j < VBLK_ARRAY_SIZE(requests); j++) {
			rig.answer = table[i].answer;
			rig.why = table[i].why;
			assert_answer(fd, requests[j], table[i].expected);
		}
	}
	close(fd);
}

static void a_pause_is_answered_when_the_disk_rests(void **state)
{
	const int one = connect_client();
	const int other = connect_client();

	(void)state;
	say(one, "{\"id\":1,\"command\":\"pause\",\"disk\":0}\n");
	run();
	assert_string_equal(rig.calls, "pause 0;");
	assert_silent(one);
	/* Meanwhile everybody is served, the one that waits too. */
	assert_answer(other, "{\"id\":2,\"command\":\"resume\",\"disk\":1}", DONE("2"));
	assert_answer(one, "{\"id\":3,\"command\":\"resume\",\"disk\":1}", DONE("3"));

	rig.rests[0] = true;
	assert_false(is_ready());
	assert_int_equal(eventfd_write(vblk_control_server_parked_fd(rig.server), 1), 0);
	run();
	assert_reads(one, DONE("1"));
	assert_silent(other);
	close(one);
	close(other);
}

static void a_disk_that_rests_is_answered_at_once(void **state)
{
	const int fd = connect_client();

	(void)state;
	rig.rests[1] = true;
	assert_answer(fd, "{\"id\":1,\"command\":\"pause\",\"disk\":1,\"timeout_ms\":0}",
		      DONE("1"));
	close(fd);
}

static void a_check_finds_a_disk_that_rests(void **state)
{
	const int fd = connect_client();

	(void)state;
	say(fd, "{\"id\":1,\"command\":\"pause\",\"disk\":1}\n");
	run();
	vblk_control_server_check(rig.server);
	assert_silent(fd);
	rig.rests[1] = true;
	vblk_control_server_check(rig.server);
	assert_reads(fd, DONE("1"));
	close(fd);
}

static void a_pause_ends_at_its_time(void **state)
{
	const int fd = connect_client();

	(void)state;
	say(fd, "{\"id\":1,\"command\":\"pause\",\"disk\":0,\"timeout_ms\":50}\n");
	vblk_control_server_run(rig.server);
	rig.now_ns += 50 * VBLK_NSEC_PER_MSEC - 1;
	vblk_control_server_check(rig.server);
	assert_silent(fd);
	rig.now_ns += 1;
	vblk_control_server_check(rig.server);
	assert_reads(fd, ERROR("1", "timeout",
			       "disk \\\"a\\\" is not at rest after 50 ms: a call to its file has "
			       "not returned; it rests when that does, unless it is resumed"));
	close(fd);
}

/* With the real clock, whose timer has to wake the server. */
static void the_timer_wakes_the_server(void **state)
{
	struct pollfd fd;
	char text[1024] = "";
	int client;

	(void)state;
	vblk_control_server_destroy(rig.server);
	rig.options.clock = NULL;
	assert_int_equal(vblk_control_server_create(&rig.options, &rig.server), 0);
	client = connect_client();
	say(client, "{\"id\":1,\"command\":\"pause\",\"disk\":0,\"timeout_ms\":1}\n");
	fd = (struct pollfd){ .fd = vblk_control_server_fd(rig.server), .events = POLLIN };
	for (unsigned int i = 0; i < 100 && !*text; i++) {
		assert_int_equal(poll(&fd, 1, 10000), 1);
		vblk_control_server_run(rig.server);
		if (recv(client, text, sizeof(text) - 1, MSG_DONTWAIT) < 0)
			assert_int_equal(errno, EAGAIN);
	}
	assert_non_null(strstr(text, "\"code\":\"timeout\""));
	assert_false(is_ready());
	close(client);
}

static void a_resume_takes_a_pause_back(void **state)
{
	const int one = connect_client();
	const int other = connect_client();

	(void)state;
	say(one, "{\"id\":1,\"command\":\"pause\",\"disk\":0}\n"
		 "{\"id\":2,\"command\":\"pause\",\"disk\":1}\n");
	run();
	assert_answer(other, "{\"id\":3,\"command\":\"resume\",\"disk\":0}", DONE("3"));
	assert_reads(one,
		     ERROR("1", "resumed", "disk \\\"a\\\" was resumed before it was at rest"));
	rig.rests[1] = true;
	vblk_control_server_check(rig.server);
	assert_reads(one, DONE("2"));
	close(one);
	close(other);
}

/* At rest, and resumed before anybody looked: it was at rest. */
static void a_resume_does_not_hide_a_rest(void **state)
{
	const int fd = connect_client();

	(void)state;
	say(fd, "{\"id\":1,\"command\":\"pause\",\"disk\":0}\n");
	run();
	rig.rests[0] = true;
	assert_answer(fd, "{\"id\":2,\"command\":\"resume\",\"disk\":0}", DONE("1") DONE("2"));
	close(fd);
}

static void pauses_that_wait_are_bounded(void **state)
{
	const int fd = connect_client();
	char text[1024] = "";

	(void)state;
	for (unsigned int i = 0; i < VBLK_CONTROL_PENDING_MAX; i++) {
		say(fd, "{\"id\":1,\"command\":\"pause\",\"disk\":0}\n");
		run();
	}
	assert_silent(fd);
	say(fd, "{\"id\":2,\"command\":\"pause\",\"disk\":0}\n");
	run();
	assert_true(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
	assert_non_null(strstr(text, "{\"id\":2,\"ok\":false,\"error\":{\"code\":\"busy\""));
	close(fd);
	run();
}

static void quit_is_answered(void **state)
{
	const int fd = connect_client();

	(void)state;
	assert_answer(fd, "{\"id\":1,\"command\":\"quit\"}", DONE("1"));
	assert_true(rig.quit);
	close(fd);
}

static void many_lines_in_one_piece(void **state)
{
	const int fd = connect_client();

	(void)state;
	assert_answer(fd,
		      "\n{\"id\":1,\"command\":\"resume\",\"disk\":0}\r\n\r\n"
		      "{\"id\":2,\"command\":\"resume\",\"disk\":1}",
		      DONE("1") DONE("2"));
	close(fd);
}

static void one_line_in_many_pieces(void **state)
{
	static const char line[] = "{\"id\":1,\"command\":\"resume\",\"disk\":0}\n";
	const int fd = connect_client();

	(void)state;
	for (size_t i = 0; i < sizeof(line) - 1; i++) {
		assert_silent(fd);
		assert_int_equal(send(fd, line + i, 1, 0), 1);
		run();
	}
	assert_reads(fd, DONE("1"));
	close(fd);
}

static void half_a_line_at_the_end_is_none(void **state)
{
	const int fd = connect_client();

	(void)state;
	say(fd, "{\"id\":1,\"command\":\"resume\",\"disk\":0}");
	shutdown(fd, SHUT_WR);
	run();
	assert_string_equal(rig.calls, "");
	assert_closed(fd);
	close(fd);
}

static void who_has_said_all_still_gets_the_answers(void **state)
{
	const int fd = connect_client();

	(void)state;
	say(fd, "{\"id\":1,\"command\":\"pause\",\"disk\":0}\n"
		"{\"id\":2,\"command\":\"resume\",\"disk\":1}\n");
	shutdown(fd, SHUT_WR);
	run();
	assert_reads(fd, DONE("2"));
	assert_silent(fd);
	rig.rests[0] = true;
	vblk_control_server_check(rig.server);
	assert_reads(fd, DONE("1"));
	assert_closed(fd);
	close(fd);
}

static void what_a_client_said_before_it_went_is_done(void **state)
{
	const int fd = knock();

	(void)state;
	say(fd, "{\"command\":\"resume\",\"disk\":0}\n{\"command\":\"resume\",\"disk\":1}\n");
	close(fd);
	run();
	assert_string_equal(rig.calls, "resume 0;resume 1;");
}

static void the_longest_line_is_taken(void **state)
{
	static char line[VBLK_CONTROL_LINE_MAX + 2];
	const int fd = connect_client();
	static const char request[] = "{\"id\":1,\"command\":\"resume\",\"disk\":0}";

	(void)state;
	memset(line, ' ', VBLK_CONTROL_LINE_MAX);
	memcpy(line, request, sizeof(request) - 1);
	line[VBLK_CONTROL_LINE_MAX] = '\n';
	say(fd, line);
	run();
	assert_reads(fd, DONE("1"));
	close(fd);
}

static void a_longer_line_ends_the_connection(void **state)
{
	static char line[VBLK_CONTROL_LINE_MAX + 2];
	const int fd = connect_client();
	const int other = connect_client();

	(void)state;
	memset(line, ' ', VBLK_CONTROL_LINE_MAX + 1);
	say(fd, line);
	run();
	assert_reads(fd, ERROR("null", "too-long", "the line has more than 65536 bytes"));
	assert_closed(fd);
	assert_answer(other, "{\"id\":1,\"command\":\"resume\",\"disk\":0}", DONE("1"));
	close(fd);
	close(other);
}

static void clients_are_bounded(void **state)
{
	int fds[VBLK_CONTROL_CLIENTS_MAX];
	int more;

	(void)state;
	for (size_t i = 0; i < VBLK_CONTROL_CLIENTS_MAX; i++)
		fds[i] = connect_client();
	more = knock();
	run();
	assert_reads(more, ERROR("null", "too-many-clients",
				 "there are 16 clients already, which is as many as there may be"));
	assert_closed(more);
	close(more);
	assert_answer(fds[0], "{\"id\":1,\"command\":\"resume\",\"disk\":0}", DONE("1"));
	/* One that leaves makes place. */
	close(fds[5]);
	run();
	fds[5] = connect_client();
	for (size_t i = 0; i < VBLK_CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
	run();
}

static void who_does_not_read_is_dropped(void **state)
{
	const int deaf = connect_client();
	const int other = connect_client();
	const size_t fds = process_fds();
	unsigned int sent = 0;

	(void)state;
	while (sent < 100000 && process_fds() == fds) {
		if (send(deaf, "{\"command\":\"stats\"}\n", 20, MSG_NOSIGNAL | MSG_DONTWAIT) != 20)
			break;
		sent++;
		vblk_control_server_run(rig.server);
	}
	assert_int_equal(process_fds(), fds - 1);
	/* It had its megabyte. */
	assert_true(sent > VBLK_CONTROL_OUTPUT_MAX / 2000);
	assert_answer(other, "{\"id\":1,\"command\":\"resume\",\"disk\":0}", DONE("1"));
	close(deaf);
	close(other);
}

static void who_reads_late_gets_everything(void **state)
{
	const int fd = connect_client();
	static char text[1 << 20];
	size_t used = 0;
	unsigned int lines = 0;
	ssize_t got;

	(void)state;
	for (unsigned int i = 0; i < 500; i++) {
		say(fd, "{\"command\":\"stats\"}\n");
		vblk_control_server_run(rig.server);
	}
	while ((got = recv(fd, text + used, sizeof(text) - used, MSG_DONTWAIT)) > 0) {
		used += (size_t)got;
		run();
	}
	for (size_t i = 0; i < used; i++)
		lines += text[i] == '\n';
	assert_int_equal(lines, 500);
	assert_int_equal(text[used - 1], '\n');
	assert_false(is_ready());
	close(fd);
}

static void a_client_that_says_nothing_holds_nobody_up(void **state)
{
	const int silent = knock();
	const int half = connect_client();
	const int other = connect_client();

	(void)state;
	say(half, "{\"id\":1,");
	run();
	assert_answer(other, "{\"id\":1,\"command\":\"resume\",\"disk\":0}", DONE("1"));
	assert_reads(silent, GREETING);
	close(silent);
	close(half);
	close(other);
}

static void a_pause_of_a_client_that_went_is_forgotten(void **state)
{
	const int fd = connect_client();

	(void)state;
	say(fd, "{\"id\":1,\"command\":\"pause\",\"disk\":0}\n");
	run();
	close(fd);
	run();
	rig.rests[0] = true;
	vblk_control_server_check(rig.server);
	assert_false(is_ready());
}

static void without_descriptors_the_server_waits(void **state)
{
	const int fd = connect_client();
	const int late = knock();

	(void)state;
	process_limit_fds(0);
	for (unsigned int i = 0; i < 3; i++) {
		vblk_control_server_run(rig.server);
		assert_false(is_ready());
		assert_answer(fd, "{\"id\":1,\"command\":\"resume\",\"disk\":0}", DONE("1"));
		rig.now_ns += VBLK_NSEC_PER_SEC;
		vblk_control_server_check(rig.server);
		assert_true(is_ready());
	}
	vblk_control_server_run(rig.server);
	process_unlimit_fds();
	/* One line for all of it. */
	assert_int_equal(rig.complaints, 1);
	assert_silent(late);
	rig.now_ns += VBLK_NSEC_PER_SEC;
	vblk_control_server_check(rig.server);
	run();
	assert_reads(late, GREETING);
	close(fd);
	close(late);
}

static void a_client_that_goes_makes_room_for_the_next(void **state)
{
	const int fd = connect_client();
	const int late = knock();

	(void)state;
	process_limit_fds(0);
	run();
	assert_silent(late);
	process_unlimit_fds();
	close(fd);
	run();
	assert_reads(late, GREETING);
	close(late);
}

/* Whoever else has the listening socket may end it. */
static void a_socket_that_is_shut_down_does_not_spin(void **state)
{
	(void)state;
	shutdown(rig.listener.fd, SHUT_RDWR);
	run();
	rig.now_ns += VBLK_NSEC_PER_SEC;
	vblk_control_server_check(rig.server);
	run();
	assert_int_equal(rig.complaints, 0);
}

static void creation_without_descriptors_fails(void **state)
{
	struct vblk_control_server *server;

	(void)state;
	for (size_t more = 0; more < 3; more++) {
		process_limit_fds(more);
		assert_int_equal(vblk_control_server_create(&rig.options, &server), -EMFILE);
		process_unlimit_fds();
	}
}

static void destruction_closes_everything(void **state)
{
	const int fd = connect_client();

	(void)state;
	say(fd, "{\"id\":1,\"command\":\"pause\",\"disk\":0}\n");
	run();
	vblk_control_server_destroy(rig.server);
	rig.server = NULL;
	assert_closed(fd);
	close(fd);
	vblk_control_server_destroy(NULL);
}

#define ONE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(a_client_is_greeted),
		ONE(stats_of_all_and_of_one),
		ONE(commands_reach_their_disk),
		ONE(the_only_disk_need_not_be_named),
		ONE(disks_that_are_not_there_are_refused),
		ONE(what_cannot_be_is_not_asked_of_a_disk),
		ONE(failures_have_codes_and_words),
		ONE(a_pause_is_answered_when_the_disk_rests),
		ONE(a_disk_that_rests_is_answered_at_once),
		ONE(a_check_finds_a_disk_that_rests),
		ONE(a_pause_ends_at_its_time),
		ONE(the_timer_wakes_the_server),
		ONE(a_resume_takes_a_pause_back),
		ONE(a_resume_does_not_hide_a_rest),
		ONE(pauses_that_wait_are_bounded),
		ONE(quit_is_answered),
		ONE(many_lines_in_one_piece),
		ONE(one_line_in_many_pieces),
		ONE(half_a_line_at_the_end_is_none),
		ONE(who_has_said_all_still_gets_the_answers),
		ONE(what_a_client_said_before_it_went_is_done),
		ONE(the_longest_line_is_taken),
		ONE(a_longer_line_ends_the_connection),
		ONE(clients_are_bounded),
		ONE(who_does_not_read_is_dropped),
		ONE(who_reads_late_gets_everything),
		ONE(a_client_that_says_nothing_holds_nobody_up),
		ONE(a_pause_of_a_client_that_went_is_forgotten),
		ONE(without_descriptors_the_server_waits),
		ONE(a_client_that_goes_makes_room_for_the_next),
		ONE(a_socket_that_is_shut_down_does_not_spin),
		ONE(creation_without_descriptors_fails),
		ONE(destruction_closes_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
