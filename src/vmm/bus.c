/* SPDX-License-Identifier: MIT */
/*
 * Finding who answers.
 *
 * The devices on the port side are all eight bits wide; a wider access reaches consecutive ports,
 * byte by byte, as an AT bus would do it. The one exception is the reset register at 0xcf9: it
 * lies in the middle of PCI's configuration address, and only a byte that is written to it alone
 * is meant for it.
 */
#include "vmm/bus.h"

#include "vmm/layout.h"
#include <linux/virtio_mmio.h>
#include <string.h>
#include <vblk/device.h>
#include <vblk/mmio.h>

#define KEYBOARD_STATUS_PORT 0x64u
#define KEYBOARD_PULSE_RESET 0xfeu
#define RESET_PORT	     0xcf9u
#define RESET_NOW	     0x04u

void vmm_bus_init(struct vmm_bus *bus, struct vmm_console *console, struct vmm_stop *stop)
{
	memset(bus, 0, sizeof(*bus));
	bus->console = console;
	bus->stop = stop;
	pthread_mutex_init(&bus->rtc_lock, NULL);
	pthread_mutex_init(&bus->held_lock, NULL);
}

void vmm_bus_destroy(struct vmm_bus *bus)
{
	pthread_mutex_destroy(&bus->held_lock);
	pthread_mutex_destroy(&bus->rtc_lock);
}

static bool is_serial(unsigned int port)
{
	return port >= VMM_SERIAL_PORT && port < VMM_SERIAL_PORT_END;
}

static bool is_rtc(unsigned int port)
{
	return port >= VMM_RTC_PORT && port < VMM_RTC_PORT_END;
}

static uint8_t read_byte(struct vmm_bus *bus, unsigned int port)
{
	if (is_serial(port))
		return vmm_console_read(bus->console, port - VMM_SERIAL_PORT);
	if (is_rtc(port)) {
		uint8_t value;

		pthread_mutex_lock(&bus->rtc_lock);
		value = vmm_rtc_read(&bus->rtc, port, time(NULL));
		pthread_mutex_unlock(&bus->rtc_lock);
		return value;
	}
	/* A keyboard controller with nothing to say and ready for a command: the reset. */
	if (port == KEYBOARD_STATUS_PORT)
		return 0;
	return 0xff;
}

static void write_byte(struct vmm_bus *bus, unsigned int port, uint8_t value)
{
	if (is_serial(port)) {
		vmm_console_write(bus->console, port - VMM_SERIAL_PORT, value);
	} else if (is_rtc(port)) {
		pthread_mutex_lock(&bus->rtc_lock);
		vmm_rtc_write(&bus->rtc, port, value);
		pthread_mutex_unlock(&bus->rtc_lock);
	} else if (port == KEYBOARD_STATUS_PORT && value == KEYBOARD_PULSE_RESET) {
		vmm_stop_request(bus->stop, VMM_END_REBOOT);
	}
}

void vmm_bus_port_read(struct vmm_bus *bus, uint16_t port, uint8_t *data, size_t size, size_t count)
{
	for (size_t i = 0; i < count * size; i++)
		data[i] = read_byte(bus, port + (unsigned int)(i % size));
}

void vmm_bus_port_write(struct vmm_bus *bus, uint16_t port, const uint8_t *data, size_t size,
			size_t count)
{
	if (port == RESET_PORT && size == 1 && count > 0 && data[count - 1] & RESET_NOW)
		vmm_stop_request(bus->stop, VMM_END_REBOOT);
	for (size_t i = 0; i < count * size; i++)
		write_byte(bus, port + (unsigned int)(i % size), data[i]);
}

/* The number of the device in whose window `address` lies, or device_count. */
static unsigned int find_device(const struct vmm_bus *bus, uint64_t address)
{
	uint64_t index = (address - VMM_DISK_BASE) / VMM_DISK_STRIDE;

	return address < VMM_DISK_BASE || index >= bus->device_count ? bus->device_count
								     : (unsigned int)index;
}

void vmm_bus_memory_read(struct vmm_bus *bus, uint64_t address, uint8_t *data, size_t size)
{
	unsigned int index = find_device(bus, address);

	if (index < bus->device_count)
		vblk_mmio_read(bus->devices[index], (address - VMM_DISK_BASE) % VMM_DISK_STRIDE,
			       data, size);
	else
		memset(data, 0xff, size);
}

/* The acknowledgement of this rest is nobody's: a flag says who rests, the count when to look. */
static void hold_again(struct vmm_bus *bus, unsigned int index)
{
	pthread_mutex_lock(&bus->held_lock);
	if (bus->held[index])
		vblk_device_pause(bus->devices[index]);
	pthread_mutex_unlock(&bus->held_lock);
}

void vmm_bus_memory_write(struct vmm_bus *bus, uint64_t address, const uint8_t *data, size_t size)
{
	unsigned int index = find_device(bus, address);
	uint64_t offset = (address - VMM_DISK_BASE) % VMM_DISK_STRIDE;

	if (index >= bus->device_count)
		return;
	vblk_mmio_write(bus->devices[index], offset, data, size);
	/* The driver changes its status a few times in a life; any may have been a reset. */
	if (offset == VIRTIO_MMIO_STATUS)
		hold_again(bus, index);
}

void vmm_bus_hold(struct vmm_bus *bus, unsigned int device)
{
	pthread_mutex_lock(&bus->held_lock);
	bus->held[device] = true;
	vblk_device_pause(bus->devices[device]);
	pthread_mutex_unlock(&bus->held_lock);
}

void vmm_bus_let_go(struct vmm_bus *bus, unsigned int device)
{
	pthread_mutex_lock(&bus->held_lock);
	bus->held[device] = false;
	pthread_mutex_unlock(&bus->held_lock);
}
