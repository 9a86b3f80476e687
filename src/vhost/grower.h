/* SPDX-License-Identifier: MIT */
/*
 * Making a disk longer, for who must not wait for it. That is a call to the file, which hangs where
 * its file system does, or behind a worker that hangs in it. So it is made by a thread of its own,
 * one at a time for each disk, and who asks waits for it for a while.
 */
#ifndef VBLK_VHOST_GROWER_H
#define VBLK_VHOST_GROWER_H

#include "request/disk.h"

struct vblk_vhost_grower;

/* For this disk, of which it takes a reference. Returns 0 or -ENOMEM. */
VBLK_MUST_USE int vblk_vhost_grower_create(struct vblk_disk *disk,
					   struct vblk_vhost_grower **grower);

/* What hangs is left to itself, with the disk. NULL is ignored. */
void vblk_vhost_grower_release(struct vblk_vhost_grower *grower);

/*
 * As vblk_disk_prepare_resize, by one caller at a time; and -ETIMEDOUT: the file did not answer in
 * time, and may become longer yet; -EBUSY: it has not answered since such a call; -EAGAIN: no
 * thread can be created.
 */
VBLK_MUST_USE int vblk_vhost_grower_prepare(struct vblk_vhost_grower *grower,
					    uint64_t capacity_bytes, bool shrink,
					    uint32_t timeout_ms);

#endif
