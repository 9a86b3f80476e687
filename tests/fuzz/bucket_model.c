/* SPDX-License-Identifier: MIT */
/* The token bucket, slowly. */
#include "bucket_model.h"

#define BILLION 1000000000

static nanotokens full(const struct bucket_model *bucket)
{
	uint64_t tokens = bucket->capacity < INT64_MAX ? bucket->capacity : INT64_MAX;

	return (nanotokens)tokens * BILLION;
}

void bucket_model_init(struct bucket_model *bucket, uint64_t capacity, uint64_t rate,
		       uint64_t now_ns)
{
	bucket->capacity = capacity;
	bucket->rate = rate;
	bucket->unlimited = capacity == 0 || rate == 0;
	bucket->level = full(bucket);
	bucket->at_ns = now_ns;
}

void bucket_model_settle(struct bucket_model *bucket, moment now_ns)
{
	moment room = (moment)(full(bucket) - bucket->level);
	moment inflow;

	if (bucket->unlimited || now_ns <= bucket->at_ns)
		return;
	inflow = bucket->rate * (now_ns - bucket->at_ns);
	bucket->level += (nanotokens)(inflow < room ? inflow : room);
	bucket->at_ns = now_ns;
}

void bucket_model_change(struct bucket_model *bucket, uint64_t capacity, uint64_t rate,
			 uint64_t now_ns)
{
	struct bucket_model before;

	if (now_ns < bucket->at_ns)
		now_ns = (uint64_t)bucket->at_ns;
	bucket_model_settle(bucket, now_ns);
	before = *bucket;
	bucket_model_init(bucket, capacity, rate, now_ns);
	if (!before.unlimited && !bucket->unlimited && before.level < bucket->level)
		bucket->level = before.level;
}

/* What n tokens need: their number, or no debt if the bucket could never hold as many. */
static nanotokens needed(const struct bucket_model *bucket, uint64_t n)
{
	return n > bucket->capacity ? 0 : (nanotokens)n * BILLION;
}

bool bucket_model_grants(struct bucket_model *bucket, uint64_t n, moment now_ns)
{
	if (bucket->unlimited || n == 0)
		return true;
	if (n > INT64_MAX)
		return false;
	bucket_model_settle(bucket, now_ns);
	/* Only whole tokens are given out, and none out of a debt of part of one. */
	return bucket->level >= needed(bucket, n);
}

bool bucket_model_consume(struct bucket_model *bucket, uint64_t n, uint64_t now_ns)
{
	if (!bucket_model_grants(bucket, n, now_ns))
		return false;
	if (!bucket->unlimited)
		bucket->level -= (nanotokens)n * BILLION;
	return true;
}

static bool grants_after(const struct bucket_model *bucket, uint64_t n, uint64_t now_ns,
			 uint64_t wait_ns)
{
	struct bucket_model then = *bucket;

	return bucket_model_grants(&then, n, (moment)now_ns + wait_ns);
}

uint64_t bucket_model_wait(struct bucket_model *bucket, uint64_t n, uint64_t now_ns)
{
	uint64_t low = 0, high = UINT64_MAX;

	if (bucket_model_grants(bucket, n, now_ns))
		return 0;
	if (n > INT64_MAX)
		return UINT64_MAX;
	/* `low` is too short; `high` is long enough, or stands for all that is longer. */
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (grants_after(bucket, n, now_ns, middle))
			high = middle;
		else
			low = middle;
	}
	return high;
}

static bool is_legal(uint64_t rate, uint64_t burst)
{
	return burst == 0 || (rate != 0 && burst >= rate);
}

bool throttle_model_is_legal(const struct vblk_throttle *limits)
{
	return is_legal(limits->iops, limits->iops_burst) &&
	       is_legal(limits->bps, limits->bps_burst);
}

static uint64_t size_of(uint64_t rate, uint64_t burst)
{
	return burst ? burst : rate;
}

void throttle_model_init(struct throttle_model *throttle, const struct vblk_throttle *limits,
			 uint64_t now_ns)
{
	bucket_model_init(&throttle->ops, size_of(limits->iops, limits->iops_burst), limits->iops,
			  now_ns);
	bucket_model_init(&throttle->bytes, size_of(limits->bps, limits->bps_burst), limits->bps,
			  now_ns);
}

void throttle_model_change(struct throttle_model *throttle, const struct vblk_throttle *limits,
			   uint64_t now_ns)
{
	bucket_model_change(&throttle->ops, size_of(limits->iops, limits->iops_burst), limits->iops,
			    now_ns);
	bucket_model_change(&throttle->bytes, size_of(limits->bps, limits->bps_burst), limits->bps,
			    now_ns);
}

bool throttle_model_take(struct throttle_model *throttle, uint64_t bytes, uint64_t now_ns,
			 uint64_t *wait_ns)
{
	uint64_t ops_wait = bucket_model_wait(&throttle->ops, 1, now_ns);
	uint64_t bytes_wait = bucket_model_wait(&throttle->bytes, bytes, now_ns);

	if (ops_wait == 0 && bytes_wait == 0) {
		(void)bucket_model_consume(&throttle->ops, 1, now_ns);
		(void)bucket_model_consume(&throttle->bytes, bytes, now_ns);
		return true;
	}
	*wait_ns = ops_wait > bytes_wait ? ops_wait : bytes_wait;
	return false;
}
