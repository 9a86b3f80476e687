/* SPDX-License-Identifier: MIT */
/*
 * A guest's driver, as small as it can be, for examples that have no guest.
 *
 * It finds the device by its register window alone and lays its queue out in the guest's memory,
 * as Linux would. Nothing here is part of embedding a device: behind a real monitor all of it is
 * inside of the guest.
 *
 * Eight requests of one sector each may be under way. Request n, counted from 0 on, uses the slot
 * n % 8; answers are taken in the order of the used ring. One thread.
 */
#ifndef EXAMPLES_DRIVER_H
#define EXAMPLES_DRIVER_H

#include <linux/virtio_blk.h>
#include <vblk/vblk.h>

#define DRIVER_RAM   0x10000u /* bytes of guest memory at guest-physical address 0 */
#define DRIVER_SLOTS 8u

struct driver {
	struct vblk_device *device;
	uint8_t *ram;
	uint16_t offered; /* requests so far */
	uint16_t taken;	  /* answers so far */
};

/* Resets the device, negotiates and sets up queue 0. Returns 0, or -EPROTO if the device objects.
 */
int driver_start(struct driver *driver, struct vblk_device *device, uint8_t *ram);

/* The sector of data of the slot that the next request uses, to be filled before a write. */
uint8_t *driver_next_data(const struct driver *driver);

/* Offers a request (VIRTIO_BLK_T_IN or _OUT, of one sector, or _FLUSH) and tells nobody. */
void driver_offer(struct driver *driver, uint32_t type, uint64_t sector);

/* QueueNotify, by the register window. */
void driver_notify(const struct driver *driver);

/*
 * Takes an answer, if there is one: its status (VIRTIO_BLK_S_OK ...) and the data of its slot.
 * Returns false if there is none.
 */
bool driver_take(struct driver *driver, uint8_t *status, const uint8_t **data);

#endif
