/* SPDX-License-Identifier: MIT */
/*
 * The device status state machine. As a pure function it is held against a second one, written
 * from the rules S-1 to S-7 alone, for all pairs of 8-bit register and written value; through the
 * register, for the messages and for what else a status write sets in motion.
 */
#include "disk.h"
#include "expect.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "device/device.h"
#include "device/status.h"

#define ACK	    0x01u
#define DRIVER	    0x02u
#define DRIVER_OK   0x04u
#define FEATURES_OK 0x08u
#define NEEDS_RESET 0x40u
#define FAILED	    0x80u

#define BIT(n)	  ((uint64_t)1 << (n))
#define VERSION_1 BIT(32)

/* What of the driver's features decides. */
enum features {
	FEATURES_GOOD,
	FEATURES_OLD,	      /* VERSION_1 is missing */
	FEATURES_UNKNOWN,     /* a bit that was not offered */
	FEATURES_OLD_UNKNOWN, /* both */
};

static const uint64_t offered = VERSION_1 | BIT(9) | BIT(6);
static const uint64_t accepted[] = {
	[FEATURES_GOOD] = VERSION_1 | BIT(9),
	[FEATURES_OLD] = BIT(9),
	[FEATURES_UNKNOWN] = VERSION_1 | BIT(13),
	[FEATURES_OLD_UNKNOWN] = BIT(13),
};

/* S-4: the only steps there are. */
static const struct {
	uint32_t from;
	uint32_t bit;
} steps[] = {
	{ 0, ACK },
	{ ACK, DRIVER },
	{ ACK | DRIVER, FEATURES_OK },
	{ ACK | DRIVER | FEATURES_OK, DRIVER_OK },
};

static bool is_step(uint32_t current, uint32_t value)
{
	for (size_t i = 0; i < 4; i++) {
		if (current == steps[i].from && value == (steps[i].from | steps[i].bit))
			return true;
	}
	return false;
}

static enum vblk_status_verdict expected(uint32_t current, uint32_t value, enum features features)
{
	for (uint32_t bit = 1; bit <= 0x80; bit <<= 1) {
		if ((current & bit) && !(value & bit)) /* S-1 */
			return current & NEEDS_RESET ? VBLK_STATUS_POISONED : VBLK_STATUS_CLEARS;
	}
	if (value == current) /* S-2 */
		return VBLK_STATUS_SAME;
	if (value == current + FAILED) /* S-3; no bit is cleared, so this adds exactly one */
		return VBLK_STATUS_GAVE_UP;
	if (is_step(current, value)) { /* S-5 */
		if (value != (ACK | DRIVER | FEATURES_OK) || features == FEATURES_GOOD)
			return VBLK_STATUS_STEP;
		return features == FEATURES_UNKNOWN ? VBLK_STATUS_UNOFFERED : VBLK_STATUS_LEGACY;
	}
	return current & NEEDS_RESET ? VBLK_STATUS_POISONED : VBLK_STATUS_ILLEGAL; /* S-7 */
}

static void test_S_all_pairs_by_table(void **state)
{
	(void)state;
	for (uint32_t current = 0; current < 256; current++) {
		for (uint32_t value = 1; value < 256; value++) {
			for (int f = FEATURES_GOOD; f <= FEATURES_OLD_UNKNOWN; f++) {
				enum vblk_status_verdict want =
					expected(current, value, (enum features)f);

				if (vblk_status_judge(current, value, accepted[f], offered) == want)
					continue;
				fail_msg("%#x over %#x, features %d: not %d", value, current, f,
					 (int)want);
			}
		}
	}
}

/* Only four of all writes move a driver on, and from no state is there a way past a reset. */
static void test_S4_there_are_exactly_four_steps(void **state)
{
	unsigned count = 0;

	(void)state;
	for (uint32_t current = 0; current < 256; current++) {
		for (uint32_t value = 1; value < 256; value++)
			count += vblk_status_judge(current, value, VERSION_1, VERSION_1) ==
				 VBLK_STATUS_STEP;
	}
	assert_int_equal(count, 4);
}

static void test_S4_values_wider_than_a_byte_are_illegal(void **state)
{
	(void)state;
	for (unsigned shift = 8; shift < 32; shift++) {
		uint32_t wide = (uint32_t)1 << shift;

		assert_int_equal(vblk_status_judge(0, wide, VERSION_1, VERSION_1),
				 VBLK_STATUS_ILLEGAL);
		assert_int_equal(vblk_status_judge(0, wide | ACK, VERSION_1, VERSION_1),
				 VBLK_STATUS_ILLEGAL);
		assert_int_equal(vblk_status_judge(ACK, wide | ACK | FAILED, VERSION_1, VERSION_1),
				 VBLK_STATUS_ILLEGAL);
	}
}

static void test_S3_S5_only_steps_and_failed_are_stored(void **state)
{
	(void)state;
	for (int verdict = VBLK_STATUS_SAME; verdict <= VBLK_STATUS_ILLEGAL; verdict++)
		assert_int_equal(vblk_status_is_stored((enum vblk_status_verdict)verdict),
				 verdict == VBLK_STATUS_STEP || verdict == VBLK_STATUS_GAVE_UP);
}

/* --- Through the register --- */

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static void create(struct guest *g)
{
	guest_create(g, &inline_options, disk_create(4096, 0));
}

/* Writes the values in turn, as far as a driver needs them to get to the last. */
static void walk_to(struct guest *g, uint32_t status)
{
	static const uint32_t path[] = { 0x1, 0x3, 0xb, 0xf };

	for (size_t i = 0; i < 4 && path[i] <= status; i++) {
		if (path[i] == 0xb)
			guest_accept(g, VERSION_1);
		guest_set_status(g, path[i]);
	}
	assert_int_equal(guest_status(g), status);
	guest_clear_log(g);
}

static void plant(struct guest *g, uint32_t status)
{
	atomic_store(&g->device->port->device_status, status);
}

static unsigned count_lines(struct guest *g)
{
	unsigned lines = 0;

	for (const char *c = g->log; *c; c++)
		lines += *c == '\n';
	return lines;
}

static void test_S_register_follows_the_machine(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	for (uint32_t current = 0; current < 256; current++) {
		for (uint32_t value = 1; value < 256; value++) {
			enum vblk_status_verdict want = expected(current, value, FEATURES_OLD);
			bool stored = vblk_status_is_stored(want);

			plant(&g, current);
			guest_clear_log(&g);
			g.now_ns +=
				VBLK_LOG_INTERVAL_NS; /* the limit on messages is another test's */
			guest_set_status(&g, value);
			assert_int_equal(guest_status(&g), stored ? value : current);
			/* S-7: a refusal, and FAILED, is told once; the rest is silent. */
			assert_int_equal(count_lines(&g),
					 want != VBLK_STATUS_SAME && want != VBLK_STATUS_STEP);
			/* DRIVER_OK puts the engine to work; it must not find it at work. */
			if (want == VBLK_STATUS_STEP && value == 0xf)
				guest_set_status(&g, 0);
		}
	}
	plant(&g, 0);
	guest_destroy(&g);
}

static void test_16_1_24_skipped_steps_are_refused(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	walk_to(&g, 0x3);
	guest_set_status(&g, 0xf);
	assert_int_equal(guest_status(&g), 0x3);
	guest_destroy(&g);
}

/* Rules: S-9, S-10 */
static void test_16_1_25_31_features_ok_needs_version_1(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	walk_to(&g, 0x3);
	guest_accept(&g, BIT(VIRTIO_BLK_F_BLK_SIZE));
	guest_set_status(&g, 0xb);
	assert_int_equal(guest_status(&g), 0x3);
	assert_true(guest_logged(&g, "did not accept VERSION_1"));
	assert_false(guest_logged(&g, "FEATURES_OK refused: driver accepted"));
	/* S-9: the driver may mend it. */
	guest_accept(&g, VERSION_1 | BIT(VIRTIO_BLK_F_BLK_SIZE));
	guest_set_status(&g, 0xb);
	assert_int_equal(guest_status(&g), 0xb);
	guest_destroy(&g);
}

/* Rules: D-LOG */
static void test_16_7_24_features_ok_refuses_unadvertised_bits(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	walk_to(&g, 0x3);
	guest_accept(&g, VERSION_1 | BIT(VIRTIO_BLK_F_DISCARD));
	guest_set_status(&g, 0xb);
	assert_int_equal(guest_status(&g), 0x3);
	assert_true(guest_logged(&g, "unadvertised feature bits"));
	assert_true(guest_logged(&g, "unadvertised=0x2000"));
	assert_true(guest_logged(&g, "driver_features=0x100002000"));
	guest_accept(&g, VERSION_1);
	guest_set_status(&g, 0xb);
	assert_int_equal(guest_status(&g), 0xb);
	guest_destroy(&g);
}

/* S-7a: with both wrong, VERSION_1 is what is said. */
static void test_S7_missing_version_1_takes_precedence(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	walk_to(&g, 0x3);
	guest_accept(&g, BIT(VIRTIO_BLK_F_DISCARD));
	guest_set_status(&g, 0xb);
	assert_true(guest_logged(&g, "did not accept VERSION_1"));
	assert_false(guest_logged(&g, "accepted unadvertised"));
	guest_destroy(&g);
}

static void test_E4_every_single_unoffered_bit_is_refused(void **state)
{
	(void)state;
	for (unsigned number = 0; number < 64; number++) {
		struct guest g;

		create(&g);
		walk_to(&g, 0x3);
		guest_accept(&g, VERSION_1 | BIT(number));
		guest_set_status(&g, 0xb);
		assert_int_equal(guest_status(&g), g.device->offered & BIT(number) ? 0xb : 0x3);
		guest_destroy(&g);
	}
}

static void test_16_1_47_driver_bit_alone_is_refused(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_set_status(&g, DRIVER);
	assert_int_equal(guest_status(&g), 0);
	guest_destroy(&g);
}

/* Rules: S-2 */
static void test_16_1_48_55_rewrites_are_silent(void **state)
{
	static const uint32_t values[] = { 0x1, 0x3, 0xb, 0xf, 0x80, 0x83, 0x4f, 0xcf };
	struct guest g;

	(void)state;
	create(&g);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		plant(&g, values[i]);
		guest_set_status(&g, values[i]);
		assert_int_equal(guest_status(&g), values[i]);
	}
	assert_string_equal(g.log, "");
	plant(&g, 0);
	guest_destroy(&g);
}

static void test_16_1_49_multi_bit_step_is_refused_and_logged(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	walk_to(&g, 0x1);
	guest_set_status(&g, 0xb);
	assert_int_equal(guest_status(&g), 0x1);
	assert_true(guest_logged(&g, "illegal FSM transition"));
	assert_true(guest_logged(&g, "device_status=0x1 requested=0xb new_bits=0xa"));
	assert_int_equal(count_lines(&g), 1);
	guest_destroy(&g);
}

/* Rules: S-1, D-LOG */
static void test_16_1_50_clearing_a_bit_is_refused_and_logged(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	walk_to(&g, 0x3);
	guest_set_status(&g, 0x1);
	assert_int_equal(guest_status(&g), 0x3);
	assert_true(guest_logged(&g, "attempted to clear"));
	assert_true(guest_logged(&g, "device_status=0x3 requested=0x1"));
	assert_int_equal(count_lines(&g), 1);
	guest_destroy(&g);
}

static void test_16_1_52_failed_is_accepted_in_every_state(void **state)
{
	static const uint32_t states[] = { 0x0, 0x1, 0x3, 0xb, 0xf };

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		struct guest g;

		create(&g);
		walk_to(&g, states[i]);
		guest_set_status(&g, states[i] | FAILED);
		assert_int_equal(guest_status(&g), states[i] | FAILED);
		assert_true(guest_logged(&g, "driver gave up"));
		assert_int_equal(count_lines(&g), 1);
		guest_destroy(&g);
	}
}

static void test_16_1_53_failed_with_another_bit_is_refused(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	walk_to(&g, 0x1);
	guest_set_status(&g, 0x1 | FAILED | 0x10);
	assert_int_equal(guest_status(&g), 0x1);
	assert_true(guest_logged(&g, "illegal FSM transition"));
	guest_destroy(&g);
}

static void test_16_1_54_failed_on_top_of_needs_reset(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	plant(&g, 0xf | NEEDS_RESET);
	guest_set_status(&g, 0xf | NEEDS_RESET | FAILED);
	assert_int_equal(guest_status(&g), 0xf | NEEDS_RESET | FAILED);
	plant(&g, 0);
	guest_destroy(&g);
}

static void test_16_7_26_needs_reset_is_not_cleared_by_ack(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	plant(&g, NEEDS_RESET);
	guest_set_status(&g, ACK);
	assert_int_equal(guest_status(&g), NEEDS_RESET);
	assert_true(guest_logged(&g, "driver must write 0 to status first"));
	assert_int_equal(count_lines(&g), 1);
	plant(&g, 0);
	guest_destroy(&g);
}

static void test_S8_16_1_26_zero_clears_every_state(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	for (uint32_t status = 0; status < 256; status++) {
		plant(&g, status);
		guest_set_status(&g, 0);
		assert_int_equal(guest_status(&g), 0);
	}
	assert_string_equal(g.log, "");
	guest_destroy(&g);
}

/*
 * --- While a worker sets NEEDS_RESET (S-6) ---
 *
 * Round by round, a worker sets the bit once while the driver takes its first step. Whatever the
 * order, the bit must be there in the end, and the driver's write must have been judged.
 */
#define ROUNDS 1024u

struct setter {
	struct vblk_port *port;
	atomic_uint begun; /* rounds that the driver has opened */
	atomic_uint done;
};

/* Looks without a break at first, to be there at the same moment as the other. */
static void wait_until(atomic_uint *counter, unsigned value)
{
	for (unsigned looks = 0; atomic_load(counter) != value; looks++) {
		if (looks > 1000)
			sched_yield();
	}
}

static void *set_needs_reset(void *context)
{
	struct setter *setter = context;

	for (unsigned round = 1; round <= ROUNDS; round++) {
		wait_until(&setter->begun, round);
		atomic_fetch_or(&setter->port->device_status, NEEDS_RESET);
		atomic_store(&setter->done, round);
	}
	return NULL;
}

static void test_16_7_27_needs_reset_survives_concurrent_status_writes(void **state)
{
	struct setter setter = { 0 };
	pthread_t thread;
	struct guest g;

	(void)state;
	create(&g);
	setter.port = g.device->port;
	assert_int_equal(pthread_create(&thread, NULL, set_needs_reset, &setter), 0);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		uint32_t status;

		plant(&g, 0);
		atomic_store(&setter.begun, round);
		/* Later by a little each time, to meet the other wherever it is. */
		for (volatile unsigned spin = 0; spin < round % 64; spin++)
			;
		guest_set_status(&g, ACK);
		wait_until(&setter.done, round);
		status = guest_status(&g);
		assert_true(status == NEEDS_RESET || status == (NEEDS_RESET | ACK));
		assert_false(guest_logged(&g, "does not settle"));
		guest_clear_log(&g);
	}
	pthread_join(thread, NULL);
	guest_set_status(&g, ACK);
	assert_true(guest_status(&g) & NEEDS_RESET);
	plant(&g, 0);
	guest_destroy(&g);
}

/* --- A guest that wants to fill the host's disk with lines --- */

/* Everything that a driver can be told off for, from FEATURES_OK on and back. */
static void misbehave(struct guest *g)
{
	guest_negotiate(g);
	guest_write32(g, VIRTIO_MMIO_QUEUE_NUM, 3);
	guest_write32(g, VIRTIO_MMIO_QUEUE_DESC_LOW, 1);
	guest_set_status(g, 0x1);
	guest_set_status(g, 0x1b);
	guest_set_status(g, 0x8b);
	guest_set_status(g, 0);
	guest_set_status(g, 0x1);
	guest_set_status(g, 0x3);
	guest_accept(g, 0);
	guest_set_status(g, 0xb);
	guest_accept(g, UINT64_MAX);
	guest_set_status(g, 0xb);
	vblk_port_set_needs_reset(g->device->port);
	guest_set_status(g, 0x1);
	guest_kick(g);
	guest_set_status(g, 0);
}

#define MISDEEDS 9

static void test_D_LOG_guest_cannot_flood_the_log(void **state)
{
	struct guest_options options = inline_options;
	const char *line;
	unsigned lines = 0;
	struct guest g;

	(void)state;
	options.unbound = true;
	guest_create(&g, &options, disk_create(4096, 0));
	misbehave(&g);
	for (line = strchr(g.log, '\n'); line; line = strchr(line + 1, '\n'))
		lines++;
	assert_int_equal(lines, MISDEEDS);
	guest_clear_log(&g);
	/* As if there had been so many that the next may pass in a hundred years. */
	atomic_store(&g.device->port->log_limit.full_at, UINT64_MAX / 2);
	misbehave(&g);
	misbehave(&g);
	assert_string_equal(g.log, "");
	atomic_store(&g.device->port->log_limit.full_at, 0);
	guest_set_status(&g, 0x80);
	assert_true(guest_logged(&g, "driver gave up"));
	assert_true(guest_logged(&g, "suppressed=18"));
	guest_destroy(&g);
}

/* Rules: D-LOG */
static void test_every_line_names_its_device(void **state)
{
	struct guest_options options = inline_options;
	char wanted[32];
	struct guest g;

	(void)state;
	options.unbound = true;
	guest_create(&g, &options, disk_create(4096, 0));
	misbehave(&g);
	snprintf(wanted, sizeof(wanted), " instance=%u", vblk_device_instance(g.device));
	for (char *line = strtok(g.log, "\n"); line; line = strtok(NULL, "\n"))
		assert_non_null(strstr(line, wanted));
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_S_all_pairs_by_table),
		cmocka_unit_test(test_S4_there_are_exactly_four_steps),
		cmocka_unit_test(test_S4_values_wider_than_a_byte_are_illegal),
		cmocka_unit_test(test_S3_S5_only_steps_and_failed_are_stored),
		cmocka_unit_test(test_S_register_follows_the_machine),
		cmocka_unit_test(test_16_1_24_skipped_steps_are_refused),
		cmocka_unit_test(test_16_1_25_31_features_ok_needs_version_1),
		cmocka_unit_test(test_16_7_24_features_ok_refuses_unadvertised_bits),
		cmocka_unit_test(test_S7_missing_version_1_takes_precedence),
		cmocka_unit_test(test_E4_every_single_unoffered_bit_is_refused),
		cmocka_unit_test(test_16_1_47_driver_bit_alone_is_refused),
		cmocka_unit_test(test_16_1_48_55_rewrites_are_silent),
		cmocka_unit_test(test_16_1_49_multi_bit_step_is_refused_and_logged),
		cmocka_unit_test(test_16_1_50_clearing_a_bit_is_refused_and_logged),
		cmocka_unit_test(test_16_1_52_failed_is_accepted_in_every_state),
		cmocka_unit_test(test_16_1_53_failed_with_another_bit_is_refused),
		cmocka_unit_test(test_16_1_54_failed_on_top_of_needs_reset),
		cmocka_unit_test(test_16_7_26_needs_reset_is_not_cleared_by_ack),
		cmocka_unit_test(test_S8_16_1_26_zero_clears_every_state),
		cmocka_unit_test(test_16_7_27_needs_reset_survives_concurrent_status_writes),
		cmocka_unit_test(test_D_LOG_guest_cannot_flood_the_log),
		cmocka_unit_test(test_every_line_names_its_device),
	};

	return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
