/* SPDX-License-Identifier: MIT */
/*
 * What a load asks for next: reads, writes and flushes of the blocks of a range, in turn or at
 * random. The same seed gives the same load, whoever carries it out. Pure; any thread.
 */
#ifndef DRIVER_ORDER_H
#define DRIVER_ORDER_H

#include "driver/queue.h"

/* Set up to `flush_every` by the caller, the rest by vblk_order_init. */
struct vblk_order {
	uint64_t blocks; /* of the range, at least 1 */
	bool random;
	uint8_t read_percent; /* 0: all are writes; 100: all are reads */
	uint32_t flush_every; /* so many writes; 0: never */

	uint64_t noise;
	uint64_t cursor;
	uint32_t unflushed; /* writes since the last flush */
};

void vblk_order_init(struct vblk_order *order, uint64_t seed);

/* What is next: a flush when enough writes have been asked for, or else a read or a write. */
enum vblk_driver_kind vblk_order_kind(struct vblk_order *order);

/* The next block. To be asked for reads and writes, not for flushes. */
uint64_t vblk_order_block(struct vblk_order *order);

/* The one behind that, if it is not wanted; behind the last is the first. */
uint64_t vblk_order_pass(struct vblk_order *order);

#endif
