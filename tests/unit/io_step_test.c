/* SPDX-License-Identifier: MIT */
/*
 * Requests that are too large for one step: calls to the disk are limited, zeros are stored piece
 * by piece, and between two of either a worker that is given up stops. Where zeros are stored, the
 * test looks on from a page fault: guest memory is inaccessible until it is written to.
 */
#include "io_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/checked.h"

#define MIB	  (1u << 20)
#define PAGE	  4096u
#define DISK_SIZE (12u * MIB)
#define DATA	  0x10000u
#define SENTINEL  0xeeu
#define STEP	  (64u << 10)

static int setup(void **state)
{
	struct io_rig *rig = calloc(1, sizeof(*rig));

	ram_create(&rig->ram, { 0, 16 * MIB });
	io_rig_create(rig, DISK_SIZE, 0xab);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	io_rig_destroy(*state);
	free(*state);
	return 0;
}

/* `length` bytes of data, in segments as large as a driver may make them. */
static void request(struct io_rig *rig, uint32_t type, uint32_t length)
{
	io_rig_request(rig, type, 0);
	for (uint32_t at = 0; at < length; at += MIB)
		io_rig_segment(rig, DATA + at, (uint32_t)vblk_min_u64(MIB, length - at));
}

static void expect_call(const struct io_rig *rig, unsigned i, uint64_t offset, uint64_t bytes)
{
	assert_int_equal(rig->tape.call[i].offset, offset);
	assert_int_equal(rig->tape.call[i].bytes, bytes);
}

static void test_D_FRAGMENT_large_read_is_several_calls(void **state)
{
	struct io_rig *rig = *state;

	disk_fill(rig->plain, 5 * MIB, 0xcd, MIB);
	request(rig, VIRTIO_BLK_T_IN, 9 * MIB + 512);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 9 * MIB + 513);
	assert_int_equal(rig->tape.calls, 3);
	expect_call(rig, 0, 0, 4 * MIB);
	expect_call(rig, 1, 4 * MIB, 4 * MIB);
	expect_call(rig, 2, 8 * MIB, MIB + 512);
	assert_true(ram_is_filled(&rig->ram, DATA, 0xab, 5 * MIB));
	assert_true(ram_is_filled(&rig->ram, DATA + 5 * MIB, 0xcd, MIB));
	assert_true(ram_is_filled(&rig->ram, DATA + 6 * MIB, 0xab, 3 * MIB + 512));
	io_rig_counters(rig, .reads_completed = 1, .bytes_read = 9 * MIB + 512);
}

static void test_D_FRAGMENT_large_write_is_several_calls(void **state)
{
	struct io_rig *rig = *state;

	ram_fill(&rig->ram, DATA, 0xcd, 5 * MIB);
	request(rig, VIRTIO_BLK_T_OUT, 5 * MIB);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(rig->tape.calls, 2);
	expect_call(rig, 0, 0, 4 * MIB);
	expect_call(rig, 1, 4 * MIB, MIB);
	assert_true(disk_is_filled(rig->plain, 0, 0xcd, 5 * MIB));
	assert_true(disk_is_filled(rig->plain, 5 * MIB, 0xab, DISK_SIZE - 5 * MIB));
	io_rig_counters(rig, .writes_completed = 1, .bytes_written = 5 * MIB);
}

/* The rest of a short one comes before what is behind it. */
static void test_D_SHORT_within_a_limited_call(void **state)
{
	const struct vblk_faulty_rule rule = {
		.op = VBLK_FAULTY_PREADV, .action = VBLK_FAULTY_SHORT, .value = 1000, .count = 1
	};
	struct io_rig *rig = *state;

	io_rig_faults(rig, &rule, 1);
	request(rig, VIRTIO_BLK_T_IN, 5 * MIB);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 5 * MIB + 1);
	assert_int_equal(rig->tape.calls, 3);
	expect_call(rig, 1, 1000, 4 * MIB - 1000);
	expect_call(rig, 2, 4 * MIB, MIB);
	assert_true(ram_is_filled(&rig->ram, DATA, 0xab, 5 * MIB));
}

static void take_lease(void *context)
{
	struct io_rig *rig = context;

	assert_int_equal(vblk_lease_revoke(&rig->lease), 0);
}

static void test_lease_revoked_between_limited_calls(void **state)
{
	struct io_rig *rig = *state;

	request(rig, VIRTIO_BLK_T_OUT, 9 * MIB);
	rig->tape.hook = take_lease;
	rig->tape.context = rig;
	assert_int_equal(io_rig_transfer(rig).error, -ECANCELED);
	assert_int_equal(rig->tape.calls, 1);
}

/* Who looks on while zeros are stored. A signal handler has no context, hence the global. */
static struct {
	struct io_rig *rig;
	uint8_t *start;	      /* what is inaccessible until it is written to ... */
	size_t length;	      /* ... a step at a time */
	unsigned faults;      /* how often that was */
	unsigned revoke_at;   /* the fault in which the lease goes; 0: in none */
	bool always_held;     /* the lease was, in all of them */
	struct sigaction old; /* what to do with SIGSEGV otherwise */
} witness;

static void see_fault(int number, siginfo_t *info, void *context)
{
	uint8_t *at = info->si_addr;
	size_t step;

	(void)context;
	if (at < witness.start || at >= witness.start + witness.length) {
		sigaction(number, &witness.old, NULL);
		return;
	}
	witness.faults++;
	if (!(atomic_load(&witness.rig->lease.state) & VBLK_LEASE_HELD))
		witness.always_held = false;
	if (witness.faults == witness.revoke_at)
		vblk_lease_surrender(&witness.rig->lease);
	step = (size_t)(at - witness.start) / STEP * STEP;
	if (mprotect(witness.start + step, STEP, PROT_READ | PROT_WRITE) < 0)
		abort();
}

/*
 * Reads `length` bytes at DATA from a disk that has none of them, and looks on; returns how the
 * transfer ended.
 */
static int read_nothing(struct io_rig *rig, uint32_t length, unsigned revoke_at)
{
	const struct vblk_faulty_rule rule = { .op = VBLK_FAULTY_PREADV,
					       .action = VBLK_FAULTY_ZERO };
	struct sigaction action = { .sa_sigaction = see_fault, .sa_flags = SA_SIGINFO };
	struct vblk_transfer transfer;

	witness.rig = rig;
	witness.start = ram_at(&rig->ram, DATA);
	witness.length = length;
	witness.faults = 0;
	witness.revoke_at = revoke_at;
	witness.always_held = true;
	io_rig_faults(rig, &rule, 1);
	vblk_lease_init(&rig->lease);
	ram_fill(&rig->ram, DATA, SENTINEL, length);
	request(rig, VIRTIO_BLK_T_IN, length);
	assert_int_equal(sigaction(SIGSEGV, &action, &witness.old), 0);
	assert_int_equal(mprotect(witness.start, length, PROT_NONE), 0);
	transfer = io_rig_transfer(rig);
	assert_int_equal(mprotect(witness.start, length, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(sigaction(SIGSEGV, &witness.old, NULL), 0);
	return transfer.error;
}

static void test_zeros_are_stored_while_the_lease_is_held(void **state)
{
	struct io_rig *rig = *state;

	assert_int_equal(read_nothing(rig, 16 * STEP, 0), 0);
	assert_int_equal(witness.faults, 16);
	assert_true(witness.always_held);
	assert_false(atomic_load(&rig->lease.state) & VBLK_LEASE_HELD);
	assert_true(ram_is_filled(&rig->ram, DATA, 0, 16 * STEP));
}

/* Rules: D-HOLE-7 */
static void test_lease_revoked_between_steps_of_zeros(void **state)
{
	struct io_rig *rig = *state;

	for (unsigned at = 1; at < 16; at++) {
		assert_int_equal(read_nothing(rig, 16 * STEP, at), -ECANCELED);
		assert_int_equal(witness.faults, at);
		assert_false(atomic_load(&rig->lease.state) & VBLK_LEASE_HELD);
		assert_true(ram_is_filled(&rig->ram, DATA, 0, at * STEP));
		assert_true(ram_is_filled(&rig->ram, DATA + at * STEP, SENTINEL, (16 - at) * STEP));
	}
}

/* Steps begin where the data does, and where the file ended. */
static void test_H_IN_zeros_of_any_place_and_length(void **state)
{
	static const struct {
		uint32_t read;
		uint32_t length;
	} cases[] = {
		{ 0, 512 },	   { 1, 512 },	      { 511, 512 },	     { 0, STEP },
		{ 1, STEP + 512 }, { 0, STEP + 512 }, { 3, 3 * STEP - 512 }, { 5, 2 * MIB + 512 },
	};
	struct io_rig *rig = *state;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		const struct vblk_faulty_rule rules[] = {
			{ VBLK_FAULTY_PREADV, VBLK_FAULTY_SHORT, cases[i].read, .count = 1 },
			{ .op = VBLK_FAULTY_PREADV, .action = VBLK_FAULTY_ZERO },
		};

		if (cases[i].read > 0)
			io_rig_faults(rig, rules, 2);
		else
			io_rig_faults(rig, rules + 1, 1);
		ram_fill(&rig->ram, DATA - PAGE, SENTINEL, 3 * MIB);
		request(rig, VIRTIO_BLK_T_IN, cases[i].length);
		io_rig_expect(rig, VIRTIO_BLK_S_OK, cases[i].length + 1);
		assert_true(ram_is_filled(&rig->ram, DATA - PAGE, SENTINEL, PAGE));
		assert_true(ram_is_filled(&rig->ram, DATA, 0xab, cases[i].read));
		assert_true(ram_is_filled(&rig->ram, DATA + cases[i].read, 0,
					  cases[i].length - cases[i].read));
		assert_true(ram_is_filled(&rig->ram, DATA + cases[i].length, SENTINEL, PAGE));
		io_rig_counters(rig, .reads_completed = 1, .bytes_read = cases[i].read);
	}
}

/* A read writes to guest memory, and a log of written pages has to say so; a write does not. */
static void test_read_is_recorded_as_written_pages(void **state)
{
	uint8_t bits[64] = { 0 };
	const struct vblk_dirty_log log = { bits, sizeof(bits) };
	const struct vblk_faulty_rule rule = { .op = VBLK_FAULTY_PREADV,
					       .action = VBLK_FAULTY_ERROR,
					       .value = EIO };
	struct io_rig *rig = *state;

	rig->ram.view.dirty = &log;
	request(rig, VIRTIO_BLK_T_OUT, 2 * PAGE);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(bits[DATA / PAGE / 8], 0);
	request(rig, VIRTIO_BLK_T_IN, 2 * PAGE);
	io_rig_expect(rig, VIRTIO_BLK_S_OK, 2 * PAGE + 1);
	assert_int_equal(bits[DATA / PAGE / 8], 3);
	/* One that failed may have got as far as memory. */
	bits[DATA / PAGE / 8] = 0;
	io_rig_faults(rig, &rule, 1);
	request(rig, VIRTIO_BLK_T_IN, 2 * PAGE);
	io_rig_expect(rig, VIRTIO_BLK_S_IOERR, 1);
	assert_int_equal(bits[DATA / PAGE / 8], 3);
	rig->ram.view.dirty = NULL;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_D_FRAGMENT_large_read_is_several_calls),
		TEST(test_D_FRAGMENT_large_write_is_several_calls),
		TEST(test_D_SHORT_within_a_limited_call),
		TEST(test_lease_revoked_between_limited_calls),
		TEST(test_zeros_are_stored_while_the_lease_is_held),
		TEST(test_lease_revoked_between_steps_of_zeros),
		TEST(test_H_IN_zeros_of_any_place_and_length),
		TEST(test_read_is_recorded_as_written_pages),
	};

	return cmocka_run_group_tests_name("io_step", tests, NULL, NULL);
}
