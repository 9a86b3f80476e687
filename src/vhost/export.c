/* SPDX-License-Identifier: MIT */
/* What is there of a disk before any front end is, and after. */
#include "vhost/session.h"

#include <errno.h>

#define DEFAULT_STOP_TIMEOUT_MS 1000u

int vblk_vhost_export_open(struct vblk_vhost_export *export,
			   const struct vblk_device_options *options, uint16_t queues,
			   struct vblk_backing *backing)
{
	int ret;

	if (queues == 0)
		queues = 1;
	if (queues > VBLK_VHOST_QUEUES_MAX)
		return -EINVAL;
	ret = vblk_disk_create(options, backing, &export->disk);
	if (ret < 0)
		return ret;
	export->offer = (struct vblk_offer){
		.disk = export->disk,
		.set = options->features,
		.queues = queues,
	};
	atomic_init(&export->deadline_ns, UINT64_MAX);
	export->stop_timeout_ms =
		options->stop_timeout_ms ? options->stop_timeout_ms : DEFAULT_STOP_TIMEOUT_MS;
	export->host.lost = options->worker_lost;
	export->host.lost_context = options->worker_lost_context;
	vblk_cpus_set_home(&export->host.cpus);
	ret = vblk_cpus_from_placement(&options->placement, &export->host.cpus);
	for (uint16_t i = 0; i < queues && ret == 0; i++) {
		ret = vblk_vhost_ring_create(&export->ring[i], i);
		if (ret == 0)
			export->queues++;
	}
	return ret;
}

void vblk_vhost_export_close(struct vblk_vhost_export *export)
{
	for (uint16_t i = 0; i < export->queues; i++)
		vblk_vhost_ring_destroy(&export->ring[i]);
	vblk_vhost_account_unref(export->account);
	vblk_disk_unref(export->disk);
}

bool vblk_vhost_export_collect(struct vblk_vhost_export *export)
{
	bool any = false;

	for (uint16_t i = 0; i < export->queues; i++) {
		struct vblk_vhost_ring *ring = &export->ring[i];

		(void)vblk_vhost_ring_is_free(ring);
		any = any || ring->freed;
		ring->freed = false;
	}
	return any;
}
