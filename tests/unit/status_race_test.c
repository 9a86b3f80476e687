/* SPDX-License-Identifier: MIT */
/*
 * S-6: what becomes of a status write when a worker sets NEEDS_RESET between the device's look at
 * the register and its write. That moment is where the device asks the state machine, so here the
 * machine is ours: this vblk_status_judge takes the place of the library's, which the linker then
 * leaves in its archive.
 */
#include "disk.h"
#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "device/device.h"
#include "device/status.h"

#define ACK	    0x01u
#define NEEDS_RESET 0x40u
#define FAILED	    0x80u

/* What goes on meanwhile. */
static struct vblk_port *port;
static unsigned calls;
static unsigned interferences; /* how many times a worker still gets in between */
static uint32_t bits;	       /* what it toggles */

enum vblk_status_verdict vblk_status_judge(uint32_t current, uint32_t value, uint64_t accepted,
					   uint64_t offered)
{
	(void)accepted;
	(void)offered;
	calls++;
	if (interferences > 0) {
		interferences--;
		atomic_fetch_xor(&port->device_status, bits);
	}
	if (current & NEEDS_RESET & ~value)
		return VBLK_STATUS_POISONED;
	return value == FAILED ? VBLK_STATUS_GAVE_UP : VBLK_STATUS_STEP;
}

static void create(struct guest *g, unsigned times, uint32_t toggled)
{
	const struct guest_options options = { .device.engine = VBLK_ENGINE_INLINE };

	guest_create(g, &options, disk_create(4096, 0));
	port = g->device->port;
	calls = 0;
	interferences = times;
	bits = toggled;
}

static void test_S5_undisturbed_write_is_stored(void **state)
{
	struct guest g;

	(void)state;
	create(&g, 0, 0);
	guest_set_status(&g, ACK);
	assert_int_equal(guest_status(&g), ACK);
	assert_int_equal(calls, 1);
	guest_destroy(&g);
}

/* Rules: O-4 */
static void test_S6_disturbed_write_is_judged_again(void **state)
{
	static const uint32_t values[] = { ACK, FAILED };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct guest g;

		create(&g, 1, NEEDS_RESET);
		guest_set_status(&g, values[i]);
		assert_int_equal(guest_status(&g), NEEDS_RESET);
		assert_int_equal(calls, 2);
		assert_true(guest_logged(&g, "device_status=0x40"));
		assert_true(guest_logged(&g, "driver must write 0 to status first"));
		assert_false(guest_logged(&g, "driver gave up"));
		assert_false(guest_logged(&g, "does not settle"));
		guest_destroy(&g);
	}
}

/* Bits that do not stand in its way let the write through, at the next try. */
static void test_S6_fourth_try_is_the_last(void **state)
{
	struct guest g;

	(void)state;
	create(&g, 3, 0x20);
	guest_set_status(&g, ACK);
	assert_int_equal(guest_status(&g), ACK);
	assert_int_equal(calls, 4);
	guest_destroy(&g);
	create(&g, 4, 0x20);
	guest_set_status(&g, ACK);
	assert_int_equal(guest_status(&g), 0);
	assert_int_equal(calls, 4);
	assert_true(guest_logged(&g, "vblk: error: status register does not settle"));
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_S5_undisturbed_write_is_stored),
		cmocka_unit_test(test_S6_disturbed_write_is_judged_again),
		cmocka_unit_test(test_S6_fourth_try_is_the_last),
	};

	return cmocka_run_group_tests_name("status_race", tests, NULL, NULL);
}
