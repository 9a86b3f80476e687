/* SPDX-License-Identifier: MIT */
/*
 * The steps into the sandbox, in their order. Each returns 0 when it was done, and has said how
 * far in `text`; VBLK_SANDBOX_DONE_BUT when there is more to it that should be known, in `text`;
 * VBLK_SANDBOX_NOT_WANTED or, when the host has no such thing, VBLK_SANDBOX_NOT_HERE, with the
 * reason in `text`; or a negative errno, with what is wrong in `text`.
 */
#ifndef SANDBOX_STEPS_H
#define SANDBOX_STEPS_H

#include "sandbox/sandbox.h"

#define VBLK_SANDBOX_NOT_WANTED 1
#define VBLK_SANDBOX_NOT_HERE	2
#define VBLK_SANDBOX_DONE_BUT	3

struct vblk_sandbox_text {
	char *text;
	size_t size;
};

__attribute__((format(printf, 3, 4))) int vblk_sandbox_say(const struct vblk_sandbox_text *text,
							   int result, const char *format, ...);

VBLK_MUST_USE int vblk_sandbox_user(const struct vblk_sandbox_options *options,
				    const struct vblk_sandbox_text *text);
VBLK_MUST_USE int vblk_sandbox_landlock(const struct vblk_sandbox_options *options,
					const struct vblk_sandbox_text *text);
VBLK_MUST_USE int vblk_sandbox_filter(const struct vblk_sandbox_options *options,
				      const struct vblk_sandbox_text *text);

#endif
