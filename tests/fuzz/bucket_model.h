/* SPDX-License-Identifier: MIT */
/*
 * What a token bucket should do, said a second time and slowly: the level is one number, in
 * billionths of a token, and a wait is found by trying.
 *
 * Time may step back between calls; what was settled at a later time stays settled. Questions
 * about 0 tokens, or about more than 2^63-1, are answered without a look at the level.
 */
#ifndef TESTS_FUZZ_BUCKET_MODEL_H
#define TESTS_FUZZ_BUCKET_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <vblk/device.h>

__extension__ typedef __int128 nanotokens;
__extension__ typedef unsigned __int128 moment;

struct bucket_model {
	bool unlimited;
	uint64_t capacity;
	uint64_t rate;
	nanotokens level; /* billionths of a token, below 0 in debt */
	moment at_ns; /* that the level is of; wide, to ask what is beyond the end of the clock */
};

void bucket_model_init(struct bucket_model *bucket, uint64_t capacity, uint64_t rate,
		       uint64_t now_ns);
void bucket_model_change(struct bucket_model *bucket, uint64_t capacity, uint64_t rate,
			 uint64_t now_ns);
void bucket_model_settle(struct bucket_model *bucket, moment now_ns);
bool bucket_model_grants(struct bucket_model *bucket, uint64_t n, moment now_ns);
bool bucket_model_consume(struct bucket_model *bucket, uint64_t n, uint64_t now_ns);
uint64_t bucket_model_wait(struct bucket_model *bucket, uint64_t n, uint64_t now_ns);

/* The two limits of a disk. */
struct throttle_model {
	struct bucket_model ops;
	struct bucket_model bytes;
};

bool throttle_model_is_legal(const struct vblk_throttle *limits);
void throttle_model_init(struct throttle_model *throttle, const struct vblk_throttle *limits,
			 uint64_t now_ns);
void throttle_model_change(struct throttle_model *throttle, const struct vblk_throttle *limits,
			   uint64_t now_ns);

/* Pays and returns true, or returns false and how long to wait. */
bool throttle_model_take(struct throttle_model *throttle, uint64_t bytes, uint64_t now_ns,
			 uint64_t *wait_ns);

#endif
