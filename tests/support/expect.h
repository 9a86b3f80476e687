/* SPDX-License-Identifier: MIT */
/*
 * What several tests expect of a device, checked whole: naming only what should have happened
 * says of everything else that it should not. A failure is reported where the test stands.
 */
#ifndef TESTS_SUPPORT_EXPECT_H
#define TESTS_SUPPORT_EXPECT_H

#include "mock_guest.h"

/*
 * All counters but `notifications` and `interrupts`; those that are not named are 0:
 *
 *     expect_counters(&g, .reads_completed = 1, .bytes_read = 512);
 */
#define expect_counters(guest, ...)                                                           \
	expect_counters_at((guest), &(struct vblk_metrics_snapshot){ __VA_ARGS__ }, __FILE__, \
			   __LINE__)

/* The status byte of guest_request() and used.idx. */
#define expect_answer(guest, status, used_idx) \
	expect_answer_at((guest), (status), (used_idx), __FILE__, __LINE__)

/* The interrupt: how often it was raised since it was last looked at, and InterruptStatus. */
#define expect_interrupts(guest, count, bits) \
	expect_interrupts_at((guest), (count), (bits), __FILE__, __LINE__)

void expect_counters_at(struct guest *guest, const struct vblk_metrics_snapshot *want,
			const char *file, int line);
void expect_answer_at(struct guest *guest, uint8_t status, uint16_t used_idx, const char *file,
		      int line);
void expect_interrupts_at(struct guest *guest, uint64_t count, uint32_t bits, const char *file,
			  int line);

#endif
