/* SPDX-License-Identifier: MIT */
/*
 * vblk ctl, called as main() calls it, against a server that a thread plays from a script: it
 * greets, takes one request and answers. What goes to standard output and standard error is read
 * back from files.
 */
#include "cmd/cmd.h"

#include "base/checked.h"
#include "control/call.h"
#include "control/unix_socket.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define GREETING "{\"vblk\":1,\"version\":\"1\",\"disks\":[\"a\"]}\n"
#define OK	 "{\"id\":1,\"ok\":true,\"result\":{}}\n"
#define ARGS_MAX 12

struct server {
	struct vblk_unix_listener listener;
	const char *greeting; /* NULL: silence */
	const char *reply;    /* NULL: the connection is closed instead */
	char request[512];
	pthread_t thread;
};

static char folder[64];
static char path[80];
static struct server server;
static char out[4096];
static char err[4096];

static uint32_t timeout_ms; /* of the last call */

int __real_vblk_control_call_open(struct vblk_control_call *call, const char *path_of_server,
				  uint32_t timeout, char *message, size_t message_size);
int __wrap_vblk_control_call_open(struct vblk_control_call *call, const char *path_of_server,
				  uint32_t timeout, char *message, size_t message_size);

int __wrap_vblk_control_call_open(struct vblk_control_call *call, const char *path_of_server,
				  uint32_t timeout, char *message, size_t message_size)
{
	timeout_ms = timeout;
	return __real_vblk_control_call_open(call, path_of_server, timeout, message, message_size);
}

static int setup(void **state)
{
	(void)state;
	memset(&server, 0, sizeof(server));
	strcpy(folder, "/tmp/vblk-ctl-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return rmdir(folder);
}

static void *serve(void *context)
{
	struct pollfd door = { .fd = server.listener.fd, .events = POLLIN };
	size_t used = 0;
	ssize_t got = 0;
	int fd;

	poll(&door, 1, 10000);
	fd = accept(server.listener.fd, NULL, NULL);
	if (fd < 0)
		return context;
	if (server.greeting)
		send(fd, server.greeting, strlen(server.greeting), MSG_NOSIGNAL);
	/* Without a greeting there is no request: this waits until the caller has given up. */
	while (!memchr(server.request, '\n', used) && used < sizeof(server.request) - 1) {
		got = recv(fd, server.request + used, sizeof(server.request) - 1 - used, 0);
		if (got <= 0)
			break;
		used += (size_t)got;
	}
	if (got > 0 && server.reply)
		send(fd, server.reply, strlen(server.reply), MSG_NOSIGNAL);
	close(fd);
	return context;
}

static int redirect(int fd, FILE *file)
{
	const int before = dup(fd);

	assert_true(before >= 0);
	assert_true(dup2(fileno(file), fd) >= 0);
	return before;
}

static void restore(int fd, int before, FILE *file, char *text, size_t size)
{
	dup2(before, fd);
	close(before);
	rewind(file);
	text[fread(text, 1, size - 1, file)] = '\0';
	fclose(file);
}

/* Calls `vblk ctl PATH words...`; a word may not have a space. */
static int call_at(const char *where, const char *words)
{
	char *argv[ARGS_MAX + 1] = { (char *)"ctl", (char *)where };
	char copy[512];
	char *rest = copy;
	int argc = where ? 2 : 1;
	FILE *out_file = tmpfile(), *err_file = tmpfile();
	int out_before, err_before, status;

	snprintf(copy, sizeof(copy), "%s", words);
	while (rest && *rest && argc < ARGS_MAX)
		argv[argc++] = strsep(&rest, " ");
	argv[argc] = NULL;
	fflush(stdout);
	out_before = redirect(STDOUT_FILENO, out_file);
	err_before = redirect(STDERR_FILENO, err_file);
	status = cmd_ctl(argc, argv);
	fflush(stdout);
	restore(STDOUT_FILENO, out_before, out_file, out, sizeof(out));
	restore(STDERR_FILENO, err_before, err_file, err, sizeof(err));
	return status;
}

static int call(const char *words, const char *greeting, const char *reply)
{
	char message[512];
	int status;

	memset(server.request, 0, sizeof(server.request));
	server.greeting = greeting;
	server.reply = reply;
	assert_int_equal(vblk_unix_listen(path, &server.listener, message, sizeof(message)), 0);
	assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
	status = call_at(path, words);
	assert_int_equal(pthread_join(server.thread, NULL), 0);
	vblk_unix_listener_close(&server.listener);
	return status;
}

/* By command, if the user says nothing: a freeze has 30 s of its own, a dump takes what it takes.
 */
static void each_command_has_its_time(void **state)
{
	static const struct {
		const char *words;
		uint32_t timeout_ms; /* and 2 s for the answer that it did not succeed */
	} table[] = {
		{ "quit", 12000 },
		{ "thaw", 12000 },
		{ "pause", 12000 },
		{ "freeze", 37000 },
		{ "dump", 602000 },
		{ "dump --timeout 5", 7000 },
		{ "freeze --timeout 3600", 3602000 },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		assert_int_equal(call(table[i].words, GREETING, OK), CMD_OK);
		assert_int_equal(timeout_ms, table[i].timeout_ms);
	}
}

static void words_become_requests(void **state)
{
	static const struct {
		const char *words;
		const char *request;
	} table[] = {
		{ "pause", "{\"timeout_ms\":10000,\"command\":\"pause\",\"id\":1}\n" },
		{ "pause --timeout 3 --disk data",
		  "{\"timeout_ms\":3000,\"command\":\"pause\",\"disk\":\"data\",\"id\":1}\n" },
		{ "--disk 1 resume", "{\"command\":\"resume\",\"disk\":1,\"id\":1}\n" },
		{ "throttle none", "{\"iops\":0,\"bps\":0,\"command\":\"throttle\",\"id\":1}\n" },
		{ "throttle iops=100 bps=1M bps-burst=2M iops-burst=none",
		  "{\"iops\":100,\"bps\":1048576,\"bps_burst\":2097152,\"iops_burst\":0,"
		  "\"command\":\"throttle\",\"id\":1}\n" },
		/* What the protocol calls them. */
		{ "throttle bps=1M bps_burst=2M iops_burst=0",
		  "{\"bps\":1048576,\"bps_burst\":2097152,\"iops_burst\":0,"
		  "\"command\":\"throttle\",\"id\":1}\n" },
		{ "resize 64M",
		  "{\"size\":67108864,\"force\":false,\"command\":\"resize\",\"id\":1}\n" },
		{ "resize 512 --force",
		  "{\"size\":512,\"force\":true,\"command\":\"resize\",\"id\":1}\n" },
		{ "fault none", "{\"fault\":null,\"command\":\"fault\",\"id\":1}\n" },
		{ "fault read:zero flush:zero",
		  "{\"fault\":[\"read:zero\",\"flush:zero\"],\"command\":\"fault\",\"id\":1}\n" },
		{ "quit", "{\"command\":\"quit\",\"id\":1}\n" },
		{ "thaw", "{\"command\":\"thaw\",\"id\":1}\n" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		assert_int_equal(call(table[i].words, GREETING, OK), CMD_OK);
		assert_string_equal(server.request, table[i].request);
		assert_string_equal(out, "");
		assert_string_equal(err, "");
	}
}

#define STATS                                                                                                                \
	"{\"id\":1,\"ok\":true,\"result\":{\"disks\":[{\"name\":\"a\",\"index\":0,\"capacity\":"                             \
	"1048576,\"connected\":true,\"paused\":false,\"workers_abandoned\":2,\"throttle\":{\"iops\":0,\"iops_burst\":0,"     \
	"\"bps\":5,\"bps_burst\":6},\"counters\":{\"bytes_read\":7}},{\"name\":\"b\\u001b\","                                \
	"\"index\":1,\"capacity\":512,\"connected\":false,\"paused\":true,\"workers_abandoned\":0,\"throttle\":{\"iops\":1," \
	"\"iops_burst\":2,\"bps\":0,\"bps_burst\":0},\"counters\":{\"bytes_read\":0}}]}}\n"

static void stats_are_a_table(void **state)
{
	(void)state;
	assert_int_equal(call("stats", GREETING, STATS), CMD_OK);
	assert_string_equal(server.request, "{\"command\":\"stats\",\"id\":1}\n");
	assert_string_equal(out, "disk              a       b?\n"
				 "number            0        1\n"
				 "capacity    1048576      512\n"
				 "connected       yes       no\n"
				 "paused           no      yes\n"
				 "abandoned         2        0\n"
				 "iops           none        1\n"
				 "iops-burst     none        2\n"
				 "bps               5     none\n"
				 "bps-burst         6     none\n"
				 "bytes_read        7        0\n");
}

static void what_was_frozen_and_dumped_is_told(void **state)
{
	(void)state;
	assert_int_equal(call("freeze", GREETING,
			      "{\"id\":1,\"ok\":true,\"result\":{\"vcpus\":3,\"disks\":1,"
			      "\"left_out\":[\"b\"],\"took_us\":84}}\n"),
			 CMD_OK);
	assert_string_equal(server.request, "{\"command\":\"freeze\",\"id\":1}\n");
	assert_string_equal(out, "parked 3 vcpus and 1 devices in 84 us, 1 left out: their files "
				 "hang\n");
	assert_int_equal(call("dump", GREETING,
			      "{\"id\":1,\"ok\":true,\"result\":{\"path\":\"d\\u001b/1\"}}\n"),
			 CMD_OK);
	assert_string_equal(out, "d?/1\n");
}

static void results_are_printed_as_json(void **state)
{
	(void)state;
	assert_int_equal(call("resize 1k --json", GREETING,
			      "{\"id\":1,\"ok\":true,\"result\":{\"capacity\":1024}}\n"),
			 CMD_OK);
	assert_string_equal(out, "{\n  \"capacity\": 1024\n}\n");
}

static void a_refusal_is_told_in_the_words_of_the_server(void **state)
{
	(void)state;
	assert_int_equal(call("resume", GREETING,
			      "{\"id\":1,\"ok\":false,\"error\":{\"code\":\"busy\",\"message\":"
			      "\"not\\nnow\"}}\n"),
			 CMD_FAILED);
	assert_string_equal(err, "vblk ctl: resume: not?now\n");
	assert_string_equal(out, "");
}

/* Only what is a limit: a disk may be called like one. */
static void limits_are_spelt_as_they_are_given(void **state)
{
	(void)state;
	assert_int_equal(call("throttle iops-burst=5", GREETING,
			      "{\"id\":1,\"ok\":false,\"error\":{\"code\":\"invalid\",\"message\":"
			      "\"iops_burst=5 and bps_burst=0 of 'iops_burst', bps_burst\"}}\n"),
			 CMD_FAILED);
	assert_string_equal(err, "vblk ctl: throttle: iops-burst=5 and bps-burst=0 of "
				 "'iops_burst', bps_burst\n");
}

static void assert_complaint(const char *format)
{
	char expected[512];

	/* NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): the formats stand below */
	snprintf(expected, sizeof(expected), format, path);
	assert_string_equal(err, expected);
}

static void servers_that_are_none_of_ours(void **state)
{
	static const struct {
		const char *greeting;
		const char *reply;
		const char *complaint;
	} table[] = {
		{ "SSH-2.0\n", NULL,
		  "vblk ctl: '%s' is no vblk control socket: it sends no JSON\n" },
		{ "[]\n", NULL, "vblk ctl: '%s' is no vblk control socket: it sends no JSON\n" },
		{ "{\"QMP\":{}}\n", NULL,
		  "vblk ctl: '%s' is no vblk control socket: its greeting is not\n" },
		{ "{\"vblk\":2}\n", NULL,
		  "vblk ctl: '%s' speaks version 2 of the control protocol, this vblk version 1\n" },
		{ GREETING, NULL,
		  "vblk ctl: resume: '%s': the server has closed the connection\n" },
		{ GREETING, "{\"id\":1,\"ok\":tr",
		  "vblk ctl: resume: '%s': the server has closed the connection\n" },
		{ GREETING, "{\"id\":2,\"ok\":true,\"result\":{}}\n",
		  "vblk ctl: resume: '%s': the reply is none to this request\n" },
		{ GREETING, "{\"id\":1,\"ok\":false}\n",
		  "vblk ctl: resume: '%s': the reply is none to this request\n" },
		{ GREETING, "{\"id\":1,\"ok\":true}\n",
		  "vblk ctl: resume: '%s': the reply is none to this request\n" },
		{ "{\"id\":null,\"ok\":false,\"error\":{\"code\":\"too-many-clients\","
		  "\"message\":\"too many\"}}\n",
		  NULL, "vblk ctl: too many\n" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		assert_int_equal(call("resume", table[i].greeting, table[i].reply), CMD_FAILED);
		assert_complaint(table[i].complaint);
	}
}

static void a_server_that_says_nothing_is_given_up(void **state)
{
	(void)state;
	assert_int_equal(call("resume --timeout 1", NULL, NULL), CMD_FAILED);
	assert_complaint("vblk ctl: '%s' says nothing for 3000 ms: it is no vblk control socket, "
			 "or vblk hangs\n");
}

static void without_a_server(void **state)
{
	(void)state;
	assert_int_equal(call_at(path, "stats"), CMD_FAILED);
	assert_complaint("vblk ctl: there is no socket '%s'\n");
}

static void bad_input_is_told(void **state)
{
	static const struct {
		const char *words;
		const char *complaint;
	} table[] = {
		{ "", "no command given: vblk ctl CONTROL COMMAND, see 'vblk ctl --help'" },
		{ "stop", "unknown command 'stop': stats, throttle, pause, resume, resize, fault, "
			  "quit, freeze, thaw, dump and record are known" },
		{ "stats now", "'now': stats takes no argument" },
		{ "quit --disk a", "--disk is not for quit, which is about no disk" },
		{ "freeze --disk a", "--disk is not for freeze, which is about no disk" },
		{ "throttle", "throttle needs a limit, iops=100 or bps=1M, or none for no limits" },
		{ "throttle iops", "throttle: 'iops': a number is wanted, as in iops=100, or "
				   "iops=none for no limit" },
		{ "throttle ipos=1", "throttle: unknown limit 'ipos': did you mean 'iops'? iops=N, "
				     "iops-burst=N, bps=SIZE and bps-burst=SIZE are known, and "
				     "none for no limits" },
		{ "throttle none iops=1", "throttle: unknown limit 'none': iops=N, iops-burst=N, "
					  "bps=SIZE and bps-burst=SIZE are known, and none for no "
					  "limits" },
		{ "throttle iops=1k", "throttle: 'iops=1k': a number is wanted, as in iops=100, or "
				      "iops=none for no limit" },
		{ "throttle iops=", "throttle: 'iops=': a number is wanted, as in iops=100, or "
				    "iops=none for no limit" },
		{ "throttle bps=fast", "throttle: 'bps=fast': a size is wanted, as in bps=1M, or "
				       "bps=none for no limit" },
		{ "throttle bps=8388608T", "throttle: 'bps=8388608T': the number is too large" },
		{ "resize 1000", "'1000': a size like 64M or 2G, a multiple of 512, is wanted" },
		{ "plot", "plot needs no server: vblk ctl plot FILE --output OUT.svg" },
		{ "throttle iops=1 iops=2", "throttle: 'iops' is given twice: once is enough" },
		{ "throttle iops-burst=1 iops_burst=2",
		  "throttle: 'iops-burst' is given twice: once is enough" },
		{ "resize", "resize needs one size: 2G, for example" },
		{ "resize 1 2", "resize needs one size: 2G, for example" },
		{ "resize large", "'large': a size like 64M or 2G, a multiple of 512, is wanted" },
		{ "fault", "fault needs a rule, or none" },
		{ "fault \xff", "'\xff' is no text in UTF-8" },
		{ "stats --disk \xff", "--disk '\xff' is no text in UTF-8" },
		{ "stats --force", "--force is for resize" },
		{ "stats --format xml", "--format 'xml': text, json or openmetrics is wanted" },
		{ "pause --format json", "--format is for stats" },
		{ "stats --format json --json",
		  "--format and --json contradict each other: one of them" },
		{ "stats --interval 5", "--interval is for record" },
		{ "record", "record needs one file: day.jsonl, for example" },
		{ "record a b", "record needs one file: day.jsonl, for example" },
		{ "record a --interval 5ms",
		  "--interval '5ms': a time such as 10, 10s or 500ms is wanted, from 100ms to a "
		  "week" },
		{ "record a --duration 8d",
		  "--duration '8d': a time such as 10, 10s or 500ms is wanted, from 100ms to a "
		  "week" },
		{ "stats --timeout 0", "--timeout '0': a number of seconds from 1 to 3600 is "
				       "wanted" },
		{ "stats --timeout", "option '--timeout' needs a value: see 'vblk ctl --help'" },
		{ "stats --json=1", "option '--json=1': no value is wanted" },
		{ "stats --what", "unknown option '--what': see 'vblk ctl --help'" },
		{ "stats -x", "unknown option '-x': see 'vblk ctl --help'" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		char expected[512];

		print_message("%s\n", table[i].words);
		assert_int_equal(call_at(path, table[i].words), CMD_BAD_INPUT);
		snprintf(expected, sizeof(expected), "vblk ctl: %s\n", table[i].complaint);
		assert_string_equal(err, expected);
		assert_string_equal(out, "");
	}
	assert_int_equal(call_at(NULL, ""), CMD_BAD_INPUT);
	assert_string_equal(err, "vblk ctl: no control socket given: vblk ctl CONTROL COMMAND, see "
				 "'vblk ctl --help'\n");
}

static void help_goes_to_standard_output(void **state)
{
	(void)state;
	assert_int_equal(call_at(NULL, "--help"), CMD_OK);
	assert_non_null(strstr(out, "Usage:"));
	assert_string_equal(err, "");
}

#define ONE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(each_command_has_its_time),
		ONE(words_become_requests),
		ONE(stats_are_a_table),
		ONE(what_was_frozen_and_dumped_is_told),
		ONE(results_are_printed_as_json),
		ONE(a_refusal_is_told_in_the_words_of_the_server),
		ONE(limits_are_spelt_as_they_are_given),
		ONE(servers_that_are_none_of_ours),
		ONE(a_server_that_says_nothing_is_given_up),
		ONE(without_a_server),
		ONE(bad_input_is_told),
		ONE(help_goes_to_standard_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
