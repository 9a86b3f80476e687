/* SPDX-License-Identifier: MIT */
/*
 * How a fuzzer says that it has found something: one line on standard error, then abort(), at
 * which libFuzzer keeps the input. With VBLK_FUZZ_TRACE in the environment a fuzzer also tells
 * each step of an input, to read a finding by.
 */
#ifndef TESTS_FUZZ_CHECK_H
#define TESTS_FUZZ_CHECK_H

#include <stdbool.h>

/* FUZZ_CHECK(got == want, "status is 0x%x, should be 0x%x", got, want); */
#define FUZZ_CHECK(condition, ...)                                              \
	do {                                                                    \
		if (!(condition))                                               \
			fuzz_fail(__FILE__, __LINE__, #condition, __VA_ARGS__); \
	} while (0)

#define FUZZ_TRACE(...)                          \
	do {                                     \
		if (fuzz_tracing)                \
			fuzz_trace(__VA_ARGS__); \
	} while (0)

extern bool fuzz_tracing;

void fuzz_start_tracing(void);
__attribute__((format(printf, 1, 2))) void fuzz_trace(const char *format, ...);
__attribute__((noreturn, format(printf, 4, 5))) void fuzz_fail(const char *file, int line,
							       const char *condition,
							       const char *format, ...);

#endif
