/* SPDX-License-Identifier: MIT */
/* Mappings whose file is cut short while they are in use. */
#include "base/sigbus.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE  4096u
#define PAGES 8u

struct shared {
	int fd;
	volatile uint8_t *at;
};

static struct shared map_file(void)
{
	struct shared shared = { .fd = memfd_create("vblk-test", MFD_CLOEXEC) };
	void *at;

	assert_true(shared.fd >= 0);
	assert_int_equal(ftruncate(shared.fd, PAGES * PAGE), 0);
	at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, shared.fd, 0);
	assert_true(at != MAP_FAILED);
	memset(at, 0xab, PAGES * PAGE);
	shared.at = at;
	return shared;
}

static void unmap(struct shared *shared)
{
	munmap((void *)(uintptr_t)shared->at, PAGES * PAGE);
	close(shared->fd);
}

static bool is_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1;
}

static void a_range_that_fails_holds_zeros(void **state)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct shared shared = map_file();
	int range;

	(void)state;
	assert_int_equal(vblk_sigbus_install(), 0);
	range = vblk_sigbus_watch((void *)(uintptr_t)shared.at, PAGES * PAGE, event);
	assert_true(range >= 0);
	assert_int_equal(ftruncate(shared.fd, 2 * PAGE), 0);
	assert_int_equal(shared.at[2 * PAGE - 1], 0xab);
	assert_false(vblk_sigbus_has_failed(range));
	assert_false(is_readable(event));

	assert_int_equal(shared.at[5 * PAGE + 7], 0); /* here it would have died */
	assert_true(vblk_sigbus_has_failed(range));
	assert_true(is_readable(event));
	shared.at[7 * PAGE] = 1; /* goes nowhere, and does no harm */
	assert_int_equal(shared.at[7 * PAGE], 1);
	vblk_sigbus_forget(range);
	unmap(&shared);
	close(event);
}

static void a_range_that_is_muted_tells_nobody(void **state)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct shared shared = map_file();
	int range;

	(void)state;
	assert_int_equal(vblk_sigbus_install(), 0);
	range = vblk_sigbus_watch((void *)(uintptr_t)shared.at, PAGES * PAGE, event);
	assert_true(range >= 0);
	vblk_sigbus_mute(range);
	assert_int_equal(ftruncate(shared.fd, 0), 0);
	assert_int_equal(shared.at[0], 0);
	assert_true(vblk_sigbus_has_failed(range));
	assert_false(is_readable(event));
	vblk_sigbus_forget(range);
	unmap(&shared);
	close(event);
}

/* Its handlers of signals cannot be left by a jump. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

/* Here nothing is replaced: the file may grow again. */
static void a_copy_that_fails_says_so(void **state)
{
	struct shared shared = map_file();
	uint8_t bytes[2 * PAGE];

	(void)state;
	if (UNDER_TSAN) {
		unmap(&shared);
		print_message("ThreadSanitizer does not survive it\n");
		skip();
	}
	assert_int_equal(vblk_sigbus_install(), 0);
	for (int round = 0; round < 3; round++) {
		memset(bytes, 1, sizeof(bytes));
		assert_int_equal(ftruncate(shared.fd, PAGE), 0);
		assert_int_equal(vblk_sigbus_copy(bytes, (void *)(uintptr_t)shared.at, PAGE), 0);
		assert_int_equal(vblk_sigbus_copy(bytes, (void *)(uintptr_t)shared.at, 2 * PAGE),
				 -EIO);
		assert_int_equal(vblk_sigbus_copy((uint8_t *)(uintptr_t)shared.at + PAGE, bytes, 1),
				 -EIO);
		assert_int_equal(ftruncate(shared.fd, PAGES * PAGE), 0);
		assert_int_equal(vblk_sigbus_copy(bytes, (void *)(uintptr_t)shared.at, 2 * PAGE),
				 0);
		assert_int_equal(bytes[0], 0xab);
		assert_int_equal(bytes[PAGE], 0);
	}
	unmap(&shared);
}

static void only_the_range_that_fails_is_replaced(void **state)
{
	struct shared one = map_file(), other = map_file();
	int range[2];

	(void)state;
	assert_int_equal(vblk_sigbus_install(), 0);
	range[0] = vblk_sigbus_watch((void *)(uintptr_t)one.at, PAGES * PAGE, -1);
	range[1] = vblk_sigbus_watch((void *)(uintptr_t)other.at, PAGES * PAGE, -1);
	assert_true(range[0] >= 0 && range[1] >= 0 && range[0] != range[1]);
	assert_int_equal(ftruncate(other.fd, 0), 0);
	assert_int_equal(other.at[0], 0);
	assert_true(vblk_sigbus_has_failed(range[1]));
	assert_false(vblk_sigbus_has_failed(range[0]));
	assert_int_equal(one.at[PAGES * PAGE - 1], 0xab);
	for (int i = 0; i < 2; i++)
		vblk_sigbus_forget(range[i]);
	unmap(&one);
	unmap(&other);
}

static void a_range_that_was_forgotten_can_be_watched_again(void **state)
{
	struct shared shared = map_file();
	int first = vblk_sigbus_watch((void *)(uintptr_t)shared.at, PAGES * PAGE, -1);

	(void)state;
	assert_true(first >= 0);
	vblk_sigbus_forget(first);
	for (int i = 0; i < 3 * VBLK_SIGBUS_RANGES; i++) {
		int range = vblk_sigbus_watch((void *)(uintptr_t)shared.at, PAGE, -1);

		assert_int_equal(range, first);
		vblk_sigbus_forget(range);
	}
	unmap(&shared);
}

static void the_table_has_an_end(void **state)
{
	static int range[VBLK_SIGBUS_RANGES];
	int count = 0, last;

	(void)state;
	while (count < VBLK_SIGBUS_RANGES) {
		last = vblk_sigbus_watch((void *)(uintptr_t)PAGE, PAGE, -1);
		if (last < 0)
			break;
		range[count++] = last;
	}
	assert_int_equal(count, VBLK_SIGBUS_RANGES);
	assert_int_equal(vblk_sigbus_watch((void *)(uintptr_t)PAGE, PAGE, -1), -ENOSPC);
	while (count > 0)
		vblk_sigbus_forget(range[--count]);
}

/* ThreadSanitizer would take the handler's mmap for a write that races with these reads. */
#ifdef __clang__
__attribute__((no_sanitize("thread")))
#endif
static void *
touch(void *arg)
{
	const struct shared *shared = arg;
	unsigned sum = 0;

	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < PAGES; i++)
			sum += shared->at[i * PAGE];
	}
	return (void *)(uintptr_t)(sum == 0);
}

/* Several threads may fall into the hole at once. */
static void many_threads_touch_it_at_once(void **state)
{
	struct shared shared = map_file();
	pthread_t threads[4];
	int range;

	(void)state;
	assert_int_equal(vblk_sigbus_install(), 0);
	range = vblk_sigbus_watch((void *)(uintptr_t)shared.at, PAGES * PAGE, -1);
	assert_true(range >= 0);
	assert_int_equal(ftruncate(shared.fd, 0), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, touch, &shared), 0);
	for (size_t i = 0; i < 4; i++) {
		void *all_zero = NULL;

		pthread_join(threads[i], &all_zero);
		assert_non_null(all_zero);
	}
	vblk_sigbus_forget(range);
	unmap(&shared);
}

/* Runs `work` in a child. Returns how it ended, as wait does. */
static int in_child(void (*work)(void))
{
	pid_t child = fork();
	int status = 0;

	assert_true(child >= 0);
	if (child == 0) {
		work();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void touch_what_nobody_watches(void)
{
	struct shared shared = map_file();

	if (vblk_sigbus_install() != 0 || ftruncate(shared.fd, 0) != 0)
		_exit(1);
	_exit(shared.at[0] == 0 ? 2 : 3);
}

static void signal_by_hand(void)
{
	if (vblk_sigbus_install() != 0)
		_exit(1);
	raise(SIGBUS);
	_exit(2);
}

static void leave(int number)
{
	(void)number;
	_exit(42);
}

/* Each child installs the handler, over what it has inherited. */
static void elsewhere_it_is_as_before(void **state)
{
	int status;

	(void)state;
	signal(SIGBUS, SIG_DFL);
	status = in_child(touch_what_nobody_watches);
	/* Sanitizers turn the signal into an exit status of their own. */
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) > 3);
	status = in_child(signal_by_hand);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) > 3);
	signal(SIGBUS, leave);
	status = in_child(touch_what_nobody_watches);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	signal(SIGBUS, SIG_DFL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elsewhere_it_is_as_before),
		cmocka_unit_test(a_range_that_fails_holds_zeros),
		cmocka_unit_test(a_range_that_is_muted_tells_nobody),
		cmocka_unit_test(a_copy_that_fails_says_so),
		cmocka_unit_test(only_the_range_that_fails_is_replaced),
		cmocka_unit_test(a_range_that_was_forgotten_can_be_watched_again),
		cmocka_unit_test(the_table_has_an_end),
		cmocka_unit_test(many_threads_touch_it_at_once),
	};

	return cmocka_run_group_tests_name("base: sigbus", tests, NULL, NULL);
}
