/* SPDX-License-Identifier: MIT */
/*
 * A drain without a device around it: a guest whose driver has stopped at FEATURES_OK, and a drain
 * on its rings that the test runs by hand and may look into. Its registers, counters and interrupt
 * are those of the guest's device.
 */
#ifndef TESTS_SUPPORT_BARE_DRAIN_H
#define TESTS_SUPPORT_BARE_DRAIN_H

#include "mock_guest.h"

#include "request/drain.h"

struct bare_drain {
	struct guest guest;
	struct vblk_drain drain;
	unsigned retries; /* how often it was told to look again */
};

/* The options' throttle and on_undeliverable count; the engine is ignored. Takes over `disk`. */
void bare_drain_create(struct bare_drain *bare, const struct guest_options *options,
		       struct vblk_backing *disk);
void bare_drain_destroy(struct bare_drain *bare);

/* Runs the drain, whose outcome should be `want`; returns how long to wait if it stalled. */
uint64_t bare_drain_run(struct bare_drain *bare, enum vblk_drain_result want);

#endif
