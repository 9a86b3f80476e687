/* SPDX-License-Identifier: MIT */
/*
 * The end of a run that has found something. Nothing is cleaned up: the state of the device is
 * what went wrong, and a core or a debugger should see it as it is.
 */
#ifndef TESTS_SOAK_FAIL_H
#define TESTS_SOAK_FAIL_H

#include <stdint.h>

/* The command line that repeats the run, for the message. Once, before there are threads. */
void soak_fail_init(const char *how);

/* Prints `not ok soak: MESSAGE (repeat with ...)` and ends the program with status 1. */
_Noreturn void soak_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
