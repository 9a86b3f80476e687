/* SPDX-License-Identifier: MIT */
/*
 * The whole device with the inline engine, against a program of register accesses, rings, memory
 * contents, faults of the disk and turns of the clock.
 *
 * Every step is done to the device and to the model, and afterwards all that a driver or
 * an embedder can see must be the same: registers, counters, interrupts, deadline, the
 * paused flag, every byte of guest memory, every call to the backing, every byte of the disk.
 * Some promises are checked by themselves too, in case device and model share an error: no counter
 * falls, no drain takes more chains than the queue is long, each chain taken is published or
 * accounted for, who waits is told a time. rig.h does and compares, device_model.h foretells.
 */
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

/*
 * What a step does and what its arguments a[0..6] mean; the function of the step says more.
 *
 * SETUP        a[0] which device; counts for the whole program, the first one does
 * START        as of start_device
 * REQUEST      a[0..5] as of driver_request; a[6] 0-3 how many more, 4 notify, 5 do not offer,
 *              6-7 1 offer twice, 2 from descriptor 0 on, 3 a head out of range
 * NOTIFY       a[0] from 250 on: another queue; a[1] odd: used_event is set before
 * RUN          a[0] 0-4 how many times more; 7 each time at the deadline, while there is one
 * CLOCK        a[0..1] by how much
 * THROTTLE     a[0..1] iops, a[2..3] bps, a[4] and a[5] bursts
 * WRITE        a[0..1] register, a[2] width, a[3..6] value
 * READ         a[0] register; or with a[3], a[0..1] offset, a[2] width
 * POKE         a[0..2] address, a[3] how many, a[4..6] bytes
 * DESC         a[0] index, a[1..3] address, a[4..5] length, a[6] 0-2 flags, 3-7 next
 * OFFER        a[0..1] head, a[2] notify
 * AVAIL_IDX    a[0..1] step
 * USED_EVENT   a[0] relative to used.idx
 * ACKNOWLEDGE  a[0] bits
 * FAULT        a[0] operation, a[1] action, a[2] value, a[3] first, a[4] every, a[5] count, a[6]
 *              odd: instead of what there was
 * HOOK         a[0] from which call to the backing on, a[1] how many times, a[2..4] address,
 *              a[5] bits that change there, a[6] step of avail.idx
 * TRAP         a[0..2] address, a[3] bits
 * STATUS       a[0] what is written; or with a[1] odd, the bit that is added
 * RANGES       a[0..5] as of driver_ranges; a[6] as of REQUEST
 * WRITEBACK    a[0] what is written to the byte of the write cache
 * RESIZE       a[0] to which size, of some; a[1] flags
 * QUEUE        a[0] which queue the driver is busy with from here on
 */
enum op {
	OP_SETUP,
	OP_START,
	OP_REQUEST,
	OP_NOTIFY,
	OP_RUN,
	OP_CLOCK,
	OP_THROTTLE,
	OP_PAUSE,
	OP_RESUME,
	OP_RESET,
	OP_WRITE,
	OP_READ,
	OP_POKE,
	OP_DESC,
	OP_OFFER,
	OP_AVAIL_IDX,
	OP_USED_EVENT,
	OP_ACKNOWLEDGE,
	OP_FAULT,
	OP_HOOK,
	OP_TRAP,
	OP_BIND,
	OP_STATUS,
	OP_RANGES,
	OP_WRITEBACK,
	OP_RESIZE,
	OP_QUEUE,
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
	{ OP_START, 0, 4 },
	{ OP_START, 4, 9 },
	{ OP_START, 0, 13, 0, 1, 1 },
	{ OP_START, 0, 14, 0, 3 },
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
	{ OP_FAULT, 1, 0, 1, 0, 0, 16 },
	{ OP_FAULT, 2, 0, 1, 0, 0, 1 },
	{ OP_FAULT, 1, 1, 2, 0, 2, 0 },
	{ OP_FAULT, 2, 0, 0, 0, 0, 1 },
	{ OP_FAULT, 0, 4, 30 },
	{ OP_HOOK, 0, 0, 12, 0, 0, 1, 0 },
	{ OP_HOOK, 0, 40, 8, 0, 0, 0, 1 },
	{ OP_TRAP, 12, 0, 0, 1 },
	{ OP_READ, 13 },
	{ OP_READ, 63 },
	{ OP_BIND },
	{ OP_STATUS, 1 },
	{ OP_STATUS, 3 },
	{ OP_STATUS, 11 },
	{ OP_STATUS, 15 },
	{ OP_STATUS, 2, 1 },
	{ OP_SETUP, 8 },
	{ OP_SETUP, 8 },
	{ OP_SETUP, 9 },
	{ OP_SETUP, 10 },
	{ OP_SETUP, 11 },
	{ OP_START, 0, 0, 0, 0, 0, 0, 0x10 },
	{ OP_START, 1, 0, 0, 0, 0, 0, 0x10 },
	{ OP_START, 0, 0, 2, 0, 0, 0, 0x10 },
	{ OP_START, 0, 0, 3, 0, 0, 0, 0x30 },
	{ OP_RANGES, 0, 0, 0, 0, 0, 0, 0x10 },
	{ OP_RANGES, 1, 0, 0, 0, 0, 0, 0x10 },
	{ OP_RANGES, 1, 0, 2, 1, 0, 1, 0x10 },
	{ OP_RANGES, 0, 1, 2, 11, 0, 0, 0x10 },
	{ OP_RANGES, 1, 0, 7, 3, 0, 0, 0x10 },
	{ OP_RANGES, 9, 0, 3, 0x38, 0, 0, 0x10 },
	{ OP_FAULT, 3, 0, 1, 0, 0, 3 },
	{ OP_FAULT, 4, 0, 0, 0, 0, 1 },
	{ OP_FAULT, 4, 0, 6 },
	{ OP_FAULT, 3, 0, 6, 0, 0, 1 },
	{ OP_FAULT, 4, 3, 1, 0, 0, 1 },
	{ OP_WRITEBACK },
	{ OP_WRITEBACK, 1 },
	{ OP_RESIZE, 0, 1 },
	{ OP_RESIZE, 1 },
	{ OP_RESIZE, 2, 1 },
	{ OP_SETUP, 12 },
	{ OP_SETUP, 12 },
	{ OP_SETUP, 13 },
	{ OP_QUEUE },
	{ OP_QUEUE, 1 },
	{ OP_QUEUE, 3 },
	{ OP_WRITE, 4, 0, 0, 1 },
	{ OP_WRITE, 4, 0, 0, 3 },
	{ OP_READ, 32, 1, 1, 1 },
};
const size_t fuzz_phrase_count = COUNT(fuzz_phrases);

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

static void step_memory(enum op op, const uint8_t a[7])
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

static void step(enum op op, const uint8_t a[7])
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

/* The first SETUP of a program chooses the device. */
static unsigned pick_kind(const uint8_t *data, size_t size)
{
	const uint8_t *record;

	for (size_t i = 0; (record = record_at(data, size, i)); i++) {
		if (record[0] % OPS == OP_SETUP)
			return record[1] % RIG_KINDS;
	}
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_start_tracing();
	return !rig_init();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *record;

	rig_begin(pick_kind(data, size));
	for (size_t i = 0; rig.model.effort < EFFORT_MAX && (record = record_at(data, size, i));
	     i++) {
		enum op op = (enum op)(record[0] % OPS);

		FUZZ_TRACE("%3zu: op %2d  %02x %02x %02x %02x %02x %02x %02x", i, op, record[1],
			   record[2], record[3], record[4], record[5], record[6], record[7]);
		step(op, record + 1);
		rig_expect_same();
	}
	rig_end();
	return 0;
}
