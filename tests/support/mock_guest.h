/* SPDX-License-Identifier: MIT */
/*
 * A guest for tests: memory, a driver's half of a virtqueue, and a device on it.
 *
 * The guest plays a driver by hand. guest_chain() lays out descriptors, guest_offer() makes a head
 * available, guest_kick() notifies, and the rest looks at what the device did. Nothing is checked
 * on the way: a test may lie to the device as it likes.
 *
 * The device is behind the register window, or with VBLK_TEST_TRANSPORT=vhost in the environment
 * behind a vhost-user session (guest_transport.h), and a test that is not about either works with
 * both. What is about registers, the inline engine or a function of <vblk/device.h> begins with
 * guest_needs_registers() and is skipped otherwise.
 *
 * Memory is one mapping with an inaccessible page on either side of each region, so that an access
 * of the device outside the guest's map ends the test.
 *
 * Default places, all in one region of 1 MiB at 0: rings in the first 16 KiB, a request header at
 * 0x4000, data at 0x5000, the status byte at 0x6000.
 */
#ifndef TESTS_SUPPORT_MOCK_GUEST_H
#define TESTS_SUPPORT_MOCK_GUEST_H

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <vblk/vblk.h>

#define GUEST_RAM_SIZE (1u << 20)

#define GUEST_HEADER 0x4000u
#define GUEST_DATA   0x5000u
#define GUEST_STATUS 0x6000u

/* What a byte of memory holds before anybody writes to it, where that matters. */
#define GUEST_SENTINEL 0xeeu

#define GUEST_REGIONS_MAX 8
#define GUEST_LOG_SIZE	  16384

struct guest_transport;

struct guest_region {
	uint64_t address;
	uint64_t length;
};

/* Fill with zeros for the defaults. */
struct guest_options {
	struct vblk_device_options device;  /* log and clock are the guest's own */
	bool real_clock;		    /* leave the device's clock alone */
	const struct guest_region *regions; /* NULL: 1 MiB at 0 */
	size_t region_count;
	uint16_t queue_size;			 /* 0: 256 */
	uint64_t desc;				 /* 0: 0x0000 */
	uint64_t avail;				 /* 0: 0x1000 */
	uint64_t used;				 /* 0: 0x2000 */
	bool event_idx;				 /* accept VIRTIO_RING_F_EVENT_IDX */
	bool all_features;			 /* offer all, not the contract's base */
	bool no_flush;				 /* do not accept VIRTIO_BLK_F_FLUSH */
	bool unbound;				 /* do not bind the memory */
	const struct guest_transport *transport; /* NULL: as the environment says */
};

struct guest_ram {
	struct {
		struct guest_region at;
		uint8_t *host;
		void *map;
		size_t map_size;
		int fd; /* what others can map; -1: it is nobody else's */
		uint64_t offset;
	} region[GUEST_REGIONS_MAX];
	size_t region_count;
};

struct guest {
	struct guest_options options;
	const struct guest_transport *transport;
	struct vblk_device *device; /* behind the register window; otherwise NULL */
	struct guest_vhost *vhost;  /* the other way round */
	struct vblk_backing *backing;
	struct vblk_memory *memory;
	struct guest_ram *ram; /* freed by whoever drops the last reference to `memory` */
	uint16_t avail_idx;    /* what guest_offer() wrote last */
	uint16_t next_desc;    /* the next descriptor that guest_chain() uses */
	uint64_t now_ns;       /* the device's clock */
	char log[GUEST_LOG_SIZE];
	size_t log_used;
};

/* Whether devices are behind the register window; if not, guest_needs_registers skips the test. */
bool guest_has_registers(void);
void guest_needs_registers(void);

/*
 * Makes memory and a device with `backing`, of which it takes over the caller's reference. The
 * driver has done nothing yet. Fails the test if anything goes wrong.
 */
void guest_create(struct guest *guest, const struct guest_options *options,
		  struct vblk_backing *backing);

/* As above on a memory backing of `size` bytes of `fill`. */
void guest_create_filled(struct guest *guest, const struct guest_options *options, uint64_t size,
			 uint8_t fill);

void guest_destroy(struct guest *guest);

/* --- Registers, where there are any --- */
uint32_t guest_read32(struct guest *guest, uint64_t offset);
void guest_write32(struct guest *guest, uint64_t offset, uint32_t value);

/* --- The driver --- */
uint32_t guest_status(struct guest *guest);
void guest_set_status(struct guest *guest, uint32_t value);

uint64_t guest_offered(struct guest *guest);
void guest_accept(struct guest *guest, uint64_t features);
void guest_read_config(struct guest *guest, uint32_t offset, void *data, uint32_t size);
void guest_write_config(struct guest *guest, uint32_t offset, uint8_t value);

/* Says where the rings are and that they are ready. */
void guest_set_queue(struct guest *guest);

/* From any state to FEATURES_OK, and on with the rings set up to DRIVER_OK; asserts status 0xf. */
void guest_negotiate(struct guest *guest);
void guest_start(struct guest *guest);
void guest_start_with(struct guest *guest, uint64_t features); /* these instead of the usual */

/* Status := 0, then both ring indices in memory cleared, as a driver does before it starts anew. */
void guest_reset(struct guest *guest);

/* --- Memory --- */

/* Host address of a guest-physical address; fails the test if it is not mapped. */
uint8_t *guest_at(struct guest *guest, uint64_t address);
void guest_fill(struct guest *guest, uint64_t address, uint8_t value, size_t length);
bool guest_is_filled(struct guest *guest, uint64_t address, uint8_t value, size_t length);

/* --- Ring --- */
struct guest_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags; /* VRING_DESC_F_WRITE; NEXT is added by guest_chain */
};

void guest_put_desc(struct guest *guest, uint16_t index, uint64_t addr, uint32_t len,
		    uint16_t flags, uint16_t next);

/* Writes a chain into the next free descriptors and returns its head. */
uint16_t guest_chain(struct guest *guest, const struct guest_desc *desc, size_t count);
void guest_put_header(struct guest *guest, uint64_t address, uint32_t type, uint64_t sector);

/* Header at GUEST_HEADER, data at GUEST_DATA (none if length is 0), status at GUEST_STATUS set to
 * the sentinel; offered. Returns the head. */
uint16_t guest_request(struct guest *guest, uint32_t type, uint64_t sector, uint32_t length);

/* As guest_request, with places of its own: `slot` 0 to 99, each with 4 KiB of data. */
uint16_t guest_request_at(struct guest *guest, unsigned slot, uint32_t type, uint64_t sector,
			  uint32_t length);
uint64_t guest_slot_data(unsigned slot);
uint8_t guest_slot_status(struct guest *guest, unsigned slot);

void guest_offer(struct guest *guest, uint16_t head);
void guest_set_avail_idx(struct guest *guest, uint16_t value);
uint16_t guest_used_idx(struct guest *guest);
struct vring_used_elem guest_used_elem(struct guest *guest, uint16_t index);
uint16_t guest_used_flags(struct guest *guest);
uint16_t guest_avail_event(struct guest *guest);
void guest_set_used_event(struct guest *guest, uint16_t value);
void guest_kick(struct guest *guest);
int guest_kick_fd(const struct guest *guest);

/* The byte at GUEST_STATUS. */
uint8_t guest_status_byte(struct guest *guest);

/* --- What the device did --- */
struct vblk_metrics_snapshot guest_metrics(struct guest *guest);

/* How often the interrupt was raised since the last call. */
uint64_t guest_take_interrupts(struct guest *guest);

/* What it was raised for, as InterruptStatus says it; call guest_take_interrupts first. */
uint32_t guest_interrupt_status(struct guest *guest);
void guest_acknowledge(struct guest *guest, uint32_t causes);
bool guest_logged(struct guest *guest, const char *text);
void guest_clear_log(struct guest *guest);

/* --- The device's owner: as the functions of <vblk/device.h> --- */
struct vblk_disk *guest_disk(const struct guest *guest);
uint32_t guest_instance(const struct guest *guest);
uint64_t guest_capacity(const struct guest *guest);
int guest_bind_memory(struct guest *guest);
bool guest_pause(struct guest *guest);
bool guest_resume(struct guest *guest);
bool guest_is_paused(const struct guest *guest);
int guest_wait_paused(struct guest *guest, uint32_t timeout_ms);
int guest_set_parked_fd(struct guest *guest, int fd);
int guest_set_throttle(struct guest *guest, const struct vblk_throttle *throttle);
int guest_resize(struct guest *guest, uint64_t capacity_bytes, uint32_t flags);
void guest_run(struct guest *guest);

/*
 * Stops the queue of a running device and lets it go on where it was, as for a migration: over
 * vhost-user its base is asked for, memory is told anew, and the base given back. The driver sees
 * nothing of it, but that what it has offered is looked at.
 */
void guest_restart(struct guest *guest);

/* --- Threads: for VBLK_ENGINE_WORKER --- */

/* Waits until the device raises its interrupt, at most 10 s; clears it. False: it did not. */
bool guest_wait_interrupt(struct guest *guest);

/* Waits until used.idx is `index` or past it, at most 10 s, sleeping on the interrupt. */
bool guest_wait_used(struct guest *guest, uint16_t index);

#endif
