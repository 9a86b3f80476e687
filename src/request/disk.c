/* SPDX-License-Identifier: MIT */
/* Making a disk of what its user asked for. */
#include "request/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backing/backing.h"
#include "base/log.h"
#include "metrics/metrics.h"

#define DEFAULT_SERIAL "ktstr-virtio-blk"

/* The one thing that devices of a process share. */
static atomic_uint next_instance;

static int check_options(const struct vblk_device_options *options,
			 const struct vblk_backing_info *info)
{
	struct vblk_throttle_problem problem;

	if (options->on_undeliverable != VBLK_UNDELIVERABLE_DROP &&
	    options->on_undeliverable != VBLK_UNDELIVERABLE_NEEDS_RESET)
		return -EINVAL;
	if (options->poll_us > VBLK_POLL_US_MAX && options->poll_us != VBLK_POLL_NEVER)
		return -EINVAL;
	if (options->serial && strlen(options->serial) > VIRTIO_BLK_ID_BYTES)
		return -EINVAL;
	if (options->capacity_bytes > INT64_MAX || info->size_bytes > INT64_MAX)
		return -EFBIG;
	if ((info->flags & VBLK_BACKING_READ_ONLY) && !options->read_only)
		return -EROFS;
	return vblk_throttle_validate(&options->throttle, &problem);
}

static uint64_t poll_ns(uint32_t poll_us)
{
	if (poll_us == VBLK_POLL_NEVER)
		return 0;
	return (poll_us ? poll_us : VBLK_POLL_US_DEFAULT) * UINT64_C(1000);
}

static uint64_t whole_sectors(uint64_t bytes)
{
	return bytes - bytes % VBLK_SECTOR_SIZE;
}

int vblk_disk_create(const struct vblk_device_options *options, struct vblk_backing *backing,
		     struct vblk_disk **disk)
{
	const char *serial = options->serial ? options->serial : DEFAULT_SERIAL;
	struct vblk_backing_info info;
	struct vblk_disk *made;
	uint64_t bytes;
	int ret;

	vblk_backing_get_info(backing, &info);
	ret = check_options(options, &info);
	if (ret < 0)
		return ret;
	made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	bytes = options->capacity_bytes ? options->capacity_bytes : info.size_bytes;
	atomic_init(&made->refs, 1);
	made->instance = atomic_fetch_add_explicit(&next_instance, 1, memory_order_relaxed);
	made->backing = vblk_backing_ref(backing);
	made->log = options->log;
	made->clock = (struct vblk_clock){ options->clock, options->clock_context };
	made->on_undeliverable = options->on_undeliverable;
	made->read_only = options->read_only;
	made->io_uring = options->engine == VBLK_ENGINE_URING;
	made->poll_ns = poll_ns(options->poll_us);
	memcpy(made->serial, serial, strlen(serial));
	atomic_init(&made->capacity_bytes, whole_sectors(bytes));
	atomic_init(&made->write_through, false);
	atomic_init(&made->uring_missed, false);
	atomic_init(&made->abandoned, 0);
	ret = vblk_metrics_create(&made->metrics);
	if (ret == 0)
		ret = vblk_throttle_group_create(&options->throttle, &made->clock, &made->throttle);
	if (ret < 0) {
		vblk_disk_unref(made);
		return ret;
	}
	if (bytes > 0 && bytes < VBLK_SECTOR_SIZE)
		vblk_log_emit(&made->log, VBLK_LOG_WARN, "disk is smaller than a sector",
			      VBLK_FIELD_UINT("instance", made->instance),
			      VBLK_FIELD_UINT("bytes", bytes));
	*disk = made;
	return 0;
}

struct vblk_disk *vblk_disk_ref(struct vblk_disk *disk)
{
	atomic_fetch_add_explicit(&disk->refs, 1, memory_order_relaxed);
	return disk;
}

void vblk_disk_unref(struct vblk_disk *disk)
{
	if (!disk || atomic_fetch_sub_explicit(&disk->refs, 1, memory_order_acq_rel) != 1)
		return;
	vblk_throttle_group_unref(disk->throttle);
	vblk_metrics_unref(disk->metrics);
	vblk_backing_unref(disk->backing);
	free(disk);
}

int vblk_disk_prepare_resize(struct vblk_disk *disk, uint64_t capacity_bytes, bool shrink)
{
	uint64_t now = vblk_disk_capacity(disk);

	if (capacity_bytes == 0 || capacity_bytes % VBLK_SECTOR_SIZE != 0)
		return -EINVAL;
	if (capacity_bytes > INT64_MAX)
		return -EFBIG;
	if (capacity_bytes < now && !shrink)
		return -ERANGE;
	if (capacity_bytes > now && !disk->read_only)
		return vblk_backing_grow(disk->backing, capacity_bytes);
	return 0;
}
