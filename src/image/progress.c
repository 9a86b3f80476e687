/* SPDX-License-Identifier: MIT */
/* When to say something, and when to be quiet. */
#include "image/progress.h"

#include <stdarg.h>
#include <stdio.h>

#define LINE_SIZE 256

static const struct vblk_clock *clock_of(const struct vblk_image_progress *progress)
{
	static const struct vblk_clock monotonic = { NULL, NULL };

	return progress->events ? &progress->events->clock : &monotonic;
}

void vblk_image_progress_begin(struct vblk_image_progress *progress,
			       const struct vblk_image_events *events)
{
	progress->events = events;
	progress->shown = false;
	progress->began_ns = vblk_clock_now(clock_of(progress));
	progress->next_ns = progress->began_ns + VBLK_IMAGE_QUIET_MS * VBLK_NSEC_PER_MSEC;
}

uint64_t vblk_image_progress_ms(const struct vblk_image_progress *progress)
{
	return (vblk_clock_now(clock_of(progress)) - progress->began_ns) / VBLK_NSEC_PER_MSEC;
}

void vblk_image_progress_tell(struct vblk_image_progress *progress, const char *format, ...)
{
	char line[LINE_SIZE];
	uint64_t now;
	va_list args;

	if (!progress->events || !progress->events->show)
		return;
	now = vblk_clock_now(clock_of(progress));
	if (now < progress->next_ns)
		return;
	progress->next_ns = now + VBLK_IMAGE_INTERVAL_MS * VBLK_NSEC_PER_MSEC;
	progress->shown = true;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	progress->events->show(progress->events->context, line);
}

void vblk_image_progress_end(struct vblk_image_progress *progress)
{
	if (progress->shown)
		progress->events->show(progress->events->context, NULL);
	progress->shown = false;
}
