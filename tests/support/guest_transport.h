/* SPDX-License-Identifier: MIT */
/*
 * How a mock guest reaches its device. Each transport is a table of what a driver and a device's
 * owner do to it; rings and memory are the same behind all of them (mock_guest.c).
 *
 *     guest_mmio   the register window of a struct vblk_device
 *     guest_vhost  a vhost-user session with a server in the same thread
 *
 * Over vhost-user this is driver and virtual machine monitor in one: status, features and the ring
 * go over as messages when the driver changes them, the ring is enabled at DRIVER_OK, and the
 * device's call and error descriptors and its messages on the back-end channel become interrupts
 * with a cause, as a monitor would make of them.
 */
#ifndef TESTS_SUPPORT_GUEST_TRANSPORT_H
#define TESTS_SUPPORT_GUEST_TRANSPORT_H

#include "mock_guest.h"

struct guest_transport {
	/* `options` are complete. The backing is the guest's. */
	void (*create)(struct guest *guest, const struct vblk_device_options *options);
	void (*destroy)(struct guest *guest);
	int (*bind_memory)(struct guest *guest);
	struct vblk_disk *(*disk)(const struct guest *guest);

	/* --- the driver --- */
	uint64_t (*offered)(struct guest *guest);
	void (*accept)(struct guest *guest, uint64_t features);
	void (*set_queue)(struct guest *guest);
	uint32_t (*status)(struct guest *guest);
	void (*set_status)(struct guest *guest, uint32_t value);
	void (*kick)(struct guest *guest);
	int (*kick_fd)(const struct guest *guest);
	void (*read_config)(struct guest *guest, uint32_t offset, void *data, uint32_t size);
	void (*write_config)(struct guest *guest, uint32_t offset, uint8_t value);
	int (*interrupt_fd)(const struct guest *guest);
	uint64_t (*take_interrupts)(struct guest *guest);
	uint32_t (*interrupt_status)(struct guest *guest);
	void (*acknowledge)(struct guest *guest, uint32_t causes);
	uint64_t (*own_interrupts)(const struct guest *guest); /* beyond those of requests */

	/* --- its owner --- */
	bool (*pause)(struct guest *guest);
	bool (*resume)(struct guest *guest);
	bool (*is_paused)(const struct guest *guest);
	int (*wait_paused)(struct guest *guest, uint32_t timeout_ms);
	int (*set_parked_fd)(struct guest *guest, int fd);
	int (*set_throttle)(struct guest *guest, const struct vblk_throttle *throttle);
	int (*resize)(struct guest *guest, uint64_t capacity_bytes, uint32_t flags);
	void (*run)(struct guest *guest);
	void (*restart)(struct guest *guest);
};

extern const struct guest_transport guest_mmio;
extern const struct guest_transport guest_vhost;

#endif
