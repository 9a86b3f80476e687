/* SPDX-License-Identifier: MIT */
#include "mock_guest.h"
#include "disk.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/eventfd.h"
#include "base/le.h"

#define PAGE	      4096u
#define WAIT_LIMIT_MS 10000
#define SLOT_BASE     0x10000u
#define SLOT_SIZE     0x2000u
#define SLOT_HEADER   0x1000u
#define SLOT_STATUS   0x1100u

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

/* Appends the message and its fields' keys and numbers, a line each. */
static void capture_log(void *context, enum vblk_log_level level, const char *message,
			const struct vblk_log_field *fields, size_t count)
{
	struct guest *guest = context;
	char line[1024];
	FILE *out = fmemopen(line, sizeof(line), "w");
	size_t length;

	assert_non_null(out);
	vblk_log_to_stdio(out, level, message, fields, count);
	length = (size_t)ftell(out);
	fclose(out);
	pthread_mutex_lock(&log_lock);
	if (guest->log_used + length < sizeof(guest->log)) {
		memcpy(guest->log + guest->log_used, line, length);
		guest->log_used += length;
		guest->log[guest->log_used] = '\0';
	}
	pthread_mutex_unlock(&log_lock);
}

static uint64_t guest_clock(void *context)
{
	return ((struct guest *)context)->now_ns;
}

/* An abandoned worker may use guest memory after the test is done with it. */
static void free_ram(void *context)
{
	struct guest_ram *ram = context;

	for (size_t i = 0; i < ram->region_count; i++)
		munmap(ram->region[i].map, ram->region[i].map_size);
	free(ram);
}

static void map_region(struct guest *guest, const struct guest_region *at)
{
	struct guest_ram *ram = guest->ram;
	size_t body = (size_t)((at->length + PAGE - 1) / PAGE * PAGE);
	uint8_t *map = mmap(NULL, body + 2 * PAGE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *host;

	assert_true(map != MAP_FAILED);
	assert_int_equal(mprotect(map + PAGE, body, PROT_READ | PROT_WRITE), 0);
	/* The end of the region touches the page behind it, where overruns are likeliest. */
	host = map + PAGE + body - at->length;
	assert_int_equal(vblk_memory_add_region(guest->memory, at->address, at->length, host), 0);
	ram->region[ram->region_count].at = *at;
	ram->region[ram->region_count].host = host;
	ram->region[ram->region_count].map = map;
	ram->region[ram->region_count].map_size = body + 2 * PAGE;
	ram->region_count++;
}

void guest_create(struct guest *guest, const struct guest_options *options,
		  struct vblk_backing *backing)
{
	static const struct guest_region whole = { 0, GUEST_RAM_SIZE };
	struct vblk_device_options device_options;

	memset(guest, 0, sizeof(*guest));
	if (options)
		guest->options = *options;
	if (guest->options.queue_size == 0)
		guest->options.queue_size = 256;
	if (guest->options.avail == 0)
		guest->options.avail = 0x1000;
	if (guest->options.used == 0)
		guest->options.used = 0x2000;
	guest->now_ns = 1000000000000;
	guest->backing = backing;
	guest->ram = calloc(1, sizeof(*guest->ram));
	assert_non_null(guest->ram);
	assert_int_equal(vblk_memory_create(free_ram, guest->ram, &guest->memory), 0);
	if (guest->options.regions) {
		for (size_t i = 0; i < guest->options.region_count; i++)
			map_region(guest, &guest->options.regions[i]);
	} else {
		map_region(guest, &whole);
	}
	device_options = guest->options.device;
	if (!guest->options.all_features)
		device_options.features = VBLK_FEATURES_BASE;
	if (disk_is_asynchronous() && device_options.engine == VBLK_ENGINE_WORKER)
		device_options.engine = VBLK_ENGINE_URING;
	device_options.log = (struct vblk_log){ capture_log, guest, VBLK_LOG_DEBUG };
	if (!guest->options.real_clock) {
		device_options.clock = guest_clock;
		device_options.clock_context = guest;
	}
	assert_int_equal(vblk_device_create(&device_options, backing, &guest->device), 0);
	if (!guest->options.unbound)
		assert_int_equal(vblk_device_set_memory(guest->device, guest->memory), 0);
}

void guest_create_filled(struct guest *guest, const struct guest_options *options, uint64_t size,
			 uint8_t fill)
{
	struct vblk_backing *backing;
	FILE *file = tmpfile();

	assert_non_null(file);
	for (uint64_t i = 0; i < size; i++)
		assert_int_not_equal(fputc(fill, file), EOF);
	assert_int_equal(fflush(file), 0);
	assert_int_equal(vblk_backing_open_fd(fileno(file), 0, &backing), 0);
	fclose(file);
	guest_create(guest, options, backing);
}

void guest_destroy(struct guest *guest)
{
	vblk_device_destroy(guest->device);
	vblk_backing_unref(guest->backing);
	vblk_memory_unref(guest->memory);
}

uint32_t guest_read32(struct guest *guest, uint64_t offset)
{
	uint8_t data[4];

	vblk_mmio_read(guest->device, offset, data, sizeof(data));
	return vblk_le32_get(data);
}

void guest_write32(struct guest *guest, uint64_t offset, uint32_t value)
{
	uint8_t data[4];

	vblk_le32_put(data, value);
	vblk_mmio_write(guest->device, offset, data, sizeof(data));
}

uint32_t guest_status(struct guest *guest)
{
	return guest_read32(guest, VIRTIO_MMIO_STATUS);
}

void guest_set_status(struct guest *guest, uint32_t value)
{
	guest_write32(guest, VIRTIO_MMIO_STATUS, value);
}

void guest_accept(struct guest *guest, uint64_t features)
{
	guest_write32(guest, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	guest_write32(guest, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	guest_write32(guest, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	guest_write32(guest, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
}

void guest_negotiate(struct guest *guest)
{
	uint64_t features = (uint64_t)1 << VIRTIO_F_VERSION_1;

	if (guest->options.event_idx)
		features |= (uint64_t)1 << VIRTIO_RING_F_EVENT_IDX;
	if (!guest->options.no_flush)
		features |= (uint64_t)1 << VIRTIO_BLK_F_FLUSH;
	guest_set_status(guest, 0x1);
	guest_set_status(guest, 0x3);
	guest_accept(guest, features);
	guest_set_status(guest, 0xb);
}

static void set_address(struct guest *guest, uint64_t low_register, uint64_t address)
{
	guest_write32(guest, low_register, (uint32_t)address);
	guest_write32(guest, low_register + 4, (uint32_t)(address >> 32));
}

void guest_start(struct guest *guest)
{
	guest_negotiate(guest);
	guest_write32(guest, VIRTIO_MMIO_QUEUE_SEL, 0);
	guest_write32(guest, VIRTIO_MMIO_QUEUE_NUM, guest->options.queue_size);
	set_address(guest, VIRTIO_MMIO_QUEUE_DESC_LOW, guest->options.desc);
	set_address(guest, VIRTIO_MMIO_QUEUE_AVAIL_LOW, guest->options.avail);
	set_address(guest, VIRTIO_MMIO_QUEUE_USED_LOW, guest->options.used);
	guest_write32(guest, VIRTIO_MMIO_QUEUE_READY, 1);
	guest_set_status(guest, 0xf);
	assert_int_equal(guest_status(guest), 0xf);
}

void guest_reset(struct guest *guest)
{
	guest_set_status(guest, 0);
	guest_set_avail_idx(guest, 0);
	vblk_le16_put(guest_at(guest, guest->options.used + 2), 0);
	guest->next_desc = 0;
}

uint8_t *guest_at(struct guest *guest, uint64_t address)
{
	for (size_t i = 0; i < guest->ram->region_count; i++) {
		const struct guest_region *at = &guest->ram->region[i].at;

		if (address >= at->address && address - at->address < at->length)
			return guest->ram->region[i].host + (address - at->address);
	}
	fail_msg("guest address %#llx is not mapped", (unsigned long long)address);
	return NULL;
}

void guest_fill(struct guest *guest, uint64_t address, uint8_t value, size_t length)
{
	for (size_t i = 0; i < length; i++)
		*guest_at(guest, address + i) = value;
}

bool guest_is_filled(struct guest *guest, uint64_t address, uint8_t value, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (*guest_at(guest, address + i) != value)
			return false;
	}
	return true;
}

void guest_put_desc(struct guest *guest, uint16_t index, uint64_t addr, uint32_t len,
		    uint16_t flags, uint16_t next)
{
	uint8_t *raw = guest_at(guest, guest->options.desc + 16u * index);

	vblk_le64_put(raw, addr);
	vblk_le32_put(raw + 8, len);
	vblk_le16_put(raw + 12, flags);
	vblk_le16_put(raw + 14, next);
}

uint16_t guest_chain(struct guest *guest, const struct guest_desc *desc, size_t count)
{
	uint16_t size = guest->options.queue_size;
	uint16_t head = guest->next_desc;

	for (size_t i = 0; i < count; i++) {
		uint16_t index = (uint16_t)((head + i) % size);
		uint16_t next = (uint16_t)((head + i + 1) % size);
		uint16_t more = i + 1 < count ? VRING_DESC_F_NEXT : 0;

		guest_put_desc(guest, index, desc[i].addr, desc[i].len,
			       (uint16_t)(desc[i].flags | more), next);
	}
	guest->next_desc = (uint16_t)((head + count) % size);
	return head;
}

void guest_put_header(struct guest *guest, uint64_t address, uint32_t type, uint64_t sector)
{
	uint8_t raw[sizeof(struct virtio_blk_outhdr)] = { 0 };

	vblk_le32_put(raw, type);
	vblk_le64_put(raw + 8, sector);
	for (size_t i = 0; i < sizeof(raw); i++)
		*guest_at(guest, address + i) = raw[i];
}

static uint16_t put_request(struct guest *guest, const uint64_t places[3], uint32_t type,
			    uint64_t sector, uint32_t length)
{
	struct guest_desc desc[3];
	size_t count = 0;
	uint16_t head;

	guest_put_header(guest, places[0], type, sector);
	*guest_at(guest, places[2]) = GUEST_SENTINEL;
	desc[count++] = (struct guest_desc){ places[0], 16, 0 };
	if (length > 0) {
		uint16_t flags = type == VIRTIO_BLK_T_OUT ? 0 : VRING_DESC_F_WRITE;

		desc[count++] = (struct guest_desc){ places[1], length, flags };
	}
	desc[count++] = (struct guest_desc){ places[2], 1, VRING_DESC_F_WRITE };
	head = guest_chain(guest, desc, count);
	guest_offer(guest, head);
	return head;
}

uint16_t guest_request(struct guest *guest, uint32_t type, uint64_t sector, uint32_t length)
{
	const uint64_t places[3] = { GUEST_HEADER, GUEST_DATA, GUEST_STATUS };

	return put_request(guest, places, type, sector, length);
}

uint64_t guest_slot_data(unsigned slot)
{
	return SLOT_BASE + (uint64_t)slot * SLOT_SIZE;
}

uint16_t guest_request_at(struct guest *guest, unsigned slot, uint32_t type, uint64_t sector,
			  uint32_t length)
{
	uint64_t base = guest_slot_data(slot);
	const uint64_t places[3] = { base + SLOT_HEADER, base, base + SLOT_STATUS };

	return put_request(guest, places, type, sector, length);
}

uint8_t guest_slot_status(struct guest *guest, unsigned slot)
{
	return *guest_at(guest, guest_slot_data(slot) + SLOT_STATUS);
}

static uint16_t ring_load(struct guest *guest, uint64_t address)
{
	uint16_t *at = (uint16_t *)(void *)guest_at(guest, address);

	return le16toh(__atomic_load_n(at, __ATOMIC_ACQUIRE));
}

static void ring_store(struct guest *guest, uint64_t address, uint16_t value)
{
	uint16_t *at = (uint16_t *)(void *)guest_at(guest, address);

	__atomic_store_n(at, htole16(value), __ATOMIC_RELEASE);
}

void guest_offer(struct guest *guest, uint16_t head)
{
	uint16_t slot = (uint16_t)(guest->avail_idx % guest->options.queue_size);

	ring_store(guest, guest->options.avail + 4 + 2u * slot, head);
	guest_set_avail_idx(guest, (uint16_t)(guest->avail_idx + 1));
}

void guest_set_avail_idx(struct guest *guest, uint16_t value)
{
	guest->avail_idx = value;
	ring_store(guest, guest->options.avail + 2, value);
}

uint16_t guest_used_idx(struct guest *guest)
{
	return ring_load(guest, guest->options.used + 2);
}

struct vring_used_elem guest_used_elem(struct guest *guest, uint16_t index)
{
	uint16_t slot = (uint16_t)(index % guest->options.queue_size);
	const uint8_t *raw = guest_at(guest, guest->options.used + 4 + 8u * slot);

	return (struct vring_used_elem){ vblk_le32_get(raw), vblk_le32_get(raw + 4) };
}

uint16_t guest_used_flags(struct guest *guest)
{
	return ring_load(guest, guest->options.used);
}

uint16_t guest_avail_event(struct guest *guest)
{
	return ring_load(guest, guest->options.used + 4 + 8u * guest->options.queue_size);
}

void guest_set_used_event(struct guest *guest, uint16_t value)
{
	ring_store(guest, guest->options.avail + 4 + 2u * guest->options.queue_size, value);
}

void guest_kick(struct guest *guest)
{
	guest_write32(guest, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

uint8_t guest_status_byte(struct guest *guest)
{
	return *guest_at(guest, GUEST_STATUS);
}

struct vblk_metrics_snapshot guest_metrics(struct guest *guest)
{
	struct vblk_metrics_snapshot snapshot;

	vblk_metrics_read(vblk_device_metrics(guest->device), &snapshot);
	return snapshot;
}

uint64_t guest_take_interrupts(struct guest *guest)
{
	return vblk_eventfd_clear(vblk_device_irq_fd(guest->device));
}

bool guest_logged(struct guest *guest, const char *text)
{
	bool found;

	pthread_mutex_lock(&log_lock);
	found = strstr(guest->log, text) != NULL;
	pthread_mutex_unlock(&log_lock);
	return found;
}

void guest_clear_log(struct guest *guest)
{
	pthread_mutex_lock(&log_lock);
	guest->log_used = 0;
	guest->log[0] = '\0';
	pthread_mutex_unlock(&log_lock);
}

bool guest_wait_interrupt(struct guest *guest)
{
	struct pollfd pfd = { .fd = vblk_device_irq_fd(guest->device), .events = POLLIN };

	if (poll(&pfd, 1, WAIT_LIMIT_MS) <= 0)
		return false;
	guest_take_interrupts(guest);
	return true;
}

bool guest_wait_used(struct guest *guest, uint16_t index)
{
	while ((int16_t)(guest_used_idx(guest) - index) < 0) {
		if (!guest_wait_interrupt(guest))
			return (int16_t)(guest_used_idx(guest) - index) >= 0;
	}
	return true;
}
