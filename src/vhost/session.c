/* SPDX-License-Identifier: MIT */
/* A connection: reading messages, having them served, answering. */
#include "vhost/session.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/log.h"

/* What every export can do; MQ is said by the number of queues. */
#define PROTOCOL_FEATURES                                                                  \
	(1ull << VBLK_VHOST_PROTOCOL_MQ | 1ull << VBLK_VHOST_PROTOCOL_LOG_SHMFD |          \
	 1ull << VBLK_VHOST_PROTOCOL_REPLY_ACK | 1ull << VBLK_VHOST_PROTOCOL_BACKEND_REQ | \
	 1ull << VBLK_VHOST_PROTOCOL_CONFIG | 1ull << VBLK_VHOST_PROTOCOL_INFLIGHT_SHMFD | \
	 1ull << VBLK_VHOST_PROTOCOL_RESET_DEVICE |                                        \
	 1ull << VBLK_VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS | 1ull << VBLK_VHOST_PROTOCOL_STATUS)

int vblk_vhost_session_open(struct vblk_vhost_session *session, struct vblk_vhost_export *export,
			    int fd)
{
	int ret = 0;

	memset(session, 0, sizeof(*session));
	session->export = export;
	vblk_vhost_channel_open(&session->channel, fd, VBLK_VHOST_REQUESTS_ONLY);
	vblk_vhost_channel_open(&session->backend, -1, VBLK_VHOST_REPLIES_ONLY);
	vblk_vhost_guest_memory_init(&session->memory, export->account);
	session->terms.features_offered = vblk_features_offered(&export->offer) |
					  1ull << VBLK_VHOST_F_PROTOCOL_FEATURES |
					  1ull << VBLK_VHOST_F_LOG_ALL;
	session->terms.protocol_offered = PROTOCOL_FEATURES;
	for (uint16_t i = 0; i < export->queues && ret == 0; i++)
		ret = vblk_vhost_ring_open(&export->ring[i], export->disk);
	vblk_vhost_session_begin_device(session);
	if (ret < 0)
		vblk_vhost_session_close(session);
	return ret;
}

void vblk_vhost_session_begin_device(struct vblk_vhost_session *session)
{
	struct vblk_disk *disk = session->export->disk;

	session->terms.features &= 1ull << VBLK_VHOST_F_PROTOCOL_FEATURES;
	vblk_vhost_cache_begin(&session->cache, disk, session->terms.features);
	/* As a reset does through any other transport. */
	vblk_throttle_group_refill(disk->throttle);
}

bool vblk_vhost_session_has_run(const struct vblk_vhost_session *session)
{
	bool has_run = false;

	for (uint16_t i = 0; i < session->export->queues; i++)
		has_run = has_run || session->export->ring[i].has_run;
	return has_run;
}

/* All are told before any is waited for: they end while the slowest does. */
static void stop_rings_within(struct vblk_vhost_session *session, uint32_t timeout_ms)
{
	struct vblk_vhost_export *export = session->export;
	uint64_t deadline_ns =
		vblk_min_u64(vblk_clock_in_ms(timeout_ms), atomic_load(&export->deadline_ns));

	for (uint16_t i = 0; i < export->queues; i++)
		vblk_vhost_ring_ask_to_stop(&export->ring[i]);
	for (uint16_t i = 0; i < export->queues; i++)
		vblk_vhost_ring_stop(&export->ring[i], vblk_clock_ms_until(deadline_ns));
}

static void close_within(struct vblk_vhost_session *session, uint32_t timeout_ms)
{
	struct vblk_vhost_export *export = session->export;

	stop_rings_within(session, timeout_ms);
	for (uint16_t i = 0; i < export->queues; i++)
		vblk_vhost_ring_close(&export->ring[i]);
	vblk_vhost_guest_memory_clear(&session->memory);
	vblk_vhost_mapping_drop(session->log);
	vblk_vhost_mapping_drop(session->inflight);
	session->log = NULL;
	session->inflight = NULL;
	vblk_vhost_session_close_backend(session);
	vblk_vhost_channel_close(&session->channel);
}

void vblk_vhost_session_close(struct vblk_vhost_session *session)
{
	close_within(session, session->export->stop_timeout_ms);
}

void vblk_vhost_session_leave(struct vblk_vhost_session *session)
{
	uint32_t patience_ms = session->export->stop_timeout_ms;

	if (patience_ms > VBLK_VHOST_LEAVE_MS)
		patience_ms = VBLK_VHOST_LEAVE_MS;
	close_within(session, patience_ms);
}

void vblk_vhost_session_close_backend(struct vblk_vhost_session *session)
{
	const struct vblk_vhost_export *export = session->export;

	if (session->backend.fd >= 0 && export->backend_closing)
		export->backend_closing(export->backend_context, session->backend.fd);
	vblk_vhost_channel_close(&session->backend);
}

void vblk_vhost_session_stop_rings(struct vblk_vhost_session *session)
{
	stop_rings_within(session, session->export->stop_timeout_ms);
}

int vblk_vhost_session_start_rings(struct vblk_vhost_session *session, const char **reason)
{
	struct vblk_vhost_export *export = session->export;
	const struct vblk_vhost_ring_env env = {
		.disk = export->disk,
		.memory = session->memory.map,
		.regions = &session->memory.regions,
		.features = session->terms.features,
		.log = session->log,
		.log_size = session->log_size,
		.inflight = session->inflight,
		.inflight_queues = session->inflight_queues,
		.inflight_size = session->inflight_size,
		.host = export->host,
		.event_fd = export->event_fd,
	};
	int ret = 0;

	/* One that cannot be served is no reason not to serve the others. */
	*reason = NULL;
	for (uint16_t i = 0; i < export->queues; i++) {
		const char *why;
		int one = vblk_vhost_ring_start(&export->ring[i], &env, &why);

		if (one < 0 && ret == 0) {
			ret = one;
			*reason = why;
		}
	}
	return ret;
}

void vblk_vhost_session_go_on(struct vblk_vhost_session *session)
{
	const struct vblk_disk *disk = session->export->disk;
	const char *reason;
	int ret = vblk_vhost_session_start_rings(session, &reason);

	/* No request failed by it, so there is nobody to tell; the next one tries again. */
	if (ret < 0)
		vblk_log_emit_limited(&disk->log, &session->export->log_limit,
				      vblk_clock_now(&disk->clock), VBLK_LOG_WARN, reason,
				      VBLK_FIELD_UINT("instance", disk->instance),
				      VBLK_FIELD_INT("error", ret));
}

static void complain(struct vblk_vhost_session *session, uint32_t request, int error,
		     const char *reason)
{
	const struct vblk_disk *disk = session->export->disk;

	vblk_log_emit_limited(&disk->log, &session->export->log_limit, vblk_clock_now(&disk->clock),
			      VBLK_LOG_WARN, reason ? reason : "cannot be served",
			      VBLK_FIELD_UINT("instance", disk->instance),
			      VBLK_FIELD_STR("request", vblk_vhost_request_name(request)),
			      VBLK_FIELD_UINT("number", request), VBLK_FIELD_INT("error", error));
}

/* Puts the reply into a frame. Returns false if none is to be sent. */
static bool encode_reply(const struct vblk_vhost_session *session,
			 const struct vblk_vhost_header *header,
			 const struct vblk_vhost_message *message, int error,
			 const struct vblk_vhost_answer *answer, struct vblk_vhost_frame *frame)
{
	uint32_t request = header->request;

	switch (vblk_vhost_reply_to(header, session->terms.protocol)) {
	case VBLK_VHOST_REPLY_NONE:
	case VBLK_VHOST_REPLY_FOREIGN:
		return false;
	case VBLK_VHOST_REPLY_ACK:
		vblk_vhost_encode_ack(frame, request, error);
		return true;
	case VBLK_VHOST_REPLY_U64:
		vblk_vhost_encode_u64(frame, request, answer->u64);
		return true;
	case VBLK_VHOST_REPLY_STATE:
		vblk_vhost_encode_state(frame, request, answer->state.index, answer->state.num);
		return true;
	case VBLK_VHOST_REPLY_CONFIG:
		vblk_vhost_encode_config(frame, message, error < 0 ? NULL : answer->config);
		return true;
	case VBLK_VHOST_REPLY_INFLIGHT:
		vblk_vhost_encode_inflight(frame, message, &answer->inflight);
		return true;
	}
	return false;
}

/*
 * Whether the front end can be told that its request failed, and the connection go on. An answer
 * that has no room for an error leaves only the end of the connection.
 */
static bool can_refuse(const struct vblk_vhost_session *session,
		       const struct vblk_vhost_header *header)
{
	switch (vblk_vhost_reply_to(header, session->terms.protocol)) {
	case VBLK_VHOST_REPLY_ACK:
	case VBLK_VHOST_REPLY_CONFIG:
	case VBLK_VHOST_REPLY_INFLIGHT:
		return true;
	default:
		return false;
	}
}

/* A front end that has gone needs no line; one that is there and does not read does. */
static int send_reply(struct vblk_vhost_session *session, const struct vblk_vhost_frame *frame,
		      int fd)
{
	int ret = vblk_vhost_channel_send(&session->channel, frame, fd);

	if (ret == -EPIPE)
		ret = -ECONNRESET;
	if (ret < 0 && ret != -ECONNRESET)
		complain(session, session->channel.assembler.header.request, ret,
			 "the answer cannot be sent: the front end does not read");
	return ret;
}

static int serve_message(struct vblk_vhost_session *session)
{
	const struct vblk_vhost_header *header = &session->channel.assembler.header;
	struct vblk_vhost_answer answer = { .fd = -1 };
	struct vblk_vhost_message message;
	struct vblk_vhost_frame frame;
	const char *reason = NULL;
	vblk_vhost_handler handler;
	int error, ret = 0;

	error = vblk_vhost_decode(header, vblk_vhost_assembler_payload(&session->channel.assembler),
				  session->channel.fd_count, &session->terms, &message, &reason);
	if (error == 0) {
		handler = vblk_vhost_handler_of(header->request);
		if (handler)
			error = handler(session, &message, &answer, &reason);
	}
	if (error < 0) {
		complain(session, header->request, error, reason);
		if (error == -EPROTO || !can_refuse(session, header))
			return error;
	}
	if (encode_reply(session, header, &message, error, &answer, &frame))
		ret = send_reply(session, &frame, answer.fd);
	if (answer.fd >= 0)
		close(answer.fd);
	return ret;
}

int vblk_vhost_session_serve(struct vblk_vhost_session *session)
{
	const char *reason;
	int ret = vblk_vhost_channel_read(&session->channel, &reason);

	if (ret == 0 || ret == -ECONNRESET)
		return ret;
	if (ret < 0) {
		complain(session, session->channel.assembler.header.request, ret, reason);
		return ret;
	}
	ret = serve_message(session);
	vblk_vhost_channel_next(&session->channel);
	return ret;
}

int vblk_vhost_session_serve_backend(struct vblk_vhost_session *session)
{
	const char *reason;
	int ret = vblk_vhost_channel_read(&session->backend, &reason);

	/* Only CONFIG_CHANGE_MSG is ever sent, and without a wish for an answer. */
	if (ret > 0)
		vblk_vhost_channel_next(&session->backend);
	else if (ret < 0)
		vblk_vhost_session_close_backend(session);
	return ret < 0 ? ret : 0;
}

void vblk_vhost_session_announce(struct vblk_vhost_session *session)
{
	struct vblk_vhost_frame frame;
	int ret;

	if (session->backend.fd < 0 || !(session->terms.protocol >> VBLK_VHOST_PROTOCOL_CONFIG & 1))
		return;
	vblk_vhost_encode_request(&frame, VBLK_VHOST_BACKEND_CONFIG_CHANGE_MSG, false);
	ret = vblk_vhost_channel_send(&session->backend, &frame, -1);
	if (ret == 0)
		return;
	vblk_log_emit(&session->export->disk->log, VBLK_LOG_WARN,
		      "front end cannot be told of a changed configuration",
		      VBLK_FIELD_UINT("instance", session->export->disk->instance),
		      VBLK_FIELD_INT("error", ret));
	vblk_vhost_session_close_backend(session);
}
