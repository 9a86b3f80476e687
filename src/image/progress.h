/* SPDX-License-Identifier: MIT */
/*
 * Telling whoever sits in front of it what takes so long.
 *
 * What is over within a moment is never told: the first line comes after VBLK_IMAGE_QUIET_MS, the
 * next ones at intervals. Not thread-safe; one of these for each piece of work.
 */
#ifndef IMAGE_PROGRESS_H
#define IMAGE_PROGRESS_H

#include "base/clock.h"
#include <vblk/types.h>

#define VBLK_IMAGE_QUIET_MS    300u
#define VBLK_IMAGE_INTERVAL_MS 100u

struct vblk_image_events {
	/* Shows a line in place of the last one; NULL takes it away. May be NULL: nobody looks. */
	void (*show)(void *context, const char *line);
	void *context;
	struct vblk_clock clock;
};

struct vblk_image_progress {
	const struct vblk_image_events *events;
	uint64_t began_ns;
	uint64_t next_ns;
	bool shown;
};

/* `events` may be NULL and has to outlive the progress. */
void vblk_image_progress_begin(struct vblk_image_progress *progress,
			       const struct vblk_image_events *events);

/* Milliseconds since the beginning. */
uint64_t vblk_image_progress_ms(const struct vblk_image_progress *progress);

/* Shows a line if it is time for one. Like printf. */
__attribute__((format(printf, 2, 3))) void vblk_image_progress_tell(
	struct vblk_image_progress *progress, const char *format, ...);

/* Takes the line away, if there is one. */
void vblk_image_progress_end(struct vblk_image_progress *progress);

#endif
