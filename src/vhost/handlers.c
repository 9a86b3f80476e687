/* SPDX-License-Identifier: MIT */
/*
 * What each request of a front end does. The form of a message was judged before it came here
 * (codec.h); what is left is whether it makes sense for this disk, now.
 *
 * A handler that changes what workers stand on stops all rings, makes the change, and starts those
 * that are to be served; a failure to start one is the failure of the request.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "vhost/session.h"

#define HANDLER(name)                                             \
	static int name(struct vblk_vhost_session *session,       \
			const struct vblk_vhost_message *message, \
			struct vblk_vhost_answer *answer, const char **reason)

/* For what a handler has no use for. */
#define UNUSED(a) ((void)(a))

static int ring_at(struct vblk_vhost_session *session, uint32_t index,
		   struct vblk_vhost_ring **ring, const char **reason)
{
	if (index >= session->export->queues) {
		*reason = "there is no ring of that number";
		return -EINVAL;
	}
	*ring = &session->export->ring[index];
	return 0;
}

/* ---- features ---- */

HANDLER(get_features)
{
	UNUSED(message);
	UNUSED(reason);
	answer->u64 = session->terms.features_offered;
	return 0;
}

/* Without protocol features nobody enables rings: they are enabled by themselves. */
static void enable_by_itself(struct vblk_vhost_session *session)
{
	if (session->terms.features >> VBLK_VHOST_F_PROTOCOL_FEATURES & 1)
		return;
	for (uint16_t i = 0; i < session->export->queues; i++)
		session->export->ring[i].enabled = true;
}

/* The driver's choice of features begins a life of the write cache; the log's bit does not. */
HANDLER(set_features)
{
	const uint64_t own = 1ull << VBLK_VHOST_F_PROTOCOL_FEATURES | 1ull << VBLK_VHOST_F_LOG_ALL;
	uint64_t before = session->terms.features;

	UNUSED(answer);
	if (before == message->u64) {
		enable_by_itself(session);
		return vblk_vhost_session_start_rings(session, reason);
	}
	vblk_vhost_session_stop_rings(session);
	session->terms.features = message->u64;
	if ((before ^ message->u64) & ~own)
		vblk_vhost_cache_negotiate(&session->cache, session->export->disk, message->u64,
					   vblk_vhost_session_has_run(session));
	enable_by_itself(session);
	return vblk_vhost_session_start_rings(session, reason);
}

HANDLER(get_protocol_features)
{
	UNUSED(message);
	UNUSED(reason);
	answer->u64 = session->terms.protocol_offered;
	return 0;
}

HANDLER(set_protocol_features)
{
	UNUSED(answer);
	UNUSED(reason);
	session->terms.protocol = message->u64;
	return 0;
}

HANDLER(get_queue_num)
{
	UNUSED(message);
	UNUSED(reason);
	answer->u64 = session->export->queues;
	return 0;
}

/* ---- memory ---- */

HANDLER(get_max_mem_slots)
{
	UNUSED(session);
	UNUSED(message);
	UNUSED(reason);
	answer->u64 = VBLK_VHOST_SLOTS_MAX;
	return 0;
}

/* Behind a change of memory, which may have failed: then it goes on as before. */
static int go_on(struct vblk_vhost_session *session, int ret, const char **reason)
{
	const char *why;
	int started = vblk_vhost_session_start_rings(session, &why);

	if (ret == 0 && started < 0) {
		*reason = why;
		ret = started;
	}
	return ret;
}

HANDLER(set_mem_table)
{
	int ret;

	UNUSED(answer);
	vblk_vhost_session_stop_rings(session);
	ret = vblk_vhost_guest_memory_set(&session->memory, &message->memory, session->channel.fds,
					  reason);
	return go_on(session, ret, reason);
}

HANDLER(add_mem_reg)
{
	int ret;

	UNUSED(answer);
	vblk_vhost_session_stop_rings(session);
	ret = vblk_vhost_guest_memory_add(&session->memory, &message->region,
					  session->channel.fds[0], reason);
	return go_on(session, ret, reason);
}

HANDLER(rem_mem_reg)
{
	int ret;

	UNUSED(answer);
	vblk_vhost_session_stop_rings(session);
	ret = vblk_vhost_guest_memory_remove(&session->memory, &message->region, reason);
	return go_on(session, ret, reason);
}

HANDLER(set_log_base)
{
	struct vblk_vhost_mapping_ref *log;
	int ret;

	if (session->channel.fd_count == 0) {
		*reason = "the log has to come as a file, with LOG_SHMFD negotiated";
		return -EINVAL;
	}
	ret = vblk_vhost_mapping_create(session->channel.fds[0], message->log.offset,
					message->log.size, session->export->account, &log, reason);
	if (ret < 0)
		return ret;
	vblk_vhost_session_stop_rings(session);
	vblk_vhost_mapping_drop(session->log);
	session->log = log;
	session->log_size = message->log.size;
	answer->u64 = 0;
	return go_on(session, 0, reason);
}

/* ---- rings ---- */

/* A ring that is being served keeps its size and place. */
static int stopped_ring_at(struct vblk_vhost_session *session, uint32_t index,
			   struct vblk_vhost_ring **ring, const char **reason)
{
	int ret = ring_at(session, index, ring, reason);

	if (ret == 0 && (*ring)->worker) {
		*reason = "the ring is being served: it has to be stopped first";
		ret = -EBUSY;
	}
	return ret;
}

HANDLER(set_vring_num)
{
	struct vblk_vhost_ring *ring;
	int ret = stopped_ring_at(session, message->state.index, &ring, reason);

	UNUSED(answer);
	if (ret < 0)
		return ret;
	if (message->state.num > VBLK_QUEUE_SIZE_MAX) {
		*reason = "a ring of this disk has at most 1024 entries";
		return -EINVAL;
	}
	ring->size = (uint16_t)message->state.num;
	return 0;
}

HANDLER(set_vring_addr)
{
	struct vblk_vhost_ring *ring;
	int ret = ring_at(session, message->addr.index, &ring, reason);

	UNUSED(answer);
	if (ret < 0)
		return ret;
	vblk_vhost_ring_stop(ring, session->export->stop_timeout_ms);
	ring->addr = message->addr;
	ring->has_addr = true;
	return vblk_vhost_session_start_rings(session, reason);
}

HANDLER(set_vring_base)
{
	struct vblk_vhost_ring *ring;
	int ret = stopped_ring_at(session, message->state.index, &ring, reason);

	UNUSED(answer);
	if (ret < 0)
		return ret;
	vblk_vhost_ring_set_base(ring, (uint16_t)message->state.num);
	if (!ring->has_run && ring->base != 0)
		vblk_vhost_cache_goes_on(&session->cache, session->export->disk,
					 session->terms.features);
	return 0;
}

/* Stops the ring, for good or for a while: it starts again with its next kick. */
HANDLER(get_vring_base)
{
	struct vblk_vhost_ring *ring;
	int ret = ring_at(session, message->state.index, &ring, reason);

	if (ret < 0)
		return ret;
	vblk_vhost_ring_stop(ring, session->export->stop_timeout_ms);
	if (ring->kick_fd >= 0)
		close(ring->kick_fd);
	ring->kick_fd = -1;
	/* What an abandoned worker has answered, nobody knows; a guess would serve it twice. */
	if (!vblk_vhost_ring_knows_base(ring)) {
		*reason = "a worker of this ring hangs in the disk: where it stands is not known";
		return -EIO;
	}
	answer->state.index = message->state.index;
	answer->state.num = ring->base;
	return 0;
}

HANDLER(set_vring_kick)
{
	struct vblk_vhost_ring *ring;
	int ret = ring_at(session, message->ring_fd.index, &ring, reason);

	UNUSED(answer);
	if (ret < 0)
		return ret;
	if (!message->ring_fd.has_fd) {
		*reason = "a ring without a kick would have to be polled: send an eventfd";
		return -ENOTSUP;
	}
	vblk_vhost_ring_stop(ring, session->export->stop_timeout_ms);
	ret = vblk_vhost_ring_set_kick(ring, vblk_vhost_channel_take_fd(&session->channel, 0));
	if (ret < 0) {
		*reason = "the kick is no eventfd";
		return ret;
	}
	return vblk_vhost_session_start_rings(session, reason);
}

static int replace_fd(struct vblk_vhost_session *session, const struct vblk_vhost_message *message,
		      int (*set)(struct vblk_vhost_ring *ring, int fd), const char **reason)
{
	struct vblk_vhost_ring *ring;
	int fd = -1;
	int ret = ring_at(session, message->ring_fd.index, &ring, reason);

	if (ret < 0)
		return ret;
	if (message->ring_fd.has_fd)
		fd = vblk_vhost_channel_take_fd(&session->channel, 0);
	*reason = "the descriptor is no eventfd and no socket";
	return set(ring, fd);
}

HANDLER(set_vring_call)
{
	UNUSED(answer);
	return replace_fd(session, message, vblk_vhost_ring_set_call, reason);
}

HANDLER(set_vring_err)
{
	UNUSED(answer);
	return replace_fd(session, message, vblk_vhost_ring_set_err, reason);
}

HANDLER(set_vring_enable)
{
	struct vblk_vhost_ring *ring;
	int ret = ring_at(session, message->state.index, &ring, reason);

	UNUSED(answer);
	if (ret < 0)
		return ret;
	ring->enabled = message->state.num == 1;
	if (!ring->enabled) {
		vblk_vhost_ring_stop(ring, session->export->stop_timeout_ms);
		return 0;
	}
	return vblk_vhost_session_start_rings(session, reason);
}

/* ---- configuration space ---- */

HANDLER(get_config)
{
	UNUSED(reason);
	vblk_config_read(&session->export->offer, message->config.offset, answer->config,
			 message->config.size);
	return 0;
}

HANDLER(set_config)
{
	const struct vblk_vhost_config *config = &message->config;

	UNUSED(answer);
	UNUSED(reason);
	if (config->size == 1)
		vblk_vhost_cache_write(&session->cache, session->export->disk,
				       session->terms.features, config->offset, config->data[0]);
	return 0;
}

HANDLER(set_backend_req_fd)
{
	UNUSED(message);
	UNUSED(answer);
	UNUSED(reason);
	vblk_vhost_session_close_backend(session);
	vblk_vhost_channel_open(&session->backend, vblk_vhost_channel_take_fd(&session->channel, 0),
				VBLK_VHOST_REPLIES_ONLY);
	return 0;
}

/* ---- the record of requests in flight ---- */

/*
 * Front ends ask for a record by the size of queue that they think of, and on some transports the
 * driver then makes a longer one (QEMU's virtio-mmio lets it). So a record of ours has room for the
 * longest ring in each of its areas, and a note behind them; by its size we know it again.
 */
static uint64_t areas_of(uint16_t queues)
{
	return queues * vblk_vhost_inflight_stride(VBLK_QUEUE_SIZE_MAX);
}

static uint64_t record_of(uint16_t queues)
{
	return areas_of(queues) + sizeof(struct vblk_vhost_note);
}

static uint16_t room_of(const struct vblk_vhost_inflight_area *area)
{
	return area->size == record_of(area->queues) ? VBLK_QUEUE_SIZE_MAX : area->queue_size;
}

/* NULL if the record is not ours, or not any more: this thread writes to nothing that may shrink.
 */
static struct vblk_vhost_note *note_of(int fd, const struct vblk_vhost_inflight_area *area,
				       struct vblk_vhost_mapping_ref *mapping)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (area->size != record_of(area->queues) || seals < 0 || !(seals & F_SEAL_SHRINK))
		return NULL;
	return (void *)((uint8_t *)vblk_vhost_mapping_at(mapping) + areas_of(area->queues));
}

static int use_inflight(struct vblk_vhost_session *session, int fd,
			const struct vblk_vhost_inflight_area *area, const char **reason)
{
	struct vblk_vhost_mapping_ref *mapping;
	int ret;

	ret = vblk_vhost_mapping_create(fd, area->offset, area->size, session->export->account,
					&mapping, reason);
	if (ret < 0)
		return ret;
	vblk_vhost_session_stop_rings(session);
	vblk_vhost_mapping_drop(session->inflight);
	session->inflight = mapping;
	session->inflight_queues = area->queues;
	session->inflight_size = room_of(area);
	vblk_vhost_cache_take_record(&session->cache, session->export->disk,
				     session->terms.features, vblk_vhost_session_has_run(session),
				     note_of(fd, area, mapping));
	return go_on(session, 0, reason);
}

/* A new record: all zeros, which a ring takes for an area to be formatted. */
HANDLER(get_inflight_fd)
{
	struct vblk_vhost_inflight_area area = message->inflight;
	int fd, ret = 0;

	UNUSED(session);
	if (area.queues > session->export->queues || area.queue_size > VBLK_QUEUE_SIZE_MAX) {
		*reason = "the record is for more queues, or longer ones, than the disk has";
		return -EINVAL;
	}
	area.offset = 0;
	area.size = record_of(area.queues);
	*reason = "no memory for the record";
	fd = memfd_create("vblk-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)area.size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		ret = -errno;
	if (ret < 0) {
		close(fd);
		return ret;
	}
	answer->inflight = area;
	answer->fd = fd;
	return 0;
}

HANDLER(set_inflight_fd)
{
	const struct vblk_vhost_inflight_area *area = &message->inflight;

	UNUSED(answer);
	if (area->queues > session->export->queues || area->queue_size > VBLK_QUEUE_SIZE_MAX) {
		*reason = "the record is for more queues, or longer ones, than the disk has";
		return -EINVAL;
	}
	if (area->size < area->queues * vblk_vhost_inflight_stride(area->queue_size) ||
	    area->offset % VBLK_VHOST_INFLIGHT_ALIGN != 0) {
		*reason = "the record is too small for its queues, or not aligned to 64 bytes";
		return -EINVAL;
	}
	return use_inflight(session, session->channel.fds[0], area, reason);
}

/* ---- the whole device ---- */

static void reset_device(struct vblk_vhost_session *session)
{
	vblk_vhost_session_stop_rings(session);
	for (uint16_t i = 0; i < session->export->queues; i++)
		vblk_vhost_ring_reset(&session->export->ring[i]);
	/* The record speaks of rings that are no more; a front end sends it again, or a new one. */
	vblk_vhost_mapping_drop(session->inflight);
	session->inflight = NULL;
	session->status = 0;
	vblk_vhost_session_begin_device(session);
	enable_by_itself(session);
}

HANDLER(reset)
{
	UNUSED(message);
	UNUSED(answer);
	UNUSED(reason);
	reset_device(session);
	return 0;
}

HANDLER(set_status)
{
	UNUSED(answer);
	UNUSED(reason);
	if (message->u64 == 0)
		reset_device(session);
	else
		session->status = (uint8_t)message->u64;
	return 0;
}

HANDLER(get_status)
{
	const struct vblk_vhost_export *export = session->export;

	UNUSED(message);
	UNUSED(reason);
	answer->u64 = session->status;
	for (uint16_t i = 0; i < export->queues; i++)
		answer->u64 |= atomic_load_explicit(&export->ring[i].port->device_status,
						    memory_order_acquire) &
			       VIRTIO_CONFIG_S_NEEDS_RESET;
	return 0;
}

/* SET_OWNER and SET_LOG_FD change nothing: there is one owner, and nobody waits for our log. */
static const vblk_vhost_handler handlers[VBLK_VHOST_REQUESTS] = {
	[VBLK_VHOST_GET_FEATURES] = get_features,
	[VBLK_VHOST_SET_FEATURES] = set_features,
	[VBLK_VHOST_RESET_OWNER] = reset,
	[VBLK_VHOST_SET_MEM_TABLE] = set_mem_table,
	[VBLK_VHOST_SET_LOG_BASE] = set_log_base,
	[VBLK_VHOST_SET_VRING_NUM] = set_vring_num,
	[VBLK_VHOST_SET_VRING_ADDR] = set_vring_addr,
	[VBLK_VHOST_SET_VRING_BASE] = set_vring_base,
	[VBLK_VHOST_GET_VRING_BASE] = get_vring_base,
	[VBLK_VHOST_SET_VRING_KICK] = set_vring_kick,
	[VBLK_VHOST_SET_VRING_CALL] = set_vring_call,
	[VBLK_VHOST_SET_VRING_ERR] = set_vring_err,
	[VBLK_VHOST_GET_PROTOCOL_FEATURES] = get_protocol_features,
	[VBLK_VHOST_SET_PROTOCOL_FEATURES] = set_protocol_features,
	[VBLK_VHOST_GET_QUEUE_NUM] = get_queue_num,
	[VBLK_VHOST_SET_VRING_ENABLE] = set_vring_enable,
	[VBLK_VHOST_SET_BACKEND_REQ_FD] = set_backend_req_fd,
	[VBLK_VHOST_GET_CONFIG] = get_config,
	[VBLK_VHOST_SET_CONFIG] = set_config,
	[VBLK_VHOST_GET_INFLIGHT_FD] = get_inflight_fd,
	[VBLK_VHOST_SET_INFLIGHT_FD] = set_inflight_fd,
	[VBLK_VHOST_RESET_DEVICE] = reset,
	[VBLK_VHOST_GET_MAX_MEM_SLOTS] = get_max_mem_slots,
	[VBLK_VHOST_ADD_MEM_REG] = add_mem_reg,
	[VBLK_VHOST_REM_MEM_REG] = rem_mem_reg,
	[VBLK_VHOST_SET_STATUS] = set_status,
	[VBLK_VHOST_GET_STATUS] = get_status,
};

vblk_vhost_handler vblk_vhost_handler_of(uint32_t request)
{
	return request < VBLK_ARRAY_SIZE(handlers) ? handlers[request] : NULL;
}
