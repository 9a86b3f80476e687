/* SPDX-License-Identifier: MIT */
/*
 * What the raw area of a disk should hold: for each sector the number of the write that was the
 * last to touch it. The content follows from the seed, that number and the sector, so that a
 * sector that is stale, or that landed in another place, is seen. Sectors are counted from the
 * start of the raw area. Never written sectors are zero, as the host's fresh image is.
 */
#ifndef GUEST_RAW_MODEL_H
#define GUEST_RAW_MODEL_H

#include "guest.h"

struct raw_model;

/* NULL and errno on failure, with ENOSPC if the disk has no raw area. Lives as long as /init. */
struct raw_model *raw_model_create(const struct disk *disk, uint64_t seed);

uint64_t raw_model_sectors(const struct raw_model *model);

/* Notes a new write to the sectors and gives the bytes for it. Call it before the write. */
void raw_model_write(struct raw_model *model, uint64_t sector, uint64_t count, void *data);

/* Notes that the sectors were cleared: they hold zeros. */
void raw_model_clear(struct raw_model *model, uint64_t sector, uint64_t count);

/*
 * Notes that the last write to the sectors did not happen: they hold what they held before it.
 * Writes before that one cannot be taken back.
 */
void raw_model_undo(struct raw_model *model, uint64_t sector, uint64_t count);

/* True if the bytes are what these sectors should hold; else a failed report that says where not.
 */
bool raw_model_matches(const struct raw_model *model, uint64_t sector, uint64_t count,
		       const void *data, struct report *report);

#endif
