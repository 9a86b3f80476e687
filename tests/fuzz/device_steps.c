/* SPDX-License-Identifier: MIT */
/* What the steps do. */
#include "device_steps.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_mmio.h>
#include <vblk/mmio.h>

#include "check.h"
#include "disk_model.h"
#include "records.h"
#include "rig.h"
#include "start.h"
#include "steps.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
/* Descriptors and pieces of data that a program may have served before it is cut off. */
#define EFFORT_MAX 1500u

static void request(const uint8_t a[7], driver_layer lay_out)
{
	driver_requests(&rig.driver, a, (a[6] & 15u) + 1, lay_out);
	if (a[6] & 0x10)
		rig_write(VIRTIO_MMIO_QUEUE_NOTIFY, rig.queue);
}

/* An embedder's loop: comes again when it was told to, some times at most. */
static void run_loop(uint8_t a)
{
	for (unsigned i = 0; i <= (a & 31u); i++) {
		uint64_t when;

		if (a & 0x80) {
			if (!vblk_device_next_deadline(rig.device, &when))
				return;
			if (when > disk_now[REAL])
				rig_advance_clock(when - disk_now[REAL]);
		}
		rig_run();
		rig_expect_same();
	}
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
			rig_write(offset, value);
		else
			rig_write_config(offset, raw, 4);
	} else if (a[2] % 8 != 4) {
		if (offset < VIRTIO_MMIO_CONFIG)
			rig_write_ignored(offset, raw, a[2] % 8);
		else
			rig_write_config(offset, raw, a[2] % 8);
	}
}

static void notify(const uint8_t a[7])
{
	static const uint32_t others[] = { 1, 255, 256, UINT32_MAX };

	if (a[1] & 1)
		step_used_event(&rig.driver, a[1] >> 1);
	rig_write(VIRTIO_MMIO_QUEUE_NOTIFY, a[0] < 250 ? rig.queue : others[a[0] % COUNT(others)]);
}

static void resize(const uint8_t a[7])
{
	static const uint64_t sizes[] = { 512,	      16384,	  8192,	      4096,
					  0,	      513,	  1ull << 63, INT64_MAX / 512 * 512,
					  1ull << 30, 1ull << 41, 8192 + 512, UINT64_MAX };

	rig_resize(sizes[a[0] % COUNT(sizes)], a[1] % 3);
}

static void step_memory(enum device_op op, const uint8_t a[7])
{
	uint64_t address = driver_address(&rig.driver, a[0], record_u16(a + 1));

	switch (op) {
	case OP_POKE:
		arena_put(address, a + 4, 1 + a[3] % 3u);
		break;
	case OP_DESC:
		step_desc(&rig.driver, a);
		break;
	case OP_OFFER:
		driver_offer(&rig.driver, record_u16(a));
		if (a[2] & 1)
			rig_write(VIRTIO_MMIO_QUEUE_NOTIFY, rig.queue);
		break;
	case OP_AVAIL_IDX:
		driver_set_avail_idx(&rig.driver, (uint16_t)(rig.driver.avail_idx + record_u16(a)));
		break;
	case OP_USED_EVENT:
		step_used_event(&rig.driver, (int8_t)a[0]);
		break;
	case OP_TRAP:
		arena_set_trap(address, a[3]);
		break;
	default:
		break;
	}
}

static void step(enum device_op op, const uint8_t a[7])
{
	struct vblk_throttle limits;

	switch (op) {
	case OP_START:
		start_device(a);
		break;
	case OP_REQUEST:
		request(a, driver_request);
		break;
	case OP_NOTIFY:
		notify(a);
		break;
	case OP_RUN:
		run_loop(a[0]);
		break;
	case OP_CLOCK:
		rig_advance_clock((uint64_t)a[0] << a[1] % 40);
		break;
	case OP_THROTTLE:
		limits = step_limits(a);
		rig_set_throttle(&limits);
		break;
	case OP_PAUSE:
		rig_pause();
		break;
	case OP_RESUME:
		rig_resume();
		break;
	case OP_RESET:
		rig_write(VIRTIO_MMIO_STATUS, 0);
		break;
	case OP_WRITE:
		write_any(a);
		break;
	case OP_READ:
		rig_read(a[3] ? record_u16(a) % VBLK_MMIO_SIZE : 4ull * a[0], a[3] ? a[2] % 17 : 4);
		break;
	case OP_ACKNOWLEDGE:
		rig_write(VIRTIO_MMIO_INTERRUPT_ACK, a[0]);
		break;
	case OP_FAULT:
		step_fault(a);
		break;
	case OP_HOOK:
		step_hook(&rig.driver, a);
		break;
	case OP_RANGES:
		request(a, driver_ranges);
		break;
	case OP_WRITEBACK:
		rig_write_config(VIRTIO_MMIO_CONFIG + offsetof(struct virtio_blk_config, wce), a,
				 1);
		break;
	case OP_RESIZE:
		resize(a);
		break;
	case OP_QUEUE:
		rig_choose_queue(a[0]);
		break;
	case OP_BIND:
		rig_bind();
		break;
	case OP_STATUS:
		rig_write(VIRTIO_MMIO_STATUS, a[1] & 1 ? rig.model.status | 1u << a[0] % 8 : a[0]);
		break;
	default:
		step_memory(op, a);
		break;
	}
}

const uint8_t *device_setup(const uint8_t *data, size_t size)
{
	static const uint8_t usual[RECORD_SIZE];
	const uint8_t *record;

	for (size_t i = 0; (record = record_at(data, size, i)); i++) {
		if (record[0] % DEVICE_OPS == OP_SETUP)
			return record + 1;
	}
	return usual;
}

void device_run(const uint8_t *data, size_t size, void (*told)(enum device_op op))
{
	const uint8_t *record;

	for (size_t i = 0; rig.model.effort < EFFORT_MAX && (record = record_at(data, size, i));
	     i++) {
		enum device_op op = (enum device_op)(record[0] % DEVICE_OPS);

		FUZZ_TRACE("%3zu: op %2d  %02x %02x %02x %02x %02x %02x %02x", i, op, record[1],
			   record[2], record[3], record[4], record[5], record[6], record[7]);
		if (record[0] >= DEVICE_OPS)
			rig_choose_queue(record[0] / DEVICE_OPS - 1u);
		step(op, record + 1);
		rig_expect_same();
		if (told)
			told(op);
	}
}
