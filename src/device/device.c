/* SPDX-License-Identifier: MIT */
/* Making a device, asking it, and taking it apart. */
#include "device/device.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>

#include "backing/backing.h"
#include "base/checked.h"
#include "base/log.h"
#include "metrics/metrics.h"

#define DEFAULT_SERIAL		"ktstr-virtio-blk"
#define DEFAULT_STOP_TIMEOUT_MS 1000u

/* The one thing that devices of a process share. */
static atomic_uint next_instance;

static int check_options(const struct vblk_device_options *options,
			 const struct vblk_backing_info *info)
{
	struct vblk_throttle_problem problem;

	if (options->engine != VBLK_ENGINE_WORKER && options->engine != VBLK_ENGINE_INLINE)
		return -EINVAL;
	if (options->on_undeliverable != VBLK_UNDELIVERABLE_DROP &&
	    options->on_undeliverable != VBLK_UNDELIVERABLE_NEEDS_RESET)
		return -EINVAL;
	if (options->serial && strlen(options->serial) > VIRTIO_BLK_ID_BYTES)
		return -EINVAL;
	if (options->capacity_bytes > INT64_MAX || info->size_bytes > INT64_MAX)
		return -EFBIG;
	if ((info->flags & VBLK_BACKING_READ_ONLY) && !options->read_only)
		return -EROFS;
	return vblk_throttle_validate(&options->throttle, &problem);
}

/* Copies what stays constant. Nothing here can fail. */
static void take_options(struct vblk_device *device, const struct vblk_device_options *options,
			 const struct vblk_backing_info *info)
{
	const char *serial = options->serial ? options->serial : DEFAULT_SERIAL;
	uint64_t bytes = options->capacity_bytes ? options->capacity_bytes : info->size_bytes;

	device->locking = options->engine != VBLK_ENGINE_INLINE;
	device->stop_timeout_ms =
		options->stop_timeout_ms ? options->stop_timeout_ms : DEFAULT_STOP_TIMEOUT_MS;
	device->log = options->log;
	device->clock = (struct vblk_clock){ options->clock, options->clock_context };
	device->throttle = options->throttle;
	device->on_undeliverable = options->on_undeliverable;
	device->worker_lost = options->worker_lost;
	device->worker_lost_context = options->worker_lost_context;
	device->disk.capacity_bytes = bytes - bytes % VBLK_SECTOR_SIZE;
	device->disk.rules.read_only = options->read_only;
	memcpy(device->disk.serial, serial, strlen(serial));
	device->offered = vblk_features_offered(options->read_only);
	vblk_config_fill(device->config_space, device->disk.capacity_bytes / VBLK_SECTOR_SIZE);
	vblk_queue_layout_reset(&device->layout, VBLK_DEVICE_QUEUE_SIZE);
	if (bytes > 0 && bytes < VBLK_SECTOR_SIZE)
		vblk_log_emit(&device->log, VBLK_LOG_WARN, "disk is smaller than a sector",
			      VBLK_FIELD_UINT("instance", device->instance),
			      VBLK_FIELD_UINT("bytes", bytes));
}

static int create_engine(enum vblk_engine_kind kind, struct vblk_engine **engine)
{
	switch (kind) {
	case VBLK_ENGINE_WORKER:
		return vblk_worker_engine_create(engine);
	case VBLK_ENGINE_INLINE:
		return vblk_inline_engine_create(engine);
	}
	return -EINVAL;
}

/* Frees what has been made so far; the engine, if any, is idle. */
static void free_device(struct vblk_device *device)
{
	vblk_engine_destroy(device->engine);
	vblk_port_unref(device->port);
	vblk_metrics_unref(device->metrics);
	vblk_memory_unref(device->memory);
	vblk_backing_unref(device->disk.backing);
	pthread_mutex_destroy(&device->lock);
	free(device);
}

int vblk_device_create(const struct vblk_device_options *options, struct vblk_backing *backing,
		       struct vblk_device **device)
{
	struct vblk_backing_info info;
	struct vblk_device *dev;
	int ret;

	vblk_backing_get_info(backing, &info);
	ret = check_options(options, &info);
	if (ret < 0)
		return ret;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	pthread_mutex_init(&dev->lock, NULL);
	dev->instance = atomic_fetch_add_explicit(&next_instance, 1, memory_order_relaxed);
	dev->disk.backing = vblk_backing_ref(backing);
	take_options(dev, options, &info);
	vblk_cpus_set_home(&dev->cpus);
	ret = vblk_cpus_from_placement(&options->placement, &dev->cpus);
	if (ret == 0)
		ret = vblk_metrics_create(&dev->metrics);
	if (ret == 0)
		ret = vblk_port_create(options->interrupt, options->interrupt_context,
				       &options->log, dev->metrics, &dev->port);
	if (ret == 0) {
		vblk_port_set_owner(dev->port, dev->instance, &dev->clock);
		ret = create_engine(options->engine, &dev->engine);
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
		vblk_log_emit(&device->log, VBLK_LOG_WARN,
			      "set_mem called on already-initialised device: guest memory binding "
			      "unchanged",
			      VBLK_FIELD_UINT("instance", device->instance));
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
	if (queue >= VBLK_QUEUE_COUNT)
		return -EINVAL;
	return vblk_engine_kick_fd(device->engine);
}

uint64_t vblk_device_capacity(const struct vblk_device *device)
{
	return device->disk.capacity_bytes;
}

uint32_t vblk_device_instance(const struct vblk_device *device)
{
	return device->instance;
}

struct vblk_metrics *vblk_device_metrics(const struct vblk_device *device)
{
	return device->metrics;
}

bool vblk_device_next_deadline(const struct vblk_device *device, uint64_t *deadline_ns)
{
	return vblk_engine_next_deadline(device->engine, deadline_ns);
}

void vblk_device_run(struct vblk_device *device)
{
	vblk_engine_run(device->engine);
}
