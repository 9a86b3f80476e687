/* SPDX-License-Identifier: MIT */
/*
 * How a driver reaches its device: what the device says about itself, and the few things that the
 * register window and vhost-user do differently. Everything else is in memory that both share.
 */
#ifndef DRIVER_TRANSPORT_H
#define DRIVER_TRANSPORT_H

#include <vblk/types.h>

#define VBLK_DRIVER_QUEUES_MAX 64u

/* Where the driver's memory begins in guest-physical addresses. */
#define VBLK_DRIVER_BASE 0x100000ull

/* What a device is, as negotiated. */
struct vblk_driver_traits {
	uint64_t capacity_bytes;
	uint32_t size_max; /* bytes of one buffer; 0: any */
	uint32_t seg_max;  /* buffers of a request; 0: any */
	uint32_t block_size;
	uint32_t queues;
	uint32_t queue_size; /* entries, at most */
	bool read_only;
	bool event_idx;
	bool indirect; /* descriptors may be in tables */
	bool flush;
	int pid; /* of the serving process; 0: not known */
};

/* Where the three parts of a queue are in guest-physical addresses. */
struct vblk_driver_place {
	uint16_t size;
	uint64_t desc;
	uint64_t avail;
	uint64_t used;
};

struct vblk_driver_transport {
	const struct vblk_driver_ops *ops;
	struct vblk_driver_traits traits;
};

/*
 * start and stop are called by one thread, while no queue is used; the others by the thread of the
 * queue, and for one queue by one at a time.
 */
struct vblk_driver_ops {
	/*
	 * Shares `size` bytes of `memory`, which a memfd is mapped at, and starts the queues.
	 * Returns 0 or a negative errno. To be called once.
	 */
	int (*start)(struct vblk_driver_transport *transport, int memory_fd, void *memory,
		     size_t size, const struct vblk_driver_place *places, unsigned queues);

	void (*notify)(struct vblk_driver_transport *transport, unsigned queue);

	/* An eventfd that counts interrupts. */
	int (*interrupt_fd)(const struct vblk_driver_transport *transport, unsigned queue);

	/* An interrupt was taken off that descriptor. */
	void (*acknowledge)(struct vblk_driver_transport *transport, unsigned queue);

	/*
	 * Nothing was answered yet. Gives a device without threads a chance to do what is due.
	 * Returns 0; or a negative errno if the device is gone, which is looked for if `thorough`.
	 */
	int (*idle)(struct vblk_driver_transport *transport, bool thorough);

	/* Stops the queues and frees everything. The memory may be unmapped then. */
	void (*close)(struct vblk_driver_transport *transport);
};

#endif
