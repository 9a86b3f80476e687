/* SPDX-License-Identifier: MIT */
/*
 * A worker that hangs in the host's disk while its device is reset or destroyed: the caller waits
 * for the stop timeout and no longer, the worker is cut off from the guest, what it can still touch
 * lives on until it has gone, and the device serves nobody any more. The disk hangs until the test
 * lets it go.
 */
#include "disk.h"
#include "expect.h"
#include "process.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "base/clock.h"
#include "device/device.h"

#define DISK_SIZE  4096u
#define SECTOR	   VBLK_SECTOR_SIZE
#define CONFIG	   VIRTIO_MMIO_INT_CONFIG
#define TIMEOUT_MS 50u
#define LATE_MS	   5000u /* on a machine that has much else to do */

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

/* A guest on memory whose release is seen, and all that the device says of its worker. */
struct hang {
	struct guest g;
	struct vblk_memory *memory;
	atomic_bool released; /* the memory */
	atomic_uint raised;   /* interrupts, where a callback takes them */
	unsigned losses;
	int error;
	size_t fds;
};

static void note_release(void *context)
{
	atomic_store(&((struct hang *)context)->released, true);
}

static void note_interrupt(void *context)
{
	atomic_fetch_add(&((struct hang *)context)->raised, 1);
}

static void note_loss(void *context, int error)
{
	struct hang *h = context;

	h->losses++;
	h->error = error;
}

/* A device on `disk` with the guest's bytes behind a map of our own. */
static void create(struct hang *h, const struct guest_options *wanted, struct vblk_backing *disk)
{
	struct guest_options options = *wanted;

	h->losses = 0;
	h->error = 0;
	atomic_store(&h->released, false);
	atomic_store(&h->raised, 0);
	options.unbound = true;
	if (options.device.stop_timeout_ms == 0)
		options.device.stop_timeout_ms = TIMEOUT_MS;
	options.device.worker_lost = note_loss;
	options.device.worker_lost_context = h;
	guest_create(&h->g, &options, disk);
	assert_int_equal(vblk_memory_create(note_release, h, &h->memory), 0);
	for (size_t i = 0; i < h->g.ram->region_count; i++)
		assert_int_equal(vblk_memory_add_region(h->memory, h->g.ram->region[i].at.address,
							h->g.ram->region[i].at.length,
							h->g.ram->region[i].host),
				 0);
	assert_int_equal(vblk_device_set_memory(h->g.device, h->memory), 0);
}

/* Runs into the hang of the one rule that has one, with a request of the given type. */
static void start(struct hang *h, const struct guest_options *options,
		  const struct vblk_faulty_rule *rules, size_t count, uint32_t type)
{
	struct vblk_backing *disk = disk_create_faulty(DISK_SIZE, 0xab, rules, count);

	assert_true(process_wait_threads(own_threads));
	h->fds = process_fds();
	create(h, options, disk);
	guest_start(&h->g);
	guest_fill(&h->g, GUEST_DATA, GUEST_SENTINEL, SECTOR);
	guest_request(&h->g, type, 0, type == VIRTIO_BLK_T_FLUSH ? 0 : SECTOR);
	guest_kick(&h->g);
	vblk_faulty_wait_hanging(disk, 1);
}

/* Lets the disk go on and waits until the worker has gone. */
static void release(struct hang *h)
{
	vblk_faulty_release(h->g.backing);
	assert_true(process_wait_threads(own_threads));
}

static void end(struct hang *h)
{
	vblk_memory_unref(h->memory);
	guest_destroy(&h->g);
	assert_true(atomic_load(&h->released));
	assert_int_equal(process_fds(), h->fds);
}

/* Waits for nothing: reads the clock before and after a call, in milliseconds. */
static uint64_t now_ms(void)
{
	return vblk_clock_now(&(struct vblk_clock){ 0 }) / VBLK_NSEC_PER_MSEC;
}

/* Sets DRIVER_OK on a device that can no longer serve it. */
static void start_dead(struct guest *g)
{
	guest_negotiate(g);
	guest_write32(g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x1000);
	guest_write32(g, VIRTIO_MMIO_QUEUE_USED_LOW, 0x2000);
	guest_write32(g, VIRTIO_MMIO_QUEUE_READY, 1);
	guest_set_status(g, 0xf);
}

static const struct guest_options plain = { .queue_size = 256 };

/* Where a worker may hang, with the request that takes it there. */
static const struct {
	struct vblk_faulty_rule rule;
	uint32_t type;
} places[] = {
	{ FAULT(PREADV, HANG), VIRTIO_BLK_T_IN },
	{ FAULT(PWRITEV, HANG), VIRTIO_BLK_T_OUT },
	{ FAULT(SYNC, HANG), VIRTIO_BLK_T_FLUSH },
};

/* Rules: L-6, L-7, L-8 */
static void test_R7_16_7_2_16_7_5_reset_waits_for_the_timeout(void **state)
{
	const struct guest_options options = { .device.stop_timeout_ms = 250 };
	struct hang h;
	uint64_t begin;

	(void)state;
	start(&h, &options, &places[0].rule, 1, places[0].type);
	begin = now_ms();
	guest_set_status(&h.g, 0);
	assert_in_range(now_ms() - begin, 249, LATE_MS);
	assert_int_equal(guest_status(&h.g), 0);
	assert_int_equal(h.losses, 1);
	assert_int_equal(h.error, -ETIMEDOUT);
	/* The next one has nobody to wait for. */
	begin = now_ms();
	guest_set_status(&h.g, 0);
	assert_true(now_ms() - begin < 250);
	assert_int_equal(h.losses, 1);
	release(&h);
	end(&h);
}

static void test_D_HOLE_7_abandoned_worker_touches_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct hang h;

		start(&h, &plain, &places[i].rule, 1, places[i].type);
		guest_set_status(&h.g, 0);
		assert_int_equal(vblk_disk_abandoned(h.g.device->disk), 1);
		release(&h);
		assert_int_equal(vblk_disk_abandoned(h.g.device->disk), 0);
		expect_answer(&h.g, GUEST_SENTINEL, 0);
		assert_int_equal(guest_used_elem(&h.g, 0).len, 0);
		/* As the drain left it when it took the request. */
		assert_int_equal(guest_used_flags(&h.g), VRING_USED_F_NO_NOTIFY);
		assert_int_equal(guest_status(&h.g), 0);
		expect_interrupts(&h.g, 0, 0);
		expect_counters(&h.g);
		assert_int_equal(guest_metrics(&h.g).interrupts, 0);
		end(&h);
	}
}

/* The guest lays traps for whoever looks at its rings, and starts anew in the same place. */
static void test_D_HOLE_7_abandoned_worker_does_not_look_at_the_rings(void **state)
{
	struct hang h;

	(void)state;
	start(&h, &plain, &places[0].rule, 1, places[0].type);
	guest_request_at(&h.g, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_set_status(&h.g, 0);
	guest_set_avail_idx(&h.g, 1000);
	release(&h);
	assert_int_equal(guest_status(&h.g), 0);
	assert_int_equal(vblk_faulty_calls(h.g.backing, VBLK_FAULTY_PREADV), 1);
	assert_int_equal(guest_slot_status(&h.g, 1), GUEST_SENTINEL);
	expect_counters(&h.g);
	end(&h);
}

static void test_D_HOLE_7_abandoned_worker_does_not_call_back(void **state)
{
	struct hang h;
	const struct guest_options options = {
		.device = { .interrupt = note_interrupt, .interrupt_context = &h },
	};

	(void)state;
	start(&h, &options, &places[1].rule, 1, places[1].type);
	guest_set_status(&h.g, 0);
	release(&h);
	assert_int_equal(atomic_load(&h.raised), 0);
	end(&h);
}

/* A transfer in several calls ends with the call that hangs, and so do retries. */
static void test_D_HOLE_7_abandoned_worker_makes_no_further_call(void **state)
{
	static const struct {
		struct vblk_faulty_rule rules[2];
		uint32_t type;
	} cases[] = {
		{ { FAULT(PREADV, HANG), FAULT(PREADV, SHORT, .value = 16) }, VIRTIO_BLK_T_IN },
		{ { FAULT(PWRITEV, HANG), FAULT(PWRITEV, SHORT, .value = 16) }, VIRTIO_BLK_T_OUT },
		{ { FAULT(PREADV, HANG), FAULT(PREADV, ERROR, .value = EINTR) }, VIRTIO_BLK_T_IN },
		{ { FAULT(SYNC, HANG), FAULT(SYNC, ERROR, .value = EINTR) }, VIRTIO_BLK_T_FLUSH },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hang h;

		start(&h, &plain, cases[i].rules, 2, cases[i].type);
		guest_set_status(&h.g, 0);
		release(&h);
		assert_int_equal(vblk_faulty_calls(h.g.backing, cases[i].rules[0].op), 1);
		end(&h);
	}
}

/* D-STABLE: nor the sync that would follow the write. */
static void test_D_HOLE_7_abandoned_worker_does_not_sync(void **state)
{
	const struct guest_options options = { .no_flush = true };
	struct hang h;
	uint64_t syncs;

	(void)state;
	start(&h, &options, &places[1].rule, 1, places[1].type);
	guest_set_status(&h.g, 0);
	release(&h);
	syncs = vblk_faulty_calls(h.g.backing, VBLK_FAULTY_SYNC);
	end(&h);
	assert_int_equal(syncs, 0);
}

/* Rules: L-10 */
static void test_D_HOLE_7_destroyed_device_leaves_all_that_its_worker_needs(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct vblk_metrics_snapshot snapshot;
		struct vblk_metrics *metrics;
		struct vblk_backing *disk;
		struct hang h;
		uint64_t begin;

		start(&h, &plain, &places[i].rule, 1, places[i].type);
		metrics = vblk_metrics_ref(vblk_device_metrics(h.g.device));
		begin = now_ms();
		vblk_device_destroy(h.g.device);
		assert_in_range(now_ms() - begin, TIMEOUT_MS - 1, LATE_MS);
		assert_int_equal(h.losses, 1);
		assert_int_equal(h.error, -ETIMEDOUT);
		h.g.device = NULL;
		/* Only the worker's references are left; one of the disk's is needed to end it. */
		vblk_memory_unref(h.memory);
		h.memory = NULL;
		assert_false(atomic_load(&h.released));
		assert_true(process_fds() > h.fds);
		assert_int_equal(process_threads(), own_threads + 1);
		disk = h.g.backing;
		vblk_faulty_release(disk);
		assert_true(process_wait_threads(own_threads));
		assert_true(atomic_load(&h.released));
		assert_int_equal(process_fds(), h.fds);
		assert_int_equal(guest_used_idx(&h.g), 0);
		assert_int_equal(guest_status_byte(&h.g), GUEST_SENTINEL);
		vblk_metrics_read(metrics, &snapshot);
		assert_int_equal(snapshot.reads_completed + snapshot.writes_completed, 0);
		assert_int_equal(snapshot.flushes_completed + snapshot.io_errors, 0);
		assert_int_equal(snapshot.interrupts, 0);
		vblk_metrics_unref(metrics);
		guest_destroy(&h.g);
	}
}

/* Rules: R-6 */
static void test_D_DEAD_driver_ok_needs_a_reset_again(void **state)
{
	struct hang h;

	(void)state;
	start(&h, &plain, &places[0].rule, 1, places[0].type);
	for (int round = 0; round < 3; round++) {
		guest_reset(&h.g);
		assert_int_equal(guest_status(&h.g), 0);
		start_dead(&h.g);
		assert_int_equal(guest_status(&h.g), 0x4f);
		expect_interrupts(&h.g, 1, CONFIG);
		guest_request(&h.g, VIRTIO_BLK_T_IN, 0, SECTOR);
		guest_kick(&h.g);
		assert_int_equal(process_threads(), own_threads + 1);
	}
	assert_true(guest_logged(&h.g, "driver started a device whose worker was abandoned"));
	assert_int_equal(h.losses, 1);
	/* The device of the fourth life is not touched by the worker of the first. */
	release(&h);
	assert_int_equal(guest_status(&h.g), 0x4f);
	expect_answer(&h.g, GUEST_SENTINEL, 0);
	expect_interrupts(&h.g, 0, CONFIG);
	expect_counters(&h.g);
	/* Nor is it alive again once that one has gone. */
	guest_reset(&h.g);
	start_dead(&h.g);
	assert_int_equal(guest_status(&h.g), 0x4f);
	end(&h);
}

/* A clock that stands still, and its caller with it, while a request waits for tokens. */
struct stuck_clock {
	struct hang h;
	atomic_bool entered;
	atomic_bool go_on;
};

static uint64_t read_stuck_clock(void *context)
{
	struct stuck_clock *clock = context;

	if (clock->h.g.device && guest_metrics(&clock->h.g).throttled_now == 1) {
		atomic_store(&clock->entered, true);
		while (!atomic_load(&clock->go_on))
			sched_yield();
	}
	return vblk_clock_now(&(struct vblk_clock){ 0 });
}

static bool is_set(void *context)
{
	return atomic_load((atomic_bool *)context);
}

static void test_N5_abandoned_worker_lowers_the_gauge_when_it_goes(void **state)
{
	static struct stuck_clock clock;
	struct hang *h = &clock.h;
	const struct guest_options options = {
		.device = { .throttle = { .iops = 5 },
			    .clock = read_stuck_clock,
			    .clock_context = &clock },
		.real_clock = true,
	};

	(void)state;
	assert_true(process_wait_threads(own_threads));
	h->fds = process_fds();
	create(h, &options, disk_create(DISK_SIZE, 0));
	guest_start(&h->g);
	for (unsigned i = 0; i < 6; i++)
		guest_request_at(&h->g, i, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&h->g);
	assert_true(process_wait(is_set, &clock.entered));
	guest_set_status(&h->g, 0);
	assert_int_equal(h->losses, 1);
	assert_int_equal(guest_metrics(&h->g).throttled_now, 1);
	atomic_store(&clock.go_on, true);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(guest_metrics(&h->g).throttled_now, 0);
	end(h);
}

static void test_worker_lost_may_be_null(void **state)
{
	static const struct vblk_faulty_rule rule = FAULT(PREADV, HANG);
	struct hang h;

	(void)state;
	start(&h, &plain, &rule, 1, VIRTIO_BLK_T_IN);
	h.g.device->worker_lost = NULL;
	guest_set_status(&h.g, 0);
	assert_int_equal(h.losses, 0);
	release(&h);
	end(&h);
}

static void test_R5_stuck_worker_is_reported(void **state)
{
	struct hang h;

	(void)state;
	start(&h, &plain, &places[0].rule, 1, places[0].type);
	guest_set_status(&h.g, 0);
	assert_true(guest_logged(&h.g, "vblk: error: worker did not stop in time"));
	assert_true(guest_logged(&h.g, "/stack"));
	assert_true(guest_logged(&h.g, "instance="));
	release(&h);
	end(&h);
}

static void test_D_LOG_stuck_worker_names_its_descriptor_and_disk(void **state)
{
	struct hang h;
	bool descriptor, capacity;

	(void)state;
	start(&h, &plain, &places[0].rule, 1, places[0].type);
	guest_set_status(&h.g, 0);
	descriptor = guest_logged(&h.g, "_fd=");
	capacity = guest_logged(&h.g, "capacity=4096");
	release(&h);
	end(&h);
	assert_true(descriptor);
	assert_true(capacity);
}

/* D-HOLE-7: a healthy device beside a dead one is not disturbed, on the same disk and memory. */
static void test_D_HOLE_7_other_devices_go_on(void **state)
{
	static const struct vblk_faulty_rule once = FAULT(PREADV, HANG, .count = 1);
	struct vblk_device *other;
	struct guest second;
	struct hang h;

	(void)state;
	start(&h, &plain, &once, 1, VIRTIO_BLK_T_IN);
	guest_set_status(&h.g, 0);
	guest_create(&second, NULL, vblk_backing_ref(h.g.backing));
	other = second.device;
	guest_start(&second);
	guest_request(&second, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&second);
	assert_true(guest_wait_used(&second, 1));
	vblk_faulty_release(h.g.backing);
	assert_true(process_wait_threads(own_threads + 1));
	guest_request(&second, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&second);
	assert_true(guest_wait_used(&second, 2));
	assert_int_equal(vblk_device_status(other), 0xf);
	guest_destroy(&second);
	assert_true(process_wait_threads(own_threads));
	end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_R7_16_7_2_16_7_5_reset_waits_for_the_timeout),
		cmocka_unit_test(test_D_HOLE_7_abandoned_worker_touches_nothing),
		cmocka_unit_test(test_D_HOLE_7_abandoned_worker_does_not_look_at_the_rings),
		cmocka_unit_test(test_D_HOLE_7_abandoned_worker_does_not_call_back),
		cmocka_unit_test(test_D_HOLE_7_abandoned_worker_makes_no_further_call),
		cmocka_unit_test(test_D_HOLE_7_abandoned_worker_does_not_sync),
		cmocka_unit_test(test_D_HOLE_7_destroyed_device_leaves_all_that_its_worker_needs),
		cmocka_unit_test(test_D_DEAD_driver_ok_needs_a_reset_again),
		cmocka_unit_test(test_N5_abandoned_worker_lowers_the_gauge_when_it_goes),
		cmocka_unit_test(test_worker_lost_may_be_null),
		cmocka_unit_test(test_R5_stuck_worker_is_reported),
		cmocka_unit_test(test_D_LOG_stuck_worker_names_its_descriptor_and_disk),
		cmocka_unit_test(test_D_HOLE_7_other_devices_go_on),
	};

	return cmocka_run_group_tests_name("worker_stop", tests, setup_group, NULL);
}
