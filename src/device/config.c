/* SPDX-License-Identifier: MIT */
/* Feature bits and configuration space. */
#include "device/config.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "base/le.h"
#include "request/request.h"

_Static_assert(offsetof(struct virtio_blk_config, blk_size) + 4 == VBLK_CONFIG_SIZE,
	       "the configuration space ends with blk_size");

static uint64_t bit(unsigned number)
{
	return (uint64_t)1 << number;
}

uint64_t vblk_features_offered(bool read_only)
{
	uint64_t features = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_RING_F_EVENT_IDX) |
			    bit(VIRTIO_BLK_F_SIZE_MAX) | bit(VIRTIO_BLK_F_SEG_MAX) |
			    bit(VIRTIO_BLK_F_BLK_SIZE) | bit(VIRTIO_BLK_F_FLUSH);

	return read_only ? features | bit(VIRTIO_BLK_F_RO) : features;
}

void vblk_config_fill(uint8_t config[VBLK_CONFIG_SIZE], uint64_t sectors)
{
	memset(config, 0, VBLK_CONFIG_SIZE);
	vblk_le64_put(config + offsetof(struct virtio_blk_config, capacity), sectors);
	vblk_le32_put(config + offsetof(struct virtio_blk_config, size_max), VBLK_SIZE_MAX);
	vblk_le32_put(config + offsetof(struct virtio_blk_config, seg_max), VBLK_SEG_MAX);
	vblk_le32_put(config + offsetof(struct virtio_blk_config, blk_size), VBLK_SECTOR_SIZE);
}

void vblk_config_read(const uint8_t config[VBLK_CONFIG_SIZE], uint64_t offset, void *data,
		      size_t length)
{
	memset(data, 0, length);
	if (offset >= VBLK_CONFIG_SIZE)
		return;
	if (length > VBLK_CONFIG_SIZE - offset)
		length = VBLK_CONFIG_SIZE - offset;
	memcpy(data, config + offset, length);
}
