/* SPDX-License-Identifier: MIT */
/* The histogram of latencies: what is exact, how far off the rest is, and blocks that are checked.
 */
#include "driver/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "driver/pattern.h"

static struct vblk_histogram *create(void)
{
	struct vblk_histogram *histogram = calloc(1, sizeof(*histogram));

	assert_non_null(histogram);
	return histogram;
}

static void empty_histogram_gives_zeros(void **state)
{
	struct vblk_histogram *histogram = create();

	(void)state;
	assert_int_equal(vblk_histogram_quantile(histogram, 0.99), 0);
	assert_true(vblk_histogram_mean(histogram) == 0.0);
	free(histogram);
}

static void small_values_are_exact(void **state)
{
	struct vblk_histogram *histogram = create();

	(void)state;
	for (uint64_t value = 1; value <= 100; value++)
		vblk_histogram_add(histogram, value);
	assert_int_equal(vblk_histogram_quantile(histogram, 0.5), 50);
	assert_int_equal(vblk_histogram_quantile(histogram, 0.99), 99);
	assert_int_equal(vblk_histogram_quantile(histogram, 1.0), 100);
	assert_true(vblk_histogram_mean(histogram) == 50.5);
	free(histogram);
}

static void no_value_is_off_by_more_than_a_64th(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		for (int64_t off = -1; off <= 1; off++) {
			struct vblk_histogram *histogram = create();
			uint64_t value = (1ull << bit) + (uint64_t)off, got;

			vblk_histogram_add(histogram, value);
			vblk_histogram_add(histogram, UINT64_MAX);
			got = vblk_histogram_quantile(histogram, 0.5);
			assert_true(got >= value);
			assert_true(got - value <= value / 64);
			free(histogram);
		}
	}
}

static void quantile_never_exceeds_the_highest_value(void **state)
{
	struct vblk_histogram *histogram = create();

	(void)state;
	vblk_histogram_add(histogram, 1000000);
	assert_int_equal(vblk_histogram_quantile(histogram, 0.999), 1000000);
	free(histogram);
}

static void merged_histograms_are_those_of_all_values(void **state)
{
	struct vblk_histogram *a = create(), *b = create(), *all = create();

	(void)state;
	for (uint64_t i = 0; i < 1000; i++) {
		uint64_t value = i * i * 7 + 3;

		vblk_histogram_add(i % 3 ? a : b, value);
		vblk_histogram_add(all, value);
	}
	vblk_histogram_merge(a, b);
	assert_memory_equal(a->bucket, all->bucket, sizeof(a->bucket));
	assert_int_equal(a->count, all->count);
	assert_int_equal(a->lowest, 3);
	assert_int_equal(a->highest, all->highest);
	free(a);
	free(b);
	free(all);
}

static void empty_histogram_changes_no_other(void **state)
{
	struct vblk_histogram *a = create(), *b = create();

	(void)state;
	vblk_histogram_add(a, 77);
	vblk_histogram_merge(a, b);
	assert_int_equal(a->lowest, 77);
	vblk_histogram_merge(b, a);
	assert_int_equal(b->lowest, 77);
	free(a);
	free(b);
}

/* The check value that every description of CRC-32C gives. */
static void crc32c_of_the_nine_digits(void **state)
{
	(void)state;
	assert_int_equal(vblk_crc32c("123456789", 9), 0xe3069283u);
}

static void block_is_known_by_all_that_is_in_it(void **state)
{
	uint8_t block[1024];

	(void)state;
	vblk_pattern_fill(block, sizeof(block), 4096, 7);
	assert_null(vblk_pattern_check(block, sizeof(block), 4096, 7));
	assert_non_null(vblk_pattern_check(block, sizeof(block), 8192, 7));
	assert_non_null(vblk_pattern_check(block, sizeof(block), 4096, 8));
	for (size_t i = 0; i < sizeof(block); i++) {
		block[i] ^= 0x10;
		assert_non_null(vblk_pattern_check(block, sizeof(block), 4096, 7));
		block[i] ^= 0x10;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_histogram_gives_zeros),
		cmocka_unit_test(small_values_are_exact),
		cmocka_unit_test(no_value_is_off_by_more_than_a_64th),
		cmocka_unit_test(quantile_never_exceeds_the_highest_value),
		cmocka_unit_test(merged_histograms_are_those_of_all_values),
		cmocka_unit_test(empty_histogram_changes_no_other),
		cmocka_unit_test(crc32c_of_the_nine_digits),
		cmocka_unit_test(block_is_known_by_all_that_is_in_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
