/* SPDX-License-Identifier: MIT */
/*
 * Clients of the control socket as they come, talk and go: lines in pieces and in heaps, too many
 * of them, too long ones, answers that nobody reads, and what runs out.
 */
#include "control_fixture.h"

#include "control/connection.h"

static void a_client_is_greeted(void **state)
{
	const int fd = connect_client();

	(void)state;
	assert_silent(fd);
	close(fd);
	run();
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(a_client_is_greeted),
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
		ONE(without_descriptors_the_server_waits),
		ONE(a_client_that_goes_makes_room_for_the_next),
		ONE(a_socket_that_is_shut_down_does_not_spin),
		ONE(creation_without_descriptors_fails),
		ONE(destruction_closes_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
