/* SPDX-License-Identifier: MIT */
/*
 * The worked examples of docs/throttling.md: rows of five numbers, of which the last is the wait
 * that a bucket has to agree with, to the nanosecond.
 */
#include "throttle/bucket.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

struct example {
	uint64_t rate;
	uint64_t capacity;
	uint64_t taken;
	uint64_t cost;
	uint64_t wait_ns;
};

#define ROW "| %" SCNu64 " | %" SCNu64 " | %" SCNu64 " | %" SCNu64 " | %" SCNu64 " |"

static void check(const struct example *example)
{
	const uint64_t now_ns = 12345;
	struct vblk_bucket bucket;

	vblk_bucket_init(&bucket, example->capacity, example->rate, now_ns);
	assert_true(vblk_bucket_consume(&bucket, example->taken, now_ns));
	assert_int_equal(vblk_bucket_wait_ns(&bucket, example->cost, now_ns), example->wait_ns);
	if (example->wait_ns > 0)
		assert_false(vblk_bucket_can_consume(&bucket, example->cost,
						     now_ns + example->wait_ns - 1));
	assert_true(vblk_bucket_can_consume(&bucket, example->cost, now_ns + example->wait_ns));
}

static void test_rows_of_the_page_hold(void **state)
{
	FILE *page = fopen(THROTTLING_PAGE, "r");
	struct example example;
	unsigned int rows = 0;
	char line[512];

	(void)state;
	assert_non_null(page);
	while (fgets(line, sizeof(line), page)) {
		if (sscanf(line, ROW, &example.rate, &example.capacity, &example.taken,
			   &example.cost, &example.wait_ns) != 5)
			continue;
		check(&example);
		rows++;
	}
	fclose(page);
	assert_in_range(rows, 10, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_of_the_page_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
