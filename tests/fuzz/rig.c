/* SPDX-License-Identifier: MIT */
/* The device under test beside its model. */
#include "rig.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <vblk/vblk.h>

#include "check.h"
#include "device/device.h"
#include "disk_model.h"

#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))
#define DESC_BUDGET 320u
#define SECOND	    1000000000ull

struct kind {
	struct model_options options;
	size_t disk_size;
	bool fresh; /* made for each input, and without memory at first */
};

static const struct kind kinds[RIG_KINDS] = {
	{ .options = { .capacity_bytes = 8192, .serial = "ktstr-virtio-blk" }, .disk_size = 8192 },
	{
		.options = { .strict = true,
			     .capacity_bytes = 8192,
			     .serial = "0123456789abcdefghij" },
		.disk_size = 8192,
	},
	{
		.options = { .read_only = true, .capacity_bytes = 8192, .serial = "" },
		.disk_size = 8192,
	},
	{
		.options = { .read_only = true,
			     .strict = true,
			     .capacity_bytes = 512,
			     .serial = "x" },
		.disk_size = 512,
	},
	{ .options = { .capacity_bytes = 16384, .serial = "larger" }, .disk_size = 8192 - 100 },
	{
		.options = { .capacity_bytes = 8192, .serial = "fresh" },
		.disk_size = 8192,
		.fresh = true,
	},
	{ .options = { .capacity_bytes = 0, .serial = "none" }, .disk_size = 100 },
	{
		.options = { .capacity_bytes = INT64_MAX / 512 * 512, .serial = "vast" },
		.disk_size = 8192,
	},
	{
		.options = { .all = true, .capacity_bytes = 8192, .serial = "all" },
		.disk_size = 8192,
	},
	{
		.options = { .all = true,
			     .read_only = true,
			     .capacity_bytes = 8192,
			     .serial = "all" },
		.disk_size = 8192,
	},
	{
		.options = { .all = true,
			     .strict = true,
			     .plain = true,
			     .capacity_bytes = 8192,
			     .serial = "all" },
		.disk_size = 8192,
	},
	{
		.options = { .all = true, .capacity_bytes = 1ull << 40, .serial = "all" },
		.disk_size = 8192,
	},
	{
		.options = { .all = true, .queues = 2, .capacity_bytes = 8192, .serial = "two" },
		.disk_size = 8192,
	},
	{
		.options = { .all = true,
			     .strict = true,
			     .queues = 4,
			     .capacity_bytes = 8192,
			     .serial = "four" },
		.disk_size = 8192,
	},
	{
		.options = { .all = true, .queues = 3, .capacity_bytes = 8192, .serial = "three" },
		.disk_size = 8192,
	},
	{
		.options = { .all = true, .queues = 4, .capacity_bytes = 8192, .serial = "late" },
		.disk_size = 8192,
		.fresh = true,
	},
};

/* What lives on from input to input. */
static struct {
	struct vblk_device *device;
	struct vblk_backing *backing;
	uint32_t generation;
	struct vblk_metrics_snapshot counters;
} kept[RIG_KINDS];

static int parked_fd;

struct rig rig;

/* --- The device's surroundings --- */

static uint64_t read_clock(void *context)
{
	(void)context;
	return disk_now[REAL];
}

/* Looks into the device, for a callback must not call it. */
static void count_interrupt(void *context)
{
	(void)context;
	rig.interrupts++;
	FUZZ_CHECK(atomic_load(&rig.device->port->interrupt_status) &
			   (VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG),
		   "an interrupt without a reason in InterruptStatus");
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
		rig.warnings++;
	FUZZ_TRACE("        %s: %s", vblk_log_level_name(level), message);
}

static struct vblk_device *make_device(const struct kind *kind, struct vblk_backing *backing)
{
	const struct vblk_device_options options = {
		.engine = VBLK_ENGINE_INLINE,
		.on_undeliverable = kind->options.strict ? VBLK_UNDELIVERABLE_NEEDS_RESET
							 : VBLK_UNDELIVERABLE_DROP,
		.capacity_bytes = kind->options.capacity_bytes,
		.read_only = kind->options.read_only,
		.serial = kind->options.serial,
		.queues = (uint16_t)kind->options.queues,
		.features = kind->options.all ? VBLK_FEATURES_ALL : VBLK_FEATURES_BASE,
		.log = { count_message, NULL, VBLK_LOG_DEBUG },
		.clock = read_clock,
		.interrupt = count_interrupt,
	};
	struct vblk_device *device;

	if (vblk_device_create(&options, backing, &device) < 0 ||
	    vblk_device_set_parked_fd(device, parked_fd) < 0 ||
	    (!kind->fresh && vblk_device_set_memory(device, arena_memory()) < 0))
		abort();
	return device;
}

/* --- What is done to both --- */

/* Where the driver's rings are is what the registers say. */
static void find_rings(void)
{
	const struct model_layout *layout = &rig.model.queue[rig.queue].layout;

	rig.driver.desc = layout->desc;
	rig.driver.avail = layout->avail;
	rig.driver.used = layout->used;
	rig.driver.size = layout->size;
}

/* What a program may write, and where it writes next, is one for all queues. */
void rig_choose_queue(unsigned queue)
{
	unsigned budget = rig.driver.budget;
	uint8_t slot = rig.driver.slot;

	rig.other[rig.queue] = rig.driver;
	rig.queue = queue % model_queues(&rig.model);
	rig.driver = rig.other[rig.queue];
	rig.driver.budget = budget;
	rig.driver.slot = slot;
	find_rings();
}

void rig_write(uint64_t offset, uint32_t value)
{
	const uint8_t raw[] = { (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
				(uint8_t)(value >> 24) };
	uint64_t warnings = rig.warnings;
	bool running = rig.model.running;
	enum model_refusal refusal;

	/* The limit on messages is no part of the model. */
	atomic_store(&rig.device->port->log_limit.full_at, 0);
	vblk_mmio_write(rig.device, offset, raw, sizeof(raw));
	refusal = model_write(&rig.model, offset, value);
	/* Unless it started the device, which may have had something to say of the queue. */
	if (offset == VIRTIO_MMIO_STATUS && running == rig.model.running)
		FUZZ_CHECK(rig.warnings - warnings == (refusal == MODEL_WARNED),
			   "%llu warnings for writing 0x%x to Status",
			   (unsigned long long)(rig.warnings - warnings), value);
	find_rings();
}

void rig_write_ignored(uint64_t offset, const void *data, size_t width)
{
	vblk_mmio_write(rig.device, offset, data, width);
}

void rig_write_config(uint64_t offset, const uint8_t *data, size_t width)
{
	vblk_mmio_write(rig.device, offset, data, width);
	if (width == 1)
		model_write_config(&rig.model, offset - VIRTIO_MMIO_CONFIG, data[0]);
}

static void expect_register(uint64_t offset)
{
	uint8_t raw[4];
	uint32_t value, want = model_read(&rig.model, offset);

	vblk_mmio_read(rig.device, offset, raw, sizeof(raw));
	value = (uint32_t)(raw[0] | raw[1] << 8 | raw[2] << 16) | (uint32_t)raw[3] << 24;
	FUZZ_CHECK(value == want, "register 0x%llx reads 0x%x, should be 0x%x",
		   (unsigned long long)offset, value, want);
}

void rig_read(uint64_t offset, size_t width)
{
	uint8_t raw[16], want[16];

	if (offset < VIRTIO_MMIO_CONFIG && width == 4) {
		expect_register(offset);
		return;
	}
	memset(raw, 0x55, sizeof(raw));
	memset(want, 0xff, sizeof(want));
	vblk_mmio_read(rig.device, offset, raw, width);
	if (offset >= VIRTIO_MMIO_CONFIG)
		model_read_config(&rig.model, offset - VIRTIO_MMIO_CONFIG, want, width);
	memset(want + width, 0x55, sizeof(want) - width);
	FUZZ_CHECK(memcmp(raw, want, sizeof(raw)) == 0, "a read of %zu bytes at 0x%llx differs",
		   width, (unsigned long long)offset);
}

void rig_run(void)
{
	vblk_device_run(rig.device);
	model_run(&rig.model);
}

void rig_pause(void)
{
	bool follows = vblk_device_pause(rig.device);

	rig.was_paused = true;
	FUZZ_CHECK(follows == model_pause(&rig.model), "pause returned %d", follows);
}

void rig_resume(void)
{
	FUZZ_CHECK(!vblk_device_resume(rig.device), "somebody has to be waited for");
	model_resume(&rig.model);
}

void rig_bind(void)
{
	int ret = vblk_device_set_memory(rig.device, arena_memory());

	FUZZ_CHECK((ret == 0) == !rig.model.bound, "set_memory returned %d", ret);
	model_bind(&rig.model);
}

void rig_set_throttle(const struct vblk_throttle *limits)
{
	int ret = vblk_device_set_throttle(rig.device, limits);

	FUZZ_CHECK((ret == 0) == model_set_throttle(&rig.model, limits), "set_throttle returned %d",
		   ret);
}

void rig_resize(uint64_t bytes, uint32_t flags)
{
	int ret, want;

	/* A size that is none cannot be had back afterwards. */
	if (kinds[rig.kind].options.capacity_bytes == 0)
		return;
	ret = vblk_device_resize(rig.device, bytes, flags);
	want = model_resize(&rig.model, bytes, flags);
	FUZZ_CHECK(ret == want, "resize to %llu returned %d, should be %d",
		   (unsigned long long)bytes, ret, want);
	FUZZ_CHECK(vblk_device_capacity(rig.device) == rig.model.capacity_bytes / 512 * 512,
		   "the capacity is %llu", (unsigned long long)vblk_device_capacity(rig.device));
	FUZZ_TRACE("        resize to %llu: %d", (unsigned long long)bytes, ret);
}

void rig_advance_clock(uint64_t ns)
{
	disk_now[REAL] += ns;
	disk_now[MODEL] += ns;
}

/* --- What must be the same --- */

static void expect_counters(void)
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
	struct vblk_metrics_snapshot now;
	uint64_t got[COUNT(names)], old[COUNT(names)], due[COUNT(names)];

	_Static_assert(sizeof(now) == sizeof(got), "there is another counter");
	vblk_metrics_read(vblk_device_metrics(rig.device), &now);
	memcpy(got, &now, sizeof(got));
	memcpy(old, &rig.counters, sizeof(old));
	memcpy(due, &rig.model.counters, sizeof(due));
	for (size_t i = 0; i < COUNT(names); i++) {
		bool is_gauge = i == offsetof(__typeof__(now), throttled_now) / sizeof(got[0]);

		FUZZ_CHECK(got[i] == due[i], "%s is %llu, should be %llu", names[i],
			   (unsigned long long)got[i], (unsigned long long)due[i]);
		FUZZ_CHECK(is_gauge ? got[i] <= model_queues(&rig.model) : got[i] >= old[i],
			   "%s went from %llu to %llu", names[i], (unsigned long long)old[i],
			   (unsigned long long)got[i]);
	}
	rig.counters = now;
	FUZZ_CHECK(now.interrupts - kept[rig.kind].counters.interrupts == rig.interrupts,
		   "%llu interrupts raised", (unsigned long long)rig.interrupts);
}

static void expect_deadline(void)
{
	uint64_t got = 0, want = 0;
	bool has = vblk_device_next_deadline(rig.device, &got);

	FUZZ_CHECK(has == model_deadline(&rig.model, &want), "%s deadline", has ? "a" : "no");
	FUZZ_CHECK(!has || got == want, "the deadline is %llu, should be %llu",
		   (unsigned long long)got, (unsigned long long)want);
	FUZZ_CHECK(!has || got <= disk_now[REAL] + SECOND,
		   "the deadline is more than a second away");
	FUZZ_CHECK(has || rig.model.resting || !rig.counters.throttled_now,
		   "a request waits, and nobody will look");
}

/* Promises that device and model might break together. */
static void expect_promises(void)
{
	uint64_t lost = 0;

	for (unsigned i = 0; i < model_queues(&rig.model); i++) {
		const struct model_queue *queue = &rig.model.queue[i];
		const struct model_drain *drain = &queue->drain;

		if (!queue->running)
			continue;
		lost += (uint16_t)(drain->next_avail - drain->next_used);
		FUZZ_CHECK(drain->taken <= drain->layout.size, "a drain took %u chains",
			   drain->taken);
		FUZZ_CHECK(!drain->poisoned ||
				   (vblk_device_status(rig.device) & VIRTIO_CONFIG_S_NEEDS_RESET),
			   "a poisoned queue without NEEDS_RESET");
	}
	FUZZ_CHECK(lost <= rig.counters.io_errors - kept[rig.kind].counters.io_errors,
		   "a chain was neither published nor counted as an error");
}

void rig_expect_same(void)
{
	uint32_t status = vblk_device_status(rig.device);

	FUZZ_CHECK(status == rig.model.status, "Status is 0x%x, should be 0x%x", status,
		   rig.model.status);
	expect_register(VIRTIO_MMIO_INTERRUPT_STATUS);
	FUZZ_CHECK(vblk_device_is_paused(rig.device) == model_is_paused(&rig.model),
		   "the paused flag is %d", vblk_device_is_paused(rig.device));
	expect_counters();
	expect_deadline();
	expect_promises();
	if (rig.drains == rig.model.drains)
		return;
	rig.drains = rig.model.drains;
	disk_expect_same(false);
	arena_expect_same();
}

/* --- One input --- */

bool rig_init(void)
{
	arena_init(false);
	parked_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return parked_fd >= 0;
}

void rig_begin(unsigned which)
{
	const struct kind *kind = &kinds[which];

	arena_reset();
	if (!kept[which].backing)
		kept[which].backing = disk_create(kind->disk_size, kind->options.plain);
	disk_use(kept[which].backing, kind->disk_size);
	if (!kept[which].device)
		kept[which].device = make_device(kind, kept[which].backing);
	rig.kind = which;
	rig.device = kept[which].device;
	rig.interrupts = 0;
	rig.warnings = 0;
	rig.was_paused = false;
	rig.drains = 0;
	rig.counters = kept[which].counters;
	model_init(&rig.model, &kind->options);
	rig.model.bound = !kind->fresh;
	rig.model.generation = kept[which].generation;
	rig.model.counters = kept[which].counters;
	rig.queue = 0;
	for (unsigned i = 0; i < MODEL_QUEUES; i++)
		driver_init(&rig.other[i], kind->options.capacity_bytes / 512, DESC_BUDGET);
	rig.driver = rig.other[0];
}

/* The counters and the paused flag of a device stay for those who hold on to them. */
static void destroy_device(void)
{
	struct vblk_metrics *metrics = vblk_metrics_ref(vblk_device_metrics(rig.device));
	struct vblk_park *park = vblk_park_ref(vblk_device_park(rig.device));

	vblk_device_destroy(rig.device);
	vblk_metrics_read(metrics, &rig.counters);
	FUZZ_CHECK(rig.counters.throttled_now == 0, "the gauge outlives the device");
	FUZZ_CHECK(vblk_park_is_paused(park), "a device runs that was destroyed");
	vblk_metrics_unref(metrics);
	vblk_park_unref(park);
	kept[rig.kind].device = NULL;
}

static void expect_acknowledged(void)
{
	uint64_t count = 0;

	if (read(parked_fd, &count, sizeof(count)) < 0)
		count = 0;
	FUZZ_CHECK(count == rig.model.acknowledged, "%llu pauses acknowledged, should be %llu",
		   (unsigned long long)count, (unsigned long long)rig.model.acknowledged);
}

void rig_end(void)
{
	static const struct vblk_throttle none;

	disk_expect_same(true);
	arena_expect_same();
	disk_done();
	if (kinds[rig.kind].fresh) {
		destroy_device();
	} else {
		rig_write(VIRTIO_MMIO_STATUS, 0);
		rig_set_throttle(&none);
		if (rig.model.capacity_bytes != kinds[rig.kind].options.capacity_bytes)
			rig_resize(kinds[rig.kind].options.capacity_bytes, VBLK_RESIZE_SHRINK);
		rig_expect_same();
		kept[rig.kind].generation = rig.model.generation;
		kept[rig.kind].counters = rig.counters;
	}
	if (rig.was_paused)
		expect_acknowledged();
}
