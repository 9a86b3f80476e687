/* SPDX-License-Identifier: MIT */
/* Labels of flights: what a reader sees of them, alone and while they are set and cleared. */
#include "request/label.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

#define FLIGHTS 200u /* different ones that the reader meets */

static void test_a_label_says_what_was_set(void **state)
{
	struct vblk_request_state request = { .waits = true };
	struct vblk_label label;

	(void)state;
	vblk_label_init(&label);
	assert_false(vblk_label_read(&label, 100, &request));
	vblk_label_clear(&label); /* again changes nothing */
	assert_false(vblk_label_read(&label, 100, &request));
	vblk_label_set(&label, 7, 4, 5, 6, 40);
	assert_true(vblk_label_read(&label, 100, &request));
	assert_int_equal(request.head, 7);
	assert_int_equal(request.type, 4);
	assert_int_equal(request.sector, 5);
	assert_int_equal(request.bytes, 6);
	assert_int_equal(request.age_ns, 60);
	assert_false(request.waits);
	/* A moment that the reader has seen before the writer did is no age of 584 years. */
	assert_true(vblk_label_read(&label, 39, &request));
	assert_int_equal(request.age_ns, 0);
	vblk_label_clear(&label);
	assert_false(vblk_label_read(&label, 100, &request));
	vblk_label_set(&label, 8, 0, 0, 0, 0);
	assert_true(vblk_label_read(&label, 0, &request));
	assert_int_equal(request.head, 8);
	vblk_label_clear(&label);
}

struct traffic {
	struct vblk_label label;
	atomic_bool enough;
};

static void *fly(void *context)
{
	struct traffic *traffic = context;

	for (uint32_t i = 1; !atomic_load_explicit(&traffic->enough, memory_order_relaxed); i++) {
		vblk_label_set(&traffic->label, (uint16_t)i, i, i, i, 0);
		vblk_label_clear(&traffic->label);
	}
	return NULL;
}

/* What is read is of one flight, however many there are meanwhile. */
static void test_labels_are_whole(void **state)
{
	struct vblk_request_state request;
	unsigned flights = 0, whole = 0;
	struct traffic traffic;
	uint32_t last = 0;
	pthread_t thread;

	(void)state;
	vblk_label_init(&traffic.label);
	atomic_init(&traffic.enough, false);
	assert_int_equal(pthread_create(&thread, NULL, fly, &traffic), 0);
	while (flights < FLIGHTS) {
		if (!vblk_label_read(&traffic.label, 0, &request) || request.type == last)
			continue;
		last = request.type;
		flights++;
		whole += request.head == (uint16_t)last && request.sector == last &&
			 request.bytes == last;
	}
	atomic_store_explicit(&traffic.enough, true, memory_order_relaxed);
	pthread_join(thread, NULL);
	assert_int_equal(whole, FLIGHTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_label_says_what_was_set),
		cmocka_unit_test(test_labels_are_whole),
	};

	return cmocka_run_group_tests_name("label", tests, NULL, NULL);
}
