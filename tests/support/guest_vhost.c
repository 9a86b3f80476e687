/* SPDX-License-Identifier: MIT */
/*
 * A mock guest over vhost-user.
 *
 * There is no inline engine behind this transport, but most tests of requests are written for one:
 * they notify, and look. So for a guest whose options say inline, whatever may have a worker serve
 * the ring returns when the worker has done all it can (settle): it has taken the notification and
 * sleeps in epoll again. A worker that waits for tokens does so too; guest_run() has it look at
 * them again, by limits that change to what they are.
 *
 * Each life of a ring begins with an interrupt that nothing has caused (request/reopen.c). It is
 * left out of what tests see.
 */
#include "guest_transport.h"
#include "process.h"
#include "vhost_front.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/eventfd.h"
#include "request/disk.h"

struct guest_vhost {
	struct front_host host;
	struct front front; /* its messages only: memory and rings are the guest's */
	int kick_fd;
	int call_fd;
	int err_fd;
	int backend_fd;
	bool queue_set; /* it is enabled at DRIVER_OK */
	bool running;
	uint64_t lives;	     /* how often the ring was started */
	uint64_t beginnings; /* their interrupts that have not been taken yet */
	uint32_t causes;     /* VIRTIO_MMIO_INT_* since the driver has acknowledged them */
};

static bool must_settle(const struct guest *guest)
{
	return guest->options.device.engine == VBLK_ENGINE_INLINE && guest->vhost->running;
}

static bool is_at_rest(void *context)
{
	const struct guest *guest = context;

	return vblk_vhost_server_is_at_rest(guest->vhost->host.server);
}

static bool has_settled(void *context)
{
	const struct guest *guest = context;
	struct pollfd kick = { .fd = guest->vhost->kick_fd, .events = POLLIN };
	char name[32];

	snprintf(name, sizeof(name), "vblk%u/0", guest_instance(guest));
	return poll(&kick, 1, 0) == 0 && process_thread_waits(name);
}

static void settle(struct guest *guest)
{
	bool paused = vblk_vhost_server_is_paused(guest->vhost->host.server);

	if (must_settle(guest))
		assert_true(process_wait(paused ? is_at_rest : has_settled, guest));
}

/* ---- messages ---- */

static void put(struct guest *guest, uint32_t request, uint64_t value)
{
	assert_int_equal(front_put_u64(&guest->vhost->front, request, value), 0);
}

static void put_state(struct guest *guest, uint32_t request, uint32_t num)
{
	assert_int_equal(front_put_state(&guest->vhost->front, request, 0, num), 0);
}

static void put_ring_fd(struct guest *guest, uint32_t request, int fd)
{
	assert_int_equal(front_put_ring_fd(&guest->vhost->front, request, 0, fd), 0);
}

/* ---- from beginning to end ---- */

static void open_backend_channel(struct guest_vhost *vhost)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(
		front_put(&vhost->front, VBLK_VHOST_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
	close(pair[1]);
	vhost->backend_fd = pair[0];
}

/* What a front end says before its driver says anything. */
static void introduce(struct guest_vhost *vhost)
{
	uint64_t protocol = front_get(&vhost->front, VBLK_VHOST_GET_PROTOCOL_FEATURES);

	front_put_u64(&vhost->front, VBLK_VHOST_SET_PROTOCOL_FEATURES, protocol);
	assert_true(protocol >> VBLK_VHOST_PROTOCOL_REPLY_ACK & 1);
	vhost->front.acks = true;
	assert_int_equal(front_put(&vhost->front, VBLK_VHOST_SET_OWNER, NULL, 0, NULL, 0), 0);
	open_backend_channel(vhost);
}

static void vhost_create(struct guest *guest, const struct vblk_device_options *options)
{
	struct vblk_vhost_server_options server = { .device = *options };
	struct guest_vhost *vhost = calloc(1, sizeof(*vhost));

	assert_non_null(vhost);
	guest->vhost = vhost;
	/* An inline engine does not linger, and a worker would until a clock goes on that stands.
	 */
	if (options->engine == VBLK_ENGINE_INLINE)
		server.device.poll_us = VBLK_POLL_NEVER;
	assert_int_equal(vblk_eventfd_create(&vhost->kick_fd), 0);
	assert_int_equal(vblk_eventfd_create(&vhost->call_fd), 0);
	assert_int_equal(vblk_eventfd_create(&vhost->err_fd), 0);
	front_host_start(&vhost->host, &server, vblk_backing_ref(guest->backing));
	front_reconnect(&vhost->front, &vhost->host);
	introduce(vhost);
	guest_clear_log(guest); /* of its connection */
}

static void vhost_destroy(struct guest *guest)
{
	struct guest_vhost *vhost = guest->vhost;

	front_host_stop(&vhost->host);
	close(vhost->front.fd);
	close(vhost->backend_fd);
	close(vhost->err_fd);
	close(vhost->call_fd);
	close(vhost->kick_fd);
	free(vhost);
	guest->vhost = NULL;
}

/* The addresses of a front end are those of its own mappings, as it likes to have them. */
static uint64_t user_of(struct guest *guest, uint64_t address)
{
	return (uintptr_t)guest_at(guest, address);
}

static int vhost_bind_memory(struct guest *guest)
{
	const struct guest_ram *ram = guest->ram;
	struct vblk_vhost_memory memory = { .count = (uint32_t)ram->region_count };
	int fds[GUEST_REGIONS_MAX];
	uint64_t error;

	for (size_t i = 0; i < ram->region_count; i++) {
		memory.region[i] = (struct vblk_vhost_region){
			.guest = ram->region[i].at.address,
			.size = ram->region[i].at.length,
			.user = (uintptr_t)ram->region[i].host,
			.offset = ram->region[i].offset,
		};
		fds[i] = ram->region[i].fd;
	}
	error = front_put(&guest->vhost->front, VBLK_VHOST_SET_MEM_TABLE, &memory,
			  8 + ram->region_count * sizeof(memory.region[0]), fds,
			  (unsigned)ram->region_count);
	settle(guest);
	return -(int)error;
}

static struct vblk_disk *vhost_disk(const struct guest *guest)
{
	return vblk_vhost_server_disk(guest->vhost->host.server);
}

/* ---- the driver ---- */

/* Less what is the front end's own and no driver sees. */
static uint64_t vhost_offered(struct guest *guest)
{
	return front_get(&guest->vhost->front, VBLK_VHOST_GET_FEATURES) &
	       ~(1ull << VBLK_VHOST_F_PROTOCOL_FEATURES | 1ull << VBLK_VHOST_F_LOG_ALL);
}

static void vhost_accept(struct guest *guest, uint64_t features)
{
	put(guest, VBLK_VHOST_SET_FEATURES, features | 1ull << VBLK_VHOST_F_PROTOCOL_FEATURES);
}

static void vhost_set_queue(struct guest *guest)
{
	struct guest_vhost *vhost = guest->vhost;
	const struct vhost_vring_addr addr = {
		.desc_user_addr = user_of(guest, guest->options.desc),
		.avail_user_addr = user_of(guest, guest->options.avail),
		.used_user_addr = user_of(guest, guest->options.used),
	};

	put_state(guest, VBLK_VHOST_SET_VRING_NUM, guest->options.queue_size);
	put_state(guest, VBLK_VHOST_SET_VRING_BASE, 0);
	assert_int_equal(
		front_put(&vhost->front, VBLK_VHOST_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0),
		0);
	put_ring_fd(guest, VBLK_VHOST_SET_VRING_CALL, vhost->call_fd);
	put_ring_fd(guest, VBLK_VHOST_SET_VRING_ERR, vhost->err_fd);
	put_ring_fd(guest, VBLK_VHOST_SET_VRING_KICK, vhost->kick_fd);
	vhost->queue_set = true;
}

static uint32_t vhost_status(struct guest *guest)
{
	return (uint32_t)front_get(&guest->vhost->front, VBLK_VHOST_GET_STATUS);
}

static void forget_interrupts(struct guest_vhost *vhost)
{
	vblk_eventfd_clear(vhost->call_fd);
	vblk_eventfd_clear(vhost->err_fd);
	vhost->beginnings = 0;
	vhost->causes = 0;
}

static void vhost_set_status(struct guest *guest, uint32_t value)
{
	struct guest_vhost *vhost = guest->vhost;

	put(guest, VBLK_VHOST_SET_STATUS, value);
	if (value == 0) {
		vhost->queue_set = false;
		vhost->running = false;
		forget_interrupts(vhost);
	} else if (value & VIRTIO_CONFIG_S_DRIVER_OK && vhost->queue_set && !vhost->running) {
		vhost->running = true;
		vhost->lives++;
		vhost->beginnings++;
		put_state(guest, VBLK_VHOST_SET_VRING_ENABLE, 1);
		settle(guest);
	}
}

static void vhost_kick(struct guest *guest)
{
	assert_int_equal(vblk_eventfd_signal(guest->vhost->kick_fd), 0);
	settle(guest);
}

static int vhost_kick_fd(const struct guest *guest)
{
	return guest->vhost->kick_fd;
}

static void vhost_read_config(struct guest *guest, uint32_t offset, void *data, uint32_t size)
{
	const struct vblk_vhost_header header = { VBLK_VHOST_GET_CONFIG, VBLK_VHOST_VERSION,
						  (uint32_t)VBLK_VHOST_CONFIG_HEADER + size };
	struct vblk_vhost_config config = { .offset = offset, .size = size };
	struct vblk_vhost_header reply;
	int fd;

	front_send(&guest->vhost->front, &header, &config, header.size, NULL, 0);
	assert_int_equal(front_receive(&guest->vhost->front, &reply, &config, sizeof(config), &fd),
			 header.size);
	memcpy(data, config.data, size);
}

static void vhost_write_config(struct guest *guest, uint32_t offset, uint8_t value)
{
	const struct vblk_vhost_config config = { .offset = offset, .size = 1, .data = { value } };

	assert_int_equal(front_put(&guest->vhost->front, VBLK_VHOST_SET_CONFIG, &config,
				   VBLK_VHOST_CONFIG_HEADER + 1, NULL, 0),
			 0);
}

static int vhost_interrupt_fd(const struct guest *guest)
{
	return guest->vhost->call_fd;
}

/* A driver that does not run has no interrupt, and is not told. */
static uint64_t take_config_changes(struct guest_vhost *vhost)
{
	struct vblk_vhost_header header;
	uint64_t count = 0;

	while (recv(vhost->backend_fd, &header, sizeof(header), MSG_DONTWAIT) == sizeof(header)) {
		assert_int_equal(header.request, VBLK_VHOST_BACKEND_CONFIG_CHANGE_MSG);
		count += vhost->running;
	}
	return count;
}

/* The end of a queue is announced by both descriptors, of which call is the interrupt. */
static uint64_t vhost_take_interrupts(struct guest *guest)
{
	struct guest_vhost *vhost = guest->vhost;
	uint64_t calls = vblk_eventfd_clear(vhost->call_fd);
	uint64_t errors = vblk_eventfd_clear(vhost->err_fd);
	uint64_t changes = take_config_changes(vhost);
	uint64_t beginnings = calls < vhost->beginnings ? calls : vhost->beginnings;

	calls -= beginnings;
	vhost->beginnings -= beginnings;
	if (calls > errors)
		vhost->causes |= VIRTIO_MMIO_INT_VRING;
	if (errors + changes > 0)
		vhost->causes |= VIRTIO_MMIO_INT_CONFIG;
	return calls + changes;
}

/* Of the interrupts that were taken. */
static uint32_t vhost_interrupt_status(struct guest *guest)
{
	return guest->vhost->causes;
}

static void vhost_acknowledge(struct guest *guest, uint32_t causes)
{
	guest->vhost->causes &= ~causes;
}

static uint64_t vhost_own_interrupts(const struct guest *guest)
{
	return guest->vhost->lives;
}

/* ---- the owner ---- */

static bool vhost_pause(struct guest *guest)
{
	return vblk_vhost_server_pause(guest->vhost->host.server) > 0;
}

static bool vhost_resume(struct guest *guest)
{
	vblk_vhost_server_resume(guest->vhost->host.server);
	settle(guest);
	return guest->vhost->running;
}

static bool vhost_is_paused(const struct guest *guest)
{
	return vblk_vhost_server_is_at_rest(guest->vhost->host.server);
}

static int vhost_wait_paused(struct guest *guest, uint32_t timeout_ms)
{
	if (timeout_ms >= 1000)
		return process_wait(is_at_rest, guest) ? 0 : -ETIMEDOUT;
	return is_at_rest(guest) ? 0 : -ETIMEDOUT;
}

static int vhost_set_parked_fd(struct guest *guest, int fd)
{
	return vblk_vhost_server_set_parked_fd(guest->vhost->host.server, fd);
}

static int vhost_set_throttle(struct guest *guest, const struct vblk_throttle *throttle)
{
	int ret = vblk_vhost_server_set_throttle(guest->vhost->host.server, throttle);

	settle(guest);
	return ret;
}

static int vhost_resize(struct guest *guest, uint64_t capacity_bytes, uint32_t flags)
{
	struct front_host *host = &guest->vhost->host;
	int ret;

	if (flags & ~VBLK_RESIZE_SHRINK)
		return -EINVAL; /* there are no flags, so no unknown ones */
	ret = vblk_vhost_server_resize(host->server, capacity_bytes, flags != 0);
	front_host_serve(host);
	return ret;
}

static void vhost_run(struct guest *guest)
{
	struct vblk_throttle limits;

	vblk_throttle_group_get(vhost_disk(guest)->throttle, &limits);
	assert_int_equal(vhost_set_throttle(guest, &limits), 0);
}

static void vhost_restart(struct guest *guest)
{
	struct guest_vhost *vhost = guest->vhost;
	uint32_t base = front_get_base(&vhost->front, 0);

	vhost->running = false;
	assert_int_equal(vhost_bind_memory(guest), 0);
	put_state(guest, VBLK_VHOST_SET_VRING_BASE, base);
	vhost->running = true;
	vhost->lives++;
	vhost->beginnings++;
	put_ring_fd(guest, VBLK_VHOST_SET_VRING_KICK, vhost->kick_fd);
	settle(guest);
}

const struct guest_transport guest_vhost = {
	.create = vhost_create,
	.destroy = vhost_destroy,
	.bind_memory = vhost_bind_memory,
	.disk = vhost_disk,
	.offered = vhost_offered,
	.accept = vhost_accept,
	.set_queue = vhost_set_queue,
	.status = vhost_status,
	.set_status = vhost_set_status,
	.kick = vhost_kick,
	.kick_fd = vhost_kick_fd,
	.read_config = vhost_read_config,
	.write_config = vhost_write_config,
	.interrupt_fd = vhost_interrupt_fd,
	.take_interrupts = vhost_take_interrupts,
	.interrupt_status = vhost_interrupt_status,
	.acknowledge = vhost_acknowledge,
	.own_interrupts = vhost_own_interrupts,
	.pause = vhost_pause,
	.resume = vhost_resume,
	.is_paused = vhost_is_paused,
	.wait_paused = vhost_wait_paused,
	.set_parked_fd = vhost_set_parked_fd,
	.set_throttle = vhost_set_throttle,
	.resize = vhost_resize,
	.run = vhost_run,
	.restart = vhost_restart,
};
