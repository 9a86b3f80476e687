/* SPDX-License-Identifier: MIT */
/*
 * The disk behind a device: what all its queues share, whichever transport they belong to.
 *
 * It is reference counted, because a worker that was abandoned may outlive its device. What can
 * change while requests are served is atomic; the rest is constant.
 */
#ifndef VBLK_REQUEST_DISK_H
#define VBLK_REQUEST_DISK_H

#include <linux/virtio_blk.h>
#include <stdatomic.h>
#include <vblk/device.h>

#include "base/clock.h"
#include "throttle/group.h"

struct vblk_disk {
	atomic_uint refs;

	/* Constant. References are owned. */
	uint32_t instance; /* names the device in logs and thread names */
	struct vblk_backing *backing;
	struct vblk_metrics *metrics;
	struct vblk_throttle_group *throttle;
	struct vblk_log log;
	struct vblk_clock clock;
	enum vblk_undeliverable on_undeliverable;
	bool read_only;
	bool io_uring;	  /* workers have io_uring make their calls, if it is to be had */
	uint64_t poll_ns; /* how long a worker looks at an empty ring at most */
	uint8_t serial[VIRTIO_BLK_ID_BYTES];

	/* A multiple of VBLK_SECTOR_SIZE. A request looks at it once. */
	_Atomic uint64_t capacity_bytes;

	/*
	 * The driver has turned the write cache off (VIRTIO_BLK_F_CONFIG_WCE): every write is made
	 * stable before it is answered.
	 */
	atomic_bool write_through;

	/* It has been said that io_uring is not to be had. */
	atomic_bool uring_missed;

	/*
	 * Workers that a transport has given up and that still run: what they have in hand may
	 * reach the backing at any time. Counted by transports that may go on after that.
	 */
	atomic_uint abandoned;
};

/*
 * Makes the disk that `options` describe, on `backing`, of which it takes a reference. Returns 0
 * and one reference, or as vblk_device_create.
 */
VBLK_MUST_USE int vblk_disk_create(const struct vblk_device_options *options,
				   struct vblk_backing *backing, struct vblk_disk **disk);
struct vblk_disk *vblk_disk_ref(struct vblk_disk *disk);
void vblk_disk_unref(struct vblk_disk *disk);

/*
 * Whether the disk can have another size, as vblk_device_resize; grows the backing if it has to.
 * The size itself is set by vblk_disk_set_capacity, in step with what tells the driver.
 */
VBLK_MUST_USE int vblk_disk_prepare_resize(struct vblk_disk *disk, uint64_t capacity_bytes,
					   bool shrink);

static inline void vblk_disk_set_capacity(struct vblk_disk *disk, uint64_t capacity_bytes)
{
	atomic_store_explicit(&disk->capacity_bytes, capacity_bytes, memory_order_relaxed);
}

static inline uint64_t vblk_disk_capacity(const struct vblk_disk *disk)
{
	return atomic_load_explicit(&disk->capacity_bytes, memory_order_relaxed);
}

/* 0: whoever was given up has ended, and so has its I/O. */
static inline unsigned vblk_disk_abandoned(const struct vblk_disk *disk)
{
	return atomic_load_explicit(&disk->abandoned, memory_order_acquire);
}

#endif
