/* SPDX-License-Identifier: MIT */
#include "bare_drain.h"
#include "disk.h"
#include "guest_transport.h"
#include "late_aio.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "device/device.h"

static void note_retry(void *context)
{
	struct bare_drain *bare = context;

	bare->retries++;
}

void bare_drain_create(struct bare_drain *bare, const struct guest_options *options,
		       struct vblk_backing *disk)
{
	struct guest_options inline_options = options ? *options : (struct guest_options){ 0 };
	struct vblk_drain_config config = { 0 };
	const struct vblk_device *device;

	inline_options.device.engine = VBLK_ENGINE_INLINE;
	inline_options.transport = &guest_mmio;
	guest_create(&bare->guest, &inline_options, disk);
	guest_negotiate(&bare->guest);
	device = bare->guest.device;
	config.disk = device->disk;
	config.rules = vblk_rules_negotiated(device->disk, 0);
	config.stable_writes = inline_options.no_flush;
	config.memory = bare->guest.memory;
	config.port = device->port;
	config.retry = note_retry;
	config.retry_context = bare;
	config.layout.size = bare->guest.options.queue_size;
	config.layout.ready = true;
	config.layout.desc = bare->guest.options.desc;
	config.layout.avail = bare->guest.options.avail;
	config.layout.used = bare->guest.options.used;
	config.event_idx = inline_options.event_idx;
	if (disk_is_asynchronous())
		config.air = late_aio_air(late_aio_create(bare->guest.backing));
	vblk_drain_init(&bare->drain, &config);
}

void bare_drain_destroy(struct bare_drain *bare)
{
	vblk_drain_destroy(&bare->drain);
	guest_destroy(&bare->guest);
}

uint64_t bare_drain_run(struct bare_drain *bare, enum vblk_drain_result want)
{
	uint64_t wait_ns = 0;

	assert_int_equal(vblk_drain_run(&bare->drain, &wait_ns), want);
	return wait_ns;
}
