/* SPDX-License-Identifier: MIT */
/*
 * The guest's memory as a front end tells of it, kept as vblk does it (vhost/regions.h) and once
 * more slowly, with numbers that do not overflow. After each message both have the same regions,
 * refuse the same, and translate addresses around each end of each region alike.
 */
#ifndef TESTS_FUZZ_MEMORY_MODEL_H
#define TESTS_FUZZ_MEMORY_MODEL_H

#include "vhost/codec.h"

/* Both have no memory. */
void memory_model_begin(void);

/* A message that was decoded; those that are not about memory change nothing. */
void memory_model_apply(const struct vblk_vhost_message *message);

#endif
