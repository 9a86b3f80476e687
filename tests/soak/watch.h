/* SPDX-License-Identifier: MIT */
/* What a process holds, so that leaks can be told: looked at while nothing runs. */
#ifndef TESTS_SOAK_WATCH_H
#define TESTS_SOAK_WATCH_H

#include <stddef.h>

struct watch {
	unsigned descriptors;
	unsigned threads;
	size_t heap;	 /* bytes that malloc has given out */
	size_t resident; /* bytes */
};

/* To be called before anything is looked at. */
void watch_init(void);

void watch_take(struct watch *watch);

/*
 * Waits a moment for descriptors and threads to go that are about to, and fails the run if there
 * are more of them than before.
 */
void watch_expect_same(const struct watch *before, struct watch *now);

/* What is allocated now is what watch_expect_no_growth compares with. */
void watch_remember(struct watch *before);

/*
 * Waits a moment for memory to be freed, and fails the run if more is in use than there was by more
 * than what comes and goes. Beneath a sanitizer it then tells the sizes of what was not freed.
 */
void watch_expect_no_growth(const struct watch *before, struct watch *now);

#endif
