/* SPDX-License-Identifier: MIT */
/*
 * What the test's own process holds: descriptors and threads. For tests that something which was
 * let go is really gone, and for tests of what happens when there is no more to be had.
 */
#ifndef TESTS_SUPPORT_PROCESS_H
#define TESTS_SUPPORT_PROCESS_H

#include <vblk/types.h>

/* Open descriptors, and threads, of this process. */
size_t process_fds(void);
size_t process_threads(void);

/*
 * Waits until `count` threads are left; gives up after 10 s and returns false. A thread that was
 * joined, or whose last act was observed, may need another moment to vanish.
 */
bool process_wait_threads(size_t count);

/* Whether the thread of that name sleeps in epoll, with nothing to do. */
bool process_thread_waits(const char *name);

/* Whether it sleeps in this system call (SYS_futex). Not under an emulator: it has other calls. */
bool process_thread_is_in(const char *name, long number);

/* Waits until `is_true` says so, looking again and again; false after 10 s. */
bool process_wait(bool (*is_true)(void *context), void *context);

/* Lets the process open exactly `more` descriptors, until process_unlimit_fds. */
void process_limit_fds(size_t more);
void process_unlimit_fds(void);

/* From here on no thread can be created, until process_allow_threads. */
void process_forbid_threads(void);
void process_allow_threads(void);

/*
 * How many threads there are when the test program runs none: a sanitizer may have one of its
 * own, which it starts with the first. Call it before there is any.
 */
size_t process_own_threads(void);

#endif
