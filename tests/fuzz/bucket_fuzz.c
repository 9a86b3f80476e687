/* SPDX-License-Identifier: MIT */
/*
 * The token bucket and the throttle against a slow reference (bucket_model.h).
 *
 * A program sets, changes and asks; time goes on and now and then back. After every step the level
 * is the same to a billionth of a token, however late anybody looked; and a wait that is announced
 * is the shortest: one nanosecond less is refused.
 */
#include <stdio.h>

#include "bucket_model.h"
#include "check.h"
#include "records.h"
#include "throttle/throttle.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define BILLION	 1000000000

/*
 * What a step does and what its arguments a[0..6] mean.
 *
 * INIT, CHANGE        a[0..1] capacity, a[2..3] rate
 * FORWARD, BACK       a[0..1] by how much
 * CONSUME, ASK, WAIT  a[0..1] tokens, a[2] relative to what there is; a[3] of WAIT: wait for it
 * LIMITS              a[0..1] iops, a[2..3] bps, a[4] and a[5] bursts, a[6] odd: anew
 * TAKE                a[0..1] bytes, a[2] how often, a[3] odd: wait where it is refused
 */
enum op {
	OP_INIT,
	OP_CHANGE,
	OP_FORWARD,
	OP_BACK,
	OP_REFILL,
	OP_CONSUME,
	OP_ASK,
	OP_WAIT,
	OP_LIMITS,
	OP_TAKE,
	OP_FULL,
	OPS,
};

const uint8_t fuzz_phrases[][RECORD_SIZE] = {
	{ OP_INIT, 10, 0, 10 },	    { OP_INIT, 1, 9, 1, 9 },	{ OP_INIT, 1, 63, 255, 56 },
	{ OP_INIT, 100, 0, 3 },	    { OP_CHANGE, 5, 0, 7 },	{ OP_CHANGE },
	{ OP_CHANGE, 1, 12, 1, 3 }, { OP_FORWARD, 1, 30 },	{ OP_FORWARD, 1 },
	{ OP_FORWARD, 100, 20 },    { OP_BACK, 1, 28 },		{ OP_CONSUME, 1 },
	{ OP_CONSUME, 11 },	    { OP_CONSUME, 0, 0, 1 },	{ OP_WAIT, 3, 0, 0, 1 },
	{ OP_WAIT, 200, 0, 0, 1 },  { OP_LIMITS, 10, 0, 1, 9 }, { OP_LIMITS, 3, 0, 5, 8, 9, 9 },
	{ OP_TAKE, 1, 9, 3, 1 },    { OP_TAKE, 0, 0, 1, 1 },	{ OP_FULL },
};
const size_t fuzz_phrase_count = COUNT(fuzz_phrases);

static struct {
	uint64_t now;
	struct vblk_bucket bucket;
	struct bucket_model model;
	struct vblk_throttle_state throttle;
	struct throttle_model throttle_model;
} run;

static void expect_level(const struct vblk_bucket *real, const struct bucket_model *model,
			 const char *what)
{
	struct vblk_bucket bucket = *real;
	struct bucket_model settled = *model;
	nanotokens got, want;

	FUZZ_CHECK(bucket.unlimited == settled.unlimited, "%s: unlimited is %d", what,
		   bucket.unlimited);
	if (bucket.unlimited)
		return;
	vblk_bucket_refill(&bucket, run.now);
	bucket_model_settle(&settled, run.now);
	got = (nanotokens)bucket.available * BILLION + bucket.fraction;
	want = settled.level;
	FUZZ_CHECK(bucket.fraction < BILLION, "%s: a fraction of %u", what, bucket.fraction);
	FUZZ_CHECK(got == want, "%s: the level is off by %g billionths of a token, at %lld tokens",
		   what, (double)(got - want), (long long)bucket.available);
	FUZZ_CHECK(bucket.last_refill_ns == settled.at_ns, "%s: the time of the level differs",
		   what);
}

static void expect_same(void)
{
	expect_level(&run.bucket, &run.model, "bucket");
	expect_level(&run.throttle.ops, &run.throttle_model.ops, "ops");
	expect_level(&run.throttle.bytes, &run.throttle_model.bytes, "bytes");
	FUZZ_CHECK(vblk_throttle_is_unlimited(&run.throttle) ==
			   (run.throttle_model.ops.unlimited && run.throttle_model.bytes.unlimited),
		   "unlimited is %d", vblk_throttle_is_unlimited(&run.throttle));
}

/* A number of tokens, of its own or near what is there. */
static uint64_t tokens(const uint8_t a[7])
{
	uint64_t n = record_u64(a);

	if (a[2] == 0)
		return n;
	return (uint64_t)run.bucket.available + (a[2] & 1 ? n : 0 - n) +
	       (a[2] >> 1 & 1) * run.bucket.capacity;
}

static void forward(uint64_t ns)
{
	run.now = ns > UINT64_MAX - run.now ? UINT64_MAX : run.now + ns;
}

static void ask(uint64_t n)
{
	bool got = vblk_bucket_can_consume(&run.bucket, n, run.now);

	FUZZ_CHECK(got == bucket_model_grants(&run.model, n, run.now), "%llu tokens are %s",
		   (unsigned long long)n, got ? "granted" : "refused");
}

static void consume(uint64_t n)
{
	bool got = vblk_bucket_consume(&run.bucket, n, run.now);

	FUZZ_CHECK(got == bucket_model_consume(&run.model, n, run.now), "%llu tokens are %s",
		   (unsigned long long)n, got ? "given" : "not given");
}

static void wait_for(uint64_t n, bool wait)
{
	uint64_t got = vblk_bucket_wait_ns(&run.bucket, n, run.now);
	uint64_t want = bucket_model_wait(&run.model, n, run.now);
	struct vblk_bucket early = run.bucket;

	FUZZ_CHECK(got == want, "a wait of %llu, should be %llu", (unsigned long long)got,
		   (unsigned long long)want);
	if (got == 0 || got == UINT64_MAX || got > UINT64_MAX - run.now || !wait)
		return;
	FUZZ_CHECK(!vblk_bucket_can_consume(&early, n, run.now + got - 1), "the wait is too long");
	forward(got);
	FUZZ_CHECK(vblk_bucket_can_consume(&run.bucket, n, run.now), "the wait is too short");
	FUZZ_CHECK(bucket_model_grants(&run.model, n, run.now), "the model disagrees with itself");
}

static void set_limits(const uint8_t a[7])
{
	struct vblk_throttle limits = { .iops = record_u64(a), .bps = record_u64(a + 2) };
	struct vblk_throttle_problem problem;
	char text[160];
	int ret;

	if (a[4])
		limits.iops_burst = (limits.iops << (a[4] & 7)) + (a[4] >> 3) - 1;
	if (a[5])
		limits.bps_burst = (limits.bps << (a[5] & 7)) + (a[5] >> 3) - 1;
	ret = vblk_throttle_validate(&limits, &problem);
	FUZZ_CHECK((ret == 0) == throttle_model_is_legal(&limits), "limits are judged %d", ret);
	FUZZ_CHECK((ret == 0) == (problem.kind == VBLK_THROTTLE_FINE), "the problem is %d",
		   (int)problem.kind);
	vblk_throttle_problem_text(&problem, text, sizeof(text));
	FUZZ_CHECK((ret == 0) == (text[0] == '\0'), "the problem is '%s'", text);
	if (ret < 0)
		return;
	if (a[6] & 1) {
		vblk_throttle_init(&run.throttle, &limits, run.now);
		throttle_model_init(&run.throttle_model, &limits, run.now);
	} else {
		vblk_throttle_change(&run.throttle, &limits, run.now);
		throttle_model_change(&run.throttle_model, &limits, run.now);
	}
}

static void take(uint64_t bytes, bool wait)
{
	uint64_t got_wait = 0, want_wait = 0;
	bool got = vblk_throttle_take(&run.throttle, bytes, run.now, &got_wait);
	bool want = throttle_model_take(&run.throttle_model, bytes, run.now, &want_wait);

	FUZZ_CHECK(got == want, "a request of %llu bytes %s", (unsigned long long)bytes,
		   got ? "passes" : "waits");
	FUZZ_CHECK(got_wait == want_wait, "it waits %llu, should wait %llu",
		   (unsigned long long)got_wait, (unsigned long long)want_wait);
	FUZZ_CHECK(got || got_wait > 0, "a request waits for no time");
	if (!got && wait)
		forward(got_wait);
}

static void fill(void)
{
	vblk_throttle_refill_full(&run.throttle, run.now);
	bucket_model_init(&run.throttle_model.ops, run.throttle_model.ops.capacity,
			  run.throttle_model.ops.rate, run.now);
	bucket_model_init(&run.throttle_model.bytes, run.throttle_model.bytes.capacity,
			  run.throttle_model.bytes.rate, run.now);
}

static void step(enum op op, const uint8_t a[7])
{
	switch (op) {
	case OP_INIT:
		vblk_bucket_init(&run.bucket, record_u64(a), record_u64(a + 2), run.now);
		bucket_model_init(&run.model, record_u64(a), record_u64(a + 2), run.now);
		break;
	case OP_CHANGE:
		vblk_bucket_change(&run.bucket, record_u64(a), record_u64(a + 2), run.now);
		bucket_model_change(&run.model, record_u64(a), record_u64(a + 2), run.now);
		break;
	case OP_FORWARD:
		forward(record_u64(a));
		break;
	case OP_BACK:
		run.now -= record_u64(a) < run.now ? record_u64(a) : run.now;
		break;
	case OP_REFILL:
		vblk_bucket_refill(&run.bucket, run.now);
		bucket_model_settle(&run.model, run.now);
		break;
	case OP_CONSUME:
		consume(tokens(a));
		break;
	case OP_ASK:
		ask(tokens(a));
		break;
	case OP_WAIT:
		wait_for(tokens(a), a[3] & 1);
		break;
	case OP_LIMITS:
		set_limits(a);
		break;
	case OP_TAKE:
		for (unsigned i = 0; i <= a[2] % 8u; i++)
			take(record_u64(a), a[3] & 1);
		break;
	default:
		fill();
		break;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_start_tracing();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct vblk_throttle none;
	const uint8_t *record;

	run.now = 1ull << 40;
	vblk_bucket_init(&run.bucket, 0, 0, run.now);
	bucket_model_init(&run.model, 0, 0, run.now);
	vblk_throttle_init(&run.throttle, &none, run.now);
	throttle_model_init(&run.throttle_model, &none, run.now);
	for (size_t i = 0; (record = record_at(data, size, i)); i++) {
		enum op op = (enum op)(record[0] % OPS);

		FUZZ_TRACE("%3zu: op %2d  %02x %02x %02x %02x %02x %02x %02x at %llu", i, op,
			   record[1], record[2], record[3], record[4], record[5], record[6],
			   record[7], (unsigned long long)run.now);
		step(op, record + 1);
		expect_same();
	}
	return 0;
}
