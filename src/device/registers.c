/* SPDX-License-Identifier: MIT */
/* What a transport's registers do to the device. */
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "device/device.h"
#include "device/status.h"

/*
 * Tries of a status write. Only NEEDS_RESET can appear between our look and our write, and only
 * once, so the second try succeeds; more are a defect of ours.
 */
#define STATUS_TRIES 4

void vblk_device_lock(struct vblk_device *device)
{
	if (device->locking)
		pthread_mutex_lock(&device->lock);
}

void vblk_device_unlock(struct vblk_device *device)
{
	if (device->locking)
		pthread_mutex_unlock(&device->lock);
}

void vblk_device_config_lock(struct vblk_device *device)
{
	if (device->locking)
		pthread_mutex_lock(&device->config_lock);
}

void vblk_device_config_unlock(struct vblk_device *device)
{
	if (device->locking)
		pthread_mutex_unlock(&device->config_lock);
}

uint32_t vblk_device_status(const struct vblk_device *device)
{
	return atomic_load_explicit(&device->port->device_status, memory_order_acquire);
}

/*
 * The selectors order nothing: a vCPU sees its own writes, and drivers keep to one vCPU at a time
 * while they set up a device.
 */
static uint32_t selected(const _Atomic uint32_t *selector)
{
	return atomic_load_explicit(selector, memory_order_relaxed);
}

void vblk_device_select_device_features(struct vblk_device *device, uint32_t sel)
{
	atomic_store_explicit(&device->device_features_sel, sel, memory_order_relaxed);
}

void vblk_device_select_driver_features(struct vblk_device *device, uint32_t sel)
{
	atomic_store_explicit(&device->driver_features_sel, sel, memory_order_relaxed);
}

void vblk_device_select_queue(struct vblk_device *device, uint32_t index)
{
	atomic_store_explicit(&device->queue_sel, index, memory_order_relaxed);
}

uint32_t vblk_device_read_features(const struct vblk_device *device)
{
	uint32_t sel = selected(&device->device_features_sel);

	return sel < 2 ? (uint32_t)(device->offered >> (32 * sel)) : 0;
}

void vblk_device_write_features(struct vblk_device *device, uint32_t value)
{
	uint32_t sel = selected(&device->driver_features_sel);

	vblk_device_lock(device);
	if (vblk_status_features_open(vblk_device_status(device))) {
		if (sel == 0)
			device->accepted = (device->accepted & ~(uint64_t)UINT32_MAX) | value;
		else if (sel == 1)
			device->accepted = (device->accepted & UINT32_MAX) | (uint64_t)value << 32;
	}
	vblk_device_unlock(device);
}

/* Whether there is such a queue for this driver. */
static bool is_found(const struct vblk_device *device, uint32_t index)
{
	return index < atomic_load_explicit(&device->queues_found, memory_order_relaxed);
}

uint32_t vblk_device_queue_size_max(const struct vblk_device *device)
{
	return is_found(device, selected(&device->queue_sel)) ? VBLK_DEVICE_QUEUE_SIZE : 0;
}

bool vblk_device_queue_is_ready(const struct vblk_device *device)
{
	uint32_t index = selected(&device->queue_sel);

	return is_found(device, index) &&
	       atomic_load_explicit(&device->queue[index].ready, memory_order_relaxed);
}

/*
 * The selected queue, if the driver may change it now; NULL otherwise. The lock is held, but the
 * selector may move under us: it is read once.
 */
static struct vblk_device_queue *open_queue(struct vblk_device *device)
{
	uint32_t index = selected(&device->queue_sel);

	if (!is_found(device, index) || !vblk_status_queues_open(vblk_device_status(device)))
		return NULL;
	return &device->queue[index];
}

void vblk_device_set_queue_size(struct vblk_device *device, uint16_t size)
{
	struct vblk_device_queue *queue;

	vblk_device_lock(device);
	queue = open_queue(device);
	if (queue && vblk_queue_layout_set_size(&queue->layout, size, VBLK_DEVICE_QUEUE_SIZE) < 0)
		vblk_device_log_guest(device, VBLK_LOG_WARN, "driver wrote an illegal queue size",
				      VBLK_FIELD_UINT("size", size));
	vblk_device_unlock(device);
}

void vblk_device_set_queue_ready(struct vblk_device *device, bool ready)
{
	struct vblk_device_queue *queue;

	vblk_device_lock(device);
	queue = open_queue(device);
	if (queue) {
		queue->layout.ready = ready;
		atomic_store_explicit(&queue->ready, ready, memory_order_relaxed);
	}
	vblk_device_unlock(device);
}

void vblk_device_set_queue_address(struct vblk_device *device, vblk_layout_setter set,
				   enum vblk_half half, uint32_t value)
{
	struct vblk_device_queue *queue;

	vblk_device_lock(device);
	queue = open_queue(device);
	if (queue && set(&queue->layout, half, value) < 0)
		vblk_device_log_guest(device, VBLK_LOG_WARN,
				      "driver wrote a misaligned ring address",
				      VBLK_FIELD_HEX("half", value));
	vblk_device_unlock(device);
}

void vblk_device_notify(struct vblk_device *device, uint32_t index)
{
	if (!is_found(device, index))
		return;
	if (!atomic_load_explicit(&device->memory_bound, memory_order_acquire) &&
	    !atomic_exchange_explicit(&device->unbound_warned, true, memory_order_relaxed))
		vblk_device_log_guest(device, VBLK_LOG_WARN,
				      "driver notified a device that has no guest memory");
	vblk_engine_notify(device->queue[index].engine);
}

uint32_t vblk_device_interrupt_status(const struct vblk_device *device)
{
	return atomic_load_explicit(&device->port->interrupt_status, memory_order_acquire);
}

void vblk_device_acknowledge(struct vblk_device *device, uint32_t bits)
{
	atomic_fetch_and_explicit(&device->port->interrupt_status, ~bits, memory_order_acq_rel);
}

uint32_t vblk_device_config_generation(struct vblk_device *device)
{
	uint32_t generation;

	vblk_device_config_lock(device);
	generation = atomic_load_explicit(&device->config_generation, memory_order_acquire);
	vblk_device_config_unlock(device);
	return generation;
}

void vblk_device_read_config(struct vblk_device *device, uint64_t offset, void *data, size_t length)
{
	vblk_device_config_lock(device);
	vblk_config_read(&device->offer, offset, data, length);
	vblk_device_config_unlock(device);
}

static void log_features(const struct vblk_device *device, const char *message)
{
	vblk_device_log_guest(device, VBLK_LOG_WARN, message,
			      VBLK_FIELD_HEX("driver_features", device->accepted),
			      VBLK_FIELD_HEX("device_features", device->offered),
			      VBLK_FIELD_HEX("unadvertised", device->accepted & ~device->offered));
}

static void log_refusal(const struct vblk_device *device, const char *message, uint32_t current,
			uint32_t value)
{
	vblk_device_log_guest(device, VBLK_LOG_WARN, message,
			      VBLK_FIELD_HEX("device_status", current),
			      VBLK_FIELD_HEX("requested", value));
}

void vblk_device_write_config(struct vblk_device *device, uint64_t offset, uint8_t value)
{
	vblk_device_lock(device);
	if (vblk_device_status(device) & VIRTIO_CONFIG_S_FEATURES_OK)
		(void)vblk_config_write(device->disk, device->accepted, offset, value);
	vblk_device_unlock(device);
}

/* Says why a status write was refused, or that the driver gave up. */
static void log_status(const struct vblk_device *device, enum vblk_status_verdict verdict,
		       uint32_t current, uint32_t value)
{
	switch (verdict) {
	case VBLK_STATUS_SAME:
	case VBLK_STATUS_STEP:
		break;
	case VBLK_STATUS_GAVE_UP:
		vblk_device_log_guest(device, VBLK_LOG_WARN, "driver gave up: it set FAILED",
				      VBLK_FIELD_HEX("old", current), VBLK_FIELD_HEX("new", value));
		break;
	case VBLK_STATUS_CLEARS:
		log_refusal(device, "driver attempted to clear status bits", current, value);
		break;
	case VBLK_STATUS_POISONED:
		log_refusal(device, "device is in NEEDS_RESET: driver must write 0 to status first",
			    current, value);
		break;
	case VBLK_STATUS_LEGACY:
		log_features(device, "FEATURES_OK refused: driver did not accept VERSION_1");
		break;
	case VBLK_STATUS_UNOFFERED:
		log_features(device,
			     "FEATURES_OK refused: driver accepted unadvertised feature bits");
		break;
	case VBLK_STATUS_ILLEGAL:
		vblk_device_log_guest(device, VBLK_LOG_WARN,
				      "illegal FSM transition of the status register",
				      VBLK_FIELD_HEX("device_status", current),
				      VBLK_FIELD_HEX("requested", value),
				      VBLK_FIELD_HEX("new_bits", value & ~current));
		break;
	}
}

/* The driver has chosen its features: what follows from them before DRIVER_OK. */
static void take_features(struct vblk_device *device)
{
	bool several = device->accepted >> VIRTIO_BLK_F_MQ & 1;

	vblk_config_start(device->disk, device->accepted);
	if (!several)
		atomic_store_explicit(&device->queues_found, 1, memory_order_relaxed);
}

/* A write of a value that is not 0. The lock is held; only a drain changes the register too. */
static void step_status(struct vblk_device *device, uint32_t value)
{
	uint32_t current = vblk_device_status(device);
	enum vblk_status_verdict verdict;

	for (int tries = 0; tries < STATUS_TRIES; tries++) {
		verdict = vblk_status_judge(current, value, device->accepted, device->offered);
		if (!vblk_status_is_stored(verdict)) {
			log_status(device, verdict, current, value);
			return;
		}
		if (atomic_compare_exchange_strong_explicit(&device->port->device_status, &current,
							    value, memory_order_release,
							    memory_order_acquire)) {
			log_status(device, verdict, current, value);
			if (value & ~current & VIRTIO_CONFIG_S_FEATURES_OK)
				take_features(device);
			/* What hinders it from starting, driver and embedder have been told. */
			if (value == VBLK_STATUS_RUNNING)
				(void)vblk_device_start(device);
			return;
		}
	}
	vblk_log_emit(&device->disk->log, VBLK_LOG_ERROR, "status register does not settle",
		      VBLK_FIELD_UINT("instance", device->disk->instance),
		      VBLK_FIELD_HEX("device_status", current), VBLK_FIELD_HEX("requested", value));
}

void vblk_device_set_status(struct vblk_device *device, uint32_t value)
{
	vblk_device_lock(device);
	if (value == 0)
		vblk_device_reset(device);
	else
		step_status(device, value);
	vblk_device_unlock(device);
}
