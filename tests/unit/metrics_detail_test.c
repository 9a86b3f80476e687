/* SPDX-License-Identifier: MIT */
/*
 * Histograms of a device: buckets against their definition, quantiles against sorted arrays, shards
 * that come and go, and a structure that may grow.
 */
#include "metrics/metrics.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"

#define ROUNDS 20000

static int setup(void **state)
{
	return vblk_metrics_create((struct vblk_metrics **)state);
}

static int teardown(void **state)
{
	vblk_metrics_unref(*state);
	return 0;
}

/* To be freed. */
static struct vblk_metrics_detail *read_detail(const struct vblk_metrics *metrics)
{
	struct vblk_metrics_detail *detail = malloc(sizeof(*detail));

	assert_non_null(detail);
	memset(detail, 0xff, sizeof(*detail));
	detail->size = sizeof(*detail);
	assert_int_equal(vblk_metrics_read_detail(metrics, detail), 0);
	assert_int_equal(detail->size, sizeof(*detail));
	return detail;
}

static void every_value_is_in_the_bucket_that_the_header_says(void **state)
{
	unsigned last = 0;

	(void)state;
	for (uint64_t value = 0; value < 100000; value++) {
		unsigned bucket = vblk_bucket_of(value, VBLK_METRICS_BUCKET_BITS);

		assert_true(bucket == last || bucket == last + 1);
		assert_true(value <= vblk_metrics_bucket_last(bucket));
		if (bucket > 0)
			assert_true(value > vblk_metrics_bucket_last(bucket - 1));
		if (value < 32)
			assert_int_equal(vblk_metrics_bucket_last(bucket), value);
		last = bucket;
	}
	for (unsigned i = 16; i < VBLK_METRICS_BUCKETS - 1; i++) {
		unsigned s = i / 16 - 1;

		assert_int_equal(vblk_metrics_bucket_last(i),
				 ((16ull + i % 16) << s) + (1ull << s) - 1);
	}
	assert_int_equal(vblk_bucket_of((1ull << 38) - 1, VBLK_METRICS_BUCKET_BITS),
			 VBLK_METRICS_BUCKETS - 1);
	assert_true(vblk_metrics_bucket_last(VBLK_METRICS_BUCKETS - 1) == UINT64_MAX);
	assert_true(vblk_metrics_bucket_last(UINT32_MAX) == UINT64_MAX);
}

/* xorshift: the same numbers in every run. */
static uint64_t next(uint64_t *noise)
{
	*noise ^= *noise << 13;
	*noise ^= *noise >> 7;
	*noise ^= *noise << 17;
	return *noise;
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void quantiles_are_those_of_a_sorted_array(void **state)
{
	static const double shares[] = { 0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0 };
	uint64_t noise = 0x9e3779b97f4a7c15ull;

	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		const size_t count = 1 + next(&noise) % 3000;
		const unsigned width = 1 + round % 37; /* bits of the largest values */
		struct vblk_metrics_cells *cells = calloc(1, sizeof(*cells));
		struct vblk_metrics_histogram *seen = calloc(1, sizeof(*seen));
		uint64_t *sorted = calloc(count, sizeof(*sorted));

		assert_true(cells && seen && sorted);
		for (size_t i = 0; i < count; i++) {
			sorted[i] = next(&noise) >> (64 - width);
			vblk_metrics_cells_add(cells, sorted[i]);
			seen->sum += sorted[i];
		}
		assert_int_equal(atomic_load(&cells->sum), seen->sum);
		for (unsigned i = 0; i < VBLK_METRICS_BUCKETS; i++)
			seen->bucket[i] = atomic_load(&cells->bucket[i]);
		seen->highest = atomic_load(&cells->highest);
		qsort(sorted, count, sizeof(*sorted), compare);
		assert_int_equal(seen->highest, sorted[count - 1]);
		assert_int_equal(vblk_metrics_values(seen), count);
		for (size_t i = 0; i < VBLK_ARRAY_SIZE(shares); i++) {
			size_t rank = 0; /* the first that at least the share does not exceed */
			uint64_t got = vblk_metrics_quantile(seen, shares[i]);

			while ((double)(rank + 1) < shares[i] * (double)count)
				rank++;
			assert_true(got >= sorted[rank]);
			assert_true(got - sorted[rank] <= sorted[rank] / 16);
		}
		free(sorted);
		free(seen);
		free(cells);
	}
}

static void quantile_of_nothing_is_0(void **state)
{
	struct vblk_metrics_histogram *none = calloc(1, sizeof(*none));

	(void)state;
	assert_non_null(none);
	assert_int_equal(vblk_metrics_quantile(none, 0.5), 0);
	free(none);
}

static void what_is_beyond_the_buckets_is_in_the_last(void **state)
{
	struct vblk_metrics_shard *shard = vblk_metrics_join(*state);
	struct vblk_metrics_detail *detail;
	const struct vblk_metrics_histogram *read;

	vblk_metrics_record(shard, VBLK_OP_READ, VBLK_PHASE_SERVED, 1ull << 63);
	detail = read_detail(*state);
	read = &detail->latency[VBLK_OP_READ][VBLK_PHASE_SERVED];
	assert_int_equal(read->bucket[VBLK_METRICS_BUCKETS - 1], 1);
	assert_true(vblk_metrics_quantile(read, 0.5) == 1ull << 63);
	free(detail);
	vblk_metrics_leave(shard);
}

static void each_recorder_moves_its_own_histogram(void **state)
{
	struct vblk_metrics_shard *shard = vblk_metrics_join(*state);
	struct vblk_metrics_detail *detail;

	for (unsigned op = 0; op < VBLK_METRICS_OPS; op++) {
		for (unsigned phase = 0; phase < VBLK_METRICS_PHASES; phase++)
			vblk_metrics_record(shard, (enum vblk_metrics_op)op,
					    (enum vblk_metrics_phase)phase, 1 + op * 3 + phase);
		vblk_metrics_record_bytes(shard, (enum vblk_metrics_op)op, 20 + op);
	}
	vblk_metrics_record_depth(shard, 31);
	vblk_metrics_record_depth(shard, 0);
	detail = read_detail(*state);
	for (unsigned op = 0; op < VBLK_METRICS_OPS; op++) {
		for (unsigned phase = 0; phase < VBLK_METRICS_PHASES; phase++) {
			const struct vblk_metrics_histogram *one = &detail->latency[op][phase];

			assert_int_equal(one->sum, 1 + op * 3 + phase);
			assert_int_equal(one->highest, 1 + op * 3 + phase);
			assert_int_equal(one->bucket[1 + op * 3 + phase], 1);
			assert_int_equal(vblk_metrics_values(one), 1);
		}
		assert_int_equal(detail->request_bytes[op].bucket[20 + op], 1);
		assert_int_equal(vblk_metrics_values(&detail->request_bytes[op]), 1);
	}
	assert_int_equal(detail->depth.bucket[31], 1);
	assert_int_equal(vblk_metrics_values(&detail->depth), 1);
	free(detail);
	vblk_metrics_leave(shard);
}

static void without_a_shard_nothing_is_recorded(void **state)
{
	struct vblk_metrics_detail *detail;

	vblk_metrics_record(NULL, VBLK_OP_READ, VBLK_PHASE_SERVED, 5);
	vblk_metrics_record_bytes(NULL, VBLK_OP_READ, 5);
	vblk_metrics_record_depth(NULL, 5);
	vblk_metrics_leave(NULL);
	detail = read_detail(*state);
	assert_int_equal(detail->depth.sum, 0);
	free(detail);
}

static void a_shard_has_one_owner_and_is_used_again(void **state)
{
	struct vblk_metrics_shard *a = vblk_metrics_join(*state);
	struct vblk_metrics_shard *b = vblk_metrics_join(*state);
	struct vblk_metrics_detail *detail;

	assert_true(a && b && a != b);
	vblk_metrics_record_depth(a, 3);
	vblk_metrics_leave(a);
	assert_ptr_equal(vblk_metrics_join(*state), a);
	vblk_metrics_record_depth(a, 4);
	vblk_metrics_record_depth(b, 5);
	detail = read_detail(*state);
	assert_int_equal(detail->depth.sum, 12);
	assert_int_equal(detail->depth.highest, 5);
	free(detail);
	vblk_metrics_leave(a);
	vblk_metrics_leave(b);
}

static void errors_are_counted_by_reason_and_by_their_counter(void **state)
{
	struct vblk_metrics_snapshot counters;
	struct vblk_metrics_detail *detail;

	for (unsigned i = 0; i < VBLK_METRICS_ERRORS; i++)
		for (unsigned n = 0; n <= i; n++)
			vblk_metrics_add_error(*state, (enum vblk_metrics_error)i);
	detail = read_detail(*state);
	vblk_metrics_read(*state, &counters);
	for (unsigned i = 0; i < VBLK_METRICS_ERRORS; i++) {
		assert_int_equal(detail->errors[i], i + 1);
		if (i != VBLK_ERROR_AVAIL_INDEX && i != VBLK_ERROR_UNSUPPORTED)
			counters.io_errors -= i + 1;
	}
	assert_int_equal(counters.io_errors, 0);
	assert_int_equal(counters.invalid_avail_idx, VBLK_ERROR_AVAIL_INDEX + 1);
	free(detail);
}

static void errno_has_a_reason(void **state)
{
	static const struct {
		int error;
		enum vblk_metrics_error reason;
	} table[] = {
		{ -ERANGE, VBLK_ERROR_BEYOND_END },
		{ -EFAULT, VBLK_ERROR_MEMORY },
		{ -EIO, VBLK_ERROR_IO },
		{ -ENOSPC, VBLK_ERROR_SPACE },
		{ -EDQUOT, VBLK_ERROR_SPACE },
		{ -EFBIG, VBLK_ERROR_SPACE },
		{ -EROFS, VBLK_ERROR_ACCESS },
		{ -EBADF, VBLK_ERROR_ACCESS },
		{ -EINTR, VBLK_ERROR_OTHER },
		{ -4095, VBLK_ERROR_OTHER },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++)
		assert_int_equal(vblk_metrics_error_of(table[i].error), table[i].reason);
}

static void names_are_words_and_differ(void **state)
{
	const char *names[VBLK_METRICS_ERRORS + VBLK_METRICS_OPS + VBLK_METRICS_PHASES];
	size_t count = 0;

	(void)state;
	for (unsigned i = 0; i < VBLK_METRICS_ERRORS; i++)
		names[count++] = vblk_metrics_error_name((enum vblk_metrics_error)i);
	for (unsigned i = 0; i < VBLK_METRICS_OPS; i++)
		names[count++] = vblk_metrics_op_name((enum vblk_metrics_op)i);
	for (unsigned i = 0; i < VBLK_METRICS_PHASES; i++)
		names[count++] = vblk_metrics_phase_name((enum vblk_metrics_phase)i);
	for (size_t i = 0; i < count; i++) {
		assert_non_null(names[i]);
		assert_int_equal(strspn(names[i], "abcdefghijklmnopqrstuvwxyz_"), strlen(names[i]));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(names[i], names[j]);
	}
	assert_string_equal(vblk_metrics_error_name(VBLK_METRICS_ERRORS), "unknown");
	assert_string_equal(vblk_metrics_op_name(VBLK_METRICS_OPS), "unknown");
	assert_string_equal(vblk_metrics_phase_name(VBLK_METRICS_PHASES), "unknown");
}

static void a_later_structure_gets_zeros_and_a_stranger_is_refused(void **state)
{
	struct later {
		struct vblk_metrics_detail first;
		uint64_t more[4];
	} *later = malloc(sizeof(*later));

	assert_non_null(later);
	memset(later, 0xff, sizeof(*later));
	later->first.size = sizeof(*later);
	vblk_metrics_add_error(*state, VBLK_ERROR_OPEN);
	assert_int_equal(vblk_metrics_read_detail(*state, &later->first), 0);
	assert_int_equal(later->first.size, sizeof(later->first));
	assert_int_equal(later->first.errors[VBLK_ERROR_OPEN], 1);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(later->more); i++)
		assert_int_equal(later->more[i], 0);
	later->first.size = sizeof(later->first) - 1;
	assert_int_equal(vblk_metrics_read_detail(*state, &later->first), -EINVAL);
	later->first.size = 0;
	assert_int_equal(vblk_metrics_read_detail(*state, &later->first), -EINVAL);
	free(later);
}

/* Joins and leaves all the time, as queues do whose device is reset. */
static void *record(void *argument)
{
	for (unsigned i = 0; i < ROUNDS / 100; i++) {
		struct vblk_metrics_shard *shard = vblk_metrics_join(argument);

		for (unsigned n = 0; n < 100; n++)
			vblk_metrics_record(shard, VBLK_OP_WRITE, VBLK_PHASE_SERVED, n);
		vblk_metrics_leave(shard);
	}
	return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
	struct vblk_metrics_detail *detail;
	const struct vblk_metrics_histogram *write;
	pthread_t threads[4];

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, record, *state), 0);
	detail = read_detail(*state); /* beside them */
	free(detail);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	detail = read_detail(*state);
	write = &detail->latency[VBLK_OP_WRITE][VBLK_PHASE_SERVED];
	assert_int_equal(vblk_metrics_values(write), VBLK_ARRAY_SIZE(threads) * ROUNDS);
	assert_int_equal(write->sum, VBLK_ARRAY_SIZE(threads) * (ROUNDS / 100) * 4950ull);
	free(detail);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_value_is_in_the_bucket_that_the_header_says),
		TEST(quantiles_are_those_of_a_sorted_array),
		TEST(quantile_of_nothing_is_0),
		TEST(what_is_beyond_the_buckets_is_in_the_last),
		TEST(each_recorder_moves_its_own_histogram),
		TEST(without_a_shard_nothing_is_recorded),
		TEST(a_shard_has_one_owner_and_is_used_again),
		TEST(errors_are_counted_by_reason_and_by_their_counter),
		TEST(errno_has_a_reason),
		TEST(names_are_words_and_differ),
		TEST(a_later_structure_gets_zeros_and_a_stranger_is_refused),
		TEST(nothing_is_lost_between_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
