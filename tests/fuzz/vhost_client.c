/* SPDX-License-Identifier: MIT */
/* A connection, and what is said over it. */
#include "vhost_client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "records.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct client client;

static struct {
	int fd;
	bool open;
} connection;

/* ---- the connection ---- */

/* Reads answers, so that the server never waits; their descriptors are dropped by the kernel. */
static void read_answers(void)
{
	uint8_t bytes[4096];
	ssize_t got;

	do
		got = recv(connection.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (got > 0);
	if (got < 0 && errno == EAGAIN)
		return;
	connection.open = false;
	FUZZ_TRACE("     cut off");
	FUZZ_CHECK(vhost_rig_complained(), "a connection was ended without a line");
}

void client_open(unsigned disk)
{
	connection.fd = vhost_rig_connect(disk);
	connection.open = true;
}

/* The server may hold this end too, and then closing it says nothing. */
void client_close(void)
{
	shutdown(connection.fd, SHUT_RDWR);
	close(connection.fd);
	vhost_rig_serve();
	FUZZ_CHECK(!vblk_vhost_server_is_connected(vhost_rig.server),
		   "a front end has gone unnoticed");
}

void client_send_bytes(const void *bytes, size_t length, unsigned fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
	} control = { .bytes = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)bytes, length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (!connection.open)
		return;
	if (fds > 0) {
		struct cmsghdr *c;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * fds);
		c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * fds);
		for (unsigned i = 0; i < fds; i++) {
			int fd = vhost_rig.pool[(client.first_fd + i * client.fd_step) % POOL_SIZE];

			memcpy(CMSG_DATA(c) + i * sizeof(fd), &fd, sizeof(fd));
		}
	}
	if (sendmsg(connection.fd, &message, MSG_NOSIGNAL) < 0)
		FUZZ_TRACE("     cannot be sent: %s", strerror(errno));
	vhost_rig_serve();
	read_answers();
}

/* ---- messages ---- */

static uint32_t compose_memory(const uint8_t a[7], uint64_t payload[40], unsigned *fds)
{
	unsigned count = 1 + a[4] % 8u;
	uint64_t part = (VHOST_RIG_MEMORY / 0x1000 / count) * 0x1000ull;

	*fds = count;
	payload[0] = count;
	for (unsigned i = 0; i < count; i++) {
		payload[1 + 4 * i] = CLIENT_GUEST + i * part;
		payload[2 + 4 * i] = part;
		payload[3 + 4 * i] = CLIENT_USER + i * part;
		payload[4 + 4 * i] = i * part;
	}
	return 8 + 32 * count;
}

static uint32_t compose_slot(const uint8_t a[7], uint64_t payload[40], bool adds, unsigned *fds)
{
	*fds = adds;
	payload[1] = CLIENT_GUEST + (a[4] + 1ull) * VHOST_RIG_MEMORY;
	payload[2] = 0x1000;
	payload[3] = CLIENT_USER + (a[4] + 1ull) * VHOST_RIG_MEMORY;
	payload[4] = 0;
	return 40;
}

static uint32_t compose_ring(const uint8_t a[7], uint64_t payload[40])
{
	uint64_t at = CLIENT_USER + (a[5] % VHOST_RIG_QUEUES) * CLIENT_RING_STEP;

	payload[0] = a[5] % VHOST_RIG_QUEUES;
	payload[1] = at;
	payload[2] = at + CLIENT_USED;
	payload[3] = at + CLIENT_AVAIL;
	return 40;
}

static uint32_t compose_state(const uint8_t a[7], uint64_t payload[40])
{
	uint64_t number = a[0] == VBLK_VHOST_SET_VRING_NUM	? CLIENT_RING_SIZE
			  : a[0] == VBLK_VHOST_SET_VRING_ENABLE ? (a[4] + 1u) % 2
								: a[4];

	payload[0] = a[5] % VHOST_RIG_QUEUES | number << 32;
	return 8;
}

static uint32_t compose_record(const uint8_t a[7], uint64_t payload[40], unsigned *fds)
{
	*fds = a[0] == VBLK_VHOST_SET_INFLIGHT_FD;
	payload[0] =
		VHOST_RIG_QUEUES * vblk_vhost_inflight_stride(a[5] & 1 ? 1024 : CLIENT_RING_SIZE);
	payload[2] = VHOST_RIG_QUEUES | (uint64_t)CLIENT_RING_SIZE << 16;
	return a[4] & 1 ? 20 : 24;
}

/* The size and the descriptors that are right, and a payload that is good for something. */
static uint32_t compose(const uint8_t a[7], uint64_t payload[40], unsigned *fds)
{
	*fds = 0;
	switch (a[0]) {
	case VBLK_VHOST_SET_FEATURES:
		payload[0] = a[4] & 1 ? 1ull << VBLK_VHOST_F_PROTOCOL_FEATURES | 1ull << 32 : 0;
		payload[0] |= a[4] & 2 ? 1ull << VBLK_VHOST_F_LOG_ALL : 0;
		return 8;
	case VBLK_VHOST_SET_PROTOCOL_FEATURES:
		payload[0] = a[4] & 1 ? 0x1b22b : record_u64(a + 5);
		return 8;
	case VBLK_VHOST_SET_STATUS:
		payload[0] = a[5];
		return 8;
	case VBLK_VHOST_SET_MEM_TABLE:
		return compose_memory(a, payload, fds);
	case VBLK_VHOST_SET_LOG_BASE:
		*fds = 1;
		payload[0] = record_u64(a + 5);
		return 16;
	case VBLK_VHOST_SET_VRING_NUM:
	case VBLK_VHOST_SET_VRING_BASE:
	case VBLK_VHOST_GET_VRING_BASE:
	case VBLK_VHOST_SET_VRING_ENABLE:
		return compose_state(a, payload);
	case VBLK_VHOST_SET_VRING_ADDR:
		return compose_ring(a, payload);
	case VBLK_VHOST_SET_VRING_KICK:
	case VBLK_VHOST_SET_VRING_CALL:
	case VBLK_VHOST_SET_VRING_ERR:
		payload[0] = a[5] % VHOST_RIG_QUEUES | (a[4] & 1 ? VBLK_VHOST_RING_FD_NONE : 0);
		*fds = !(a[4] & 1);
		return 8;
	case VBLK_VHOST_GET_CONFIG:
	case VBLK_VHOST_SET_CONFIG:
		payload[0] = a[5] | (a[4] + 1ull) << 32;
		payload[1] = (uint64_t)a[6] << 32;
		return 12 + a[4] + 1u;
	case VBLK_VHOST_SET_INFLIGHT_FD:
	case VBLK_VHOST_GET_INFLIGHT_FD:
		return compose_record(a, payload, fds);
	case VBLK_VHOST_ADD_MEM_REG:
	case VBLK_VHOST_REM_MEM_REG:
		return compose_slot(a, payload, a[0] == VBLK_VHOST_ADD_MEM_REG, fds);
	case VBLK_VHOST_SET_LOG_FD:
	case VBLK_VHOST_SET_BACKEND_REQ_FD:
		*fds = 1;
		return 0;
	default:
		return 0;
	}
}

void client_send(const uint8_t a[7])
{
	struct {
		struct vblk_vhost_header header;
		uint8_t payload[320];
	} message;
	uint64_t payload[40] = { 0 };
	unsigned fds;
	uint32_t right = compose(a, payload, &fds);
	uint32_t size = right + (uint32_t)(int8_t)a[3];

	if (client.patched)
		payload[client.patch_at % COUNT(payload)] += client.patch_by;
	client.patched = false;
	if (a[1])
		fds = (a[1] - 1u) % 12;
	message.header = (struct vblk_vhost_header){ a[0], 1u | (a[2] & 1u) << 3, size };
	if (a[2] & 2)
		message.header.flags ^= 1u << (a[2] >> 2 & 31);
	memcpy(message.payload, payload, sizeof(payload));
	if (size > sizeof(payload))
		size = right;
	FUZZ_TRACE("     %s, %u bytes, %u descriptors", vblk_vhost_request_name(a[0]), size, fds);
	client_send_bytes(&message, sizeof(message.header) + size, fds);
	client.messages++;
}

void client_send_well(uint8_t request, uint8_t detail, uint8_t number, enum pool fd)
{
	const uint8_t a[7] = { request, 0, 0, 0, detail, number };
	uint8_t first = client.first_fd, step = client.fd_step;

	client.first_fd = (uint8_t)fd;
	client.fd_step = 0;
	client_send(a);
	client.first_fd = first;
	client.fd_step = step;
}
