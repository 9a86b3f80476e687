/* SPDX-License-Identifier: MIT */
/*
 * Numbers as people write them. Pure functions; any thread.
 *
 * All take decimal digits and nothing before, between or after them (no sign, no space, no
 * fraction) but for the suffix of a size or a time. They return 0; -EINVAL for what is no number
 * of this kind; -ERANGE for one that is too large. `*value` is only set on success.
 */
#ifndef CMD_SIZE_H
#define CMD_SIZE_H

#include <vblk/types.h>

/* Bytes: 512, or with one of the suffixes k, M, G, T in either case: 1024, 1024^2 and so on. */
VBLK_MUST_USE int cmd_size_parse(const char *text, uint64_t *value);

/* A time in nanoseconds, written with one of the suffixes us, ms and s, which is required. */
VBLK_MUST_USE int cmd_time_parse(const char *text, uint64_t *ns);

/* A plain number up to `max`. */
VBLK_MUST_USE int cmd_count_parse(const char *text, uint64_t max, uint64_t *value);

#endif
