/* SPDX-License-Identifier: MIT */
/* The one path a driver may take through the status register, and what is said off it. */
#include "device/status.h"

#define VERSION_1 ((uint64_t)1 << VIRTIO_F_VERSION_1)

/* The bit that may be added to exactly this register value, or 0. */
static uint32_t next_bit(uint32_t current)
{
	switch (current) {
	case 0:
		return VIRTIO_CONFIG_S_ACKNOWLEDGE;
	case VBLK_STATUS_ACK:
		return VIRTIO_CONFIG_S_DRIVER;
	case VBLK_STATUS_DRIVER:
		return VIRTIO_CONFIG_S_FEATURES_OK;
	case VBLK_STATUS_FEATURES:
		return VIRTIO_CONFIG_S_DRIVER_OK;
	default: /* running, or FAILED or NEEDS_RESET is set: only a reset leads on */
		return 0;
	}
}

static enum vblk_status_verdict judge_features(uint64_t accepted, uint64_t offered)
{
	if (!(accepted & VERSION_1))
		return VBLK_STATUS_LEGACY;
	if (accepted & ~offered)
		return VBLK_STATUS_UNOFFERED;
	return VBLK_STATUS_STEP;
}

enum vblk_status_verdict vblk_status_judge(uint32_t current, uint32_t value, uint64_t accepted,
					   uint64_t offered)
{
	bool poisoned = current & VIRTIO_CONFIG_S_NEEDS_RESET;
	uint32_t added = value & ~current;

	if ((value & current) != current)
		return poisoned ? VBLK_STATUS_POISONED : VBLK_STATUS_CLEARS;
	if (added == 0)
		return VBLK_STATUS_SAME;
	if (added == VIRTIO_CONFIG_S_FAILED)
		return VBLK_STATUS_GAVE_UP;
	if (added == next_bit(current))
		return added == VIRTIO_CONFIG_S_FEATURES_OK ? judge_features(accepted, offered)
							    : VBLK_STATUS_STEP;
	return poisoned ? VBLK_STATUS_POISONED : VBLK_STATUS_ILLEGAL;
}
