/* SPDX-License-Identifier: MIT */
#include "queues.h"

#include <string.h>

#define RINGS	   0xe0000u
#define RINGS_STEP 0x4000u
#define AVAIL	   0x1000u
#define USED	   0x2000u

void queues_aim(struct queues *queues, unsigned index)
{
	struct guest *g = &queues->guest;

	queues->place[queues->aim].avail_idx = g->avail_idx;
	queues->place[queues->aim].next_desc = g->next_desc;
	queues->aim = index;
	g->avail_idx = queues->place[index].avail_idx;
	g->next_desc = queues->place[index].next_desc;
	g->options.desc = RINGS + index * RINGS_STEP;
	g->options.avail = g->options.desc + AVAIL;
	g->options.used = g->options.desc + USED;
}

void queues_create(struct queues *queues, unsigned count, const struct guest_options *options,
		   struct vblk_backing *backing)
{
	struct guest_options own = { 0 };

	if (options)
		own = *options;
	own.device.queues = (uint16_t)count;
	own.all_features = true;
	memset(queues, 0, sizeof(*queues));
	queues->count = count;
	guest_create(&queues->guest, &own, backing);
	queues_aim(queues, 0);
}

void queues_destroy(struct queues *queues)
{
	guest_destroy(&queues->guest);
}

void queues_negotiate(struct queues *queues)
{
	struct guest *g = &queues->guest;

	guest_set_status(g, 0x1);
	guest_set_status(g, 0x3);
	guest_accept(g, (uint64_t)1 << VIRTIO_F_VERSION_1 | (uint64_t)1 << VIRTIO_BLK_F_FLUSH |
				(uint64_t)1 << VIRTIO_BLK_F_MQ);
	guest_set_status(g, 0xb);
}

static void put_address(struct guest *g, uint64_t low, uint64_t address)
{
	guest_write32(g, low, (uint32_t)address);
	guest_write32(g, low + 4, (uint32_t)(address >> 32));
}

void queues_set_up(struct queues *queues, unsigned index)
{
	struct guest *g = &queues->guest;

	queues_aim(queues, index);
	guest_write32(g, VIRTIO_MMIO_QUEUE_SEL, index);
	guest_write32(g, VIRTIO_MMIO_QUEUE_NUM, g->options.queue_size);
	put_address(g, VIRTIO_MMIO_QUEUE_DESC_LOW, g->options.desc);
	put_address(g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, g->options.avail);
	put_address(g, VIRTIO_MMIO_QUEUE_USED_LOW, g->options.used);
	guest_write32(g, VIRTIO_MMIO_QUEUE_READY, 1);
}

void queues_start(struct queues *queues)
{
	queues_negotiate(queues);
	for (unsigned i = 0; i < queues->count; i++)
		queues_set_up(queues, i);
	guest_set_status(&queues->guest, 0xf);
}

void queues_reset(struct queues *queues)
{
	struct guest *g = &queues->guest;

	guest_set_status(g, 0);
	for (unsigned i = 0; i < queues->count; i++) {
		queues_aim(queues, i);
		guest_set_avail_idx(g, 0);
		guest_fill(g, g->options.used + 2, 0, 2);
		g->next_desc = 0;
	}
}

void queues_kick(struct queues *queues, unsigned index)
{
	guest_write32(&queues->guest, VIRTIO_MMIO_QUEUE_NOTIFY, index);
}

void queues_read(struct queues *queues, unsigned index, unsigned first_slot, unsigned count)
{
	queues_aim(queues, index);
	for (unsigned i = 0; i < count; i++)
		guest_request_at(&queues->guest, first_slot + i, VIRTIO_BLK_T_IN, 0,
				 VBLK_SECTOR_SIZE);
}

uint16_t queues_used(struct queues *queues, unsigned index)
{
	queues_aim(queues, index);
	return guest_used_idx(&queues->guest);
}

bool queues_wait_used(struct queues *queues, unsigned index, uint16_t used)
{
	queues_aim(queues, index);
	return guest_wait_used(&queues->guest, used);
}
