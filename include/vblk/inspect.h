/* SPDX-License-Identifier: MIT */
/*
 * Looking into a device: what a person or a dump wants to know of it when something has gone wrong.
 * Nothing here changes a device.
 *
 * The structures grow: the caller fills them with zeros and puts their size into `size`; what a
 * library does not know stays 0, and what the caller does not know is not written.
 *
 *     struct vblk_device_state state = { .size = sizeof(state) };
 *
 *     vblk_device_inspect(device, &state);
 *
 * Any thread, except that with VBLK_ENGINE_INLINE it is the one that all calls come from. Both
 * wait for the device's lock, as vblk/device.h says. What is of one moment while the device is at
 * rest (vblk_device_pause) may be of several while it is not.
 */
#ifndef VBLK_INSPECT_H
#define VBLK_INSPECT_H

#include <vblk/device.h>

VBLK_BEGIN_DECLS

struct vblk_device_state {
	size_t size; /* of this structure, from the caller */

	uint32_t instance;
	uint32_t status;	   /* VIRTIO_CONFIG_S_*, as the driver reads it */
	uint32_t interrupt_status; /* VIRTIO_MMIO_INT_*, not acknowledged yet */
	uint32_t config_generation;
	uint64_t features_offered; /* a bit for each VIRTIO_F_*, VIRTIO_BLK_F_* */
	uint64_t features_accepted;
	uint64_t capacity_bytes;
	uint32_t queues; /* for vblk_device_inspect_queue */
	bool read_only;
	bool paused; /* at rest, or nothing runs */
	bool dead;   /* its worker hung, was abandoned, and no other will start */

	struct vblk_throttle throttle;
	/* What is in the buckets now; below 0 it is owed. 0 where there is no limit. */
	int64_t throttle_operations;
	int64_t throttle_bytes;
	uint32_t throttle_waiting; /* queues that stand in line for tokens */
};

/* A request that a queue has in hand. */
struct vblk_request_state {
	uint16_t head; /* of its descriptor chain */
	bool waits;    /* for tokens, in the ring still: nothing of it has been carried out */
	uint32_t type; /* VIRTIO_BLK_T_* */
	uint64_t sector;
	uint64_t bytes;	 /* of data; of a DISCARD or WRITE_ZEROES, of its ranges */
	uint64_t age_ns; /* since it was taken, or had to wait for the first time */
};

struct vblk_queue_state {
	size_t size; /* of this structure, from the caller */

	/* What the driver has set up. Addresses are guest-physical. */
	uint64_t desc;
	uint64_t avail;
	uint64_t used;
	uint16_t entries;
	bool ready;

	/*
	 * Whether the rest is known: something serves the queue and is at rest. Otherwise all of it
	 * is 0, but for the requests that are with the disk at this moment: of a device that does
	 * not come to rest, it is they that hang.
	 */
	bool at_rest;
	bool poisoned;	     /* the driver broke it: nothing is served until a reset */
	uint16_t next_avail; /* the next that the device will take */
	uint16_t next_used;  /* the next that it will give back */
	bool ring_readable;  /* the rings are in guest memory, and so the next two are known */
	uint16_t avail_idx;  /* what the driver has made available */
	uint16_t used_idx;   /* what the driver sees as given back */

	/* From the caller: room for requests. May be NULL if there is none. */
	struct vblk_request_state *requests;
	size_t request_room;
	size_t request_count; /* how many there are, which may be more than the room */
};

/* Returns 0, or -EINVAL if `size` is not that of a structure from this version on. */
VBLK_API VBLK_MUST_USE int vblk_device_inspect(struct vblk_device *device,
					       struct vblk_device_state *state);

/* As above; -EINVAL also if there is no such queue. */
VBLK_API VBLK_MUST_USE int vblk_device_inspect_queue(struct vblk_device *device, uint32_t queue,
						     struct vblk_queue_state *state);

VBLK_END_DECLS

#endif
