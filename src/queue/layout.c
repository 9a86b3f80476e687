/* SPDX-License-Identifier: MIT */
/* What the driver says of a queue before it is put to work. */
#include "queue/queue.h"

#include <errno.h>
#include <linux/virtio_ring.h>

void vblk_queue_layout_reset(struct vblk_queue_layout *layout, uint16_t size)
{
	*layout = (struct vblk_queue_layout){ .size = size };
}

int vblk_queue_layout_set_size(struct vblk_queue_layout *layout, uint16_t size, uint16_t max)
{
	if (size == 0 || size > max || (size & (size - 1)) != 0)
		return -EINVAL;
	layout->size = size;
	return 0;
}

static int set_half(uint64_t *address, enum vblk_half half, uint32_t value, uint64_t align)
{
	uint64_t merged;

	if (half == VBLK_HALF_LOW)
		merged = (*address & ~(uint64_t)UINT32_MAX) | value;
	else
		merged = (*address & UINT32_MAX) | (uint64_t)value << 32;
	if (merged % align != 0)
		return -EINVAL;
	*address = merged;
	return 0;
}

int vblk_queue_layout_set_desc(struct vblk_queue_layout *layout, enum vblk_half half,
			       uint32_t value)
{
	return set_half(&layout->desc, half, value, VRING_DESC_ALIGN_SIZE);
}

int vblk_queue_layout_set_avail(struct vblk_queue_layout *layout, enum vblk_half half,
				uint32_t value)
{
	return set_half(&layout->avail, half, value, VRING_AVAIL_ALIGN_SIZE);
}

int vblk_queue_layout_set_used(struct vblk_queue_layout *layout, enum vblk_half half,
			       uint32_t value)
{
	return set_half(&layout->used, half, value, VRING_USED_ALIGN_SIZE);
}
