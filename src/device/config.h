/* SPDX-License-Identifier: MIT */
/* What a disk offers: feature bits and configuration space (specification 5.2.3, 5.2.4). */
#ifndef VBLK_DEVICE_CONFIG_H
#define VBLK_DEVICE_CONFIG_H

#include "request/disk.h"

/* Bytes of configuration space; beyond are zeros. */
#define VBLK_CONFIG_SIZE      60u
#define VBLK_CONFIG_SIZE_BASE 24u /* with VBLK_FEATURES_BASE */

/* The one byte that a driver may write: `writeback`. */
#define VBLK_CONFIG_WRITEBACK 32u

/* What decides over the offer. */
struct vblk_offer {
	const struct vblk_disk *disk;
	enum vblk_feature_set set;
	uint16_t queues;
};

/* Feature bits that a device offers, as a mask. */
uint64_t vblk_features_offered(const struct vblk_offer *offer);

/*
 * Copies `length` bytes from `offset` of the configuration space as it is now; zeros where it has
 * ended. Capacity and write cache may change at any time.
 */
void vblk_config_read(const struct vblk_offer *offer, uint64_t offset, void *data, size_t length);

/*
 * The write cache when the driver has chosen its features: on, unless it negotiated CONFIG_WCE
 * without FLUSH (specification 5.2.5.2).
 */
void vblk_config_start(struct vblk_disk *disk, uint64_t accepted);

/*
 * A driver's write of one byte at `offset`. Returns false if there is nothing to be written by a
 * driver with these features.
 */
bool vblk_config_write(struct vblk_disk *disk, uint64_t accepted, uint64_t offset, uint8_t value);

/* What requests may be with these features. */
struct vblk_request_rules vblk_rules_negotiated(const struct vblk_disk *disk, uint64_t accepted);

/* Whether every write has to be made stable: the driver has no way to do it (5.2.6.2). */
bool vblk_writes_are_stable(uint64_t accepted);

#endif
