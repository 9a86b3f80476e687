/* SPDX-License-Identifier: MIT */
#include "mock_guest.h"
#include "disk.h"
#include "guest_transport.h"

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

#include "base/le.h"
#include "request/disk.h"

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
	for (size_t i = 0; i < ram->region_count; i++) {
		if (ram->region[i].fd >= 0)
			close(ram->region[i].fd);
	}
	free(ram);
}

/* Puts a file in the place of the usable pages, for who wants to map them too. */
static int share(void *body, size_t size)
{
	int fd = memfd_create("mock-guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_true(mmap(body, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
		    body);
	return fd;
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
	ram->region[ram->region_count].offset = body - at->length;
	ram->region[ram->region_count].fd =
		guest->transport == &guest_vhost ? share(map + PAGE, body) : -1;
	ram->region_count++;
}

bool guest_has_registers(void)
{
	const char *wanted = getenv("VBLK_TEST_TRANSPORT");

	if (!wanted)
		return true;
	if (strcmp(wanted, "vhost") != 0)
		fail_msg("VBLK_TEST_TRANSPORT is %s, which is no transport", wanted);
	return false;
}

void guest_needs_registers(void)
{
	if (guest_has_registers())
		return;
	print_message("skipped: over vhost-user this has no meaning, or another\n");
	skip();
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
	guest->transport = guest->options.transport;
	if (!guest->transport)
		guest->transport = guest_has_registers() ? &guest_mmio : &guest_vhost;
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
	guest->transport->create(guest, &device_options);
	if (!guest->options.unbound)
		assert_int_equal(guest_bind_memory(guest), 0);
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
	guest->transport->destroy(guest);
	vblk_backing_unref(guest->backing);
	vblk_memory_unref(guest->memory);
}

uint32_t guest_status(struct guest *guest)
{
	return guest->transport->status(guest);
}

void guest_set_status(struct guest *guest, uint32_t value)
{
	guest->transport->set_status(guest, value);
}

uint64_t guest_offered(struct guest *guest)
{
	return guest->transport->offered(guest);
}

void guest_accept(struct guest *guest, uint64_t features)
{
	guest->transport->accept(guest, features);
}

static uint64_t usual_features(const struct guest *guest)
{
	uint64_t features = (uint64_t)1 << VIRTIO_F_VERSION_1;

	if (guest->options.event_idx)
		features |= (uint64_t)1 << VIRTIO_RING_F_EVENT_IDX;
	if (!guest->options.no_flush)
		features |= (uint64_t)1 << VIRTIO_BLK_F_FLUSH;
	return features;
}

static void negotiate(struct guest *guest, uint64_t features)
{
	guest_set_status(guest, 0x1);
	guest_set_status(guest, 0x3);
	guest_accept(guest, features);
	guest_set_status(guest, 0xb);
}

void guest_negotiate(struct guest *guest)
{
	negotiate(guest, usual_features(guest));
}

void guest_set_queue(struct guest *guest)
{
	guest->transport->set_queue(guest);
}

void guest_start_with(struct guest *guest, uint64_t features)
{
	negotiate(guest, features);
	guest_set_queue(guest);
	guest_set_status(guest, 0xf);
	assert_int_equal(guest_status(guest), 0xf);
}

void guest_start(struct guest *guest)
{
	guest_start_with(guest, usual_features(guest));
}

void guest_read_config(struct guest *guest, uint32_t offset, void *data, uint32_t size)
{
	guest->transport->read_config(guest, offset, data, size);
}

void guest_write_config(struct guest *guest, uint32_t offset, uint8_t value)
{
	guest->transport->write_config(guest, offset, value);
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
	guest->transport->kick(guest);
}

int guest_kick_fd(const struct guest *guest)
{
	return guest->transport->kick_fd(guest);
}

uint8_t guest_status_byte(struct guest *guest)
{
	return *guest_at(guest, GUEST_STATUS);
}

struct vblk_metrics_snapshot guest_metrics(struct guest *guest)
{
	struct vblk_metrics_snapshot snapshot;

	vblk_metrics_read(guest_disk(guest)->metrics, &snapshot);
	snapshot.interrupts -= guest->transport->own_interrupts(guest);
	return snapshot;
}

uint64_t guest_take_interrupts(struct guest *guest)
{
	return guest->transport->take_interrupts(guest);
}

uint32_t guest_interrupt_status(struct guest *guest)
{
	return guest->transport->interrupt_status(guest);
}

void guest_acknowledge(struct guest *guest, uint32_t causes)
{
	guest->transport->acknowledge(guest, causes);
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
	struct pollfd pfd = { .fd = guest->transport->interrupt_fd(guest), .events = POLLIN };

	do {
		if (poll(&pfd, 1, WAIT_LIMIT_MS) <= 0)
			return false;
	} while (guest_take_interrupts(guest) == 0);
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

struct vblk_disk *guest_disk(const struct guest *guest)
{
	return guest->transport->disk(guest);
}

uint32_t guest_instance(const struct guest *guest)
{
	return guest_disk(guest)->instance;
}

uint64_t guest_capacity(const struct guest *guest)
{
	return vblk_disk_capacity(guest_disk(guest));
}

int guest_bind_memory(struct guest *guest)
{
	return guest->transport->bind_memory(guest);
}

bool guest_pause(struct guest *guest)
{
	return guest->transport->pause(guest);
}

bool guest_resume(struct guest *guest)
{
	return guest->transport->resume(guest);
}

bool guest_is_paused(const struct guest *guest)
{
	return guest->transport->is_paused(guest);
}

int guest_wait_paused(struct guest *guest, uint32_t timeout_ms)
{
	return guest->transport->wait_paused(guest, timeout_ms);
}

int guest_set_parked_fd(struct guest *guest, int fd)
{
	return guest->transport->set_parked_fd(guest, fd);
}

int guest_set_throttle(struct guest *guest, const struct vblk_throttle *throttle)
{
	return guest->transport->set_throttle(guest, throttle);
}

int guest_resize(struct guest *guest, uint64_t capacity_bytes, uint32_t flags)
{
	return guest->transport->resize(guest, capacity_bytes, flags);
}

void guest_run(struct guest *guest)
{
	guest->transport->run(guest);
}

void guest_restart(struct guest *guest)
{
	guest->transport->restart(guest);
}
