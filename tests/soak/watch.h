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

void watch_take(struct watch *watch);

/*
 * Waits a moment for descriptors and threads to go that are about to, and fails the run if there
 * are more of them than before.
 */
void watch_expect_same(const struct watch *before, struct watch *now);

/* Fails the run if memory has grown by more than what comes and goes. */
void watch_expect_no_growth(const struct watch *before, const struct watch *now);

#endif
