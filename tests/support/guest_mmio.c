/* SPDX-License-Identifier: MIT */
/* A mock guest on the register window. */
#include "guest_transport.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/eventfd.h"
#include "base/le.h"
#include "device/device.h"

static void mmio_create(struct guest *guest, const struct vblk_device_options *options)
{
	assert_int_equal(vblk_device_create(options, guest->backing, &guest->device), 0);
}

static void mmio_destroy(struct guest *guest)
{
	vblk_device_destroy(guest->device);
}

static int mmio_bind_memory(struct guest *guest)
{
	return vblk_device_set_memory(guest->device, guest->memory);
}

static struct vblk_disk *mmio_disk(const struct guest *guest)
{
	return guest->device->disk;
}

uint32_t guest_read32(struct guest *guest, uint64_t offset)
{
	uint8_t data[4];

	vblk_mmio_read(guest->device, offset, data, sizeof(data));
	return vblk_le32_get(data);
}

void guest_write32(struct guest *guest, uint64_t offset, uint32_t value)
{
	uint8_t data[4];

	vblk_le32_put(data, value);
	vblk_mmio_write(guest->device, offset, data, sizeof(data));
}

static uint64_t mmio_offered(struct guest *guest)
{
	uint64_t low;

	guest_write32(guest, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	low = guest_read32(guest, VIRTIO_MMIO_DEVICE_FEATURES);
	guest_write32(guest, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	return low | (uint64_t)guest_read32(guest, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

static void mmio_accept(struct guest *guest, uint64_t features)
{
	guest_write32(guest, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	guest_write32(guest, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	guest_write32(guest, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	guest_write32(guest, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
}

static void set_address(struct guest *guest, uint64_t low_register, uint64_t address)
{
	guest_write32(guest, low_register, (uint32_t)address);
	guest_write32(guest, low_register + 4, (uint32_t)(address >> 32));
}

static void mmio_set_queue(struct guest *guest)
{
	guest_write32(guest, VIRTIO_MMIO_QUEUE_SEL, 0);
	guest_write32(guest, VIRTIO_MMIO_QUEUE_NUM, guest->options.queue_size);
	set_address(guest, VIRTIO_MMIO_QUEUE_DESC_LOW, guest->options.desc);
	set_address(guest, VIRTIO_MMIO_QUEUE_AVAIL_LOW, guest->options.avail);
	set_address(guest, VIRTIO_MMIO_QUEUE_USED_LOW, guest->options.used);
	guest_write32(guest, VIRTIO_MMIO_QUEUE_READY, 1);
}

static uint32_t mmio_status(struct guest *guest)
{
	return guest_read32(guest, VIRTIO_MMIO_STATUS);
}

static void mmio_set_status(struct guest *guest, uint32_t value)
{
	guest_write32(guest, VIRTIO_MMIO_STATUS, value);
}

static void mmio_kick(struct guest *guest)
{
	guest_write32(guest, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

static int mmio_kick_fd(const struct guest *guest)
{
	return vblk_device_kick_fd(guest->device, 0);
}

static void mmio_read_config(struct guest *guest, uint32_t offset, void *data, uint32_t size)
{
	vblk_mmio_read(guest->device, VIRTIO_MMIO_CONFIG + offset, data, size);
}

static void mmio_write_config(struct guest *guest, uint32_t offset, uint8_t value)
{
	vblk_mmio_write(guest->device, VIRTIO_MMIO_CONFIG + offset, &value, sizeof(value));
}

static int mmio_interrupt_fd(const struct guest *guest)
{
	return vblk_device_irq_fd(guest->device);
}

static uint64_t mmio_take_interrupts(struct guest *guest)
{
	return vblk_eventfd_clear(vblk_device_irq_fd(guest->device));
}

static uint32_t mmio_interrupt_status(struct guest *guest)
{
	return guest_read32(guest, VIRTIO_MMIO_INTERRUPT_STATUS);
}

static void mmio_acknowledge(struct guest *guest, uint32_t causes)
{
	guest_write32(guest, VIRTIO_MMIO_INTERRUPT_ACK, causes);
}

static uint64_t mmio_own_interrupts(const struct guest *guest)
{
	(void)guest;
	return 0;
}

static bool mmio_pause(struct guest *guest)
{
	return vblk_device_pause(guest->device);
}

static bool mmio_resume(struct guest *guest)
{
	return vblk_device_resume(guest->device);
}

static bool mmio_is_paused(const struct guest *guest)
{
	return vblk_device_is_paused(guest->device);
}

static int mmio_wait_paused(struct guest *guest, uint32_t timeout_ms)
{
	return vblk_device_wait_paused(guest->device, timeout_ms);
}

static int mmio_set_parked_fd(struct guest *guest, int fd)
{
	return vblk_device_set_parked_fd(guest->device, fd);
}

static int mmio_set_throttle(struct guest *guest, const struct vblk_throttle *throttle)
{
	return vblk_device_set_throttle(guest->device, throttle);
}

static int mmio_resize(struct guest *guest, uint64_t capacity_bytes, uint32_t flags)
{
	return vblk_device_resize(guest->device, capacity_bytes, flags);
}

static void mmio_run(struct guest *guest)
{
	vblk_device_run(guest->device);
}

static void mmio_restart(struct guest *guest)
{
	mmio_pause(guest);
	mmio_resume(guest);
	mmio_run(guest);
}

const struct guest_transport guest_mmio = {
	.create = mmio_create,
	.destroy = mmio_destroy,
	.bind_memory = mmio_bind_memory,
	.disk = mmio_disk,
	.offered = mmio_offered,
	.accept = mmio_accept,
	.set_queue = mmio_set_queue,
	.status = mmio_status,
	.set_status = mmio_set_status,
	.kick = mmio_kick,
	.kick_fd = mmio_kick_fd,
	.read_config = mmio_read_config,
	.write_config = mmio_write_config,
	.interrupt_fd = mmio_interrupt_fd,
	.take_interrupts = mmio_take_interrupts,
	.interrupt_status = mmio_interrupt_status,
	.acknowledge = mmio_acknowledge,
	.own_interrupts = mmio_own_interrupts,
	.pause = mmio_pause,
	.resume = mmio_resume,
	.is_paused = mmio_is_paused,
	.wait_paused = mmio_wait_paused,
	.set_parked_fd = mmio_set_parked_fd,
	.set_throttle = mmio_set_throttle,
	.resize = mmio_resize,
	.run = mmio_run,
	.restart = mmio_restart,
};
