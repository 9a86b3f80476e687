/* SPDX-License-Identifier: MIT */
/*
 * Calls that somebody else makes, around tests/support/late_aio.h: which are refused, which come
 * back as not made, and which land when, is what a program says.
 */
#ifndef TESTS_FUZZ_DRAIN_AIR_H
#define TESTS_FUZZ_DRAIN_AIR_H

#include "request/air.h"

/* Patterns of eight bits, of which each call has the next. All 0: each lands when submitted. */
struct drain_air {
	uint8_t refuse; /* 1: it is not taken */
	uint8_t lose;	/* 1: it comes back as not made */
	uint8_t hold;	/* 1: it does not land by itself, at a submit */
	uint8_t order;	/* which of those under way lands next */
};

extern struct drain_air drain_air;

/* Flights, and somebody who makes calls of this backing; the drain owns both. */
struct vblk_air *drain_air_create(struct vblk_backing *backing);

/* Lets so many land of those under way. */
void drain_air_land(unsigned count);

/* How many have landed and were not taken back. */
unsigned drain_air_landed(void);

#endif
