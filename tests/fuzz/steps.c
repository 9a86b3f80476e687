/* SPDX-License-Identifier: MIT */
/* What steps of that kind do. */
#include "steps.h"

#include <errno.h>

#include "disk_model.h"
#include "records.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

void step_used_event(const struct driver *driver, int ahead)
{
	uint8_t raw[2];
	uint16_t idx = 0;

	if (arena_get(REAL, driver->used + 2, raw, sizeof(raw)))
		idx = (uint16_t)(raw[0] | raw[1] << 8);
	arena_put16(driver->avail + 4 + 2ull * driver->size, (uint16_t)(idx + ahead));
}

struct vblk_throttle step_limits(const uint8_t a[7])
{
	struct vblk_throttle limits = {
		.iops = record_u64(a),
		.bps = record_u64(a + 2),
	};

	if (a[4])
		limits.iops_burst = (limits.iops << (a[4] & 7)) + (a[4] >> 3) - 1;
	if (a[5])
		limits.bps_burst = (limits.bps << (a[5] & 7)) + (a[5] >> 3) - 1;
	return limits;
}

void step_desc(const struct driver *driver, const uint8_t a[7])
{
	uint16_t flags = a[6] & 7;

	/* Bits beyond the three that have a meaning, now and then. */
	if (a[6] == 0xff)
		flags = 0xfff8;
	driver_put_desc(driver->desc, a[0], driver_address(driver, a[1], record_u16(a + 2)),
			driver_length(a[4], a[5]), flags,
			(uint16_t)(a[6] >> 3 < 30 ? a[0] - 4 + (a[6] >> 3) : a[6] << 4));
}

void step_fault(const uint8_t a[7])
{
	static const uint16_t errors[] = { 5, 4, 28, 11, 4095, 1, EOPNOTSUPP };
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
		if (rule.op > VBLK_FAULTY_PWRITEV)
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

void step_hook(const struct driver *driver, const uint8_t a[7])
{
	const struct disk_hook hook = {
		.first = disk_calls(REAL) + 1 + a[0] % 8,
		.times = 1u + a[1] % 40u,
		.address = driver_address(driver, a[2], record_u16(a + 3)),
		.bits = a[5],
		.add = a[6],
		.counter = driver->avail + 2,
	};

	disk_add_hook(&hook);
}
