/* SPDX-License-Identifier: MIT */
/*
 * The front end's half of vhost-user. Every request that changes something asks for an answer if
 * the back end can give one: a mistake is then known where it was made.
 */
#include "driver/front.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "base/le.h"
#include "vhost/message.h"

#define PATIENCE_S  10
#define CONFIG_SIZE 36u /* up to num_queues, which all back ends know */

#define WANTED                                                                                    \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |                           \
	 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_BLK_F_FLUSH |                       \
	 1ull << VIRTIO_BLK_F_SIZE_MAX | 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_RO | \
	 1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_MQ |                                \
	 1ull << VBLK_VHOST_F_PROTOCOL_FEATURES)

#define WANTED_PROTOCOL                                                           \
	(1ull << VBLK_VHOST_PROTOCOL_MQ | 1ull << VBLK_VHOST_PROTOCOL_REPLY_ACK | \
	 1ull << VBLK_VHOST_PROTOCOL_CONFIG)

struct front_queue {
	int kick_fd;
	int call_fd;
};

struct front {
	struct vblk_driver_transport base;
	int fd;
	uint64_t features;
	uint64_t protocol;
	unsigned started;
	struct front_queue queue[VBLK_DRIVER_QUEUES_MAX];
};

static struct front *front_of(struct vblk_driver_transport *transport)
{
	return (struct front *)transport;
}

static int send_message(const struct front *front, uint32_t request, uint32_t flags,
			const void *payload, size_t size, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	uint8_t bytes[VBLK_VHOST_MESSAGE_MAX];
	const struct vblk_vhost_header header = { request, VBLK_VHOST_VERSION | flags,
						  (uint32_t)size };
	struct iovec iov = { bytes, sizeof(header) + size };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	memcpy(bytes, &header, sizeof(header));
	if (size > 0)
		memcpy(bytes + sizeof(header), payload, size);
	if (fd >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	do {
		sent = sendmsg(front->fd, &message, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return (size_t)sent == iov.iov_len ? 0 : -EPROTO;
}

static int receive_bytes(const struct front *front, void *bytes, size_t size)
{
	for (size_t got = 0; got < size;) {
		ssize_t n = recv(front->fd, (uint8_t *)bytes + got, size - got, 0);

		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EINTR)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (n > 0)
			got += (size_t)n;
	}
	return 0;
}

/* An answer of exactly `size` bytes. */
static int receive_message(const struct front *front, uint32_t request, void *payload, size_t size)
{
	struct vblk_vhost_header header;
	int ret = receive_bytes(front, &header, sizeof(header));

	if (ret)
		return ret;
	if (header.request != request || !(header.flags & VBLK_VHOST_FLAG_REPLY) ||
	    header.size != size)
		return -EPROTO;
	return receive_bytes(front, payload, size);
}

static int get_u64(const struct front *front, uint32_t request, uint64_t *value)
{
	int ret = send_message(front, request, 0, NULL, 0, -1);

	return ret ? ret : receive_message(front, request, value, sizeof(*value));
}

static int put(const struct front *front, uint32_t request, const void *payload, size_t size,
	       int fd)
{
	const bool acks = front->protocol >> VBLK_VHOST_PROTOCOL_REPLY_ACK & 1;
	uint64_t result = 0;
	int ret = send_message(front, request, acks ? VBLK_VHOST_FLAG_NEED_REPLY : 0, payload, size,
			       fd);

	if (!ret && acks)
		ret = receive_message(front, request, &result, sizeof(result));
	if (ret)
		return ret;
	return result ? -EREMOTEIO : 0;
}

static int put_u64(const struct front *front, uint32_t request, uint64_t value, int fd)
{
	return put(front, request, &value, sizeof(value), fd);
}

static int put_state(const struct front *front, uint32_t request, unsigned queue, uint32_t value)
{
	const struct vhost_vring_state state = { queue, value };

	return put(front, request, &state, sizeof(state), -1);
}

static int share_memory(const struct front *front, int memory_fd, const void *memory, size_t size)
{
	const struct vblk_vhost_memory table = {
		.count = 1,
		.region = { { VBLK_DRIVER_BASE, size, (uintptr_t)memory, 0 } },
	};

	return put(front, VBLK_VHOST_SET_MEM_TABLE, &table, 8 + sizeof(table.region[0]), memory_fd);
}

static int start_queue(const struct front *front, const void *memory, unsigned queue,
		       const struct vblk_driver_place *place)
{
	const uint64_t shift = (uintptr_t)memory - VBLK_DRIVER_BASE;
	const struct vhost_vring_addr address = {
		.index = queue,
		.desc_user_addr = place->desc + shift,
		.used_user_addr = place->used + shift,
		.avail_user_addr = place->avail + shift,
	};
	const struct front_queue *own = &front->queue[queue];
	int ret = put_state(front, VBLK_VHOST_SET_VRING_NUM, queue, place->size);

	if (!ret)
		ret = put_state(front, VBLK_VHOST_SET_VRING_BASE, queue, 0);
	if (!ret)
		ret = put(front, VBLK_VHOST_SET_VRING_ADDR, &address, sizeof(address), -1);
	if (!ret)
		ret = put_u64(front, VBLK_VHOST_SET_VRING_CALL, queue, own->call_fd);
	if (!ret)
		ret = put_u64(front, VBLK_VHOST_SET_VRING_KICK, queue, own->kick_fd);
	if (!ret && front->features >> VBLK_VHOST_F_PROTOCOL_FEATURES & 1)
		ret = put_state(front, VBLK_VHOST_SET_VRING_ENABLE, queue, 1);
	return ret;
}

static int start(struct vblk_driver_transport *transport, int memory_fd, void *memory, size_t size,
		 const struct vblk_driver_place *places, unsigned queues)
{
	struct front *front = front_of(transport);
	int ret = share_memory(front, memory_fd, memory, size);

	for (unsigned i = 0; i < queues && !ret; i++) {
		ret = vblk_eventfd_create(&front->queue[i].kick_fd);
		if (!ret)
			ret = vblk_eventfd_create(&front->queue[i].call_fd);
		if (!ret)
			ret = start_queue(front, memory, i, &places[i]);
		front->started += !ret;
	}
	return ret;
}

static void notify(struct vblk_driver_transport *transport, unsigned queue)
{
	/* A counter cannot fail while its descriptor is open. */
	if (vblk_eventfd_signal(front_of(transport)->queue[queue].kick_fd))
		abort();
}

static int interrupt_fd(const struct vblk_driver_transport *transport, unsigned queue)
{
	return ((const struct front *)transport)->queue[queue].call_fd;
}

static void acknowledge(struct vblk_driver_transport *transport, unsigned queue)
{
	(void)transport;
	(void)queue;
}

static int idle(struct vblk_driver_transport *transport, bool thorough)
{
	struct pollfd pfd = { .fd = front_of(transport)->fd, .events = POLLIN };

	if (thorough && poll(&pfd, 1, 0) > 0)
		return -ECONNRESET;
	return 0;
}

/* GET_VRING_BASE returns when the back end has let go of the queue. */
static void stop_queue(const struct front *front, unsigned queue)
{
	struct vhost_vring_state state = { queue, 0 };

	if (send_message(front, VBLK_VHOST_GET_VRING_BASE, 0, &state, sizeof(state), -1) == 0 &&
	    receive_message(front, VBLK_VHOST_GET_VRING_BASE, &state, sizeof(state)) < 0)
		shutdown(front->fd, SHUT_RDWR);
}

static void close_front(struct vblk_driver_transport *transport)
{
	struct front *front = front_of(transport);

	for (unsigned i = 0; i < front->started; i++)
		stop_queue(front, i);
	for (unsigned i = 0; i < VBLK_DRIVER_QUEUES_MAX; i++) {
		if (front->queue[i].kick_fd >= 0)
			close(front->queue[i].kick_fd);
		if (front->queue[i].call_fd >= 0)
			close(front->queue[i].call_fd);
	}
	close(front->fd);
	free(front);
}

static const struct vblk_driver_ops ops = {
	.start = start,
	.notify = notify,
	.interrupt_fd = interrupt_fd,
	.acknowledge = acknowledge,
	.idle = idle,
	.close = close_front,
};

static int negotiate(struct front *front)
{
	const uint64_t required =
		1ull << VIRTIO_F_VERSION_1 | 1ull << VBLK_VHOST_F_PROTOCOL_FEATURES;
	uint64_t protocol;
	int ret = get_u64(front, VBLK_VHOST_GET_FEATURES, &front->features);

	if (ret)
		return ret;
	front->features &= WANTED;
	if ((front->features & required) != required)
		return -EOPNOTSUPP;
	ret = get_u64(front, VBLK_VHOST_GET_PROTOCOL_FEATURES, &protocol);
	if (ret)
		return ret;
	protocol &= WANTED_PROTOCOL;
	if (!(protocol >> VBLK_VHOST_PROTOCOL_CONFIG & 1))
		return -EOPNOTSUPP;
	ret = put_u64(front, VBLK_VHOST_SET_PROTOCOL_FEATURES, protocol, -1);
	front->protocol = protocol;
	if (!ret)
		ret = put(front, VBLK_VHOST_SET_OWNER, NULL, 0, -1);
	return ret ? ret : put_u64(front, VBLK_VHOST_SET_FEATURES, front->features, -1);
}

static int read_config(struct front *front)
{
	struct vblk_vhost_config config = { .offset = 0, .size = CONFIG_SIZE };
	const size_t size = VBLK_VHOST_CONFIG_HEADER + CONFIG_SIZE;
	struct vblk_driver_traits *traits = &front->base.traits;
	uint64_t queues = 1;
	int ret = send_message(front, VBLK_VHOST_GET_CONFIG, 0, &config, size, -1);

	if (!ret)
		ret = receive_message(front, VBLK_VHOST_GET_CONFIG, &config, size);
	if (!ret && front->protocol >> VBLK_VHOST_PROTOCOL_MQ & 1)
		ret = get_u64(front, VBLK_VHOST_GET_QUEUE_NUM, &queues);
	if (ret)
		return ret;
	if (__builtin_mul_overflow(vblk_le64_get(config.data), (uint64_t)VBLK_SECTOR_SIZE,
				   &traits->capacity_bytes))
		return -EPROTO;
	if (front->features >> VIRTIO_BLK_F_SIZE_MAX & 1)
		traits->size_max = vblk_le32_get(config.data + 8);
	if (front->features >> VIRTIO_BLK_F_SEG_MAX & 1)
		traits->seg_max = vblk_le32_get(config.data + 12);
	traits->block_size = VBLK_SECTOR_SIZE;
	if (front->features >> VIRTIO_BLK_F_BLK_SIZE & 1)
		traits->block_size = vblk_le32_get(config.data + 20);
	if (front->features >> VIRTIO_BLK_F_MQ & 1 && vblk_le16_get(config.data + 34) < queues)
		queues = vblk_le16_get(config.data + 34);
	traits->queues =
		(uint32_t)(queues < VBLK_DRIVER_QUEUES_MAX ? queues : VBLK_DRIVER_QUEUES_MAX);
	traits->queue_size = 1024;
	traits->read_only = front->features >> VIRTIO_BLK_F_RO & 1;
	traits->event_idx = front->features >> VIRTIO_RING_F_EVENT_IDX & 1;
	traits->indirect = front->features >> VIRTIO_RING_F_INDIRECT_DESC & 1;
	traits->flush = front->features >> VIRTIO_BLK_F_FLUSH & 1;
	return 0;
}

static void find_peer(struct front *front)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(front->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0)
		front->base.traits.pid = peer.pid;
}

int vblk_front_adopt(int fd, struct vblk_driver_transport **transport)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	struct front *front = calloc(1, sizeof(*front));
	int ret;

	if (!front) {
		close(fd);
		return -ENOMEM;
	}
	front->base.ops = &ops;
	front->fd = fd;
	for (unsigned i = 0; i < VBLK_DRIVER_QUEUES_MAX; i++)
		front->queue[i] = (struct front_queue){ -1, -1 };
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	find_peer(front);
	ret = negotiate(front);
	if (!ret)
		ret = read_config(front);
	if (ret)
		close_front(&front->base);
	else
		*transport = &front->base;
	return ret;
}

int vblk_front_open(const char *path, struct vblk_driver_transport **transport)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, ret = 0;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		ret = -errno;
	if (!ret)
		return vblk_front_adopt(fd, transport);
	close(fd);
	return ret;
}
