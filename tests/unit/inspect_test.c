/* SPDX-License-Identifier: MIT */
/* Looking into a device: what is told of it, when, and to callers of other versions. */
#include "disk.h"
#include "mock_guest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

#define LONG_MS 10000

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static struct vblk_device_state look(struct guest *g)
{
	struct vblk_device_state state = { .size = sizeof(state) };

	assert_int_equal(vblk_device_inspect(g->device, &state), 0);
	return state;
}

static struct vblk_queue_state look_at_queue(struct guest *g, struct vblk_request_state *requests,
					     size_t room)
{
	struct vblk_queue_state state = { .size = sizeof(state),
					  .requests = requests,
					  .request_room = room };

	assert_int_equal(vblk_device_inspect_queue(g->device, 0, &state), 0);
	return state;
}

/* Rules: D-INSPECT */
static void test_a_device_that_nobody_uses(void **state)
{
	struct vblk_device_state device;
	struct vblk_queue_state queue;
	struct guest g;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	device = look(&g);
	assert_int_equal(device.instance, vblk_device_instance(g.device));
	assert_int_equal(device.status, 0);
	assert_int_equal(device.features_accepted, 0);
	assert_true(device.features_offered >> VIRTIO_F_VERSION_1 & 1);
	assert_int_equal(device.capacity_bytes, 4096);
	assert_int_equal(device.queues, 1);
	assert_true(device.paused);
	assert_false(device.dead);
	assert_false(device.read_only);
	queue = look_at_queue(&g, NULL, 0);
	assert_int_equal(queue.entries, 256);
	assert_false(queue.ready);
	assert_false(queue.at_rest);
	assert_int_equal(queue.request_count, 0);
	guest_destroy(&g);
}

/* A request that waits for tokens, with its age; and the levels of what it waits for. */
/* Rules: D-INSPECT T-11 */
static void test_what_waits_is_told_with_its_age(void **state)
{
	struct guest_options options = inline_options;
	struct vblk_request_state requests[2];
	struct vblk_device_state device;
	struct vblk_queue_state queue;
	struct guest g;

	(void)state;
	options.device.throttle = (struct vblk_throttle){ .bps = 512, .bps_burst = 1024 };
	guest_create_filled(&g, &options, 65536, 0xab);
	guest_start(&g);
	for (unsigned i = 0; i < 3; i++)
		guest_request_at(&g, i, i == 1 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, 7 + i,
				 i == 1 ? 1024 : 512);
	guest_kick(&g);
	assert_int_equal(guest_used_idx(&g), 1);
	g.now_ns += VBLK_NSEC_PER_SEC / 4;

	queue = look_at_queue(&g, requests, 2);
	assert_true(queue.at_rest);
	assert_true(queue.ready);
	assert_true(queue.ring_readable);
	assert_false(queue.poisoned);
	assert_int_equal(queue.avail, 0x1000);
	assert_int_equal(queue.used, 0x2000);
	assert_int_equal(queue.next_avail, 1);
	assert_int_equal(queue.next_used, 1);
	assert_int_equal(queue.avail_idx, 3);
	assert_int_equal(queue.used_idx, 1);
	assert_int_equal(queue.request_count, 1);
	assert_true(requests[0].waits);
	assert_int_equal(requests[0].head, 3);
	assert_int_equal(requests[0].type, VIRTIO_BLK_T_OUT);
	assert_int_equal(requests[0].sector, 8);
	assert_int_equal(requests[0].bytes, 1024);
	assert_int_equal(requests[0].age_ns, VBLK_NSEC_PER_SEC / 4);

	device = look(&g);
	assert_int_equal(device.status, 0xf);
	assert_int_equal(device.throttle.bps, 512);
	assert_int_equal(device.throttle_bytes, 512 + 128);
	assert_int_equal(device.throttle_operations, 0);
	assert_int_equal(device.throttle_waiting, 1);

	/* No room is no crime: the number is told all the same. */
	assert_int_equal(look_at_queue(&g, requests, 0).request_count, 1);

	/* A second look at the time does not make it younger, and it is gone when it has passed. */
	g.now_ns += VBLK_NSEC_PER_SEC / 4;
	vblk_device_run(g.device);
	look_at_queue(&g, requests, 2);
	assert_int_equal(requests[0].age_ns, VBLK_NSEC_PER_SEC / 2);
	for (unsigned i = 2; i <= 3; i++) {
		g.now_ns += 2 * VBLK_NSEC_PER_SEC;
		vblk_device_run(g.device);
		assert_int_equal(guest_used_idx(&g), i);
	}
	assert_int_equal(look_at_queue(&g, requests, 2).request_count, 0);
	guest_destroy(&g);
}

/* A worker that runs is not looked at; one at rest is, and shows what it did before. */
/* Rules: D-INSPECT */
static void test_a_worker_is_looked_at_while_it_rests(void **state)
{
	struct guest g;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	assert_true(guest_wait_used(&g, 1));
	assert_false(look_at_queue(&g, NULL, 0).at_rest);
	assert_false(look(&g).paused);
	assert_true(vblk_device_pause(g.device));
	assert_int_equal(vblk_device_wait_paused(g.device, LONG_MS), 0);
	assert_true(look(&g).paused);
	assert_true(look_at_queue(&g, NULL, 0).at_rest);
	assert_int_equal(look_at_queue(&g, NULL, 0).next_used, 1);
	vblk_device_resume(g.device);
	guest_destroy(&g);
}

/*
 * Of a worker whose file hangs, the request that it waits for is told, and how long already; its
 * indices are not. The pause that comes in vain is what a freeze does before it leaves it out.
 */
/* Rules: D-INSPECT */
static void test_what_hangs_is_told_with_its_age(void **state)
{
	static const struct vblk_faulty_rule rule = FAULT(PWRITEV, HANG);
	struct vblk_request_state requests[4];
	struct vblk_queue_state queue;
	struct guest g;

	(void)state;
	guest_create(&g, NULL, disk_create_faulty(65536, 0xab, &rule, 1));
	guest_start(&g);
	guest_request_at(&g, 0, VIRTIO_BLK_T_IN, 3, 512);
	guest_kick(&g);
	assert_true(guest_wait_used(&g, 1));
	guest_request_at(&g, 1, VIRTIO_BLK_T_OUT, 7, 1024);
	guest_kick(&g);
	vblk_faulty_wait_hanging(g.backing, 1);
	g.now_ns += VBLK_NSEC_PER_SEC / 4;
	assert_true(vblk_device_pause(g.device));

	queue = look_at_queue(&g, requests, 4);
	assert_false(queue.at_rest);
	assert_int_equal(queue.request_count, 1);
	assert_false(requests[0].waits);
	assert_int_equal(requests[0].head, 3);
	assert_int_equal(requests[0].type, VIRTIO_BLK_T_OUT);
	assert_int_equal(requests[0].sector, 7);
	assert_int_equal(requests[0].bytes, 1024);
	assert_int_equal(requests[0].age_ns, VBLK_NSEC_PER_SEC / 4);
	assert_int_equal(look_at_queue(&g, requests, 0).request_count, 1);

	vblk_faulty_release(g.backing);
	assert_int_equal(vblk_device_wait_paused(g.device, LONG_MS), 0);
	assert_true(look_at_queue(&g, requests, 4).at_rest);
	assert_int_equal(look_at_queue(&g, requests, 4).request_count, 0);
	vblk_device_resume(g.device);
	guest_destroy(&g);
}

/* Rules: D-INSPECT D-12 */
static void test_a_broken_queue_is_told(void **state)
{
	struct vblk_queue_state queue;
	struct guest g;

	(void)state;
	guest_create_filled(&g, &inline_options, 4096, 0xab);
	guest_start(&g);
	guest_set_avail_idx(&g, 1000);
	guest_kick(&g);
	queue = look_at_queue(&g, NULL, 0);
	assert_true(queue.poisoned);
	assert_int_equal(queue.avail_idx, 1000);
	assert_true(look(&g).status & VIRTIO_CONFIG_S_NEEDS_RESET);
	guest_destroy(&g);
}

/* Each queue is told for itself; those that the driver has not set up are not served. */
/* Rules: D-INSPECT */
static void test_queues_that_nobody_serves(void **state)
{
	struct guest_options options = inline_options;
	struct vblk_queue_state queue = { .size = sizeof(queue) };
	struct guest g;

	(void)state;
	options.device.queues = 3;
	options.device.features = VBLK_FEATURES_ALL;
	options.all_features = true;
	guest_create_filled(&g, &options, 4096, 0xab);
	guest_start(&g);
	assert_int_equal(look(&g).queues, 3);
	assert_true(look_at_queue(&g, NULL, 0).at_rest);
	assert_int_equal(vblk_device_inspect_queue(g.device, 2, &queue), 0);
	assert_false(queue.ready);
	assert_false(queue.at_rest);
	assert_int_equal(vblk_device_inspect_queue(g.device, 3, &queue), -EINVAL);
	guest_destroy(&g);
}

/* Rings outside guest memory are no reason to fail. */
/* Rules: D-INSPECT */
static void test_rings_that_cannot_be_read(void **state)
{
	struct guest_options options = inline_options;
	struct vblk_queue_state queue;
	struct guest g;

	(void)state;
	options.used = 0x40000000;
	guest_create_filled(&g, &options, 4096, 0xab);
	guest_start(&g);
	queue = look_at_queue(&g, NULL, 0);
	assert_true(queue.at_rest);
	assert_false(queue.ring_readable);
	assert_int_equal(queue.used, 0x40000000);
	guest_destroy(&g);
}

/* An older caller's structure is not written past its end, a size that never was is refused. */
/* Rules: D-INSPECT */
static void test_sizes_of_other_versions(void **state)
{
	struct {
		struct vblk_device_state state;
		uint64_t behind[4];
	} newer;
	struct vblk_queue_state queue = { .size = 8 };
	struct guest g;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	memset(&newer, 0xee, sizeof(newer));
	newer.state.size = sizeof(newer);
	assert_int_equal(vblk_device_inspect(g.device, &newer.state), 0);
	assert_int_equal(newer.state.size, sizeof(newer));
	assert_int_equal(newer.state.capacity_bytes, 4096);
	assert_memory_equal(newer.behind, "\xee\xee\xee\xee\xee\xee\xee\xee", 8);
	newer.state.size = 8;
	assert_int_equal(vblk_device_inspect(g.device, &newer.state), -EINVAL);
	assert_int_equal(vblk_device_inspect_queue(g.device, 0, &queue), -EINVAL);
	queue.size = sizeof(queue);
	assert_int_equal(vblk_device_inspect_queue(g.device, 1, &queue), -EINVAL);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_device_that_nobody_uses),
		cmocka_unit_test(test_what_waits_is_told_with_its_age),
		cmocka_unit_test(test_a_worker_is_looked_at_while_it_rests),
		cmocka_unit_test(test_what_hangs_is_told_with_its_age),
		cmocka_unit_test(test_a_broken_queue_is_told),
		cmocka_unit_test(test_queues_that_nobody_serves),
		cmocka_unit_test(test_rings_that_cannot_be_read),
		cmocka_unit_test(test_sizes_of_other_versions),
	};

	return cmocka_run_group_tests_name("inspect", tests, NULL, NULL);
}
