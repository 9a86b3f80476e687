/* SPDX-License-Identifier: MIT */
/*
 * One drain, whose calls to the disk are made by somebody else: in any order, late, refused, or
 * given back. A program lays out requests as a hostile driver does, has the disk fail, lets calls
 * land one by one, and lets things happen in the middle of it: the lease is revoked, memory is
 * lost, time passes, the drain is asked to end, another queue wants tokens.
 *
 * There is no model that foretells every byte, as the device fuzzer has it. What is looked at is
 * what has to hold in whatever order things come: each step of the drain (drain_watch.h), and what
 * is there between two (drain_rig.c). At the end all lands, the queue is served to its end, and
 * nobody may be left behind.
 */
#include "check.h"
#include "disk_model.h"
#include "drain_air.h"
#include "drain_rig.h"
#include "drain_watch.h"
#include "records.h"
#include "steps.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
/* Calls to the disk that a program may cause before it is cut off. */
#define CALLS_MOST 1000u

/*
 * What a step does and what its arguments a[0..6] mean; the function of the step says more.
 *
 * SETUP       as of drain_rig_begin; counts for the whole program, the first one does
 * REQUEST     a[0..6] as of driver_requests; a[6] 0-3 how many more, 4 run
 * RANGES      likewise, as of driver_ranges
 * FLOOD       a[0..4] as of REQUEST, a[5] how many more, a[6] 4 run
 * RUN         a[0] 0-2 how many times more, 7 each time when it was told to
 * LAND        so many calls land (a[0]), and the drain is told (a[1] odd)
 * AIR         a[0..3] the patterns of struct drain_air
 * INCIDENT    a[0] which, a[1] when, as of drain_rig_plan; a[2] detail
 * CLOCK       a[0..1] by how much, a[2] log2 of the tick, if not 0
 * THROTTLE    as of step_limits
 * COMPETE     a[0..1] bytes; with a[2] odd, not any more
 * RENEW       as of drain_rig_renew
 * FAULT, HOOK, DESC, USED_EVENT   as of step_...
 * POKE        a[0..2] address, a[3] how many, a[4..6] bytes
 * OFFER       a[0..1] head
 * AVAIL_IDX   a[0..1] step
 */
enum op {
	OP_SETUP,
	OP_REQUEST,
	OP_RANGES,
	OP_FLOOD,
	OP_RUN,
	OP_LAND,
	OP_SETTLE,
	OP_AIR,
	OP_INCIDENT,
	OP_CLOCK,
	OP_THROTTLE,
	OP_COMPETE,
	OP_RENEW,
	OP_FAULT,
	OP_HOOK,
	OP_DESC,
	OP_USED_EVENT,
	OP_POKE,
	OP_OFFER,
	OP_AVAIL_IDX,
	OPS,
};

const uint8_t fuzz_phrases[][RECORD_SIZE] = {
	{ OP_SETUP, SETUP_ALONE, 1 },
	{ OP_SETUP, SETUP_STRICT },
	{ OP_SETUP, SETUP_STRICT, 1 },
	{ OP_SETUP, SETUP_RECORD },
	{ OP_SETUP, SETUP_RECORD | SETUP_EVENT_IDX, 6 },
	{ OP_SETUP, SETUP_STABLE },
	{ OP_SETUP, SETUP_STABLE | SETUP_PLAIN, 1 },
	{ OP_SETUP, SETUP_EVENT_IDX, 1, 10 },
	{ OP_SETUP, SETUP_READ_ONLY },
	{ OP_SETUP, 0, 1, 0, 9 },
	{ OP_SETUP, SETUP_STRICT, 1, 0x80 },
	{ OP_SETUP, SETUP_STRICT, 0, 0x60, 0, 0, 5, 2 },
	{ OP_REQUEST, 0, 0, 0, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 1, 0, 0, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 2, 0, 0, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 3, 0, 0, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 6, 0, 0, 0, 0, 9, 0x10 },
	{ OP_REQUEST, 0, 0, 0, 0, 0x20, 0, 0x10 },
	{ OP_REQUEST, 0, 0, 0, 0, 0x18, 0, 0x10 },
	{ OP_REQUEST, 1, 3, 3, 13, 0, 0, 0x13 },
	{ OP_REQUEST, 0, 0, 5, 0x3c, 0, 0, 0x10 },
	{ OP_REQUEST, 0, 15, 2, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 0, 0, 0, 0, 0, 0, 3 },
	{ OP_REQUEST, 1, 0, 0, 0, 0, 0, 0x50 },
	{ OP_FLOOD, 2, 0, 0, 0, 0, 140, 0x10 },
	{ OP_FLOOD, 0, 0, 0, 0, 0, 15, 0x10 },
	{ OP_FLOOD, 0, 0, 0, 0, 0x20, 20, 0x10 },
	{ OP_FLOOD, 1, 0, 0, 0, 0, 31 },
	{ OP_RANGES, 0, 0, 0, 0, 0, 0, 0x10 },
	{ OP_RANGES, 1, 0, 2, 1, 0, 1, 0x10 },
	{ OP_RANGES, 1, 0, 7, 3, 0, 0, 0x10 },
	{ OP_RUN },
	{ OP_RUN },
	{ OP_RUN, 0x83 },
	{ OP_LAND, 1, 1 },
	{ OP_LAND, 3 },
	{ OP_LAND, 255, 1 },
	{ OP_SETTLE },
	{ OP_AIR, 0, 0, 0xff },
	{ OP_AIR, 0, 0, 0xff, 7 },
	{ OP_AIR, 0, 0, 0xaa, 3 },
	{ OP_AIR, 0xff },
	{ OP_AIR, 0x55, 0x33, 0xf0, 1 },
	{ OP_AIR, 0, 0xff },
	{ OP_AIR },
	{ OP_INCIDENT, INCIDENT_REVOKE },
	{ OP_INCIDENT, INCIDENT_REVOKE, 7 },
	{ OP_INCIDENT, INCIDENT_LOSE },
	{ OP_INCIDENT, INCIDENT_LOSE, 9 },
	{ OP_INCIDENT, INCIDENT_LOSE, 0x42 },
	{ OP_INCIDENT, INCIDENT_LOSE, 0x81 },
	{ OP_INCIDENT, INCIDENT_REVOKE, 0x82 },
	{ OP_INCIDENT, INCIDENT_REVOKE, 0x43 },
	{ OP_INCIDENT, INCIDENT_OTHERS, 5 },
	{ OP_INCIDENT, INCIDENT_YIELD, 4 },
	{ OP_INCIDENT, INCIDENT_GO_ON },
	{ OP_INCIDENT, INCIDENT_OFFER, 3 },
	{ OP_INCIDENT, INCIDENT_LAND, 0xc0 | 9, 3 },
	{ OP_INCIDENT, INCIDENT_LAND, 0xc0 | 50, 200 },
	{ OP_CLOCK, 10, 26 },
	{ OP_CLOCK, 0, 0, 8 },
	{ OP_THROTTLE, 10, 0 },
	{ OP_THROTTLE, 0, 0, 2, 9 },
	{ OP_THROTTLE, 2, 0, 1, 9, 1, 1 },
	{ OP_THROTTLE },
	{ OP_COMPETE, 1, 9 },
	{ OP_COMPETE, 0, 0, 1 },
	{ OP_RENEW },
	{ OP_RENEW, 5 },
	{ OP_FAULT, 0, 0, 1, 0, 0, 17 },
	{ OP_FAULT, 0, 1, 1, 0, 0, 1 },
	{ OP_FAULT, 1, 0, 1, 0, 0, 16 },
	{ OP_FAULT, 2, 0, 0, 0, 0, 1 },
	{ OP_FAULT, 4, 0, 6 },
	{ OP_FAULT, 0, 4, 30 },
	{ OP_HOOK, 0, 0, 12, 0, 0, 1, 0 },
	{ OP_HOOK, 0, 40, 8, 0, 0, 0, 1 },
	{ OP_USED_EVENT },
	{ OP_AVAIL_IDX, 0xff, 0xff },
};
const size_t fuzz_phrase_count = COUNT(fuzz_phrases);

static void request(const uint8_t a[7], unsigned count, driver_layer lay_out)
{
	driver_requests(&drain_rig.driver, a, count, lay_out);
	if (a[6] & 0x10)
		drain_rig_run();
}

static void flood(const uint8_t a[7])
{
	const uint8_t one[7] = { a[0], a[1], a[2], a[3], a[4], 0, a[6] };

	request(one, a[5] + 1u, driver_request);
}

static void run(uint8_t a)
{
	for (unsigned i = 0; i <= (a & 7u); i++) {
		if (a & 0x80)
			disk_now[REAL] += drain_rig.wait_ns;
		drain_rig_run();
	}
}

static void land(const uint8_t a[7])
{
	drain_air_land(a[0]);
	if (a[1] & 1)
		drain_rig_land();
}

static void step_around(enum op op, const uint8_t a[7])
{
	struct vblk_throttle limits;

	switch (op) {
	case OP_AIR:
		drain_air = (struct drain_air){ a[0], a[1], a[2], a[3] };
		break;
	case OP_INCIDENT:
		drain_rig_plan((enum incident)(a[0] % INCIDENTS), a[1], a[2]);
		break;
	case OP_CLOCK:
		disk_now[REAL] += (uint64_t)a[0] << a[1] % 40;
		drain_rig.tick_ns = a[2] % 32 ? 1ull << a[2] % 32 : 0;
		break;
	case OP_THROTTLE:
		limits = step_limits(a);
		drain_rig_set_throttle(&limits);
		break;
	case OP_COMPETE:
		if (a[2] & 1)
			drain_rig_give_up();
		else
			drain_rig_compete(record_u64(a));
		break;
	case OP_FAULT:
		step_fault(a);
		break;
	case OP_HOOK:
		step_hook(&drain_rig.driver, a);
		break;
	default:
		break;
	}
}

static void step_memory(enum op op, const uint8_t a[7])
{
	struct driver *driver = &drain_rig.driver;

	switch (op) {
	case OP_DESC:
		step_desc(driver, a);
		break;
	case OP_USED_EVENT:
		step_used_event(driver, (int8_t)a[0]);
		break;
	case OP_POKE:
		arena_put(driver_address(driver, a[0], record_u16(a + 1)), a + 4, 1 + a[3] % 3u);
		break;
	case OP_OFFER:
		driver_offer(driver, record_u16(a));
		break;
	case OP_AVAIL_IDX:
		driver_set_avail_idx(driver, (uint16_t)(driver->avail_idx + record_u16(a)));
		break;
	default:
		step_around(op, a);
		break;
	}
}

static void step(enum op op, const uint8_t a[7])
{
	switch (op) {
	case OP_REQUEST:
		request(a, (a[6] & 15u) + 1, driver_request);
		break;
	case OP_RANGES:
		request(a, (a[6] & 15u) + 1, driver_ranges);
		break;
	case OP_FLOOD:
		flood(a);
		break;
	case OP_RUN:
		run(a[0]);
		break;
	case OP_LAND:
		land(a);
		break;
	case OP_SETTLE:
		drain_rig_settle();
		break;
	case OP_RENEW:
		drain_rig_renew(a);
		break;
	default:
		step_memory(op, a);
		break;
	}
}

/* The first SETUP of a program says what there is. */
static const uint8_t *find_setup(const uint8_t *data, size_t size)
{
	static const uint8_t usual[RECORD_SIZE];
	const uint8_t *record;

	for (size_t i = 0; (record = record_at(data, size, i)); i++) {
		if (record[0] % OPS == OP_SETUP)
			return record + 1;
	}
	return usual;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_start_tracing();
	drain_rig_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *record;

	drain_rig_begin(find_setup(data, size));
	for (size_t i = 0; disk_calls(REAL) < CALLS_MOST && (record = record_at(data, size, i));
	     i++) {
		enum op op = (enum op)(record[0] % OPS);

		FUZZ_TRACE("%3zu: op %2d  %02x %02x %02x %02x %02x %02x %02x", i, op, record[1],
			   record[2], record[3], record[4], record[5], record[6], record[7]);
		step(op, record + 1);
	}
	drain_rig_end();
	return 0;
}
