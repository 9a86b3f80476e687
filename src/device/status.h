/* SPDX-License-Identifier: MIT */
/*
 * The device status state machine (specification 2.1, 3.1.1) as a pure function: what a write of
 * a non-zero value to the status register means, given what the register holds.
 */
#ifndef VBLK_DEVICE_STATUS_H
#define VBLK_DEVICE_STATUS_H

#include <linux/virtio_config.h>
#include <vblk/types.h>

/* The register after each legal step of a driver. */
#define VBLK_STATUS_ACK	     VIRTIO_CONFIG_S_ACKNOWLEDGE
#define VBLK_STATUS_DRIVER   (VBLK_STATUS_ACK | VIRTIO_CONFIG_S_DRIVER)
#define VBLK_STATUS_FEATURES (VBLK_STATUS_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)
#define VBLK_STATUS_RUNNING  (VBLK_STATUS_FEATURES | VIRTIO_CONFIG_S_DRIVER_OK)

enum vblk_status_verdict {
	VBLK_STATUS_SAME,      /* nothing new: ignore */
	VBLK_STATUS_STEP,      /* a legal step: store the value */
	VBLK_STATUS_GAVE_UP,   /* the driver sets FAILED: store the value */
	VBLK_STATUS_CLEARS,    /* refused: it would clear bits */
	VBLK_STATUS_POISONED,  /* refused: the device needs a reset first */
	VBLK_STATUS_LEGACY,    /* refused: FEATURES_OK without VERSION_1 */
	VBLK_STATUS_UNOFFERED, /* refused: FEATURES_OK with features that were not offered */
	VBLK_STATUS_ILLEGAL,   /* refused: no such step from here */
};

/*
 * Judges a write of `value` (not 0) to a register that holds `current`. Pure.
 * `accepted` are the driver's features, `offered` the device's.
 */
enum vblk_status_verdict vblk_status_judge(uint32_t current, uint32_t value, uint64_t accepted,
					   uint64_t offered);

/* Whether a verdict means that the value is stored. */
static inline bool vblk_status_is_stored(enum vblk_status_verdict verdict)
{
	return verdict == VBLK_STATUS_STEP || verdict == VBLK_STATUS_GAVE_UP;
}

/* Whether the driver may write its features: it has said DRIVER and not yet FEATURES_OK. */
static inline bool vblk_status_features_open(uint32_t status)
{
	return (status & VBLK_STATUS_DRIVER) == VBLK_STATUS_DRIVER &&
	       !(status & VIRTIO_CONFIG_S_FEATURES_OK);
}

/* Whether the driver may set up queues: it has said FEATURES_OK and not yet DRIVER_OK. */
static inline bool vblk_status_queues_open(uint32_t status)
{
	return (status & VBLK_STATUS_FEATURES) == VBLK_STATUS_FEATURES &&
	       !(status & VIRTIO_CONFIG_S_DRIVER_OK);
}

#endif
