/* SPDX-License-Identifier: MIT */
/* The drain under test, and what is around it. */
#include "drain_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "check.h"
#include "disk_model.h"
#include "drain_air.h"
#include "drain_watch.h"
#include "metrics/metrics.h"
#include "request/disk.h"

#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))
#define DISK_SIZE   8192u
#define DESC_BUDGET 640u
#define POLL_NS_MAX 128u
#define RUNS_MAX    1000u /* before a queue has to be empty, and in which none may get on */

struct drain_rig drain_rig;

/* What programs do not see. */
static struct {
	struct vblk_backing *backing[2]; /* the second is plain */
	struct vblk_disk *disk;
	struct vblk_port *port;
	struct vblk_drain_config config;
	struct vblk_memory_guard guard;
	struct vblk_throttle_member other;
	atomic_bool yield;
	bool alone;
	struct vblk_metrics_snapshot counters;
	bool happened; /* an incident, since this was set to false */
	struct {
		enum incident incident;
		unsigned after; /* 0: none */
		unsigned moments;
		uint8_t detail;
	} plan[RIG_INCIDENTS];
} rig;

/* --- Incidents --- */

static void lose_memory(void)
{
	watch.lost = true;
	atomic_fetch_add(&vblk_sigbus_failure_count, 1);
}

static void offer_again(void)
{
	struct driver *driver = &drain_rig.driver;

	driver_set_avail_idx(driver, (uint16_t)(driver->avail_idx + 1));
}

static void let_happen(enum incident incident, uint8_t detail)
{
	rig.happened = true;
	FUZZ_TRACE("        incident %d", incident);
	switch (incident) {
	case INCIDENT_REVOKE:
		vblk_lease_surrender(&drain_rig.drain.lease);
		break;
	case INCIDENT_LOSE:
		if (rig.config.guard)
			lose_memory();
		break;
	case INCIDENT_OTHERS:
		atomic_fetch_add(&vblk_sigbus_failure_count, 1);
		break;
	case INCIDENT_YIELD:
	case INCIDENT_GO_ON:
		atomic_store(&rig.yield, incident == INCIDENT_YIELD);
		break;
	case INCIDENT_OFFER:
		offer_again();
		break;
	case INCIDENT_LAND:
		drain_air_land(detail);
		break;
	default:
		disk_now[REAL] += 1ull << detail % 32;
		break;
	}
}

static void on_moment(enum moment moment)
{
	for (size_t i = 0; i < RIG_INCIDENTS; i++) {
		if (rig.plan[i].after == 0 || !(rig.plan[i].moments >> moment & 1))
			continue;
		if (--rig.plan[i].after == 0)
			let_happen(rig.plan[i].incident, rig.plan[i].detail);
	}
}

void drain_rig_plan(enum incident incident, uint8_t when, uint8_t detail)
{
	static const uint8_t moments[] = { 1u << MOMENT_RECORD | 1u << MOMENT_CALL |
						   1u << MOMENT_OTHER,
					   1u << MOMENT_RECORD, 1u << MOMENT_CALL,
					   1u << MOMENT_OTHER };
	unsigned after = when & 63u;

	if (after == 0) {
		let_happen(incident, detail);
		return;
	}
	for (size_t i = 0; i < RIG_INCIDENTS; i++) {
		if (rig.plan[i].after > 0)
			continue;
		rig.plan[i].incident = incident;
		rig.plan[i].after = after;
		rig.plan[i].moments = moments[when >> 6];
		rig.plan[i].detail = detail;
		return;
	}
}

/* --- Surroundings --- */

static uint64_t read_clock(void *context)
{
	(void)context;
	watch_moment(MOMENT_OTHER);
	disk_now[REAL] += drain_rig.tick_ns;
	return disk_now[REAL];
}

static bool has_failed(void *context)
{
	(void)context;
	return watch.lost;
}

static void look_again(void *context)
{
	(void)context;
}

static void take_message(void *context, enum vblk_log_level level, const char *message,
			 const struct vblk_log_field *fields, size_t count)
{
	(void)context;
	(void)fields;
	(void)count;
	FUZZ_CHECK(!watch.drain || !(atomic_load(&drain_rig.drain.lease.state) & VBLK_LEASE_HELD),
		   "a message while the lease is held: %s", message);
	FUZZ_TRACE("        %s: %s", vblk_log_level_name(level), message);
}

static void take_interrupt(void *context)
{
	(void)context;
}

void drain_rig_init(void)
{
	arena_init(false);
	for (size_t i = 0; i < COUNT(rig.backing); i++)
		rig.backing[i] = disk_create(DISK_SIZE, i > 0);
	disk_interleave();
}

/* --- Setting up --- */

static void place_rings(struct vblk_queue_layout *layout, uint8_t what, uint64_t where)
{
	layout->desc = 0;
	layout->avail = 0x1000;
	layout->used = 0x1800;
	switch (what) {
	case 1:
		layout->desc = where & ~15ull;
		break;
	case 2:
		layout->avail = where & ~1ull;
		break;
	case 3:
		layout->used = where & ~3ull;
		break;
	case 4:
		layout->used = ARENA_HOLE + 0x10;
		break;
	default:
		break;
	}
}

static void make_disk(const uint8_t a[7])
{
	struct vblk_backing *backing = rig.backing[a[0] & SETUP_PLAIN ? 1 : 0];
	const struct vblk_device_options options = {
		.on_undeliverable = a[0] & SETUP_STRICT ? VBLK_UNDELIVERABLE_NEEDS_RESET
							: VBLK_UNDELIVERABLE_DROP,
		.read_only = a[0] & SETUP_READ_ONLY,
		.log = { take_message, NULL, VBLK_LOG_DEBUG },
		.clock = read_clock,
	};

	disk_use(backing, DISK_SIZE);
	if (vblk_disk_create(&options, backing, &rig.disk) < 0 ||
	    vblk_port_create(take_interrupt, NULL, &rig.disk->log, rig.disk->metrics, &rig.port) <
		    0)
		abort();
	vblk_port_set_owner(rig.port, rig.disk->instance, &rig.disk->clock);
	vblk_throttle_join(&rig.other, rig.disk->throttle, look_again, NULL);
}

static void configure(const uint8_t a[7])
{
	static const uint16_t sizes[] = { 8, 256, 1, 2, 4, 16, 32, 64, 128 };
	struct driver *driver = &drain_rig.driver;
	struct vblk_drain_config *config = &rig.config;

	*config = (struct vblk_drain_config){
		.disk = rig.disk,
		.rules = { .read_only = a[0] & SETUP_READ_ONLY,
			   .discard = !(a[4] & SETUP_NO_DISCARD),
			   .write_zeroes = !(a[4] & SETUP_NO_ZEROES) },
		.stable_writes = a[0] & SETUP_STABLE,
		.memory = arena_memory(),
		.port = rig.port,
		.layout = { .size = sizes[a[1] % COUNT(sizes)], .ready = true },
		.event_idx = a[0] & SETUP_EVENT_IDX,
		.batch_ns = a[2] & 31 ? 1ull << (a[2] & 31) : 0,
		.poll_ns = a[3] & 15 ? 1ull << (a[3] & 15) : 0,
		.yield = &rig.yield,
		.continues = a[0] & (SETUP_CONTINUES | SETUP_RECORD),
		.guard = a[4] & SETUP_NO_GUARD ? NULL : &rig.guard,
		.retry = look_again,
	};
	if (config->poll_ns > POLL_NS_MAX)
		config->poll_ns = POLL_NS_MAX;
	if (a[0] & SETUP_RECORD)
		config->journal = (struct vblk_journal){ &watch_journal, NULL };
	driver_init(driver, DISK_SIZE / 512, DESC_BUDGET);
	driver->size = config->layout.size;
	place_rings(&config->layout, a[2] >> 5,
		    driver_address(driver, a[5], (uint16_t)(16 * a[6])));
	driver->desc = config->layout.desc;
	driver->avail = config->layout.avail;
	driver->used = config->layout.used;
}

static void start_drain(void)
{
	rig.config.air = rig.alone ? NULL : drain_air_create(rig.disk->backing);
	vblk_drain_init(&drain_rig.drain, &rig.config);
	watch_begin(&drain_rig.drain);
}

void drain_rig_begin(const uint8_t a[7])
{
	arena_reset();
	watch_reset(on_moment);
	memset(rig.plan, 0, sizeof(rig.plan));
	memset(&rig.counters, 0, sizeof(rig.counters));
	drain_air = (struct drain_air){ 0 };
	atomic_store(&rig.yield, false);
	drain_rig.tick_ns = 0;
	drain_rig.wait_ns = 0;
	rig.guard = (struct vblk_memory_guard){ has_failed, NULL };
	rig.alone = a[0] & SETUP_ALONE;
	make_disk(a);
	configure(a);
	start_drain();
}

/* --- What holds between two steps --- */

static void expect_counters(void)
{
	static const size_t gauge =
		offsetof(struct vblk_metrics_snapshot, throttled_now) / sizeof(uint64_t);
	struct vblk_metrics_snapshot now;
	uint64_t got[sizeof(now) / sizeof(uint64_t)], old[COUNT(got)];

	vblk_metrics_read(rig.disk->metrics, &now);
	memcpy(got, &now, sizeof(got));
	memcpy(old, &rig.counters, sizeof(old));
	for (size_t i = 0; i < COUNT(got); i++)
		FUZZ_CHECK(got[i] >= old[i] || i == gauge, "counter %zu went from %llu to %llu", i,
			   (unsigned long long)old[i], (unsigned long long)got[i]);
	FUZZ_CHECK(now.throttled_now == drain_rig.drain.stalled, "the gauge is %llu",
		   (unsigned long long)now.throttled_now);
	FUZZ_CHECK(now.io_errors >= watch.dropped + watch.failed + watch.errors,
		   "%llu errors, and %llu chains dropped, %llu not published, %llu failed",
		   (unsigned long long)now.io_errors, (unsigned long long)watch.dropped,
		   (unsigned long long)watch.failed, (unsigned long long)watch.errors);
	rig.counters = now;
}

/* Each flight that was ever taken is airborne or spare. Returns how many are airborne. */
static unsigned expect_flights(void)
{
	const struct vblk_air *air = rig.config.air;
	unsigned spare = 0;

	if (!air)
		return 0;
	for (const struct vblk_flight *f = air->spare; f && spare <= VBLK_AIR_MAX;
	     f = f->next_spare) {
		FUZZ_CHECK(!f->airborne, "a spare flight is airborne");
		spare++;
	}
	FUZZ_CHECK(spare + air->airborne == air->touched && air->touched <= VBLK_AIR_MAX,
		   "%u flights are spare, %u airborne, of %u", spare, air->airborne, air->touched);
	FUZZ_CHECK(air->unsent == 0 || drain_rig.drain.poisoned, "%u calls are not handed over",
		   air->unsent);
	return air->airborne;
}

static bool is_live(void)
{
	return !drain_rig.drain.poisoned && !watch.lost &&
	       !vblk_lease_is_revoked(&drain_rig.drain.lease);
}

/* Heads of the record that wait for their turn. */
static unsigned adopted_left(void)
{
	const struct vblk_drain *drain = &drain_rig.drain;

	return drain->adopted ? drain->adopted->count - drain->adopted_next : 0u;
}

/* Whoever was taken is in the air; nobody is left on the ground. */
static void expect_same(void)
{
	unsigned airborne = expect_flights();
	unsigned heads = watch_in_flight();

	expect_counters();
	if (is_live())
		FUZZ_CHECK(heads == airborne + (drain_rig.drain.opened ? adopted_left() : 0),
			   "%u heads are in flight, %u requests airborne", heads, airborne);
}

static void expect_announced(void)
{
	FUZZ_CHECK(watch.answered == 0 || watch.announced > 0 || !is_live(),
		   "%u answers, and the driver is not told", watch.answered);
	FUZZ_CHECK(drain_rig.drain.batch.published == 0, "answers wait for an interrupt");
}

static void forget(void)
{
	watch.popped = 0;
	watch.announced = 0;
	watch.answered = 0;
	rig.happened = false;
}

/* A drain that is done has seen the end of the ring, and asked for more; nobody looks again. */
static void expect_done(void)
{
	const struct vblk_queue *queue = &drain_rig.drain.queue;
	const struct vblk_air *air = rig.config.air;
	uint8_t idx[2];

	if (!is_live() || rig.happened || watch.quiet || (air && air->airborne == VBLK_AIR_MAX))
		return;
	FUZZ_CHECK(adopted_left() == 0, "requests are left behind");
	if (arena_get(REAL, queue->layout.avail + 2, idx, sizeof(idx)))
		FUZZ_CHECK((uint16_t)(idx[0] | idx[1] << 8) == queue->next_avail,
			   "there are chains that nobody will look at");
}

static enum vblk_drain_result run_once(void)
{
	uint64_t wait_ns = 0;
	enum vblk_drain_result result;

	forget();
	result = vblk_drain_run(&drain_rig.drain, &wait_ns);
	drain_rig.wait_ns = result == VBLK_DRAIN_STALLED && wait_ns != UINT64_MAX ? wait_ns : 0;
	FUZZ_TRACE("        run: %d, %llu ns", result, (unsigned long long)wait_ns);
	FUZZ_CHECK(watch.popped <= rig.config.layout.size, "a run took %u chains", watch.popped);
	FUZZ_CHECK(result != VBLK_DRAIN_STALLED || wait_ns > 0, "a drain waits for nothing");
	FUZZ_CHECK((result == VBLK_DRAIN_STALLED) == drain_rig.drain.stalled || !is_live(),
		   "the run ends with %d, and a request waits for tokens: %d", result,
		   drain_rig.drain.stalled);
	FUZZ_CHECK(result != VBLK_DRAIN_MORE || is_live() || rig.happened,
		   "there is more to do in a queue that is not served");
	expect_announced();
	FUZZ_CHECK(drain_air_landed() == 0 || rig.happened, "calls that have landed are left");
	if (result == VBLK_DRAIN_DONE)
		expect_done();
	expect_same();
	return result;
}

/* --- What programs do --- */

void drain_rig_run(void)
{
	(void)run_once();
}

void drain_rig_land(void)
{
	forget();
	vblk_drain_land(&drain_rig.drain);
	expect_announced();
	expect_same();
}

void drain_rig_settle(void)
{
	forget();
	vblk_drain_settle(&drain_rig.drain);
	FUZZ_CHECK(expect_flights() == 0, "requests are airborne");
	expect_announced();
	expect_same();
}

static void end_drain(void)
{
	struct vblk_drain *drain = &drain_rig.drain;

	drain_rig_settle();
	rig.config.next_avail = vblk_drain_next_avail(drain);
	vblk_drain_destroy(drain);
	watch.drain = NULL;
	vblk_metrics_read(rig.disk->metrics, &rig.counters);
	FUZZ_CHECK(rig.counters.throttled_now == 0, "the gauge outlives the drain");
}

void drain_rig_renew(const uint8_t a[3])
{
	end_drain();
	watch.lost = false;
	rig.config.continues = true;
	for (unsigned i = 0; i < 8u && i < rig.config.layout.size; i++)
		watch_record[i] ^= a[0] >> i & 1;
	watch_record_error = a[1] & 1 ? -EBADMSG : 0;
	rig.config.next_avail = (uint16_t)(rig.config.next_avail + (int8_t)a[2]);
	start_drain();
}

void drain_rig_compete(uint64_t bytes)
{
	uint64_t wait_ns = 0;

	if (!vblk_throttle_pass(&rig.other, bytes, &wait_ns))
		FUZZ_CHECK(wait_ns > 0, "the other queue waits for nothing");
}

void drain_rig_give_up(void)
{
	vblk_throttle_give_up(&rig.other);
}

void drain_rig_set_throttle(const struct vblk_throttle *limits)
{
	struct vblk_throttle_problem problem;

	if (vblk_throttle_validate(limits, &problem) == 0)
		vblk_throttle_group_change(rig.disk->throttle, limits);
}

/*
 * Without limits and competitors, a queue is served to its end, in as many runs as it takes; unless
 * its rings lie upon each other, so that each answer makes another request available. Then each run
 * has to get on.
 */
static void serve_to_the_end(void)
{
	static const struct vblk_throttle none;
	enum vblk_drain_result result;
	unsigned runs = 0, idle = 0;

	memset(rig.plan, 0, sizeof(rig.plan));
	atomic_store(&rig.yield, false);
	drain_rig_give_up();
	drain_rig_set_throttle(&none);
	do {
		uint16_t next_avail = drain_rig.drain.queue.next_avail;

		drain_rig_settle();
		result = run_once();
		idle = drain_rig.drain.queue.next_avail == next_avail ? idle + 1 : 0;
		FUZZ_CHECK(idle < RUNS_MAX, "there is always more to do");
	} while (runs++ < RUNS_MAX &&
		 (result != VBLK_DRAIN_DONE || (is_live() && expect_flights() > 0)));
	drain_rig_settle();
}

void drain_rig_end(void)
{
	serve_to_the_end();
	if (is_live())
		FUZZ_CHECK(watch_in_flight() == 0, "heads are in flight in the end");
	end_drain();
	vblk_throttle_leave(&rig.other);
	disk_done();
	vblk_port_unref(rig.port);
	vblk_disk_unref(rig.disk);
}
