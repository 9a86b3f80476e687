/* SPDX-License-Identifier: MIT */
/*
 * The lease, and a drain that has lost it: whatever it was about to do to the guest when it was
 * disowned, it does not.
 */
#include "bare_drain.h"
#include "disk.h"
#include "expect.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "request/lease.h"

#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE

static void test_lease_is_held_and_given_back(void **state)
{
	struct vblk_lease lease;

	(void)state;
	vblk_lease_init(&lease);
	for (int i = 0; i < 2; i++) {
		assert_true(vblk_lease_hold(&lease));
		assert_false(vblk_lease_is_revoked(&lease));
		vblk_lease_release(&lease);
	}
}

static void test_revoked_lease_cannot_be_held(void **state)
{
	struct vblk_lease lease;

	(void)state;
	vblk_lease_init(&lease);
	assert_int_equal(vblk_lease_revoke(&lease), 0);
	assert_true(vblk_lease_is_revoked(&lease));
	assert_false(vblk_lease_hold(&lease));
	assert_true(vblk_lease_is_revoked(&lease));
}

static void test_held_lease_cannot_be_revoked(void **state)
{
	struct vblk_lease lease;

	(void)state;
	vblk_lease_init(&lease);
	assert_true(vblk_lease_hold(&lease));
	assert_int_equal(vblk_lease_revoke(&lease), -EBUSY);
	vblk_lease_release(&lease);
	assert_int_equal(vblk_lease_revoke(&lease), 0);
}

/*
 * The device goes on after a revocation that failed, and sets its rings up anew. What the worker
 * had begun it may finish; but it must not begin anything more.
 */
static void test_D_HOLE_7_lease_is_not_held_again_after_a_failed_revocation(void **state)
{
	struct vblk_lease lease;

	(void)state;
	vblk_lease_init(&lease);
	assert_true(vblk_lease_hold(&lease));
	assert_int_equal(vblk_lease_revoke(&lease), -EBUSY);
	vblk_lease_release(&lease);
	assert_false(vblk_lease_hold(&lease));
}

/* What a worker may touch while it holds the lease is the revoker's alone afterwards. */
struct tenant {
	struct vblk_lease lease;
	atomic_bool moved_in;
	unsigned long touched; /* no atomic: the lease orders it */
};

static void *touch_while_held(void *context)
{
	struct tenant *tenant = context;
	bool told = false;

	while (vblk_lease_hold(&tenant->lease)) {
		tenant->touched++;
		vblk_lease_release(&tenant->lease);
		if (!told) /* once: nothing but the lease shall order what follows */
			atomic_store(&tenant->moved_in, true);
		told = true;
	}
	return NULL;
}

static void test_D_HOLE_7_nothing_is_touched_after_revocation(void **state)
{
	(void)state;
	for (int round = 0; round < 100; round++) {
		/* Not on the stack, where the thread sanitizer looks away. */
		static struct tenant tenant;
		unsigned long touched;
		pthread_t thread;

		atomic_store(&tenant.moved_in, false);
		vblk_lease_init(&tenant.lease);
		assert_int_equal(pthread_create(&thread, NULL, touch_while_held, &tenant), 0);
		while (!atomic_load(&tenant.moved_in))
			sched_yield();
		for (volatile int i = 0; i < 1000; i++)
			; /* and let it touch some more */
		/* A tenant who is not on a processor may keep it for longer than we try. */
		while (vblk_lease_revoke(&tenant.lease) < 0)
			;
		touched = tenant.touched;
		pthread_join(thread, NULL);
		assert_int_equal(tenant.touched, touched);
	}
}

/* --- A drain without a lease --- */

/* One request of each way through a drain. */
static const struct {
	uint32_t type;
	uint32_t length;
	bool read_only;
} requests[] = {
	{ VIRTIO_BLK_T_IN, SECTOR, false }, /* carried out */
	{ VIRTIO_BLK_T_OUT, SECTOR, false },
	{ VIRTIO_BLK_T_GET_ID, 20, false },
	{ VIRTIO_BLK_T_IN, SECTOR + 1, false }, /* refused */
	{ 0xbeef, 0, false },			/* unknown */
	{ VIRTIO_BLK_T_OUT, SECTOR, true },	/* answered without the disk */
	{ VIRTIO_BLK_T_FLUSH, 0, true },
};

static void expect_untouched(struct bare_drain *bare)
{
	struct guest *g = &bare->guest;

	expect_answer(g, GUEST_SENTINEL, 0);
	assert_true(guest_is_filled(g, g->options.used, 0, 4 + 8 * 256 + 2));
	expect_interrupts(g, 0, 0);
	assert_int_equal(guest_status(g), 0xb);
}

static void test_D_HOLE_7_revoked_drain_answers_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		const struct guest_options options = { .device.read_only = requests[i].read_only };
		struct bare_drain bare;

		bare_drain_create(&bare, &options, disk_create_faulty(DISK_SIZE, 0xab, NULL, 0));
		guest_fill(&bare.guest, GUEST_DATA, GUEST_SENTINEL, SECTOR + 1);
		guest_request(&bare.guest, requests[i].type, 0, requests[i].length);
		assert_int_equal(vblk_lease_revoke(&bare.drain.lease), 0);
		bare_drain_run(&bare, VBLK_DRAIN_DONE);
		expect_untouched(&bare);
		assert_true(guest_is_filled(&bare.guest, GUEST_DATA, GUEST_SENTINEL, SECTOR + 1));
		assert_int_equal(vblk_faulty_calls(bare.guest.backing, VBLK_FAULTY_PREADV), 0);
		assert_int_equal(vblk_faulty_calls(bare.guest.backing, VBLK_FAULTY_PWRITEV), 0);
		bare_drain_destroy(&bare);
	}
}

static void count_claim(void *context, uint16_t head)
{
	(void)head;
	++*(unsigned *)context;
}

/* The record is the guest's too: who comes next has made his own of it. */
static void test_D_HOLE_7_revoked_drain_claims_nothing(void **state)
{
	static const struct vblk_journal_ops ops = { .claim = count_claim };

	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		const struct guest_options options = { .device.read_only = requests[i].read_only };
		struct bare_drain bare;
		unsigned claims = 0;

		bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0xab));
		bare.drain.config.journal = (struct vblk_journal){ &ops, &claims };
		guest_request(&bare.guest, requests[i].type, 0, requests[i].length);
		assert_int_equal(vblk_lease_revoke(&bare.drain.lease), 0);
		bare_drain_run(&bare, VBLK_DRAIN_DONE);
		assert_int_equal(claims, 0);
		expect_untouched(&bare);
		bare_drain_destroy(&bare);
	}
}

/* io.h: "no further call to the backing is made", and this would be the first. */
static void test_D_HOLE_7_revoked_drain_does_not_flush(void **state)
{
	struct bare_drain bare;
	uint64_t syncs;

	(void)state;
	bare_drain_create(&bare, NULL, disk_create_faulty(DISK_SIZE, 0xab, NULL, 0));
	guest_request(&bare.guest, VIRTIO_BLK_T_FLUSH, 0, 0);
	assert_int_equal(vblk_lease_revoke(&bare.drain.lease), 0);
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	expect_untouched(&bare);
	syncs = vblk_faulty_calls(bare.guest.backing, VBLK_FAULTY_SYNC);
	bare_drain_destroy(&bare);
	assert_int_equal(syncs, 0);
}

static void test_D_HOLE_7_revoked_drain_poisons_nothing(void **state)
{
	const struct guest_options strict = {
		.device.on_undeliverable = VBLK_UNDELIVERABLE_NEEDS_RESET,
	};
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, NULL, disk_create(DISK_SIZE, 0));
	*guest_at(&bare.guest, GUEST_STATUS) = GUEST_SENTINEL;
	assert_int_equal(vblk_lease_revoke(&bare.drain.lease), 0);
	guest_set_avail_idx(&bare.guest, 1000);
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	expect_untouched(&bare);
	bare_drain_destroy(&bare);
	bare_drain_create(&bare, &strict, disk_create(DISK_SIZE, 0));
	*guest_at(&bare.guest, GUEST_STATUS) = GUEST_SENTINEL;
	assert_int_equal(vblk_lease_revoke(&bare.drain.lease), 0);
	guest_offer(&bare.guest, 256);
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	expect_untouched(&bare);
	bare_drain_destroy(&bare);
}

/* The lease goes while a request is carried out, after one has been published. */
static void revoke(void *context)
{
	assert_int_equal(vblk_lease_revoke(context), 0);
}

static void test_D_HOLE_7_drain_that_loses_its_lease_does_not_interrupt(void **state)
{
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, NULL, disk_create_hooked(DISK_SIZE, 0, revoke, &bare.drain.lease));
	guest_request_at(&bare.guest, 1, VIRTIO_BLK_T_GET_ID, 0, 20);
	guest_request_at(&bare.guest, 2, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_request_at(&bare.guest, 3, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	assert_int_equal(guest_used_idx(&bare.guest), 1);
	assert_int_equal(guest_slot_status(&bare.guest, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(guest_slot_status(&bare.guest, 2), GUEST_SENTINEL);
	assert_int_equal(guest_slot_status(&bare.guest, 3), GUEST_SENTINEL);
	expect_interrupts(&bare.guest, 0, 0);
	assert_int_equal(guest_used_flags(&bare.guest), VRING_USED_F_NO_NOTIFY);
	/* Whoever comes next has the third to himself. */
	assert_int_equal(bare.drain.queue.next_avail, 2);
	expect_counters(&bare.guest);
	bare_drain_destroy(&bare);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lease_is_held_and_given_back),
		cmocka_unit_test(test_revoked_lease_cannot_be_held),
		cmocka_unit_test(test_held_lease_cannot_be_revoked),
		cmocka_unit_test(test_D_HOLE_7_lease_is_not_held_again_after_a_failed_revocation),
		cmocka_unit_test(test_D_HOLE_7_nothing_is_touched_after_revocation),
		cmocka_unit_test(test_D_HOLE_7_revoked_drain_answers_nothing),
		cmocka_unit_test(test_D_HOLE_7_revoked_drain_claims_nothing),
		cmocka_unit_test(test_D_HOLE_7_revoked_drain_does_not_flush),
		cmocka_unit_test(test_D_HOLE_7_revoked_drain_poisons_nothing),
		cmocka_unit_test(test_D_HOLE_7_drain_that_loses_its_lease_does_not_interrupt),
	};

	return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
