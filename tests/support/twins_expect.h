/* SPDX-License-Identifier: MIT */
/* How the steps of twins.h find out that the two sides differ; each of these fails the test then.
 */
#ifndef TESTS_SUPPORT_TWINS_EXPECT_H
#define TESTS_SUPPORT_TWINS_EXPECT_H

#include "twins.h"

#define TWINS_DISK_SIZE 16384u
#define TWINS_RAM_SIZE	0x20000u

enum side {
	REGISTERS,
	SESSION,
};

/* NOLINTBEGIN(bugprone-macro-parentheses): `guest` is a name that is declared here. */
#define for_each_twin(guest, twins) \
	for (struct guest *guest = (twins)->g; guest < (twins)->g + TWINS_SIDES; guest++)
/* NOLINTEND(bugprone-macro-parentheses) */

void twins_expect_same_number(const struct twins *twins, const char *what, uint64_t registers,
			      uint64_t session);

/* All that can be seen without asking the disk, and the promises of each side. Takes interrupts. */
void twins_expect_same(struct twins *twins);

/* What it costs a message to ask for. */
void twins_expect_same_config(struct twins *twins);

/* Byte by byte, in the end: it clears the disk's faults. */
void twins_expect_same_disk(struct twins *twins);

#endif
