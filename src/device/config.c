/* SPDX-License-Identifier: MIT */
/* Feature bits and configuration space. */
#include "device/config.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "backing/backing.h"
#include "base/checked.h"
#include "base/le.h"
#include "request/request.h"

/* What guests are told about the disk's grain: pages of 4 KiB, as file systems have. */
#define PHYSICAL_BLOCK_EXPONENT 3u
#define BLOCK_SECTORS		(1u << PHYSICAL_BLOCK_EXPONENT)

_Static_assert(offsetof(struct virtio_blk_config, blk_size) + 4 == VBLK_CONFIG_SIZE_BASE,
	       "the base ends with blk_size");
_Static_assert(offsetof(struct virtio_blk_config, unused1) + 3 == VBLK_CONFIG_SIZE,
	       "all ends with what WRITE_ZEROES needs");
_Static_assert(offsetof(struct virtio_blk_config, wce) == VBLK_CONFIG_WRITEBACK, "writeback");

static uint64_t bit(unsigned number)
{
	return (uint64_t)1 << number;
}

static bool has(uint64_t features, unsigned number)
{
	return features >> number & 1;
}

uint64_t vblk_features_offered(const struct vblk_offer *offer)
{
	const struct vblk_disk *disk = offer->disk;
	uint64_t features = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_RING_F_EVENT_IDX) |
			    bit(VIRTIO_BLK_F_SIZE_MAX) | bit(VIRTIO_BLK_F_SEG_MAX) |
			    bit(VIRTIO_BLK_F_BLK_SIZE) | bit(VIRTIO_BLK_F_FLUSH);

	if (disk->read_only)
		features |= bit(VIRTIO_BLK_F_RO);
	if (offer->set == VBLK_FEATURES_BASE)
		return features;
	features |= bit(VIRTIO_RING_F_INDIRECT_DESC) | bit(VIRTIO_BLK_F_TOPOLOGY) |
		    bit(VIRTIO_BLK_F_CONFIG_WCE);
	if (offer->queues > 1)
		features |= bit(VIRTIO_BLK_F_MQ);
	if (disk->read_only)
		return features;
	features |= bit(VIRTIO_BLK_F_WRITE_ZEROES);
	if (vblk_backing_can_discard(disk->backing))
		features |= bit(VIRTIO_BLK_F_DISCARD);
	return features;
}

#define AT(config, field) ((config) + offsetof(struct virtio_blk_config, field))

static void fill(uint8_t config[VBLK_CONFIG_SIZE], const struct vblk_offer *offer)
{
	const struct vblk_disk *disk = offer->disk;
	uint64_t features = vblk_features_offered(offer);

	memset(config, 0, VBLK_CONFIG_SIZE);
	vblk_le64_put(AT(config, capacity), vblk_disk_capacity(disk) / VBLK_SECTOR_SIZE);
	vblk_le32_put(AT(config, size_max), VBLK_SIZE_MAX);
	vblk_le32_put(AT(config, seg_max), VBLK_SEG_MAX);
	vblk_le32_put(AT(config, blk_size), VBLK_SECTOR_SIZE);
	if (offer->set == VBLK_FEATURES_BASE)
		return;
	*AT(config, physical_block_exp) = PHYSICAL_BLOCK_EXPONENT;
	vblk_le16_put(AT(config, min_io_size), BLOCK_SECTORS);
	*AT(config, wce) = !atomic_load_explicit(&disk->write_through, memory_order_relaxed);
	vblk_le16_put(AT(config, num_queues), offer->queues);
	if (has(features, VIRTIO_BLK_F_DISCARD)) {
		vblk_le32_put(AT(config, max_discard_sectors), VBLK_RANGE_SECTORS_MAX);
		vblk_le32_put(AT(config, max_discard_seg), VBLK_RANGES_MAX);
		vblk_le32_put(AT(config, discard_sector_alignment), BLOCK_SECTORS);
	}
	if (has(features, VIRTIO_BLK_F_WRITE_ZEROES)) {
		vblk_le32_put(AT(config, max_write_zeroes_sectors), VBLK_RANGE_SECTORS_MAX);
		vblk_le32_put(AT(config, max_write_zeroes_seg), VBLK_RANGES_MAX);
		*AT(config, write_zeroes_may_unmap) = 1;
	}
}

void vblk_config_read(const struct vblk_offer *offer, uint64_t offset, void *data, size_t length)
{
	uint8_t config[VBLK_CONFIG_SIZE];

	memset(data, 0, length);
	if (offset >= VBLK_CONFIG_SIZE)
		return;
	fill(config, offer);
	memcpy(data, config + offset, vblk_min_u64(length, VBLK_CONFIG_SIZE - offset));
}

static void set_write_through(struct vblk_disk *disk, bool write_through)
{
	atomic_store_explicit(&disk->write_through, write_through, memory_order_relaxed);
}

void vblk_config_start(struct vblk_disk *disk, uint64_t accepted)
{
	set_write_through(disk, has(accepted, VIRTIO_BLK_F_CONFIG_WCE) &&
					!has(accepted, VIRTIO_BLK_F_FLUSH));
}

bool vblk_config_write(struct vblk_disk *disk, uint64_t accepted, uint64_t offset, uint8_t value)
{
	if (offset != VBLK_CONFIG_WRITEBACK || !has(accepted, VIRTIO_BLK_F_CONFIG_WCE) || value > 1)
		return false;
	set_write_through(disk, value == 0);
	return true;
}

struct vblk_request_rules vblk_rules_negotiated(const struct vblk_disk *disk, uint64_t accepted)
{
	return (struct vblk_request_rules){
		.read_only = disk->read_only,
		.discard = has(accepted, VIRTIO_BLK_F_DISCARD),
		.write_zeroes = has(accepted, VIRTIO_BLK_F_WRITE_ZEROES),
	};
}

bool vblk_writes_are_stable(uint64_t accepted)
{
	return !has(accepted, VIRTIO_BLK_F_FLUSH) && !has(accepted, VIRTIO_BLK_F_CONFIG_WCE);
}
