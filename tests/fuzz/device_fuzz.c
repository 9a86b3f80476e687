/* SPDX-License-Identifier: MIT */
/*
 * The whole device with the inline engine, against a program of register accesses, rings, memory
 * contents, faults of the disk and turns of the clock.
 *
 * Every step is done to the device and to the model (device_model.h), and afterwards all that a
 * driver or an embedder can see must be the same: registers, counters, interrupts, deadline, the
 * paused flag, every byte of guest memory, every call to the backing, every byte of the disk.
 * Some promises are checked by themselves too, in case device and model share an error: no counter
 * falls, no drain takes more chains than the queue is long, each chain taken is published or
 * accounted for, who waits is told a time.
 *
 * Devices live from input to input, for speed; a reset stands between, and whatever it forgot
 * shows as a difference from the model, which begins anew. SETUP chooses among them.
 */
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <vblk/vblk.h>

#include "check.h"
#include "device_model.h"
#include "disk_model.h"
#include "driver.h"
#include "records.h"

#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))
#define DESC_BUDGET 320u
/* Descriptors and pieces of data that a program may have served before it is cut off. */
#define EFFORT_MAX 1500u

enum op {
	OP_SETUP,    /* a[0] which device */
	OP_START,    /* a[0] size, a[1] places, a[2] flags, a[3..5] details */
	OP_REQUEST,  /* a[0..5] driver_request, a[6] 0-3 how many more, 4 notify, 5 do not offer,
			6-7 nothing, offered twice, an older descriptor, head out of range */
	OP_NOTIFY,   /* a[0] of which queue, a[1] the driver looks at the used ring before */
	OP_RUN,	     /* a[0] how often, and until when */
	OP_CLOCK,    /* a[0..1] by how much */
	OP_THROTTLE, /* a[0..1] iops, a[2..3] bps, a[4] and a[5] bursts */
	OP_PAUSE,
	OP_RESUME,
	OP_RESET,
	OP_WRITE,      /* a[0] offset, a[1] value or a[2] width, a[3..6] value */
	OP_READ,       /* a[0..1] offset, a[2] width */
	OP_POKE,       /* a[0..2] address, a[3] how many, a[4..6] bytes */
	OP_DESC,       /* a[0] index, a[1..3] address, a[4] length, a[5] detail, a[6] flags, next */
	OP_OFFER,      /* a[0..1] head, a[2] notify */
	OP_AVAIL_IDX,  /* a[0..1] step */
	OP_USED_EVENT, /* a[0] relative to used.idx */
	OP_ACKNOWLEDGE, /* a[0] bits */
	OP_FAULT,	/* a[0] op, a[1] action, a[2] value, a[3] first, a[4] every, a[5] count */
	OP_HOOK,	/* a[0] first call, a[1] times, a[2..4] address, a[5] bits, a[6] idx step */
	OP_TRAP,	/* a[0..2] address, a[3] bits */
	OP_BIND,
	OP_STATUS, /* a[0] what is written, or with a[1] 1 the bit that is added */
	OPS,
};

/* Phrases are the words that legal programs are made of; the arguments of most are 0. */
const uint8_t fuzz_phrases[][RECORD_SIZE] = {
	{ OP_SETUP, 1 },
	{ OP_SETUP, 4 },
	{ OP_SETUP, 5 },
	{ OP_START },
	{ OP_START },
	{ OP_START, 0, 0, 1 },
	{ OP_START, 3, 0, 1 },
	{ OP_START, 1, 1, 3 },
	{ OP_START, 1, 2 },
	{ OP_START, 4, 5 },
	{ OP_START, 0, 11, 0, 1, 1 },
	{ OP_START, 0, 0, 0, 0, 0, 0, 3 },
	{ OP_REQUEST, 0, 0, 0, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 1, 0, 0, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 2, 0, 0, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 3, 0, 0, 0, 0, 0, 0x10 },
	{ OP_REQUEST, 0, 2, 2, 0, 1, 0, 0x10 },
	{ OP_REQUEST, 1, 3, 3, 13, 0, 0, 0x13 },
	{ OP_REQUEST, 0, 0, 5, 0x3c, 0, 0, 0x10 },
	{ OP_REQUEST, 0x09, 0, 7, 0x12, 0, 4, 0x10 },
	{ OP_REQUEST, 0 },
	{ OP_REQUEST, 1, 0, 0, 0, 0, 0, 3 },
	{ OP_NOTIFY },
	{ OP_NOTIFY },
	{ OP_NOTIFY, 0, 1 },
	{ OP_RUN },
	{ OP_RUN, 0x83 },
	{ OP_CLOCK, 10, 26 },
	{ OP_THROTTLE, 10, 0 },
	{ OP_THROTTLE, 0, 0, 2, 9 },
	{ OP_THROTTLE, 2, 0, 1, 9, 1, 1 },
	{ OP_THROTTLE },
	{ OP_PAUSE },
	{ OP_RESUME },
	{ OP_RESET },
	{ OP_USED_EVENT },
	{ OP_ACKNOWLEDGE, 3 },
	{ OP_FAULT, 0, 0, 1, 0, 0, 17 },
	{ OP_FAULT, 0, 1, 1, 0, 0, 1 },
	{ OP_FAULT, 1, 1, 2, 0, 2, 0 },
	{ OP_FAULT, 2, 0, 0, 0, 0, 1 },
	{ OP_FAULT, 0, 4, 30 },
	{ OP_HOOK, 0, 0, 12, 0, 0, 1, 0 },
	{ OP_HOOK, 0, 40, 8, 0, 0, 0, 1 },
	{ OP_TRAP, 12, 0, 0, 1 },
	{ OP_BIND },
	{ OP_STATUS, 1 },
	{ OP_STATUS, 3 },
	{ OP_STATUS, 11 },
	{ OP_STATUS, 15 },
	{ OP_STATUS, 2, 1 },
};
const size_t fuzz_phrase_count = COUNT(fuzz_phrases);

struct variant {
	struct model_options options;
	size_t disk_size;
	bool fresh; /* made for each input, and without memory at first */
};

/* The default serial number is cut to what a request gives room for, so one is as long. */
static const struct variant variants[] = {
	{ { .capacity_bytes = 8192, .serial = "ktstr-virtio-blk" }, 8192, false },
	{ { .strict = true, .capacity_bytes = 8192, .serial = "0123456789abcdefghij" },
	  8192,
	  false },
	{ { .read_only = true, .capacity_bytes = 8192, .serial = "" }, 8192, false },
	{ { .read_only = true, .strict = true, .capacity_bytes = 512, .serial = "x" }, 512, false },
	{ { .capacity_bytes = 16384, .serial = "larger than the file" }, 8192 - 100, false },
	{ { .capacity_bytes = 8192, .serial = "fresh" }, 8192, true },
	{ { .capacity_bytes = 0, .serial = "none" }, 100, false },
	{ { .capacity_bytes = INT64_MAX / 512 * 512, .serial = "vast" }, 8192, false },
};

/* What lives on from input to input. */
static struct {
	struct vblk_device *device;
	struct vblk_backing *backing;
	uint32_t generation;
	struct vblk_metrics_snapshot counters;
} kept[COUNT(variants)];

static int parked_fd;

/* One input at work. */
static struct {
	const struct variant *variant;
	struct vblk_device *device;
	struct model model;
	struct driver driver;
	uint64_t interrupts;
	uint64_t warnings;
	bool was_paused;
	uint64_t drains; /* after which all was compared */
	struct vblk_metrics_snapshot before;
} run;

/* --- The device's surroundings --- */

static uint64_t read_clock(void *context)
{
	(void)context;
	return disk_now[REAL];
}

static void count_interrupt(void *context)
{
	uint8_t raw[4];

	(void)context;
	run.interrupts++;
	vblk_mmio_read(run.device, VIRTIO_MMIO_INTERRUPT_STATUS, raw, sizeof(raw));
	FUZZ_CHECK(raw[0] & 3, "an interrupt without a reason in InterruptStatus");
}

static void count_message(void *context, enum vblk_log_level level, const char *message,
			  const struct vblk_log_field *fields, size_t count)
{
	(void)context;
	FUZZ_CHECK(message && message[0], "an empty message");
	for (size_t i = 0; i < count; i++)
		FUZZ_CHECK(fields[i].key && fields[i].kind <= VBLK_LOG_STR,
			   "message '%s' has a bad field", message);
	if (level <= VBLK_LOG_WARN)
		run.warnings++;
	FUZZ_TRACE("        %s: %s", vblk_log_level_name(level), message);
}

static struct vblk_device *make_device(const struct variant *variant, struct vblk_backing *backing)
{
	const struct vblk_device_options options = {
		.engine = VBLK_ENGINE_INLINE,
		.on_undeliverable = variant->options.strict ? VBLK_UNDELIVERABLE_NEEDS_RESET
							    : VBLK_UNDELIVERABLE_DROP,
		.capacity_bytes = variant->options.capacity_bytes,
		.read_only = variant->options.read_only,
		.serial = variant->options.serial,
		.log = { count_message, NULL, VBLK_LOG_DEBUG },
		.clock = read_clock,
		.interrupt = count_interrupt,
	};
	struct vblk_device *device;

	if (vblk_device_create(&options, backing, &device) < 0 ||
	    vblk_device_set_parked_fd(device, parked_fd) < 0 ||
	    (!variant->fresh && vblk_device_set_memory(device, arena_memory()) < 0))
		abort();
	return device;
}

/* --- Registers --- */

static void write_register(uint64_t offset, uint32_t value)
{
	const uint8_t raw[] = { (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
				(uint8_t)(value >> 24) };
	uint64_t warnings = run.warnings;
	bool running = run.model.running;
	enum model_refusal refusal;

	vblk_mmio_write(run.device, offset, raw, sizeof(raw));
	refusal = model_write(&run.model, offset, value);
	if (offset == VIRTIO_MMIO_STATUS && running == run.model.running)
		FUZZ_CHECK(run.warnings - warnings == (refusal == MODEL_WARNED),
			   "%llu warnings for writing 0x%x to Status",
			   (unsigned long long)(run.warnings - warnings), value);
}

static void expect_register(uint64_t offset)
{
	uint8_t raw[4];
	uint32_t value;

	vblk_mmio_read(run.device, offset, raw, sizeof(raw));
	value = (uint32_t)(raw[0] | raw[1] << 8 | raw[2] << 16) | (uint32_t)raw[3] << 24;
	FUZZ_CHECK(value == model_read(&run.model, offset),
		   "register 0x%llx reads 0x%x, should be 0x%x", (unsigned long long)offset, value,
		   model_read(&run.model, offset));
}

static void read_any(uint64_t offset, size_t width)
{
	uint8_t raw[16], want[16];

	if (offset < VIRTIO_MMIO_CONFIG && width == 4) {
		expect_register(offset);
		return;
	}
	memset(raw, 0x55, sizeof(raw));
	memset(want, 0xff, sizeof(want));
	vblk_mmio_read(run.device, offset, raw, width);
	if (offset >= VIRTIO_MMIO_CONFIG)
		model_read_config(&run.model, offset - VIRTIO_MMIO_CONFIG, want, width);
	memset(want + width, 0x55, sizeof(want) - width);
	FUZZ_CHECK(memcmp(raw, want, sizeof(raw)) == 0, "a read of %zu bytes at 0x%llx differs",
		   width, (unsigned long long)offset);
}

/* --- What must be the same --- */

static void expect_counters(void)
{
	static const char *const names[] = {
		"reads_completed",   "bytes_read",    "writes_completed", "bytes_written",
		"flushes_completed", "throttled",     "io_errors",	  "invalid_avail_idx",
		"throttled_now",     "notifications", "interrupts",
	};
	struct vblk_metrics_snapshot now, want = run.model.counters;
	uint64_t got[COUNT(names)], old[COUNT(names)], due[COUNT(names)];

	_Static_assert(sizeof(now) == sizeof(got), "there is another counter");
	vblk_metrics_read(vblk_device_metrics(run.device), &now);
	memcpy(got, &now, sizeof(got));
	memcpy(old, &run.before, sizeof(old));
	memcpy(due, &want, sizeof(due));
	for (size_t i = 0; i < COUNT(names); i++) {
		FUZZ_CHECK(got[i] == due[i], "%s is %llu, should be %llu", names[i],
			   (unsigned long long)got[i], (unsigned long long)due[i]);
		FUZZ_CHECK(got[i] >= old[i] ||
				   &now.throttled_now - &now.reads_completed == (ptrdiff_t)i,
			   "%s has fallen", names[i]);
	}
	FUZZ_CHECK(now.throttled_now <= 1, "the gauge of one queue is %llu",
		   (unsigned long long)now.throttled_now);
	FUZZ_CHECK(now.interrupts - kept[run.variant - variants].counters.interrupts ==
			   run.interrupts,
		   "%llu interrupts raised", (unsigned long long)run.interrupts);
	run.before = now;
}

static void expect_deadline(void)
{
	uint64_t got = 0, want = 0;
	bool has = vblk_device_next_deadline(run.device, &got);

	FUZZ_CHECK(has == model_deadline(&run.model, &want), "%s deadline", has ? "a" : "no");
	FUZZ_CHECK(!has || got == want, "the deadline is %llu, should be %llu",
		   (unsigned long long)got, (unsigned long long)want);
	FUZZ_CHECK(!has || got <= disk_now[REAL] + 1000000000ull,
		   "the deadline is more than a second away");
	/* Who waits is told when to come again. */
	FUZZ_CHECK(has || run.model.resting || !run.before.throttled_now,
		   "a request waits, and nobody will look");
}

static void expect_promises(void)
{
	const struct model_drain *drain = &run.model.drain;

	if (!run.model.running)
		return;
	FUZZ_CHECK(drain->taken <= drain->layout.size, "a drain took %u chains", drain->taken);
	FUZZ_CHECK((uint16_t)(drain->next_avail - drain->next_used) == 0 ||
			   run.before.io_errors > kept[run.variant - variants].counters.io_errors,
		   "a chain was neither published nor counted as an error");
	FUZZ_CHECK(!drain->poisoned ||
			   (vblk_device_status(run.device) & VIRTIO_CONFIG_S_NEEDS_RESET),
		   "a poisoned queue without NEEDS_RESET");
}

static void expect_same(void)
{
	FUZZ_CHECK(vblk_device_status(run.device) == run.model.status,
		   "Status is 0x%x, should be 0x%x", vblk_device_status(run.device),
		   run.model.status);
	expect_register(VIRTIO_MMIO_INTERRUPT_STATUS);
	FUZZ_CHECK(vblk_device_is_paused(run.device) == model_is_paused(&run.model),
		   "the paused flag is %d", vblk_device_is_paused(run.device));
	expect_counters();
	expect_deadline();
	expect_promises();
	if (run.drains == run.model.drains)
		return;
	run.drains = run.model.drains;
	disk_expect_same(false);
	arena_expect_same();
}

/* --- Steps --- */

/* Where the driver's rings are is what the registers say. */
static void sync_driver(void)
{
	const struct model_layout *layout = &run.model.layout;

	run.driver.desc = layout->desc;
	run.driver.avail = layout->avail;
	run.driver.used = layout->used;
	run.driver.size = layout->size;
}

static void write_address(uint64_t low, uint64_t high, uint64_t address)
{
	write_register(low, (uint32_t)address);
	write_register(high, (uint32_t)(address >> 32));
}

struct places {
	uint64_t desc;
	uint64_t avail;
	uint64_t used;
};

/* Usual places, and a few that are not. Both rings end with a u16 behind their last element. */
static struct places pick_places(uint8_t which, uint16_t size, const uint8_t a[3])
{
	const uint64_t avail_size = 6 + 2ull * size, used_size = 6 + 8ull * size;
	const struct places usual = { 0x0, 0x1000, 0x1800 };
	struct places p = usual;

	switch (which % 16) {
	case 1: /* across two regions that touch */
		p.desc = ARENA_NEXT - 8ull * size / 16 * 16;
		break;
	case 2:
		p.avail = ARENA_NEXT - 4 - size;
		break;
	case 3:
		p.used = ARENA_NEXT - 4 - 4ull * size;
		break;
	case 4: /* the last two bytes of a ring are missing */
		p.avail = ARENA_HOLE - avail_size + 2;
		break;
	case 5:
		p.used = (ARENA_HOLE - used_size + 2) & ~3ull;
		break;
	case 6: /* half of a ring is missing */
		p.used = (ARENA_HOLE - used_size / 2) & ~3ull;
		break;
	case 7:
		p.avail = (ARENA_HOLE - avail_size / 2) & ~1ull;
		break;
	case 8: /* in sixteen bytes each */
		p.avail = ARENA_SHREDS;
		p.used = ARENA_SHREDS + ((avail_size + 3) & ~3ull);
		break;
	case 9: /* over the end of the address space */
		p.avail = (0 - avail_size + 2 * (a[0] % 8u)) & ~1ull;
		break;
	case 10:
		p.used = (0 - used_size + 4 * (a[0] % 8u)) & ~3ull;
		break;
	case 11: /* on top of each other, to the point where flags are an index */
		p.used = p.avail + 4ull * (a[0] % 64);
		p.avail += 2ull * (a[1] & 1);
		break;
	case 12:
		p.desc = ARENA_FOUR_G - 0x800 + 16ull * a[0];
		p.avail = ARENA_FOUR_G + 0xc00;
		break;
	case 13: /* nowhere, or all but its flags and its index, or all but its flags */
		p.desc += a[0] % 5 == 0 ? ARENA_HOLE + 0x10 : 0;
		p.avail = a[0] % 5 == 1 ? ARENA_HOLE + 0x10 : p.avail;
		p.used = a[0] % 5 == 2 ? ARENA_HOLE + 0x10 : p.used;
		p.used = a[0] % 5 == 3 ? ARENA_SHREDS - 4 : p.used;
		p.avail = a[0] % 5 == 4 ? ARENA_SHREDS - 2 : p.avail;
		break;
	case 14: /* where this says */
		*(a[0] % 3 == 0	  ? &p.desc
		  : a[0] % 3 == 1 ? &p.avail
				  : &p.used) =
			driver_address(&run.driver, a[1], (uint16_t)(a[2] * 16));
		break;
	case 15: /* no available ring at all; descriptors at the top */
		p.avail = a[0] ? 0 : p.avail;
		p.desc = ARENA_TOP + 16ull * a[1];
		break;
	default:
		break;
	}
	return p;
}

/* Flags of START. */
#define START_EVENT_IDX 0x01u
#define START_NO_FLUSH	0x02u
#define START_NO_RESET	0x04u
#define START_KEEP	0x08u /* the rings are not cleared */
#define START_NOT_OK	0x10u
#define START_NOT_READY 0x20u
#define START_NOTIFY	0x40u /* before DRIVER_OK */
#define START_FAILED	0x80u /* FAILED at the end */

/* What a driver may leave out when it negotiates: the features of an earlier life do not count. */
#define FEATURES_NO_HIGH 0x01u
#define FEATURES_NO_LOW	 0x02u
#define FEATURES_FOREIGN 0x04u /* one that was not offered */
#define FEATURES_LATE	 0x08u /* written once more after FEATURES_OK */

static void write_features(uint8_t flags, uint8_t features)
{
	uint32_t low = 1u << VIRTIO_BLK_F_SEG_MAX;

	if (!(flags & START_NO_FLUSH))
		low |= 1u << VIRTIO_BLK_F_FLUSH;
	if (flags & START_EVENT_IDX)
		low |= 1u << VIRTIO_RING_F_EVENT_IDX;
	if (features & FEATURES_FOREIGN)
		low |= 1u << VIRTIO_BLK_F_DISCARD;
	write_register(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	if (!(features & FEATURES_NO_HIGH))
		write_register(VIRTIO_MMIO_DRIVER_FEATURES, 1u << (VIRTIO_F_VERSION_1 - 32));
	write_register(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	if (!(features & FEATURES_NO_LOW))
		write_register(VIRTIO_MMIO_DRIVER_FEATURES, low);
}

static void negotiate(uint8_t flags, uint8_t features)
{
	if (!(flags & START_NO_RESET))
		write_register(VIRTIO_MMIO_STATUS, 0);
	write_register(VIRTIO_MMIO_STATUS, 1);
	write_register(VIRTIO_MMIO_STATUS, 3);
	write_features(flags, features);
	write_register(VIRTIO_MMIO_STATUS, 11);
	if (features & FEATURES_LATE)
		write_features(flags ^ START_EVENT_IDX, features);
}

static void start(const uint8_t a[7])
{
	static const uint16_t sizes[] = { 8, 256, 1, 2, 4, 16, 32, 64, 128 };
	uint16_t size = sizes[a[0] % COUNT(sizes)];
	struct places places = pick_places(a[1], size, a + 3);

	negotiate(a[2], a[6]);
	write_register(VIRTIO_MMIO_QUEUE_SEL, 0);
	write_register(VIRTIO_MMIO_QUEUE_NUM, size);
	write_address(VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_DESC_HIGH, places.desc);
	write_address(VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, places.avail);
	write_address(VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_QUEUE_USED_HIGH, places.used);
	sync_driver();
	if (!(a[2] & START_KEEP)) {
		driver_set_avail_idx(&run.driver, 0);
		arena_put16(run.driver.avail, 0);
		arena_put32(run.driver.used, 0);
		arena_put16(run.driver.avail + 4 + 2ull * size, 0);
	}
	if (!(a[2] & START_NOT_READY))
		write_register(VIRTIO_MMIO_QUEUE_READY, 1);
	if (a[2] & START_NOTIFY)
		write_register(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	if (!(a[2] & START_NOT_OK))
		write_register(VIRTIO_MMIO_STATUS, 15);
	if (a[2] & START_FAILED)
		write_register(VIRTIO_MMIO_STATUS, 15 | VIRTIO_CONFIG_S_FAILED);
}

static void request(const uint8_t a[7])
{
	for (unsigned i = 0; i <= (a[6] & 15u); i++) {
		bool made;
		uint16_t head;

		if ((a[6] >> 6) == 2)
			run.driver.next_desc = 0;
		head = driver_request(&run.driver, a, &made);
		if (!made)
			return;
		if ((a[6] >> 6) == 3)
			head = (uint16_t)(head + run.driver.size);
		if ((a[6] >> 6) == 1)
			driver_offer(&run.driver, head);
		if (!(a[6] & 0x20))
			driver_offer(&run.driver, head);
	}
	if (a[6] & 0x10)
		write_register(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

/* The driver asks for an interrupt from `ahead` elements after what it sees in the used ring. */
static void set_used_event(int ahead)
{
	uint8_t raw[2];
	uint16_t idx = 0;

	if (arena_get(MODEL, run.driver.used + 2, raw, sizeof(raw)))
		idx = (uint16_t)(raw[0] | raw[1] << 8);
	arena_put16(run.driver.avail + 4 + 2ull * run.driver.size, (uint16_t)(idx + ahead));
}

static void advance(uint64_t ns)
{
	disk_now[REAL] += ns;
	disk_now[MODEL] += ns;
}

/* An embedder's loop: comes again when it was told to, some times at most. */
static void run_loop(uint8_t a)
{
	for (unsigned i = 0; i <= (a & 31u); i++) {
		uint64_t when;

		if (a & 0x80) {
			if (!vblk_device_next_deadline(run.device, &when))
				return;
			if (when > disk_now[REAL])
				advance(when - disk_now[REAL]);
		}
		vblk_device_run(run.device);
		model_run(&run.model);
		expect_same();
	}
}

static void set_throttle(const uint8_t a[7])
{
	struct vblk_throttle limits = {
		.iops = record_u64(a),
		.bps = record_u64(a + 2),
	};
	int ret;
	bool ok;

	if (a[4])
		limits.iops_burst = (limits.iops << (a[4] & 7)) + (a[4] >> 3) - 1;
	if (a[5])
		limits.bps_burst = (limits.bps << (a[5] & 7)) + (a[5] >> 3) - 1;
	ret = vblk_device_set_throttle(run.device, &limits);
	ok = model_set_throttle(&run.model, &limits);
	FUZZ_CHECK((ret == 0) == ok, "set_throttle returned %d", ret);
}

static void write_any(const uint8_t a[7])
{
	static const uint16_t known[] = {
		VIRTIO_MMIO_STATUS,
		VIRTIO_MMIO_DRIVER_FEATURES,
		VIRTIO_MMIO_DRIVER_FEATURES_SEL,
		VIRTIO_MMIO_DEVICE_FEATURES_SEL,
		VIRTIO_MMIO_QUEUE_SEL,
		VIRTIO_MMIO_QUEUE_NUM,
		VIRTIO_MMIO_QUEUE_READY,
		VIRTIO_MMIO_QUEUE_NOTIFY,
		VIRTIO_MMIO_INTERRUPT_ACK,
		VIRTIO_MMIO_QUEUE_DESC_LOW,
		VIRTIO_MMIO_QUEUE_DESC_HIGH,
		VIRTIO_MMIO_QUEUE_AVAIL_LOW,
		VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
		VIRTIO_MMIO_QUEUE_USED_LOW,
		VIRTIO_MMIO_QUEUE_USED_HIGH,
	};
	uint64_t offset = a[0] < 192 ? known[a[0] % COUNT(known)] : 4ull * a[1];
	uint32_t value = a[3] | (uint32_t)a[4] << 8 | (uint32_t)a[5] << 16 | (uint32_t)a[6] << 24;
	uint8_t raw[16] = { a[3], a[4], a[5], a[6] };

	if (a[2] % 8 == 0) {
		if (offset < VIRTIO_MMIO_CONFIG)
			write_register(offset, value);
		else
			vblk_mmio_write(run.device, offset, raw, 4);
	} else if (a[2] % 8 != 4) {
		vblk_mmio_write(run.device, offset, raw, a[2] % 8);
	}
	sync_driver();
}

static void put_desc(const uint8_t a[7])
{
	uint16_t flags = a[6] & 7;

	/* Bits beyond the three that have a meaning, now and then. */
	if (a[6] == 0xff)
		flags = 0xfff8;
	driver_put_desc(run.driver.desc, a[0], driver_address(&run.driver, a[1], record_u16(a + 2)),
			driver_length(a[4], a[5]), flags,
			(uint16_t)(a[6] >> 3 < 30 ? a[0] - 4 + (a[6] >> 3) : a[6] << 4));
}

static void add_fault(const uint8_t a[7])
{
	static const uint16_t errors[] = { 5, 4, 28, 11, 4095, 1 };
	static const uint32_t shorts[] = { 512, 1, 100, 0, 513, 1024, 4096, 511 };
	struct vblk_faulty_rule rule = {
		.op = (enum vblk_faulty_op)(a[0] % VBLK_FAULTY_OPS),
		.action = (enum vblk_faulty_action)(a[1] % VBLK_FAULTY_HANG),
		.first = a[3] % 8,
		.every = a[4] % 4,
		.count = a[5] % 20,
	};

	if (a[6] & 1)
		disk_clear_rules();
	switch (rule.action) {
	case VBLK_FAULTY_ERROR:
		rule.value = errors[a[2] % COUNT(errors)];
		break;
	case VBLK_FAULTY_SHORT:
		if (rule.op == VBLK_FAULTY_SYNC)
			return;
		rule.value = shorts[a[2] % COUNT(shorts)];
		/* A large request byte by byte takes long and shows nothing new. */
		if (rule.value < 100 && rule.count == 0)
			rule.count = 20;
		break;
	case VBLK_FAULTY_EXCESS:
		rule.value = 1u + a[2];
		break;
	default:
		rule.value = 1ull << a[2] % 36;
		break;
	}
	disk_add_rule(&rule);
}

static void add_hook(const uint8_t a[7])
{
	const struct disk_hook hook = {
		.first = disk_calls(REAL) + 1 + a[0] % 8,
		.times = 1u + a[1] % 40u,
		.address = driver_address(&run.driver, a[2], record_u16(a + 3)),
		.bits = a[5],
		.add = a[6],
		.counter = run.driver.avail + 2,
	};

	disk_add_hook(&hook);
}

static void pause_device(void)
{
	bool follows = vblk_device_pause(run.device);

	run.was_paused = true;
	FUZZ_CHECK(follows == model_pause(&run.model), "pause returned %d", follows);
}

static void bind(void)
{
	int ret = vblk_device_set_memory(run.device, arena_memory());

	FUZZ_CHECK((ret == 0) == !run.model.bound, "set_memory returned %d", ret);
	model_bind(&run.model);
}

static void notify(const uint8_t a[7])
{
	static const uint32_t others[] = { 1, 255, 256, UINT32_MAX };

	if (a[1] & 1)
		set_used_event(a[1] >> 1);
	write_register(VIRTIO_MMIO_QUEUE_NOTIFY, a[0] < 250 ? 0 : others[a[0] % COUNT(others)]);
}

static void step_memory(enum op op, const uint8_t a[7])
{
	uint64_t address = driver_address(&run.driver, a[0], record_u16(a + 1));

	switch (op) {
	case OP_POKE:
		arena_put(address, a + 4, 1 + a[3] % 3u);
		break;
	case OP_DESC:
		put_desc(a);
		break;
	case OP_OFFER:
		driver_offer(&run.driver, record_u16(a));
		if (a[2] & 1)
			write_register(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		break;
	case OP_AVAIL_IDX:
		driver_set_avail_idx(&run.driver, (uint16_t)(run.driver.avail_idx + record_u16(a)));
		break;
	case OP_USED_EVENT:
		set_used_event((int8_t)a[0]);
		break;
	case OP_TRAP:
		arena_set_trap(address, a[3]);
		break;
	default:
		break;
	}
}

static void step(enum op op, const uint8_t a[7])
{
	switch (op) {
	case OP_START:
		start(a);
		break;
	case OP_REQUEST:
		request(a);
		break;
	case OP_NOTIFY:
		notify(a);
		break;
	case OP_RUN:
		run_loop(a[0]);
		break;
	case OP_CLOCK:
		advance((uint64_t)a[0] << a[1] % 40);
		break;
	case OP_THROTTLE:
		set_throttle(a);
		break;
	case OP_PAUSE:
		pause_device();
		break;
	case OP_RESUME:
		FUZZ_CHECK(!vblk_device_resume(run.device), "somebody has to be waited for");
		model_resume(&run.model);
		break;
	case OP_RESET:
		write_register(VIRTIO_MMIO_STATUS, 0);
		sync_driver();
		break;
	case OP_WRITE:
		write_any(a);
		break;
	case OP_READ:
		read_any(a[3] ? record_u16(a) % VBLK_MMIO_SIZE : 4ull * a[0], a[3] ? a[2] % 17 : 4);
		break;
	case OP_ACKNOWLEDGE:
		write_register(VIRTIO_MMIO_INTERRUPT_ACK, a[0]);
		break;
	case OP_FAULT:
		add_fault(a);
		break;
	case OP_HOOK:
		add_hook(a);
		break;
	case OP_BIND:
		bind();
		break;
	case OP_STATUS:
		write_register(VIRTIO_MMIO_STATUS,
			       a[1] & 1 ? run.model.status | 1u << a[0] % 8 : a[0]);
		break;
	default:
		step_memory(op, a);
		break;
	}
}

/* --- One input --- */

/* The first SETUP of a program chooses the device. */
static size_t pick_variant(const uint8_t *data, size_t size)
{
	const uint8_t *record;

	for (size_t i = 0; (record = record_at(data, size, i)); i++) {
		if (record[0] % OPS == OP_SETUP)
			return record[1] % COUNT(variants);
	}
	return 0;
}

/* Memory, disk and model begin anew; the device as its last reset left it. */
static void begin(size_t index)
{
	const struct variant *variant = &variants[index];

	run.variant = variant;
	run.interrupts = 0;
	run.warnings = 0;
	run.was_paused = false;
	run.drains = 0;
	arena_reset();
	if (!kept[index].backing)
		kept[index].backing = disk_create(variant->disk_size);
	disk_use(kept[index].backing, variant->disk_size);
	if (!kept[index].device)
		kept[index].device = make_device(variant, kept[index].backing);
	run.device = kept[index].device;
	model_init(&run.model, &variant->options);
	run.model.bound = !variant->fresh;
	run.model.generation = kept[index].generation;
	run.model.counters = run.before = kept[index].counters;
	driver_init(&run.driver, variant->options.capacity_bytes / 512, DESC_BUDGET);
	sync_driver();
}

/* Brings the device to rest. A fresh one goes; its counters and its paused flag stay for us. */
static void end(size_t index)
{
	static const struct vblk_throttle none;
	uint64_t paused = 0;

	disk_expect_same(true);
	arena_expect_same();
	disk_done();
	if (run.variant->fresh) {
		struct vblk_metrics *metrics = vblk_metrics_ref(vblk_device_metrics(run.device));
		struct vblk_park *park = vblk_park_ref(vblk_device_park(run.device));

		vblk_device_destroy(run.device);
		vblk_metrics_read(metrics, &run.before);
		FUZZ_CHECK(run.before.throttled_now == 0, "the gauge outlives the device");
		FUZZ_CHECK(vblk_park_is_paused(park), "a device runs that was destroyed");
		vblk_metrics_unref(metrics);
		vblk_park_unref(park);
		kept[index].device = NULL;
	} else {
		write_register(VIRTIO_MMIO_STATUS, 0);
		FUZZ_CHECK(vblk_device_set_throttle(run.device, &none) == 0, "no limits refused");
		expect_same();
		kept[index].generation = run.model.generation;
		kept[index].counters = run.before;
	}
	if (!run.was_paused)
		return;
	if (read(parked_fd, &paused, sizeof(paused)) < 0)
		paused = 0;
	FUZZ_CHECK(paused == run.model.acknowledged, "%llu pauses acknowledged, should be %llu",
		   (unsigned long long)paused, (unsigned long long)run.model.acknowledged);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_start_tracing();
	arena_init(false);
	parked_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return parked_fd < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t index = pick_variant(data, size);
	const uint8_t *record;

	begin(index);
	for (size_t i = 0; run.model.effort < EFFORT_MAX && (record = record_at(data, size, i));
	     i++) {
		enum op op = (enum op)(record[0] % OPS);

		FUZZ_TRACE("%3zu: op %2d  %02x %02x %02x %02x %02x %02x %02x", i, op, record[1],
			   record[2], record[3], record[4], record[5], record[6], record[7]);
		step(op, record + 1);
		expect_same();
	}
	end(index);
	return 0;
}
