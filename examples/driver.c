/* SPDX-License-Identifier: MIT */
/* Registers and rings as the specification has them (4.2 and 2.7), and one shape of request. */
#include "driver.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>

/* Where things are in the guest's memory. */
#define DESC   0x0000u /* three descriptors for each slot */
#define AVAIL  0x1000u
#define USED   0x2000u
#define HEADER 0x3000u
#define STATUS 0x3800u
#define DATA   0x4000u

#define QUEUE_SIZE	 32u /* a power of two with room for three descriptors a slot */
#define DESCS_PER_SLOT	 3u
#define VERSION_1	 (1u << (VIRTIO_F_VERSION_1 - 32)) /* in the upper half of the features */
#define STATUS_ACK	 VIRTIO_CONFIG_S_ACKNOWLEDGE
#define STATUS_DRIVER	 (STATUS_ACK | VIRTIO_CONFIG_S_DRIVER)
#define STATUS_FEATURES	 (STATUS_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)
#define STATUS_DRIVER_OK (STATUS_FEATURES | VIRTIO_CONFIG_S_DRIVER_OK)

static void write_register(const struct driver *driver, uint64_t offset, uint32_t value)
{
	const uint32_t bytes = htole32(value);

	vblk_mmio_write(driver->device, offset, &bytes, sizeof(bytes));
}

static uint32_t read_register(const struct driver *driver, uint64_t offset)
{
	uint32_t bytes;

	vblk_mmio_read(driver->device, offset, &bytes, sizeof(bytes));
	return le32toh(bytes);
}

int driver_start(struct driver *driver, struct vblk_device *device, uint8_t *ram)
{
	*driver = (struct driver){ .device = device, .ram = ram };
	memset(ram, 0, DRIVER_RAM);

	write_register(driver, VIRTIO_MMIO_STATUS, 0);
	write_register(driver, VIRTIO_MMIO_STATUS, STATUS_ACK);
	write_register(driver, VIRTIO_MMIO_STATUS, STATUS_DRIVER);
	write_register(driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	write_register(driver, VIRTIO_MMIO_DRIVER_FEATURES, 1u << VIRTIO_BLK_F_FLUSH);
	write_register(driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	write_register(driver, VIRTIO_MMIO_DRIVER_FEATURES, VERSION_1);
	write_register(driver, VIRTIO_MMIO_STATUS, STATUS_FEATURES);

	write_register(driver, VIRTIO_MMIO_QUEUE_SEL, 0);
	write_register(driver, VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE);
	write_register(driver, VIRTIO_MMIO_QUEUE_DESC_LOW, DESC);
	write_register(driver, VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAIL);
	write_register(driver, VIRTIO_MMIO_QUEUE_USED_LOW, USED);
	write_register(driver, VIRTIO_MMIO_QUEUE_READY, 1);
	write_register(driver, VIRTIO_MMIO_STATUS, STATUS_DRIVER_OK);
	return read_register(driver, VIRTIO_MMIO_STATUS) == STATUS_DRIVER_OK ? 0 : -EPROTO;
}

static uint64_t data_of(uint32_t slot)
{
	return DATA + slot * (uint64_t)VBLK_SECTOR_SIZE;
}

uint8_t *driver_next_data(const struct driver *driver)
{
	return driver->ram + data_of(driver->offered % DRIVER_SLOTS);
}

void driver_offer(struct driver *driver, uint32_t type, uint64_t sector)
{
	const uint32_t slot = driver->offered % DRIVER_SLOTS;
	const uint16_t head = (uint16_t)(slot * DESCS_PER_SLOT);
	const uint64_t header_at = HEADER + slot * sizeof(struct virtio_blk_outhdr);
	const uint16_t direction = type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;
	const bool has_data = type != VIRTIO_BLK_T_FLUSH;
	struct vring_desc *desc = (struct vring_desc *)(driver->ram + DESC) + head;
	struct vring_avail *avail = (struct vring_avail *)(driver->ram + AVAIL);
	struct virtio_blk_outhdr header = { .type = htole32(type), .sector = htole64(sector) };

	memcpy(driver->ram + header_at, &header, sizeof(header));
	desc[0] = (struct vring_desc){
		.addr = htole64(header_at),
		.len = htole32(sizeof(header)),
		.flags = htole16(VRING_DESC_F_NEXT),
		.next = htole16((uint16_t)(head + (has_data ? 1 : 2))),
	};
	desc[1] = (struct vring_desc){
		.addr = htole64(data_of(slot)),
		.len = htole32(VBLK_SECTOR_SIZE),
		.flags = htole16(VRING_DESC_F_NEXT | direction),
		.next = htole16((uint16_t)(head + 2)),
	};
	desc[2] = (struct vring_desc){
		.addr = htole64(STATUS + slot),
		.len = htole32(1),
		.flags = htole16(VRING_DESC_F_WRITE),
	};
	avail->ring[driver->offered % QUEUE_SIZE] = htole16(head);
	driver->offered++;
	/* The device must find all of the above once it sees the index. */
	__atomic_store_n(&avail->idx, htole16(driver->offered), __ATOMIC_RELEASE);
}

void driver_notify(const struct driver *driver)
{
	write_register(driver, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

bool driver_take(struct driver *driver, uint8_t *status, const uint8_t **data)
{
	const struct vring_used *used = (const struct vring_used *)(driver->ram + USED);
	uint32_t slot;

	write_register(driver, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	if (le16toh(__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE)) == driver->taken)
		return false;
	slot = le32toh(used->ring[driver->taken % QUEUE_SIZE].id) / DESCS_PER_SLOT;
	driver->taken++;
	*status = driver->ram[STATUS + slot];
	*data = driver->ram + data_of(slot);
	return true;
}
