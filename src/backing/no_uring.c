/* SPDX-License-Identifier: MIT */
/* In the place of uring.c where the library is built without liburing. */
#include "backing/uring.h"

int vblk_uring_create(struct vblk_backing *backing, unsigned entries, struct vblk_aio **aio)
{
	(void)backing;
	(void)entries;
	(void)aio;
	return -EOPNOTSUPP;
}

int vblk_uring_prepare(struct vblk_backing *backing, unsigned entries, unsigned count)
{
	(void)backing;
	(void)entries;
	(void)count;
	return -EOPNOTSUPP;
}
