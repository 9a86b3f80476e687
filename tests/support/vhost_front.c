/* SPDX-License-Identifier: MIT */
#include "vhost_front.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/eventfd.h"
#include "base/le.h"

#define WAIT_LIMIT_MS 10000

#define RING_AREA  0x8000u
#define AVAIL	   0x2000u
#define USED	   0x4000u
#define SLOT_AREA  0x40000u
#define SLOT_BYTES 0x2000u
#define SLOT_DATA  0x1000u
#define SLOT_STATE 0x20u

/* ---- the server ---- */

static void keep_log(void *context, enum vblk_log_level level, const char *message,
		     const struct vblk_log_field *fields, size_t count)
{
	struct front_host *host = context;
	size_t room;

	(void)fields;
	(void)count;
	pthread_mutex_lock(&host->log_lock);
	host->complaints += level <= VBLK_LOG_WARN;
	room = sizeof(host->log) - host->log_used;
	if (strlen(message) + 2 < room)
		host->log_used +=
			(size_t)snprintf(host->log + host->log_used, room, "%s\n", message);
	pthread_mutex_unlock(&host->log_lock);
}

bool front_host_logged(struct front_host *host, const char *text)
{
	bool found;

	pthread_mutex_lock(&host->log_lock);
	found = strstr(host->log, text) != NULL;
	pthread_mutex_unlock(&host->log_lock);
	return found;
}

void front_host_clear_log(struct front_host *host)
{
	pthread_mutex_lock(&host->log_lock);
	host->log_used = 0;
	host->log[0] = '\0';
	host->complaints = 0;
	pthread_mutex_unlock(&host->log_lock);
}

unsigned front_host_complaints(struct front_host *host)
{
	unsigned complaints;

	pthread_mutex_lock(&host->log_lock);
	complaints = host->complaints;
	pthread_mutex_unlock(&host->log_lock);
	return complaints;
}

void front_host_start(struct front_host *host, const struct vblk_vhost_server_options *options,
		      struct vblk_backing *backing)
{
	struct vblk_vhost_server_options own = { .queues = 1 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memset(host, 0, sizeof(*host));
	pthread_mutex_init(&host->log_lock, NULL);
	host->backing = backing;
	host->address.sun_family = AF_UNIX;
	/* The kernel finds a name that is free. */
	assert_int_equal(bind(fd, (struct sockaddr *)&host->address, sizeof(sa_family_t)), 0);
	host->address_length = sizeof(host->address);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&host->address, &host->address_length),
			 0);
	assert_int_equal(listen(fd, 8), 0);
	if (options)
		own = *options;
	if (!own.device.log.fn)
		own.device.log = (struct vblk_log){ keep_log, host, VBLK_LOG_INFO };
	assert_int_equal(vblk_vhost_server_create(&own, backing, fd, &host->server), 0);
}

void front_host_run(struct front_host *host)
{
	assert_int_equal(vblk_vhost_thread_start(&host->thread, host->server), 0);
	host->has_thread = true;
}

void front_host_end(struct front_host *host)
{
	vblk_vhost_server_ask_to_end(host->server);
	assert_int_equal(vblk_vhost_thread_join(&host->thread, UINT32_MAX), 0);
	host->has_thread = false;
}

void front_host_stop(struct front_host *host)
{
	if (host->has_thread)
		front_host_end(host);
	vblk_vhost_server_destroy(host->server);
	vblk_backing_unref(host->backing);
	pthread_mutex_destroy(&host->log_lock);
}

void front_host_serve(struct front_host *host)
{
	struct pollfd pfd = { .fd = vblk_vhost_server_fd(host->server), .events = POLLIN };

	if (host->has_thread)
		return;
	for (unsigned turns = 0; poll(&pfd, 1, 0) > 0; turns++) {
		/* What is readable and stays so would keep a real server busy for ever. */
		assert_true(turns < 10000);
		vblk_vhost_server_serve(host->server);
	}
}

unsigned front_count_mappings(const char *name)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned count = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, name) != NULL;
	fclose(maps);
	return count;
}

/* ---- the connection ---- */

static void make_memory(struct front *front)
{
	front->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_true(front->memory_fd >= 0);
	assert_int_equal(ftruncate(front->memory_fd, FRONT_SIZE), 0);
	front->memory =
		mmap(NULL, FRONT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, front->memory_fd, 0);
	assert_true(front->memory != MAP_FAILED);
}

void front_open(struct front *front, struct front_host *host)
{
	memset(front, 0, sizeof(*front));
	make_memory(front);
	front->features = ~(1ull << VBLK_VHOST_F_LOG_ALL);
	for (unsigned i = 0; i < FRONT_RINGS; i++) {
		struct front_ring *ring = &front->ring[i];

		assert_int_equal(vblk_eventfd_create(&ring->kick_fd), 0);
		assert_int_equal(vblk_eventfd_create(&ring->call_fd), 0);
		assert_int_equal(vblk_eventfd_create(&ring->err_fd), 0);
	}
	front_reconnect(front, host);
}

void front_knock(struct front *front, struct front_host *host)
{
	front->host = host;
	front->acks = false;
	front->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(front->fd >= 0);
	assert_int_equal(
		connect(front->fd, (struct sockaddr *)&host->address, host->address_length), 0);
}

void front_reconnect(struct front *front, struct front_host *host)
{
	front_knock(front, host);
	front_host_serve(host);
}

void front_disconnect(struct front *front)
{
	if (front->fd >= 0)
		close(front->fd);
	front->fd = -1;
	if (front->host)
		front_host_serve(front->host);
}

void front_close(struct front *front)
{
	front_disconnect(front);
	for (unsigned i = 0; i < FRONT_RINGS; i++) {
		close(front->ring[i].kick_fd);
		close(front->ring[i].call_fd);
		close(front->ring[i].err_fd);
	}
	munmap(front->memory, FRONT_SIZE);
	close(front->memory_fd);
}

/* Without a thread of its own the server has said all that it will say. */
static void await_server(struct front *front)
{
	struct pollfd pfd = { .fd = front->fd, .events = POLLIN };

	if (front->host && front->host->has_thread)
		assert_int_equal(poll(&pfd, 1, WAIT_LIMIT_MS), 1);
}

static bool post(struct front *front, const struct vblk_vhost_header *header, const void *payload,
		 size_t size, const int *fds, unsigned fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
	} control = { .bytes = { 0 } };
	struct iovec iov[2] = {
		{ (void *)(uintptr_t)header, sizeof(*header) },
		{ (void *)(uintptr_t)payload, size },
	};
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = size > 0 ? 2 : 1 };

	if (fd_count > 0) {
		struct cmsghdr *c;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
	}
	return sendmsg(front->fd, &message, MSG_NOSIGNAL) == (ssize_t)(sizeof(*header) + size);
}

void front_post(struct front *front, const struct vblk_vhost_header *header, const void *payload,
		size_t size)
{
	assert_true(post(front, header, payload, size, NULL, 0));
}

bool front_try_send(struct front *front, const struct vblk_vhost_header *header,
		    const void *payload, size_t size, const int *fds, unsigned fd_count)
{
	if (!post(front, header, payload, size, fds, fd_count))
		return false;
	front_host_serve(front->host);
	return true;
}

void front_send(struct front *front, const struct vblk_vhost_header *header, const void *payload,
		size_t size, const int *fds, unsigned fd_count)
{
	assert_true(front_try_send(front, header, payload, size, fds, fd_count));
}

size_t front_receive(struct front *front, struct vblk_vhost_header *header, void *payload,
		     size_t room, int *fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { header, sizeof(*header) };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c;

	*fd = -1;
	await_server(front);
	assert_int_equal(recvmsg(front->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC),
			 sizeof(*header));
	c = CMSG_FIRSTHDR(&message);
	if (c)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	assert_int_equal(header->flags, VBLK_VHOST_VERSION | VBLK_VHOST_FLAG_REPLY);
	assert_true(header->size <= room);
	if (header->size > 0)
		assert_int_equal(recv(front->fd, payload, header->size, MSG_DONTWAIT),
				 header->size);
	return header->size;
}

bool front_is_cut_off(struct front *front)
{
	uint8_t byte;
	ssize_t got;

	await_server(front);
	got = recv(front->fd, &byte, 1, MSG_DONTWAIT);

	return got == 0 || (got < 0 && errno == ECONNRESET);
}

static uint64_t receive_u64(struct front *front, uint32_t request)
{
	struct vblk_vhost_header header;
	uint64_t value = 0;
	int fd;

	assert_int_equal(front_receive(front, &header, &value, sizeof(value), &fd), sizeof(value));
	assert_int_equal(header.request, request);
	assert_int_equal(fd, -1);
	return value;
}

uint64_t front_get(struct front *front, uint32_t request)
{
	const struct vblk_vhost_header header = { request, VBLK_VHOST_VERSION, 0 };

	front_send(front, &header, NULL, 0, NULL, 0);
	return receive_u64(front, request);
}

uint64_t front_put(struct front *front, uint32_t request, const void *payload, size_t size,
		   const int *fds, unsigned fd_count)
{
	struct vblk_vhost_header header = { request, VBLK_VHOST_VERSION, (uint32_t)size };

	if (front->acks)
		header.flags |= VBLK_VHOST_FLAG_NEED_REPLY;
	front_send(front, &header, payload, size, fds, fd_count);
	return front->acks ? receive_u64(front, request) : 0;
}

uint64_t front_put_u64(struct front *front, uint32_t request, uint64_t value)
{
	return front_put(front, request, &value, sizeof(value), NULL, 0);
}

uint64_t front_put_state(struct front *front, uint32_t request, uint32_t index, uint32_t num)
{
	const struct vhost_vring_state state = { index, num };

	return front_put(front, request, &state, sizeof(state), NULL, 0);
}

uint64_t front_put_ring_fd(struct front *front, uint32_t request, uint32_t index, int fd)
{
	uint64_t value = index | (fd < 0 ? VBLK_VHOST_RING_FD_NONE : 0);

	return front_put(front, request, &value, sizeof(value), &fd, fd >= 0);
}

/* ---- the usual way ---- */

void front_negotiate(struct front *front)
{
	uint64_t features = front_get(front, VBLK_VHOST_GET_FEATURES) & front->features;
	uint64_t protocol = front_get(front, VBLK_VHOST_GET_PROTOCOL_FEATURES);

	front_put_u64(front, VBLK_VHOST_SET_PROTOCOL_FEATURES, protocol);
	front->acks = protocol >> VBLK_VHOST_PROTOCOL_REPLY_ACK & 1;
	assert_int_equal(front_put(front, VBLK_VHOST_SET_OWNER, NULL, 0, NULL, 0), 0);
	assert_int_equal(front_put_u64(front, VBLK_VHOST_SET_FEATURES, features), 0);
}

uint64_t front_share_memory(struct front *front)
{
	const struct vblk_vhost_memory memory = {
		.count = 1,
		.region = { { FRONT_GUEST, FRONT_SIZE, FRONT_USER, 0 } },
	};

	return front_put(front, VBLK_VHOST_SET_MEM_TABLE, &memory, 8 + sizeof(memory.region[0]),
			 &front->memory_fd, 1);
}

static uint64_t user_of(const struct front *front, const uint8_t *at)
{
	return FRONT_USER + (uint64_t)(at - front->memory);
}

void front_set_ring(struct front *front, uint32_t ring, uint16_t base)
{
	const struct vhost_vring_addr addr = {
		.index = ring,
		.desc_user_addr = user_of(front, front_desc(front, ring)),
		.used_user_addr = user_of(front, front_used(front, ring)),
		.avail_user_addr = user_of(front, front_avail(front, ring)),
	};
	const struct front_ring *own = &front->ring[ring];

	assert_int_equal(front_put_state(front, VBLK_VHOST_SET_VRING_NUM, ring, FRONT_RING_SIZE),
			 0);
	assert_int_equal(front_put_state(front, VBLK_VHOST_SET_VRING_BASE, ring, base), 0);
	assert_int_equal(front_put(front, VBLK_VHOST_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0),
			 0);
	assert_int_equal(front_put_ring_fd(front, VBLK_VHOST_SET_VRING_CALL, ring, own->call_fd),
			 0);
	assert_int_equal(front_put_ring_fd(front, VBLK_VHOST_SET_VRING_ERR, ring, own->err_fd), 0);
	assert_int_equal(front_put_ring_fd(front, VBLK_VHOST_SET_VRING_KICK, ring, own->kick_fd),
			 0);
}

void front_start(struct front *front, unsigned rings)
{
	front_negotiate(front);
	assert_int_equal(front_share_memory(front), 0);
	for (unsigned i = 0; i < rings; i++) {
		front_set_ring(front, i, 0);
		assert_int_equal(front_put_state(front, VBLK_VHOST_SET_VRING_ENABLE, i, 1), 0);
	}
}

uint32_t front_get_base(struct front *front, uint32_t ring)
{
	const struct vblk_vhost_header header = { VBLK_VHOST_GET_VRING_BASE, VBLK_VHOST_VERSION,
						  sizeof(struct vhost_vring_state) };
	struct vhost_vring_state state = { .index = ring };
	struct vblk_vhost_header reply;
	int fd;

	front_send(front, &header, &state, sizeof(state), NULL, 0);
	assert_int_equal(front_receive(front, &reply, &state, sizeof(state), &fd), sizeof(state));
	assert_int_equal(state.index, ring);
	return state.num;
}

/* ---- the driver ---- */

uint8_t *front_desc(struct front *front, uint32_t ring)
{
	return front->memory + (size_t)ring * RING_AREA;
}

uint8_t *front_avail(struct front *front, uint32_t ring)
{
	return front_desc(front, ring) + AVAIL;
}

uint8_t *front_used(struct front *front, uint32_t ring)
{
	return front_desc(front, ring) + USED;
}

static uint8_t *slot_at(struct front *front, uint32_t ring, unsigned slot)
{
	return front->memory + SLOT_AREA +
	       (size_t)(ring * FRONT_SLOTS + slot % FRONT_SLOTS) * SLOT_BYTES;
}

uint8_t *front_data(struct front *front, uint32_t ring, unsigned slot)
{
	return slot_at(front, ring, slot) + SLOT_DATA;
}

uint64_t front_guest_of(const struct front *front, const void *at)
{
	return FRONT_GUEST + (uint64_t)((const uint8_t *)at - front->memory);
}

static void put_desc(struct front *front, uint32_t ring, unsigned index, const uint8_t *at,
		     uint32_t length, uint16_t flags)
{
	uint8_t *raw = front_desc(front, ring) + 16 * (size_t)index;

	vblk_le64_put(raw, front_guest_of(front, at));
	vblk_le32_put(raw + 8, length);
	vblk_le16_put(raw + 12, flags);
	vblk_le16_put(raw + 14, (uint16_t)(index + 1));
}

static bool is_from_driver(uint32_t type)
{
	return type == VIRTIO_BLK_T_OUT || type == VIRTIO_BLK_T_DISCARD ||
	       type == VIRTIO_BLK_T_WRITE_ZEROES;
}

void front_offer(struct front *front, uint32_t ring, unsigned slot, uint32_t type, uint64_t sector,
		 uint32_t length)
{
	uint8_t *header = slot_at(front, ring, slot);
	uint8_t *avail = front_avail(front, ring);
	unsigned head = 3 * (slot % FRONT_SLOTS), last = head + 1;
	uint16_t flags = is_from_driver(type) ? 0 : VRING_DESC_F_WRITE;

	memset(header, 0, 16);
	vblk_le32_put(header, type);
	vblk_le64_put(header + 8, sector);
	header[SLOT_STATE] = FRONT_SENTINEL;
	put_desc(front, ring, head, header, 16, VRING_DESC_F_NEXT);
	if (length > 0)
		put_desc(front, ring, last++, front_data(front, ring, slot), length,
			 flags | VRING_DESC_F_NEXT);
	put_desc(front, ring, last, header + SLOT_STATE, 1, VRING_DESC_F_WRITE);
	vblk_le16_put(avail + 4 + 2 * (front->ring[ring].avail_idx % FRONT_RING_SIZE),
		      (uint16_t)head);
	/* Each answer is to be announced. */
	vblk_le16_put(avail + 4 + 2 * FRONT_RING_SIZE, front_used_idx(front, ring));
	front_set_avail_idx(front, ring, (uint16_t)(front->ring[ring].avail_idx + 1));
}

void front_set_avail_idx(struct front *front, uint32_t ring, uint16_t value)
{
	uint16_t *at = (uint16_t *)(void *)(front_avail(front, ring) + 2);

	front->ring[ring].avail_idx = value;
	__atomic_store_n(at, htole16(value), __ATOMIC_RELEASE);
}

void front_kick(struct front *front, uint32_t ring)
{
	assert_int_equal(vblk_eventfd_signal(front->ring[ring].kick_fd), 0);
}

uint16_t front_used_idx(struct front *front, uint32_t ring)
{
	const uint16_t *at = (const uint16_t *)(const void *)(front_used(front, ring) + 2);

	return le16toh(__atomic_load_n(at, __ATOMIC_ACQUIRE));
}

uint32_t front_used_head(struct front *front, uint32_t ring, uint16_t index)
{
	return vblk_le32_get(front_used(front, ring) + 4 + 8 * (size_t)(index % FRONT_RING_SIZE));
}

uint8_t front_status(struct front *front, uint32_t ring, unsigned slot)
{
	return slot_at(front, ring, slot)[SLOT_STATE];
}

bool front_wait_fd(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	if (poll(&pfd, 1, WAIT_LIMIT_MS) <= 0)
		return false;
	vblk_eventfd_clear(fd);
	return true;
}

bool front_wait_used(struct front *front, uint32_t ring, uint16_t index)
{
	uint8_t *used_event = front_avail(front, ring) + 4 + 2 * FRONT_RING_SIZE;

	for (;;) {
		uint16_t used = front_used_idx(front, ring);

		if (used == index)
			return true;
		__atomic_store_n((uint16_t *)(void *)used_event, htole16(used), __ATOMIC_SEQ_CST);
		if (front_used_idx(front, ring) == used &&
		    !front_wait_fd(front->ring[ring].call_fd))
			return front_used_idx(front, ring) == index;
	}
}

uint8_t front_do(struct front *front, uint32_t ring, unsigned slot, uint32_t type, uint64_t sector,
		 uint32_t length)
{
	uint16_t used = front_used_idx(front, ring);

	front_offer(front, ring, slot, type, sector, length);
	front_kick(front, ring);
	assert_true(front_wait_used(front, ring, (uint16_t)(used + 1)));
	return front_status(front, ring, slot);
}
