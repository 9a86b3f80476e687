/* SPDX-License-Identifier: MIT */
/*
 * The descriptors of all reads are written once: read N has its chain, its header and its status
 * byte where N says, and is made available again as soon as it is answered.
 */
#include "driver.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/le.h"

#define QUEUE_SIZE 256u
#define MIB	   (1u << 20)

/* Guest memory: the rings, all headers, all status bytes, and one buffer for all data. */
#define DESC	 0x0000u
#define AVAIL	 0x1000u
#define USED	 0x2000u
#define HEADERS	 0x3000u
#define STATUS	 0x4000u
#define DATA	 MIB
#define RAM_SIZE ((size_t)2 * MIB)

#define USED_EVENT  (AVAIL + 4 + 2 * QUEUE_SIZE)
#define AVAIL_EVENT (USED + 4 + 8 * QUEUE_SIZE)

#define PATIENCE_MS 60000

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("bench: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static void check(int ret, const char *what)
{
	if (ret < 0)
		fail("%s: %s", what, strerror(-ret));
}

static uint32_t read_register(struct driver *driver, uint64_t offset)
{
	uint8_t data[4];

	vblk_mmio_read(driver->device, offset, data, sizeof(data));
	return vblk_le32_get(data);
}

static void write_register(struct driver *driver, uint64_t offset, uint32_t value)
{
	uint8_t data[4];

	vblk_le32_put(data, value);
	vblk_mmio_write(driver->device, offset, data, sizeof(data));
}

/* An index that the device writes, or one that it reads. */
static uint16_t load_index(const struct driver *driver, uint32_t address)
{
	const uint16_t *p = (const uint16_t *)(const void *)(driver->ram + address);

	return le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static void store_index(struct driver *driver, uint32_t address, uint16_t value)
{
	uint16_t *p = (uint16_t *)(void *)(driver->ram + address);

	__atomic_store_n(p, htole16(value), __ATOMIC_RELEASE);
}

static void create_device(struct driver *driver, const struct vblk_throttle *throttle)
{
	const struct vblk_device_options options = { .engine = VBLK_ENGINE_WORKER,
						     .throttle = *throttle };
	struct vblk_backing *backing = NULL;
	struct vblk_memory *memory = NULL;

	check(vblk_backing_create_memory((uint64_t)DRIVER_READ_MAX_MIB * MIB, &backing), "disk");
	driver->ram =
		mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (driver->ram == MAP_FAILED)
		fail("guest memory: no memory");
	check(vblk_memory_create(NULL, NULL, &memory), "guest memory");
	check(vblk_memory_add_region(memory, 0, RAM_SIZE, driver->ram), "guest memory");
	check(vblk_device_create(&options, backing, &driver->device), "device");
	check(vblk_device_set_memory(driver->device, memory), "guest memory");
	vblk_memory_unref(memory);
	vblk_backing_unref(backing);
}

static void put_descriptor(struct driver *driver, uint16_t index, uint32_t address, uint32_t length,
			   uint16_t flags)
{
	uint8_t *p = driver->ram + DESC + index * sizeof(struct vring_desc);

	vblk_le64_put(p, address);
	vblk_le32_put(p + 8, length);
	vblk_le16_put(p + 12, flags);
	vblk_le16_put(p + 14, (uint16_t)(index + 1));
}

static void put_read(struct driver *driver, uint16_t number)
{
	uint8_t *header = driver->ram + HEADERS + number * sizeof(struct virtio_blk_outhdr);
	uint16_t at = (uint16_t)(number * driver->chain);
	uint32_t left = driver->read_bytes;

	vblk_le32_put(header, VIRTIO_BLK_T_IN);
	put_descriptor(driver, at++, (uint32_t)(header - driver->ram), 16, VRING_DESC_F_NEXT);
	for (; left > 0; at++) {
		uint32_t part = left < MIB ? left : MIB;

		put_descriptor(driver, at, DATA, part, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE);
		left -= part;
	}
	put_descriptor(driver, at, STATUS + number, 1, VRING_DESC_F_WRITE);
}

static void set_up_device(struct driver *driver)
{
	const uint32_t address[] = { DESC, AVAIL, USED };
	const uint32_t low[] = { VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_AVAIL_LOW,
				 VIRTIO_MMIO_QUEUE_USED_LOW };
	uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE;

	write_register(driver, VIRTIO_MMIO_STATUS, status);
	write_register(driver, VIRTIO_MMIO_STATUS, status |= VIRTIO_CONFIG_S_DRIVER);
	write_register(driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	write_register(driver, VIRTIO_MMIO_DRIVER_FEATURES, 1u << VIRTIO_RING_F_EVENT_IDX);
	write_register(driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	write_register(driver, VIRTIO_MMIO_DRIVER_FEATURES, 1u << (VIRTIO_F_VERSION_1 - 32));
	write_register(driver, VIRTIO_MMIO_STATUS, status |= VIRTIO_CONFIG_S_FEATURES_OK);
	write_register(driver, VIRTIO_MMIO_QUEUE_SEL, 0);
	write_register(driver, VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE);
	for (unsigned i = 0; i < 3; i++)
		write_register(driver, low[i], address[i]);
	write_register(driver, VIRTIO_MMIO_QUEUE_READY, 1);
	write_register(driver, VIRTIO_MMIO_STATUS, status |= VIRTIO_CONFIG_S_DRIVER_OK);
	if (read_register(driver, VIRTIO_MMIO_STATUS) != status)
		fail("the device does not start");
}

/* A read that is in the ring when avail.idx passes it. */
static void put_available(struct driver *driver, uint16_t number)
{
	uint32_t slot = driver->avail_idx++ % QUEUE_SIZE;

	driver->ram[STATUS + number] = 0xff;
	vblk_le16_put(driver->ram + AVAIL + 4 + 2 * (size_t)slot,
		      (uint16_t)(number * driver->chain));
}

static void publish(struct driver *driver, uint16_t old)
{
	store_index(driver, AVAIL + 2, driver->avail_idx);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (vring_need_event(load_index(driver, AVAIL_EVENT), driver->avail_idx, old))
		write_register(driver, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

void driver_start(struct driver *driver, const struct vblk_throttle *throttle, uint32_t read_bytes)
{
	memset(driver, 0, sizeof(*driver));
	driver->read_bytes = read_bytes;
	driver->chain = (uint16_t)((read_bytes + MIB - 1) / MIB + 2);
	driver->in_flight = (uint16_t)(QUEUE_SIZE / driver->chain);
	create_device(driver, throttle);
	for (uint16_t i = 0; i < driver->in_flight; i++)
		put_read(driver, i);
	set_up_device(driver);
	for (uint16_t i = 0; i < driver->in_flight; i++)
		put_available(driver, i);
	publish(driver, 0);
}

static uint16_t answers(const struct driver *driver)
{
	return (uint16_t)(load_index(driver, USED + 2) - driver->used_idx);
}

static void wait_for_interrupt(struct driver *driver)
{
	struct pollfd pfd = { .fd = vblk_device_irq_fd(driver->device), .events = POLLIN };
	uint64_t count;

	if (poll(&pfd, 1, PATIENCE_MS) != 1 || read(pfd.fd, &count, sizeof(count)) < 0)
		fail("the device does not answer");
	write_register(driver, VIRTIO_MMIO_INTERRUPT_ACK,
		       read_register(driver, VIRTIO_MMIO_INTERRUPT_STATUS));
}

static void wait_for_answers(struct driver *driver, unsigned batch)
{
	const unsigned most = driver->in_flight > 1 ? driver->in_flight / 2u : 1;

	if (batch > most)
		batch = most;
	if (batch == 0)
		batch = 1;
	store_index(driver, USED_EVENT, (uint16_t)(driver->used_idx + batch - 1));
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (answers(driver) < batch)
		wait_for_interrupt(driver);
}

static void take_answer(struct driver *driver)
{
	uint32_t slot = driver->used_idx++ % QUEUE_SIZE;
	const uint8_t *element = driver->ram + USED + 4 + 8 * (size_t)slot;
	uint16_t number = (uint16_t)(vblk_le32_get(element) / driver->chain);

	if (number >= driver->in_flight || driver->ram[STATUS + number] != VIRTIO_BLK_S_OK ||
	    vblk_le32_get(element + 4) != driver->read_bytes + 1)
		fail("a read of %u bytes fails", (unsigned)driver->read_bytes);
	put_available(driver, number);
}

unsigned driver_turn(struct driver *driver, unsigned batch)
{
	const uint16_t old = driver->avail_idx;
	unsigned count;

	wait_for_answers(driver, batch);
	count = answers(driver);
	for (unsigned i = 0; i < count; i++)
		take_answer(driver);
	publish(driver, old);
	return count;
}

struct vblk_metrics_snapshot driver_metrics(const struct driver *driver)
{
	struct vblk_metrics_snapshot snapshot;

	vblk_metrics_read(vblk_device_metrics(driver->device), &snapshot);
	return snapshot;
}

void driver_stop(struct driver *driver)
{
	vblk_device_destroy(driver->device);
	munmap(driver->ram, RAM_SIZE);
}
