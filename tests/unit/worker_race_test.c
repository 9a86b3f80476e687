/* SPDX-License-Identifier: MIT */
/*
 * The worker against other threads: a driver that notifies and is interrupted only as far as the
 * rings ask for it, one that never leaves off, and vCPUs that hammer at the registers through all
 * of the device's life. What is looked for is a wake-up that is lost, and (under the thread
 * sanitizer) an access that nobody ordered.
 */
#include "disk.h"
#include "expect.h"
#include "process.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "base/eventfd.h"
#include "device/device.h"

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE
#define VRING	  VIRTIO_MMIO_INT_VRING

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

static void kick_by_descriptor(struct guest *g)
{
	assert_int_equal(vblk_eventfd_signal(vblk_device_kick_fd(g->device, 0)), 0);
}

static void note_loss(void *context, int error)
{
	*(int *)context = error;
}

/*
 * --- A driver that keeps to the rules of suppression (specification 2.7.10) ---
 *
 * It asks for as few notifications and interrupts as it can. One that is lost on either side
 * leaves both waiting for each other.
 */

/* Whether the device asks to be told of the chains from `old` to the index in memory. */
static bool wants_kick(struct guest *g, uint16_t old)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (!g->options.event_idx)
		return !(guest_used_flags(g) & VRING_USED_F_NO_NOTIFY);
	return vring_need_event(guest_avail_event(g), g->avail_idx, old);
}

/*
 * Both sides write something and then look at what the other wrote, so the test must do its part
 * at the very moment that the worker does its own. A pace is how long to spin before: a little
 * less if we came too late, a little more if too early.
 */
struct pace {
	unsigned spins;
};

#define PACE_MAX 20000u
#define ROUNDS	 30000u

static void keep_pace(struct pace *pace, bool late)
{
	unsigned step = pace->spins / 64 + 1;

	if (late)
		pace->spins -= step <= pace->spins ? step : pace->spins;
	else if (pace->spins < PACE_MAX)
		pace->spins += step;
}

static void spin(const struct pace *pace)
{
	for (volatile unsigned i = 0; i < pace->spins; i++)
		;
}

/* Sleeps until used.idx has moved from `seen`. False: it did not, for a long time. */
static bool wait_for_more(struct guest *g, uint16_t seen, struct pace *pace)
{
	bool late;

	spin(pace);
	if (g->options.event_idx)
		guest_set_used_event(g, seen);
	atomic_thread_fence(memory_order_seq_cst);
	late = guest_used_idx(g) != seen;
	keep_pace(pace, late);
	while (guest_used_idx(g) == seen) {
		if (!guest_wait_interrupt(g))
			return guest_used_idx(g) != seen;
	}
	return true;
}

static void lose_nothing(bool event_idx, unsigned rounds)
{
	const struct guest_options options = { .queue_size = 16, .event_idx = event_idx };
	struct pace offering = { 0 };
	struct pace waiting[2] = { { 0 },
				   { 0 } }; /* for a worker that was awake, and one that slept */
	uint16_t head, seen = 0;
	bool slept = true;
	struct guest g;

	guest_create(&g, &options, disk_create(DISK_SIZE, 0));
	guest_start(&g);
	head = guest_request(&g, VIRTIO_BLK_T_GET_ID, 0, 20);
	guest_kick(&g);
	for (unsigned i = 0; i < rounds; i++) {
		uint16_t old;

		assert_true(wait_for_more(&g, seen, &waiting[slept]));
		seen = guest_used_idx(&g);
		assert_int_equal(seen, g.avail_idx);
		spin(&offering);
		old = g.avail_idx;
		guest_offer(&g, head);
		slept = wants_kick(&g, old);
		keep_pace(&offering, slept);
		if (slept)
			guest_kick(&g);
	}
	assert_true(wait_for_more(&g, seen, &waiting[slept]));
	expect_counters(&g);
	guest_destroy(&g);
}

static void test_O2_legacy_loses_no_wakeup(void **state)
{
	(void)state;
	lose_nothing(false, ROUNDS);
}

static void test_O2_event_idx_loses_no_wakeup(void **state)
{
	(void)state;
	lose_nothing(true, ROUNDS);
}

/* --- A driver that never leaves the worker in peace: it offers one chain over and over --- */
struct hostile {
	struct guest *guest;
	uint16_t head;
	atomic_bool stop;
};

static void *offer_forever(void *context)
{
	struct hostile *hostile = context;
	struct guest *g = hostile->guest;

	while (!atomic_load(&hostile->stop)) {
		if ((uint16_t)(g->avail_idx - guest_used_idx(g)) < 128)
			guest_offer(g, hostile->head);
		kick_by_descriptor(g);
	}
	return NULL;
}

static void test_D_HOLE_2_stop_is_seen_under_a_hostile_driver(void **state)
{
	int lost = 0;
	const struct guest_options options = {
		.device = { .worker_lost = note_loss, .worker_lost_context = &lost },
	};
	struct guest g;
	struct hostile hostile = { .guest = &g };
	pthread_t thread;

	(void)state;
	guest_create(&g, &options, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	hostile.head = guest_request(&g, VIRTIO_BLK_T_GET_ID, 0, 20);
	assert_int_equal(pthread_create(&thread, NULL, offer_forever, &hostile), 0);
	for (int round = 0; round < 5; round++) {
		uint64_t before = guest_metrics(&g).interrupts;

		while (guest_metrics(&g).interrupts < before + 3)
			sched_yield();
		guest_set_status(&g, 0);
		assert_int_equal(guest_status(&g), 0);
		assert_int_equal(lost, 0);
		if (round == 4)
			break;
		/* The rings go on from where they are, and so the indices must start there too. */
		atomic_store(&hostile.stop, true);
		pthread_join(thread, NULL);
		guest_reset(&g);
		atomic_store(&hostile.stop, false);
		guest_start(&g);
		hostile.head = guest_request(&g, VIRTIO_BLK_T_GET_ID, 0, 20);
		assert_int_equal(pthread_create(&thread, NULL, offer_forever, &hostile), 0);
	}
	atomic_store(&hostile.stop, true);
	pthread_join(thread, NULL);
	assert_false(g.device->dead);
	guest_destroy(&g);
}

/* --- Many threads at the registers --- */

struct vcpu {
	struct guest *guest;
	atomic_bool stop;
};

static void *be_a_vcpu(void *context)
{
	struct vcpu *vcpu = context;
	struct guest *g = vcpu->guest;

	while (!atomic_load(&vcpu->stop)) {
		guest_kick(g);
		kick_by_descriptor(g);
		for (uint64_t offset = 0; offset <= 0x118; offset += 4)
			(void)guest_read32(g, offset);
		guest_write32(g, VIRTIO_MMIO_INTERRUPT_ACK, VRING);
		guest_write32(g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
		(void)guest_metrics(g);
		(void)vblk_device_status(g->device);
	}
	return NULL;
}

static void test_cycles_under_register_traffic(void **state)
{
	struct guest g;
	struct vcpu vcpu = { .guest = &g };
	pthread_t thread[2];

	(void)state;
	guest_create(&g, NULL, disk_create(DISK_SIZE, 0xab));
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, be_a_vcpu, &vcpu), 0);
	for (int round = 0; round < 50; round++) {
		guest_start(&g);
		for (unsigned i = 0; i < 3; i++)
			guest_request_at(&g, i, VIRTIO_BLK_T_IN, i, SECTOR);
		guest_kick(&g);
		assert_true(guest_wait_used(&g, 3));
		guest_reset(&g);
		assert_int_equal(guest_status(&g), 0);
	}
	atomic_store(&vcpu.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	expect_counters(&g, .reads_completed = 150, .bytes_read = 150 * SECTOR);
	guest_destroy(&g);
}

static bool is_set(void *context)
{
	return atomic_load((atomic_bool *)context);
}

/* A vCPU that looks at the device, selects, notifies and acknowledges. */
struct looker {
	struct guest *guest;
	atomic_bool done;
};

static void *look(void *context)
{
	struct looker *looker = context;
	struct guest *g = looker->guest;

	guest_write32(g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	guest_write32(g, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	guest_write32(g, VIRTIO_MMIO_QUEUE_SEL, 0);
	for (uint64_t offset = 0; offset <= 0x118; offset += 4)
		(void)guest_read32(g, offset);
	guest_kick(g);
	guest_write32(g, VIRTIO_MMIO_INTERRUPT_ACK, VRING);
	atomic_store(&looker->done, true);
	return NULL;
}

/* A reset holds the lock as long as it waits for its worker. */
static void test_vcpu_that_looks_does_not_wait_for_a_reset(void **state)
{
	struct guest g;
	struct looker looker = { .guest = &g };
	pthread_t thread;
	bool done;

	(void)state;
	guest_create(&g, NULL, disk_create(DISK_SIZE, 0xab));
	guest_start(&g);
	vblk_device_lock(g.device);
	assert_int_equal(pthread_create(&thread, NULL, look, &looker), 0);
	done = process_wait(is_set, &looker.done);
	vblk_device_unlock(g.device);
	pthread_join(thread, NULL);
	assert_true(done);
	guest_destroy(&g);
}

static void test_cycles_back_to_back(void **state)
{
	struct guest g;

	(void)state;
	assert_true(process_wait_threads(own_threads));
	guest_create(&g, NULL, disk_create(DISK_SIZE, 0xab));
	for (uint32_t round = 1; round <= 200; round++) {
		guest_start(&g);
		guest_reset(&g);
		guest_reset(&g);
		assert_int_equal(guest_read32(&g, VIRTIO_MMIO_CONFIG_GENERATION), 2 * round);
	}
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_true(guest_wait_used(&g, 1));
	guest_destroy(&g);
	assert_true(process_wait_threads(own_threads));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_O2_legacy_loses_no_wakeup),
		cmocka_unit_test(test_O2_event_idx_loses_no_wakeup),
		cmocka_unit_test(test_D_HOLE_2_stop_is_seen_under_a_hostile_driver),
		cmocka_unit_test(test_cycles_under_register_traffic),
		cmocka_unit_test(test_vcpu_that_looks_does_not_wait_for_a_reset),
		cmocka_unit_test(test_cycles_back_to_back),
	};

	return cmocka_run_group_tests_name("worker_race", tests, setup_group, NULL);
}
