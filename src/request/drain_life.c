/* SPDX-License-Identifier: MIT */
/* How a drain begins and ends. */
#include <stdlib.h>
#include <string.h>

#include "request/drain_parts.h"

void vblk_drain_init(struct vblk_drain *drain, const struct vblk_drain_config *config)
{
	struct vblk_disk *disk = vblk_disk_ref(config->disk);

	drain->config = *config;
	vblk_memory_ref(config->memory);
	vblk_port_ref(config->port);
	vblk_lease_init(&drain->lease);
	vblk_queue_start(&drain->queue, &config->layout, config->event_idx, config->memory);
	drain->queue.view.dirty = config->dirty;
	vblk_memory_view_set_guard(&drain->queue.view, config->guard);
	vblk_throttle_join(&drain->throttle, disk->throttle, config->retry, config->retry_context);
	drain->poisoned = false;
	drain->cut_off = false;
	drain->stalled = false;
	drain->batch = (struct vblk_batch){ .published = 0 };
	vblk_timing_init(&drain->timing, disk, config->index);
	vblk_linger_init(&drain->linger, config->poll_ns);
	vblk_label_init(&drain->flight.label);
	drain->opened = !config->continues;
	drain->adopted = NULL;
	drain->adopted_next = 0;
	memset(drain->dropped, 0, sizeof(drain->dropped));
	drain->io.disk = disk;
	drain->io.shard = drain->timing.shard;
	drain->io.stable_writes = config->stable_writes;
	drain->io.view = &drain->queue.view;
	drain->io.lease = &drain->lease;
	drain->io.log_limit = &config->port->log_limit;
	drain->io.index = config->index;
}

void vblk_drain_destroy(struct vblk_drain *drain)
{
	vblk_drain_clear_stall(drain);
	vblk_throttle_leave(&drain->throttle);
	vblk_timing_destroy(&drain->timing);
	/* Who is told of the end may start another drain, which needs what this one gives back. */
	vblk_air_destroy(drain->config.air);
	if (drain->config.ended)
		drain->config.ended(drain->config.ended_context, drain);
	free(drain->adopted);
	vblk_port_unref(drain->config.port);
	vblk_memory_unref(drain->config.memory);
	vblk_disk_unref(drain->config.disk);
}

void vblk_drain_discard(const struct vblk_drain_config *config)
{
	vblk_air_destroy(config->air);
	if (config->ended)
		config->ended(config->ended_context, NULL);
}

uint16_t vblk_drain_next_avail(const struct vblk_drain *drain)
{
	if (!drain->opened)
		return drain->config.next_avail;
	return (uint16_t)(drain->queue.next_avail - vblk_queue_behind(&drain->queue));
}
