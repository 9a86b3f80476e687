/* SPDX-License-Identifier: MIT */
/*
 * The virtio-mmio register window: offsets and widths (specification 4.2.2). Everything behind a
 * register is an operation of the device core.
 */
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <string.h>
#include <vblk/mmio.h>

#include "base/le.h"
#include "device/device.h"

#define MAGIC	       0x74726976u /* "virt" */
#define VERSION	       2u
#define VENDOR_ID      0u
#define REGISTER_WIDTH 4u

/* What a device without shared memory regions says of every one of them. */
#define NO_SHARED_MEMORY 0xffffffffu

static uint32_t read_register(struct vblk_device *device, uint64_t offset)
{
	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return VIRTIO_ID_BLOCK;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR_ID;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return vblk_device_read_features(device);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return vblk_device_queue_size_max(device);
	case VIRTIO_MMIO_QUEUE_READY:
		return vblk_device_queue_is_ready(device);
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return vblk_device_interrupt_status(device);
	case VIRTIO_MMIO_STATUS:
		return vblk_device_status(device);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return NO_SHARED_MEMORY;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return vblk_device_config_generation(device);
	default: /* write-only, reserved or misaligned */
		return 0;
	}
}

static void write_queue_address(struct vblk_device *device, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		vblk_device_set_queue_address(device, vblk_queue_layout_set_desc, VBLK_HALF_LOW,
					      value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		vblk_device_set_queue_address(device, vblk_queue_layout_set_desc, VBLK_HALF_HIGH,
					      value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		vblk_device_set_queue_address(device, vblk_queue_layout_set_avail, VBLK_HALF_LOW,
					      value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		vblk_device_set_queue_address(device, vblk_queue_layout_set_avail, VBLK_HALF_HIGH,
					      value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		vblk_device_set_queue_address(device, vblk_queue_layout_set_used, VBLK_HALF_LOW,
					      value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		vblk_device_set_queue_address(device, vblk_queue_layout_set_used, VBLK_HALF_HIGH,
					      value);
		break;
	default: /* read-only, reserved, misaligned, or of features that are not offered */
		break;
	}
}

static void write_register(struct vblk_device *device, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		vblk_device_select_device_features(device, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		vblk_device_write_features(device, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		vblk_device_select_driver_features(device, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		vblk_device_select_queue(device, value);
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
		vblk_device_set_queue_size(device, (uint16_t)value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		vblk_device_set_queue_ready(device, value == 1);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		vblk_device_notify(device, value);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		vblk_device_acknowledge(device, value);
		break;
	case VIRTIO_MMIO_STATUS:
		vblk_device_set_status(device, value);
		break;
	default:
		write_queue_address(device, offset, value);
		break;
	}
}

void vblk_mmio_read(struct vblk_device *device, uint64_t offset, void *data, size_t length)
{
	if (offset >= VIRTIO_MMIO_CONFIG)
		vblk_device_read_config(device, offset - VIRTIO_MMIO_CONFIG, data, length);
	else if (length != REGISTER_WIDTH)
		memset(data, 0xff, length);
	else
		vblk_le32_put(data, read_register(device, offset));
}

void vblk_mmio_write(struct vblk_device *device, uint64_t offset, const void *data, size_t length)
{
	if (offset >= VIRTIO_MMIO_CONFIG) {
		/* One byte of the configuration space is the driver's; wider writes are not to it.
		 */
		if (length == 1)
			vblk_device_write_config(device, offset - VIRTIO_MMIO_CONFIG,
						 *(const uint8_t *)data);
		return;
	}
	if (length != REGISTER_WIDTH)
		return;
	write_register(device, offset, vblk_le32_get(data));
}
