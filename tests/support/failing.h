/* SPDX-License-Identifier: MIT */
/*
 * One call into the host that fails: memory, descriptors, threads, input and output.
 *
 * A program that is linked with this has wrappers before the calls that the library makes
 * (failing_calls in tests/unit/meson.build names them). They do nothing but pass on until
 * failing_arm; then the k-th call from there on, whichever thread makes it, fails as the kernel or
 * the C library would, and all others pass. So a test runs the same story for k = 1, 2, ... until
 * a story was over before its call came.
 *
 * Waiting and eventfds fail in the ways that they can while nobody closes what is ours: a read or
 * a write is interrupted.
 */
#ifndef TESTS_SUPPORT_FAILING_H
#define TESTS_SUPPORT_FAILING_H

#include <stddef.h>
#include <vblk/types.h>

/*
 * The k-th call of `name` from here on fails, counted from 1. NULL: whatever is called; where
 * threads run, their order is chance, and with it which call the k-th is.
 */
void failing_arm(const char *name, unsigned k);

/* Nothing fails any more. Returns the name of the call that failed; NULL if none did. */
const char *failing_disarm(void);

/* Blocks of memory that wrapped calls have made and that are not freed. */
size_t failing_blocks(void);

#endif
