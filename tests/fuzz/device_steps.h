/* SPDX-License-Identifier: MIT */
/*
 * The steps of programs about a whole device, done to the device and to its model (rig.h).
 */
#ifndef TESTS_FUZZ_DEVICE_STEPS_H
#define TESTS_FUZZ_DEVICE_STEPS_H

#include <stddef.h>
#include <stdint.h>

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
enum device_op {
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
	DEVICE_OPS,
};

/*
 * Runs a program on a device of the rig, between rig_begin and rig_end: all steps, or until it has
 * cost enough, with a comparison after each. A first byte of DEVICE_OPS * (n + 1) + op is step `op`
 * with the driver busy with queue `n` from there on. `told` may be NULL; it is called after each
 * step.
 */
void device_run(const uint8_t *data, size_t size, void (*told)(enum device_op op));

/* The arguments of the first SETUP of a program; without one they are all 0. */
const uint8_t *device_setup(const uint8_t *data, size_t size);

#endif
