/* SPDX-License-Identifier: MIT */
/* What has to be the same on both sides, and what both might break together. */
#include "twins_expect.h"
#include "disk.h"
#include "process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "base/checked.h"

#define CONFIG 60u /* bytes of configuration space */

void twins_expect_same_number(const struct twins *twins, const char *what, uint64_t registers,
			      uint64_t session)
{
	if (registers != session)
		fail_msg("difference: program %u, step %u: %s is %#llx and %#llx", twins->program,
			 twins->step, what, (unsigned long long)registers,
			 (unsigned long long)session);
}

static void expect_same_bytes(const struct twins *twins, const char *what, const uint8_t *registers,
			      const uint8_t *session, size_t length)
{
	if (memcmp(registers, session, length) == 0)
		return;
	for (size_t i = 0; i < length; i++) {
		if (registers[i] != session[i])
			fail_msg("difference: program %u, step %u: %s at %#zx holds %#x and %#x",
				 twins->program, twins->step, what, i, registers[i], session[i]);
	}
}

static void promise(const struct twins *twins, unsigned side, bool kept, const char *what)
{
	if (!kept)
		fail_msg("difference: program %u, step %u: on side %u it does not hold that %s",
			 twins->program, twins->step, side, what);
}

#define COUNTER(name) offsetof(struct vblk_metrics_snapshot, name)

static uint64_t counter(const struct vblk_metrics_snapshot *from, size_t at)
{
	uint64_t value;

	memcpy(&value, (const uint8_t *)from + at, sizeof(value));
	return value;
}

/*
 * How often a request that waits for tokens is looked at is the engine's business, and while a
 * device rests nobody reads the descriptor that it is notified by over vhost-user.
 */
static bool must_be_same(const struct twins *twins, size_t at)
{
	return at != COUNTER(throttled) && (at != COUNTER(notifications) || !twins->paused);
}

static void expect_same_counters(const struct twins *twins,
				 const struct vblk_metrics_snapshot now[TWINS_SIDES])
{
	static const char *const names[] = {
		"reads_completed",   "bytes_read",
		"writes_completed",  "bytes_written",
		"flushes_completed", "discards_completed",
		"bytes_discarded",   "write_zeroes_completed",
		"bytes_zeroed",	     "throttled",
		"io_errors",	     "invalid_avail_idx",
		"throttled_now",     "notifications",
		"interrupts",
	};

	_Static_assert(sizeof(now[0]) == VBLK_ARRAY_SIZE(names) * sizeof(uint64_t),
		       "there is another counter");
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(names); i++) {
		size_t at = i * sizeof(uint64_t);

		if (must_be_same(twins, at))
			twins_expect_same_number(twins, names[i], counter(&now[REGISTERS], at),
						 counter(&now[SESSION], at));
		for (unsigned side = 0; side < TWINS_SIDES && at != COUNTER(throttled_now); side++)
			promise(twins, side,
				counter(&now[side], at) >= counter(&twins->before[side], at),
				"counters grow");
	}
	twins_expect_same_number(twins, "whether a request ever waited",
				 now[REGISTERS].throttled > 0, now[SESSION].throttled > 0);
}

/* What both sides might break together. */
static void expect_promises(struct twins *twins, unsigned side,
			    const struct vblk_metrics_snapshot *now)
{
	struct guest *guest = &twins->g[side];
	bool needs_reset = twins->status & VIRTIO_CONFIG_S_NEEDS_RESET;
	bool at_work = !twins->paused && !needs_reset && now->throttled_now == 0;
	uint16_t left = (uint16_t)(guest->avail_idx - guest_used_idx(guest));

	promise(twins, side, now->throttled_now <= 1, "one queue waits once");
	promise(twins, side, now->interrupts == twins->interrupts,
		"each interrupt that is counted is raised");
	promise(twins, side,
		now->invalid_avail_idx == twins->before[side].invalid_avail_idx || needs_reset,
		"a poisoned queue needs a reset");
	if (twins->looked && !twins->wild && at_work)
		promise(twins, side, left <= now->io_errors - twins->errors_at_reset,
			"each chain is published or counted as an error");
}

static bool is_memory_same(void *context)
{
	struct twins *twins = context;

	return memcmp(guest_at(&twins->g[REGISTERS], 0), guest_at(&twins->g[SESSION], 0),
		      TWINS_RAM_SIZE) == 0;
}

/*
 * A worker's timer is of the real time. When a request waits for tokens, it may look at the ring at
 * any moment, this one included, and while it looks it wants no notifications.
 */
static void expect_same_memory(struct twins *twins)
{
	if (process_wait(is_memory_same, twins))
		return; /* and at the next look it may be another already */
	expect_same_bytes(twins, "memory", guest_at(&twins->g[REGISTERS], 0),
			  guest_at(&twins->g[SESSION], 0), TWINS_RAM_SIZE);
}

void twins_expect_same(struct twins *twins)
{
	struct guest *registers = &twins->g[REGISTERS], *session = &twins->g[SESSION];
	struct vblk_metrics_snapshot now[TWINS_SIDES];
	uint64_t interrupts = guest_take_interrupts(registers);

	twins_expect_same_number(twins, "interrupts taken", interrupts,
				 guest_take_interrupts(session));
	twins->interrupts += interrupts;
	for (unsigned side = 0; side < TWINS_SIDES; side++)
		now[side] = guest_metrics(&twins->g[side]);
	/* The message of a change is no interrupt yet, but is told with them. */
	now[SESSION].interrupts += twins->changes;
	expect_same_memory(twins);
	twins->status = guest_status(registers);
	twins_expect_same_number(twins, "status", twins->status, guest_status(session));
	twins_expect_same_number(twins, "the configuration change",
				 guest_interrupt_status(registers) & VIRTIO_MMIO_INT_CONFIG,
				 guest_interrupt_status(session) & VIRTIO_MMIO_INT_CONFIG);
	twins_expect_same_number(twins, "capacity", guest_capacity(registers),
				 guest_capacity(session));
	twins_expect_same_number(twins, "rest", guest_is_paused(registers),
				 guest_is_paused(session));
	expect_same_counters(twins, now);
	for (enum vblk_faulty_op op = 0; op < VBLK_FAULTY_OPS; op++)
		twins_expect_same_number(twins, "calls to the disk",
					 vblk_faulty_calls(twins->disk[REGISTERS], op),
					 vblk_faulty_calls(twins->disk[SESSION], op));
	for (unsigned side = 0; side < TWINS_SIDES; side++)
		expect_promises(twins, side, &now[side]);
	if (twins->looked && now[REGISTERS].throttled_now == 0)
		twins->in_ring = 0;
	memcpy(twins->before, now, sizeof(now));
}

void twins_expect_same_config(struct twins *twins)
{
	uint8_t bytes[TWINS_SIDES][CONFIG];

	for_each_twin (guest, twins)
		guest_read_config(guest, 0, bytes[guest - twins->g], CONFIG);
	expect_same_bytes(twins, "configuration", bytes[REGISTERS], bytes[SESSION], CONFIG);
}

void twins_expect_same_disk(struct twins *twins)
{
	static uint8_t bytes[TWINS_SIDES][TWINS_DISK_SIZE];

	for (unsigned side = 0; side < TWINS_SIDES; side++) {
		const struct iovec iov = { bytes[side], TWINS_DISK_SIZE };

		assert_int_equal(vblk_faulty_set_rules(twins->disk[side], NULL, 0), 0);
		assert_int_equal(vblk_backing_preadv(twins->disk[side], &iov, 1, 0),
				 TWINS_DISK_SIZE);
	}
	expect_same_bytes(twins, "the disk", bytes[REGISTERS], bytes[SESSION], TWINS_DISK_SIZE);
}
