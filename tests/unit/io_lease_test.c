/* SPDX-License-Identifier: MIT */
/*
 * Requests of a worker that is given up while it carries them out, or whose guest memory is lost:
 * it makes no further call to the disk, and there is nothing left to see of the request.
 */
#include "io_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/checked.h"

#define SECTOR	  VBLK_SECTOR_SIZE
#define DISK_SIZE (8 * SECTOR)
#define DATA	  0x5000u

#define SCATTERED 0x10000u
#define PIECES	  640u /* of 16 bytes: three windows */

typedef struct vblk_faulty_rule rule_t;

static int setup(void **state)
{
	struct io_rig *rig = calloc(1, sizeof(*rig));

	ram_create(&rig->ram, { 0, 0x10000 });
	io_rig_create(rig, DISK_SIZE, 0xab);
	*state = rig;
	return 0;
}

static int setup_scattered(void **state)
{
	struct io_rig *rig = calloc(1, sizeof(*rig));

	ram_create_scattered(&rig->ram, SCATTERED, 16, PIECES);
	io_rig_create(rig, (uint64_t)16 * PIECES, 0xab);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	io_rig_destroy(*state);
	free(*state);
	return 0;
}

/* The types that reach the disk, and by which operation. */
static const struct kind {
	uint32_t type;
	uint32_t length;
	enum vblk_faulty_op op;
} kinds[] = {
	{ VIRTIO_BLK_T_IN, 4 * SECTOR, VBLK_FAULTY_PREADV },
	{ VIRTIO_BLK_T_OUT, 4 * SECTOR, VBLK_FAULTY_PWRITEV },
	{ VIRTIO_BLK_T_FLUSH, 0, VBLK_FAULTY_SYNC },
};

static void request(struct io_rig *rig, const struct kind *kind)
{
	io_rig_request(rig, kind->type, 0);
	if (kind->length > 0)
		io_rig_segment(rig, DATA, kind->length);
}

/* Takes the lease away when the call with this number is under way. */
struct revocation {
	struct io_rig *rig;
	unsigned during;
};

static void revoke_in_time(void *context)
{
	const struct revocation *revocation = context;

	if (revocation->rig->tape.calls == revocation->during)
		assert_int_equal(vblk_lease_revoke(&revocation->rig->lease), 0);
}

/*
 * Moves the data of the request in hand, whose lease goes during call `during`, and returns how
 * many calls there were. Whether it failed means nothing: nobody may complete it.
 */
static unsigned calls_when_revoked(struct io_rig *rig, unsigned during)
{
	struct revocation revocation = { rig, during };
	struct vblk_transfer transfer;

	vblk_lease_init(&rig->lease);
	rig->tape.hook = revoke_in_time;
	rig->tape.context = &revocation;
	transfer = io_rig_transfer(rig);
	rig->tape.hook = NULL;
	assert_true(transfer.error <= 0);
	assert_false(vblk_lease_hold(&rig->lease));
	io_rig_counters(rig);
	return rig->tape.calls;
}

static void test_lease_revoked_in_short_transfers(void **state)
{
	struct io_rig *rig = *state;

	for (size_t i = 0; i < 2; i++) {
		const rule_t rule = { .op = kinds[i].op, .action = VBLK_FAULTY_SHORT, .value = 64 };

		for (unsigned during = 1; during <= 32; during++) {
			io_rig_faults(rig, &rule, 1);
			request(rig, &kinds[i]);
			assert_int_equal(calls_when_revoked(rig, during), during);
		}
	}
}

static void test_lease_revoked_in_interrupted_calls(void **state)
{
	struct io_rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(kinds); i++) {
		const rule_t rule = { .op = kinds[i].op,
				      .action = VBLK_FAULTY_ERROR,
				      .value = EINTR };

		for (unsigned during = 1; during <= 16; during++) {
			io_rig_faults(rig, &rule, 1);
			request(rig, &kinds[i]);
			assert_int_equal(calls_when_revoked(rig, during), during);
		}
	}
}

/* A write whose worker was given up must not go on to a sync, which may hang as long again. */
static void test_lease_revoked_in_a_stable_write(void **state)
{
	struct io_rig *rig = *state;

	rig->io.stable_writes = true;
	request(rig, &kinds[1]);
	assert_int_equal(calls_when_revoked(rig, 1), 1);
}

static void test_lease_revoked_before_the_first_call(void **state)
{
	struct io_rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(kinds); i++) {
		struct vblk_transfer transfer;

		io_rig_faults(rig, NULL, 0);
		vblk_lease_init(&rig->lease);
		assert_int_equal(vblk_lease_revoke(&rig->lease), 0);
		request(rig, &kinds[i]);
		transfer = io_rig_transfer(rig);
		assert_int_equal(rig->tape.calls, 0);
		assert_true(transfer.error < 0);
	}
}

/* The data of a read comes in three windows, of which those behind the revocation do not. */
static void test_lease_revoked_between_windows(void **state)
{
	struct io_rig *rig = *state;

	for (unsigned during = 1; during <= 3; during++) {
		io_rig_faults(rig, NULL, 0);
		io_rig_request(rig, VIRTIO_BLK_T_IN, 0);
		io_rig_segment(rig, SCATTERED, 16 * PIECES);
		assert_int_equal(calls_when_revoked(rig, during), during);
	}
}

/* Guest memory is lost when the call with this number is under way; 0: before any. */
struct loss {
	struct io_rig *rig;
	unsigned during;
	bool lost;
};

static bool is_lost(void *context)
{
	return ((struct loss *)context)->lost;
}

static void lose_in_time(void *context)
{
	struct loss *loss = context;

	if (loss->rig->tape.calls != loss->during)
		return;
	loss->lost = true;
	atomic_fetch_add(&vblk_sigbus_failure_count, 1);
}

/* Moves the data of the request in hand. Returns how many calls there were. */
static unsigned calls_when_lost(struct io_rig *rig, unsigned during)
{
	struct loss loss = { rig, during, false };
	const struct vblk_memory_guard guard = { is_lost, &loss };
	struct vblk_transfer transfer;

	vblk_memory_view_set_guard(rig->io.view, &guard);
	rig->tape.hook = lose_in_time;
	rig->tape.context = &loss;
	lose_in_time(&loss);
	transfer = io_rig_transfer(rig);
	rig->tape.hook = NULL;
	vblk_memory_view_set_guard(rig->io.view, NULL);
	assert_true(loss.lost);
	assert_int_equal(transfer.error, -ECANCELED);
	return rig->tape.calls;
}

static void test_memory_lost_before_the_first_call(void **state)
{
	struct io_rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(kinds); i++) {
		request(rig, &kinds[i]);
		assert_int_equal(calls_when_lost(rig, 0), 0);
	}
}

static void test_memory_lost_in_short_transfers(void **state)
{
	struct io_rig *rig = *state;

	for (size_t i = 0; i < 2; i++) {
		const rule_t rule = { .op = kinds[i].op, .action = VBLK_FAULTY_SHORT, .value = 64 };

		for (unsigned during = 1; during < 32; during++) {
			io_rig_faults(rig, &rule, 1);
			request(rig, &kinds[i]);
			assert_int_equal(calls_when_lost(rig, during), during);
		}
	}
}

/* The host's file ends before the request does, and what it does not have would be zeros. */
static void test_memory_lost_before_it_is_filled_with_zeros(void **state)
{
	static const rule_t none = { .op = VBLK_FAULTY_PREADV, .action = VBLK_FAULTY_ZERO };
	struct io_rig *rig = *state;

	io_rig_faults(rig, &none, 1);
	request(rig, &kinds[0]);
	ram_fill(&rig->ram, DATA, 0x5a, kinds[0].length);
	assert_int_equal(calls_when_lost(rig, 1), 1);
	assert_true(ram_is_filled(&rig->ram, DATA, 0x5a, kinds[0].length));
}

#define TEST(fn)	   cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define TEST_SCATTERED(fn) cmocka_unit_test_setup_teardown(fn, setup_scattered, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lease_revoked_in_short_transfers),
		TEST(test_lease_revoked_in_interrupted_calls),
		TEST(test_lease_revoked_in_a_stable_write),
		TEST(test_lease_revoked_before_the_first_call),
		TEST_SCATTERED(test_lease_revoked_between_windows),
		TEST(test_memory_lost_before_the_first_call),
		TEST(test_memory_lost_in_short_transfers),
		TEST(test_memory_lost_before_it_is_filled_with_zeros),
	};

	return cmocka_run_group_tests_name("io_lease", tests, NULL, NULL);
}
