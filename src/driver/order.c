/* SPDX-License-Identifier: MIT */
/* Random numbers are those of a xorshift generator, which is fast and good enough for addresses. */
#include "driver/order.h"

static uint64_t random_number(struct vblk_order *order)
{
	order->noise ^= order->noise << 13;
	order->noise ^= order->noise >> 7;
	order->noise ^= order->noise << 17;
	return order->noise;
}

/* Evenly from 0 to limit - 1. */
static uint64_t random_below(struct vblk_order *order, uint64_t limit)
{
	return (uint64_t)(((unsigned __int128)random_number(order) * limit) >> 64);
}

void vblk_order_init(struct vblk_order *order, uint64_t seed)
{
	order->noise = (seed + 1) * 0x9e3779b97f4a7c15ull;
	order->cursor = 0;
	order->unflushed = 0;
}

enum vblk_driver_kind vblk_order_kind(struct vblk_order *order)
{
	if (order->flush_every > 0 && order->unflushed >= order->flush_every) {
		order->unflushed = 0;
		return VBLK_DRIVER_FLUSH;
	}
	if (order->read_percent >= 100 ||
	    (order->read_percent > 0 && random_below(order, 100) < order->read_percent))
		return VBLK_DRIVER_READ;
	order->unflushed++;
	return VBLK_DRIVER_WRITE;
}

uint64_t vblk_order_block(struct vblk_order *order)
{
	if (order->random)
		order->cursor = random_below(order, order->blocks);
	return vblk_order_pass(order);
}

uint64_t vblk_order_pass(struct vblk_order *order)
{
	const uint64_t block = order->cursor;

	order->cursor = block + 1 < order->blocks ? block + 1 : 0;
	return block;
}
