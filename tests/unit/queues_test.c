/* SPDX-License-Identifier: MIT */
/*
 * Several queues on the register window: what is offered, what the registers of each do, and how
 * the calling thread serves them (inline engine).
 */
#include "disk.h"
#include "expect.h"
#include "queues.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/le.h"
#include "device/device.h"

#define SECTOR	  VBLK_SECTOR_SIZE
#define DISK_SIZE (64u * SECTOR)
#define SECOND	  1000000000ull
#define QUEUES	  4u
#define BIT(n)	  ((uint64_t)1 << (n))

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static void create(struct queues *q)
{
	queues_create(q, QUEUES, &inline_options, disk_create(DISK_SIZE, 0xab));
}

static uint64_t offered(struct guest *g)
{
	uint64_t low, high;

	guest_write32(g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	low = guest_read32(g, VIRTIO_MMIO_DEVICE_FEATURES);
	guest_write32(g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	high = guest_read32(g, VIRTIO_MMIO_DEVICE_FEATURES);
	return high << 32 | low;
}

static uint16_t num_queues(struct guest *g)
{
	uint8_t raw[2];

	vblk_mmio_read(g->device,
		       VIRTIO_MMIO_CONFIG + offsetof(struct virtio_blk_config, num_queues), raw,
		       sizeof(raw));
	return vblk_le16_get(raw);
}

static uint32_t size_max_of(struct guest *g, uint32_t index)
{
	guest_write32(g, VIRTIO_MMIO_QUEUE_SEL, index);
	return guest_read32(g, VIRTIO_MMIO_QUEUE_NUM_MAX);
}

/* Rules: D-FEATURES */
static void test_MQ_1_several_queues_are_offered_and_counted(void **state)
{
	static const uint16_t counts[] = { 0, 1, 2, 16 };

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct guest_options options = inline_options;
		struct guest g;

		options.all_features = true;
		options.device.queues = counts[i];
		guest_create(&g, &options, disk_create(DISK_SIZE, 0));
		assert_int_equal(offered(&g) >> VIRTIO_BLK_F_MQ & 1, counts[i] > 1);
		assert_int_equal(num_queues(&g), counts[i] ? counts[i] : 1);
		guest_destroy(&g);
	}
}

/* Rules: D-CREATE */
static void test_MQ_1_too_many_and_the_base_are_refused(void **state)
{
	static const struct vblk_device_options wrong[] = {
		{ .queues = 17 },
		{ .queues = UINT16_MAX },
		{ .queues = 2, .features = VBLK_FEATURES_BASE },
	};
	struct vblk_backing *disk = disk_create(DISK_SIZE, 0);
	struct vblk_device *device = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(vblk_device_create(&wrong[i], disk, &device), -EINVAL);
		assert_null(device);
	}
	vblk_backing_unref(disk);
}

static void test_MQ_2_all_queues_are_found_until_a_driver_does_without(void **state)
{
	struct queues q;
	struct guest *g = &q.guest;

	(void)state;
	create(&q);
	assert_int_equal(size_max_of(g, QUEUES - 1), 256);
	assert_int_equal(size_max_of(g, QUEUES), 0);
	guest_negotiate(g);
	assert_int_equal(size_max_of(g, 0), 256);
	assert_int_equal(size_max_of(g, 1), 0);
	guest_write32(g, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(guest_read32(g, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_false(g->device->queue[1].layout.ready);
	/* The next driver may know more. */
	guest_reset(g);
	queues_negotiate(&q);
	assert_int_equal(size_max_of(g, QUEUES - 1), 256);
	queues_destroy(&q);
}

static void test_MQ_2_a_driver_without_mq_is_served_on_queue_0_only(void **state)
{
	struct queues q;

	(void)state;
	create(&q);
	guest_start(&q.guest);
	queues_kick(&q, 1);
	assert_int_equal(guest_metrics(&q.guest).notifications, 0);
	queues_read(&q, 0, 0, 1);
	queues_kick(&q, 0);
	assert_int_equal(queues_used(&q, 0), 1);
	queues_destroy(&q);
}

static void test_MQ_3_each_queue_has_its_registers(void **state)
{
	struct queues q;
	struct guest *g = &q.guest;

	(void)state;
	create(&q);
	queues_negotiate(&q);
	for (uint32_t i = 0; i < QUEUES; i++) {
		guest_write32(g, VIRTIO_MMIO_QUEUE_SEL, i);
		guest_write32(g, VIRTIO_MMIO_QUEUE_NUM, 8u << i);
		guest_write32(g, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000 * (i + 1));
		guest_write32(g, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, i + 1);
		guest_write32(g, VIRTIO_MMIO_QUEUE_USED_LOW, 0x100 * (i + 1));
		guest_write32(g, VIRTIO_MMIO_QUEUE_READY, i != 2);
	}
	for (uint32_t i = 0; i < QUEUES; i++) {
		const struct vblk_queue_layout *layout = &g->device->queue[i].layout;

		assert_int_equal(layout->size, 8u << i);
		assert_int_equal(layout->desc, 0x1000 * (i + 1));
		assert_int_equal(layout->avail, (uint64_t)(i + 1) << 32);
		assert_int_equal(layout->used, 0x100 * (i + 1));
		guest_write32(g, VIRTIO_MMIO_QUEUE_SEL, i);
		assert_int_equal(guest_read32(g, VIRTIO_MMIO_QUEUE_READY), i != 2);
	}
	/* Beyond there is nothing to read or to write. */
	guest_write32(g, VIRTIO_MMIO_QUEUE_SEL, QUEUES);
	guest_write32(g, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(guest_read32(g, VIRTIO_MMIO_QUEUE_READY), 0);
	guest_reset(g);
	for (uint32_t i = 0; i < QUEUES; i++) {
		const struct vblk_queue_layout *layout = &g->device->queue[i].layout;

		assert_int_equal(layout->size, 256);
		assert_int_equal(layout->desc | layout->avail | layout->used | layout->ready, 0);
		guest_write32(g, VIRTIO_MMIO_QUEUE_SEL, i);
		assert_int_equal(guest_read32(g, VIRTIO_MMIO_QUEUE_READY), 0);
	}
	queues_destroy(&q);
}

/* Rules: M-7 */
static void test_MQ_3_a_notification_is_for_one_queue(void **state)
{
	struct queues q;

	(void)state;
	create(&q);
	queues_start(&q);
	for (unsigned i = 0; i < QUEUES; i++)
		queues_read(&q, i, 10 * i, i + 1);
	queues_kick(&q, 2);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(queues_used(&q, i), i == 2 ? 3 : 0);
	queues_kick(&q, QUEUES);
	queues_kick(&q, UINT32_MAX);
	queues_kick(&q, 0x10002);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(queues_used(&q, i), i == 2 ? 3 : 0);
	assert_int_equal(guest_metrics(&q.guest).notifications, 1);
	queues_kick(&q, 0);
	assert_int_equal(queues_used(&q, 0), 1);
	queues_destroy(&q);
}

/* Rules: D-HOLE-6 */
static void test_MQ_3_a_kick_before_driver_ok_is_its_queues(void **state)
{
	struct queues q;

	(void)state;
	create(&q);
	queues_read(&q, 0, 0, 1);
	queues_read(&q, 3, 1, 1);
	queues_kick(&q, 3);
	queues_start(&q);
	assert_int_equal(queues_used(&q, 0), 0);
	assert_int_equal(queues_used(&q, 3), 1);
	queues_destroy(&q);
}

/* Rules: R-2 */
static void test_MQ_3_a_reset_forgets_the_kicks_of_all(void **state)
{
	struct queues q;

	(void)state;
	create(&q);
	for (unsigned i = 0; i < QUEUES; i++)
		queues_kick(&q, i);
	queues_reset(&q);
	for (unsigned i = 0; i < QUEUES; i++)
		queues_read(&q, i, i, 1);
	queues_start(&q);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(queues_used(&q, i), 0);
	queues_destroy(&q);
}

static void test_MQ_4_only_queues_that_are_ready_are_served(void **state)
{
	struct queues q;

	(void)state;
	create(&q);
	queues_negotiate(&q);
	queues_set_up(&q, 0);
	queues_set_up(&q, 2);
	guest_set_status(&q.guest, 0xf);
	for (unsigned i = 0; i < QUEUES; i++) {
		queues_read(&q, i, i, 1);
		queues_kick(&q, i);
		assert_int_equal(queues_used(&q, i), i % 2 == 0);
	}
	queues_destroy(&q);
}

static void test_MQ_7_counters_and_the_interrupt_are_the_devices(void **state)
{
	struct queues q;

	(void)state;
	create(&q);
	queues_start(&q);
	for (unsigned i = 0; i < QUEUES; i++) {
		queues_read(&q, i, i, 1);
		queues_kick(&q, i);
		expect_interrupts(&q.guest, 1, VIRTIO_MMIO_INT_VRING);
	}
	expect_counters(&q.guest, .reads_completed = QUEUES, .bytes_read = QUEUES * SECTOR);
	queues_destroy(&q);
}

/* Rules: D-12 */
static void test_MQ_7_a_poisoned_queue_leaves_the_others_served(void **state)
{
	struct queues q;

	(void)state;
	create(&q);
	queues_start(&q);
	queues_aim(&q, 1);
	guest_set_avail_idx(&q.guest, 0x4000);
	queues_kick(&q, 1);
	assert_int_equal(guest_status(&q.guest), 0x4f);
	queues_read(&q, 2, 0, 1);
	queues_kick(&q, 2);
	assert_int_equal(queues_used(&q, 2), 1);
	queues_reset(&q);
	queues_start(&q);
	queues_read(&q, 1, 0, 1);
	queues_kick(&q, 1);
	assert_int_equal(queues_used(&q, 1), 1);
	queues_destroy(&q);
}

/* Rules: D-GROUP */
static void test_MQ_7_limits_are_shared_in_turn(void **state)
{
	struct guest_options options = inline_options;
	struct queues q;
	uint16_t before[QUEUES];
	uint64_t deadline;

	(void)state;
	options.device.throttle = (struct vblk_throttle){ .iops = 4 };
	queues_create(&q, QUEUES, &options, disk_create(DISK_SIZE, 0xab));
	queues_start(&q);
	for (unsigned i = 0; i < QUEUES; i++) {
		queues_read(&q, i, 20 * i, 20);
		queues_kick(&q, i);
	}
	/* The first to come had all of the burst; from there on they take turns. */
	assert_int_equal(queues_used(&q, 0), 4);
	assert_int_equal(guest_metrics(&q.guest).throttled_now, QUEUES);
	for (unsigned second = 0; second < 5; second++) {
		uint64_t end = q.guest.now_ns + SECOND;

		for (unsigned i = 0; i < QUEUES; i++)
			before[i] = queues_used(&q, i);
		while (vblk_device_next_deadline(q.guest.device, &deadline) && deadline <= end) {
			q.guest.now_ns = deadline;
			vblk_device_run(q.guest.device);
		}
		q.guest.now_ns = end;
		for (unsigned i = 0; i < QUEUES; i++)
			assert_int_equal(queues_used(&q, i) - before[i], 1);
	}
	queues_destroy(&q);
}

/* Rules: T-17 */
static void test_MQ_7_limits_taken_away_let_all_queues_pass(void **state)
{
	static const struct vblk_throttle none;
	struct guest_options options = inline_options;
	struct queues q;

	(void)state;
	options.device.throttle = (struct vblk_throttle){ .iops = 1 };
	queues_create(&q, QUEUES, &options, disk_create(DISK_SIZE, 0xab));
	queues_start(&q);
	for (unsigned i = 0; i < QUEUES; i++) {
		queues_read(&q, i, 5 * i, 5);
		queues_kick(&q, i);
	}
	assert_int_equal(vblk_device_set_throttle(q.guest.device, &none), 0);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(queues_used(&q, i), 5);
	queues_destroy(&q);
}

static void test_MQ_9_the_earliest_deadline_counts(void **state)
{
	static const unsigned first[] = { 2, 1 };
	struct guest_options options = inline_options;

	(void)state;
	options.device.throttle = (struct vblk_throttle){ .iops = 4 };
	for (size_t i = 0; i < 2; i++) {
		struct queues q;
		uint64_t deadline = 0;

		queues_create(&q, QUEUES, &options, disk_create(DISK_SIZE, 0xab));
		queues_start(&q);
		assert_false(vblk_device_next_deadline(q.guest.device, &deadline));
		queues_read(&q, first[i], 0, 6);
		queues_kick(&q, first[i]);
		queues_read(&q, first[!i], 10, 1);
		queues_kick(&q, first[!i]);
		/* One waits for the next token, the other for its turn, a second at most. */
		assert_true(vblk_device_next_deadline(q.guest.device, &deadline));
		assert_int_equal(deadline, q.guest.now_ns + SECOND / 4);
		queues_destroy(&q);
	}
}

static void test_MQ_9_a_run_passes_over_all_queues(void **state)
{
	struct queues q;

	(void)state;
	create(&q);
	queues_start(&q);
	for (unsigned i = 0; i < QUEUES; i++)
		queues_read(&q, i, 10 * i, 3);
	vblk_device_run(q.guest.device);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(queues_used(&q, i), 3);
	queues_destroy(&q);
}

/* A device whose interrupt calls back into it, once. */
struct scene {
	struct queues q;
	void (*act)(struct scene *scene);
	unsigned calls;
	uint16_t seen; /* what another queue had published when the act was over */
};

static void call(void *context)
{
	struct scene *scene = context;

	if (scene->calls++ == 0)
		scene->act(scene);
}

static void create_scene(struct scene *scene, void (*act)(struct scene *scene))
{
	const struct guest_options options = {
		.device = { .engine = VBLK_ENGINE_INLINE,
			    .interrupt = call,
			    .interrupt_context = scene },
	};

	memset(scene, 0, sizeof(*scene));
	scene->act = act;
	queues_create(&scene->q, QUEUES, &options, disk_create(DISK_SIZE, 0xab));
}

static void kick_another(struct scene *scene)
{
	queues_read(&scene->q, 1, 20, 2);
	queues_kick(&scene->q, 1);
	vblk_device_run(scene->q.guest.device);
	scene->seen = queues_used(&scene->q, 1);
}

static void test_MQ_9_no_queue_is_served_on_top_of_another(void **state)
{
	struct scene scene;
	uint64_t deadline;

	(void)state;
	create_scene(&scene, kick_another);
	queues_start(&scene.q);
	queues_read(&scene.q, 0, 0, 1);
	queues_kick(&scene.q, 0);
	assert_int_equal(scene.seen, 0);
	assert_int_equal(queues_used(&scene.q, 1), 0);
	assert_true(vblk_device_next_deadline(scene.q.guest.device, &deadline));
	assert_int_equal(deadline, scene.q.guest.now_ns);
	vblk_device_run(scene.q.guest.device);
	assert_int_equal(queues_used(&scene.q, 1), 2);
	assert_false(vblk_device_next_deadline(scene.q.guest.device, &deadline));
	queues_destroy(&scene.q);
}

/* And all that a driver does before DRIVER_OK. */
static void reset_inside(struct scene *scene)
{
	queues_reset(&scene->q);
	queues_negotiate(&scene->q);
	for (unsigned i = 0; i < QUEUES; i++)
		queues_set_up(&scene->q, i);
}

/* Rules: MQ-4. The queues that come behind it in the same start are not started any more. */
static void test_MQ_9_a_reset_within_the_start_ends_it(void **state)
{
	struct scene scene;

	(void)state;
	create_scene(&scene, reset_inside);
	queues_read(&scene.q, 0, 0, 1);
	queues_kick(&scene.q, 0);
	queues_start(&scene.q);
	assert_int_equal(scene.calls, 1);
	assert_int_equal(guest_status(&scene.q.guest), 0xb);
	assert_true(vblk_device_is_paused(scene.q.guest.device));
	queues_read(&scene.q, 1, 10, 1);
	queues_kick(&scene.q, 1);
	vblk_device_run(scene.q.guest.device);
	assert_int_equal(queues_used(&scene.q, 1), 0);
	guest_set_status(&scene.q.guest, 0xf);
	assert_int_equal(queues_used(&scene.q, 1), 1);
	queues_destroy(&scene.q);
}

static void pause_inside(struct scene *scene)
{
	(void)vblk_device_pause(scene->q.guest.device);
}

/* Rules: D-INLINE-PAUSE */
static void test_MQ_9_a_pause_within_the_resume_stays(void **state)
{
	struct scene scene;

	(void)state;
	create_scene(&scene, pause_inside);
	queues_start(&scene.q);
	assert_true(vblk_device_pause(scene.q.guest.device));
	for (unsigned i = 0; i < QUEUES; i++) {
		queues_read(&scene.q, i, i, 1);
		queues_kick(&scene.q, i);
		assert_int_equal(queues_used(&scene.q, i), 0);
	}
	assert_false(vblk_device_resume(scene.q.guest.device));
	assert_int_equal(scene.calls, 1);
	assert_true(vblk_device_is_paused(scene.q.guest.device));
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(queues_used(&scene.q, i), i == 0);
	assert_false(vblk_device_resume(scene.q.guest.device));
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(queues_used(&scene.q, i), 1);
	queues_destroy(&scene.q);
}

/* Rules: L-4 */
static void test_MQ_3_each_queue_has_a_kick_of_its_own(void **state)
{
	struct queues q;
	int fds[QUEUES];

	(void)state;
	queues_create(&q, QUEUES, NULL, disk_create(DISK_SIZE, 0));
	for (uint32_t i = 0; i < QUEUES; i++) {
		fds[i] = vblk_device_kick_fd(q.guest.device, i);
		assert_true(fds[i] >= 0);
		for (uint32_t j = 0; j < i; j++)
			assert_int_not_equal(fds[j], fds[i]);
	}
	assert_int_equal(vblk_device_kick_fd(q.guest.device, QUEUES), -EINVAL);
	queues_start(&q);
	queues_reset(&q);
	for (uint32_t i = 0; i < QUEUES; i++)
		assert_int_equal(vblk_device_kick_fd(q.guest.device, i), fds[i]);
	queues_destroy(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_MQ_1_several_queues_are_offered_and_counted),
		cmocka_unit_test(test_MQ_1_too_many_and_the_base_are_refused),
		cmocka_unit_test(test_MQ_2_all_queues_are_found_until_a_driver_does_without),
		cmocka_unit_test(test_MQ_2_a_driver_without_mq_is_served_on_queue_0_only),
		cmocka_unit_test(test_MQ_3_each_queue_has_its_registers),
		cmocka_unit_test(test_MQ_3_a_notification_is_for_one_queue),
		cmocka_unit_test(test_MQ_3_a_kick_before_driver_ok_is_its_queues),
		cmocka_unit_test(test_MQ_3_a_reset_forgets_the_kicks_of_all),
		cmocka_unit_test(test_MQ_3_each_queue_has_a_kick_of_its_own),
		cmocka_unit_test(test_MQ_4_only_queues_that_are_ready_are_served),
		cmocka_unit_test(test_MQ_7_counters_and_the_interrupt_are_the_devices),
		cmocka_unit_test(test_MQ_7_a_poisoned_queue_leaves_the_others_served),
		cmocka_unit_test(test_MQ_7_limits_are_shared_in_turn),
		cmocka_unit_test(test_MQ_7_limits_taken_away_let_all_queues_pass),
		cmocka_unit_test(test_MQ_9_the_earliest_deadline_counts),
		cmocka_unit_test(test_MQ_9_a_run_passes_over_all_queues),
		cmocka_unit_test(test_MQ_9_no_queue_is_served_on_top_of_another),
		cmocka_unit_test(test_MQ_9_a_reset_within_the_start_ends_it),
		cmocka_unit_test(test_MQ_9_a_pause_within_the_resume_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
