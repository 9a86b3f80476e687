/* SPDX-License-Identifier: MIT */
/*
 * What libFuzzer is told beyond which code ran. An input is worth keeping if it reaches code that
 * no other has reached; but which queue was paused when a notification came, say, is seen by the
 * same code. A fuzzer that is about such things names the states that it comes through, and an
 * input with a new one is kept too.
 */
#ifndef TESTS_FUZZ_STATES_H
#define TESTS_FUZZ_STATES_H

#include <stdint.h>

/* A state is what it is made of, one after the other; begin with 0. */
uint32_t state_add(uint32_t state, uint32_t part);

/* The program is in this state. */
void state_note(uint32_t state);

#endif
