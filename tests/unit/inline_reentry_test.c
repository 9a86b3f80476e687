/* SPDX-License-Identifier: MIT */
/*
 * Calls into a device with the inline engine from inside its own drain: by whoever takes the
 * interrupt, and by the disk. They return at once and what they ask for comes behind the drain;
 * what they end is ended on the spot. That nothing freed is touched, the address sanitizer sees.
 */
#include "disk.h"
#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "base/eventfd.h"
#include "device/device.h"

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE

/* A guest, and what happens at the first call from inside. */
struct scene {
	struct guest g;
	void (*act)(struct scene *scene);
	unsigned calls;
	int parked_fd;
	struct vblk_throttle limits;
};

static void call(void *context)
{
	struct scene *scene = context;

	if (scene->calls++ == 0 && scene->act)
		scene->act(scene);
}

/* Acts in the interrupt: the lease is held, the batch is published. */
static void start_in_interrupt(struct scene *scene, void (*act)(struct scene *scene))
{
	const struct guest_options options = {
		.device = { .engine = VBLK_ENGINE_INLINE,
			    .interrupt = call,
			    .interrupt_context = scene,
			    .throttle = scene->limits },
	};

	scene->act = act;
	guest_create(&scene->g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&scene->g);
}

/* Acts in the disk: a request is in hand. */
static void start_in_disk(struct scene *scene, void (*act)(struct scene *scene))
{
	const struct guest_options options = {
		.device = { .engine = VBLK_ENGINE_INLINE, .throttle = scene->limits },
	};

	scene->act = act;
	guest_create(&scene->g, &options, disk_create_hooked(DISK_SIZE, 0xab, call, scene));
	guest_start(&scene->g);
}

static void offer_reads(struct guest *g, unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++)
		guest_request_at(g, i, VIRTIO_BLK_T_IN, 0, SECTOR);
}

static bool wants_to_run_now(struct guest *g)
{
	uint64_t deadline_ns;

	return vblk_device_next_deadline(g->device, &deadline_ns) && deadline_ns == g->now_ns;
}

static void notify_again(struct scene *scene)
{
	offer_reads(&scene->g, 1, 1);
	guest_kick(&scene->g);
	assert_int_equal(guest_used_idx(&scene->g), 1);
	assert_true(wants_to_run_now(&scene->g));
}

/* Rules: D-ENGINE */
static void test_notification_from_the_interrupt_is_remembered(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	start_in_interrupt(&scene, notify_again);
	offer_reads(g, 0, 1);
	guest_kick(g);
	assert_int_equal(guest_used_idx(g), 1);
	assert_true(wants_to_run_now(g));
	assert_int_equal(guest_metrics(g).notifications, 2);
	vblk_device_run(g->device);
	assert_int_equal(guest_used_idx(g), 2);
	assert_false(wants_to_run_now(g));
	guest_destroy(g);
}

static void run_again(struct scene *scene)
{
	vblk_device_run(scene->g.device);
	guest_kick(&scene->g);
	assert_int_equal(scene->calls, 1);
	assert_int_equal(guest_used_idx(&scene->g), 0);
}

static void test_run_from_the_disk_does_not_nest(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	start_in_disk(&scene, run_again);
	offer_reads(g, 0, 3);
	guest_kick(g);
	assert_int_equal(guest_used_idx(g), 3);
	assert_int_equal(scene.calls, 3);
	for (uint16_t i = 0; i < 3; i++)
		assert_int_equal(guest_used_elem(g, i).id, 3 * i);
	guest_destroy(g);
}

static void reset(struct scene *scene)
{
	guest_set_status(&scene->g, 0);
	assert_int_equal(guest_status(&scene->g), 0);
	assert_true(vblk_device_is_paused(scene->g.device));
}

static void expect_idle(struct guest *g)
{
	uint64_t deadline_ns;

	assert_int_equal(guest_status(g), 0);
	expect_interrupts(g, 0, 0);
	assert_false(vblk_device_next_deadline(g->device, &deadline_ns));
	assert_true(vblk_device_is_paused(g->device));
	/* The test's and the device's: the drain has let go of the disk. */
	assert_int_equal(atomic_load(&g->backing->refs), 2);
}

static void expect_serves(struct guest *g)
{
	guest_reset(g);
	guest_start(g);
	guest_request(g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(g);
	expect_answer(g, VIRTIO_BLK_S_OK, 1);
}

/* Rules: R-3 R-8 */
static void test_reset_in_the_interrupt_leaves_nothing_behind(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	start_in_interrupt(&scene, reset);
	offer_reads(g, 0, 2);
	guest_kick(g);
	assert_int_equal(guest_used_idx(g), 2); /* published before the interrupt */
	assert_int_equal(scene.calls, 1);
	expect_idle(g);
	expect_serves(g);
	guest_destroy(g);
}

/* Rules: R-8 */
static void test_reset_in_the_disk_leaves_the_request_without_an_answer(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	start_in_disk(&scene, reset);
	offer_reads(g, 0, 2);
	guest_kick(g);
	assert_int_equal(guest_used_idx(g), 0);
	assert_int_equal(guest_slot_status(g, 0), GUEST_SENTINEL);
	assert_int_equal(guest_used_flags(g), VRING_USED_F_NO_NOTIFY); /* as it was then */
	assert_int_equal(scene.calls, 1);
	expect_counters(g);
	expect_idle(g);
	expect_serves(g);
	guest_destroy(g);
}

/* A driver that has put the queue to rights before the old life has returned. */
static void start_anew(struct scene *scene)
{
	struct guest *g = &scene->g;

	guest_reset(g);
	guest_start(g);
	offer_reads(g, 2, 1);
	guest_kick(g);
	assert_int_equal(guest_used_idx(g), 0);
	assert_true(wants_to_run_now(g));
}

/* Rules: R-8 D-HOLE-7 */
static void test_new_life_in_the_disk_is_not_touched_by_the_old_one(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	start_in_disk(&scene, start_anew);
	offer_reads(g, 0, 2);
	guest_kick(g);
	assert_int_equal(guest_used_idx(g), 0);
	assert_int_equal(guest_status(g), 0xf);
	expect_interrupts(g, 0, 0);
	assert_false(vblk_device_is_paused(g->device));
	assert_true(wants_to_run_now(g));
	vblk_device_run(g->device);
	assert_int_equal(guest_used_idx(g), 1);
	assert_int_equal(guest_used_elem(g, 0).id, 0);
	assert_int_equal(guest_slot_status(g, 2), VIRTIO_BLK_S_OK);
	assert_int_equal(guest_slot_status(g, 0), GUEST_SENTINEL);
	expect_counters(g, .reads_completed = 1, .bytes_read = SECTOR);
	guest_destroy(g);
}

static void test_new_life_in_the_interrupt_is_served(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	start_in_interrupt(&scene, start_anew);
	offer_reads(g, 0, 2);
	guest_kick(g);
	assert_int_equal(guest_used_idx(g), 0);
	vblk_device_run(g->device);
	assert_int_equal(guest_used_idx(g), 1);
	assert_int_equal(guest_slot_status(g, 2), VIRTIO_BLK_S_OK);
	guest_destroy(g);
}

static void start_anew_twice(struct scene *scene)
{
	guest_reset(&scene->g);
	guest_start(&scene->g);
	start_anew(scene);
}

/* The life in between never ran: it goes at once, the first one when it returns. */
static void test_two_new_lives_in_the_disk(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	start_in_disk(&scene, start_anew_twice);
	offer_reads(g, 0, 1);
	guest_kick(g);
	assert_int_equal(guest_used_idx(g), 0);
	vblk_device_run(g->device);
	assert_int_equal(guest_used_idx(g), 1);
	expect_counters(g, .reads_completed = 1, .bytes_read = SECTOR);
	guest_destroy(g);
}

/* Rules: D-1 S-8 */
static void test_reset_in_the_interrupt_of_a_poisoned_queue(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	start_in_interrupt(&scene, reset);
	guest_set_avail_idx(g, 1000);
	guest_kick(g);
	assert_int_equal(scene.calls, 1);
	expect_idle(g);
	expect_serves(g);
	guest_destroy(g);
}

static void lift_limits(struct scene *scene)
{
	assert_int_equal(vblk_device_set_throttle(scene->g.device, &(struct vblk_throttle){ 0 }),
			 0);
	assert_int_equal(guest_used_idx(&scene->g), 1);
}

/* Rules: T-17 */
static void test_limits_changed_in_the_interrupt_count_at_once(void **state)
{
	struct scene scene = { .limits = { .bps = 1, .bps_burst = SECTOR } };
	struct guest *g = &scene.g;

	(void)state;
	start_in_interrupt(&scene, lift_limits);
	offer_reads(g, 0, 4);
	guest_kick(g);
	assert_int_equal(guest_used_idx(g), 1);
	assert_true(wants_to_run_now(g));
	vblk_device_run(g->device);
	assert_int_equal(guest_used_idx(g), 4);
	assert_int_equal(guest_metrics(g).throttled_now, 0);
	guest_destroy(g);
}

static void pause_in_hand(struct scene *scene)
{
	assert_true(vblk_device_pause(scene->g.device));
	assert_false(vblk_device_pause(scene->g.device));
	assert_false(vblk_device_is_paused(scene->g.device));
	assert_int_equal(vblk_eventfd_clear(scene->parked_fd), 0);
}

static void name_parked_fd(struct scene *scene)
{
	assert_int_equal(vblk_eventfd_create(&scene->parked_fd), 0);
	assert_int_equal(vblk_device_set_parked_fd(scene->g.device, scene->parked_fd), 0);
}

/* Rules: D-INLINE-PAUSE U-6 */
static void test_pause_in_the_disk_ends_the_drain_after_the_request_in_hand(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	start_in_disk(&scene, pause_in_hand);
	name_parked_fd(&scene);
	offer_reads(g, 0, 3);
	guest_kick(g);
	assert_int_equal(guest_used_idx(g), 1);
	assert_true(vblk_device_is_paused(g->device));
	assert_int_equal(vblk_eventfd_clear(scene.parked_fd), 1);
	vblk_device_run(g->device);
	assert_int_equal(guest_used_idx(g), 1);
	assert_false(vblk_device_resume(g->device));
	assert_int_equal(guest_used_idx(g), 3);
	assert_int_equal(vblk_eventfd_clear(scene.parked_fd), 0);
	close(scene.parked_fd);
	guest_destroy(g);
}

static void pause_and_resume(struct scene *scene)
{
	pause_in_hand(scene);
	assert_false(vblk_device_resume(scene->g.device));
	assert_int_equal(vblk_eventfd_clear(scene->parked_fd), 1);
}

/* Rules: D-INLINE-PAUSE D-RESUME */
static void test_pause_and_resume_in_the_disk_lose_nothing(void **state)
{
	struct scene scene = { 0 };
	struct guest *g = &scene.g;

	(void)state;
	start_in_disk(&scene, pause_and_resume);
	name_parked_fd(&scene);
	offer_reads(g, 0, 3);
	guest_kick(g);
	assert_false(vblk_device_is_paused(g->device));
	assert_true(wants_to_run_now(g));
	vblk_device_run(g->device);
	assert_int_equal(guest_used_idx(g), 3);
	/* In one go: what was asked for then no longer ends a drain. */
	expect_interrupts(g, 2, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(vblk_eventfd_clear(scene.parked_fd), 0);
	close(scene.parked_fd);
	guest_destroy(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_notification_from_the_interrupt_is_remembered),
		cmocka_unit_test(test_run_from_the_disk_does_not_nest),
		cmocka_unit_test(test_reset_in_the_interrupt_leaves_nothing_behind),
		cmocka_unit_test(test_reset_in_the_disk_leaves_the_request_without_an_answer),
		cmocka_unit_test(test_new_life_in_the_disk_is_not_touched_by_the_old_one),
		cmocka_unit_test(test_new_life_in_the_interrupt_is_served),
		cmocka_unit_test(test_two_new_lives_in_the_disk),
		cmocka_unit_test(test_reset_in_the_interrupt_of_a_poisoned_queue),
		cmocka_unit_test(test_limits_changed_in_the_interrupt_count_at_once),
		cmocka_unit_test(test_pause_in_the_disk_ends_the_drain_after_the_request_in_hand),
		cmocka_unit_test(test_pause_and_resume_in_the_disk_lose_nothing),
	};

	return cmocka_run_group_tests_name("inline_reentry", tests, NULL, NULL);
}
