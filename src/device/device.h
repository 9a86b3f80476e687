/* SPDX-License-Identifier: MIT */
/*
 * The device core: what a transport's registers do, without their offsets and widths.
 *
 * A transport (virtio-mmio, vhost-user) decodes accesses and calls the operations below; the core
 * holds every bit of state and takes its own lock, so a transport needs none. Operations that the
 * device's state does not allow are ignored, as the specification lets a device do.
 *
 * A reset holds the lock while it waits for a worker, as long as the stop timeout. What can be read
 * is therefore read without the lock, and what only selects is written without it: a vCPU that
 * looks at a device never waits for another one that resets it.
 */
#ifndef VBLK_DEVICE_DEVICE_H
#define VBLK_DEVICE_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <vblk/device.h>

#include "base/clock.h"
#include "base/log.h"
#include "device/config.h"
#include "engine/engine.h"
#include "queue/queue.h"
#include "request/port.h"

/* Entries of a queue, at most and unless the driver wants fewer (QueueNumMax). */
#define VBLK_DEVICE_QUEUE_SIZE 256u

/* One queue, and who drains it. */
struct vblk_device_queue {
	struct vblk_engine *engine;
	struct vblk_queue_layout layout; /* under the device's lock */
	atomic_bool ready;		 /* what layout.ready says, for those who read */
};

struct vblk_device {
	/* Constant from creation on. */
	bool locking; /* engines without threads need no lock */
	uint32_t stop_timeout_ms;
	uint64_t offered; /* feature mask */
	void (*worker_lost)(void *context, int error);
	void *worker_lost_context;
	struct vblk_disk *disk; /* owned reference */
	struct vblk_offer offer;
	struct vblk_port *port;
	struct vblk_park *park; /* of the whole device: owned reference */
	uint16_t queue_count;
	struct vblk_device_queue queue[VBLK_DEVICE_QUEUES_MAX];

	/* Without the lock. */
	_Atomic uint32_t device_features_sel;
	_Atomic uint32_t driver_features_sel;
	_Atomic uint32_t queue_sel;
	_Atomic uint32_t config_generation;
	_Atomic uint32_t queues_found; /* by the driver: one, once it has not accepted MQ */
	atomic_bool memory_bound;
	atomic_bool unbound_warned; /* one warning about missing memory between resets */

	pthread_mutex_t config_lock;

	/* Under the lock. */
	pthread_mutex_t lock;
	struct vblk_memory *memory;
	uint64_t accepted; /* the driver's features */
	struct vblk_cpus cpus;
	bool paused;	/* the level of pause and resume */
	bool dead;	/* a worker was abandoned: none is started again */
	bool busy;	/* an inline engine has a drain on the stack */
	uint32_t lives; /* resets so far */
};

/*
 * Logs what a guest can cause as often as it likes: within the device's limit, and with its
 * instance as the first field.
 */
#define vblk_device_log_guest(device, level, message, ...)                            \
	vblk_log_emit_limited(&(device)->disk->log, &(device)->port->log_limit,       \
			      vblk_clock_now(&(device)->disk->clock), level, message, \
			      VBLK_FIELD_UINT("instance", (device)->disk->instance),  \
			      ##__VA_ARGS__)

/* No-ops where nothing else runs. */
void vblk_device_lock(struct vblk_device *device);
void vblk_device_unlock(struct vblk_device *device);

/* Held while capacity and generation change, and while either is read: innermost, never for long.
 */
void vblk_device_config_lock(struct vblk_device *device);
void vblk_device_config_unlock(struct vblk_device *device);

/* --- Operations of a transport; each takes the lock unless it says that it is lock-free --- */

/* 32 bits of the offered features, chosen by the selector; 0 for selectors above 1. Lock-free. */
void vblk_device_select_device_features(struct vblk_device *device, uint32_t sel);
uint32_t vblk_device_read_features(const struct vblk_device *device);

/*
 * 32 bits of the driver's features; they are written only between DRIVER and FEATURES_OK. The
 * selector is lock-free.
 */
void vblk_device_select_driver_features(struct vblk_device *device, uint32_t sel);
void vblk_device_write_features(struct vblk_device *device, uint32_t value);

/*
 * The queue that the queue operations mean. A driver that has set FEATURES_OK without MQ finds one,
 * with index 0. Lock-free.
 */
void vblk_device_select_queue(struct vblk_device *device, uint32_t index);
uint32_t vblk_device_queue_size_max(const struct vblk_device *device);
bool vblk_device_queue_is_ready(const struct vblk_device *device);

/* Only between FEATURES_OK and DRIVER_OK. */
void vblk_device_set_queue_size(struct vblk_device *device, uint16_t size);
void vblk_device_set_queue_ready(struct vblk_device *device, bool ready);

typedef int (*vblk_layout_setter)(struct vblk_queue_layout *layout, enum vblk_half half,
				  uint32_t value);
void vblk_device_set_queue_address(struct vblk_device *device, vblk_layout_setter set,
				   enum vblk_half half, uint32_t value);

/* The driver made something available in queue `index`. Lock-free. */
void vblk_device_notify(struct vblk_device *device, uint32_t index);

/* The interrupt's reasons, and the driver's acknowledgement of some. Lock-free. */
uint32_t vblk_device_interrupt_status(const struct vblk_device *device);
void vblk_device_acknowledge(struct vblk_device *device, uint32_t bits);

/* A write to the status register; 0 resets the device. */
void vblk_device_set_status(struct vblk_device *device, uint32_t value);

/* Configuration space. Reads wait for nobody but a resize, for as long as that takes two stores. */
uint32_t vblk_device_config_generation(struct vblk_device *device);
void vblk_device_write_config(struct vblk_device *device, uint64_t offset, uint8_t value);
void vblk_device_read_config(struct vblk_device *device, uint64_t offset, void *data,
			     size_t length);

/* --- Inside the core: lifecycle.c, with the lock held --- */

/*
 * Starts the engines if the driver is ready and memory is bound: that of queue 0, and those of the
 * other queues that are ready. All of them or none. Returns 0, also when it is too early; or why
 * they do not run: a negative errno, of which driver and embedder have been told.
 */
int vblk_device_start(struct vblk_device *device);

/* Stops what runs, all within one stop timeout, and ends a pause. */
void vblk_device_stop(struct vblk_device *device);

/* Status := 0. */
void vblk_device_reset(struct vblk_device *device);

/* As at creation: not ready, no addresses, all queues to be found. */
void vblk_device_reset_queues(struct vblk_device *device);

#endif
