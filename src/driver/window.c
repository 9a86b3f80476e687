/* SPDX-License-Identifier: MIT */
/* The register window as a driver sees it (specification 4.2). */
#include "driver/window.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <vblk/memory.h>
#include <vblk/mmio.h>

#include "base/clock.h"
#include "base/eventfd.h"
#include "base/le.h"

#define WANTED                                                                                    \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |                           \
	 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_BLK_F_FLUSH |                       \
	 1ull << VIRTIO_BLK_F_SIZE_MAX | 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_RO | \
	 1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_MQ)

struct window {
	struct vblk_driver_transport base;
	struct vblk_device *device;
	enum vblk_engine_kind engine;
	const struct vblk_window_line *line; /* or NULL */
};

static struct window *window_of(struct vblk_driver_transport *transport)
{
	return (struct window *)transport;
}

static uint32_t get(struct window *window, uint64_t offset)
{
	uint8_t data[4];

	vblk_mmio_read(window->device, offset, data, sizeof(data));
	return vblk_le32_get(data);
}

static void put(struct window *window, uint64_t offset, uint32_t value)
{
	uint8_t data[4];

	vblk_le32_put(data, value);
	vblk_mmio_write(window->device, offset, data, sizeof(data));
}

static void put_address(struct window *window, uint64_t low, uint64_t address)
{
	put(window, low, (uint32_t)address);
	put(window, low + 4, (uint32_t)(address >> 32));
}

static void set_up_queue(struct window *window, unsigned queue,
			 const struct vblk_driver_place *place)
{
	put(window, VIRTIO_MMIO_QUEUE_SEL, queue);
	put(window, VIRTIO_MMIO_QUEUE_NUM, place->size);
	put_address(window, VIRTIO_MMIO_QUEUE_DESC_LOW, place->desc);
	put_address(window, VIRTIO_MMIO_QUEUE_AVAIL_LOW, place->avail);
	put_address(window, VIRTIO_MMIO_QUEUE_USED_LOW, place->used);
	put(window, VIRTIO_MMIO_QUEUE_READY, 1);
}

static int start(struct vblk_driver_transport *transport, int memory_fd, void *memory, size_t size,
		 const struct vblk_driver_place *places, unsigned queues)
{
	struct window *window = window_of(transport);
	struct vblk_memory *map;
	uint32_t status = get(window, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK;
	int ret = vblk_memory_create(NULL, NULL, &map);

	(void)memory_fd;
	if (ret)
		return ret;
	ret = vblk_memory_add_region(map, VBLK_DRIVER_BASE, size, memory);
	if (!ret)
		ret = vblk_device_set_memory(window->device, map);
	vblk_memory_unref(map);
	if (ret)
		return ret;
	for (unsigned i = 0; i < queues; i++)
		set_up_queue(window, i, &places[i]);
	put(window, VIRTIO_MMIO_STATUS, status);
	return get(window, VIRTIO_MMIO_STATUS) == status ? 0 : -ENODEV;
}

static void notify(struct vblk_driver_transport *transport, unsigned queue)
{
	put(window_of(transport), VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

int vblk_window_line_create(struct vblk_window_line *line, unsigned queues)
{
	line->queues = 0;
	while (line->queues < queues) {
		int ret = vblk_eventfd_create(&line->fds[line->queues]);

		if (ret) {
			vblk_window_line_destroy(line);
			return ret;
		}
		line->queues++;
	}
	return 0;
}

void vblk_window_line_destroy(struct vblk_window_line *line)
{
	while (line->queues > 0)
		close(line->fds[--line->queues]);
}

void vblk_window_line_raise(void *line)
{
	const struct vblk_window_line *all = line;

	/* A counter cannot fail while its descriptor is open. */
	for (unsigned i = 0; i < all->queues; i++)
		if (vblk_eventfd_signal(all->fds[i]))
			abort();
}

static int interrupt_fd(const struct vblk_driver_transport *transport, unsigned queue)
{
	const struct window *window = (const struct window *)transport;

	return window->line ? window->line->fds[queue] : vblk_device_irq_fd(window->device);
}

static void acknowledge(struct vblk_driver_transport *transport, unsigned queue)
{
	struct window *window = window_of(transport);

	(void)queue;
	put(window, VIRTIO_MMIO_INTERRUPT_ACK, get(window, VIRTIO_MMIO_INTERRUPT_STATUS));
}

/* Requests of an inline device that wait for tokens, or that a pass left, are this thread's. */
static void run_inline(struct window *window)
{
	static const struct vblk_clock clock = { NULL, NULL };
	uint64_t deadline, now = vblk_clock_now(&clock);

	if (!vblk_device_next_deadline(window->device, &deadline))
		return;
	if (deadline > now) {
		const uint64_t left = deadline - now;
		const struct timespec pause = { (time_t)(left / VBLK_NSEC_PER_SEC),
						(long)(left % VBLK_NSEC_PER_SEC) };

		nanosleep(&pause, NULL);
	}
	vblk_device_run(window->device);
}

static int idle(struct vblk_driver_transport *transport, bool thorough)
{
	struct window *window = window_of(transport);

	if (window->engine == VBLK_ENGINE_INLINE)
		run_inline(window);
	if (thorough && vblk_device_status(window->device) & VIRTIO_CONFIG_S_NEEDS_RESET)
		return -EIO;
	return 0;
}

static void close_window(struct vblk_driver_transport *transport)
{
	put(window_of(transport), VIRTIO_MMIO_STATUS, 0);
	free(transport);
}

static const struct vblk_driver_ops ops = {
	.start = start,
	.notify = notify,
	.interrupt_fd = interrupt_fd,
	.acknowledge = acknowledge,
	.idle = idle,
	.close = close_window,
};

static uint64_t negotiate(struct window *window)
{
	uint64_t features = 0;

	put(window, VIRTIO_MMIO_STATUS, 0);
	put(window, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	put(window, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	for (uint32_t word = 0; word < 2; word++) {
		uint32_t bits;

		put(window, VIRTIO_MMIO_DEVICE_FEATURES_SEL, word);
		bits = get(window, VIRTIO_MMIO_DEVICE_FEATURES) & (uint32_t)(WANTED >> 32 * word);
		put(window, VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
		put(window, VIRTIO_MMIO_DRIVER_FEATURES, bits);
		features |= (uint64_t)bits << 32 * word;
	}
	put(window, VIRTIO_MMIO_STATUS,
	    VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
	if (!(get(window, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK))
		return 0;
	return features;
}

static void read_traits(struct window *window, uint64_t features)
{
	struct vblk_driver_traits *traits = &window->base.traits;

	traits->capacity_bytes = vblk_device_capacity(window->device);
	traits->block_size = VBLK_SECTOR_SIZE;
	if (features & 1ull << VIRTIO_BLK_F_SIZE_MAX)
		traits->size_max = get(window, VIRTIO_MMIO_CONFIG + 8);
	if (features & 1ull << VIRTIO_BLK_F_SEG_MAX)
		traits->seg_max = get(window, VIRTIO_MMIO_CONFIG + 12);
	if (features & 1ull << VIRTIO_BLK_F_BLK_SIZE)
		traits->block_size = get(window, VIRTIO_MMIO_CONFIG + 20);
	traits->read_only = features >> VIRTIO_BLK_F_RO & 1;
	traits->event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1;
	traits->indirect = features >> VIRTIO_RING_F_INDIRECT_DESC & 1;
	traits->flush = features >> VIRTIO_BLK_F_FLUSH & 1;
	traits->queues = 1;
	if (window->line && features >> VIRTIO_BLK_F_MQ & 1)
		traits->queues = get(window, VIRTIO_MMIO_CONFIG + 32) >> 16; /* num_queues, at 34 */
	if (window->line && window->line->queues < traits->queues)
		traits->queues = window->line->queues;
	put(window, VIRTIO_MMIO_QUEUE_SEL, 0);
	traits->queue_size = get(window, VIRTIO_MMIO_QUEUE_NUM_MAX);
	traits->pid = (int)getpid();
}

int vblk_window_open(struct vblk_device *device, enum vblk_engine_kind engine,
		     const struct vblk_window_line *line, struct vblk_driver_transport **transport)
{
	struct window *window = calloc(1, sizeof(*window));
	uint64_t features;

	if (!window)
		return -ENOMEM;
	window->base.ops = &ops;
	window->device = device;
	window->engine = engine;
	window->line = line;
	features = negotiate(window);
	if (!(features & 1ull << VIRTIO_F_VERSION_1) ||
	    get(window, VIRTIO_MMIO_DEVICE_ID) != VIRTIO_ID_BLOCK) {
		free(window);
		return -ENODEV;
	}
	read_traits(window, features);
	*transport = &window->base;
	return 0;
}
