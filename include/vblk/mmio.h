/* SPDX-License-Identifier: MIT */
/*
 * The virtio-mmio register window, version 2 (specification 4.2).
 *
 * An embedder maps VBLK_MMIO_SIZE bytes of guest-physical address space to these two functions.
 * Any thread may call them, vCPU threads above all, also several at once: the device serialises
 * what needs it, and neither call waits for the disk. The one exception is a write of 0 to
 * Status (a reset), which waits for the workers to finish their current requests, at most for the
 * device's stop timeout. While it waits, so do other writes to Status, to DriverFeatures, and to
 * QueueNum, QueueReady and the queue's addresses. Reads, QueueNotify, InterruptACK and the
 * selectors never wait.
 *
 * A device with the inline engine takes no lock: there the calls, and all others on the device,
 * come from one thread, and a QueueNotify does the I/O before it returns. What may be called from
 * inside of that, vblk/device.h says.
 */
#ifndef VBLK_MMIO_H
#define VBLK_MMIO_H

#include <vblk/types.h>

VBLK_BEGIN_DECLS

/* Size in bytes of the window: the registers, and from 0x100 on the configuration space. */
#define VBLK_MMIO_SIZE 0x1000u

/*
 * A read by the guest of `length` bytes at `offset` in the window; `data` receives them in guest
 * order (little endian). Registers are 4 bytes wide: a read of any other width below 0x100 gives
 * bytes of 0xff. The configuration space may be read in any width; bytes past its end are 0.
 */
VBLK_API void vblk_mmio_read(struct vblk_device *device, uint64_t offset, void *data,
			     size_t length);

/*
 * A write by the guest of `length` bytes. What the device's state does not allow, and every
 * width but 4 below 0x100, is ignored without an error, as hardware would.
 */
VBLK_API void vblk_mmio_write(struct vblk_device *device, uint64_t offset, const void *data,
			      size_t length);

VBLK_END_DECLS

#endif
