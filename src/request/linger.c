/* SPDX-License-Identifier: MIT */
/* Growing fast and shrinking fast: twice as long, half as long. */
#include "request/linger.h"

#include "base/checked.h"

static void grow(struct vblk_linger *linger)
{
	uint64_t longer = linger->now_ns ? 2 * linger->now_ns : VBLK_LINGER_MIN_NS;

	linger->now_ns = vblk_min_u64(longer, linger->max_ns);
}

static void shrink(struct vblk_linger *linger)
{
	linger->now_ns /= 2;
	if (linger->now_ns < VBLK_LINGER_MIN_NS)
		linger->now_ns = 0;
}

void vblk_linger_sleep(struct vblk_linger *linger, uint64_t now_ns)
{
	linger->asleep = true;
	linger->asleep_since_ns = now_ns;
}

void vblk_linger_wake(struct vblk_linger *linger, uint64_t now_ns)
{
	if (!linger->asleep)
		return;
	linger->asleep = false;
	if (now_ns - linger->asleep_since_ns <= linger->max_ns)
		grow(linger);
	else
		shrink(linger);
}
