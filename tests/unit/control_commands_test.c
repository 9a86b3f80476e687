/* SPDX-License-Identifier: MIT */
/* What clients of the control socket ask for, and what they are answered, at once or later. */
#include "control_fixture.h"

#include "base/checked.h"
#include "control/connection.h"
#include "metrics/metrics.h"
#include <jansson.h>
#include <sys/eventfd.h>

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

#define MANY 16

static struct vblk_metrics *full; /* every bucket that there is has a value */

static void full_stats(void *context, unsigned int disk, struct vblk_control_disk *state)
{
	(void)context;
	(void)disk;
	state->metrics = full;
}

static void fill_all(struct vblk_metrics *metrics)
{
	struct vblk_metrics_shard *shard = vblk_metrics_join(metrics);

	for (unsigned int op = 0; op < VBLK_METRICS_OPS; op++)
		for (unsigned int phase = 0; phase < VBLK_METRICS_PHASES; phase++)
			for (unsigned int i = 0; i < VBLK_METRICS_BUCKETS; i++)
				vblk_metrics_record(shard, (enum vblk_metrics_op)op,
						    (enum vblk_metrics_phase)phase,
						    vblk_metrics_bucket_last(i));
	vblk_metrics_leave(shard);
}

/* As many disks as that, with all there can be in their histograms. */
static int connect_to_full_disks(void)
{
	static const char *const names[MANY] = { "0", "1", "2",	 "3",  "4",  "5",  "6",	 "7",
						 "8", "9", "10", "11", "12", "13", "14", "15" };
	static struct vblk_control_ops full_ops;
	char text[4096];
	int fd;

	assert_int_equal(vblk_metrics_create(&full), 0);
	fill_all(full);
	full_ops = ops;
	full_ops.stats = full_stats;
	vblk_control_server_destroy(rig.server);
	rig.options.ops = &full_ops;
	rig.options.disks = names;
	rig.options.disk_count = MANY;
	assert_int_equal(vblk_control_server_create(&rig.options, &rig.server), 0);
	fd = knock();
	run();
	assert_true(recv(fd, text, sizeof(text), MSG_DONTWAIT) > 0);
	return fd;
}

/* Reads until there is a newline, or the end, while the server goes on. */
static size_t read_long_line(int fd, char *text, size_t size)
{
	size_t used = 0;

	while (used < size && (used == 0 || text[used - 1] != '\n')) {
		const ssize_t got = recv(fd, text + used, size - used, MSG_DONTWAIT);

		if (got == 0)
			break;
		if (got > 0)
			used += (size_t)got;
		run();
	}
	return used;
}

/* It is longer than what may wait for a client that does not read, and this one reads. */
static void a_long_answer_arrives_whole(void **state)
{
	const int fd = connect_to_full_disks();
	const size_t size = MANY * VBLK_CONTROL_OUTPUT_MAX;
	char *text = malloc(size);
	size_t length;
	json_t *reply;

	(void)state;
	assert_non_null(text);
	say(fd, "{\"id\":1,\"command\":\"stats\",\"detail\":true}\n");
	run();
	length = read_long_line(fd, text, size);
	assert_true(length > VBLK_CONTROL_OUTPUT_MAX);
	reply = json_loadb(text, length, 0, NULL);
	assert_true(json_is_true(json_object_get(reply, "ok")));
	assert_int_equal(
		json_array_size(json_object_get(json_object_get(reply, "result"), "disks")), MANY);
	json_decref(reply);
	free(text);
	assert_answer(fd, "{\"id\":2,\"command\":\"resume\",\"disk\":15}", DONE("2"));
	close(fd);
	run();
	vblk_metrics_unref(full);
}

/* Who does not read one long answer gets no other. */
static void two_long_answers_are_too_many(void **state)
{
	const int fd = connect_to_full_disks();
	const size_t size = 2 * MANY * VBLK_CONTROL_OUTPUT_MAX;
	char *text = malloc(size);
	size_t length;

	(void)state;
	assert_non_null(text);
	say(fd, "{\"id\":1,\"command\":\"stats\",\"detail\":true}\n"
		"{\"id\":2,\"command\":\"stats\",\"detail\":true}\n");
	run();
	length = read_long_line(fd, text, size);
	assert_true(length < 2 * VBLK_CONTROL_OUTPUT_MAX);
	assert_closed(fd);
	close(fd);
	free(text);
	vblk_metrics_unref(full);
}

/* They need no disk to be named, though there are two. */
static void a_machine_is_frozen_thawed_and_dumped(void **state)
{
	const int fd = connect_client();

	(void)state;
	assert_answer(fd, "{\"id\":1,\"command\":\"freeze\"}",
		      "{\"id\":1,\"ok\":true,\"result\":{\"vcpus\":3,\"disks\":1,"
		      "\"left_out\":[\"b\"],\"took_us\":84}}\n");
	assert_answer(fd, "{\"id\":2,\"command\":\"dump\"}",
		      "{\"id\":2,\"ok\":true,\"result\":{\"path\":\"dumps/dump-1\"}}\n");
	assert_answer(fd, "{\"id\":3,\"command\":\"thaw\"}", DONE("3"));
	assert_string_equal(rig.calls, "freeze;dump;thaw;");
	rig.answer = -ETIMEDOUT;
	rig.why = "vcpu 0 does not stop";
	assert_answer(fd, "{\"command\":\"freeze\"}",
		      "{\"id\":null,\"ok\":false,\"error\":{\"code\":\"failed\",\"message\":"
		      "\"vcpu 0 does not stop\"}}\n");
	rig.answer = -EOPNOTSUPP;
	rig.why = "no folder";
	assert_answer(fd, "{\"command\":\"dump\"}",
		      "{\"id\":null,\"ok\":false,\"error\":{\"code\":\"unsupported\","
		      "\"message\":\"no folder\"}}\n");
	close(fd);
	run();
}

static void without_a_machine_there_is_nothing_to_freeze(void **state)
{
	static const char *const requests[] = { "{\"command\":\"freeze\"}",
						"{\"command\":\"thaw\"}",
						"{\"command\":\"dump\"}" };
	static struct vblk_control_ops disk_ops;
	int fd;

	(void)state;
	disk_ops = ops;
	disk_ops.freeze = NULL;
	disk_ops.thaw = NULL;
	disk_ops.dump = NULL;
	vblk_control_server_destroy(rig.server);
	rig.options.ops = &disk_ops;
	assert_int_equal(vblk_control_server_create(&rig.options, &rig.server), 0);
	fd = connect_client();
	for (size_t i = 0; i < 3; i++)
		assert_answer(fd, requests[i],
			      "{\"id\":null,\"ok\":false,\"error\":{\"code\":\"unsupported\","
			      "\"message\":\"there is no machine here: vblk boot runs one\"}}\n");
	assert_string_equal(rig.calls, "");
	close(fd);
	run();
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

static void disks_that_are_not_there_are_refused(void **state)
{
	const int fd = connect_client();

	(void)state;
	assert_answer(fd, "{\"id\":1,\"command\":\"resume\"}",
		      ERROR("1", "unknown-disk",
			    "there are 2 disks: say which by \\\"disk\\\" (vblk ctl: --disk)"));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(stats_of_all_and_of_one),
		ONE(a_long_answer_arrives_whole),
		ONE(two_long_answers_are_too_many),
		ONE(a_machine_is_frozen_thawed_and_dumped),
		ONE(without_a_machine_there_is_nothing_to_freeze),
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
		ONE(a_pause_of_a_client_that_went_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
