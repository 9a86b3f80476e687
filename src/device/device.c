/* SPDX-License-Identifier: MIT */
/* Making a device, asking it, and taking it apart. */
#include "device/device.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stdlib.h>

#include "base/log.h"

#define DEFAULT_STOP_TIMEOUT_MS 1000u

/* Copies what stays constant. Nothing here can fail. */
static void take_options(struct vblk_device *device, const struct vblk_device_options *options)
{
	device->locking = options->engine != VBLK_ENGINE_INLINE;
	device->stop_timeout_ms =
		options->stop_timeout_ms ? options->stop_timeout_ms : DEFAULT_STOP_TIMEOUT_MS;
	device->worker_lost = options->worker_lost;
	device->worker_lost_context = options->worker_lost_context;
	device->offer = (struct vblk_offer){
		.disk = device->disk,
		.set = options->features,
		.queues = device->queue_count,
	};
	device->offered = vblk_features_offered(&device->offer);
	vblk_device_reset_queues(device);
}

/* Without MQ, which is not in the base, a driver would find no other queue than the first. */
static int count_queues(const struct vblk_device_options *options, uint16_t *count)
{
	*count = options->queues ? options->queues : 1;
	if (*count > VBLK_DEVICE_QUEUES_MAX)
		return -EINVAL;
	return *count > 1 && options->features == VBLK_FEATURES_BASE ? -EINVAL : 0;
}

static int create_engine(enum vblk_engine_kind kind, struct vblk_engine **engine)
{
	switch (kind) {
	case VBLK_ENGINE_WORKER:
	case VBLK_ENGINE_URING:
		return vblk_worker_engine_create(engine);
	case VBLK_ENGINE_INLINE:
		return vblk_inline_engine_create(engine);
	}
	return -EINVAL;
}

static int create_queues(struct vblk_device *device, enum vblk_engine_kind kind)
{
	int ret = vblk_park_create(&device->park);

	for (uint16_t i = 0; i < device->queue_count && ret == 0; i++) {
		ret = create_engine(kind, &device->queue[i].engine);
		if (ret == 0)
			vblk_park_join(device->queue[i].engine->park, device->park);
	}
	return ret;
}

/* Frees what has been made so far; the engines, if any, are idle. */
static void free_device(struct vblk_device *device)
{
	for (uint16_t i = 0; i < device->queue_count; i++)
		vblk_engine_destroy(device->queue[i].engine);
	vblk_park_unref(device->park);
	vblk_port_unref(device->port);
	vblk_memory_unref(device->memory);
	vblk_disk_unref(device->disk);
	pthread_mutex_destroy(&device->config_lock);
	pthread_mutex_destroy(&device->lock);
	free(device);
}

int vblk_device_create(const struct vblk_device_options *options, struct vblk_backing *backing,
		       struct vblk_device **device)
{
	struct vblk_device *dev = calloc(1, sizeof(*dev));
	int ret;

	if (!dev)
		return -ENOMEM;
	pthread_mutex_init(&dev->lock, NULL);
	pthread_mutex_init(&dev->config_lock, NULL);
	ret = count_queues(options, &dev->queue_count);
	if (ret < 0)
		dev->queue_count = 0;
	if (ret == 0)
		ret = vblk_disk_create(options, backing, &dev->disk);
	if (ret == 0) {
		take_options(dev, options);
		vblk_cpus_set_home(&dev->cpus);
		ret = vblk_cpus_from_placement(&options->placement, &dev->cpus);
	}
	if (ret == 0)
		ret = vblk_port_create(options->interrupt, options->interrupt_context,
				       &options->log, dev->disk->metrics, &dev->port);
	if (ret == 0) {
		vblk_port_set_owner(dev->port, dev->disk->instance, &dev->disk->clock);
		ret = create_queues(dev, options->engine);
	}
	if (ret < 0) {
		free_device(dev);
		return ret;
	}
	*device = dev;
	return 0;
}

void vblk_device_destroy(struct vblk_device *device)
{
	if (!device)
		return;
	vblk_device_lock(device);
	vblk_device_stop(device);
	vblk_device_unlock(device);
	free_device(device);
}

int vblk_device_set_memory(struct vblk_device *device, struct vblk_memory *memory)
{
	int ret = 0;

	vblk_device_lock(device);
	if (device->memory) {
		vblk_log_emit(&device->disk->log, VBLK_LOG_WARN,
			      "set_mem called on already-initialised device: guest memory binding "
			      "unchanged",
			      VBLK_FIELD_UINT("instance", device->disk->instance));
		ret = -EALREADY;
	} else {
		vblk_memory_seal(memory);
		device->memory = vblk_memory_ref(memory);
		atomic_store_explicit(&device->memory_bound, true, memory_order_release);
		ret = vblk_device_start(device);
	}
	vblk_device_unlock(device);
	return ret;
}

int vblk_device_irq_fd(const struct vblk_device *device)
{
	return device->port->irq_fd;
}

int vblk_device_kick_fd(const struct vblk_device *device, uint32_t queue)
{
	if (queue >= device->queue_count)
		return -EINVAL;
	return vblk_engine_kick_fd(device->queue[queue].engine);
}

uint64_t vblk_device_capacity(const struct vblk_device *device)
{
	return vblk_disk_capacity(device->disk);
}

uint32_t vblk_device_instance(const struct vblk_device *device)
{
	return device->disk->instance;
}

struct vblk_metrics *vblk_device_metrics(const struct vblk_device *device)
{
	return device->disk->metrics;
}

bool vblk_device_next_deadline(const struct vblk_device *device, uint64_t *deadline_ns)
{
	bool any = false;

	for (uint16_t i = 0; i < device->queue_count; i++) {
		uint64_t own;

		if (!vblk_engine_next_deadline(device->queue[i].engine, &own))
			continue;
		if (!any || own < *deadline_ns)
			*deadline_ns = own;
		any = true;
	}
	return any;
}

void vblk_device_run(struct vblk_device *device)
{
	for (uint16_t i = 0; i < device->queue_count; i++)
		vblk_engine_run(device->queue[i].engine);
}
