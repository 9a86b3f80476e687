/* SPDX-License-Identifier: MIT */
/* Negotiation, and places for the rings. */
#include "start.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "rig.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct places {
	uint64_t desc;
	uint64_t avail;
	uint64_t used;
};

/* Behind the last element of either ring stands one more u16. */
static uint64_t avail_size(uint16_t size)
{
	return 6 + 2ull * size;
}

static uint64_t used_size(uint16_t size)
{
	return 6 + 8ull * size;
}

/* Where a driver might put them: in one region, across two, in many. */
static void place_well(struct places *p, uint8_t which, uint16_t size, uint8_t detail)
{
	switch (which) {
	case 1:
		p->desc = ARENA_NEXT - 8ull * size / 16 * 16;
		break;
	case 2:
		p->avail = ARENA_NEXT - 4 - size;
		break;
	case 3:
		p->used = ARENA_NEXT - 4 - 4ull * size;
		break;
	case 4:
		p->avail = ARENA_SHREDS;
		p->used = ARENA_SHREDS + ((avail_size(size) + 3) & ~3ull);
		break;
	case 5:
		p->desc = ARENA_FOUR_G + 16ull * detail;
		p->avail = ARENA_FOUR_G + 0xc00;
		break;
	case 6:
		p->desc = ARENA_TOP + 16ull * detail;
		break;
	default:
		break;
	}
}

/* Nowhere, or all but the flags and the index, or all but the flags. */
static void place_nowhere(struct places *p, uint8_t detail)
{
	switch (detail % 6) {
	case 0:
		p->desc = ARENA_HOLE + 0x10;
		break;
	case 1:
		p->avail = ARENA_HOLE + 0x10;
		break;
	case 2:
		p->used = ARENA_HOLE + 0x10;
		break;
	case 3:
		p->used = ARENA_SHREDS - 4;
		break;
	case 4:
		p->avail = ARENA_SHREDS - 2;
		break;
	default:
		p->avail = 0;
		break;
	}
}

static void place_anywhere(struct places *p, const uint8_t a[3])
{
	uint64_t address = driver_address(&rig.driver, a[1], (uint16_t)(a[2] * 16));

	switch (a[0] % 3) {
	case 0:
		p->desc = address;
		break;
	case 1:
		p->avail = address;
		break;
	default:
		p->used = address;
		break;
	}
}

static void place_badly(struct places *p, uint8_t which, uint16_t size, const uint8_t a[3])
{
	switch (which) {
	case 8: /* the last two bytes of a ring are missing */
		p->avail = ARENA_HOLE - avail_size(size) + 2;
		break;
	case 9:
		p->used = (ARENA_HOLE - used_size(size) + 2) & ~3ull;
		break;
	case 10: /* half of a ring is missing */
		p->avail = (ARENA_HOLE - avail_size(size) / 2) & ~1ull;
		break;
	case 11:
		p->used = (ARENA_HOLE - used_size(size) / 2) & ~3ull;
		break;
	case 12: /* over the end of the address space */
		p->avail = (0 - avail_size(size) + 2ull * (a[0] % 8)) & ~1ull;
		p->used = a[1] & 1 ? (0 - used_size(size) + 4ull * (a[0] % 8)) & ~3ull : p->used;
		break;
	case 13: /* on top of each other, to the point where flags are an index */
		p->used = p->avail + 4ull * (a[0] % 64);
		p->avail += 2ull * (a[1] & 1);
		break;
	case 14:
		place_nowhere(p, a[0]);
		break;
	default:
		place_anywhere(p, a);
		break;
	}
}

static void write_address(uint64_t low, uint64_t high, uint64_t address)
{
	rig_write(low, (uint32_t)address);
	rig_write(high, (uint32_t)(address >> 32));
}

static void write_features(uint8_t flags, uint8_t features)
{
	const uint32_t flush = 1u << VIRTIO_BLK_F_FLUSH, event_idx = 1u << VIRTIO_RING_F_EVENT_IDX;
	uint32_t low = 1u << VIRTIO_BLK_F_SEG_MAX;

	if (features & FEATURES_ALL)
		low = (uint32_t)model_offered(&rig.model) & ~(flush | event_idx);
	if (features & FEATURES_NO_WCE)
		low &= ~(1u << VIRTIO_BLK_F_CONFIG_WCE);
	if (!(flags & START_NO_FLUSH))
		low |= flush;
	if (flags & START_EVENT_IDX)
		low |= event_idx;
	if (features & FEATURES_FOREIGN)
		low |= 1u << VIRTIO_BLK_F_DISCARD;
	rig_write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	if (!(features & FEATURES_NO_HIGH))
		rig_write(VIRTIO_MMIO_DRIVER_FEATURES, 1u << (VIRTIO_F_VERSION_1 - 32));
	rig_write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	if (!(features & FEATURES_NO_LOW))
		rig_write(VIRTIO_MMIO_DRIVER_FEATURES, low);
}

static void negotiate(uint8_t flags, uint8_t features)
{
	if (!(flags & START_NO_RESET))
		rig_write(VIRTIO_MMIO_STATUS, 0);
	rig_write(VIRTIO_MMIO_STATUS, 1);
	rig_write(VIRTIO_MMIO_STATUS, 3);
	write_features(flags, features);
	rig_write(VIRTIO_MMIO_STATUS, 11);
	if (features & FEATURES_LATE)
		write_features(flags ^ START_EVENT_IDX, features);
}

/* Each queue has its rings a little further on, as long as they are short. */
static void set_up_queue(const uint8_t a[7], unsigned queue)
{
	static const uint16_t sizes[] = { 8, 256, 1, 2, 4, 16, 32, 64, 128 };
	uint16_t size = sizes[a[0] % COUNT(sizes)];
	struct places places = { 0x400 * queue, 0x1000 + 0x100 * queue, 0x1800 + 0x200 * queue };

	if (queue == 0 && a[1] % 16 < 8)
		place_well(&places, a[1] % 16, size, a[3]);
	else if (queue == 0)
		place_badly(&places, a[1] % 16, size, a + 3);
	rig_write(VIRTIO_MMIO_QUEUE_SEL, queue);
	rig_choose_queue(queue);
	rig_write(VIRTIO_MMIO_QUEUE_NUM, size);
	write_address(VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_DESC_HIGH, places.desc);
	write_address(VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, places.avail);
	write_address(VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_QUEUE_USED_HIGH, places.used);
	if (!(a[2] & START_KEEP)) {
		driver_set_avail_idx(&rig.driver, 0);
		arena_put16(rig.driver.avail, 0);
		arena_put32(rig.driver.used, 0);
		arena_put16(rig.driver.avail + 4 + 2ull * size, 0);
	}
	if (!(a[2] & START_NOT_READY))
		rig_write(VIRTIO_MMIO_QUEUE_READY, 1);
	if (a[2] & START_NOTIFY)
		rig_write(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

void start_device(const uint8_t a[7])
{
	unsigned queue = rig.queue;

	negotiate(a[2], a[6]);
	for (unsigned i = 0; i < rig.model.queues; i++)
		set_up_queue(a, i);
	rig_choose_queue(queue);
	if (!(a[2] & START_NOT_OK))
		rig_write(VIRTIO_MMIO_STATUS, 15);
	if (a[2] & START_FAILED)
		rig_write(VIRTIO_MMIO_STATUS, 15 | VIRTIO_CONFIG_S_FAILED);
}
