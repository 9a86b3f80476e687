/* SPDX-License-Identifier: MIT */
/*
 * What answers when a guest touches an I/O port or an address where there is no memory: the
 * console, the clock, the reset lines, the disks. Everything else reads as ones and ignores
 * writes, as on a bus where nobody answers. Any vCPU thread.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include "vmm/console.h"
#include "vmm/rtc.h"

struct vmm_bus {
	struct vmm_console *console;
	struct vmm_stop *stop;
	pthread_mutex_t rtc_lock;
	struct vmm_rtc rtc;
	unsigned int device_count;
	struct vblk_device *devices[VMM_MAX_DISKS];
	pthread_mutex_t held_lock;
	bool held[VMM_MAX_DISKS]; /* under it; written by the thread in vmm_run() alone */
};

void vmm_bus_init(struct vmm_bus *bus, struct vmm_console *console, struct vmm_stop *stop);
void vmm_bus_destroy(struct vmm_bus *bus);

/*
 * `count` accesses of `size` bytes (1, 2 or 4) each to the same port, as the string instructions
 * make them; `data` holds them one after the other.
 */
void vmm_bus_port_read(struct vmm_bus *bus, uint16_t port, uint8_t *data, size_t size,
		       size_t count);
void vmm_bus_port_write(struct vmm_bus *bus, uint16_t port, const uint8_t *data, size_t size,
			size_t count);

/*
 * Pauses a device until it is let go, whatever the guest does: a reset by the driver, which ends a
 * pause, ends this only for a moment. The caller resumes it. The thread in vmm_run() alone.
 */
void vmm_bus_hold(struct vmm_bus *bus, unsigned int device);
void vmm_bus_let_go(struct vmm_bus *bus, unsigned int device);

/* One access of 1 to 8 bytes to a guest-physical address. */
void vmm_bus_memory_read(struct vmm_bus *bus, uint64_t address, uint8_t *data, size_t size);
void vmm_bus_memory_write(struct vmm_bus *bus, uint64_t address, const uint8_t *data, size_t size);

#endif
