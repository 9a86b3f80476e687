/* SPDX-License-Identifier: MIT */
/*
 * The driver's half of a split virtqueue, with block requests on it.
 *
 * A queue has `depth` slots, each good for one request of up to `block` bytes: its descriptors, its
 * header, its status byte and its buffer have fixed places, and are laid out once. Making a request
 * is then a few stores and a release. Where the device follows indirect descriptors, each slot has
 * a table of its own and takes one entry of the ring, as Linux does it. Rings, headers and buffers
 * are in memory that the device shares; what it writes there is checked before it is used.
 *
 * A queue belongs to one thread.
 */
#ifndef DRIVER_QUEUE_H
#define DRIVER_QUEUE_H

#include "driver/transport.h"

struct vblk_driver_shape {
	uint32_t block;	   /* bytes of a request, at most */
	uint32_t depth;	   /* requests in flight, at most */
	uint32_t segments; /* buffers that a request is cut into */
	uint32_t segment;  /* bytes of each of them */
	uint32_t entries;  /* of the ring that a request takes */
	uint16_t size;	   /* entries of the ring */
	size_t bytes;	   /* memory of the queue, a multiple of 4096 */
};

/*
 * How a queue for such requests looks. Returns 0; -E2BIG if a request would have more buffers than
 * the device takes; -ERANGE if so many do not fit the ring: *most is how many do.
 */
VBLK_MUST_USE int vblk_driver_shape(const struct vblk_driver_traits *traits, uint32_t block,
				    uint32_t depth, struct vblk_driver_shape *shape,
				    uint32_t *most);

enum vblk_driver_kind {
	VBLK_DRIVER_READ,
	VBLK_DRIVER_WRITE,
	VBLK_DRIVER_FLUSH,
	VBLK_DRIVER_KINDS, /* how many there are */
};

struct vblk_driver_slot {
	bool busy;
	enum vblk_driver_kind kind; /* that its descriptors are set for */
};

struct vblk_driver_queue {
	struct vblk_driver_transport *transport;
	unsigned index;
	struct vblk_driver_shape shape;
	bool event_idx;
	uint8_t *memory;
	uint64_t guest; /* of the first byte */
	uint32_t avail_at, used_at, headers_at, tables_at, data_at;
	uint16_t avail_idx;
	uint16_t decided_idx; /* avail_idx when the device was last notified, or needed not be */
	uint16_t used_idx;
	uint16_t quiet_event; /* used_event while nobody sleeps */
	uint64_t in_flight;   /* requests */
	uint64_t notifications;
	uint64_t interrupts; /* taken off the descriptor so far */
	struct vblk_driver_slot *slots;
};

/* An answer. */
struct vblk_driver_answer {
	uint32_t slot;
	uint8_t status;	 /* VIRTIO_BLK_S_... */
	uint32_t length; /* bytes that the device says it wrote */
};

/*
 * Lays a queue out in `memory`, shape->bytes of zeros that the device sees at `guest`. Returns 0 or
 * -ENOMEM. place is what the transport is started with.
 */
VBLK_MUST_USE int vblk_driver_queue_init(struct vblk_driver_queue *queue,
					 struct vblk_driver_transport *transport, unsigned index,
					 const struct vblk_driver_shape *shape, void *memory,
					 uint64_t guest, struct vblk_driver_place *place);
void vblk_driver_queue_destroy(struct vblk_driver_queue *queue);

/* The buffer of a slot. */
void *vblk_driver_queue_data(const struct vblk_driver_queue *queue, uint32_t slot);

/*
 * Makes a request available: a read or a write of shape.block bytes, from `sector` on, or a flush,
 * whose sector is 0. The slot is free. The device sees it at once if it looks, but is only told by
 * vblk_driver_queue_notify.
 */
void vblk_driver_queue_submit(struct vblk_driver_queue *queue, uint32_t slot,
			      enum vblk_driver_kind kind, uint64_t sector);

/* Tells the device about what was made available, if it wants to be told. */
void vblk_driver_queue_notify(struct vblk_driver_queue *queue);

/*
 * Takes the next answer. Returns 1 and the answer, 0 if there is none, or -EPROTO for one that is
 * to nothing that was asked, or for more answers than requests.
 */
VBLK_MUST_USE int vblk_driver_queue_take(struct vblk_driver_queue *queue,
					 struct vblk_driver_answer *answer);

/*
 * Waits for an answer, for `timeout_ms` at most: asleep until an interrupt if `asleep`, looking all
 * the time if not. Returns 0 if there is one, -ETIMEDOUT, or what the transport's idle says.
 */
VBLK_MUST_USE int vblk_driver_queue_wait(struct vblk_driver_queue *queue, bool asleep,
					 uint32_t timeout_ms);

/* Adds the interrupts that nobody waited for, and returns how many there were in all. */
uint64_t vblk_driver_queue_interrupts(struct vblk_driver_queue *queue);

#endif
