/* SPDX-License-Identifier: MIT */
/* The console's output when nobody reads it: a pipe that is full, and a gate that closes. */
#include "vmm/console.h"

#include "base/checked.h"
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define DEAD_MAN_S 60 /* what hangs, fails */

struct fixture {
	struct vmm_kvm kvm;
	struct vmm_stop stop;
	struct vmm_gate gate;
	struct vmm_console console;
	int out[2];
	size_t filling; /* bytes in the pipe */
};

/* With a writing end that blocks, as standard output does. */
static int set_up(void **state)
{
	static struct fixture fixture;
	static struct vmm_error error;
	const uint8_t page[4096] = { 0 };
	ssize_t put;

	memset(&fixture, 0, sizeof(fixture));
	fixture.kvm.machine = -1;
	if (pipe2(fixture.out, O_NONBLOCK | O_CLOEXEC) || vmm_stop_init(&fixture.stop, &error) ||
	    vmm_gate_init(&fixture.gate, &fixture.stop, &error) ||
	    vmm_console_init(&fixture.console, &fixture.kvm, &fixture.stop, &fixture.gate,
			     fixture.out[1], &error))
		return -1;
	while ((put = write(fixture.out[1], page, sizeof(page))) > 0)
		fixture.filling += (size_t)put;
	if (fcntl(fixture.out[1], F_SETFL, 0))
		return -1;
	alarm(DEAD_MAN_S);
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	alarm(0);
	vmm_console_destroy(&fixture->console);
	vmm_gate_destroy(&fixture->gate);
	vmm_stop_destroy(&fixture->stop);
	close(fixture->out[0]);
	close(fixture->out[1]);
	return 0;
}

static void send_text(struct fixture *fixture, const char *text)
{
	for (; *text; text++)
		vmm_console_write(&fixture->console, 0, (uint8_t)*text);
}

/* Takes what stands before the text out of the pipe, and then there is the text and no more. */
static void assert_output(struct fixture *fixture, const char *text)
{
	char bytes[64] = "";

	while (fixture->filling) {
		char page[4096];
		ssize_t got =
			read(fixture->out[0], page,
			     fixture->filling < sizeof(page) ? fixture->filling : sizeof(page));

		assert_true(got > 0);
		fixture->filling -= (size_t)got;
	}
	if (*text)
		assert_true(read(fixture->out[0], bytes, sizeof(bytes) - 1) > 0);
	assert_string_equal(bytes, text);
	assert_int_equal(read(fixture->out[0], bytes, 1), -1);
}

/* In their order, and before what is sent later. */
static void bytes_without_room_wait_behind_the_gate(void **state)
{
	struct fixture *fixture = *state;

	vmm_gate_close(&fixture->gate);
	send_text(fixture, "abc");
	vmm_console_go_on(&fixture->console); /* no room still */
	assert_output(fixture, "");
	vmm_gate_open(&fixture->gate);
	vmm_console_go_on(&fixture->console);
	assert_output(fixture, "abc");
	vmm_console_go_on(&fixture->console);
	assert_output(fixture, "");
}

static void a_later_byte_does_not_overtake(void **state)
{
	struct fixture *fixture = *state;

	vmm_gate_close(&fixture->gate);
	send_text(fixture, "ab");
	vmm_gate_open(&fixture->gate);
	assert_output(fixture, "");
	send_text(fixture, "c");
	assert_output(fixture, "abc");
}

/* Where there is room, the gate is no reason to wait: a panic's last words are said. */
static void a_closed_gate_lets_output_through(void **state)
{
	struct fixture *fixture = *state;

	assert_output(fixture, "");
	vmm_gate_close(&fixture->gate);
	send_text(fixture, "x");
	assert_output(fixture, "x");
}

/* The gate closes before the byte waits for a reader. */
static void a_watched_text_needs_no_reader(void **state)
{
	struct fixture *fixture = *state;
	eventfd_t seen;

	vmm_console_watch(&fixture->console, "!");
	send_text(fixture, "!");
	assert_true(vmm_gate_is_closed(&fixture->gate));
	assert_int_equal(eventfd_read(fixture->console.seen_fd, &seen), 0);
}

static void *send_one(void *context)
{
	send_text(context, "y");
	return NULL;
}

/* No signal comes: it can come too early. */
static void a_vcpu_that_waits_sees_the_gate_close(void **state)
{
	struct fixture *fixture = *state;
	pthread_t vcpu;

	assert_int_equal(pthread_create(&vcpu, NULL, send_one, fixture), 0);
	vmm_gate_close(&fixture->gate);
	assert_int_equal(pthread_join(vcpu, NULL), 0);
	vmm_gate_open(&fixture->gate);
	assert_output(fixture, "");
	vmm_console_go_on(&fixture->console);
	assert_output(fixture, "y");
}

static void a_vcpu_that_waits_sees_the_end(void **state)
{
	struct fixture *fixture = *state;
	pthread_t vcpu;

	assert_int_equal(pthread_create(&vcpu, NULL, send_one, fixture), 0);
	assert_true(vmm_stop_request(&fixture->stop, VMM_END_TIMEOUT));
	assert_int_equal(pthread_join(vcpu, NULL), 0);
	assert_output(fixture, "");
}

/* As much as all vCPUs can have in hand; more is lost rather than written elsewhere. */
static void what_is_left_has_a_limit(void **state)
{
	struct fixture *fixture = *state;

	vmm_gate_close(&fixture->gate);
	for (size_t i = 0; i < VMM_CONSOLE_LEFT + 1; i++)
		vmm_console_write(&fixture->console, 0, 'z');
	assert_int_equal(fixture->console.left_count, VMM_CONSOLE_LEFT);
	assert_int_equal(vmm_stop_reason(&fixture->stop), VMM_END_NONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_without_room_wait_behind_the_gate),
		TEST(a_later_byte_does_not_overtake),
		TEST(a_closed_gate_lets_output_through),
		TEST(a_watched_text_needs_no_reader),
		TEST(a_vcpu_that_waits_sees_the_gate_close),
		TEST(a_vcpu_that_waits_sees_the_end),
		TEST(what_is_left_has_a_limit),
	};

	return cmocka_run_group_tests_name("vmm_console", tests, NULL, NULL);
}
