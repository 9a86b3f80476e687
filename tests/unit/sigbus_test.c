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
#include <stdatomic.h>
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

static int watch(const struct shared *shared, size_t page, int event_fd)
{
	int range;

	assert_int_equal(vblk_sigbus_install(), 0);
	range = vblk_sigbus_watch((void *)(uintptr_t)shared->at, PAGES * PAGE, page, event_fd);
	assert_true(range >= 0);
	return range;
}

/* Who else has the file sees what is stored through the mapping, and the other way round. */
static bool is_shared(const struct shared *shared, unsigned page)
{
	uint8_t mark = (uint8_t)(shared->at[page * PAGE] + 1), seen = 0;

	shared->at[page * PAGE + 1] = mark;
	return pread(shared->fd, &seen, 1, page * PAGE + 1) == 1 && seen == mark &&
	       pwrite(shared->fd, &mark, 1, page * PAGE) == 1 && shared->at[page * PAGE] == mark;
}

static bool is_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1;
}

static void a_page_that_fails_holds_zeros(void **state)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct shared shared = map_file();
	int range = watch(&shared, PAGE, event);
	unsigned failures = vblk_sigbus_failures();

	(void)state;
	assert_int_equal(ftruncate(shared.fd, 2 * PAGE), 0);
	assert_int_equal(shared.at[2 * PAGE - 1], 0xab);
	assert_false(vblk_sigbus_has_failed(range));
	assert_int_equal(vblk_sigbus_failures(), failures);
	assert_false(is_readable(event));

	assert_int_equal(shared.at[5 * PAGE + 7], 0); /* here it would have died */
	assert_true(vblk_sigbus_has_failed(range));
	assert_int_not_equal(vblk_sigbus_failures(), failures);
	assert_true(is_readable(event));
	shared.at[5 * PAGE] = 1; /* goes nowhere, and does no harm */
	assert_int_equal(shared.at[5 * PAGE], 1);
	vblk_sigbus_forget(range);
	unmap(&shared);
	close(event);
}

static void the_pages_beside_it_stay_the_file(void **state)
{
	struct shared shared = map_file();
	int range = watch(&shared, PAGE, -1);

	(void)state;
	assert_int_equal(ftruncate(shared.fd, 2 * PAGE), 0);
	assert_int_equal(shared.at[4 * PAGE], 0);
	assert_int_equal(ftruncate(shared.fd, PAGES * PAGE), 0);
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(is_shared(&shared, i), i != 4);
	assert_int_equal(shared.at[0], 0xac);
	vblk_sigbus_forget(range);
	unmap(&shared);
}

/* As in a mapping of huge pages, half of one of which cannot be replaced. */
static void a_large_page_is_replaced_as_a_whole(void **state)
{
	struct shared shared = map_file();
	int range = watch(&shared, 4 * PAGE, -1);

	(void)state;
	assert_int_equal(ftruncate(shared.fd, 0), 0);
	assert_int_equal(shared.at[6 * PAGE], 0);
	assert_int_equal(ftruncate(shared.fd, PAGES * PAGE), 0);
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(is_shared(&shared, i), i < 4);
	vblk_sigbus_forget(range);
	unmap(&shared);
}

/* The kernel takes no length that is no multiple of its own pages' size. */
static void a_page_that_cannot_be_replaced_takes_the_range_with_it(void **state)
{
	struct shared shared = map_file();
	int range;

	(void)state;
	assert_int_equal(vblk_sigbus_install(), 0);
	range = vblk_sigbus_watch((void *)(uintptr_t)shared.at, PAGES * PAGE, 64, -1);
	assert_true(range >= 0);
	assert_int_equal(ftruncate(shared.fd, 0), 0);
	assert_int_equal(shared.at[3 * PAGE + 64], 0);
	assert_true(vblk_sigbus_has_failed(range));
	assert_int_equal(ftruncate(shared.fd, PAGES * PAGE), 0);
	for (unsigned i = 0; i < PAGES; i++)
		assert_false(is_shared(&shared, i));
	vblk_sigbus_forget(range);
	unmap(&shared);
}

static void a_page_is_a_power_of_two(void **state)
{
	struct shared shared = map_file();

	(void)state;
	assert_int_equal(vblk_sigbus_watch((void *)(uintptr_t)shared.at, PAGE, 0, -1), -EINVAL);
	assert_int_equal(vblk_sigbus_watch((void *)(uintptr_t)shared.at, PAGE, 3 * PAGE, -1),
			 -EINVAL);
	unmap(&shared);
}

static void a_range_that_is_muted_tells_nobody(void **state)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct shared shared = map_file();
	int range = watch(&shared, PAGE, event);

	(void)state;
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

/* Zeros would be taken for what is to be copied: they are not made. */
static void a_copy_out_of_a_watched_range_fails_too(void **state)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct shared shared = map_file();
	int range = watch(&shared, PAGE, event);
	uint8_t bytes[2 * PAGE];

	(void)state;
	memset(bytes, 1, sizeof(bytes));
	if (UNDER_TSAN) {
		vblk_sigbus_forget(range);
		unmap(&shared);
		close(event);
		skip();
	}
	assert_int_equal(ftruncate(shared.fd, PAGE), 0);
	assert_int_equal(vblk_sigbus_copy(bytes, (void *)(uintptr_t)shared.at, 2 * PAGE), -EIO);
	assert_int_equal(bytes[PAGE], 1);
	assert_true(vblk_sigbus_has_failed(range));
	assert_true(is_readable(event));
	assert_int_equal(ftruncate(shared.fd, PAGES * PAGE), 0);
	assert_true(is_shared(&shared, 1));
	vblk_sigbus_forget(range);
	unmap(&shared);
	close(event);
}

static void only_the_range_that_fails_is_marked(void **state)
{
	struct shared one = map_file(), other = map_file();
	int range[2] = { watch(&one, PAGE, -1), watch(&other, PAGE, -1) };

	(void)state;
	assert_int_not_equal(range[0], range[1]);
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
	int first = watch(&shared, PAGE, -1);

	(void)state;
	assert_int_equal(ftruncate(shared.fd, 0), 0);
	assert_int_equal(shared.at[0], 0);
	assert_true(vblk_sigbus_has_failed(first));
	vblk_sigbus_forget(first);
	for (int i = 0; i < 3 * VBLK_SIGBUS_RANGES; i++) {
		int range = vblk_sigbus_watch((void *)(uintptr_t)shared.at, PAGES * PAGE, PAGE, -1);

		assert_int_equal(range, first);
		assert_false(vblk_sigbus_has_failed(range));
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
		last = vblk_sigbus_watch((void *)(uintptr_t)PAGE, PAGE, PAGE, -1);
		if (last < 0)
			break;
		range[count++] = last;
	}
	assert_int_equal(count, VBLK_SIGBUS_RANGES);
	assert_int_equal(vblk_sigbus_watch((void *)(uintptr_t)PAGE, PAGE, PAGE, -1), -ENOSPC);
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
	int range = watch(&shared, PAGE, -1);
	pthread_t threads[4];

	(void)state;
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

#ifdef __clang__
__attribute__((no_sanitize("thread")))
#endif
static uint8_t
touch_one(const struct shared *shared, unsigned page)
{
	return shared->at[page * PAGE];
}

/*
 * What was known of a range at the time that zeros were put in the place of a page of it. Volatile,
 * because a signal handler says it, behind what looks like a load.
 */
static volatile struct {
	int range;
	unsigned failures; /* before */
	unsigned replaced;
	bool on_record;
} witness = { .range = -1 };

void *vblk_real_mmap(void *address, size_t length, int access, int flags, int fd,
		     off_t offset) __asm__("__real_mmap64");
void *vblk_witness_mmap(void *address, size_t length, int access, int flags, int fd,
			off_t offset) __asm__("__wrap_mmap64");

/* The library's calls come by here (tests/unit/meson.build), those in the handler too. */
void *vblk_witness_mmap(void *address, size_t length, int access, int flags, int fd, off_t offset)
{
	if (witness.range >= 0 && fd < 0) {
		witness.replaced++;
		witness.on_record = vblk_sigbus_has_failed(witness.range) &&
				    vblk_sigbus_failures() != witness.failures;
	}
	return vblk_real_mmap(address, length, access, flags, fd, offset);
}

/* Or another thread could read the zeros and find nothing. */
static void a_failure_is_on_record_before_there_are_zeros(void **state)
{
	struct shared shared = map_file();

	(void)state;
	witness.range = watch(&shared, PAGE, -1);
	assert_int_equal(ftruncate(shared.fd, 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		witness.failures = vblk_sigbus_failures();
		witness.on_record = false;
		assert_int_equal(touch_one(&shared, i), 0);
		assert_true(witness.on_record);
		assert_int_equal(witness.replaced, i + 1);
	}
	vblk_sigbus_forget(witness.range);
	witness.range = -1;
	unmap(&shared);
}

/*
 * A thread that watches and forgets, in one entry, now a range below another that is watched, now
 * one above it. The start of the first and the end of the second would hold that other.
 */
struct neighbour {
	const struct shared *shared;
	int entry;
	bool blamed; /* for a page that was never its own */
	atomic_bool stop;
};

static void come_and_go_at(struct neighbour *neighbour, unsigned page)
{
	int range = vblk_sigbus_watch((void *)(uintptr_t)(neighbour->shared->at + page * PAGE),
				      PAGE, PAGE, -1);

	vblk_sigbus_forget(range);
	neighbour->blamed |= range != neighbour->entry || vblk_sigbus_has_failed(range);
}

static void *come_and_go(void *arg)
{
	struct neighbour *neighbour = arg;

	while (!atomic_load(&neighbour->stop)) {
		come_and_go_at(neighbour, 0);
		come_and_go_at(neighbour, PAGES - 1);
	}
	return NULL;
}

static void the_handler_sees_entries_whole(void **state)
{
	struct shared shared = map_file();
	void *page = (void *)(uintptr_t)(shared.at + 2 * PAGE);
	struct neighbour neighbour = { .shared = &shared };
	pthread_t thread;
	int middle;

	(void)state;
	assert_int_equal(vblk_sigbus_install(), 0);
	neighbour.entry = vblk_sigbus_watch((void *)PAGE, PAGE, PAGE, -1);
	middle = vblk_sigbus_watch(page, PAGE, PAGE, -1);
	/* The handler comes by the neighbour's entry first. */
	assert_true(neighbour.entry >= 0 && middle > neighbour.entry);
	vblk_sigbus_forget(neighbour.entry);
	assert_int_equal(ftruncate(shared.fd, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, come_and_go, &neighbour), 0);
	for (unsigned round = 0; round < 10000; round++) {
		assert_int_equal(touch_one(&shared, 2), 0);
		assert_true(mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				 shared.fd, 2 * PAGE) != MAP_FAILED);
	}
	atomic_store(&neighbour.stop, true);
	pthread_join(thread, NULL);
	assert_false(neighbour.blamed);
	assert_true(vblk_sigbus_has_failed(middle));
	vblk_sigbus_forget(middle);
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
		cmocka_unit_test(a_page_that_fails_holds_zeros),
		cmocka_unit_test(the_pages_beside_it_stay_the_file),
		cmocka_unit_test(a_large_page_is_replaced_as_a_whole),
		cmocka_unit_test(a_page_that_cannot_be_replaced_takes_the_range_with_it),
		cmocka_unit_test(a_page_is_a_power_of_two),
		cmocka_unit_test(a_range_that_is_muted_tells_nobody),
		cmocka_unit_test(a_copy_that_fails_says_so),
		cmocka_unit_test(a_copy_out_of_a_watched_range_fails_too),
		cmocka_unit_test(only_the_range_that_fails_is_marked),
		cmocka_unit_test(a_range_that_was_forgotten_can_be_watched_again),
		cmocka_unit_test(the_table_has_an_end),
		cmocka_unit_test(many_threads_touch_it_at_once),
		cmocka_unit_test(a_failure_is_on_record_before_there_are_zeros),
		cmocka_unit_test(the_handler_sees_entries_whole),
	};

	return cmocka_run_group_tests_name("base: sigbus", tests, NULL, NULL);
}
