/* SPDX-License-Identifier: MIT */
/* States, by their hash, in what libFuzzer takes for counters of code. */
#include "states.h"

#define STATES 32768u

__attribute__((section("__libfuzzer_extra_counters"), used)) static uint8_t states[STATES];

uint32_t state_add(uint32_t state, uint32_t part)
{
	state = (state ^ part) * 0x9e3779b1u;
	return state ^ state >> 15;
}

void state_note(uint32_t state)
{
	states[state % STATES] = 1;
}
