/* SPDX-License-Identifier: MIT */
/*
 * Counters: each recorder moves its own counters and no other, nothing is lost between threads,
 * and the gauge never wraps. Numbers in the names are those of the test catalogue.
 */
#include "metrics/metrics.h"

#include "base/checked.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define THREADS 8
/* The catalogue has 5000; so few are over before the threads meet. */
#define ROUNDS 50000

static int setup(void **state)
{
	return vblk_metrics_create((struct vblk_metrics **)state);
}

static int teardown(void **state)
{
	vblk_metrics_unref(*state);
	return 0;
}

static void assert_counters(const struct vblk_metrics *metrics,
			    const struct vblk_metrics_snapshot *expected)
{
	struct vblk_metrics_snapshot got;

	memset(&got, 0xff, sizeof(got));
	vblk_metrics_read(metrics, &got);
	assert_int_equal(got.reads_completed, expected->reads_completed);
	assert_int_equal(got.bytes_read, expected->bytes_read);
	assert_int_equal(got.writes_completed, expected->writes_completed);
	assert_int_equal(got.bytes_written, expected->bytes_written);
	assert_int_equal(got.flushes_completed, expected->flushes_completed);
	assert_int_equal(got.discards_completed, expected->discards_completed);
	assert_int_equal(got.bytes_discarded, expected->bytes_discarded);
	assert_int_equal(got.write_zeroes_completed, expected->write_zeroes_completed);
	assert_int_equal(got.bytes_zeroed, expected->bytes_zeroed);
	assert_int_equal(got.throttled, expected->throttled);
	assert_int_equal(got.io_errors, expected->io_errors);
	assert_int_equal(got.invalid_avail_idx, expected->invalid_avail_idx);
	assert_int_equal(got.throttled_now, expected->throttled_now);
	assert_int_equal(got.notifications, expected->notifications);
	assert_int_equal(got.interrupts, expected->interrupts);
}

#define ASSERT_COUNTERS(metrics, ...) \
	assert_counters(metrics, &(struct vblk_metrics_snapshot){ __VA_ARGS__ })

static void c01_default_all_zero(void **state)
{
	ASSERT_COUNTERS(*state, 0);
}

static void c02_record_read_pairs_count_and_bytes(void **state)
{
	vblk_metrics_add_completed(*state, NULL, VBLK_OP_READ, 512);
	vblk_metrics_add_completed(*state, NULL, VBLK_OP_READ, 4096);
	ASSERT_COUNTERS(*state, .reads_completed = 2, .bytes_read = 4608);
}

static void c03_record_read_of_nothing_counts(void **state)
{
	vblk_metrics_add_completed(*state, NULL, VBLK_OP_READ, 0);
	ASSERT_COUNTERS(*state, .reads_completed = 1);
}

static void c04_record_write_pairs_count_and_bytes(void **state)
{
	vblk_metrics_add_completed(*state, NULL, VBLK_OP_WRITE, 1024);
	vblk_metrics_add_completed(*state, NULL, VBLK_OP_WRITE, 1ull << 40);
	ASSERT_COUNTERS(*state, .writes_completed = 2, .bytes_written = (1ull << 40) + 1024);
}

static void c05_record_write_of_nothing_counts(void **state)
{
	vblk_metrics_add_completed(*state, NULL, VBLK_OP_WRITE, 0);
	ASSERT_COUNTERS(*state, .writes_completed = 1);
}

static void c06_record_flush_touches_only_flushes(void **state)
{
	vblk_metrics_add_completed(*state, NULL, VBLK_OP_FLUSH, 0);
	ASSERT_COUNTERS(*state, .flushes_completed = 1);
	vblk_metrics_add_completed(*state, NULL, VBLK_OP_DISCARD, 4096);
	vblk_metrics_add_completed(*state, NULL, VBLK_OP_WRITE_ZEROES, 512);
	ASSERT_COUNTERS(*state, .flushes_completed = 1, .discards_completed = 1,
			.bytes_discarded = 4096, .write_zeroes_completed = 1, .bytes_zeroed = 512);
}

static void c07_stalled_inc_adds_each_call(void **state)
{
	vblk_metrics_stalled_inc(*state);
	vblk_metrics_stalled_inc(*state);
	ASSERT_COUNTERS(*state, .throttled_now = 2);
}

static void c08_stalled_dec_when_positive(void **state)
{
	vblk_metrics_stalled_inc(*state);
	vblk_metrics_stalled_inc(*state);
	vblk_metrics_stalled_dec(*state);
	ASSERT_COUNTERS(*state, .throttled_now = 1);
}

/* Rules: N-6 */
static void c09_stalled_dec_saturates_at_zero(void **state)
{
	vblk_metrics_stalled_dec(*state);
	ASSERT_COUNTERS(*state, 0);
	vblk_metrics_stalled_inc(*state);
	ASSERT_COUNTERS(*state, .throttled_now = 1);
}

static void c10_stalled_inc_and_dec_net_zero(void **state)
{
	for (int i = 0; i < 100; i++)
		vblk_metrics_stalled_inc(*state);
	for (int i = 0; i < 100; i++)
		vblk_metrics_stalled_dec(*state);
	ASSERT_COUNTERS(*state, 0);
}

static void c11_record_io_error_only(void **state)
{
	vblk_metrics_add_error(*state, VBLK_ERROR_IO);
	ASSERT_COUNTERS(*state, .io_errors = 1);
}

static void c12_record_throttled_only(void **state)
{
	vblk_metrics_add_throttled(*state);
	ASSERT_COUNTERS(*state, .throttled = 1);
}

static void c13_record_invalid_avail_idx_only(void **state)
{
	vblk_metrics_add_error(*state, VBLK_ERROR_AVAIL_INDEX);
	ASSERT_COUNTERS(*state, .invalid_avail_idx = 1);
}

static void record_notification_only(void **state)
{
	vblk_metrics_add_notification(*state);
	ASSERT_COUNTERS(*state, .notifications = 1);
}

static void record_interrupt_only(void **state)
{
	vblk_metrics_add_interrupt(*state);
	ASSERT_COUNTERS(*state, .interrupts = 1);
}

static void add_io_error(struct vblk_metrics *metrics)
{
	vblk_metrics_add_error(metrics, VBLK_ERROR_IO);
}

static void add_invalid_avail_idx(struct vblk_metrics *metrics)
{
	vblk_metrics_add_error(metrics, VBLK_ERROR_AVAIL_INDEX);
}

static void add_flush(struct vblk_metrics *metrics)
{
	vblk_metrics_add_completed(metrics, NULL, VBLK_OP_FLUSH, 0);
}

/* A different number in each counter, so that two that are swapped show. */
static void c14_snapshot_captures_each_field(void **state)
{
	static void (*const record[])(struct vblk_metrics *) = {
		add_flush,
		vblk_metrics_add_throttled,
		add_io_error,
		add_invalid_avail_idx,
		vblk_metrics_add_notification,
		vblk_metrics_add_interrupt,
		vblk_metrics_stalled_inc,
	};

	for (int i = 0; i < 2; i++)
		vblk_metrics_add_completed(*state, NULL, VBLK_OP_READ, 1000);
	for (int i = 0; i < 3; i++)
		vblk_metrics_add_completed(*state, NULL, VBLK_OP_WRITE, 1000);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(record); i++) {
		for (size_t n = 0; n < 4 + i; n++)
			record[i](*state);
	}
	ASSERT_COUNTERS(*state, .reads_completed = 2, .bytes_read = 2000, .writes_completed = 3,
			.bytes_written = 3000, .flushes_completed = 4, .throttled = 5,
			.io_errors = 6, .invalid_avail_idx = 7, .notifications = 8, .interrupts = 9,
			.throttled_now = 10);
}

/* Of all who have or had a shard, and of who has none; a shard that was left goes on. */
static void completed_of_all_shards_count(void **state)
{
	struct vblk_metrics_shard *one = vblk_metrics_join(*state);
	struct vblk_metrics_shard *other = vblk_metrics_join(*state);

	assert_ptr_not_equal(one, other);
	vblk_metrics_add_completed(*state, one, VBLK_OP_READ, 512);
	vblk_metrics_add_completed(*state, other, VBLK_OP_READ, 1024);
	vblk_metrics_add_completed(*state, other, VBLK_OP_DISCARD, 4096);
	vblk_metrics_add_completed(*state, NULL, VBLK_OP_READ, 2048);
	vblk_metrics_leave(one);
	one = vblk_metrics_join(*state);
	vblk_metrics_add_completed(*state, one, VBLK_OP_WRITE, 8192);
	ASSERT_COUNTERS(*state, .reads_completed = 3, .bytes_read = 3584, .writes_completed = 1,
			.bytes_written = 8192, .discards_completed = 1, .bytes_discarded = 4096);
	vblk_metrics_leave(one);
	vblk_metrics_leave(other);
}

struct recording {
	struct vblk_metrics *metrics;
	pthread_barrier_t start; /* all threads at once, or they only follow one another */
	atomic_int finished;
};

static void *record_rounds(void *arg)
{
	struct recording *recording = arg;
	struct vblk_metrics *metrics = recording->metrics;

	pthread_barrier_wait(&recording->start);
	for (int i = 0; i < ROUNDS; i++) {
		vblk_metrics_add_completed(metrics, NULL, VBLK_OP_READ, 512);
		vblk_metrics_add_completed(metrics, NULL, VBLK_OP_WRITE, 1024);
		vblk_metrics_add_completed(metrics, NULL, VBLK_OP_FLUSH, 0);
		vblk_metrics_add_throttled(metrics);
		vblk_metrics_add_error(metrics, VBLK_ERROR_IO);
		vblk_metrics_stalled_inc(metrics);
		vblk_metrics_stalled_dec(metrics);
	}
	atomic_fetch_add(&recording->finished, 1);
	return NULL;
}

static bool none_fell(const struct vblk_metrics_snapshot *before,
		      const struct vblk_metrics_snapshot *after)
{
	return after->reads_completed >= before->reads_completed &&
	       after->bytes_read >= before->bytes_read &&
	       after->writes_completed >= before->writes_completed &&
	       after->bytes_written >= before->bytes_written &&
	       after->flushes_completed >= before->flushes_completed &&
	       after->throttled >= before->throttled && after->io_errors >= before->io_errors;
}

/* Rules: O-7 */
static void a09_concurrent_adds_lose_nothing(void **state)
{
	const uint64_t total = THREADS * ROUNDS;
	struct recording recording = { .metrics = *state };
	struct vblk_metrics_snapshot before = { 0 }, after;
	pthread_t threads[THREADS];

	pthread_barrier_init(&recording.start, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, record_rounds, &recording), 0);
	do {
		vblk_metrics_read(*state, &after);
		assert_true(none_fell(&before, &after));
		before = after;
	} while (atomic_load(&recording.finished) < THREADS);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	pthread_barrier_destroy(&recording.start);
	ASSERT_COUNTERS(*state, .reads_completed = total, .bytes_read = total * 512,
			.writes_completed = total, .bytes_written = total * 1024,
			.flushes_completed = total, .throttled = total, .io_errors = total);
}

/* Gives one and takes two, so that the gauge is near 0 all the time. */
static void *race_for_gauge(void *arg)
{
	struct recording *recording = arg;

	pthread_barrier_wait(&recording->start);
	for (int i = 0; i < ROUNDS; i++) {
		vblk_metrics_stalled_inc(recording->metrics);
		vblk_metrics_stalled_dec(recording->metrics);
		vblk_metrics_stalled_dec(recording->metrics);
	}
	return NULL;
}

/*
 * Rules: N-6.
 * A gauge that has wrapped is above 0, so all go on taking, and it ends far from 0.
 */
static void gauge_never_wraps_under_concurrent_dec(void **state)
{
	struct recording racing = { .metrics = *state };
	pthread_t threads[THREADS];

	pthread_barrier_init(&racing.start, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race_for_gauge, &racing), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	pthread_barrier_destroy(&racing.start);
	ASSERT_COUNTERS(*state, 0);
}

static void a_reference_outlives_the_creator(void **state)
{
	struct vblk_metrics *metrics, *watcher;

	(void)state;
	assert_int_equal(vblk_metrics_create(&metrics), 0);
	watcher = vblk_metrics_ref(metrics);
	assert_ptr_equal(watcher, metrics);
	vblk_metrics_add_completed(metrics, NULL, VBLK_OP_FLUSH, 0);
	vblk_metrics_unref(metrics);
	ASSERT_COUNTERS(watcher, .flushes_completed = 1);
	vblk_metrics_unref(watcher);
}

static void unref_of_null_is_ignored(void **state)
{
	(void)state;
	vblk_metrics_unref(NULL);
}

static void *ref_and_unref(void *arg)
{
	struct recording *recording = arg;

	pthread_barrier_wait(&recording->start);
	for (int i = 0; i < ROUNDS; i++)
		vblk_metrics_unref(vblk_metrics_ref(recording->metrics));
	vblk_metrics_unref(recording->metrics);
	return NULL;
}

/* An update that is lost leaves a wrong count, and under a sanitizer a leak or a use after free. */
static void references_are_counted_across_threads(void **state)
{
	struct recording sharing;
	struct vblk_metrics *metrics;
	pthread_t threads[THREADS];

	(void)state;
	assert_int_equal(vblk_metrics_create(&metrics), 0);
	sharing.metrics = metrics;
	pthread_barrier_init(&sharing.start, NULL, THREADS);
	for (int i = 0; i < THREADS; i++) {
		vblk_metrics_ref(metrics);
		assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, &sharing), 0);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	pthread_barrier_destroy(&sharing.start);
	assert_int_equal(atomic_load(&metrics->refs), 1);
	vblk_metrics_unref(metrics);
}

static void counters_do_not_share_a_line_with_the_references(void **state)
{
	const struct vblk_metrics *metrics = *state;

	assert_int_equal((uintptr_t)metrics % VBLK_METRICS_ALIGN, 0);
	assert_int_equal((uintptr_t)&metrics->completed % VBLK_METRICS_ALIGN, 0);
	assert_true((uintptr_t)&metrics->completed - (uintptr_t)&metrics->refs >=
		    VBLK_METRICS_ALIGN);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(c01_default_all_zero),
		TEST(c02_record_read_pairs_count_and_bytes),
		TEST(c03_record_read_of_nothing_counts),
		TEST(c04_record_write_pairs_count_and_bytes),
		TEST(c05_record_write_of_nothing_counts),
		TEST(c06_record_flush_touches_only_flushes),
		TEST(c07_stalled_inc_adds_each_call),
		TEST(c08_stalled_dec_when_positive),
		TEST(c09_stalled_dec_saturates_at_zero),
		TEST(c10_stalled_inc_and_dec_net_zero),
		TEST(c11_record_io_error_only),
		TEST(c12_record_throttled_only),
		TEST(c13_record_invalid_avail_idx_only),
		TEST(record_notification_only),
		TEST(record_interrupt_only),
		TEST(c14_snapshot_captures_each_field),
		TEST(completed_of_all_shards_count),
		TEST(a09_concurrent_adds_lose_nothing),
		TEST(gauge_never_wraps_under_concurrent_dec),
		cmocka_unit_test(a_reference_outlives_the_creator),
		cmocka_unit_test(unref_of_null_is_ignored),
		cmocka_unit_test(references_are_counted_across_threads),
		TEST(counters_do_not_share_a_line_with_the_references),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
