/* SPDX-License-Identifier: MIT */
/*
 * What is recorded of a request's time, its size and its failure. The disk moves the clock at each
 * call, so every phase has a length that is known.
 */
#include "bare_drain.h"
#include "disk.h"
#include "late_aio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/le.h"
#include "metrics/metrics.h"

#define DISK_SIZE 8192u
#define SECTOR	  VBLK_SECTOR_SIZE

struct rig {
	struct bare_drain bare;
	uint64_t takes_ns;
	struct vblk_metrics_detail detail;
};

static void take_time(void *context)
{
	struct rig *rig = context;

	rig->bare.guest.now_ns += rig->takes_ns;
}

static struct rig *start(const struct guest_options *options, uint64_t takes_ns)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	rig->takes_ns = takes_ns;
	bare_drain_create(&rig->bare, options, disk_create_hooked(DISK_SIZE, 0xab, take_time, rig));
	return rig;
}

static void stop(struct rig *rig)
{
	bare_drain_destroy(&rig->bare);
	free(rig);
}

static void look(struct rig *rig)
{
	rig->detail.size = sizeof(rig->detail);
	assert_int_equal(
		vblk_metrics_read_detail(rig->bare.drain.config.disk->metrics, &rig->detail), 0);
}

/* `count` values, which sum up to `sum` and the highest of which is `highest`. */
static void expect(const struct vblk_metrics_histogram *got, uint64_t count, uint64_t sum,
		   uint64_t highest)
{
	assert_int_equal(vblk_metrics_values(got), count);
	assert_int_equal(got->sum, sum);
	assert_int_equal(got->highest, highest);
}

/* Three requests of 100 ns each: the third was looked at 200 ns after the drain began to. */
static void phases_follow_one_another(void **state)
{
	struct rig *rig = start(NULL, 100);
	struct guest *guest = &rig->bare.guest;

	(void)state;
	guest_request_at(guest, 0, VIRTIO_BLK_T_OUT, 0, 2 * SECTOR);
	guest_request_at(guest, 1, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_request_at(guest, 2, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	look(rig);
	expect(&rig->detail.latency[VBLK_OP_WRITE][VBLK_PHASE_QUEUED], 1, 0, 0);
	expect(&rig->detail.latency[VBLK_OP_WRITE][VBLK_PHASE_SERVED], 1, 100, 100);
	expect(&rig->detail.latency[VBLK_OP_FLUSH][VBLK_PHASE_QUEUED], 1, 100, 100);
	expect(&rig->detail.latency[VBLK_OP_FLUSH][VBLK_PHASE_SERVED], 1, 100, 100);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_QUEUED], 1, 200, 200);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_SERVED], 1, 100, 100);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_THROTTLED], 0, 0, 0);
	expect(&rig->detail.request_bytes[VBLK_OP_WRITE], 1, 2 * SECTOR, 2 * SECTOR);
	expect(&rig->detail.request_bytes[VBLK_OP_FLUSH], 1, 0, 0);
	expect(&rig->detail.request_bytes[VBLK_OP_READ], 1, SECTOR, SECTOR);
	expect(&rig->detail.depth, 1, 3, 3);
	/* A look that finds nothing leaves no trace. */
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	look(rig);
	expect(&rig->detail.depth, 1, 3, 3);
	stop(rig);
}

/* The size of a change is that of its ranges, not of the list that names them. */
static void ranges_have_the_size_of_what_they_change(void **state)
{
	const struct guest_desc desc[] = { { GUEST_HEADER, 16, 0 },
					   { GUEST_DATA, 32, 0 },
					   { GUEST_STATUS, 1, VRING_DESC_F_WRITE } };
	struct rig *rig = start(NULL, 100);
	struct guest *guest = &rig->bare.guest;

	(void)state;
	rig->bare.drain.config.rules.write_zeroes = true;
	guest_put_header(guest, GUEST_HEADER, VIRTIO_BLK_T_WRITE_ZEROES, 0);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *range = guest_at(guest, GUEST_DATA + 16u * i);

		memset(range, 0, 16);
		vblk_le64_put(range, 4u * i);
		vblk_le32_put(range + 8, 1 + i);
	}
	guest_offer(guest, guest_chain(guest, desc, 3));
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	look(rig);
	expect(&rig->detail.request_bytes[VBLK_OP_WRITE_ZEROES], 1, 3 * SECTOR, 3 * SECTOR);
	expect(&rig->detail.latency[VBLK_OP_WRITE_ZEROES][VBLK_PHASE_SERVED], 1, 200, 200);
	expect(&rig->detail.latency[VBLK_OP_WRITE_ZEROES][VBLK_PHASE_QUEUED], 1, 0, 0);
	stop(rig);
}

static void a_wait_for_tokens_is_one_from_the_first_refusal(void **state)
{
	const struct guest_options options = { .device = { .throttle = { .iops = 1 } } };
	struct rig *rig = start(&options, 100);
	struct guest *guest = &rig->bare.guest;
	uint64_t refused_ns;

	(void)state;
	guest_request_at(guest, 0, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_request_at(guest, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&rig->bare, VBLK_DRAIN_STALLED);
	refused_ns = guest->now_ns;
	guest->now_ns += 1000;
	bare_drain_run(&rig->bare, VBLK_DRAIN_STALLED);
	look(rig);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_QUEUED], 1, 100, 100);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_THROTTLED], 0, 0, 0);
	expect(&rig->detail.depth, 1, 1, 1); /* what went back was not taken */
	guest->now_ns = refused_ns + 2 * VBLK_NSEC_PER_SEC;
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	look(rig);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_QUEUED], 1, 100, 100);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_THROTTLED], 1, 2 * VBLK_NSEC_PER_SEC,
	       2 * VBLK_NSEC_PER_SEC);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_SERVED], 1, 100, 100);
	stop(rig);
}

/* The wait of a request that the driver took back is not that of the next one. */
static void a_wait_that_ends_with_nothing_is_forgotten(void **state)
{
	const struct guest_options options = { .device = { .throttle = { .iops = 1 } } };
	struct rig *rig = start(&options, 0);
	struct guest *guest = &rig->bare.guest;

	(void)state;
	guest_request_at(guest, 0, VIRTIO_BLK_T_FLUSH, 0, 0);
	guest_request_at(guest, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&rig->bare, VBLK_DRAIN_STALLED);
	guest_set_avail_idx(guest, 1);
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	guest->now_ns += 5 * VBLK_NSEC_PER_SEC;
	guest_set_avail_idx(guest, 2);
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	look(rig);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_THROTTLED], 0, 0, 0);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_SERVED], 1, 0, 0);
	stop(rig);
}

/* What a gate refused took no time of the disk; what failed on the disk did. */
static void refused_requests_are_not_served_and_failed_ones_are(void **state)
{
	struct rig *rig = start(NULL, 100);
	struct guest *guest = &rig->bare.guest;

	(void)state;
	rig->bare.drain.config.disk->log.fn = NULL;
	guest_request_at(guest, 0, VIRTIO_BLK_T_IN, 0, 100);
	guest_request_at(guest, 1, VIRTIO_BLK_T_IN, 1000, SECTOR);
	guest_request_at(guest, 2, 77, 0, 0);
	guest_offer(guest, 200); /* no chain to answer */
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	look(rig);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_SERVED], 1, 0, 0);
	expect(&rig->detail.request_bytes[VBLK_OP_READ], 1, SECTOR, SECTOR);
	expect(&rig->detail.latency[VBLK_OP_GET_ID][VBLK_PHASE_SERVED], 0, 0, 0);
	assert_int_equal(rig->detail.errors[VBLK_ERROR_LENGTH], 1);
	assert_int_equal(rig->detail.errors[VBLK_ERROR_BEYOND_END], 1);
	assert_int_equal(rig->detail.errors[VBLK_ERROR_UNSUPPORTED], 1);
	assert_int_equal(rig->detail.errors[VBLK_ERROR_CHAIN], 1);
	assert_int_equal(guest_metrics(guest).io_errors, 3);
	expect(&rig->detail.depth, 1, 4, 4);
	stop(rig);
}

/* It was carried out, and counted as that; but nobody ever had it from us. */
static void requests_that_do_not_reach_the_driver_are_not_served(void **state)
{
	const struct guest_desc desc[] = { { GUEST_HEADER, 16, 0 },
					   { GUEST_DATA, SECTOR, VRING_DESC_F_WRITE },
					   { 0x300000, 1, VRING_DESC_F_WRITE } };
	struct rig *rig = start(NULL, 100);
	struct guest *guest = &rig->bare.guest;

	(void)state;
	guest_put_header(guest, GUEST_HEADER, VIRTIO_BLK_T_IN, 0);
	guest_offer(guest, guest_chain(guest, desc, 3));
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	look(rig);
	assert_int_equal(guest_metrics(guest).reads_completed, 1);
	assert_int_equal(guest_metrics(guest).io_errors, 1);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_QUEUED], 1, 0, 0);
	expect(&rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_SERVED], 0, 0, 0);
	expect(&rig->detail.request_bytes[VBLK_OP_READ], 0, 0, 0);
	stop(rig);
}

static void a_broken_queue_says_why(void **state)
{
	struct rig *rig = start(NULL, 0);

	(void)state;
	rig->bare.drain.config.disk->log.fn = NULL;
	guest_set_avail_idx(&rig->bare.guest, 0x4000);
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	look(rig);
	for (unsigned error = 0; error < VBLK_METRICS_ERRORS; error++)
		assert_int_equal(rig->detail.errors[error], error == VBLK_ERROR_AVAIL_INDEX);
	stop(rig);
}

/*
 * Somebody else makes the calls: each request's time is from when it was handed over to when its
 * own call was seen to have landed, whatever the order; those that landed together share a moment.
 */
static void requests_in_the_air_have_times_of_their_own(void **state)
{
	struct rig *rig = start(NULL, 0);
	struct guest *guest = &rig->bare.guest;
	struct late_aio *late = late_aio_create(guest->backing);
	const struct vblk_metrics_histogram *read, *write;

	(void)state;
	vblk_air_destroy(rig->bare.drain.config.air);
	rig->bare.drain.config.air = late_aio_air(late);
	late->hold = true;
	guest_request_at(guest, 0, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_request_at(guest, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	guest->now_ns += 50;
	guest_request_at(guest, 2, VIRTIO_BLK_T_OUT, 0, SECTOR);
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	look(rig);
	read = &rig->detail.latency[VBLK_OP_READ][VBLK_PHASE_SERVED];
	write = &rig->detail.latency[VBLK_OP_WRITE][VBLK_PHASE_SERVED];
	expect(read, 0, 0, 0);
	expect(&rig->detail.depth, 2, 3, 2);
	guest->now_ns += 100;
	late_aio_land(late, 1);
	late_aio_land(late, 1);
	bare_drain_run(&rig->bare, VBLK_DRAIN_DONE);
	guest->now_ns += 1000;
	late_aio_land(late, 0);
	vblk_drain_land(&rig->bare.drain);
	look(rig);
	expect(write, 1, 100, 100);
	expect(read, 2, 150 + 1150, 1150);
	expect(&rig->detail.latency[VBLK_OP_WRITE][VBLK_PHASE_QUEUED], 1, 0, 0);
	stop(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(phases_follow_one_another),
		cmocka_unit_test(ranges_have_the_size_of_what_they_change),
		cmocka_unit_test(a_wait_for_tokens_is_one_from_the_first_refusal),
		cmocka_unit_test(a_wait_that_ends_with_nothing_is_forgotten),
		cmocka_unit_test(refused_requests_are_not_served_and_failed_ones_are),
		cmocka_unit_test(requests_that_do_not_reach_the_driver_are_not_served),
		cmocka_unit_test(a_broken_queue_says_why),
		cmocka_unit_test(requests_in_the_air_have_times_of_their_own),
	};

	return cmocka_run_group_tests_name("drain_timing", tests, NULL, NULL);
}
