/* SPDX-License-Identifier: MIT */
/*
 * Looks at a control socket that never wait: the server is played by the same thread, which says as
 * much as the test wants between two steps.
 */
#include "cmd/sampler.h"

#include "control/unix_socket.h"
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/detail_call.h"

#define GREETING      "{\"vblk\":1,\"version\":\"1\",\"disks\":[\"a\",\"b\"]}\n"
#define DISK(n)	      "{\"name\":\"" n "\",\"capacity\":512,\"connected\":true}"
#define TWO	      "{\"id\":1,\"ok\":true,\"result\":{\"disks\":[" DISK("a") "," DISK("b") "]}}\n"
#define ONE_OF(id, n) "{\"id\":" id ",\"ok\":true,\"result\":{\"disks\":[" DISK(n) "]}}\n"

struct rig {
	char folder[64];
	char path[80];
	struct vblk_unix_listener listener;
	struct cmd_sampler sampler;
	int fd; /* the server's end; -1: nobody was accepted */
};

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	char message[512];

	if (!rig)
		return -1;
	strcpy(rig->folder, "/tmp/vblk-sampler-XXXXXX");
	if (!mkdtemp(rig->folder))
		return -1;
	snprintf(rig->path, sizeof(rig->path), "%s/s", rig->folder);
	if (vblk_unix_listen(rig->path, &rig->listener, message, sizeof(message)))
		return -1;
	cmd_sampler_init(&rig->sampler, rig->path, NULL);
	rig->fd = -1;
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	int ret;

	cmd_sampler_destroy(&rig->sampler);
	if (rig->fd >= 0)
		close(rig->fd);
	vblk_unix_listener_close(&rig->listener);
	ret = rmdir(rig->folder);
	free(rig);
	return ret;
}

static void say(const struct rig *rig, const char *text)
{
	assert_int_equal(send(rig->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void assert_asks(const struct rig *rig, const char *wanted)
{
	char text[512];
	const ssize_t got = recv(rig->fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	assert_true(got > 0);
	text[got] = '\0';
	assert_string_equal(text, wanted);
}

/* Begins a look and accepts it. */
static void begin(struct rig *rig)
{
	assert_int_equal(cmd_sampler_step(&rig->sampler), -EAGAIN);
	rig->fd = accept(rig->listener.fd, NULL, NULL);
	assert_true(rig->fd >= 0);
	assert_true(cmd_sampler_fd(&rig->sampler) >= 0);
	assert_int_equal(cmd_sampler_events(&rig->sampler), POLLIN);
}

/* Has it answered: two disks, and then each. */
static void answer(struct rig *rig)
{
	say(rig, GREETING TWO);
	assert_int_equal(cmd_sampler_step(&rig->sampler), -EAGAIN);
	say(rig, ONE_OF("2", "a"));
	assert_int_equal(cmd_sampler_step(&rig->sampler), -EAGAIN);
	say(rig, ONE_OF("3", "b"));
	assert_int_equal(cmd_sampler_step(&rig->sampler), 0);
	close(rig->fd);
	rig->fd = -1;
}

static void a_look_asks_disk_by_disk(void **state)
{
	struct rig *rig = *state;

	begin(rig);
	assert_int_equal(cmd_sampler_step(&rig->sampler), -EAGAIN);
	assert_asks(rig, "{\"command\":\"stats\",\"id\":1}\n");
	say(rig, GREETING);
	assert_int_equal(cmd_sampler_step(&rig->sampler), -EAGAIN);
	say(rig, TWO);
	assert_int_equal(cmd_sampler_step(&rig->sampler), -EAGAIN);
	assert_asks(rig, "{\"command\":\"stats\",\"disk\":0,\"detail\":true,\"id\":2}\n");
	say(rig, ONE_OF("2", "a"));
	assert_int_equal(cmd_sampler_step(&rig->sampler), -EAGAIN);
	assert_asks(rig, "{\"command\":\"stats\",\"disk\":1,\"detail\":true,\"id\":3}\n");
	say(rig, ONE_OF("3", "b"));
	assert_int_equal(cmd_sampler_step(&rig->sampler), 0);
	assert_int_equal(rig->sampler.count, 2);
	assert_string_equal(rig->sampler.disks[1].now.name, "b");
	assert_int_equal(cmd_sampler_fd(&rig->sampler), -1);
}

static void an_answer_in_pieces_is_one(void **state)
{
	static const char all[] = GREETING TWO ONE_OF("2", "a") ONE_OF("3", "b");
	struct rig *rig = *state;

	begin(rig);
	for (size_t i = 0; i < sizeof(all) - 2; i++) {
		assert_int_equal(send(rig->fd, all + i, 1, 0), 1);
		assert_int_equal(cmd_sampler_step(&rig->sampler), -EAGAIN);
	}
	say(rig, "\n");
	assert_int_equal(cmd_sampler_step(&rig->sampler), 0);
	assert_int_equal(rig->sampler.count, 2);
}

/* More than what the caller waits for is kept, also when it came with the end of what it had. */
static void answers_in_one_piece_are_many(void **state)
{
	static const char all[] = GREETING TWO ONE_OF("2", "a") ONE_OF("3", "b");
	const size_t half = strlen(GREETING TWO) - 5;
	struct rig *rig = *state;

	begin(rig);
	assert_int_equal(send(rig->fd, all, half, 0), half);
	assert_int_equal(cmd_sampler_step(&rig->sampler), -EAGAIN);
	say(rig, all + half);
	assert_int_equal(cmd_sampler_step(&rig->sampler), 0);
	assert_int_equal(rig->sampler.count, 2);
}

/* One that hangs is asked once, however long it takes, and what it had said before is kept. */
static void a_look_that_hangs_goes_on(void **state)
{
	struct rig *rig = *state;
	uint64_t asked_ns;

	begin(rig);
	answer(rig);
	assert_int_equal(cmd_sampler_silence_ns(&rig->sampler, UINT64_MAX), 0);
	begin(rig);
	asked_ns = rig->sampler.asked_ns;
	assert_int_not_equal(asked_ns, 0);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(cmd_sampler_step(&rig->sampler), -EAGAIN);
	assert_int_equal(accept(rig->listener.fd, NULL, NULL), -1);
	assert_int_equal(rig->sampler.asked_ns, asked_ns);
	assert_int_equal(rig->sampler.count, 2);
	assert_int_equal(cmd_sampler_silence_ns(&rig->sampler, asked_ns + 999999999), 0);
	assert_int_equal(cmd_sampler_silence_ns(&rig->sampler, asked_ns + 1000000000), 1000000000);
	answer(rig);
	assert_true(rig->sampler.disks[0].has_rates);
	assert_int_equal(rig->sampler.asked_ns, 0);
}

static void a_server_that_goes_is_gone_and_found_again(void **state)
{
	struct rig *rig = *state;

	begin(rig);
	answer(rig);
	begin(rig);
	say(rig, GREETING);
	close(rig->fd);
	rig->fd = -1;
	assert_int_equal(cmd_sampler_step(&rig->sampler), -ECONNRESET);
	assert_int_equal(rig->sampler.count, 0);
	assert_non_null(strstr(rig->sampler.why, "has closed the connection"));
	assert_int_equal(cmd_sampler_fd(&rig->sampler), -1);
	begin(rig);
	/* It is gone until it has answered. */
	assert_non_null(strstr(rig->sampler.why, "has closed the connection"));
	answer(rig);
	assert_string_equal(rig->sampler.why, "");
	assert_false(rig->sampler.disks[0].has_rates);
}

static void a_server_that_refuses_is_there(void **state)
{
	struct rig *rig = *state;

	begin(rig);
	say(rig, "{\"id\":null,\"ok\":false,\"error\":{\"code\":\"busy\",\"message\":\"no\"}}\n");
	assert_int_equal(cmd_sampler_step(&rig->sampler), -EREMOTEIO);
	assert_string_equal(rig->sampler.why, "no");
}

static void what_is_no_answer_is_an_error(void **state)
{
	static const char *const table[] = {
		"{\"id\":2,\"ok\":true,\"result\":{}}\n", /* of another request */
		"{\"id\":1,\"ok\":true}\n",
		"hello\n",
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		begin(rig);
		say(rig, GREETING);
		say(rig, table[i]);
		assert_int_equal(cmd_sampler_step(&rig->sampler), -EPROTO);
		close(rig->fd);
		rig->fd = -1;
	}
}

/* Says that there are so many disks, and no more of them than that. */
static void say_count(const struct rig *rig, unsigned count)
{
	char text[4096] = GREETING "{\"id\":1,\"ok\":true,\"result\":{\"disks\":[0";

	for (unsigned i = 1; i < count; i++)
		strcat(text, ",0");
	strcat(text, "]}}\n");
	say(rig, text);
}

static void a_server_of_very_many_disks_is_none(void **state)
{
	struct rig *rig = *state;

	begin(rig);
	say_count(rig, CMD_DETAIL_DISKS_MAX);
	assert_int_equal(cmd_sampler_step(&rig->sampler), -EAGAIN);
	assert_asks(rig, "{\"command\":\"stats\",\"id\":1}\n"
			 "{\"command\":\"stats\",\"disk\":0,\"detail\":true,\"id\":2}\n");
	cmd_sampler_destroy(&rig->sampler);
	close(rig->fd);
	cmd_sampler_init(&rig->sampler, rig->path, NULL);
	begin(rig);
	say_count(rig, CMD_DETAIL_DISKS_MAX + 1);
	assert_int_equal(cmd_sampler_step(&rig->sampler), -EFBIG);
	assert_non_null(strstr(rig->sampler.why, "tells of 257 disks: no more than 256 are taken"));
}

/* As much as the socket holds, and then a step; returns what that said. */
static int say_much(struct rig *rig, char byte, size_t size)
{
	char text[65536];
	int ret = -EAGAIN;

	memset(text, byte, sizeof(text));
	for (size_t said = 0; said < size && ret == -EAGAIN; said += sizeof(text)) {
		assert_int_equal(send(rig->fd, text, sizeof(text), MSG_NOSIGNAL), sizeof(text));
		ret = cmd_sampler_step(&rig->sampler);
	}
	return ret;
}

/* Each of its lines is not too long, and all of them together are. */
static void a_server_that_tells_very_much_is_none(void **state)
{
	struct rig *rig = *state;
	int ret;

	begin(rig);
	say_count(rig, 9);
	ret = cmd_sampler_step(&rig->sampler);
	for (unsigned i = 0; i < 9 && ret == -EAGAIN; i++) {
		char text[128];

		snprintf(text, sizeof(text),
			 "{\"id\":%u,\"ok\":true,\"result\":{\"disks\":[{\"name\":\"a\"}]", i + 2);
		say(rig, text);
		ret = say_much(rig, ' ', 1 << 20);
		assert_int_equal(ret, -EAGAIN);
		say(rig, "}}\n");
		ret = cmd_sampler_step(&rig->sampler);
	}
	assert_int_equal(ret, -EFBIG);
	assert_int_equal(rig->sampler.count, 0);
	assert_non_null(strstr(rig->sampler.why,
			       "' tells too much of its disks: no more than 8 MiB "
			       "are taken"));
}

/* The line of those that wait to be accepted is full: it is waited for like an answer. */
static void a_full_line_is_no_error(void **state)
{
	struct rig *rig = *state;
	struct cmd_sampler *others = calloc(8192, sizeof(*others));
	size_t count = 0;

	assert_non_null(others);
	assert_int_equal(listen(rig->listener.fd, 1), 0);
	do {
		cmd_sampler_init(&others[count], rig->path, NULL);
		assert_int_equal(cmd_sampler_step(&others[count]), -EAGAIN);
	} while (cmd_sampler_fd(&others[count++]) >= 0 && count < 8192);
	assert_true(count < 8192);
	assert_int_not_equal(others[count - 1].asked_ns, 0);
	close(accept(rig->listener.fd, NULL, NULL));
	assert_int_equal(cmd_sampler_step(&others[count - 1]), -EAGAIN);
	assert_true(cmd_sampler_fd(&others[count - 1]) >= 0);
	while (count > 0)
		cmd_sampler_destroy(&others[--count]);
	free(others);
}

#define ONE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(a_look_asks_disk_by_disk),
		ONE(an_answer_in_pieces_is_one),
		ONE(answers_in_one_piece_are_many),
		ONE(a_look_that_hangs_goes_on),
		ONE(a_server_that_goes_is_gone_and_found_again),
		ONE(a_server_that_refuses_is_there),
		ONE(what_is_no_answer_is_an_error),
		ONE(a_server_of_very_many_disks_is_none),
		ONE(a_server_that_tells_very_much_is_none),
		ONE(a_full_line_is_no_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
