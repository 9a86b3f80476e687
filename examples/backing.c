/* SPDX-License-Identifier: MIT */
/*
 * A disk of one's own: a backing that is written by the embedder.
 *
 * This one is sparse and in memory: a hash table of those pages that were ever written. The device
 * has a worker, which calls the operations from its own thread, while the main thread may look at
 * the table; hence the lock. The main thread plays the guest, changes the limits, brings the device
 * to rest and counts the pages then.
 */
#include "driver.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DISK_BYTES (1ull << 40) /* a terabyte, of which little is written */
#define PAGE	   4096u
#define BUCKETS	   1024u
#define PATIENCE   5000 /* milliseconds */

struct page {
	struct page *next;
	uint64_t number; /* offset / PAGE */
	uint8_t bytes[PAGE];
};

struct sparse {
	pthread_mutex_t lock;
	struct page *buckets[BUCKETS];
	size_t pages;
};

/* The page of that number, a new one if `make`; NULL if there is none. */
static struct page *find_page(struct sparse *sparse, uint64_t number, bool make)
{
	struct page **bucket = &sparse->buckets[number % BUCKETS];
	struct page *page = *bucket;

	while (page && page->number != number)
		page = page->next;
	if (!page && make) {
		page = calloc(1, sizeof(*page));
		if (page) {
			page->number = number;
			page->next = *bucket;
			*bucket = page;
			sparse->pages++;
		}
	}
	return page;
}

/* Bytes from `offset` to the end of its page, `length` at most. */
static size_t within_page(uint64_t offset, size_t length)
{
	const size_t rest = PAGE - (size_t)(offset % PAGE);

	return rest < length ? rest : length;
}

static ssize_t sparse_preadv(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	struct sparse *sparse = context;
	ssize_t done = 0;

	pthread_mutex_lock(&sparse->lock);
	for (int i = 0; i < count; i++) {
		uint8_t *to = iov[i].iov_base;

		for (size_t left = iov[i].iov_len; left > 0;) {
			const struct page *page = find_page(sparse, offset / PAGE, false);
			const size_t bytes = within_page(offset, left);

			if (page)
				memcpy(to, page->bytes + offset % PAGE, bytes);
			else
				memset(to, 0, bytes);
			to += bytes;
			left -= bytes;
			offset += bytes;
			done += (ssize_t)bytes;
		}
	}
	pthread_mutex_unlock(&sparse->lock);
	return done;
}

/* What was stored before memory ran out counts: the device asks again for the rest, and is told. */
static ssize_t sparse_pwritev(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	struct sparse *sparse = context;
	ssize_t done = 0;
	int error = 0;

	pthread_mutex_lock(&sparse->lock);
	for (int i = 0; i < count && !error; i++) {
		const uint8_t *from = iov[i].iov_base;

		for (size_t left = iov[i].iov_len; left > 0;) {
			struct page *page = find_page(sparse, offset / PAGE, true);
			const size_t bytes = within_page(offset, left);

			if (!page) {
				error = -ENOSPC;
				break;
			}
			memcpy(page->bytes + offset % PAGE, from, bytes);
			from += bytes;
			left -= bytes;
			offset += bytes;
			done += (ssize_t)bytes;
		}
	}
	pthread_mutex_unlock(&sparse->lock);
	return done > 0 || !error ? done : error;
}

/* The last reference has gone, which may be a worker's: nobody else is here any more. */
static void sparse_close(void *context)
{
	struct sparse *sparse = context;

	for (size_t i = 0; i < BUCKETS; i++)
		while (sparse->buckets[i]) {
			struct page *page = sparse->buckets[i];

			sparse->buckets[i] = page->next;
			free(page);
		}
	pthread_mutex_destroy(&sparse->lock);
	free(sparse);
}

/* No sync: what is in memory is as stable as it gets. No discard: it is not offered then. */
static const struct vblk_backing_ops sparse_ops = {
	.preadv = sparse_preadv,
	.pwritev = sparse_pwritev,
	.close = sparse_close,
};

/* The table stays the backing's; `*table` is for looking at while the backing lives. */
static int sparse_create(struct vblk_backing **backing, struct sparse **table)
{
	const struct vblk_backing_info info = { .size_bytes = DISK_BYTES };
	struct sparse *sparse = calloc(1, sizeof(*sparse));

	if (!sparse)
		return -ENOMEM;
	pthread_mutex_init(&sparse->lock, NULL);
	*table = sparse;
	return vblk_backing_create(&sparse_ops, sparse, &info, backing); /* closes it on failure */
}

/*
 * Runs one request of the guest to its end, asleep until the worker interrupts, and says how it
 * went. Returns 0, or -ETIMEDOUT if there was no answer.
 */
static int request(struct driver *guest, uint32_t type, uint64_t sector)
{
	struct pollfd irq = { .fd = vblk_device_irq_fd(guest->device), .events = POLLIN };
	const uint8_t *data;
	uint64_t count;
	uint8_t status;

	driver_offer(guest, type, sector);
	driver_notify(guest);
	while (!driver_take(guest, &status, &data))
		if (poll(&irq, 1, PATIENCE) <= 0 || read(irq.fd, &count, sizeof(count)) < 0)
			return -ETIMEDOUT;
	printf("%s sector %" PRIu64 ": status %u, '%.16s'\n",
	       type == VIRTIO_BLK_T_IN ? "read" : "write", sector, status, (const char *)data);
	return 0;
}

/* Brings the device to rest, looks, and lets it go on. */
static int look_at_rest(struct vblk_device *device, const struct sparse *sparse)
{
	int ret;

	vblk_device_pause(device);
	ret = vblk_device_wait_paused(device, PATIENCE);
	if (!ret)
		/* No request is in hand: the table is as the guest left it, and needs no lock. */
		printf("at rest: %zu pages of %u bytes\n", sparse->pages, PAGE);
	vblk_device_resume(device);
	return ret;
}

static int play(struct vblk_device *device, struct sparse *sparse, uint8_t *ram)
{
	const uint64_t last = vblk_device_capacity(device) / VBLK_SECTOR_SIZE - 1;
	const struct vblk_throttle limits = { .iops = 10000, .bps = 100 << 20 };
	struct driver guest;
	int ret = driver_start(&guest, device, ram);

	if (ret)
		return ret;
	memcpy(driver_next_data(&guest), "the last sector", 16);
	ret = request(&guest, VIRTIO_BLK_T_OUT, last);
	if (!ret)
		ret = vblk_device_set_throttle(device, &limits);
	if (!ret)
		ret = look_at_rest(device, sparse);
	if (!ret)
		ret = request(&guest, VIRTIO_BLK_T_IN, last);
	if (!ret) /* the device refuses this one, and the backing never hears of it */
		ret = request(&guest, VIRTIO_BLK_T_OUT, last + 1);
	return ret;
}

int main(void)
{
	const struct vblk_device_options options = { .serial = "sparse" };
	struct vblk_memory *memory = NULL;
	struct vblk_backing *disk = NULL;
	struct vblk_device *device = NULL;
	struct sparse *sparse;
	uint8_t *ram = aligned_alloc(4096, DRIVER_RAM);
	int ret = ram ? vblk_memory_create(free, ram, &memory) : -ENOMEM;

	if (ret)
		free(ram);
	if (!ret)
		ret = vblk_memory_add_region(memory, 0, DRIVER_RAM, ram);
	if (!ret)
		ret = sparse_create(&disk, &sparse);
	if (!ret)
		ret = vblk_device_create(&options, disk, &device);
	if (!ret)
		ret = vblk_device_set_memory(device, memory);
	if (!ret)
		ret = play(device, sparse, ram);
	vblk_device_destroy(device);
	vblk_backing_unref(disk);
	vblk_memory_unref(memory);
	if (ret)
		fprintf(stderr, "backing: %s\n", strerror(-ret));
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
