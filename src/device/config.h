/* SPDX-License-Identifier: MIT */
/* What the device offers: feature bits and configuration space (specification 5.2.3, 5.2.4). */
#ifndef VBLK_DEVICE_CONFIG_H
#define VBLK_DEVICE_CONFIG_H

#include <vblk/types.h>

/* Bytes of configuration space that the offered features define; beyond are zeros. */
#define VBLK_CONFIG_SIZE 24u

/* Feature bits that a device offers, as a mask. */
uint64_t vblk_features_offered(bool read_only);

/* Fills the configuration space of a disk of `sectors` sectors, little-endian. */
void vblk_config_fill(uint8_t config[VBLK_CONFIG_SIZE], uint64_t sectors);

/* Copies `length` bytes from `offset` of the configuration space; zeros where it has ended. */
void vblk_config_read(const uint8_t config[VBLK_CONFIG_SIZE], uint64_t offset, void *data,
		      size_t length);

#endif
